"""Clusters for tests: each with a user of its own on this machine, who has keys and sockets."""

import os
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import hurricane

# A cluster in a program of its own, until its standard input ends.
PROGRAM = """
import sys
import hurricane

with hurricane.Cluster(int(sys.argv[1]), cpus=2):
    print("ready", flush=True)
    sys.stdin.read()
"""


@contextmanager
def own_user() -> Iterator[Path]:
    """Be a user who holds no key yet, and whose schedulers are met by nobody else."""
    # Not pytest's directory: the name of a socket may have some 100 bytes.
    with tempfile.TemporaryDirectory(prefix="hurricane-") as directory:
        names = {"HURRICANE_STATE_DIR": "state", "HURRICANE_RUNTIME_DIR": "run"}
        before = {name: os.environ.get(name) for name in names}
        os.environ.update({name: f"{directory}/{place}" for name, place in names.items()})
        try:
            yield Path(directory)
        finally:
            for name, value in before.items():
                if value is None:
                    os.environ.pop(name, None)
                else:
                    os.environ[name] = value


def free_port() -> int:
    """Give a port that nobody uses now, on any address."""
    with socket.create_server(("", 0)) as server:
        port: int = server.getsockname()[1]
        return port


@contextmanager
def cluster_program(port: int) -> Iterator["subprocess.Popen[str]"]:
    """Run a cluster in a process of its own."""
    program = subprocess.Popen(
        [sys.executable, "-c", PROGRAM, str(port)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    with program:
        try:
            assert program.stdout is not None
            assert program.stdout.readline() == "ready\n"
            yield program
        finally:
            program.send_signal(signal.SIGKILL)


@contextmanager
def open_cluster(**options: Any) -> Iterator[hurricane.Cluster]:
    """Run a cluster of a user of its own in this process."""
    with own_user(), hurricane.Cluster(free_port(), bind=["127.0.0.1"], **options) as cluster:
        yield cluster
