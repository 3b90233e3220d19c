"""Values that travel together and share nothing: those of the items of a group.

How items are grouped is chance, and must not be seen. In one pickle, what several items refer to
would be one object at the other end, and an item that cannot be written or read would take all
others along. Workers import this: it imports little.
"""

from _pickle import PickleBuffer, loads
from itertools import chain

from hurricane._serialize import OWN_MODULES, dump_apart, dumps_parts

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from typing import Any, TypeAlias

    # A pickle, or one with the large buffers that belong to it.
    Pickled: TypeAlias = bytes | tuple[bytes | PickleBuffer, ...]

# Values of which it cannot be seen whether they are shared. All that is in them is in them alone.
_CONSTANT = frozenset({type(None), bool, int, float, complex, str, bytes})
_TUPLES = frozenset({tuple})


def are_constant(values: "Sequence[Any]") -> bool:
    """Whether nobody could tell if some of these values were one object.

    Examples
    --------
    >>> are_constant([1, "two"]), are_constant([(1, 2), (3, 4)]), are_constant([[1], [2]])
    (True, True, False)
    """
    if type(values) is range:
        return True
    others = set(map(type, values)) - _CONSTANT
    if others == _TUPLES:
        tuples = (value for value in values if type(value) is tuple)
        others = set(map(type, chain.from_iterable(tuples))) - _CONSTANT
    return not others


class Rows(list["tuple[Any, ...]"]):
    """The arguments of several calls, each pickled for itself."""

    def __init__(
        self, rows: "Iterable[tuple[Any, ...]]", own_modules: "Sequence[str]" = OWN_MODULES
    ) -> None:
        super().__init__(rows)
        self._own_modules = own_modules

    def __reduce_ex__(self, _protocol: "Any") -> "tuple[Any, ...]":
        return _read_rows, ([_write(row, self._own_modules) for row in self],)


def _read_rows(pickles: "Iterable[Pickled]") -> Rows:
    return Rows(map(_read, pickles))


class Values:
    """Results of several calls, each pickled for itself, and read when it is its turn.

    Examples
    --------
    >>> values = Values.written([[1], (i for i in []), [3]], lambda error: b"no")
    >>> values.failures, values.read(0), values.read(2)
    ({1: b'no'}, [1], [3])
    """

    def __init__(self, pickles: "list[Pickled | None]", failures: "dict[int, bytes]") -> None:
        self.failures = failures
        self._pickles = pickles

    @classmethod
    def written(
        cls, values: "Iterable[Any]", describe: "Callable[[BaseException], bytes]"
    ) -> "Values":
        """Write values; what cannot be is described in its place."""
        pickles: list[Pickled | None] = []
        failures: dict[int, bytes] = {}
        for value in values:
            try:
                pickles.append(_write_result(value))
            except BaseException as error:  # Its class is the user's.
                failures[len(pickles)] = describe(error)
                pickles.append(None)
        return cls(pickles, failures)

    def read(self, index: int) -> "Any":
        """Read one, and hold it no more."""
        pickled, self._pickles[index] = self._pickles[index], None
        return None if pickled is None else _read(pickled)

    def __len__(self) -> int:
        return len(self._pickles)

    def __reduce__(self) -> "tuple[Any, ...]":
        return Values, (self._pickles, self.failures)


def _write(value: "Any", own_modules: "Sequence[str]") -> "Pickled":
    pickled, buffers = dump_apart(value, own_modules)
    return (pickled, *buffers) if buffers else pickled


def _write_result(value: "Any") -> "Pickled":
    parts = dumps_parts(value)
    if isinstance(parts, bytes):
        return parts
    pickled, *buffers = parts
    return (bytes(pickled), *map(PickleBuffer, buffers))


def _read(pickled: "Pickled") -> "Any":
    if isinstance(pickled, bytes):
        return loads(pickled)
    first, *buffers = pickled
    return loads(first, buffers=buffers)
