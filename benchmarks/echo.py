"""W4: values that go out as arguments of tasks and come back as their results.

No value is sent twice: a system that knows contents again has nothing from it here.
"""

import statistics
from collections.abc import Callable
from time import perf_counter
from typing import Any

import numpy as np

from benchmarks.systems import SYSTEMS, System

_MIB = 1 << 20
_LARGE = 64 * _MIB
_MANY = 100
_TURNS = 5


def measure(_work: str, system: str) -> dict[str, float]:
    """Do all four echoes with a system; bytes both ways by time."""
    with SYSTEMS[system]() as running:
        running.warm_up()
        return {
            "W4 array": _echo(running, _array, _LARGE, 1),
            "W4 bytes": _echo(running, _bytes, _LARGE, 1),
            "W4 100 bytes": _echo(running, _bytes, _MIB, _MANY),
            "W4 100 arrays": _echo(running, _array, _MIB, _MANY),
        }


def _echo(running: System, make: Callable[[int], Any], size: int, count: int) -> float:
    rates = []
    # The first turn warms up whatever memory a system keeps.
    for _ in range(1 + _TURNS):
        values = [make(size) for _ in range(count)]
        began = perf_counter()
        back = running.echo(values)
        rates.append(2 * size * count / (perf_counter() - began) / 1e9)
        for value, result in zip(values, back, strict=True):
            if not (type(result) is type(value) and np.array_equal(result, value)):
                msg = "what came back is not what was sent"
                raise AssertionError(msg)
        del values, back, value, result
    return statistics.median(rates[1:])


_random = np.random.default_rng(0)


def _array(size: int) -> Any:
    return _random.integers(0, 1 << 62, size // 8)


def _bytes(size: int) -> bytes:
    return _random.bytes(size)
