"""What came out: the lines that are kept, the medians, and the tables that people read."""

import json
import statistics
from collections.abc import Collection, Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from benchmarks.systems import PEERS, SYSTEMS
from benchmarks.works import Row, Shall

Medians = dict[tuple[str, str], float]


@dataclass(frozen=True)
class Measurement:
    """One figure of one repetition, and where it was taken."""

    work: str
    row: str
    system: str
    version: str
    repetition: int
    figure: float
    unit: str
    date: str
    commit: str
    python: str
    cores: int
    load: float

    def line(self) -> str:
        """Write it as a line of JSON."""
        return json.dumps(asdict(self))


def read(file: Path) -> list[Measurement]:
    """Read the lines of a run."""
    return [Measurement(**json.loads(line)) for line in file.read_text().splitlines()]


def medians(measurements: Iterable[Measurement]) -> Medians:
    """Take the median of each row and system."""
    figures: dict[tuple[str, str], list[float]] = {}
    for each in measurements:
        figures.setdefault((each.row, each.system), []).append(each.figure)
    return {key: statistics.median(values) for key, values in figures.items()}


def best_peer(row: Row, found: Medians) -> tuple[str, float] | None:
    """Name the peer that is best in a row, with its figure."""
    peers = [(name, found[row.name, name]) for name in PEERS if (row.name, name) in found]
    if not peers:
        return None
    choose = min if row.less_is_better else max
    return choose(peers, key=lambda peer: peer[1])


@dataclass(frozen=True)
class Verdict:
    """How a figure stands to what it shall be."""

    row: Row
    shall: Shall
    # The system's figure over what it is compared with; the figure itself where that is nothing.
    reached: float
    beside: str

    @property
    def holds(self) -> bool:
        """Whether it is reached."""
        return self._lead >= 1

    @property
    def _lead(self) -> float:
        if not self.shall.at_most:
            return self.reached / self.shall.factor
        return self.shall.factor / self.reached if self.reached > 0 else float("inf")

    def __str__(self) -> str:
        if self.holds:
            return "holds"
        # By how much the figure itself must still change.
        if self.shall.at_most:
            return f"falls short: {number(self.reached / self.shall.factor)} times what it may be"
        return f"falls short: {self._lead:.0%} of it"


def verdict(row: Row, shall: Shall, found: Medians) -> Verdict | None:
    """Compare; `None` where something that it takes was not measured."""
    figure = found.get((row.name, shall.system))
    if figure is None:
        return None
    if shall.of is None:
        return Verdict(row, shall, figure, "")
    if shall.of == "best":
        best = best_peer(row, found)
        return best and Verdict(row, shall, figure / best[1], best[0])
    other = found.get((row.name, shall.of))
    return None if other is None else Verdict(row, shall, figure / other, shall.of)


def figures_table(rows: Iterable[Row], found: Medians) -> str:
    """Write the medians: a line for each row, a column for each system."""
    measured = {system for _, system in found}
    systems = [name for name in SYSTEMS if name in measured]
    systems += sorted(measured.difference(systems))
    lines = [["row", "work", "unit", *systems, "hurricane ÷ best peer"]]
    for row in rows:
        values = [found.get((row.name, system)) for system in systems]
        if all(value is None for value in values):
            continue
        best = best_peer(row, found)
        own = found.get((row.name, "hurricane"))
        ratio = f"{number(own / best[1])} x {best[0]}" if own is not None and best else "-"
        cells = ["-" if value is None else number(value) for value in values]
        lines.append([row.name, row.what, row.unit, *cells, ratio])
    return markdown(lines, numeric=range(3, 3 + len(systems)))


def shalls_table(rows: Iterable[Row], found: Medians, systems: Collection[str]) -> str:
    """Write what each row is to reach, and whether it does."""
    lines = [["row", "shall", "is", "verdict"]]
    for row in rows:
        for shall in row.shalls:
            if shall.system not in systems:
                continue
            judged = verdict(row, shall, found)
            if judged is None:
                lines.append([row.name, str(shall), "-", "not measured"])
                continue
            beside = f" x {judged.beside}" if judged.beside else f" {row.unit}"
            reached = f"{number(judged.reached)}{beside}"
            lines.append([row.name, str(shall), reached, str(judged)])
    return markdown(lines) if len(lines) > 1 else ""


def markdown(lines: Sequence[Sequence[str]], numeric: Collection[int] = ()) -> str:
    """Align a table, the first line its head, so that it reads well also as it is."""
    widths = [max(len(cell) for cell in column) for column in zip(*lines, strict=True)]
    rule = [
        "-" * (width - 1) + (":" if index in numeric else "-") for index, width in enumerate(widths)
    ]

    def line(cells: Sequence[str]) -> str:
        padded = [
            cell.rjust(width) if index in numeric else cell.ljust(width)
            for index, (cell, width) in enumerate(zip(cells, widths, strict=True))
        ]
        return f"| {' | '.join(padded)} |"

    return "\n".join([line(lines[0]), line(rule), *map(line, lines[1:])])


def number(value: float) -> str:
    """Write a figure with three digits that count."""
    if value == 0:
        return "0"
    if abs(value) >= 1000:
        digits = len(str(int(abs(value))))
        return f"{round(value, 3 - digits):,.0f}"
    text = f"{value:.3g}"
    return text if "e" not in text else f"{value:.6f}".rstrip("0")
