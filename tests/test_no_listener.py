"""What one machine's cluster shows the outside: no socket of any network, and no process left."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

# A program with a client open, all of whose workers are busy with a process of their own each.
PROGRAM = """
import subprocess
import sys
import hurricane

def start_a_process_and_wait(i):
    child = subprocess.Popen(["sleep", "600"])
    open(sys.argv[1 + i], "w").close()
    child.wait()

with hurricane.Client(max_workers=2) as client:
    list(client.map(start_a_process_and_wait, range(2), chunksize=1))
"""

# The time within which nothing of a killed program may be left.
PROMISED_SECONDS = 2.0


@contextmanager
def busy_program(directory: Path) -> Iterator[subprocess.Popen[bytes]]:
    """Run `PROGRAM` until its workers are busy."""
    marks = [directory / "first", directory / "second"]
    arguments = [sys.executable, "-c", PROGRAM, *map(str, marks)]
    with subprocess.Popen(arguments, stdin=subprocess.DEVNULL) as program:
        try:
            wait_until(lambda: all(mark.exists() for mark in marks), seconds=60)
            yield program
        finally:
            program.kill()


def wait_until(claim: Callable[[], bool], seconds: float) -> None:
    deadline = time.monotonic() + seconds
    while not claim():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.01)


def parents() -> dict[int, int]:
    """All living processes, each with its parent."""
    found = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            after_name = stat.read_text().rpartition(")")[2].split()
        except OSError:  # It has just ended.
            continue
        if after_name[0] != "Z":
            found[int(stat.parent.name)] = int(after_name[1])
    return found


def family(root: int) -> set[int]:
    """A process and all that descend from it."""
    parent_of = parents()
    found = {root}
    while grown := {child for child, parent in parent_of.items() if parent in found} - found:
        found |= grown
    return found


def socket_inodes(process: int) -> set[str]:
    """The sockets that a process holds open."""
    links = (os.readlink(fd) for fd in Path(f"/proc/{process}/fd").iterdir())
    return {link.removeprefix("socket:[").rstrip("]") for link in links if "socket:" in link}


def network_inodes() -> set[str]:
    """Sockets of the machine's network, listening or not."""
    return {
        line.split()[9]
        for table in ("tcp", "tcp6", "udp", "udp6")
        for line in Path("/proc/net", table).read_text().splitlines()[1:]
    }


def test_open_client_has_no_network_socket(tmp_path: Path) -> None:
    with busy_program(tmp_path) as program:
        processes = family(program.pid)
        assert len(processes) >= 5  # the program, two workers, and a process of each
        sockets = set[str]().union(*map(socket_inodes, processes))
        assert sockets, "workers talk through sockets"
        assert sockets & network_inodes() == set()


def test_killed_program_leaves_no_process(tmp_path: Path) -> None:
    with busy_program(tmp_path) as program:
        processes = family(program.pid)
        assert len(processes) >= 5
        program.send_signal(signal.SIGKILL)
        wait_until(lambda: processes & parents().keys() == set(), PROMISED_SECONDS)
