"""How many items of a `map` make a task, and how many are read ahead of what was consumed.

Short calls should share a task, or the way there and back costs more than the work; long ones
should not, or some slots idle while one works a group off. What a call takes is only known when
some have been measured, so the rule is:

- An input no longer than `_SINGLES_PER_SLOT` for each slot is not grouped at all.
- Where the function has been measured, a group aims at `_TARGET_SECONDS` of work, and at results
  that travel inline.
- Until then, groups grow with what was given out before: the first ones are single items. Where
  the input is not submitted at once anyway, few of them go ahead of the first measurement.
- No group is larger than its share of what is left, so that all slots finish together, or of what
  may be read ahead.
"""

from typing import NamedTuple

# Inputs with a length up to this are submitted at once, as `Executor.map` does with all.
MAX_EAGER_ITEMS = 100_000

# Of all others, so many items for each slot are read ahead of what was consumed.
_MAX_ITEMS_AHEAD_PER_SLOT = 1_000

# Some hundred times what a task costs on its way, and short enough to balance well.
_TARGET_SECONDS = 0.002

# The results of a group: what is larger than 64 KiB goes by way of a node's store.
_TARGET_RESULT_BYTES = 48 << 10

# Inputs this short are cheap to submit one by one, and may take any time.
_SINGLES_PER_SLOT = 32

# A group is at most this part of what was given out before, and of what is left, for each slot.
_PARTS_OF_GIVEN = 8
_PARTS_OF_REST = 2

# But tasks at the end that cost more on their way than they work end nothing sooner.
_PARTS_OF_WISHED = 16

# So many tasks for each slot lie ahead, where they are measured and there are as many items.
_CHUNKS_AHEAD_PER_SLOT = 4

# At least so many do, however few items may be read ahead: one runs, the other waits.
_MIN_CHUNKS_AHEAD_PER_SLOT = 2


class Measured(NamedTuple):
    """What a call of a function takes.

    Attributes
    ----------
    seconds : float
        Its time.
    result_bytes : float
        The size of its result, pickled.
    weight : float
        The seconds of work that this was learned from, as far as they count.
    """

    seconds: float
    result_bytes: float
    weight: float

    @classmethod
    def of(cls, seconds: float, result_bytes: float, calls: int) -> "Measured":
        """Take the mean of some calls in one task."""
        return cls(seconds / calls, result_bytes / calls, min(seconds, _TARGET_SECONDS))

    def after(self, older: "Measured | None") -> "Measured":
        """Give the mean with what was known before: single measurements jump.

        Small groups take longer than their calls do, so they weigh as little as they worked. But a
        call that was quicker is believed: what was slow may have been a first call's imports.
        """
        if older is None:
            return self
        weight = older.weight + self.weight
        share = self.weight / weight if weight > 0 else 1.0
        if self.seconds < older.seconds:
            share = max(share, 0.5)
        return Measured(
            older.seconds + share * (self.seconds - older.seconds),
            older.result_bytes + share * (self.result_bytes - older.result_bytes),
            min(weight, _TARGET_SECONDS),
        )


class Sizes:
    """The sizes of the tasks of one `map`.

    Parameters
    ----------
    slots
        How many tasks run at a time.
    length
        How many items there are, if that is known.
    fixed
        How many items each task gets, if that was asked for.
    known
        What was measured of the function before.

    Examples
    --------
    >>> quick = Measured.of(seconds=1e-3, result_bytes=4_000, calls=1_000)
    >>> sizes = Sizes(2, 1_000_000, None, quick)
    >>> sizes.next()
    2000
    >>> _ = sizes.measured(Measured.of(seconds=100.0, result_bytes=4_000, calls=1_000))
    >>> sizes.next()
    1
    """

    def __init__(
        self, slots: int, length: int | None, fixed: int | None, known: Measured | None
    ) -> None:
        self._slots = slots
        self._length = length
        self._fixed = fixed
        self._known = known
        self._given = 0
        if fixed is None and length is not None and length <= slots * _SINGLES_PER_SLOT:
            self._fixed = 1

    @property
    def are_fixed(self) -> bool:
        """Whether measurements change nothing."""
        return self._fixed is not None

    def next(self) -> int:
        """How many items the next task gets."""
        if self._fixed is not None:
            return self._fixed
        wished = self._wished()
        return max(1, min(wished, self._share_of_rest(wished)))

    def most_ahead(self) -> int:
        """How many items may be ahead of what was consumed."""
        least = self._slots * _MAX_ITEMS_AHEAD_PER_SLOT
        if self._length is None:
            return least
        return max(least, min(self._slots * _CHUNKS_AHEAD_PER_SLOT * self.next(), MAX_EAGER_ITEMS))

    def are_enough(self, chunks: int, room: int) -> bool:
        """Whether no more should be submitted, with so many tasks ahead and room for more items."""
        if self._fixed is None and self._known is None:
            return chunks >= self._slots * _CHUNKS_AHEAD_PER_SLOT
        # Until there is room for a whole group: small ones that were consumed would be followed by
        # as small ones for ever.
        return room < self.next() and chunks >= self._slots * _MIN_CHUNKS_AHEAD_PER_SLOT

    def given(self, items: int) -> None:
        """Count items that a task got."""
        self._given += items

    def measured(self, measured: Measured) -> Measured:
        """Learn from a group that has ended; gives what is known by now."""
        self._known = measured.after(self._known)
        return self._known

    def _wished(self) -> int:
        known = self._known
        if known is None:
            return self._given // (self._slots * _PARTS_OF_GIVEN)
        return int(
            min(
                _TARGET_SECONDS / max(known.seconds, 1e-9),
                _TARGET_RESULT_BYTES / max(known.result_bytes, 1e-9),
            )
        )

    def _share_of_rest(self, wished: int) -> int:
        if self._length is None:
            # One more than must lie ahead: so there is room for the next before the last is begun.
            return _MAX_ITEMS_AHEAD_PER_SLOT // (_MIN_CHUNKS_AHEAD_PER_SLOT + 1)
        share = (self._length - self._given) // (self._slots * _PARTS_OF_REST)
        return max(share, wished // _PARTS_OF_WISHED)
