"""The rig itself: hosts that reach each other, links that are cut, and nothing left behind."""

import contextlib
import signal
import socket
import sys
import time
from pathlib import Path

import pytest

from conditions import until
from lan.hosts import Host, Lan

ECHO = """
import socket, sys
listener = socket.create_server(("0.0.0.0", 7))
print("ready", socket.gethostname(), flush=True)
while True:
    connection, _ = listener.accept()
    connection.sendall(connection.recv(100))
    connection.close()
"""


def echoes(host: Host, address: str) -> bool:
    try:
        with host.dial(address, 7, seconds=1) as connection:
            connection.sendall(b"canary")
            return connection.recv(100) == b"canary"
    except OSError:
        return False


def test_hosts_reach_each_other_until_a_link_is_cut(lan: Lan) -> None:
    network = lan.network()
    one, other = lan.host("one", network), lan.host("other", network)
    echo = other.start_python(ECHO)
    match, _ = echo.wait_for_line(r"ready (\w+)")
    assert match[1] == "other"
    with network.capture() as capture:
        assert echoes(one, other.address)
    assert any(b"canary" in frame for frame in capture.frames)
    network.cut(other)
    assert not echoes(one, other.address)
    network.heal(other)
    until(lambda: echoes(one, other.address))


def test_multicast_reaches_all_hosts(lan: Lan) -> None:
    network = lan.network()
    hosts = [lan.host(name, network) for name in ("one", "two", "three")]
    group = "224.0.0.251"
    with contextlib.ExitStack() as stack:
        listeners = []
        for host in hosts[1:]:
            with host.inside():
                listener = stack.enter_context(socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
            listener.bind(("", 5353))
            membership = socket.inet_aton(group) + socket.inet_aton(host.address)
            listener.setsockopt(socket.IPPROTO_IP, socket.IP_ADD_MEMBERSHIP, membership)
            listener.setblocking(False)
            listeners.append(listener)
        with hosts[0].inside():
            sender = stack.enter_context(socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
        interface = socket.inet_aton(hosts[0].address)
        sender.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_IF, interface)

        def is_heard(listener: socket.socket) -> bool:
            sender.sendto(b"hello", (group, 5353))
            with contextlib.suppress(BlockingIOError):
                return listener.recv(100) == b"hello"
            return False

        for listener in listeners:
            until(lambda listener=listener: is_heard(listener))


def test_what_runs_on_a_host_ends_with_it(lan: Lan) -> None:
    host = lan.host("one")
    # What hides in a session of its own is found as well.
    program = "import os, time\nif os.fork() == 0: os.setsid()\ntime.sleep(600)"
    host.start_python(program)
    until(lambda: len(host.processes()) == 2)
    pids = list(host.processes())
    host.close()
    until(lambda: not any(Path(f"/proc/{pid}").exists() for pid in pids))


def test_a_program_is_heard_line_by_line(lan: Lan) -> None:
    program = lan.host("one").start(
        sys.executable, "-c", "import time; print('now'); time.sleep(600)"
    )
    started = time.monotonic()
    _, line = program.wait_for_line("now")
    assert line.stream == "stdout"
    assert line.at >= started - 60
    assert program.stop(signal.SIGTERM) == -signal.SIGTERM
    with pytest.raises(AssertionError, match="it ended"):
        program.wait_for_line("later")
