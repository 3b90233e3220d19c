"""The zipped inputs of a `map`, taken in groups: for each iterable a column of values."""

from collections.abc import Iterable, Iterator, Sequence
from itertools import count, cycle, islice, repeat
from operator import length_hint
from time import perf_counter
from typing import Any, TypeAlias

# How long the reading of a group may take: about what its work may.
_PATIENCE_SECONDS = 0.002

Columns: TypeAlias = tuple[Sequence[Any], ...]


class Input:
    """Some iterables that are read together, as far as the shortest goes.

    Parameters
    ----------
    iterables
        The iterables. Where all are ranges, lists or tuples, columns are slices of them: a range
        travels as three numbers.

    Attributes
    ----------
    length : int | None
        How many items there are, if all iterables have a length, or have no end: those of
        `itertools`.
    is_endless : bool
        Whether there is no end.

    Examples
    --------
    >>> source = Input(["abc", range(10)])
    >>> source.length, source.take(2), source.take(2), source.take(2)
    (3, (('a', 'b'), (0, 1)), (('c',), (2,)), None)
    """

    def __init__(self, iterables: Sequence[Iterable[Any]]) -> None:
        ending = [iterable for iterable in iterables if not _has_no_end(iterable)]
        self.is_endless = not ending and bool(iterables)
        self.length = None if self.is_endless else _shortest(ending)
        self._sequences: Sequence[Any] = ()
        self._rows: Iterator[tuple[Any, ...]] = iter(())
        self._offset = 0
        self._error: Exception | None = None
        if iterables and all(type(iterable) in (range, list, tuple) for iterable in iterables):
            self._sequences = iterables
        else:
            self._rows = zip(*iterables, strict=False)

    def take(self, count: int) -> Columns | None:
        """Take the next `count` items, or as many as there are; None at the end."""
        if self._sequences:
            return self._slices(count)
        if self._error is not None:
            raise self._error
        rows: list[tuple[Any, ...]] = []
        try:
            self._read(rows, count)
        except Exception as error:
            # The iterables are the user's. What they gave before comes first, and whoever has some
            # of that left asks once more.
            self._error = error
            if not rows:
                raise
        return tuple(zip(*rows, strict=True)) if rows else None

    def _read(self, rows: list[tuple[Any, ...]], count: int) -> None:
        """Read up to `count` rows, but fewer of inputs that are slow themselves."""
        latest = perf_counter() + _PATIENCE_SECONDS
        # Twice as many each time: so a quick input is read with few looks at the clock.
        portion = 1
        while len(rows) < count:
            before = len(rows)
            rows.extend(islice(self._rows, min(portion, count - before)))
            if len(rows) == before or perf_counter() > latest:
                return
            portion *= 2

    def close(self) -> None:
        """Give nothing more."""
        self._sequences = ()
        self._rows = iter(())

    def _slices(self, count: int) -> Columns | None:
        # Asked anew each time: a list may have changed while nobody read it.
        length = min(map(len, self._sequences))
        start = self._offset
        end = self._offset = min(start + count, length)
        if start >= end:
            return None
        return tuple(sequence[start:end] for sequence in self._sequences)


def _has_no_end(iterable: Iterable[Any]) -> bool:
    if type(iterable) is repeat:
        return length_hint(iterable, -1) < 0
    return type(iterable) in (count, cycle)


def _shortest(iterables: Sequence[Iterable[Any]]) -> int | None:
    lengths = []
    for iterable in iterables:
        try:
            lengths.append(len(iterable))  # type: ignore[arg-type]  # it may have none
        except (TypeError, OverflowError):
            return None
    return min(lengths, default=0)
