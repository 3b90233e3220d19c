"""Clusters on hosts, jobs that show where and how often each task ran, and tickets."""

import hashlib
import json
import sys
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from conditions import DEADLINE_SECONDS, until
from lan.hosts import Host, Process

PORT = 12222

# How the command says that a node is a member.
JOINED = r"(?<!not )joined "

# Runs tasks that leave a line each time one begins, and prints what became of them.
JOB = """
import json, os, sys
import hurricane

def task(number, seconds, log, padding):
    import os, socket, time
    line = f"{number} {socket.gethostname()} {os.getpid()} {time.time():.3f}\\n"
    descriptor = os.open(log, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o666)
    os.write(descriptor, line.encode())
    os.close(descriptor)
    time.sleep(seconds)
    return number * number, socket.gethostname(), padding

def main():
    count, seconds, log, padding, *choice = sys.argv[1:]
    padding = os.urandom(int(padding))
    choice = {name: json.loads(value) for name, value in (each.split("=", 1) for each in choice)}
    with hurricane.Client(**choice) as client:
        arguments = (float(seconds), log, padding)
        futures = [client.submit(task, number, *arguments) for number in range(int(count))]
        print("submitted", flush=True)
        results = []
        for future in futures:
            try:
                square, host, back = future.result()
                results.append([square, host] if back == padding else ["damaged", host])
            except Exception as error:
                results.append([f"{type(error).__name__}: {error}", None])
    print("results", json.dumps(results), flush=True)

main()
"""


class Cluster:
    """A scheduler that runs on a host."""

    def __init__(self, host: Host, *arguments: str, port: int = PORT) -> None:
        self.host = host
        self.port = port
        self._arguments = arguments
        self.scheduler: Process
        self.ticket = ""
        self.start()

    def start(self) -> None:
        """Start it, or start it again; returns when it prints its ticket."""
        self.scheduler = self.host.start_hurricane("up", "--port", str(self.port), *self._arguments)
        match, line = self.scheduler.wait_for_line(r"hurricane join (h1[0-9a-z]+)")
        assert line.stream == "stdout"
        self.ticket = match[1]

    def invite(self, *arguments: str) -> str:
        """Make another ticket."""
        done = self.host.hurricane("invite", "--port", str(self.port), *arguments)
        [word] = [word for word in done.stdout.split() if word.startswith("h1")]
        return word

    def expired_ticket(self) -> str:
        """Make a ticket whose time is over: it has 1 s. Nobody can see that but by using it."""
        ticket = self.invite("--ttl", "1s")
        expires = time.monotonic() + 1
        until(lambda: time.monotonic() > expires)
        return ticket

    def join(self, host: Host, *arguments: str, ticket: str = "") -> Process:
        """Enrol a host and start a node there; returns when it is a member."""
        process = host.start_hurricane("join", ticket or self.ticket, *arguments)
        process.wait_for_line(JOINED)
        return process

    def enrol(self, host: Host, *, role: str = "node") -> None:
        """Enrol a host, and leave no node there."""
        if role == "submit":
            ticket = self.invite("--role", "submit")
            host.hurricane("join", ticket)
            return
        node = self.join(host, ticket=self.invite("--role", role))
        node.stop()
        until(lambda: host.name not in self.node_names(), f"the end of {host.name}'s node")

    def node(self, host: Host, *arguments: str) -> Process:
        """Start a node on a host that is enrolled."""
        return host.start_hurricane("node", "--port", str(self.port), *arguments)

    def status(self) -> dict[str, Any]:
        """Return what `hurricane status --json` says on the scheduler's host."""
        done = self.host.hurricane("status", "--json", "--port", str(self.port))
        found: dict[str, Any] = json.loads(done.stdout)
        return found

    def nodes(self) -> list[dict[str, Any]]:
        nodes: list[dict[str, Any]] = self.status()["nodes"]
        return nodes

    def node_names(self) -> set[str]:
        return {node["name"] for node in self.nodes()}

    def wait_for_nodes(self, *names: str) -> None:
        """Wait until exactly these are members."""
        until(lambda: self.node_names() == set(names), f"{names}")


@dataclass
class Execution:
    """One beginning of a task."""

    number: int
    host: str
    pid: int
    at: float


class Job:
    """Tasks that were submitted on a host."""

    def __init__(
        self,
        host: Host,
        count: int,
        *,
        seconds: float = 0.0,
        padding: int = 0,
        name: str = "job",
        **choice: Any,
    ) -> None:
        self.count = count
        # Where nobody else can be: every host sees it.
        self.log = host.directory / f"{name}.log"
        self.log.touch()
        words = [str(count), str(seconds), str(self.log), str(padding)]
        words += [f"{option}={json.dumps(value)}" for option, value in choice.items()]
        program = host.write(JOB, f"{name}.py")
        self.process = host.start(sys.executable, program, *words)

    def executions(self) -> list[Execution]:
        """Return every beginning of a task so far, in their order."""
        found = []
        for line in self.log.read_text().splitlines():
            number, host, pid, at = line.split()
            found.append(Execution(int(number), host, int(pid), float(at)))
        return found

    def wait_for_executions(self, count: int) -> None:
        """Wait until so many tasks have begun."""
        until(lambda: len(self.executions()) >= count, f"the beginning of {count} tasks")

    def times(self) -> Counter[int]:
        """Return how often each task has begun."""
        return Counter(each.number for each in self.executions())

    def finish(self, seconds: float = DEADLINE_SECONDS) -> "Counter[str]":
        """Wait for the end. All results must be exact; returns how many came from which host."""
        match, _ = self.process.wait_for_line(r"^results (.*)", seconds=seconds)
        assert self.process.wait() == 0, self.process.output()
        results = json.loads(match[1])
        assert [value for value, _ in results] == [number**2 for number in range(self.count)]
        assert set(self.times()) == set(range(self.count))
        return Counter(host for _, host in results)


_LETTERS = "0123456789abcdefghjkmnpqrstvwxyz"


@dataclass
class TicketParts:
    """What a ticket holds: see `crates/hurricane-runtime/src/ticket.rs`."""

    fingerprint: bytes
    secret: bytes
    roles: int
    port: int

    @classmethod
    def of(cls, line: str) -> "TicketParts":
        """Take a ticket apart."""
        bits = "".join(f"{_LETTERS.index(letter):05b}" for letter in line.removeprefix("h1"))
        content = bytes(int(bits[at : at + 8], 2) for at in range(0, len(bits) // 8 * 8, 8))
        return cls(content[:16], content[16:32], content[32], int.from_bytes(content[33:35]))

    def line(self) -> str:
        """Put it together again."""
        content = self.fingerprint + self.secret + bytes([self.roles]) + self.port.to_bytes(2)
        content += hashlib.sha256(b"h1" + content).digest()[:4]
        bits = "".join(f"{byte:08b}" for byte in content)
        bits += "0" * (-len(bits) % 5)
        return "h1" + "".join(_LETTERS[int(bits[at : at + 5], 2)] for at in range(0, len(bits), 5))


def keys_of(host: Host) -> dict[Path, bytes]:
    """Return the secret part of each key that lies in a host's state directory."""
    # In PKCS#8 the 32 bytes of an Ed25519 key follow these.
    mark = bytes.fromhex("04220420")
    found = {}
    for file in host.state.rglob("key"):
        content = file.read_bytes()
        found[file] = content[content.index(mark) + len(mark) :][:32]
    return found
