"""The functions that are measured: small, and in a module as a program's own functions are."""

import time
from collections.abc import Sequence
from typing import TypeVar

T = TypeVar("T")


def noop() -> None:
    """Do nothing."""


def identity(value: T) -> T:
    """Give back what came: an echo."""
    return value


def square(number: int) -> int:
    """Multiply a number by itself."""
    return number * number


def squares(numbers: Sequence[int]) -> list[int]:
    """Square a batch, for systems whose users batch by hand."""
    return [number * number for number in numbers]


def add(left: int, right: int) -> int:
    """Add two numbers, or what two tasks gave."""
    return left + right


def work(seconds: float) -> float:
    """Compute until this thread has had a processor for so long; return for how long it had it.

    The thread's own clock stands while something else has the processor: what a system takes away
    from its tasks does not count as useful time.
    """
    began = time.thread_time()
    while (spent := time.thread_time() - began) < seconds:
        pass
    return spent


def wait_for_writer(path: str) -> None:
    """Hold the worker until whoever writes to a named pipe has closed it."""
    with open(path, "rb") as pipe:
        pipe.read()


def swallow(_payload: bytes) -> None:
    """Take an argument, and do nothing with it."""
