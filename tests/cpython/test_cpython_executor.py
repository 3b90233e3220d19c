"""CPython's own tests of executors, with `hurricane.Client` in the executor's place.

They are taken from where this Python has them installed, and none is changed: the classes made
here say what the executor is, and the tables which tests cannot apply or end better, and why.
"""

import atexit
import contextlib
import functools
import gc
import importlib
import importlib.util
import logging
import re
import sys
import tempfile
import unittest
import unittest.mock
from collections.abc import Callable
from concurrent.futures._base import (
    CANCELLED,
    CANCELLED_AND_NOTIFIED,
    FINISHED,
    PENDING,
    RUNNING,
)
from pathlib import Path
from pickle import UnpicklingError
from types import ModuleType
from typing import Any, Self

import pytest

import hurricane
from hurricane._delivery import Delivery
from hurricane._exceptions import RemoteTraceback

# Tests that ask for what only `ProcessPoolExecutor` has.
INAPPLICABLE = {
    "test_processes_terminate": "reaches into `_processes`",
    "test_context_manager_shutdown": "reaches into `_processes`",
    "test_del_shutdown": "reaches into `_processes`, `_call_queue` and the manager thread",
    "test_shutdown_no_wait": "reaches into `_processes`, `_call_queue` and the manager thread",
    "test_shutdown_deadlock_pickle": "reaches into the manager thread",
    "test_gh105829_should_not_deadlock_if_wakeup_pipe_full": "patches the manager thread",
    "test_killed_child": "reaches into `_processes`, and one death breaks no client",
    "test_saturation": "reaches into `_processes`",
    "test_idle_process_reuse_one": "reaches into `_processes`",
    "test_idle_process_reuse_multiple": "reaches into `_processes`",
    "test_max_tasks_per_child": "needs `max_tasks_per_child`",
    "test_max_tasks_per_child_defaults_to_spawn_context": "needs `max_tasks_per_child`",
    "test_max_tasks_early_shutdown": "needs `max_tasks_per_child`",
    "test_ressources_gced_in_workers": "needs multiprocessing's authentication key in the workers",
    "test_cancel": "wants running tasks to refuse; hurricane cancels them",
    "test_python_finalization_error": "counts the threads that ProcessPoolExecutor starts",
}

# Where `ProcessPoolExecutor` breaks as a whole, only the one task fails, by its own exception.
FAILS_BY_ITSELF: dict[str, type[BaseException]] = {
    "test_exit_at_task_unpickle": SystemExit,
    "test_error_at_task_unpickle": UnpicklingError,
    "test_error_during_result_unpickle_in_result_handler": hurricane.NotSerializable,
    "test_exit_during_result_unpickle_in_result_handler": SystemExit,
}

# What hurricane puts before each line that a task prints.
MARK_OF_A_TASK = re.compile(rb"^\[[^]]*\] ", re.MULTILINE)


class Installed:
    """CPython's tests as they are installed: one module in 3.11, a package from 3.12 on."""

    PACKAGE = "test.test_concurrent_futures"
    PARTS = (
        "executor", "util", "test_wait", "test_as_completed", "test_future", "test_init",
        "test_shutdown", "test_deadlock", "test_process_pool",
    )  # fmt: skip

    def __init__(self) -> None:
        # Where programs find the tests, if not beside the rest of the standard library.
        self.path: list[str] = []
        if not self._is_here():
            self._use_distribution()
        package = importlib.import_module(self.PACKAGE)
        self._modules = [package]
        if hasattr(package, "__path__"):
            self._modules = [
                importlib.import_module(f"{self.PACKAGE}.{part}") for part in self.PARTS
            ]
        self.support = importlib.import_module("test.support")

    def __getattr__(self, name: str) -> Any:
        for module in self._modules:
            if hasattr(module, name):
                return getattr(module, name)
        raise AttributeError(name)

    def module_of(self, kind: type) -> ModuleType:
        return sys.modules[kind.__module__]

    def _is_here(self) -> bool:
        return importlib.util.find_spec(self.PACKAGE) is not None

    def _use_distribution(self) -> None:
        """Find the tests that Debian packages apart, if this Python brings none itself.

        Through a directory that holds nothing else: the rest must be this Python's, not Debian's.
        """
        version = f"{sys.version_info.major}.{sys.version_info.minor}"
        tests = Path(f"/usr/lib/python{version}/test")
        if not list(tests.glob("test_concurrent_futures*")):
            pytest.skip(
                f"CPython's own tests are not installed for Python {version}",
                allow_module_level=True,
            )
        directory = tempfile.TemporaryDirectory(prefix="cpython-tests-")
        atexit.register(directory.cleanup)
        Path(directory.name, "test").symlink_to(tests)
        self.path = [directory.name]
        sys.path[:0] = self.path
        for name in [name for name in sys.modules if name.partition(".")[0] == "test"]:
            del sys.modules[name]


class ClientWithoutContext(hurricane.Client):
    """A client for tests that also say how multiprocessing is to start processes."""

    def __init__(self, max_workers: int | None = None, mp_context: None = None) -> None:
        super().__init__(max_workers)


class Future(hurricane.Future[Any]):
    """A future for tests that end it themselves."""

    def __new__(cls, *, is_running: bool = False) -> Self:
        delivery = unittest.mock.Mock(spec=Delivery)
        delivery.is_running.return_value = is_running
        delivery.waiting.return_value = contextlib.nullcontext()
        delivery.wait.side_effect = lambda _is_met, wait, timeout: wait(timeout)
        delivery.waiters.return_value = []
        return super().__new__(cls, delivery, "test")


def create_future(
    state: str = PENDING, exception: BaseException | None = None, result: object = None
) -> Future:
    """Make a future in a state, as the function of this name in CPython's tests does."""
    future = Future(is_running=state == RUNNING)
    if state != RUNNING:  # That is not kept in a future of hurricane but asked for.
        future._state = state
    if exception is not None:
        future._exception = exception
    elif state == FINISHED:
        future._result = result
    return future


class OnHurricane(unittest.TestCase):
    """Runs a test on hurricane, and fails it if it leaves a thread or a process behind."""

    def setUp(self) -> None:
        cpython.support.environment_altered = False
        super().setUp()

    def tearDown(self) -> None:
        super().tearDown()
        assert not cpython.support.environment_altered

    def get_context(self) -> None:
        """Say how multiprocessing is to start processes; hurricane starts its own."""


class CollectsGarbage:
    """Stands before the class whose `tearDown` looks for threads, and finds ended ones as well."""

    def tearDown(self) -> None:
        gc.collect()
        super().tearDown()  # type: ignore[misc]  # CPython's mixins are untyped


class ScriptsOnHurricane(OnHurricane):
    """Besides, has the programs that a test writes import the client from where it is."""

    def setUp(self) -> None:
        super().setUp()
        tests = cpython.module_of(cpython.ExecutorShutdownTest)
        run = functools.partial(run_script, tests.assert_python_ok)
        self.enterContext(unittest.mock.patch.object(tests, "assert_python_ok", run))


class CrashesOnHurricane(OnHurricane):
    """Besides, knows with which exception a task fails that would break a process pool."""

    def _check_crash(self, error: type[BaseException], *arguments: Any, **options: Any) -> None:
        error = FAILS_BY_ITSELF.get(self._testMethodName, error)
        super()._check_crash(error, *arguments, **options)  # type: ignore[misc]  # as above


class TracebacksOnHurricane(OnHurricane):
    """Besides, has the tests look for hurricane's own class of a remote traceback."""

    def setUp(self) -> None:
        super().setUp()
        self.enterContext(
            unittest.mock.patch("concurrent.futures.process._RemoteTraceback", RemoteTraceback)
        )


class FuturesOnHurricane(OnHurricane):
    """Besides, makes the futures of the tests hurricane's."""

    def setUp(self) -> None:
        super().setUp()
        states: dict[str, Any] = {
            "PENDING_FUTURE": create_future(),
            "RUNNING_FUTURE": create_future(RUNNING),
            "CANCELLED_FUTURE": create_future(CANCELLED),
            "CANCELLED_AND_NOTIFIED_FUTURE": create_future(CANCELLED_AND_NOTIFIED),
            "EXCEPTION_FUTURE": create_future(FINISHED, exception=OSError()),
            "SUCCESSFUL_FUTURE": create_future(FINISHED, result=42),
        }
        # pytest's own handlers would keep from standard error what the tests look for there.
        self.enterContext(unittest.mock.patch.object(logging.getLogger(), "handlers", []))
        tests = cpython.module_of(cpython.FutureTests)
        self.enterContext(
            unittest.mock.patch.multiple(
                tests, Future=Future, create_future=create_future, **states
            )
        )


def run_script(
    assert_python_ok: Callable[..., tuple[int, bytes, bytes]], option: str, script: str
) -> tuple[int, bytes, bytes]:
    """Run a program that a test wrote for an executor of the standard library."""
    standard = "from concurrent.futures import Client"
    assert standard in script
    path = f"import sys; sys.path[:0] = {cpython.path}\n"
    exit_code, stdout, stderr = assert_python_ok(
        option, path + script.replace(standard, "from hurricane import Client")
    )
    return exit_code, MARK_OF_A_TASK.sub(b"", stdout), stderr


def create_tests(
    base: type[OnHurricane],
    *mixins: type,
    executor_type: type[hurricane.Client] = hurricane.Client,
    module: dict[str, Any] = globals(),  # noqa: B008 - it is what is meant
) -> None:
    """Make the class that runs the tests of the first of `mixins` on hurricane, in a module."""
    tests = mixins[0]
    attributes = {"executor_type": executor_type, "__module__": module["__name__"]}
    for test, reason in INAPPLICABLE.items():
        if hasattr(tests, test):
            attributes[test] = unittest.skip(reason)(getattr(tests, test))
    module[tests.__name__] = type(tests.__name__, (base, *mixins), attributes)


cpython: Any = Installed()
executor = cpython.ExecutorMixin, CollectsGarbage, cpython.BaseTestCase

# The first one has those of `ExecutorTest`, too, and the fourth those of `ExecutorShutdownTest`.
create_tests(TracebacksOnHurricane, cpython.ProcessPoolExecutorTest, *executor)
create_tests(OnHurricane, cpython.WaitTests, *executor)
create_tests(OnHurricane, cpython.AsCompletedTests, *executor)
create_tests(ScriptsOnHurricane, cpython.ProcessPoolShutdownTest, *executor)
create_tests(
    CrashesOnHurricane, cpython.ExecutorDeadlockTest, *executor, executor_type=ClientWithoutContext
)
create_tests(OnHurricane, cpython.InitializerMixin, *executor)
create_tests(OnHurricane, cpython.FailingInitializerMixin, *executor)
create_tests(FuturesOnHurricane, cpython.FutureTests)
