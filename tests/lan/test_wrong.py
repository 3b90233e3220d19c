"""What people and networks do wrong: one clear sentence each, and never a hang."""

import contextlib
import os
import select
import socket
import ssl
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from conditions import until
from lan.cluster import JOINED, PORT, Cluster, Job
from lan.hosts import Host, Lan
from lan.test_strangers import says


@pytest.fixture
def hosts(lan: Lan) -> list[Host]:
    """Three hosts in a network."""
    network = lan.network()
    return [lan.host(name, network) for name in ("alder", "birch", "cedar")]


@contextlib.contextmanager
def answering(host: Host, port: int, answer: bytes, *, reads: bool = True) -> Iterator[None]:
    """Answer whoever dials a port of a host, with the same bytes."""
    with host.inside():
        listener = socket.create_server(("0.0.0.0", port))
    is_over = threading.Event()
    held = []

    def serve() -> None:
        while not is_over.is_set():
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            connection.settimeout(1)
            with contextlib.suppress(OSError):
                if reads:
                    connection.recv(4096)
                connection.sendall(answer)
            if answer:
                connection.close()
            else:
                held.append(connection)

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    try:
        yield
    finally:
        is_over.set()
        with contextlib.suppress(OSError):
            listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        thread.join()
        for connection in held:
            connection.close()


ANSWERS = {
    "http": b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n<html>no</html>",
    "garbage": bytes(range(256)) * 4,
    "a frame of 4 GiB": (4 << 30).to_bytes(8, "little") + bytes(1000),
    "ssh": b"SSH-2.0-OpenSSH_9.2\r\n",
    "nothing": b"",
}


@pytest.mark.parametrize("kind", ANSWERS)
def test_who_is_dialed_is_no_scheduler(hosts: list[Host], kind: str) -> None:
    first, second, other = hosts
    cluster = Cluster(first, "--no-node")
    with answering(other, 4000, ANSWERS[kind]):
        address = f"{other.address}:4000"
        # Only that address: discovery would find the right one.
        cluster.scheduler.stop()
        started = time.monotonic()
        done = second.hurricane("join", cluster.ticket, "--address", address, code=2)
        assert time.monotonic() - started < 30
        assert done.stderr.count("error:") == 1
        assert address in done.stderr
        assert "Traceback" not in done.stderr
        assert "panicked" not in done.stderr


def test_a_scheduler_that_only_knows_tls_1_2(hosts: list[Host]) -> None:
    """And whoever dials with no more than that."""
    first, second, other = hosts
    cluster = Cluster(first, "--no-node")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    with (
        second.dial(first.address, PORT) as plain,
        pytest.raises((ssl.SSLError, ConnectionError)),
    ):
        context.wrap_socket(plain).recv(1)
    # A server's hello of TLS 1.2.
    hello = b"\x02\x00\x00\x26\x03\x03" + bytes(32) + b"\x00\xc0\x2f\x00"
    record = b"\x16\x03\x03" + len(hello).to_bytes(2) + hello
    cluster.scheduler.stop()
    with answering(other, 4000, record):
        address = f"{other.address}:4000"
        done = second.hurricane("join", cluster.ticket, "--address", address, code=2)
        assert done.stderr.count("error:") == 1


@pytest.mark.parametrize(
    "said",
    [
        b"GET / HTTP/1.1\r\nHost: x\r\n\r\n",
        os.urandom(3000),
        (4 << 30).to_bytes(8, "little") + bytes(1000),
        b"\x16\x03\x01\xff\xff\x01\xff\xff\xff\x03\x03" + bytes(2000),
    ],
    ids=["http", "garbage", "4 GiB", "hello"],
)
def test_who_dials_is_no_member(hosts: list[Host], said: bytes) -> None:
    first, second, _ = hosts
    cluster = Cluster(first)
    answer = says(second, first.address, PORT, said)
    # At most an alert of TLS.
    assert len(answer) < 20
    until(lambda: cluster.node_names() == {"alder"})
    assert "panicked" not in cluster.scheduler.output()


def test_a_member_that_claims_a_frame_of_4_gib(hosts: list[Host]) -> None:
    """Within the host, where no key is asked for."""
    first, *_ = hosts
    cluster = Cluster(first)
    [path] = [path for path in first.runtime.rglob("scheduler-*") if path.is_socket()]
    for side in (1, 2, 3):
        with socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(10)
            connection.connect(str(path))
            greeting = connection.recv(32)
            assert greeting.startswith(b"hurricane\0")
            connection.sendall(greeting[:9] + bytes([side]) + greeting[10:])
            with contextlib.suppress(ConnectionError):
                connection.sendall((4 << 30).to_bytes(8, "little") + bytes(1000))
                while connection.recv(4096):
                    pass
    assert set(Job(first, 10).finish()) == {"alder"}
    assert "panicked" not in cluster.scheduler.output()


@contextlib.contextmanager
def greeted_by(host: Host, greeting: bytes) -> Iterator[None]:
    """Be the scheduler of a host, as far as its greeting."""
    path = host.runtime / f"scheduler-{PORT}.sock"
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen()
        is_over = threading.Event()

        def serve() -> None:
            while not is_over.is_set():
                try:
                    connection, _ = listener.accept()
                except OSError:
                    return
                with connection, contextlib.suppress(OSError):
                    connection.sendall(greeting)
                    connection.settimeout(5)
                    connection.recv(100)

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        try:
            yield
        finally:
            is_over.set()
            with contextlib.suppress(OSError):
                listener.shutdown(socket.SHUT_RDWR)
            thread.join()
            path.unlink(missing_ok=True)


OWN_MINOR = sys.version_info.minor


def greeting(*, protocol: int = 1, side: int = 0, python: int = OWN_MINOR) -> bytes:
    versions = protocol.to_bytes(2) + bytes([0, 9, 0, 9, 0, 9])
    return (b"hurricane" + bytes([side]) + versions + bytes([python])).ljust(32, b"\0")


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        (greeting(protocol=99), "protocol 99"),
        (b"HTTP/1.1 400 Bad Request\r\n\r\n".ljust(64), "does not speak"),
    ],
    ids=["protocol", "http"],
)
def test_versions_that_do_not_fit_are_named(hosts: list[Host], said: bytes, expected: str) -> None:
    first, *_ = hosts
    # There was a scheduler of this user here, and now there is this one.
    Cluster(first, "--no-node").scheduler.stop()
    with greeted_by(first, said):
        done = first.hurricane("status", code=2)
        assert expected in done.stderr
        assert "Traceback" not in done.stderr
        node = first.start_hurricane("node")
        node.wait_for_line(expected)
        program = "import hurricane\nhurricane.Client(port=12222).submit(abs, 1).result()"
        assert expected in first.python(program, code=1).stderr.splitlines()[-1]
        node.stop()


def test_a_python_that_does_not_fit_is_named(hosts: list[Host]) -> None:
    first, *_ = hosts
    cluster = Cluster(first)
    cluster.wait_for_nodes("alder")
    [path] = [path for path in first.runtime.rglob("scheduler-*") if path.is_socket()]
    with regreeting(path, python=99):
        program = "import hurricane\nhurricane.Client(port=12222).submit(abs, 1).result()"
        assert "Python 3.99" in first.python(program, code=1).stderr.splitlines()[-1]
        node = first.start_hurricane("node")
        node.wait_for_line("Python 3.99")
        node.stop()
        # Who only asks has none.
        assert "alder" in first.hurricane("status").stdout
    cluster.scheduler.wait_for_line(f"Python 3.{OWN_MINOR}")


@contextlib.contextmanager
def regreeting(path: Path, *, python: int) -> Iterator[None]:
    """Stand before a scheduler, and make its Python, and that of who dials, another."""
    behind = path.with_name("behind")
    path.rename(behind)

    def relay(dialer: socket.socket) -> None:
        with dialer, socket.socket(socket.AF_UNIX) as scheduler, contextlib.suppress(OSError):
            scheduler.connect(str(behind))
            for source, sink in ((scheduler, dialer), (dialer, scheduler)):
                said = bytearray(source.recv(32))
                if said[18]:
                    said[18] = python
                sink.sendall(said)
            both = [dialer, scheduler]
            while ready := select.select(both, [], [], 30)[0]:
                said = ready[0].recv(1 << 16)
                if not said:
                    return
                both[1 - both.index(ready[0])].sendall(said)

    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen()

        def serve() -> None:
            with contextlib.suppress(OSError):
                while True:
                    dialer, _ = listener.accept()
                    threading.Thread(target=relay, args=(dialer,), daemon=True).start()

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        try:
            yield
        finally:
            listener.shutdown(socket.SHUT_RDWR)
            thread.join()
            behind.rename(path)


@pytest.mark.parametrize("side", [1, 2, 3])
def test_a_scheduler_names_versions_that_do_not_fit(hosts: list[Host], side: int) -> None:
    first, *_ = hosts
    cluster = Cluster(first, "--no-node")
    [path] = [path for path in first.runtime.rglob("scheduler-*") if path.is_socket()]
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(10)
        connection.connect(str(path))
        assert len(connection.recv(32)) == 32
        connection.sendall(greeting(protocol=99, side=side))
        assert not connection.recv(100)
    cluster.scheduler.wait_for_line("protocol 99")


def test_a_port_that_is_taken(hosts: list[Host]) -> None:
    first, *_ = hosts
    with answering(first, PORT, b""):
        done = first.hurricane("up", code=2)
    assert str(PORT) in done.stderr
    assert "--port" in done.stderr
    cluster = Cluster(first)
    done = first.hurricane("up", code=2)
    assert str(PORT) in done.stderr
    assert cluster.scheduler.is_running()


def test_no_multicast_is_said_with_the_address_to_give(lan: Lan) -> None:
    network = lan.network()
    first, second = (lan.host(name, network) for name in ("alder", "birch"))
    network.drop_multicast()
    cluster = Cluster(first, "--no-node")
    # The scheduler knows where it is, and who looks for it what to do.
    _, line = cluster.scheduler.wait_for_line("--address")
    assert first.address in line.text
    done = second.hurricane("join", cluster.ticket, code=2)
    assert "multicast" in done.stderr
    assert "--address" in done.stderr
    cluster.join(second, "--address", first.address).stop()
    # From then on the address is known.
    cluster.node(second).wait_for_line(JOINED)


# What the libraries of C and Rust ask for the date, a day or more off.
SHIFT = """
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdlib.h>
#include <sys/time.h>
#include <time.h>
static long shift(void) { return atol(getenv("CLOCK_SHIFT") ? getenv("CLOCK_SHIFT") : "0"); }
int clock_gettime(clockid_t clock, struct timespec *now) {
    static int (*real)(clockid_t, struct timespec *);
    if (!real) real = dlsym(RTLD_NEXT, "clock_gettime");
    int done = real(clock, now);
    if (clock == CLOCK_REALTIME || clock == CLOCK_REALTIME_COARSE) now->tv_sec += shift();
    return done;
}
int gettimeofday(struct timeval *now, void *zone) {
    struct timespec precise;
    clock_gettime(CLOCK_REALTIME, &precise);
    now->tv_sec = precise.tv_sec;
    now->tv_usec = precise.tv_nsec / 1000;
    return 0;
}
time_t time(time_t *now) {
    struct timespec precise;
    clock_gettime(CLOCK_REALTIME, &precise);
    if (now) *now = precise.tv_sec;
    return precise.tv_sec;
}
"""


def shifted(host: Host, seconds: int) -> None:
    """Set the clock of a host wrong."""
    library = host.home / "shift.so"
    source = host.write(SHIFT, "shift.c")
    subprocess.run(
        ["cc", "-shared", "-fPIC", "-o", library, source, "-ldl"], check=True, timeout=60
    )
    host.environment |= {"LD_PRELOAD": str(library), "CLOCK_SHIFT": str(seconds)}
    said = float(host.python("import time; print(time.time())").stdout)
    assert abs(said - time.time() - seconds) < 60


@pytest.mark.parametrize("seconds", [86_400, -86_400])
def test_nothing_depends_on_the_date(hosts: list[Host], seconds: int) -> None:
    first, second, third = hosts
    shifted(second, seconds)
    cluster = Cluster(first)
    cluster.join(second)
    cluster.wait_for_nodes("alder", "birch")
    assert set(Job(first, 100, seconds=0.02).finish()) == {"alder", "birch"}
    # Nor does a scheduler whose date is wrong.
    cluster.scheduler.stop()
    shifted(first, -seconds)
    cluster.start()
    cluster.join(third)
    cluster.wait_for_nodes("alder", "birch", "cedar")
    assert set(Job(first, 100, seconds=0.02, name="again").finish()) >= {"birch", "cedar"}


def test_an_address_that_nobody_answers(hosts: list[Host]) -> None:
    first, second, _ = hosts
    cluster = Cluster(first, "--no-node")
    cluster.enrol(second, role="submit")
    cluster.scheduler.stop()
    where = f"{hosts[2].address}:{PORT}"
    program = f"import hurricane\nhurricane.Client(address='{where}').submit(abs, 1).result()"
    said = second.python(program, code=1).stderr.splitlines()[-1]
    assert hosts[2].address in said
    done = second.hurricane("status", "--address", "10.77.0.250", code=2, seconds=30)
    assert "10.77.0.250" in done.stderr
    done = second.hurricane("status", "--address", "no such host", code=2, seconds=30)
    assert "no such host" in done.stderr


def test_a_file_that_holds_something_else_is_named(hosts: list[Host]) -> None:
    first, second, _ = hosts
    cluster = Cluster(first, "--no-node")
    cluster.enrol(second)
    files = second.state.glob("machines/*/memberships/*")
    [membership] = [file for file in files if file.name != "lock"]
    membership.write_text("nonsense\n")
    done = second.hurricane("node", code=2)
    assert str(membership) in done.stderr
    [key] = second.state.glob("machines/*/key")
    key.write_bytes(b"nonsense")
    membership.unlink()
    done = second.hurricane("node", code=2)
    assert str(key) in done.stderr
    assert Path(key).read_bytes() == b"nonsense"
