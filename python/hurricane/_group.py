"""What a worker runs for a group of items of a `map`. Workers import this: it imports nothing.

Lists of nothing but integers, or of nothing but floats, go back packed: that takes half the time of
pickling them, at both ends.
"""

import sys
from _struct import pack, unpack_from
from time import perf_counter

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from typing import Any

_NUMBER_BYTES = 8


class Group:
    """A function that is called with each of several items, whatever single calls raise.

    Examples
    --------
    >>> seconds, values, failures = Group(divmod)([7, 1, 9], [2, 0, 4])
    >>> values, list(failures)
    ([(3, 1), None, (2, 1)], [1])
    >>> seconds, values, failures = Group(abs)([-1, -2])
    >>> list(unpacked(values)), failures
    ([1, 2], {})
    """

    def __init__(self, function: "Callable[..., Any]") -> None:
        self.function = function

    def __call__(
        self, *columns: "Sequence[Any]"
    ) -> "tuple[float, list[Any] | bytes, dict[int, bytes]]":
        """Call the function with each row.

        Returns
        -------
        tuple
            Seconds it took; the values, None where there is none, or all of them packed; and the
            descriptions of the exceptions, by their places.
        """
        began = perf_counter()
        count = len(columns[0])
        values: list[Any] = []
        failures: dict[int, bytes] = {}
        calls = map(self.function, *columns)
        while len(values) < count:
            try:
                values.extend(calls)
                if len(values) < count:
                    # The loop in `extend` takes it for the end.
                    raise StopIteration  # noqa: TRY301 - described below, as any other
            except BaseException as error:
                failures[len(values)] = self._describe(error)
                values.append(None)
        seconds = perf_counter() - began
        return seconds, _packed(values) or values, failures

    def _describe(self, error: BaseException) -> bytes:
        from hurricane._serialize import describe_exception

        worker = sys.modules.get("hurricane._worker")
        link = worker.current() if worker is not None else None
        node_name = link.node_name() if link is not None else ""
        name = getattr(self.function, "__name__", type(self.function).__name__)
        return describe_exception(error, node_name, name)


def _packed(values: "list[Any]") -> bytes:
    """Pack numbers into eight bytes each; nothing if they are not all alike, or too large."""
    kind = type(values[0])
    letter = "q" if kind is int else "d" if kind is float else None
    # A look at the last one spares the look at all of them, mostly.
    if letter is None or type(values[-1]) is not kind:
        return b""
    try:
        if set(map(type, values)) != {kind}:
            return b""
        return letter.encode() + pack(f"<{len(values)}{letter}", *values)
    except Exception:  # `struct.error`, which has no name where nothing more is imported.
        return b""


def unpacked(packed: bytes) -> "Iterator[Any]":
    """Iterate over numbers that were packed."""
    count = (len(packed) - 1) // _NUMBER_BYTES
    return iter(unpack_from(f"<{count}{packed[:1].decode()}", packed, 1))
