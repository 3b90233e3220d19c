"""How many items of a `map` make a task: played through with made-up durations, in no time."""

import heapq
import random

import pytest

from hurricane._sizes import Measured, Sizes

RESULT_BYTES = 4

# What a task measures beside its calls.
OVERHEAD_SECONDS = 1e-6


def play(durations, slots, *, known=None, result_bytes=RESULT_BYTES):
    """Have slots work items off, each taking the next task when it is free.

    Returns the sizes of the tasks and when the last slot was done.
    """
    sizes = Sizes(slots, len(durations), None, known)
    free = [0.0] * slots
    taken = []
    begin = 0
    while begin < len(durations):
        size = min(sizes.next(), len(durations) - begin)
        sizes.given(size)
        seconds = sum(durations[begin : begin + size])
        heapq.heappush(free, heapq.heappop(free) + seconds)
        sizes.measured(Measured.of(seconds + OVERHEAD_SECONDS, result_bytes * size, size))
        taken.append(size)
        begin += size
    return taken, max(free)


def mixed(short, long, count):
    """Give durations of which as much time goes to the short as to the long ones."""
    chance = random.Random(4)
    return [long if chance.random() < short / long else short for _ in range(count)]


@pytest.mark.parametrize("slots", [1, 2, 16])
@pytest.mark.parametrize(
    "durations",
    [
        [1e-7] * 200_000,
        [1e-6] * 200_000,
        [1e-5] * 20_000,
        [1e-4] * 5_000,
        [1e-3] * 5_000,
        [1e-1] * 1_000,
        mixed(1e-6, 1e-3, 200_000),
        mixed(1e-5, 1e-1, 200_000),
        [1e-6 * 1.0001**number for number in range(100_000)],
        [1e-2] + [1e-6] * 100_000,
    ],
)
def test_all_slots_finish_together(durations, slots):
    _, end = play(durations, slots)
    # One call may be the last, and all that is shorter than a group's target is.
    assert end <= sum(durations) / slots * 1.05 + max(durations) + 0.002


@pytest.mark.parametrize("seconds", [1e-7, 1e-6, 1e-5, 1e-4])
def test_short_calls_share_tasks_that_are_worth_their_way(seconds):
    count = int(2 / seconds)
    taken, _ = play([seconds] * min(count, 1_000_000), 2)
    tasks = len(taken)
    assert tasks < min(count, 1_000_000) / max(1, min(0.002 / seconds, 48_000 / 4)) * 1.2 + 120
    assert max(taken) * seconds <= 0.0021


def test_long_calls_go_one_by_one():
    taken, _ = play([0.1] * 500, 2)
    assert max(taken) == 1
    assert max(play([0.0015] * 500, 2)[0]) == 1


def test_small_groups_at_the_end_spoil_nothing():
    sizes = Sizes(2, None, None, None)
    for _ in range(5):
        sizes.measured(Measured.of(5e-4, 20_000, 5_000))
    known = Measured.of(5e-4, 20_000, 5_000)
    for _ in range(40):
        known = sizes.measured(Measured.of(2e-6, 30, 1))
    assert known.seconds < 2e-7


def test_a_function_that_has_become_quick_is_grouped_again():
    slow, quick = [0.01] * 100, [1e-6] * 50_000
    taken, _ = play(slow + quick, 2)
    assert len(taken) < 100 + 200


def test_a_slow_first_call_is_soon_forgotten():
    taken, _ = play([0.5] + [1e-6] * 199_999, 2)
    assert len(taken) < 300


def test_large_results_keep_groups_small():
    taken, _ = play([1e-6] * 10_000, 2, result_bytes=10_000)
    assert max(taken) <= 5


def test_nothing_unmeasured_goes_far_ahead():
    sizes = Sizes(2, 1_000_000, None, None)
    assert not sizes.are_enough(7, 2_000)
    assert sizes.are_enough(8, 2_000)
    sizes.measured(Measured.of(1e-4, 400, 100))
    assert not sizes.are_enough(8, 2_000)


@pytest.mark.parametrize("known", [None, Measured.of(1e-6, 1e-6, 1_000)])
def test_what_is_ahead_is_bounded(known):
    assert Sizes(2, None, None, known).most_ahead() == 2_000
    assert Sizes(2, 10**9, None, known).most_ahead() <= 100_000
    assert Sizes(500, 10**9, None, known).most_ahead() == 500_000
    assert Sizes(2, None, None, known).next() <= 2_000 / 6


def test_a_size_that_was_given_stays():
    sizes = Sizes(2, 1_000_000, 50_000, None)
    assert sizes.next() == 50_000
    assert sizes.most_ahead() == 100_000
    assert sizes.are_fixed
    assert Sizes(2, 64, None, None).are_fixed
    assert not Sizes(2, 65, None, None).are_fixed
