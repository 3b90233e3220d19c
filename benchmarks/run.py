"""Runs one repetition in a process of its own, and leaves no process of it behind."""

import contextlib
import ctypes
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]

_PR_SET_CHILD_SUBREAPER = 36


class CouldNotRun(Exception):  # noqa: N818 - it says what is wrong
    """A repetition failed; says how."""


def adopt_orphans() -> None:
    """Become the parent of what repetitions leave behind, so that it can be found and ended.

    Raises
    ------
    OSError
        If the system does not do that.
    """
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0):
        error = ctypes.get_errno()
        raise OSError(error, os.strerror(error))


def run(work: str, system: str, timeout_seconds: float) -> dict[str, float]:
    """Measure once; return the figures of the rows.

    Raises
    ------
    CouldNotRun
        If it fails, or takes too long.
    """
    others = set(descendants(os.getpid()))
    with subprocess.Popen(
        [sys.executable, "-m", "benchmarks.measure", work, system],
        cwd=ROOT,
        env=_environment(),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    ) as process:
        try:
            printed, said = process.communicate(timeout=timeout_seconds)
        except subprocess.TimeoutExpired:
            msg = f"it took more than {timeout_seconds:g} s"
            raise CouldNotRun(msg) from None
        finally:
            _end_all_but(others)
    if process.returncode != 0:
        raise CouldNotRun(_last_lines(said) or f"it ended with {process.returncode}")
    figures: dict[str, float] = json.loads(printed.splitlines()[-1])
    return figures


def _end_all_but(others: set[int]) -> None:
    """End what runs below this process, by their ids; there may be more after each sweep."""
    for _ in range(100):
        found = [pid for pid in descendants(os.getpid()) if pid not in others]
        for pid in found:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        if not found:
            return


def descendants(pid: int) -> list[int]:
    """List the processes below one, without those that have ended."""
    children: dict[int, list[int]] = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            # The name, in parentheses, may have spaces in it.
            state, parent = stat.read_text().rpartition(")")[2].split()[:2]
        except (OSError, ValueError):
            continue
        if state != "Z":
            children.setdefault(int(parent), []).append(int(stat.parent.name))
    found: list[int] = []
    below = [pid]
    while below:
        next_ones = children.get(below.pop(), [])
        found += next_ones
        below += next_ones
    return found


def _environment() -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if "HURRICANE" not in name}
    # Systems that start interpreters of their own must find the tasks as well.
    quiet = {"PYTHONPATH": str(ROOT), "RAY_USAGE_STATS_ENABLED": "0", "PYTHONWARNINGS": "ignore"}
    return {**kept, **quiet, "HURRICANE_DISCOVERY": "off"}


def _last_lines(text: str) -> str:
    return "\n".join(text.strip().splitlines()[-5:])
