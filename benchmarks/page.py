"""Puts the last figures into docs/performance.md, and has its plots drawn: `make bench-plots`.

Of each work it takes the last of the runs that had most systems.
"""

import re
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path

from benchmarks import report
from benchmarks.report import Measurement, medians
from benchmarks.run import ROOT
from benchmarks.systems import SYSTEMS
from benchmarks.works import WORKS

_RESULTS = ROOT / "target" / "bench"
_PAGE = ROOT / "docs" / "performance.md"


def main() -> int:
    """Write what there are figures for; 1 if there are none at all."""
    last = last_runs(sorted(_RESULTS.glob("*.jsonl")))
    if not last:
        print("error: no figures are kept\nhint: make bench", file=sys.stderr)
        return 1
    _PAGE.write_text(replaced(_PAGE.read_text(), tables(last)))
    from benchmarks import plots

    for file in plots.draw({work: medians(figures) for work, figures in last.items()}):
        print(file.relative_to(ROOT))
    missing = WORKS.keys() - last.keys()
    if missing:
        print(f"not measured: {', '.join(sorted(missing))}", file=sys.stderr)
    return 0


def last_runs(files: Iterable[Path]) -> dict[str, list[Measurement]]:
    """Take the figures of each work from the last of the runs that had most systems."""
    found: dict[str, list[Measurement]] = {}
    for file in files:
        run = report.read(file)
        for work in {each.work for each in run} & WORKS.keys():
            figures = [each for each in run if each.work == work]
            if _systems(figures) >= _systems(found.get(work, [])):
                found[work] = figures
    return found


def _systems(figures: Iterable[Measurement]) -> int:
    return len({each.system for each in figures})


def tables(last: Mapping[str, list[Measurement]]) -> str:
    """Write both tables, under what they were measured with."""
    measured = [each for work in WORKS for each in last.get(work, [])]
    found = medians(measured)
    rows = [row for work in WORKS.values() if work.name in last for row in work.rows]
    versions = {each.system: each.version for each in measured}
    lines = [f"{name} {versions[name]}" for name in SYSTEMS if name in versions]
    runs: dict[str, list[str]] = {}
    for work in WORKS:
        for each in last.get(work, [])[:1]:
            place = f"{each.date[:10]}, commit {each.commit}, {each.cores} cores, {each.python}"
            runs.setdefault(place, []).append(work)
    places = [
        place if len(runs) == 1 else f"{place}: {', '.join(works)}" for place, works in runs.items()
    ]
    head = "\n".join(f"- {line}" for line in (*places, ", ".join(lines)))
    shalls = report.shalls_table(rows, found, list(SYSTEMS))
    return f"{head}\n\n{report.figures_table(rows, found)}\n\n{shalls}"


def replaced(page: str, text: str) -> str:
    """Put a text between the marks of a page."""
    return re.sub(
        r"(?<=<!-- figures -->\n).*?(?=<!-- end of figures -->)",
        lambda _: f"\n{text}\n\n",
        page,
        flags=re.DOTALL,
    )


if __name__ == "__main__":
    sys.exit(main())
