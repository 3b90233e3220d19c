"""What a worker runs for a group of items of a `map`. Workers import this: it imports little.

Lists of nothing but integers, or of nothing but floats, go back packed: that takes a fraction of
the time of pickling them, at both ends.
"""

import sys
from time import perf_counter

from hurricane._native import pack_numbers

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import Any


class Group:
    """A function that is called with each of several items, whatever single calls raise.

    Examples
    --------
    >>> seconds, values, failures = Group(divmod)([7, 1, 9], [2, 0, 4])
    >>> values, list(failures)
    ([(3, 1), None, (2, 1)], [1])
    >>> seconds, values, failures = Group(abs)([-1.0, -2.0])
    >>> values[:1], len(values), failures
    (b'd', 17, {})
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
        while len(values) < count:
            try:
                _call_each(self.function, columns, values)
            except BaseException as error:
                failures[len(values)] = self._describe(error)
                values.append(None)
        seconds = perf_counter() - began
        return seconds, pack_numbers(values) or values, failures

    def _describe(self, error: BaseException) -> bytes:
        from hurricane._serialize import describe_exception

        worker = sys.modules.get("hurricane._worker")
        link = worker.current() if worker is not None else None
        node_name = link.node_name() if link is not None else ""
        name = getattr(self.function, "__name__", type(self.function).__name__)
        return describe_exception(error, node_name, name)


def _call_each(
    function: "Callable[..., Any]", columns: "tuple[Sequence[Any], ...]", values: "list[Any]"
) -> None:
    """Call a function with each row that has no value yet.

    By loops in Python: its own functions are called twice as fast from there as from `map`.
    """
    rest = [column[len(values) :] for column in columns] if values else columns
    if len(rest) == 1:
        for item in rest[0]:
            values.append(function(item))
    else:
        for row in zip(*rest, strict=True):
            values.append(function(*row))
