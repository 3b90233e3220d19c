"""A cluster in processes of its own: a scheduler and nodes of one cpu, over TCP and TLS.

Nodes and client have another user's directories than the scheduler, so that they find no socket of
its machine and come in by the network, though it is only the loopback interface.
"""

import contextlib
import os
import re
import socket
import subprocess
import sys
import tempfile
import threading
from pathlib import Path
from queue import Empty, Queue

_DEADLINE_SECONDS = 30.0


class Cluster:
    """A scheduler, and the nodes that are started for it; `close` ends them."""

    def __init__(self) -> None:
        self._directory = tempfile.TemporaryDirectory(prefix="hurricane-")
        port = _free_port()
        self.address = f"127.0.0.1:{port}"
        self.member_variables = self._variables("member")
        self.nodes: list[Process] = []
        own = self._variables("scheduler")
        arguments = ("up", "--no-node", "--port", str(port), "--bind", "127.0.0.1")
        self.scheduler = Process(arguments, own)
        self.scheduler.wait_for(r"hurricane join h1")
        invitation = ("invite", "--port", str(port), "--uses", "100", "--role", "node,submit")
        self._ticket = _run(invitation, own)

    def start_nodes(self, count: int) -> None:
        """Start nodes of one cpu each; returns when they are members."""
        for _ in range(count):
            # The first makes the machine a member, for clients as well.
            verb = ("node",) if self.nodes else ("join", self._ticket)
            arguments = (*verb, "--address", self.address, "--cpus", "1")
            node = Process(arguments, self.member_variables)
            self.nodes.append(node)
            node.wait_for(r"(?<!not )joined ")

    def close(self) -> None:
        """End everything, nodes first."""
        for process in (*reversed(self.nodes), self.scheduler):
            process.end()
        self._directory.cleanup()

    def _variables(self, user: str) -> dict[str, str]:
        place = Path(self._directory.name) / user
        return {
            "HURRICANE_STATE_DIR": str(place / "state"),
            "HURRICANE_RUNTIME_DIR": str(place / "run"),
            "HURRICANE_DISCOVERY": "off",
        }


class Process:
    """A running `hurricane` command."""

    def __init__(self, arguments: tuple[str, ...], variables: dict[str, str]) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "hurricane", *arguments],
            env={**os.environ, "PYTHONUNBUFFERED": "1", **variables},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        self._lines: Queue[str | None] = Queue()
        self._said: list[str] = []
        threading.Thread(target=self._read, daemon=True).start()

    @property
    def pid(self) -> int:
        """The process's id."""
        return self._process.pid

    def wait_for(self, pattern: str) -> None:
        """Wait until it has printed such a line."""
        while True:
            try:
                line = self._lines.get(timeout=_DEADLINE_SECONDS)
            except Empty:
                line = None
            if line is None:
                said = "".join(self._said)
                msg = f"hurricane did not say `{pattern}`, but:\n{said}"
                raise RuntimeError(msg)
            self._said.append(line)
            if re.search(pattern, line):
                return

    def end(self) -> None:
        """End it as Ctrl-C does, or else at once."""
        self._process.terminate()
        try:
            self._process.wait(_DEADLINE_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def _read(self) -> None:
        assert self._process.stdout is not None
        with contextlib.suppress(ValueError):
            for line in self._process.stdout:
                self._lines.put(line)
        self._lines.put(None)


def _run(arguments: tuple[str, ...], variables: dict[str, str]) -> str:
    """Run a command that prints a ticket."""
    done = subprocess.run(
        [sys.executable, "-m", "hurricane", *arguments],
        env={**os.environ, **variables},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=True,
        timeout=_DEADLINE_SECONDS,
    )
    [ticket] = [word for word in done.stdout.split() if word.startswith("h1")]
    return ticket


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port: int = server.getsockname()[1]
        return port
