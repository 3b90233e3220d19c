"""W8: a million tasks that wait, what they cost in memory, and how fast they come and go.

Client, scheduler and nodes are processes of their own. While tasks are submitted, both nodes are
held by a task that waits for somebody to open its named pipe.
"""

import os
import statistics
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from time import perf_counter
from typing import NamedTuple

from benchmarks import tasks
from benchmarks.cluster import Cluster
from hurricane import Client

_FEW = 20_000
_MANY = 1_000_000
_PAYLOAD_BYTES = 100
_NODES = 2
_TURNS = 3
_POLL_SECONDS = 0.005


class _Passage(NamedTuple):
    """How so many tasks came and went."""

    submitted_per_second: float
    drained_per_second: float
    scheduler_bytes: int
    client_bytes: int


def measure(_work: str, _system: str) -> dict[str, float]:
    """Queue a few and then very many, and compare."""
    cluster = Cluster()
    try:
        cluster.start_nodes(_NODES)
        os.environ.update(cluster.member_variables)
        with Client(address=cluster.address) as client:
            _pass(client, cluster, _FEW)
            few = [_pass(client, cluster, _FEW) for _ in range(_TURNS)]
            many = _pass(client, cluster, _MANY)
    finally:
        cluster.close()
    return {
        "W8 scheduler": many.scheduler_bytes / 1e6,
        "W8 client": many.client_bytes / _MANY - _PAYLOAD_BYTES,
        "W8 submit rate": many.submitted_per_second,
        "W8 drain rate": many.drained_per_second,
        "W8 submit": many.submitted_per_second
        / statistics.median(each.submitted_per_second for each in few),
        "W8 drain": many.drained_per_second
        / statistics.median(each.drained_per_second for each in few),
    }


def _pass(client: Client, cluster: Cluster, count: int) -> _Passage:
    swallow = tasks.swallow
    with _held(client) as holding:
        scheduler_bytes = _resident_bytes(cluster.scheduler.pid)
        client_bytes = _resident_bytes(os.getpid())
        began = perf_counter()
        futures = [client.submit(swallow, b"%0100d" % number) for number in range(count)]
        while _queued(client) < count:
            time.sleep(_POLL_SECONDS)
        submitted = perf_counter()
        scheduler_bytes = _resident_bytes(cluster.scheduler.pid) - scheduler_bytes
        client_bytes = _resident_bytes(os.getpid()) - client_bytes
        released = perf_counter()
        for descriptor in holding:
            os.close(descriptor)
        for future in futures:
            future.result()
    return _Passage(
        submitted_per_second=count / (submitted - began),
        drained_per_second=count / (perf_counter() - released),
        scheduler_bytes=scheduler_bytes,
        client_bytes=client_bytes,
    )


@contextmanager
def _held(client: Client) -> Iterator[list[int]]:
    """Keep every worker busy until what is yielded is closed."""
    with tempfile.TemporaryDirectory() as directory:
        pipes = [Path(directory) / str(number) for number in range(_NODES)]
        for pipe in pipes:
            os.mkfifo(pipe)
        holders = [client.submit(tasks.wait_for_writer, str(pipe)) for pipe in pipes]
        # Opens when the worker has opened the other end.
        yield [os.open(pipe, os.O_WRONLY) for pipe in pipes]
        for holder in holders:
            holder.result()


def _queued(client: Client) -> int:
    counts = client.status()["tasks"]
    return sum(counts[state] for state in ("waiting", "ready", "assigned"))


def _resident_bytes(pid: int) -> int:
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")
