"""What a worker runs for a group of items of a `map`. Workers import this: it imports nothing."""

import sys
from time import perf_counter

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
    """

    def __init__(self, function: "Callable[..., Any]") -> None:
        self.function = function

    def __call__(self, *columns: "Sequence[Any]") -> "tuple[float, list[Any], dict[int, bytes]]":
        """Call the function with each row.

        Returns
        -------
        tuple
            Seconds it took; the values, None where there is none; and the descriptions of the
            exceptions, by their places.
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
        return perf_counter() - began, values, failures

    def _describe(self, error: BaseException) -> bytes:
        from hurricane._serialize import describe_exception

        worker = sys.modules.get("hurricane._worker")
        link = worker.current() if worker is not None else None
        node_name = link.node_name() if link is not None else ""
        name = getattr(self.function, "__name__", type(self.function).__name__)
        return describe_exception(error, node_name, name)
