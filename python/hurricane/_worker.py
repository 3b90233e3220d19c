"""The worker process: takes tasks from its node one after the other, and answers for each.

What it imports before it is ready delays every start of hurricane: only what is needed.
"""

import atexit
import faulthandler
import io
import marshal
import os
import sys
from _signal import SIG_IGN, SIGINT, signal  # type: ignore[import-not-found]  # `signal`, at once
from time import perf_counter

from hurricane import _quick_pickle  # noqa: F401 - first: it makes the next ones quick
from hurricane._native import WorkerLink
from hurricane._serialize import (
    describe_exception,
    dumps_result,
    loads_arguments,
    loads_function,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any, NoReturn

_link_of_running_task: WorkerLink | None = None

# Whether there are other nodes, or may be.
_is_in_cluster = False

# Standard output and error, between tasks.
_streams = sys.stdout, sys.stderr


def main() -> None:
    """Serve the node on standard input until it says that this was all."""
    global _streams
    link = WorkerLink()
    _prepare_process(link)
    _set_up(link)
    # As the initializer left them.
    _streams = sys.stdout, sys.stderr
    link.ready()
    _serve(link)
    _end(0)


def current() -> WorkerLink | None:
    """The link through which the running task may submit tasks and wait for them.

    None where no task runs, above all in a program.
    """
    return _link_of_running_task


def is_in_cluster() -> bool:
    """Whether what the running task submits may run on other machines."""
    return _is_in_cluster


def _leave_task_to_parent() -> None:
    """A child that a task has forked is a program of its own: the link is its parent's."""
    global _link_of_running_task
    _link_of_running_task = None


class _Definition:
    """A function that runs will name; unpickled by the first of them."""

    __slots__ = ("_function", "_pickled", "name")

    def __init__(self, name: str, pickled: bytes) -> None:
        self.name = name
        self._pickled = pickled
        self._function: Callable[..., Any] | None = None

    def function(self) -> "Callable[..., Any]":
        if self._function is None:
            self._function = loads_function(self._pickled)
            self._pickled = b""
        return self._function


def _prepare_process(link: WorkerLink) -> None:
    # Ctrl-C is the program's business: it ends its workers itself.
    signal(SIGINT, SIG_IGN)
    os.register_at_fork(after_in_child=_leave_task_to_parent)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(line_buffering=True, errors="backslashreplace")
    # Left open for the life of the process: faulthandler keeps the bare descriptor.
    flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC
    stacks = os.open(link.stack_path(), flags, 0o600)
    faulthandler.enable(stacks)
    faulthandler.register(link.stack_signal(), stacks, all_threads=True)


def _set_up(link: WorkerLink) -> None:
    """Become like the program that this worker serves, as `hurricane._launch` described it."""
    global _is_in_cluster
    directory, sys.argv, initializer, _is_in_cluster = marshal.loads(link.setup())
    if directory is not None:
        _enter(link, directory)
    if initializer is not None:
        _initialize(link, initializer)


def _enter(link: WorkerLink, directory: str) -> None:
    try:
        os.chdir(directory)
    except OSError as error:
        sentence = f"A worker cannot enter the working directory {directory!r}: {error.strerror}."
        _give_up(link, sentence.encode())


def _initialize(link: WorkerLink, initializer: bytes) -> None:
    from hurricane._initializer import initialize

    try:
        initialize(initializer)
    except BaseException as error:  # It is a stranger's code, as tasks are.
        _give_up(link, describe_exception(error, link.node_name(), "initializer"))


def _give_up(link: WorkerLink, why: bytes) -> "NoReturn":
    """End before any task: `why` is a sentence, or a description of the initializer's exception."""
    link.setup_failed(why)
    _end(1)


def _serve(link: WorkerLink) -> None:
    definitions: dict[int, _Definition] = {}
    while _obey_next(link, definitions):
        pass


def _obey_next(link: WorkerLink, definitions: dict[int, _Definition]) -> bool:
    """Wait for the next order and carry it out; whether there was one.

    A function of its own, so that no large argument outlives its task while the worker is idle.
    """
    match link.receive():
        case None:
            return False
        case ("run", run, definition, arguments, inputs):
            _run(link, run, definitions[definition], arguments, inputs)
        case ("define", definition, name, pickled):
            definitions[definition] = _Definition(name, pickled)
        case ("forget", definition):
            del definitions[definition]
    return True


def _run(
    link: WorkerLink, run: int, definition: _Definition, arguments: bytes, inputs: list[bytes]
) -> None:
    """Run one task and answer for it, whatever it does."""
    global _link_of_running_task
    tell: Callable[[int, bytes, float], None]
    began = perf_counter()
    _link_of_running_task = link
    try:
        # First, since an initializer may come with it.
        function = definition.function()
        positional, named = loads_arguments(arguments, inputs)
        answer = dumps_result(function(*positional, **named))
        tell = link.finished
    except BaseException as error:  # As in the standard library: SystemExit is a task's own end.
        answer = describe_exception(error, link.node_name(), definition.name)
        tell = link.raised
    _link_of_running_task = None
    _flush()
    _restore_streams()
    tell(run, answer, perf_counter() - began)


def _flush() -> None:
    """Send on what the task printed: its lines must not follow its end."""
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except Exception:  # The task may have put anything in the stream's place.
            continue


def _restore_streams() -> None:
    """Undo that a task put something in the streams' place: the next one's lines must arrive."""
    if (sys.stdout, sys.stderr) != _streams:
        sys.stdout, sys.stderr = _streams
        _flush()


def _end(code: int) -> "NoReturn":
    """End as `sys.exit` does, but without waiting for threads that tasks have left behind."""
    atexit._run_exitfuncs()
    _flush()
    os._exit(code)
