"""Waiting in tests: for a condition, with a deadline."""

import time
from collections.abc import Callable

# Many times what anything here takes on a busy machine: only a hang gets there.
DEADLINE_SECONDS = 60.0


def until(condition: Callable[[], object], what: str = "the condition") -> None:
    """Return as soon as a condition holds; fail if it does not in time."""
    deadline = time.monotonic() + DEADLINE_SECONDS
    while not condition():
        assert time.monotonic() < deadline, f"{what} did not come in {DEADLINE_SECONDS:g} s"
        time.sleep(0.002)
