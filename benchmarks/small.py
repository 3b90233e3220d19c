"""Works of many small tasks: W1, W2, W3, W5, W6, and tasks of several durations."""

import statistics
import sys
from collections.abc import Callable
from time import perf_counter
from typing import Any

from benchmarks import tasks
from benchmarks.systems import SYSTEMS, WORKERS, System
from benchmarks.works import DURATIONS

Figures = dict[str, float]

_ROUND_TRIPS = 1000
_ROUND_TRIP_SECONDS = 2.0
_NOOPS = 20_000
_ITEMS = 200_000
_LEAVES = 1000


def measure(work: str, system: str) -> Figures:
    """Do a work once with a system; returns the figure of each of its rows."""
    with SYSTEMS[system]() as running:
        running.warm_up()
        return _MEASURES[work](running)


def _round_trips(running: System, noop: Callable[..., Any] = tasks.noop) -> Figures:
    for _ in range(100):
        running.call(noop)
    samples: list[float] = []
    until = perf_counter() + _ROUND_TRIP_SECONDS
    while len(samples) < _ROUND_TRIPS and (began := perf_counter()) < until:
        running.call(noop)
        samples.append(perf_counter() - began)
    return {"W1": statistics.median(samples) * 1e6}


def _noops(running: System, noop: Callable[..., Any] = tasks.noop) -> Figures:
    arguments: list[tuple[Any, ...]] = [()] * _NOOPS
    running.call(noop)
    began = perf_counter()
    running.results(running.submit(noop, arguments))
    return {"W2": _NOOPS / (perf_counter() - began)}


def _round_trips_of_main(running: System) -> Figures:
    return {"W1m": _round_trips(running, sys.modules["__main__"].noop)["W1"]}


def _noops_of_main(running: System) -> Figures:
    return {"W2m": _noops(running, sys.modules["__main__"].noop)["W2"]}


def _map(running: System) -> Figures:
    items = range(_ITEMS)
    running.map(tasks.square, range(100))
    began = perf_counter()
    found = running.map(tasks.square, items)
    seconds = perf_counter() - began
    _check(found == tasks.squares(items))
    return {"W3": _ITEMS / seconds}


def _tree(running: System) -> Figures:
    running.results(running.submit(tasks.add, [(0, 0)] * 10))
    leaves = [(number,) for number in range(_LEAVES)]
    began = perf_counter()
    level = running.submit(tasks.identity, leaves)
    # Where futures are no arguments, each level is waited for: nobody can do better there.
    if not running.takes_futures:
        level = running.results(level)
    while len(level) > 1:
        odd = level[-1:] if len(level) % 2 else []
        sums = running.submit(tasks.add, zip(level[::2], level[1::2], strict=False))
        level = (sums if running.takes_futures else running.results(sums)) + odd
    [total] = running.results(level) if running.takes_futures else level
    seconds = perf_counter() - began
    _check(total == sum(range(_LEAVES)))
    return {"W5": seconds}


def _efficiency(running: System) -> Figures:
    return {"W6": _worked(running, 0.010, 200)[0]}


def _durations(running: System) -> Figures:
    figures: Figures = {}
    for milliseconds, count in DURATIONS.items():
        useful, rate = _worked(running, float(milliseconds) / 1e3, count)
        figures[f"{milliseconds} ms rate"] = rate
        if milliseconds != "0":
            figures[f"{milliseconds} ms useful"] = useful
    return figures


def _worked(running: System, seconds: float, count: int) -> tuple[float, float]:
    """Run tasks of a duration: the useful share of the workers' time, and tasks a second."""
    running.results(running.submit(tasks.work, [(seconds,)] * WORKERS))
    began = perf_counter()
    useful = sum(running.results(running.submit(tasks.work, [(seconds,)] * count)))
    spent = perf_counter() - began
    return useful / (spent * WORKERS), count / spent


def _check(is_right: bool) -> None:
    if not is_right:
        msg = "the results are wrong"
        raise AssertionError(msg)


_MEASURES: dict[str, Callable[[System], Figures]] = {
    "W1": _round_trips,
    "W1m": _round_trips_of_main,
    "W2": _noops,
    "W2m": _noops_of_main,
    "W3": _map,
    "W5": _tree,
    "W6": _efficiency,
    "durations": _durations,
}
