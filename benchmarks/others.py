"""W9 and W10, which programs of their own measure: this runs them and reads what they print."""

import json
import re
import subprocess
import sys

from benchmarks.run import ROOT

_TIMEOUT_SECONDS = 600

_BROADCAST = ROOT / "benchmarks" / "broadcast.py"

_NODES = (10, 100, 1_000, 10_000)

# Nodes, decisions a second with a stream of tasks, and with all of them queued first.
_DECISIONS = re.compile(r"^\s*([\d,_]+)\s+([\d,_]+)\s+([\d,_]+)\s*$", re.MULTILINE)


def measure(work: str, _system: str) -> dict[str, float]:
    """Run one of the two."""
    return decisions(_run("make", "--no-print-directory", "bench-core")) if work == "W9" else _w10()


def decisions(printed: str) -> dict[str, float]:
    """Read the table of `make bench-core`.

    Raises
    ------
    ValueError
        If it is not there.
    """
    lines = [[int(re.sub("[,_]", "", word)) for word in row] for row in _DECISIONS.findall(printed)]
    rates = {nodes: (streaming, queued) for nodes, streaming, queued in lines}
    if not rates.keys() >= {*_NODES}:
        msg = "`make bench-core` printed no decisions a second of 10, 100, 1,000 and 10,000 nodes"
        raise ValueError(msg)
    figures: dict[str, float] = {}
    for kind, name in enumerate(("streaming", "queued")):
        for nodes in _NODES:
            figures[f"W9 {nodes:,} {name}"] = rates[nodes][kind]
        figures[f"W9 {name}"] = rates[10_000][kind] / rates[10][kind]
    return figures


def _w10() -> dict[str, float]:
    if not _BROADCAST.exists():
        sys.exit("benchmarks/broadcast.py is not there: nothing measures one object to many nodes")
    # That of the build has the command, and what makes hosts of namespaces.
    printed = _run(".ci/in-namespaces", ".venv/bin/python", "benchmarks/broadcast.py")
    found = json.loads(printed.splitlines()[-1])
    return {
        "W10 owner": found["owner_sent_per_object"],
        "W10 rate": found["ratio"],
        "W10 delivered": found["delivered_bytes_per_second"] / 1e9,
        "W10 stream": found["stream_bytes_per_second"] / 1e9,
    }


def _run(*command: str) -> str:
    done = subprocess.run(
        command,
        cwd=ROOT,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        text=True,
        check=False,
        timeout=_TIMEOUT_SECONDS,
    )
    if done.returncode != 0:
        sys.exit(f"`{' '.join(command)}` ended with {done.returncode}")
    return done.stdout
