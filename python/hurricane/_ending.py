"""How tasks end, as the connection reports it, and what people get for it.

An ending is kept as it came and opened by the thread that asks: bytes are the pickled result of a
task, all others the classes here. Opening gives a value or an exception.
"""

from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import CancelledError
from typing import Any, TypeAlias

from hurricane._exceptions import (
    HurricaneError,
    Infeasible,
    NestedTooDeep,
    NotSerializable,
    ObjectLost,
    Refused,
    TaskTimeout,
)
from hurricane._serialize import loads_result, restore_exception

Opened: TypeAlias = tuple[Any, BaseException | None]
Cause: TypeAlias = tuple[int, str] | None

# A node, and the number of a value in its store.
Location: TypeAlias = tuple[int, int]


class Held:
    """A value that the cluster keeps for this client until nothing names it any more."""

    __slots__ = ("__weakref__", "_released", "number")

    def __init__(self, number: int, released: deque[int]) -> None:
        self.number = number
        self._released = released

    def __del__(self) -> None:
        # It may run anywhere, also inside of hurricane: the delivery thread does the rest.
        self._released.append(self.number)


class Stored(Held):
    """A result that lies in the store of a node.

    Parameters
    ----------
    number
        What the connection calls the task.
    released
        Takes the number when nobody needs the value any more.
    fetch
        Waits a while for the value there and gives it, or None.
    location
        Where the value is.
    """

    __slots__ = ("_fetch", "_location", "_value", "restored")

    def __init__(
        self,
        number: int,
        released: deque[int],
        fetch: Callable[[Location], bytes | None],
        location: Location,
    ) -> None:
        super().__init__(number, released)
        self._fetch = fetch
        self._location = location
        self._value: bytes | None = None
        # How the task ended that ran again, because the value was lost with its node; None if it
        # has not, or if the value is stored again.
        self.restored: bytes | Failed | Cancelled | None = None

    def open(self, name: str) -> Opened:
        """Fetch the value and unpickle it."""
        try:
            ending = self.bring()
        except (KeyError, RuntimeError):
            lost = f"the result of task `{name}` is gone from the node that held it"
            return None, ObjectLost(lost)
        return open_ending(ending, name)

    def bring(self) -> "bytes | Failed | Cancelled":
        """Take the value over into this process.

        Returns
        -------
        bytes or an ending
            The value, or how the task ended when it ran again.

        Raises
        ------
        KeyError
            If it is gone.
        RuntimeError
            If the connection is.
        """
        while True:
            ending = self.restored if self._value is None else self._value
            if ending is not None:
                return ending
            self._value = self._fetch(self._location)

    def move(self, location: Location) -> None:
        """Look for the value there: the task ran again, because it was lost with its node."""
        self._location = location


class Raised:
    """The end of a task that never got to a worker: an exception of this process."""

    __slots__ = ("_error",)

    def __init__(self, error: BaseException) -> None:
        self._error = error

    def open(self, _name: str) -> Opened:
        """Give the exception."""
        return None, self._error


class Failed:
    """The end of a task that has no result, or of one that depended on it."""

    __slots__ = ("_cause", "_failure")

    def __init__(self, failure: tuple[Any, ...], cause: Cause) -> None:
        self._failure = failure
        self._cause = cause

    @property
    def kind(self) -> str:
        """The name of the failure, as the connection gives it."""
        return str(self._failure[0])

    def passed_on_by(self, task: tuple[int, str]) -> "Failed":
        """Give the end of what depends on `task`, which ended like this."""
        return Failed(self._failure, self._cause or task)

    def open(self, name: str) -> Opened:
        """Make the exception that says what has happened."""
        if self._cause is None:
            return None, _error_of(self._failure, name)
        number, cause_name = self._cause
        error = _error_of(self._failure, cause_name)
        error.add_note(
            f"raised in task `{cause_name}-{number}`, on whose result task `{name}` depends"
        )
        return None, error


class Cancelled:
    """The end of a task that was cancelled, or of one that depended on it."""

    __slots__ = ("cause",)

    def __init__(self, cause: Cause) -> None:
        self.cause = cause

    def open(self, name: str) -> Opened:
        """Make the exception."""
        if self.cause is None:
            return None, CancelledError()
        number, cause_name = self.cause
        return None, CancelledError(
            f"task `{cause_name}-{number}` was cancelled, on whose result task `{name}` depends"
        )


Ending: TypeAlias = bytes | Stored | Raised | Failed | Cancelled


def open_ending(ending: Ending, name: str) -> Opened:
    """Turn the ending of the task `name` into a value or an exception."""
    if isinstance(ending, bytes):
        return open_result(ending, name)
    return ending.open(name)


# The failures that have nothing to do with what is called.
_NOT_OF_A_CALL = frozenset(("infeasible", "refused", "scheduler_lost", "setup_failed"))


def concerns_all_calls(ending: Ending | None) -> bool:
    """Whether several calls in one task would have ended so one by one, too."""
    match ending:
        case Failed():
            return ending.kind in _NOT_OF_A_CALL
        case Cancelled():
            return ending.cause is None
        case Raised():
            return False
        case _:
            return True


def open_result(pickled: bytes, name: str) -> Opened:
    """Unpickle the result of the task `name`."""
    try:
        return loads_result(pickled), None
    except Exception as error:
        failure = NotSerializable(
            f"the result of task `{name}` cannot be unpickled: {type(error).__name__}: {error}"
        )
        failure.__cause__ = error
        return None, failure


def _error_of(failure: tuple[Any, ...], name: str) -> BaseException:  # noqa: PLR0911 - a table
    """Turn what the connection reports as a failure into the exception for it."""
    match failure:
        case ("raised", description):
            return restore_exception(description)
        case ("timed_out", seconds, stack):
            return TaskTimeout(name, seconds, stack)
        case ("worker_lost", is_poison, deaths):
            return _lost(name, is_poison, deaths)
        case ("infeasible", asked, most):
            return Infeasible(name, asked, most)
        case ("object_lost",):
            return ObjectLost(
                f"a value that task `{name}` needs is gone from the node that held it"
            )
        case ("nested_too_deep", limit):
            return NestedTooDeep(limit)
        case ("setup_failed", description):
            return setup_failure(description)
        case ("refused", reason):
            return Refused(f"task `{name}` was refused: {reason}")
        case ("scheduler_lost", reason):
            return scheduler_lost(reason)
        case _:
            return HurricaneError(f"task `{name}` failed: {failure!r}")


def _lost(name: str, is_poison: bool, deaths: Sequence[dict[str, Any]]) -> BaseException:
    from hurricane._broken import PoisonTask, WorkerLost

    return (PoisonTask if is_poison else WorkerLost)(name, deaths)


def scheduler_lost(reason: str) -> BaseException:
    """Make the exception that says that the scheduler is gone."""
    from hurricane._broken import SchedulerLost

    return SchedulerLost(reason)


def setup_failure(description: bytes) -> BaseException:
    """Turn what a worker reports of a failed setup into the exception for it."""
    from hurricane._broken import SetupFailed
    from hurricane._exceptions import TaskFailed

    error = restore_exception(description)
    if isinstance(error, TaskFailed) and not error.type_name:
        return SetupFailed(error.message)
    failure = SetupFailed(
        f"workers cannot be set up: the initializer raised {type(error).__name__}: {error}"
    )
    failure.__cause__ = error
    return failure
