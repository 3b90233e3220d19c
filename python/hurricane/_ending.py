"""How tasks end, as the connection reports it, and what people get for it.

An ending is kept as it came and opened by the thread that asks: bytes are the pickled result of a
task, all others the classes here. Opening gives a value or an exception.
"""

from collections.abc import Callable, Sequence
from concurrent.futures import CancelledError
from typing import TYPE_CHECKING, Any, TypeAlias

from hurricane._exceptions import (
    HurricaneError,
    Infeasible,
    NestedTooDeep,
    NotSerializable,
    ObjectLost,
    Refused,
    TaskTimeout,
)
from hurricane._native import Memory
from hurricane._serialize import loads_result, restore_exception

if TYPE_CHECKING:
    from hurricane._future import Future

Opened: TypeAlias = tuple[Any, BaseException | None]
Cause: TypeAlias = tuple[int, str] | None

# A node, and the number of a value in its store.
Location: TypeAlias = tuple[int, int]


class Stored:
    """A result that lies in the store of a node.

    Parameters
    ----------
    location
        Where.
    """

    __slots__ = ("location",)

    def __init__(self, location: Location) -> None:
        self.location = location

    def open(
        self, fetch: "Callable[[Location], Memory | bytes | None]", future: "Future[Any]"
    ) -> Opened:
        """Fetch the value and unpickle it.

        Parameters
        ----------
        fetch
            Waits a while for the value there and gives it, or None.
        future
            The future, which learns if the task runs again, because the value was lost with its
            node, and where the value is then.
        """
        ending: Ending | Memory | None = self
        try:
            while isinstance(ending, Stored):
                value = fetch(ending.location)
                ending = future._ending if value is None else value
        except (KeyError, RuntimeError):
            opened = future._open_here()  # It may have been taken over meanwhile.
            if opened is not None:
                return opened
            lost = f"the result of task `{future._name}` is gone from the node that held it"
            return None, ObjectLost(lost)
        return (None, None) if ending is None else open_ending(ending, future._name)


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


def open_ending(ending: "Memory | bytes | Raised | Failed | Cancelled", name: str) -> Opened:
    """Turn the ending of the task `name` into a value or an exception."""
    if isinstance(ending, (bytes, Memory)):
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


def open_result(pickled: Memory | bytes, name: str) -> Opened:
    """Unpickle the result of the task `name`."""
    try:
        return loads_result(pickled), None
    except Exception as error:
        return None, unreadable(error, name)


def unreadable(error: Exception, name: str) -> NotSerializable:
    """Make the exception that says that the result of the task `name` cannot be unpickled."""
    failure = NotSerializable(
        f"the result of task `{name}` cannot be unpickled: {type(error).__name__}: {error}"
    )
    failure.__cause__ = error
    return failure


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
