"""`map`: how inputs become tasks, and results come back in order.

How many items make a task stands in `_sizes.py`. An item that ends its worker, or cannot be
pickled, must not take its group along: a group that fails as a whole is tried again item by item.
Nor must it be seen which items make a group: they share nothing. Only of a function that keeps
something between calls, those of one group are calls; so they are grouped if somebody asks for it.

Nobody is called back for what ends as it should: futures that are only waited for, one after the
other, cost the least.
"""

import sys
import threading
import time
from array import array
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from itertools import chain, repeat
from typing import Any, Self, TypeVar

from hurricane._apart import Rows, Values, are_constant
from hurricane._columns import Columns, Input
from hurricane._delivery import Delivery
from hurricane._ending import concerns_all_calls, unreadable
from hurricane._functions import name_of
from hurricane._future import Future
from hurricane._group import Group
from hurricane._options import Options
from hurricane._progress import Progress
from hurricane._reuse import is_unchanging
from hurricane._serialize import restore_exception
from hurricane._sizes import MAX_EAGER_ITEMS, Measured, Sizes

T = TypeVar("T")

# How often a progress bar is looked after while nothing else happens.
_PROGRESS_SECONDS = 0.1

# What a group's results take beside the values.
_FRAME_BYTES = 64

# More than what travels inline.
_STORED_BYTES = 128 << 10


class Mapping:
    """One call of `map`: what of its input was submitted and has not been consumed."""

    def __init__(
        self,
        delivery: Delivery,
        options: Options,
        function: Callable[..., Any],
        source: Input,
        *,
        chunksize: int | None,
        progress: Progress | None,
    ) -> None:
        self._delivery = delivery
        self._options = options
        self._single = delivery.encode(function, options.name)
        self._group = delivery.encode(Group(function), options.name or name_of(function))
        self._input = source
        self._progress = progress
        self._chunks: deque[_Chunk] = deque()
        self._ahead = 0
        self._is_wanted = True
        may_group = chunksize is not None or is_unchanging(function)
        self._sizes = Sizes(
            delivery.slots,
            source.length,
            1 if options.count_each_call or not may_group else chunksize,
            delivery.measured.get(self._group.pickled),
        )
        self.trying_again = threading.RLock()

    def begin(self) -> None:
        """Submit what is to be submitted at once."""
        if self._input.length is not None and self._input.length <= MAX_EAGER_ITEMS:
            self.read_all()
        else:
            self._read_ahead(0)
            if not self._input.is_endless:
                self._delivery.unread.add(self)

    def read_on_demand(self) -> None:
        """Read no more than what is asked for: from now on, somebody asks."""
        self._delivery.unread.discard(self)

    def read_all(self) -> None:
        """Submit all that is left."""
        while self._submit_next(MAX_EAGER_ITEMS):
            pass

    def next_chunk(self, consumed: int) -> "_Chunk | None":
        """Give what comes next, after `consumed` more items were consumed; None at the end."""
        self._ahead -= consumed
        try:
            self._read_ahead(consumed)
        except Exception:
            # The input's own: it is raised in its place, after what came before it.
            if not self._chunks:
                raise
        return self._chunks.popleft() if self._chunks else None

    def put_back(self, chunks: "Iterable[_Chunk]") -> None:
        """Have these come next."""
        self._chunks.extendleft(reversed(list(chunks)))

    def abandon(self) -> None:
        """Cancel what is left. May be called by a finalizer."""
        self.read_on_demand()
        self._input.close()
        for chunk in self._chunks:
            self._delivery.cancel_later(chunk.futures())
        self._chunks.clear()

    def forget_results(self) -> None:
        """Nobody will ask for a result. May be called by a finalizer."""
        self._is_wanted = False
        self._chunks.clear()

    def makes_group_of(self, columns: Columns) -> bool:
        """Whether these items go as a group, be it of one: only groups are measured."""
        return len(columns[0]) > 1 or not self._sizes.are_fixed

    def submit_group(self, columns: Columns) -> Future[Any]:
        """Submit several items as one task."""
        arguments: tuple[Any, ...] = columns
        if len(columns[0]) > 1 and not all(map(are_constant, columns)):
            arguments = (Rows(zip(*columns, strict=True), self._delivery.own_modules),)
        return self._delivery.submit(self._group, self._options, arguments, {})

    def submit_single(self, columns: Columns) -> Future[Any]:
        """Submit one item as a task of its own."""
        item = tuple(column[0] for column in columns)
        return self._delivery.submit(self._single, self._options, item, {})

    @property
    def counts_ended(self) -> bool:
        """Whether somebody wants to know how many items have ended."""
        return self._progress is not None

    def on_chunk_done(self, items: int) -> None:
        """Count items that have ended."""
        if self._progress is not None:
            self._progress.add(items)

    def on_group_measured(self, measured: Measured) -> None:
        """Learn what the calls of a group took."""
        self._delivery.measured[self._group.pickled] = self._sizes.measured(measured)

    def _read_ahead(self, consumed: int) -> None:
        """Keep the slots busy, but read no more than is allowed.

        An input may be slow itself. So once the next result is here, it is handed out before more
        than twice of what was consumed is read.
        """
        read = 0
        while (room := self._sizes.most_ahead() - self._ahead) > 0:
            if read > 2 * consumed and self._chunks and self._chunks[0].is_done():
                break
            if self._sizes.are_enough(len(self._chunks), room):
                break
            count = self._submit_next(room)
            if not count:
                break
            read += count

    def _submit_next(self, most: int) -> int:
        """Submit the next task; how many items it got."""
        columns = self._input.take(min(self._sizes.next(), most))
        if columns is None:
            return 0
        chunk = _Chunk(self, columns, is_group=self.makes_group_of(columns))
        if self._is_wanted:
            self._chunks.append(chunk)
        self._sizes.given(chunk.size)
        self._ahead += chunk.size
        return chunk.size


class Results(chain[T]):
    """The results of a `map`, in order: an iterator, with the speed of `itertools.chain`.

    Where an item has raised, so does `next`, and goes on with the item after it.
    """

    _chunks: "_ResultsByChunk"

    @classmethod
    def of(cls, mapping: Mapping, deadline: float | None, progress: Progress | None) -> Self:
        """Give the results of a mapping that has begun."""
        chunks = _ResultsByChunk(mapping, deadline, progress)
        results: Self = cls.from_iterable(chunks)  # type: ignore[assignment]  # it is of `cls`
        results._chunks = chunks
        return results

    def close(self) -> None:
        """Cancel what was not consumed."""
        self._chunks.close()


class _ResultsByChunk(Iterator[Iterable[Any]]):
    """For each task of a mapping, an iterator over the results in it."""

    def __init__(self, mapping: Mapping, deadline: float | None, progress: Progress | None) -> None:
        self._mapping = mapping
        self._deadline = deadline
        self._progress = progress
        self._is_started = False
        self._handed_out = 0
        self._advancing = threading.Lock()

    def __next__(self) -> Iterable[Any]:
        # What two threads at once would take for theirs, one of them would never see.
        if not self._advancing.acquire(blocking=False):
            msg = "another thread waits for the next of these results; take them in one"
            raise ValueError(msg)
        try:
            return self._next()
        finally:
            self._advancing.release()

    def _next(self) -> Iterable[Any]:
        if not self._is_started:
            self._is_started = True
            self._mapping.read_on_demand()
        while True:
            chunk = self._mapping.next_chunk(self._handed_out)
            self._handed_out = 0
            if chunk is None:
                self.close()
                raise StopIteration
            self._wait_for(chunk)
            parts = chunk.tried_again()
            if parts is None:
                self._handed_out = chunk.size
                return chunk.results()
            self._mapping.put_back(parts)

    def close(self) -> None:
        self._mapping.abandon()
        if self._progress is not None:
            self._progress.close()

    def __del__(self) -> None:
        # As in the standard library: who never began to iterate wants the calls, not the results.
        if self._is_started:
            self._mapping.abandon()
        else:
            self._mapping.forget_results()

    def _wait_for(self, chunk: "_Chunk") -> None:
        try:
            while not chunk.wait(self._seconds_to_wait()):
                self._check_deadline()
                self._look_after_progress()
            self._look_after_progress()
        except BaseException:
            self._mapping.put_back([chunk])
            self.close()
            raise

    def _seconds_to_wait(self) -> float | None:
        if self._deadline is None:
            return None if self._progress is None else _PROGRESS_SECONDS
        left = self._deadline - time.monotonic()
        return left if self._progress is None else min(left, _PROGRESS_SECONDS)

    def _check_deadline(self) -> None:
        if self._deadline is not None and time.monotonic() >= self._deadline:
            raise TimeoutError

    def _look_after_progress(self) -> None:
        if self._progress is not None:
            self._progress.show()


class _Chunk:
    """Some items that were submitted as one task."""

    def __init__(self, mapping: Mapping, columns: Columns, *, is_group: bool) -> None:
        self.size = len(columns[0])
        self._mapping = mapping
        self._columns: Columns | None = columns
        self._parts: list[_Chunk] | None = None
        self._is_group = is_group
        self._future = (mapping.submit_group if is_group else mapping.submit_single)(columns)
        if self.size > 1:
            # Not only when somebody asks: a client waits for all pending tasks before it ends, and
            # there must be no moment without pending ones between the two tries.
            self._future.call_if_failed(self.tried_again)
        if mapping.counts_ended:
            self._future.call_when_done(self._on_done)

    def is_done(self) -> bool:
        return self._future.done()

    def futures(self) -> "list[Future[Any]]":
        return [self._future] if self._parts is None else [part._future for part in self._parts]

    def wait(self, timeout: float | None) -> bool:
        """Wait until the task has ended; whether it has."""
        return self._future._wait_for_end(timeout)

    def tried_again(self) -> "list[_Chunk] | None":
        """Give the items one by one, if the task failed and its items need not."""
        if self.size > 1 and not concerns_all_calls(self._future._ending):
            self._try_again()
        return self._parts

    def results(self) -> Iterable[Any]:
        """Iterate over the results, holding none that was handed out."""
        value, error = self._future._open()
        if error is not None:
            return _Outcomes([None] * self.size, dict.fromkeys(range(self.size), error))
        if not self._is_group:
            return _handing_out([value])
        seconds, values, descriptions = value
        self._mapping.on_group_measured(Measured.of(seconds, self._bytes(), self.size))
        if isinstance(values, bytes):
            # Numbers are small: they may be held until all are handed out.
            return _unpacked(values)
        if isinstance(values, Values):
            return _OutcomesApart(values, {**values.failures, **descriptions}, self._future._name)
        if not descriptions:
            return _handing_out(values)
        return _Outcomes(
            values, {index: restore_exception(text) for index, text in descriptions.items()}
        )

    def _bytes(self) -> int:
        """How large the results are; of those in a store it is enough to know that they are."""
        ending = self._future._ending
        return max(0, len(ending) - _FRAME_BYTES) if isinstance(ending, bytes) else _STORED_BYTES

    def _on_done(self, _future: object) -> None:
        if self.tried_again() is None:
            self._mapping.on_chunk_done(self.size)

    def _try_again(self) -> None:
        with self._mapping.trying_again:
            if self._parts is not None or self._columns is None:
                return
            items = [
                tuple(column[index : index + 1] for column in self._columns)
                for index in range(self.size)
            ]
            self._columns = None
            try:
                self._parts = [_Chunk(self._mapping, item, is_group=False) for item in items]
            except RuntimeError:  # The client is gone: what there is must do.
                return


class _Outcomes(Iterator[Any]):
    """Results of which some are exceptions."""

    def __init__(self, values: list[Any], errors: dict[int, BaseException]) -> None:
        values.reverse()
        self._values = values
        self._errors = errors
        self._index = -1

    def __next__(self) -> Any:
        if not self._values:
            raise StopIteration
        self._index += 1
        value = self._values.pop()
        if self._index in self._errors:
            raise _not_an_end(self._errors.pop(self._index))
        return value


class _OutcomesApart(Iterator[Any]):
    """Results that are read one by one, some of which are exceptions."""

    def __init__(self, values: Values, failures: dict[int, bytes], name: str) -> None:
        self._name = name
        self._values = values
        self._failures = failures
        self._places = iter(range(len(values)))

    def __next__(self) -> Any:
        index = next(self._places)
        if index in self._failures:
            raise _not_an_end(restore_exception(self._failures.pop(index)))
        try:
            return self._values.read(index)
        except Exception as error:
            raise unreadable(error, self._name) from error


def _not_an_end(error: BaseException) -> BaseException:
    """Give the exception that an iterator may raise for `error`, as generators do."""
    if not isinstance(error, StopIteration):
        return error
    substitute = RuntimeError("a call of the mapped function raised StopIteration")
    substitute.__cause__ = error
    return substitute


def _handing_out(values: list[T]) -> Iterator[T]:
    """Iterate over a list and take out each value as it is handed out, at C's speed."""
    values.reverse()
    return map(list.pop, repeat(values, len(values)))


def _unpacked(packed: bytes) -> list[Any]:
    """Give the numbers that `pack_numbers` has packed."""
    numbers = array(packed[:1].decode())
    numbers.frombytes(memoryview(packed)[1:])
    if sys.byteorder == "big":
        numbers.byteswap()
    return numbers.tolist()
