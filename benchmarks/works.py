"""What is measured: the rows of the table, what hurricane shall reach in each, and how often.

How a work is done stands in the modules that `Work.module` names.
"""

import re
from dataclasses import dataclass

from benchmarks.systems import PEERS, STANDARD_LIBRARY

_SHALL = re.compile(r"(\S+) (<=|>=) ([\d.]+)(?: x (\S+))?")


@dataclass(frozen=True)
class Shall:
    """What a system is to reach: `hurricane <= 0.25 x multiprocessing`, `hurricane <= 400`.

    With `best` in place of a peer's name it is the best of those that were measured.
    """

    system: str
    at_most: bool
    factor: float
    of: str | None

    @classmethod
    def parse(cls, text: str) -> "Shall":
        """Read one; raises `ValueError` where it is none."""
        match = _SHALL.fullmatch(text)
        if match is None:
            msg = f"`{text}` is not like `hurricane <= 0.25 x multiprocessing`"
            raise ValueError(msg)
        system, sign, factor, of = match.groups()
        return cls(system, sign == "<=", float(factor), of)

    def __str__(self) -> str:
        of = f" x {self.of}" if self.of else ""
        return f"{self.system} {'<=' if self.at_most else '>='} {self.factor:,.10g}{of}"


@dataclass(frozen=True)
class Row:
    """A line of the table: a figure that several systems have."""

    name: str
    what: str
    unit: str
    less_is_better: bool
    shalls: tuple[Shall, ...]

    @classmethod
    def of(cls, name: str, what: str, unit: str, *shalls: str, less: bool = False) -> "Row":
        """Make one, with what it shall reach in words."""
        return cls(name, what, unit, less, tuple(map(Shall.parse, shalls)))


@dataclass(frozen=True)
class Work:
    """Something that is run, and the rows that it fills."""

    name: str
    module: str
    rows: tuple[Row, ...]
    systems: tuple[str, ...]
    repetitions: int = 5
    # A system that has taken so long in this work is not run again in it.
    budget_seconds: float = 15.0
    timeout_seconds: float = 120.0


_ALL = ("hurricane", "hurricane-tls", *PEERS)
_OF_MAIN = ("hurricane", *STANDARD_LIBRARY)

_ECHOES = (
    ("array", "echo of a 64 MiB array"),
    ("bytes", "echo of 64 MiB of bytes"),
    ("100 bytes", "echo of 100 x 1 MiB of bytes"),
    ("100 arrays", "echo of 100 arrays of 1 MiB"),
)

# Milliseconds that tasks take, and how many of them are run.
DURATIONS = {"0": 5000, "0.1": 5000, "1": 2000, "10": 300, "100": 40}

# From so many milliseconds on, tasks are to have nine tenths of the workers' time.
_USEFUL_FROM = 1

_NODES = ("10", "100", "1,000", "10,000")


def _row_of_duration(milliseconds: str) -> tuple[Row, ...]:
    rate = Row.of(f"{milliseconds} ms rate", f"tasks of {milliseconds} ms", "tasks/s")
    if milliseconds == "0":
        return (rate,)
    shalls = [
        f"{system} >= 0.9"
        for system in ("hurricane", "hurricane-tls")
        if float(milliseconds) >= _USEFUL_FROM
    ]
    useful = Row.of(f"{milliseconds} ms useful", "their efficiency", "of 2 cores", *shalls)
    return (rate, useful)


_ALL_WORKS = (
    Work(
        "W1",
        "small",
        (
            Row.of(
                "W1",
                "no-op, submitted and waited for",
                "µs",
                "hurricane <= 0.25 x multiprocessing",
                "hurricane-tls <= 1 x multiprocessing",
                less=True,
            ),
        ),
        _ALL,
    ),
    Work(
        "W1 wake-ups",
        "wakeups",
        (Row.of("W1 wake-ups", "the wake-ups of that alone", "µs", less=True),),
        ("hurricane", "hurricane-tls"),
    ),
    Work(
        "W1m",
        "small",
        (Row.of("W1m", "the same, a function of `__main__`", "µs", less=True),),
        _OF_MAIN,
        repetitions=3,
    ),
    Work(
        "W2",
        "small",
        (
            Row.of(
                "W2",
                "20,000 no-ops, one by one",
                "tasks/s",
                "hurricane >= 15 x best",
                "hurricane-tls >= 6 x best",
            ),
        ),
        _ALL,
    ),
    Work(
        "W2m",
        "small",
        (Row.of("W2m", "the same, a function of `__main__`", "tasks/s"),),
        _OF_MAIN,
        repetitions=3,
    ),
    Work(
        "W3",
        "small",
        (
            Row.of(
                "W3",
                "map of `x*x` over 200,000 integers",
                "items/s",
                "hurricane >= 1.4 x best",
            ),
        ),
        _ALL,
    ),
    Work(
        "W4",
        "echo",
        tuple(
            Row.of(f"W4 {name}", what, "GB/s", "hurricane >= 1.2 x best") for name, what in _ECHOES
        ),
        _ALL,
        repetitions=3,
    ),
    Work(
        "W5",
        "small",
        (
            Row.of(
                "W5",
                "1,000 tasks and their sums, a tree",
                "s",
                "hurricane <= 0.5 x best",
                less=True,
            ),
        ),
        _ALL,
    ),
    Work(
        "W6",
        "small",
        (
            Row.of(
                "W6",
                "200 tasks of 10 ms: efficiency",
                "of 2 cores",
                "hurricane >= 1 x best",
            ),
        ),
        _ALL,
        repetitions=3,
    ),
    Work(
        "W7",
        "start",
        (
            Row.of(
                "W7 first",
                "start of the program to first result",
                "ms",
                "hurricane <= 1 x multiprocessing",
                less=True,
            ),
            Row.of("W7 import", "import alone", "ms", "hurricane <= 20", less=True),
            Row.of(
                "W7 made",
                "making the client to first result",
                "ms",
                "hurricane <= 0.5 x processpool-spawn",
                less=True,
            ),
        ),
        ("hurricane", "multiprocessing", "processpool", "processpool-spawn", "loky", "ray", "dask"),
        repetitions=11,
        budget_seconds=12.0,
    ),
    Work(
        "W8",
        "queued",
        (
            Row.of(
                "W8 scheduler",
                "a million queued: the scheduler grows",
                "MB",
                "hurricane-tls <= 400",
                less=True,
            ),
            Row.of(
                "W8 client",
                "the client grows, beyond payload",
                "bytes/task",
                "hurricane-tls <= 400",
                less=True,
            ),
            Row.of("W8 submit rate", "submitting a million", "tasks/s"),
            Row.of("W8 drain rate", "draining a million", "tasks/s"),
            Row.of("W8 submit", "over that of 20,000", "x", "hurricane-tls >= 0.8"),
            Row.of("W8 drain", "over that of 20,000", "x", "hurricane-tls >= 0.8"),
        ),
        ("hurricane-tls",),
        repetitions=1,
        timeout_seconds=400.0,
    ),
    Work(
        "W9",
        "others",
        (
            *(
                Row.of(
                    f"W9 {nodes} {kind}",
                    f"scheduler alone, {nodes} nodes, {how}",
                    "decisions/s",
                    *([f"hurricane >= {least}"] if nodes == "10" else []),
                )
                for kind, how, least in (
                    ("streaming", "a stream", 2_000_000),
                    ("queued", "all queued first", 1_000_000),
                )
                for nodes in _NODES
            ),
            Row.of("W9 streaming", "10,000 nodes over 10, a stream", "x", "hurricane >= 0.5"),
            Row.of("W9 queued", "10,000 nodes over 10, queued first", "x", "hurricane >= 0.4"),
        ),
        ("hurricane",),
        repetitions=1,
        timeout_seconds=620.0,
    ),
    Work(
        "W10",
        "others",
        (
            Row.of(
                "W10 owner",
                "256 MiB to 4 nodes: the owner sends",
                "objects",
                "hurricane-tls <= 1.1",
                less=True,
            ),
            Row.of("W10 rate", "delivered, over one TLS stream", "x", "hurricane-tls >= 0.8"),
            Row.of("W10 delivered", "delivered to all", "GB/s"),
            Row.of("W10 stream", "one TLS stream", "GB/s"),
        ),
        ("hurricane-tls",),
        repetitions=1,
        timeout_seconds=300.0,
    ),
    Work(
        "durations",
        "small",
        tuple(row for each in DURATIONS for row in _row_of_duration(each)),
        _ALL,
        repetitions=3,
        budget_seconds=12.0,
    ),
    Work(
        "idle",
        "idle",
        (
            Row.of(
                "idle cluster",
                "scheduler and two nodes",
                "% of a core",
                "hurricane-tls <= 1",
                less=True,
            ),
            Row.of("idle scheduler", "the scheduler alone", "% of a core", less=True),
            Row.of("idle nodes", "nodes and workers alone", "% of a core", less=True),
            Row.of("idle client", "their client", "% of a core", less=True),
            Row.of(
                "idle local",
                "a local client and its workers",
                "% of a core",
                "hurricane <= 1",
                less=True,
            ),
        ),
        ("hurricane", "hurricane-tls"),
        repetitions=1,
    ),
)

WORKS: dict[str, Work] = {work.name: work for work in _ALL_WORKS}
