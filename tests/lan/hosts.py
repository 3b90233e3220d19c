"""Hosts and networks made of namespaces, with programs running on them.

A host has interfaces, a host name, and directories of its own; it shares files with all others. A
network is a bridge with a link to each of its hosts, which can be cut. All of it is gone as soon as
nothing refers to it: nothing has a name that could be left behind.
"""

import contextlib
import ctypes
import ipaddress
import os
import re
import select
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from conditions import DEADLINE_SECONDS, until

BIN = Path(sys.prefix) / "bin"

CLONE_NEWUTS = 0x0400_0000
CLONE_NEWNET = 0x4000_0000

# A state of a socket in `/proc/net/tcp`.
_LISTEN = "0A"

_libc = ctypes.CDLL(None, use_errno=True)

# Makes itself a host, says so, and waits until its parent has taken hold of that.
_HOLDER = """
import socket, sys
socket.sethostname(sys.argv[1])
with open("/proc/sys/net/ipv6/conf/all/accept_dad", "w") as file:
    file.write("0")
with open("/proc/sys/net/ipv6/conf/default/accept_dad", "w") as file:
    file.write("0")
print("ready", flush=True)
sys.stdin.read()
"""


def can_make_hosts() -> bool:
    """Whether this process was started in namespaces of its own."""
    return "HURRICANE_NAMESPACES" in os.environ


@dataclass
class Line:
    """A line of what a process printed."""

    stream: str
    text: str
    at: float


class Process:
    """A running program of a host, with its output gathered line by line."""

    def __init__(self, host: "Host", command: list[str], **options: Any) -> None:
        self.command = command
        self.started_at = time.monotonic()
        self._process = subprocess.Popen(
            host.enter(command),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            errors="replace",
            pass_fds=host.descriptors(),
            **options,
        )
        self.lines: list[Line] = []
        self._more = threading.Condition()
        self._readers = [
            threading.Thread(target=self._read, args=(name,), daemon=True)
            for name in ("stdout", "stderr")
        ]
        for reader in self._readers:
            reader.start()

    @property
    def pid(self) -> int:
        return self._process.pid

    def _read(self, name: str) -> None:
        with getattr(self._process, name) as stream:
            for text in stream:
                with self._more:
                    self.lines.append(Line(name, text.rstrip("\n"), time.monotonic()))
                    self._more.notify_all()
        with self._more:
            self._more.notify_all()

    def _is_over(self) -> bool:
        return not any(reader.is_alive() for reader in self._readers)

    def output(self, stream: str = "") -> str:
        """Return what it has printed so far, on one or both of its streams."""
        return "\n".join(line.text for line in list(self.lines) if stream in line.stream)

    def wait_for_line(
        self, pattern: str, *, seconds: float = DEADLINE_SECONDS, after: int = 0
    ) -> tuple[re.Match[str], Line]:
        """Wait for a line that matches, beginning with the line number `after`."""
        deadline = time.monotonic() + seconds
        with self._more:
            while True:
                for line in self.lines[after:]:
                    if match := re.search(pattern, line.text):
                        return match, line
                after = len(self.lines)
                left = deadline - time.monotonic()
                over = self._process.poll() is not None and self._is_over()
                if over or left <= 0:
                    why = "it ended" if over else f"not within {seconds:g} s"
                    raise AssertionError(
                        f"no line like {pattern!r} of {self.command[1:]}: {why}\n{self.output()}"
                    )
                self._more.wait(min(left, 0.2))

    def is_running(self) -> bool:
        return self._process.poll() is None

    def send(self, number: int) -> None:
        self._process.send_signal(number)

    def wait(self, seconds: float = DEADLINE_SECONDS) -> int:
        """Wait until it has ended, and return its exit code."""
        try:
            code = self._process.wait(seconds)
        except subprocess.TimeoutExpired:
            raise AssertionError(
                f"{self.command[1:]} did not end within {seconds:g} s\n{self.output()}"
            ) from None
        for reader in self._readers:
            reader.join(5)
        return code

    def stop(self, number: int = signal.SIGINT, seconds: float = DEADLINE_SECONDS) -> int:
        """Send a signal, and return the exit code."""
        self.send(number)
        return self.wait(seconds)

    def kill(self) -> None:
        if self.is_running():
            self._process.kill()
        self._process.wait()


class Host:
    """A machine, as far as a program can tell."""

    def __init__(self, name: str, directory: Path) -> None:
        self.name = name
        self.addresses: list[str] = []
        self.links: list[str] = []
        self.directory = directory
        self.state = directory / "state"
        self.runtime = directory / "run"
        self.home = directory / "home"
        self.home.mkdir(parents=True)
        self.runtime.mkdir(mode=0o700)
        self.environment: dict[str, str] = {}
        self._processes: list[Process] = []
        self._is_closed = False
        self._net, self._uts = _new_namespaces(name)
        self.inode = os.fstat(self._net).st_ino
        self.run("ip", "link", "set", "lo", "up")

    @property
    def address(self) -> str:
        """The IPv4 address in the first of its networks."""
        return self.addresses[0]

    def path(self) -> str:
        """Where its network namespace is to be found, for `ip`."""
        return f"/proc/{os.getpid()}/fd/{self._net}"

    def descriptors(self) -> tuple[int, ...]:
        return (self._net, self._uts)

    def enter(self, command: list[str]) -> list[str]:
        own = f"/proc/{os.getpid()}/fd"
        return ["nsenter", f"--net={own}/{self._net}", f"--uts={own}/{self._uts}", "--", *command]

    def variables(self) -> dict[str, str]:
        """Return the environment of its programs."""
        kept = {name: os.environ[name] for name in ("LANG", "LC_ALL", "TERM") if name in os.environ}
        return {
            **kept,
            "PATH": f"{BIN}:{os.environ['PATH']}",
            "HOME": str(self.home),
            "HURRICANE_STATE_DIR": str(self.state),
            "HURRICANE_RUNTIME_DIR": str(self.runtime),
            "PYTHONUNBUFFERED": "1",
            **self.environment,
        }

    def run(
        self,
        *command: str,
        code: int | None = 0,
        text: str | None = None,
        seconds: float = DEADLINE_SECONDS,
        **environment: str,
    ) -> "subprocess.CompletedProcess[str]":
        """Run a program to its end; `None` as `code` takes any."""
        done = subprocess.run(
            self.enter(list(command)),
            cwd=self.home,
            env={**self.variables(), **environment},
            input=text or "",
            capture_output=True,
            text=True,
            errors="replace",
            timeout=seconds,
            check=False,
            pass_fds=self.descriptors(),
        )
        if code is not None:
            assert done.returncode == code, (
                f"{self.name}: {command[:6]}: {done.returncode}\n{done.stdout}{done.stderr}"
            )
        return done

    def hurricane(self, *arguments: str, **options: Any) -> "subprocess.CompletedProcess[str]":
        """Run the command `hurricane` to its end."""
        return self.run(str(BIN / "hurricane"), *arguments, **options)

    def start(self, *command: str, **environment: str) -> Process:
        """Start a program."""
        process = Process(
            self, list(command), cwd=self.home, env={**self.variables(), **environment}
        )
        self._processes.append(process)
        return process

    def start_hurricane(self, *arguments: str, **environment: str) -> Process:
        """Start the command `hurricane`."""
        return self.start(str(BIN / "hurricane"), *arguments, **environment)

    def write(self, text: str, name: str = "program.py") -> str:
        """Write a file into the home directory; returns its path."""
        path = self.home / name
        path.write_text(text)
        return str(path)

    def python(
        self, text: str, *arguments: str, **options: Any
    ) -> "subprocess.CompletedProcess[str]":
        """Run a Python program from a file, as people do."""
        return self.run(sys.executable, self.write(text), *arguments, **options)

    def start_python(self, text: str, *arguments: str, name: str = "program.py") -> Process:
        """Start a Python program from a file, as people do."""
        return self.start(sys.executable, self.write(text, name), *arguments)

    def processes(self) -> dict[int, str]:
        """Return what runs on it: command lines by process id."""
        found = {}
        for directory in Path("/proc").glob("[0-9]*"):
            with contextlib.suppress(OSError):
                if (directory / "ns/net").stat().st_ino != self.inode:
                    continue
                words = (directory / "cmdline").read_bytes().split(b"\0")
                if words != [b""]:
                    found[int(directory.name)] = b" ".join(words).decode(errors="replace").strip()
        return found

    def listeners(self) -> list[tuple[str, str, int]]:
        """Return its open doors: `tcp` or `udp`, address and port."""
        found = []
        with self.inside():
            for kind in ("tcp", "tcp6", "udp", "udp6"):
                lines = Path(f"/proc/thread-self/net/{kind}").read_text().splitlines()[1:]
                for line in lines:
                    _, local, _, state = line.split()[:4]
                    if kind.startswith("udp") or state == _LISTEN:
                        address, port = local.split(":")
                        found.append((kind.rstrip("6"), _address(address), int(port, 16)))
        return found

    def inside(self) -> contextlib.AbstractContextManager[None]:
        """Let this thread make sockets of this host; those that it has made stay so."""
        return _in_network(self._net)

    def dial(self, address: str, port: int, *, seconds: float = 5.0) -> socket.socket:
        """Connect from this host."""
        with self.inside():
            return socket.create_connection((address, port), timeout=seconds)

    def close(self) -> None:
        """End everything that runs on it."""
        for process in self._processes:
            process.kill()
        for pid in self.processes():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        until(lambda: not self.processes(), f"the end of what runs on {self.name}")
        if not self._is_closed:
            self._is_closed = True
            os.close(self._net)
            os.close(self._uts)


class Network:
    """A bridge with a link to each host."""

    def __init__(self, number: int) -> None:
        self.number = number
        self._hosts: list[Host] = []
        self._ports: dict[Host, str] = {}
        # A host of its own: what nothing runs on.
        self._net, self._uts = _new_namespaces(f"bridge-{number}")
        self._ip("link", "set", "lo", "up")
        self._ip(
            "link", "add", "br0", "type", "bridge", "mcast_snooping", "0", "forward_delay", "0"
        )
        self._ip("link", "set", "br0", "up")

    def _ip(self, *arguments: str) -> None:
        own = f"/proc/{os.getpid()}/fd"
        _run("nsenter", f"--net={own}/{self._net}", "--", "ip", *arguments)

    def attach(self, host: Host) -> str:
        """Link a host; returns its IPv4 address here."""
        self._hosts.append(host)
        place = len(self._hosts)
        link, port = f"eth{len(host.links)}", f"port{place}"
        self._ip("link", "add", port, "type", "veth", "peer", "name", link, "netns", host.path())
        self._ip("link", "set", port, "master", "br0", "up")
        address = f"10.77.{self.number}.{place}"
        host.run("ip", "address", "add", f"{address}/24", "brd", "+", "dev", link)
        host.run("ip", "-6", "address", "add", f"fd77:{self.number}::{place}/64", "dev", link)
        host.run("ip", "link", "set", link, "up")
        host.links.append(link)
        host.addresses.append(address)
        self._ports[host] = port
        return address

    def cut(self, host: Host) -> None:
        """Pull a host's cable."""
        self._ip("link", "set", self._ports[host], "down")

    def heal(self, host: Host) -> None:
        """Put it back."""
        self._ip("link", "set", self._ports[host], "up")

    def drop_multicast(self) -> None:
        """Carry no multicast from now on, as some access points and switches."""
        for port in self._ports.values():
            self._ip("link", "set", port, "type", "bridge_slave", "mcast_flood", "off")

    @contextlib.contextmanager
    def capture(self) -> Iterator["Capture"]:
        """Gather all that crosses this network."""
        capture = Capture(self._net)
        try:
            yield capture
        finally:
            capture.stop()

    def close(self) -> None:
        """Take it away."""
        os.close(self._net)
        os.close(self._uts)


# As a program outside sees it: a packet of a link that leaves through it.
_PACKET_OUTGOING = 4
_ETH_P_ALL = 3
_SO_RCVBUFFORCE = 33


@dataclass
class Capture:
    """Every frame that came into a bridge."""

    namespace: int
    frames: list[bytes] = field(default_factory=list)

    def __post_init__(self) -> None:
        with _in_network(self.namespace):
            self._socket = socket.socket(
                socket.AF_PACKET, socket.SOCK_RAW, socket.htons(_ETH_P_ALL)
            )
        with contextlib.suppress(OSError):
            self._socket.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, 256 << 20)
        self._is_over = False
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        # What is there when it stops is still read.
        while select.select([self._socket], [], [], 0.05)[0] or not self._is_over:
            if not select.select([self._socket], [], [], 0)[0]:
                continue
            frame, (link, _, kind, *_) = self._socket.recvfrom(1 << 17)
            if link.startswith("port") and kind != _PACKET_OUTGOING:
                self.frames.append(frame)

    def stop(self) -> None:
        self._is_over = True
        self._reader.join()
        self._socket.close()


class Lan:
    """The hosts and networks of one test."""

    def __init__(self) -> None:
        # Short: the address of a unix socket has room for a hundred bytes.
        self.directory = Path(tempfile.mkdtemp(dir=os.environ["HURRICANE_NAMESPACES"]))
        self.directory.chmod(0o755)
        self._hosts: list[Host] = []
        self._networks: list[Network] = []

    def network(self) -> Network:
        """Make a network."""
        network = Network(len(self._networks))
        self._networks.append(network)
        return network

    def host(self, name: str, *networks: Network, directory: str = "") -> Host:
        """Make a host in some networks."""
        host = Host(name, self.directory / (directory or name))
        self._hosts.append(host)
        for network in networks:
            network.attach(host)
        return host

    def close(self) -> None:
        """End all that runs, and take everything away."""
        for host in self._hosts:
            host.close()
        for network in self._networks:
            network.close()
        shutil.rmtree(self.directory, ignore_errors=True)

    def report(self) -> str:
        """Return what all programs have printed."""
        return "\n".join(
            f"--- {host.name}: {' '.join(process.command[-6:])}\n{process.output()[-4000:]}"
            for host in self._hosts
            for process in host._processes
        )


def _new_namespaces(name: str) -> tuple[int, int]:
    command = ["unshare", "--net", "--uts", sys.executable, "-I", "-S", "-c", _HOLDER, name]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "ready\n", "no namespaces can be made"
        own = f"/proc/{holder.pid}/ns"
        return os.open(f"{own}/net", os.O_RDONLY), os.open(f"{own}/uts", os.O_RDONLY)


@contextlib.contextmanager
def _in_network(namespace: int) -> Iterator[None]:
    before = os.open("/proc/thread-self/ns/net", os.O_RDONLY)
    try:
        _set_namespace(namespace)
        try:
            yield
        finally:
            _set_namespace(before)
    finally:
        os.close(before)


def _set_namespace(namespace: int) -> None:
    if _libc.setns(namespace, CLONE_NEWNET) != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))


def _run(*command: str) -> None:
    own = [int(word.rpartition("/")[2]) for word in command if "/fd/" in word]
    done = subprocess.run(
        command, capture_output=True, text=True, check=False, timeout=DEADLINE_SECONDS, pass_fds=own
    )
    assert done.returncode == 0, f"{command}: {done.stderr}"


def _address(text: str) -> str:
    """Read an address as `/proc/net` writes it: in words of the machine's own byte order."""
    words = [int(text[at : at + 8], 16).to_bytes(4, sys.byteorder) for at in range(0, len(text), 8)]
    return str(ipaddress.ip_address(b"".join(words)))


MEASURED: list[str] = []


def measured(what: str, seconds: float, promised: float) -> None:
    """Note how long something took, and fail if that was over three times what is promised."""
    MEASURED.append(f"{what}: {seconds:.2f} s (promised: {promised:g} s)")
    assert seconds <= 3 * promised, f"{what} took {seconds:.2f} s, promised are {promised:g} s"


def seconds_until(condition: Callable[[], object], what: str, since: float | None = None) -> float:
    """Wait for a condition; returns how long it took from `since`, or from now."""
    since = time.monotonic() if since is None else since
    until(condition, what)
    return time.monotonic() - since
