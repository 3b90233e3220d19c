"""The worker process: takes tasks from its node one after the other, and answers for each.

The loop itself is Rust's; here is what surrounds it.

What it imports before it is ready delays every start of hurricane: only what is needed.
"""

import atexit
import faulthandler
import io
import marshal
import os
import sys
from _signal import SIG_IGN, SIGINT, signal  # type: ignore[import-not-found]  # `signal`, at once

from hurricane import _quick_pickle  # noqa: F401 - first: it makes the next ones quick
from hurricane._native import WorkerLink
from hurricane._reuse import load_for_calls
from hurricane._serialize import describe_exception, dumps_parts, loads_arguments

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any, NoReturn

# Of this process, but not of children that it forks.
_link: WorkerLink | None = None

# Whether there are other nodes, or may be.
_is_in_cluster = False

# Standard output and error, between tasks.
_streams = sys.stdout, sys.stderr


def main() -> None:
    """Serve the node on standard input until it says that this was all."""
    global _link, _streams
    _link = link = WorkerLink()
    _prepare_process(link)
    _set_up(link)
    # As the initializer left them.
    _streams = sys.stdout, sys.stderr
    link.ready()
    link.serve(_Tools())
    _end(0)


def current() -> WorkerLink | None:
    """The link through which the running task may submit tasks and wait for them.

    None where no task runs, above all in a program.
    """
    return _link if _link is not None and _link.is_running() else None


def is_in_cluster() -> bool:
    """Whether what the running task submits may run on other machines."""
    return _is_in_cluster


def _leave_task_to_parent() -> None:
    """A child that a task has forked is a program of its own: the link is its parent's."""
    global _link
    _link = None


class _Tools:
    """What the loop calls, and what it has to know; see `hurricane._native.WorkerLink.serve`."""

    def __init__(self) -> None:
        self.load_for_calls = load_for_calls
        self.loads_arguments = loads_arguments
        self.dumps_parts = dumps_parts
        self.describe_exception = describe_exception
        self.tidy_up = _tidy_up
        self.streams = _streams
        self.are_noting = all(isinstance(stream, _NotingText) for stream in _streams)


class _NotingText(io.TextIOWrapper):
    """A stream that says when it is written to: after a task that has not, nothing is flushed."""

    def __init__(
        self, binary: "_NotingBytes", note: "Callable[[], None]", encoding: str | None
    ) -> None:
        super().__init__(binary, encoding, "backslashreplace", line_buffering=True)
        self.mode = "w"  # type: ignore[misc]  # as the interpreter does with its own
        self._note = note

    def write(self, text: str, /) -> int:
        self._note()
        return super().write(text)


class _NotingBytes(io.BufferedWriter):
    """What is below it: a task may write there as well."""

    def __init__(self, raw: io.RawIOBase, note: "Callable[[], None]") -> None:
        super().__init__(raw)
        self._note = note

    def write(self, written: "Any", /) -> int:
        self._note()
        return super().write(written)


def _noting(stream: "Any", link: WorkerLink, *, is_stderr: bool) -> "Any":
    """Put a stream in the place of one that the interpreter has made."""
    if not isinstance(stream, io.TextIOWrapper):
        return stream

    def note() -> None:
        link.note_output(is_stderr)

    encoding = stream.encoding
    raw: Any = stream.detach()
    if isinstance(raw, io.BufferedWriter):
        raw = raw.detach()
    return _NotingText(_NotingBytes(raw, note), note, encoding)


def _prepare_process(link: WorkerLink) -> None:
    # Ctrl-C is the program's business: it ends its workers itself.
    signal(SIGINT, SIG_IGN)
    os.register_at_fork(after_in_child=_leave_task_to_parent)
    sys.stdout = _noting(sys.stdout, link, is_stderr=False)
    sys.stderr = _noting(sys.stderr, link, is_stderr=True)
    # What was there is closed from now on.
    sys.__dict__.update(__stdout__=sys.stdout, __stderr__=sys.stderr)
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


def _tidy_up() -> None:
    """See to the streams after a task."""
    _flush()
    _restore_streams()


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
