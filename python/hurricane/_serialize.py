"""How functions, arguments, results and exceptions become bytes, at both ends.

Plain pickle writes whatever it can; cloudpickle, which is slow to import and slow to run, only what
pickle refuses and whatever lives in modules that the other end has not got: `__main__`, and for
other machines all of the user's own. Worker processes import this before they are ready, so it
imports next to nothing.

What is written here is one of two things, told apart by its first byte: a pickle (`0x80`), or a
container (`0x01`) of a pickle and the large buffers (pickle protocol 5) that belong to it.
"""

from _pickle import PickleBuffer, dumps, loads
from _struct import Struct
from _thread import _local as local  # `threading.local`, without the rest of it

from hurricane._exceptions import NotSerializable, RemoteTraceback, TaskFailed

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import Any, Protocol, TypeAlias

    class Dependency(Protocol):
        """A future or an object: something whose value only the cluster has."""

        number: int

    Arguments: TypeAlias = tuple[tuple[Any, ...], dict[str, Any]]

_PROTOCOL = 5

# Smaller buffers are copied into the pickle: apart, each costs its alignment and a length.
_MIN_BUFFER_BYTES = 4096

# Buffers start at multiples of this, a cache line: so NumPy and Arrow read them at full speed.
_ALIGNMENT = 64

_CONTAINER = 1
_FIRST = Struct("<B7xQ")
_LENGTH = Struct("<Q")

# Where futures and objects may not stand, for people.
ONLY_IN_ARGUMENTS = "it stands for its value among the arguments of a task, and nowhere else"

# The modules whose contents only this process has, even among those of this machine.
OWN_MODULES = ("__main__", "__mp_main__")

# How the name of a module stands in a pickle: as a short string, which is then memorized.
_MODULE_BEGIN = rb"\x8c."
_MODULE_END = rb"(?:\.[^\x94]*)?\x94"


class _Context(local):
    """What is being pickled or unpickled in this thread."""

    dependencies: "dict[int, Dependency] | None" = None
    client: object = None
    inputs: "Sequence[bytes]" = ()
    values: "dict[int, Any] | None" = None


_context = _Context()


def dumps_function(
    function: "Callable[..., Any]", own_modules: "Sequence[str]" = OWN_MODULES
) -> bytes:
    """Pickle a function: by name if others can import it, or else by value.

    Parameters
    ----------
    function
        The function.
    own_modules
        The modules that the other end has not got, those within them included.

    Raises
    ------
    NotSerializable
        If it cannot be pickled; says which part of it.
    """
    try:
        return _dump(function, own_modules)
    except Exception as error:
        raise NotSerializable(_explain(function, "the function", own_modules, error)) from error


def loads_function(pickled: bytes) -> "Callable[..., Any]":
    """Bring back what `dumps_function` has written."""
    function: Callable[..., Any] = _load(pickled)
    return function


def dumps_arguments(
    positional: "tuple[Any, ...]",
    named: "dict[str, Any]",
    client: object = None,
    own_modules: "Sequence[str]" = OWN_MODULES,
) -> "tuple[bytes, list[Dependency]]":
    """Pickle the arguments of a call, and list the futures and objects found in them.

    Parameters
    ----------
    positional, named
        The arguments.
    client
        To what futures and objects must belong; see `dependency`.
    own_modules
        As for `dumps_function`.

    Raises
    ------
    NotSerializable
        If they cannot be pickled; says which part of them.
    """
    outer = _context.dependencies, _context.client
    found: dict[int, Dependency] = {}
    _context.dependencies, _context.client = found, client
    try:
        pickled = _dump((positional, named), own_modules)
    except EndedBefore:
        raise
    except Exception as error:
        raise NotSerializable(_explain_arguments(positional, named, own_modules, error)) from error
    finally:
        _context.dependencies, _context.client = outer
    return pickled, list(found.values())


def loads_arguments(pickled: bytes, inputs: "Sequence[bytes]") -> "Arguments":
    """Bring back what `dumps_arguments` has written, with the values of the dependencies."""
    if not inputs:
        plain: Arguments = _load(pickled)
        return plain
    outer = _context.inputs, _context.values
    _context.inputs, _context.values = inputs, {}
    try:
        arguments: Arguments = _load(pickled)
    finally:
        _context.inputs, _context.values = outer
    return arguments


def dumps_result(result: "Any", own_modules: "Sequence[str]" = OWN_MODULES) -> bytes:
    """Pickle a value that stands for itself: a result, or an object that is put.

    Parameters
    ----------
    result
        The value.
    own_modules
        As for `dumps_function`.

    Raises
    ------
    NotSerializable
        If it cannot be pickled; says which part of it.
    """
    try:
        return _dump(result, own_modules)
    except Exception as error:
        raise NotSerializable(_explain(result, "the value", own_modules, error)) from error


def loads_result(pickled: bytes) -> "Any":
    """Bring back what `dumps_result` has written."""
    return _load(pickled)


def describe_exception(error: BaseException, node_name: str, task_name: str) -> bytes:
    """Write down an exception so that it arrives, whatever it is."""
    import traceback

    own_type = type(error)
    lines = traceback.format_exception(own_type, error, _users_part(error))
    description = (
        f"{own_type.__module__}.{own_type.__qualname__}".removeprefix("builtins."),
        _message_of(error),
        "".join(lines),
        [str(note) for note in getattr(error, "__notes__", ())],
        _dump_or_none(error),
        node_name,
        task_name,
    )
    return dumps(description, _PROTOCOL)


def restore_exception(description: bytes) -> BaseException:
    """Bring back what `describe_exception` has written, or `TaskFailed` in its place.

    The traceback stands in the exception's `__cause__`, as in `concurrent.futures`. What is no
    such description is a sentence that a node has written.
    """
    if description[:1] != b"\x80":
        return TaskFailed("", description.decode(errors="replace"), "")
    type_name, message, lines, notes, pickled, node_name, task_name = loads(description)
    error = _load_exception(pickled)
    if error is None:
        error = TaskFailed(type_name, message, lines)
        for note in notes:
            error.add_note(note)
    where = f"In task `{task_name}` on node `{node_name}`:\n" if node_name else ""
    if error.__cause__ is None:
        error.__cause__ = RemoteTraceback(f'\n"""\n{where}{lines}"""')
    return error


class EndedBefore(Exception):  # noqa: N818 - it is no error, but a way out of the pickler
    """A future among the arguments has no value, and so the call ends before it was sent.

    Attributes
    ----------
    ending
        How it ends; see `hurricane._ending`.
    """

    def __init__(self, ending: "Any") -> None:
        super().__init__(ending)
        self.ending = ending


def is_encoding_arguments() -> bool:
    """Whether this thread pickles arguments, where futures and objects may stand."""
    return _context.dependencies is not None


def encoding_client() -> object:
    """To what the futures and objects in the arguments being pickled must belong."""
    return _context.client


def dependency(found: "Dependency") -> "tuple[Any, ...]":
    """How a future or an object is pickled as part of arguments: by its place among them."""
    dependencies = _context.dependencies
    if dependencies is None:
        msg = f"cannot pickle {type(found).__name__!r} object: {ONLY_IN_ARGUMENTS}"
        raise TypeError(msg)
    dependencies.setdefault(found.number, found)
    return _input, (list(dependencies).index(found.number),)


def inline(pickled: bytes) -> "tuple[Any, ...]":
    """How a future is pickled whose value is here already."""
    return _load, (pickled,)


def _input(index: int) -> "Any":
    values = _context.values
    if values is None:
        msg = "the arguments of a task stand here without the values that they name"
        raise RuntimeError(msg)
    if index not in values:
        values[index] = _load(_context.inputs[index])
    return values[index]


def _dump(value: "Any", own_modules: "Sequence[str]" = OWN_MODULES) -> bytes:
    buffers: list[PickleBuffer] = []
    try:
        pickled = dumps(value, _PROTOCOL, buffer_callback=_collector(buffers))
    except EndedBefore:
        raise
    except Exception:
        # A lambda, a local function, or a class that only this process has.
        return _dump_by_value(value, own_modules)
    # A string may say so, too: then cloudpickle writes the same, only more slowly.
    if b"__main__" in pickled or b"__mp_main__" in pickled or _names_any(pickled, own_modules):
        return _dump_by_value(value, own_modules)
    return _pack(pickled, buffers) if buffers else pickled


def _names_any(pickled: bytes, modules: "Sequence[str]") -> bool:
    """Whether a pickle names any of the user's modules, or something within them."""
    if modules is OWN_MODULES:
        return False
    import re

    names = b"|".join(re.escape(name.encode()) for name in modules)
    pattern = _MODULE_BEGIN + b"(?:" + names + b")" + _MODULE_END
    return re.search(pattern, pickled, re.DOTALL) is not None


def _dump_by_value(value: "Any", own_modules: "Sequence[str]") -> bytes:
    from hurricane._by_value import dumps as dumps_by_value

    buffers: list[PickleBuffer] = []
    pickled = dumps_by_value(value, _PROTOCOL, _collector(buffers), own_modules)
    return _pack(pickled, buffers) if buffers else pickled


def _collector(buffers: list[PickleBuffer]) -> "Callable[[PickleBuffer], bool]":
    def collect(buffer: PickleBuffer) -> bool:
        """Keep a large buffer apart; true leaves a small one in the pickle."""
        if memoryview(buffer).nbytes < _MIN_BUFFER_BYTES:
            return True
        buffers.append(buffer)
        return False

    return collect


def _pack(pickled: bytes, buffers: list[PickleBuffer]) -> bytes:
    parts = [pickled, *(buffer.raw() for buffer in buffers)]
    head = _FIRST.pack(_CONTAINER, len(buffers))
    head += b"".join(_LENGTH.pack(len(part)) for part in parts)
    pieces: list[Any] = [head]
    end = len(head)
    for part in parts:
        gap = -end % _ALIGNMENT
        pieces += [bytes(gap), part]
        end += gap + len(part)
    return b"".join(pieces)


def _load(pickled: bytes) -> "Any":
    if pickled[0] != _CONTAINER:
        return loads(pickled)
    return _unpack(memoryview(pickled))


def _unpack(container: memoryview) -> "Any":
    _, count = _FIRST.unpack_from(container)
    offset = _FIRST.size
    lengths = [
        _LENGTH.unpack_from(container, offset + index * _LENGTH.size)[0]
        for index in range(count + 1)
    ]
    end = offset + len(lengths) * _LENGTH.size
    parts = []
    for length in lengths:
        start = end + -end % _ALIGNMENT
        end = start + length
        parts.append(container[start:end])
    # Copies, which belong to the task alone: much software cannot work on read-only arrays.
    return loads(parts[0], buffers=[bytearray(part) for part in parts[1:]])


def _explain(value: "Any", label: str, own_modules: "Sequence[str]", error: Exception) -> str:
    from hurricane._culprit import explain

    return explain(value, label, lambda part: _is_fine(part, own_modules), error)


def _explain_arguments(
    positional: "tuple[Any, ...]",
    named: "dict[str, Any]",
    own_modules: "Sequence[str]",
    error: Exception,
) -> str:
    labels = [(f"argument {index}", value) for index, value in enumerate(positional)]
    labels += [(f"argument `{name}`", value) for name, value in named.items()]
    for label, value in labels:
        if not _is_fine(value, own_modules):
            return _explain(value, label, own_modules, error)
    return "the arguments cannot be pickled together"


def _is_fine(value: "Any", own_modules: "Sequence[str]") -> bool:
    try:
        _dump(value, own_modules)
    except EndedBefore:
        return True
    except Exception:
        return False
    return True


def _dump_or_none(error: BaseException) -> bytes | None:
    try:
        return _dump(error)
    except Exception:  # It is described in words beside.
        return None


def _load_exception(pickled: bytes | None) -> BaseException | None:
    if pickled is None:
        return None
    try:
        error = _load(pickled)
    except Exception:  # Its module is not here, or its `__init__` wants what pickle does not know.
        return None
    return error if isinstance(error, BaseException) else None


def _message_of(error: BaseException) -> str:
    try:
        return str(error)
    except Exception:  # Written by the user, as everything about it.
        return ""


def _users_part(error: BaseException) -> "Any":
    """The traceback without the frames of hurricane that called the user's function."""
    frames = error.__traceback__
    while frames is not None and _is_own(frames.tb_frame.f_globals):
        frames = frames.tb_next
    return frames or error.__traceback__


def _is_own(scope: "dict[str, Any]") -> bool:
    return str(scope.get("__name__", "")).startswith("hurricane.")
