"""How functions, arguments, results and exceptions become bytes, at both ends.

Plain pickle writes whatever it can; cloudpickle, which is slow to import and slow to run, only what
pickle refuses and whatever lives in modules that the other end has not got: `__main__`, and for
other machines all of the user's own. Worker processes import this before they are ready, so it
imports next to nothing.

What is written here is one of two things, told apart by its first byte: a pickle (`0x80`), or a
container (`0x01`) of a pickle and the large buffers (pickle protocol 5) that belong to it. In
arguments, buffers that are larger still are values of their own, which the container names. Where
memory is shared with the store, what is read is a view that belongs to its reader alone.
"""

from _pickle import PickleBuffer, dumps, loads
from _struct import Struct
from _thread import _local as local  # `threading.local`, without the rest of it

from hurricane._exceptions import NotSerializable, RemoteTraceback, StoreFull, TaskFailed

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import Any, Protocol, TypeAlias

    class Dependency(Protocol):
        """A future or an object: something whose value only the cluster has."""

        number: int

    class Keeper(Protocol):
        """What makes a value of a buffer that is too large for arguments."""

        def keep_buffer(self, buffer: memoryview, beside: Sequence[int]) -> Dependency:
            """Make it, or find an equal one that stands not beside it."""
            ...

    Arguments: TypeAlias = tuple[tuple[Any, ...], dict[str, Any]]

    # A value, or what becomes one when it is written down: a pickle and buffers.
    Parts: TypeAlias = bytes | list[bytes | memoryview]

_PROTOCOL = 5

# Smaller buffers are copied into the pickle: apart, each costs its alignment and a length.
_MIN_BUFFER_BYTES = 4096

# Larger buffers among arguments are values of their own, which are sent and kept once.
_MIN_KEPT_BYTES = 64 << 10

_CONTAINER = 1
_FIRST = Struct("<B7xQ")
_PART = Struct("<QQ")

# What stands in the place of an offset, before the number of an input.
_IS_INPUT = (1 << 64) - 1

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
    inputs: "Sequence[Any]" = ()
    values: "dict[int, Any] | None" = None
    # The bytes among the arguments of the running task, and where they were copied from.
    copied: "list[tuple[bytes, memoryview]]" = []


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
        pickled, buffers = dump_apart(_with_whole_bytes(positional, named), own_modules)
    except EndedBefore:
        raise
    except Exception as error:
        raise NotSerializable(_explain_arguments(positional, named, own_modules, error)) from error
    finally:
        _context.dependencies, _context.client = outer
    dependencies = list(found.values())
    if buffers:
        pickled = _keep_large(pickled, buffers, client, dependencies)
    return pickled, dependencies


def loads_arguments(pickled: bytes, inputs: "Sequence[Any]") -> "Arguments":
    """Bring back what `dumps_arguments` has written, with the values of the dependencies."""
    _context.copied = []
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
    parts = dumps_parts(result, own_modules)
    return parts if isinstance(parts, bytes) else _gather(parts)


def dumps_parts(result: "Any", own_modules: "Sequence[str]" = OWN_MODULES) -> "Parts":
    """Do as `dumps_result`, and leave large buffers where they are: they may be written to later.

    Returns
    -------
    bytes or list
        What `WorkerLink.finished` and `Connection.put` take.
    """
    copied, _context.copied = _context.copied, []
    try:
        pickled, buffers = dump_apart(_whole(result, copied), own_modules)
    except Exception as error:
        raise NotSerializable(_explain(result, "the value", own_modules, error)) from error
    return [pickled, *(buffer.raw() for buffer in buffers)] if buffers else pickled


def loads_result(pickled: "Any") -> "Any":
    """Bring back what `dumps_result` has written, from bytes or from memory of one's own."""
    return _load(pickled)


def describe_exception(error: BaseException, node_name: str, task_name: str) -> bytes:
    """Write down an exception so that it arrives, whatever it is."""
    _context.copied = []
    own_type = type(error)
    description = (
        f"{own_type.__module__}.{own_type.__qualname__}".removeprefix("builtins."),
        _message_of(error),
        _lines_of(error),
        _notes_of(error),
        _dump_or_none(error),
        node_name,
        task_name,
    )
    return dumps(description, _PROTOCOL)


def restore_exception(description: bytes) -> BaseException:
    """Bring back what `describe_exception` has written, or `TaskFailed` in its place.

    The traceback stands in the exception's `__cause__`, as in `concurrent.futures`. What is no
    such description is a sentence that a node has written, or, after the byte 2, one of its store.
    """
    if description[:1] == b"\x02":
        return StoreFull(description[1:].decode(errors="replace"))
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
    pickled, buffers = dump_apart(value, own_modules)
    return _gather([pickled, *(buffer.raw() for buffer in buffers)]) if buffers else pickled


def dump_apart(
    value: "Any", own_modules: "Sequence[str]" = OWN_MODULES
) -> "tuple[bytes, list[PickleBuffer]]":
    """Give the pickle of a value and the large buffers that belong to it."""
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
    return pickled, buffers


def _names_any(pickled: bytes, modules: "Sequence[str]") -> bool:
    """Whether a pickle names any of the user's modules, or something within them."""
    if modules is OWN_MODULES:
        return False
    import re

    names = b"|".join(re.escape(name.encode()) for name in modules)
    pattern = _MODULE_BEGIN + b"(?:" + names + b")" + _MODULE_END
    return re.search(pattern, pickled, re.DOTALL) is not None


def _dump_by_value(
    value: "Any", own_modules: "Sequence[str]"
) -> "tuple[bytes, list[PickleBuffer]]":
    from hurricane._by_value import dumps as dumps_by_value

    buffers: list[PickleBuffer] = []
    return dumps_by_value(value, _PROTOCOL, _collector(buffers), own_modules), buffers


class _Whole:
    """Bytes that are large and stand for themselves: pickled like the buffer of an array."""

    __slots__ = ("_buffer", "_restore")

    def __init__(self, restore: "Callable[[Any], Any]", buffer: "Any") -> None:
        self._restore = restore
        self._buffer = buffer

    def __reduce_ex__(self, _protocol: "Any") -> "Any":
        return self._restore, (PickleBuffer(self._buffer),)


def _whole(value: "Any", copied: "Sequence[tuple[bytes, memoryview]]" = ()) -> "Any":
    """Give what is to be pickled in the place of a value, which most often is the value.

    `copied` says of bytes where they were copied from: they need not be copied back.
    """
    kind = type(value)
    if (kind is not bytes and kind is not bytearray) or len(value) < _MIN_KEPT_BYTES:
        return value
    if kind is bytearray:
        return _Whole(bytearray, value)
    for made, source in copied:
        if made is value:
            return _Whole(_bytes_of, source)
    return _Whole(_bytes_of, value)


def _with_whole_bytes(positional: "tuple[Any, ...]", named: "dict[str, Any]") -> "Arguments":
    large = {id(value): _whole(value) for value in (*positional, *named.values())}
    return (
        tuple([large[id(value)] for value in positional]),
        {name: large[id(value)] for name, value in named.items()},
    )


def _bytes_of(buffer: "Any") -> bytes:
    from hurricane._native import copied

    made = copied(buffer)
    if _context.values is not None:
        _context.copied.append((made, memoryview(buffer)))
    return made


def _keep_large(
    pickled: bytes,
    buffers: list[PickleBuffer],
    client: "Any",
    dependencies: "list[Dependency]",
) -> bytes:
    """Write arguments with the small buffers in them, and values in the place of the large ones."""
    keeper: Keeper | None = client if hasattr(client, "keep_buffer") else None
    parts: list[Any] = [pickled]
    for buffer in buffers:
        raw = buffer.raw()
        if keeper is None or raw.nbytes < _MIN_KEPT_BYTES:
            parts.append(raw)
        else:
            # In one call none stands twice: the task may write to each.
            kept = keeper.keep_buffer(raw, [found.number for found in dependencies])
            parts.append(len(dependencies))
            dependencies.append(kept)
    return _gather(parts)


def _gather(parts: "Sequence[Any]") -> bytes:
    from hurricane._native import gather

    return gather(list(parts))


def _collector(buffers: list[PickleBuffer]) -> "Callable[[PickleBuffer], bool]":
    def collect(buffer: PickleBuffer) -> bool:
        """Keep a large buffer apart; true leaves a small one in the pickle."""
        if memoryview(buffer).nbytes < _MIN_BUFFER_BYTES:
            return True
        buffers.append(buffer)
        return False

    return collect


def _load(pickled: "Any") -> "Any":
    if pickled.__class__ is bytes and pickled[0] != _CONTAINER:
        return loads(pickled)
    view = memoryview(pickled)
    return _unpack(view) if view[0] == _CONTAINER else loads(view)


def _unpack(container: memoryview) -> "Any":
    _, count = _FIRST.unpack_from(container)
    places = _PART.iter_unpack(container[_FIRST.size : _FIRST.size + count * _PART.size])
    pickled, *buffers = [_part(container, *place) for place in places]
    return loads(pickled, buffers=buffers)


def _part(container: memoryview, offset: int, length: int) -> "Any":
    if offset == _IS_INPUT:
        part = memoryview(_context.inputs[length])
    else:
        part = container[offset : offset + length]
    # What is no memory of one's own is copied: much software cannot work on read-only arrays.
    return bytearray(part) if part.readonly else part


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
    except BaseException:  # It is described in words beside.
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
    except BaseException:  # Written by the user, as everything about it.
        return ""


def _lines_of(error: BaseException) -> str:
    import traceback

    frames = _users_part(error)
    try:
        return "".join(traceback.format_exception(type(error), error, frames))
    except BaseException:  # Its notes, its message, or what else is looked at.
        return "".join(traceback.format_tb(frames)) + type(error).__qualname__ + "\n"


def _notes_of(error: BaseException) -> list[str]:
    try:
        return [str(note) for note in getattr(error, "__notes__", ())]
    except BaseException:
        return []


def _users_part(error: BaseException) -> "Any":
    """The traceback without the frames of hurricane that called the user's function."""
    frames = error.__traceback__
    while frames is not None and _is_own(frames.tb_frame.f_globals):
        frames = frames.tb_next
    return frames or error.__traceback__


def _is_own(scope: "dict[str, Any]") -> bool:
    return str(scope.get("__name__", "")).startswith("hurricane.")
