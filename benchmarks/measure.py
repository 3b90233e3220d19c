"""One repetition in a process of its own: `python -m benchmarks.measure W2 hurricane`.

It prints the figure of each row as one line of JSON.
"""

import importlib
import json
import sys

from benchmarks.works import WORKS


def noop() -> None:
    """Do nothing: a function of `__main__`, as those of people's scripts are."""


def main(work: str, system: str) -> None:
    """Measure and print."""
    module = importlib.import_module(f"benchmarks.{WORKS[work].module}")
    figures = module.measure(work, system)
    print(json.dumps(figures), flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
