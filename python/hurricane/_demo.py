"""`hurricane demo`: real work on real input that every machine has, checked against one process.

All source files of the running Python's standard library are parsed and tokenised, and the names in
them counted: first on all slots, then once more in this process alone.
"""

import ast
import keyword
import os
import sys
import sysconfig
import tokenize
import warnings
from collections import Counter
from dataclasses import dataclass, field
from io import StringIO
from pathlib import Path
from time import perf_counter
from typing import TypeVar

import hurricane

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

Item = TypeVar("Item")

# So many files' tallies go into one task of the tree's lowest level: a few milliseconds of work.
_TALLIES_A_LEAF = 32

# What Python raises at a source that is not one; the standard library's tests keep some of those.
_NOT_A_SOURCE = (SyntaxError, ValueError, tokenize.TokenError, RecursionError, MemoryError)


def run(slots: int | None) -> int:
    """Do the work on so many slots and in one process, and compare.

    Parameters
    ----------
    slots
        How many tasks run at a time; None for as many as there are cpus.

    Returns
    -------
    int
        The exit code: 0 if both answers are equal, else 1.
    """
    files = standard_library()
    if not files:
        where = sysconfig.get_path("stdlib")
        print(f"error: this Python has no source files in {where}", file=sys.stderr)
        return 1
    version = sys.version.split()[0]
    print(f"Counting the names in {len(files):,} files of Python {version}'s standard library")

    began = perf_counter()
    shares, distributed = _count_on_all_slots(files, slots)
    distributed_seconds = perf_counter() - began

    began = perf_counter()
    alone = add_up(_shown(map(tally_of, files), len(files), "one process"))
    alone_seconds = perf_counter() - began

    _print_shares(shares)
    _print_times(distributed_seconds, alone_seconds)
    _print_names(distributed)
    if distributed != alone:
        print("error: distributed result differs from the one-process result", file=sys.stderr)
        return 1
    print("verified: distributed result equals the one-process result")
    return 0


@dataclass(slots=True)
class Tally:
    """What was counted in some files."""

    files: int = 0
    unreadable: int = 0
    tokens: int = 0
    names: Counter[str] = field(default_factory=Counter)

    def add(self, other: "Tally") -> None:
        """Count in what another one counted."""
        self.files += other.files
        self.unreadable += other.unreadable
        self.tokens += other.tokens
        self.names.update(other.names)


@dataclass(frozen=True, slots=True, order=True)
class Place:
    """Where a task ran."""

    node: str
    worker: int


def standard_library() -> list[str]:
    """List the standard library's source files, the largest first: a long one is never the last."""
    root = Path(sysconfig.get_path("stdlib"))
    sizes = {
        str(path): path.stat().st_size
        for path in root.rglob("*.py")
        if "site-packages" not in path.parts and path.is_file()
    }
    return sorted(sizes, key=lambda path: (-sizes[path], path))


def tally_of(path: str) -> Tally:
    """Parse and tokenise one file, and count the names in it that are not keywords."""
    tally = Tally(files=1)
    try:
        with tokenize.open(path) as file:
            source = file.read()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            ast.parse(source, path)
        for token in tokenize.generate_tokens(StringIO(source).readline):
            tally.tokens += 1
            if token.type == tokenize.NAME and not keyword.iskeyword(token.string):
                tally.names[token.string] += 1
    except _NOT_A_SOURCE:
        return Tally(files=1, unreadable=1)
    return tally


def placed_tally_of(path: str) -> tuple[Place, Tally]:
    """Count as `tally_of` does, and tell who did it."""
    from hurricane._worker import current

    link = current()
    assert link is not None, "this function runs as a task"
    return Place(link.node_name(), os.getpid()), tally_of(path)


def add_up(tallies: "Iterable[Tally]") -> Tally:
    """Sum some tallies: a node of the tree that the tallies are reduced in."""
    total = Tally()
    for tally in tallies:
        total.add(tally)
    return total


def _count_on_all_slots(
    files: "Sequence[str]", slots: int | None
) -> tuple[dict[Place, Tally], Tally]:
    """Count by tasks, and say in total and for each worker what came out."""
    shares: dict[Place, Tally] = {}
    tallies: list[Tally] = []
    with hurricane.Client(max_workers=slots) as client:
        results = client.map(placed_tally_of, files)
        for place, tally in _shown(results, len(files), "all slots"):
            share = shares.setdefault(place, Tally())
            share.files += 1
            share.tokens += tally.tokens
            tallies.append(tally)
        return shares, _reduced(client, tallies)


def _reduced(client: hurricane.Client, tallies: "Sequence[Tally]") -> Tally:
    """Add up in a tree, whose inner nodes take the futures of those below."""
    level: list[hurricane.Future[Tally]] = [
        client.submit(add_up, tallies[start : start + _TALLIES_A_LEAF])
        for start in range(0, len(tallies), _TALLIES_A_LEAF)
    ]
    while len(level) > 1:
        level = [
            client.submit(add_up, level[start : start + 2]) for start in range(0, len(level), 2)
        ]
    return level[0].result()


def _shown(items: "Iterable[Item]", total: int, label: str) -> "Iterable[Item]":
    """Pass items through and show how far it is: by tqdm where there is one."""
    try:
        from tqdm import tqdm
    except ImportError:
        return _shown_in_a_line(items, total, label)
    # Where nothing is drawn over, as in the log of a build, a line now and then is enough.
    pause = 0.1 if sys.stderr.isatty() else 5.0
    return tqdm(items, desc=label, total=total, unit="file", mininterval=pause)


def _shown_in_a_line(items: "Iterable[Item]", total: int, label: str) -> "Iterator[Item]":
    for count, item in enumerate(items, start=1):
        yield item
        if count % 100 == 0 or count == total:
            end = "\n" if count == total else ""
            print(f"\r{label}: {count}/{total} files", end=end, file=sys.stderr, flush=True)


def _print_shares(shares: dict[Place, Tally]) -> None:
    all_tokens = sum(share.tokens for share in shares.values())
    nodes: dict[str, Tally] = {}
    for place, share in shares.items():
        nodes.setdefault(place.node, Tally()).add(share)

    print(f"\n{'':24}{'files':>10}{'tokens':>14}{'share':>10}")
    for node in sorted(nodes):
        _print_share(f"node {node}", nodes[node], all_tokens)
        for place in sorted(shares):
            if place.node == node:
                _print_share(f"  worker {place.worker}", shares[place], all_tokens)


def _print_share(who: str, share: Tally, all_tokens: int) -> None:
    print(f"{who:24}{share.files:10,}{share.tokens:14,}{share.tokens / all_tokens:10.1%}")


def _print_times(distributed_seconds: float, alone_seconds: float) -> None:
    print(f"\n{'wall time':24}{distributed_seconds:10.2f} s")
    print(f"{'the same, one process':24}{alone_seconds:10.2f} s")
    print(f"{'speed-up':24}{alone_seconds / distributed_seconds:10.2f} ×")  # noqa: RUF001 - times


def _print_names(tally: Tally) -> None:
    print(f"\n{len(tally.names):,} different names; the twenty commonest:")
    for name, count in tally.names.most_common(20):
        print(f"  {name:22}{count:10,}")
    print(f"\nNot counted, for they are no source this Python can read: {tally.unreadable} files")
