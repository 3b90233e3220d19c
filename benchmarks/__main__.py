"""`make bench`: runs the works with the systems by turns, keeps every figure, prints the tables."""

import argparse
import difflib
import os
import platform
import random
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path

from benchmarks import report
from benchmarks.report import Measurement
from benchmarks.run import ROOT, CouldNotRun, adopt_orphans, run
from benchmarks.systems import DISTRIBUTIONS, SYSTEMS
from benchmarks.works import WORKS, Work

# After so long, whatever is left is measured once: a whole run takes half an hour at most.
_REPEATING_SECONDS = 20 * 60

RESULTS = ROOT / "target" / "bench"


class UnknownName(Exception):  # noqa: N818 - it says what is wrong
    """A name that is none; says what there is."""


def main(arguments: Sequence[str]) -> int:
    """Measure what was chosen; 1 if something could not run, 2 if there is no such thing."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--work", default="", help="such as W1,W2; all, if not given")
    parser.add_argument("--peer", default="", help="such as hurricane,ray; all, if not given")
    options = parser.parse_args(arguments)
    try:
        works = [WORKS[name] for name in choose("work", options.work, WORKS)]
        systems = choose("peer", options.peer, SYSTEMS)
    except UnknownName as error:
        print(error, file=sys.stderr)
        return 2
    adopt_orphans()
    return Session(works, systems).run()


def choose(kind: str, wish: str, known: Mapping[str, object]) -> list[str]:
    """Read a list of names with commas; all, where it is empty.

    Raises
    ------
    UnknownName
        If there is no such name.
    """
    names = {name.lower(): name for name in known}
    wished = [word.strip().lower() for word in wish.split(",") if word.strip()]
    for word in wished:
        if word not in names:
            near = difflib.get_close_matches(word, names, n=1)
            hint = f"did you mean `{names[near[0]]}`? there" if near else "there"
            msg = f"error: there is no {kind} `{word}`\nhint: {hint} are {', '.join(known)}"
            raise UnknownName(msg)
    return [name for low, name in names.items() if low in wished or not wished]


class Session:
    """One run of the harness."""

    def __init__(self, works: list[Work], systems: list[str]) -> None:
        self._works = works
        self._versions = {name: version(name) for name in systems}
        self._systems = [name for name in systems if self._versions[name]]
        self._missing = [name for name in systems if not self._versions[name]]
        self._date = datetime.now(UTC).isoformat(timespec="seconds")
        self._commit = commit()
        self._failures: list[str] = []
        self._measured: list[Measurement] = []
        RESULTS.mkdir(parents=True, exist_ok=True)
        self.file = RESULTS / f"{self._date.replace(':', '')}.jsonl"

    def run(self) -> int:
        """Measure, and print the tables."""
        print(self._head(), flush=True)
        for name in self._missing:
            print(f"{name} is left out: {DISTRIBUTIONS[name]} is not installed")
        began = time.monotonic()
        for work in self._works:
            self._run_work(work, repeat_until=began + _REPEATING_SECONDS)
        self._print_tables()
        minutes = (time.monotonic() - began) / 60
        print(f"\nEvery figure: {os.path.relpath(self.file)}; it took {minutes:.0f} min")
        for failure in self._failures:
            print(f"could not run: {failure}", file=sys.stderr)
        return int(bool(self._failures))

    def _run_work(self, work: Work, repeat_until: float) -> None:
        systems = [name for name in work.systems if name in self._systems]
        if not systems:
            print(f"{work.name} is left out: it is measured with {', '.join(work.systems)}")
        spent = dict.fromkeys(systems, 0.0)
        for repetition in range(work.repetitions):
            if repetition and time.monotonic() > repeat_until:
                break
            for system in in_turn(systems, repetition):
                if spent[system] >= work.budget_seconds:
                    continue
                began = time.monotonic()
                try:
                    figures = run(work.name, system, work.timeout_seconds)
                except CouldNotRun as error:
                    self._failures.append(f"{work.name} with {system}: {error}")
                    systems.remove(system)
                    continue
                spent[system] += time.monotonic() - began
                self._keep(work, system, repetition, figures)

    def _keep(self, work: Work, system: str, repetition: int, figures: dict[str, float]) -> None:
        units = {row.name: row.unit for row in work.rows}
        with self.file.open("a") as file:
            for row, figure in figures.items():
                measurement = Measurement(
                    work=work.name,
                    row=row,
                    system=system,
                    version=self._versions[system],
                    repetition=repetition,
                    figure=figure,
                    unit=units[row],
                    date=self._date,
                    commit=self._commit,
                    python=platform.python_version(),
                    cores=cores(),
                    load=os.getloadavg()[0],
                )
                self._measured.append(measurement)
                print(measurement.line(), file=file)
        shown = ", ".join(f"{row} {report.number(value)}" for row, value in figures.items())
        print(f"  {system}, {repetition + 1}: {shown}", file=sys.stderr, flush=True)

    def _print_tables(self) -> None:
        rows = [row for work in self._works for row in work.rows]
        found = report.medians(self._measured)
        shalls = report.shalls_table(rows, found, self._systems)
        for table in (report.figures_table(rows, found) if found else "", shalls):
            if table:
                print(f"\n{table}")

    def _head(self) -> str:
        versions = ", ".join(f"{name} {self._versions[name]}" for name in self._systems)
        load = f"load {os.getloadavg()[0]:.1f} at the start"
        return f"{self._date}, commit {self._commit}, {machine()}, {load}\n{versions}"


def in_turn(systems: Sequence[str], repetition: int) -> list[str]:
    """Order them anew each time: what a heavy one leaves behind does not always meet the same."""
    return random.Random(repetition).sample(systems, len(systems))


def machine() -> str:
    """Describe where this runs."""
    system = f"{platform.system()} {platform.release().partition('-')[0]}"
    return f"{cores()} cores, Python {platform.python_version()}, {system}"


def cores() -> int:
    """Count the processors that this process may use."""
    return len(os.sched_getaffinity(0))


def version(system: str) -> str:
    """Tell which version of a system is installed; empty, if none is."""
    if system.startswith("hurricane"):
        import hurricane

        return hurricane.__version__
    if system not in DISTRIBUTIONS:
        return platform.python_version()
    try:
        return metadata.version(DISTRIBUTIONS[system])
    except metadata.PackageNotFoundError:
        return ""


def commit() -> str:
    """Name the commit that is measured; with a `+`, if there is more than it has."""
    try:
        described = subprocess.run(
            ["git", "describe", "--always", "--dirty=+", "--exclude=*"],
            cwd=Path(ROOT),
            capture_output=True,
            text=True,
            check=True,
            timeout=30,
        )
    except (OSError, subprocess.SubprocessError):
        return "unknown"
    return described.stdout.strip()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
