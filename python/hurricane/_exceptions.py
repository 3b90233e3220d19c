"""hurricane's own errors: one tree under `HurricaneError`.

::

    HurricaneError
    ├── NotSerializable      also pickle.PicklingError, TypeError
    ├── TaskFailed           an exception that cannot be had as itself
    ├── TaskTimeout          also TimeoutError
    ├── Infeasible           no node could ever run it
    ├── ObjectLost           a value that was stored is gone
    ├── StoreFull            there is no room for a value; also MemoryError
    ├── NestedTooDeep        also RecursionError
    ├── Refused              the scheduler did not accept it
    ├── WorkerLost           also concurrent.futures.process.BrokenProcessPool
    │   └── PoisonTask       it killed its workers while other tasks lived on
    ├── SetupFailed          also concurrent.futures.process.BrokenProcessPool
    └── SchedulerLost        also concurrent.futures.BrokenExecutor

A task's own exception is none of these: it arrives as itself. The last four stand in
`hurricane._broken`, because their base classes cost more to import than all of hurricane.
"""

# ruff: noqa: N818 - names say what has happened, as the standard library's `BrokenExecutor` does.

from _pickle import PicklingError

__all__ = [
    "HurricaneError",
    "Infeasible",
    "NestedTooDeep",
    "NotSerializable",
    "ObjectLost",
    "PoisonTask",
    "Refused",
    "RemoteTraceback",
    "SchedulerLost",
    "SetupFailed",
    "StoreFull",
    "TaskFailed",
    "TaskTimeout",
    "WorkerLost",
]

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from hurricane._broken import PoisonTask, SchedulerLost, SetupFailed, WorkerLost


class HurricaneError(Exception):
    """The base of hurricane's own errors."""

    __module__ = "hurricane"

    def __reduce__(self) -> "tuple[Any, ...]":
        # By its fields: the message that `args` holds is made from them again.
        return _remake, (type(self), self.__dict__.copy(), self.args)


class NotSerializable(HurricaneError, PicklingError, TypeError):
    """An argument, a function or a result cannot be pickled; the message says which part of it."""

    __module__ = "hurricane"


class TaskFailed(HurricaneError):
    """A task raised an exception that cannot be pickled, or not be unpickled here.

    Attributes
    ----------
    type_name : str
        The type of the exception, with its module.
    message : str
        What `str` of the exception was.
    traceback : str
        The traceback, as Python prints it.
    """

    __module__ = "hurricane"

    def __init__(self, type_name: str, message: str, traceback: str) -> None:
        super().__init__(f"{type_name}: {message}" if message else type_name)
        self.type_name = type_name
        self.message = message
        self.traceback = traceback


class TaskTimeout(HurricaneError, TimeoutError):
    """A task ran longer than its `timeout`, and was ended.

    Attributes
    ----------
    seconds : float
        The timeout.
    stack : str
        Where the task's Python threads were, or nothing.
    """

    __module__ = "hurricane"

    def __init__(self, name: str, seconds: float, stack: str) -> None:
        message = f"task `{name}` ran longer than its timeout of {seconds:g} s and was ended"
        super().__init__(f"{message}; it was here:\n{stack}" if stack else message)
        self.seconds = seconds
        self.stack = stack


class Infeasible(HurricaneError):
    """A task asks for more than any node has.

    Attributes
    ----------
    asked : str
        What the task asks for.
    most : str
        The most that one node has.
    """

    __module__ = "hurricane"

    def __init__(self, name: str, asked: str, most: str) -> None:
        super().__init__(f"task `{name}` asks for {asked}, but the most that a node has is {most}")
        self.asked = asked
        self.most = most


class ObjectLost(HurricaneError):
    """A value that was stored is gone and cannot be computed again."""

    __module__ = "hurricane"


class StoreFull(HurricaneError, MemoryError):
    """There is no room for a large value, in memory or on the disk; the message says what to do."""

    __module__ = "hurricane"


class NestedTooDeep(HurricaneError, RecursionError):
    """Too many tasks of a node would wait for tasks of their own at once.

    Attributes
    ----------
    limit : int
        How many may.
    """

    __module__ = "hurricane"

    def __init__(self, limit: int) -> None:
        super().__init__(
            f"{limit} tasks of this node wait for tasks of their own already, and no more may"
        )
        self.limit = limit


class Refused(HurricaneError):
    """The scheduler did not accept a task; the message says why."""

    __module__ = "hurricane"


class RemoteTraceback(Exception):
    """The cause of a task's exception: where it was raised, in the worker.

    Attributes
    ----------
    tb : str
        The text, as in the standard library's own.
    """

    __module__ = "hurricane"

    def __init__(self, tb: str) -> None:
        super().__init__(tb)
        self.tb = tb

    def __str__(self) -> str:
        return self.tb


def _remake(
    kind: type[HurricaneError], fields: "dict[str, Any]", arguments: "tuple[Any, ...]"
) -> HurricaneError:
    error = kind.__new__(kind, *arguments)
    error.args = arguments
    error.__dict__.update(fields)
    return error


def __getattr__(name: str) -> "Any":
    if name in {"PoisonTask", "SchedulerLost", "SetupFailed", "WorkerLost"}:
        from hurricane import _broken

        return getattr(_broken, name)
    msg = f"module {__name__!r} has no attribute {name!r}"
    raise AttributeError(msg)
