"""The tree of errors, and how tasks' exceptions arrive."""

import concurrent.futures
import concurrent.futures.process
import os
import pickle
import signal
import sys
import time
import traceback

import pytest

import hurricane
from hurricane import _serialize as serialize
from hurricane._ending import Failed


class Awkward(Exception):
    """Cannot be unpickled: its `__init__` wants what pickle does not know."""

    def __init__(self, left, right):
        super().__init__(left)


class Unpicklable(Exception):
    """Cannot be pickled."""

    def __reduce__(self):
        raise TypeError("no")


class Silent(Exception):
    """Cannot even be shown."""

    def __str__(self):
        raise ValueError("no")


def raise_with_comment():
    raise RuntimeError(123)  # some comment


def raise_from_another():
    try:
        raise_with_comment()
    except RuntimeError as error:
        raise LookupError("the second") from error


def raise_awkward(kind):
    raise kind(1, 2) if kind is Awkward else kind(1)


def raise_with_note():
    error = ValueError("noted")
    error.add_note("a note")
    raise error


DEATH = {
    "node": "box",
    "exit_code": None,
    "signal": 9,
    "peak_memory": 5_000_000,
    "last_output": "last words\n",
    "stack": "",
}

FAILURES = {
    "timed_out": (("timed_out", 1.5, "the stack"), hurricane.TaskTimeout, TimeoutError),
    "worker_lost": (
        ("worker_lost", False, [DEATH] * 3),
        hurricane.WorkerLost,
        concurrent.futures.process.BrokenProcessPool,
    ),
    "poison": (("worker_lost", True, [DEATH]), hurricane.PoisonTask, hurricane.WorkerLost),
    "infeasible": (("infeasible", "9 cpus", "2 cpus"), hurricane.Infeasible, Exception),
    "object_lost": (("object_lost",), hurricane.ObjectLost, Exception),
    "nested": (("nested_too_deep", 64), hurricane.NestedTooDeep, RecursionError),
    "setup": (("setup_failed", b"died"), hurricane.SetupFailed, concurrent.futures.BrokenExecutor),
    "refused": (("refused", "too much"), hurricane.Refused, Exception),
    "scheduler": (
        ("scheduler_lost", "so"),
        hurricane.SchedulerLost,
        concurrent.futures.BrokenExecutor,
    ),
}


@pytest.mark.parametrize("name", FAILURES)
def test_each_failure_is_an_error_of_the_tree(name):
    failure, kind, base = FAILURES[name]
    value, error = Failed(failure, None).open("work")
    assert value is None
    assert type(error) is kind
    assert isinstance(error, base)
    assert isinstance(error, hurricane.HurricaneError)
    assert type(error).__module__ == "hurricane"
    again = pickle.loads(pickle.dumps(error))
    assert type(again) is kind
    assert str(again) == str(error)
    assert vars(again) == vars(error)


def test_every_error_stands_in_the_drawn_tree():
    from hurricane import _exceptions

    drawn = _exceptions.__doc__
    for name in hurricane.__all__:
        value = getattr(hurricane, name)
        if isinstance(value, type) and issubclass(value, hurricane.HurricaneError):
            assert name in drawn


def test_a_lost_worker_is_told_in_words():
    _, error = Failed(("worker_lost", True, [DEATH, DEATH, DEATH]), None).open("work")
    assert str(error) == (
        "task `work` was set aside, since other tasks lived on: its worker died 3 times, the last "
        "time killed by SIGKILL (signal 9), having used at most 5 MB of memory\n"
        "The last lines that it wrote:\nlast words"
    )
    assert (error.signal, error.exit_code, error.memory) == (9, None, 5_000_000)
    assert len(error.attempts) == 3


def test_an_exception_arrives_as_itself(client):
    error = client.submit(raise_from_another).exception()
    assert type(error) is LookupError
    assert error.args == ("the second",)
    assert isinstance(error.__cause__, hurricane.RemoteTraceback)
    shown = "".join(traceback.format_exception(error))
    assert "raise RuntimeError(123)  # some comment" in shown
    assert "In task `raise_from_another` on node `" in shown
    # It begins where the user's code does.
    assert "hurricane/_worker.py" not in shown


def test_an_exception_of_a_group_arrives_as_itself(client):
    def fail(_):
        raise_with_comment()

    results = client.map(fail, range(100), chunksize=50)
    with pytest.raises(RuntimeError) as caught:
        next(results)
    shown = "".join(traceback.format_exception(caught.value))
    assert "raise RuntimeError(123)  # some comment" in shown
    assert "In task `fail` on node `" in shown
    assert "hurricane/_group.py" not in shown


def test_notes_arrive(client):
    assert client.submit(raise_with_note).exception().__notes__ == ["a note"]


@pytest.mark.parametrize("kind", [Awkward, Unpicklable])
def test_what_cannot_travel_arrives_in_words(client, kind):
    error = client.submit(raise_awkward, kind).exception()
    assert type(error) is hurricane.TaskFailed
    assert error.type_name.endswith(kind.__name__)
    assert error.message == "1"
    assert "raise kind(" in error.traceback


def test_what_cannot_be_shown_arrives(client):
    error = client.submit(raise_awkward, Silent).exception()
    assert isinstance(error, (Silent, hurricane.TaskFailed))


def test_system_exit_is_the_tasks_own(client):
    assert isinstance(client.submit(sys.exit, 3).exception(), SystemExit)
    assert client.submit(abs, -1).result() == 1


def test_a_sentence_of_the_node_is_no_pickle():
    error = serialize.restore_exception(b"the node said so")
    assert isinstance(error, hurricane.TaskFailed)
    assert error.message == "the node said so"


def test_a_timeout_ends_the_task(client):
    error = client.options(timeout=0.2, name="slow").submit(time.sleep, 600).exception()
    assert isinstance(error, hurricane.TaskTimeout)
    assert error.seconds == 0.2
    assert "`slow`" in str(error)
    assert client.submit(abs, -1).result() == 1


def test_a_dead_worker_is_told_with_evidence(client):
    def last_words():
        # More than this program ever had: a child's peak counts from what it was forked with.
        memory = bytearray(b"x") * 400_000_000
        print("last words", flush=True)
        os.kill(os.getpid(), signal.SIGKILL)
        del memory

    error = client.submit(last_words).exception()
    assert isinstance(error, hurricane.WorkerLost)
    assert error.signal == signal.SIGKILL
    assert len(error.attempts) == 3
    assert "last words" in error.output
    assert error.memory > 400_000_000
    assert client.submit(abs, -1).result() == 1


def test_the_memory_of_a_worker_is_its_own_however_large_the_program(run_program):
    """A child's peak counts from what it was forked with, so the node looks by itself."""
    run_program("""
import itertools, os, signal, threading
import hurricane

program = bytearray(b"x") * 400_000_000

def die(seconds):
    memory = bytearray(b"x") * 200_000_000
    threading.Event().wait(seconds)
    os.kill(os.getpid(), signal.SIGKILL)

with hurricane.Client(max_workers=1) as client:
    for seconds in itertools.count():
        memory = client.submit(die, seconds).exception().memory
        assert 0 < memory < len(program), memory
        if memory > 200_000_000:
            break
""")


def test_an_exit_code_is_told(client):
    error = client.submit(os._exit, 7).exception()
    assert isinstance(error, hurricane.WorkerLost)
    assert (error.exit_code, error.signal) == (7, None)
    assert "exit code 7" in str(error)


def test_a_crash_shows_the_python_stack(client):
    def crash_here():
        os.kill(os.getpid(), signal.SIGSEGV)

    error = client.submit(crash_here).exception()
    assert isinstance(error, hurricane.WorkerLost)
    assert error.signal == signal.SIGSEGV
    assert "crash_here" in error.stack


class Hostile(Exception):
    """Does not want to be looked at."""

    def __bool__(self):
        raise SystemExit(3)

    def __getattr__(self, name):
        raise RuntimeError(name)

    def __reduce_ex__(self, protocol):
        raise SystemExit(4)


def raise_hostile():
    raise Hostile("hostile")


class BadNote:
    """A note that cannot be shown."""

    def __str__(self):
        raise SystemExit(5)


def raise_with_notes(notes):
    error = ValueError("noted")
    error.__notes__ = notes
    raise error


def test_an_exception_that_cannot_be_looked_at_is_told_nevertheless(narrow_client):
    worker = narrow_client.submit(os.getpid).result()
    with pytest.raises(hurricane.TaskFailed, match="hostile"):
        narrow_client.submit(raise_hostile).result()
    for notes in (5, [BadNote()]):
        error = narrow_client.submit(raise_with_notes, notes).exception()
        assert isinstance(error, ValueError)
        assert str(error) == "noted"
        assert "raise_with_notes" in str(error.__cause__)
    assert narrow_client.submit(os.getpid).result() == worker
