"""The errors that the standard library knows as broken executors.

Apart from `hurricane._exceptions`, where the tree is drawn: their base classes bring all of
multiprocessing with them, which only a program whose workers die has to pay for.
"""

# ruff: noqa: N818 - names say what has happened, as the standard library's `BrokenExecutor` does.

import signal as signals
from collections.abc import Mapping, Sequence
from concurrent.futures import BrokenExecutor
from concurrent.futures.process import BrokenProcessPool
from typing import Any

from hurricane._exceptions import HurricaneError
from hurricane._units import format_bytes


class WorkerLost(HurricaneError, BrokenProcessPool):
    """The worker died under a task, each time that it was tried.

    Attributes
    ----------
    signal : int | None
        The signal that ended the last worker.
    exit_code : int | None
        Its exit code, if it ended by itself.
    memory : int
        The most memory that it ever used, in bytes.
    output : str
        The last lines that it wrote.
    stack : str
        Where its Python threads were, or nothing.
    attempts : list of dict
        The same of each death, oldest first.
    """

    __module__ = "hurricane"

    def __init__(self, name: str, deaths: Sequence[Mapping[str, Any]]) -> None:
        last = deaths[-1] if deaths else {}
        self.signal: int | None = last.get("signal")
        self.exit_code: int | None = last.get("exit_code")
        self.memory: int = last.get("peak_memory", 0)
        self.output: str = last.get("last_output", "")
        self.stack: str = last.get("stack", "")
        self.attempts = [dict(death) for death in deaths]
        super().__init__(self._describe(name))

    def _describe(self, name: str) -> str:
        count = len(self.attempts)
        times = "once" if count == 1 else f"{count} times"
        sentences = [f"task `{name}`: its worker died {times}"]
        sentences += [f"the last time {how_it_ended(self.exit_code, self.signal)}"]
        if self.memory:
            sentences += [f"having used at most {format_bytes(self.memory)} of memory"]
        text = ", ".join(sentences)
        if self.output:
            text += f"\nThe last lines that it wrote:\n{self.output.rstrip()}"
        if self.stack:
            text += f"\nWhere it was:\n{self.stack.rstrip()}"
        return text


class PoisonTask(WorkerLost):
    """A task killed its workers while other tasks lived on, and was set aside."""

    __module__ = "hurricane"

    def _describe(self, name: str) -> str:
        return (
            super()
            ._describe(name)
            .replace(
                ": its worker died",
                " was set aside, since other tasks lived on: its worker died",
                1,
            )
        )


class SetupFailed(HurricaneError, BrokenProcessPool):
    """Workers cannot be set up: the initializer raised, or they die before they are ready."""

    __module__ = "hurricane"


class SchedulerLost(HurricaneError, BrokenExecutor):
    """The scheduler is gone, or was started anew, and knows nothing of this client's tasks.

    A connection that is cut for some seconds costs nothing. Make a new client to go on.

    Attributes
    ----------
    reason : str
        What has happened.
    """

    __module__ = "hurricane"

    def __init__(self, reason: str) -> None:
        super().__init__(f"the connection to the scheduler is over: {reason}")
        self.reason = reason


def how_it_ended(exit_code: int | None, signal: int | None) -> str:
    """The end of a process in words.

    Examples
    --------
    >>> how_it_ended(None, 9)
    'killed by SIGKILL (signal 9)'
    >>> how_it_ended(3, None)
    'with exit code 3'
    """
    if signal is not None:
        try:
            return f"killed by {signals.Signals(signal).name} (signal {signal})"
        except ValueError:
            return f"killed by signal {signal}"
    if exit_code is not None:
        return f"with exit code {exit_code}"
    return "in a way that nobody could learn"
