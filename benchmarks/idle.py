"""What hurricane uses of a core while nothing is to be done.

The clusters have run tasks before, so that their workers are there, and a client stays connected.
"""

import os
import time
from collections.abc import Iterable
from pathlib import Path

from benchmarks import tasks
from benchmarks.cluster import Cluster
from benchmarks.run import descendants
from benchmarks.systems import WORKERS
from hurricane import Client

_SECONDS = 20.0
# What follows the last task: results, and workers that find out that there is no more.
_SETTLING_SECONDS = 2.0


def measure(_work: str, system: str) -> dict[str, float]:
    """Percent of a core, of each part."""
    return _local() if system == "hurricane" else _cluster()


def _local() -> dict[str, float]:
    with Client(max_workers=WORKERS) as client:
        _run_in(client)
        used = _used({"all": [os.getpid(), *descendants(os.getpid())]})
    return {"idle local": used["all"]}


def _cluster() -> dict[str, float]:
    cluster = Cluster()
    try:
        cluster.start_nodes(WORKERS)
        os.environ.update(cluster.member_variables)
        with Client(address=cluster.address) as client:
            _run_in(client)
            nodes = [node.pid for node in cluster.nodes]
            workers = [pid for node in nodes for pid in descendants(node)]
            scheduler = cluster.scheduler.pid
            used = _used(
                {"scheduler": [scheduler], "nodes": [*nodes, *workers], "client": [os.getpid()]}
            )
    finally:
        cluster.close()
    return {
        "idle cluster": used["scheduler"] + used["nodes"],
        "idle scheduler": used["scheduler"],
        "idle nodes": used["nodes"],
        "idle client": used["client"],
    }


def _run_in(client: Client) -> None:
    for future in [client.submit(tasks.noop) for _ in range(1000)]:
        future.result()
    time.sleep(_SETTLING_SECONDS)


def _used(groups: dict[str, list[int]]) -> dict[str, float]:
    """Wait, and say what each group of processes used meanwhile."""
    before = {name: _cpu_seconds(pids) for name, pids in groups.items()}
    began = time.monotonic()
    time.sleep(_SECONDS)
    spent = time.monotonic() - began
    return {
        name: (_cpu_seconds(pids) - before[name]) / spent * 100 for name, pids in groups.items()
    }


def _cpu_seconds(pids: Iterable[int]) -> float:
    """Sum up what processes have used since they began, in and for them."""
    ticks = 0
    for pid in pids:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        ticks += int(fields[11]) + int(fields[12])
    return ticks / os.sysconf("SC_CLK_TCK")
