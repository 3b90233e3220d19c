"""What a worker runs for a group of items of a `map`. Workers import this: it imports little.

Lists of nothing but integers, or of nothing but floats, go back packed: that takes a fraction of
the time of pickling them, at both ends. What is no constant goes back item by item.
"""

import sys
from time import perf_counter

from hurricane._apart import Rows, Values, are_constant
from hurricane._native import pack_numbers
from hurricane._reuse import is_unchanging

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

    @property
    def calls_unchanging(self) -> bool:
        """Whether nothing that a group does is left behind for the next."""
        return is_unchanging(self.function)

    def __call__(
        self, *columns: "Sequence[Any]"
    ) -> "tuple[float, list[Any] | bytes | Values, dict[int, bytes]]":
        """Call the function with each row.

        Parameters
        ----------
        *columns
            A column of values for each argument, or `Rows` alone.

        Returns
        -------
        tuple
            Seconds it took; the values, None where there is none, all of them packed, or each
            pickled for itself; and the descriptions of the exceptions, by their places.
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
        packed = pack_numbers(values)
        if packed is None and count > 1 and not are_constant(values):
            return seconds, Values.written(values, self._describe), failures
        return seconds, packed or values, failures

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
    if type(columns[0]) is Rows:
        for row in rest[0]:
            values.append(function(*row))
    elif len(rest) == 1:
        for item in rest[0]:
            values.append(function(item))
    else:
        for row in zip(*rest, strict=True):
            values.append(function(*row))
