"""What people do who hold no key: whatever they send costs little and does nothing."""

import contextlib
import os
import pickle
import random
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from conditions import until
from lan.cluster import PORT, Cluster, Job
from lan.hosts import Host, Lan

# In every Python process of a host: writes down each class that any pickle names.
AUDIT = """
import os, sys

descriptor = os.open({log!r}, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)

def hook(event, arguments):
    if event == "pickle.find_class":
        os.write(descriptor, f"{{os.getpid()}} {{arguments}}\\n".encode())

sys.addaudithook(hook)
"""


class Bomb:
    """What says so when somebody unpickles it."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.mkdir, (str(self.mark),)


def audited(host: Host) -> Path:
    """Write down what all Python processes of a host unpickle, from now on."""
    log, directory = host.directory / "audit", host.directory / "audited"
    directory.mkdir()
    (directory / "sitecustomize.py").write_text(AUDIT.format(log=str(log)))
    host.environment["PYTHONPATH"] = str(directory)
    return log


def frames(mark: Path, seed: int) -> Iterator[bytes]:
    """Yield what strangers may say, for ever."""
    chance = random.Random(seed)
    bomb = pickle.dumps(Bomb(mark))
    greeting = b"hurricane\x02\0\x01\0\0\0\x01\0\0\x0b".ljust(32, b"\0")
    hello = b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"
    kinds: list[Callable[[], bytes]] = [
        lambda: chance.randbytes(chance.randrange(1, 4000)),
        lambda: b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n",
        lambda: b"POST / HTTP/1.1\r\nContent-Length: 9\r\n\r\n" + bomb,
        lambda: bomb,
        lambda: len(bomb).to_bytes(8, "little") + bomb,
        lambda: len(bomb).to_bytes(4, "big") + bomb,
        lambda: greeting + len(bomb).to_bytes(8, "little") + bomb,
        lambda: greeting + (4 << 30).to_bytes(8, "little"),
        lambda: (4 << 30).to_bytes(8, "little") + bytes(100),
        lambda: b"\xff" * chance.randrange(1, 100),
        lambda: hello + chance.randbytes(500),
        lambda: b"\x16\x03\x01\xff\xff\x01\xff\xff\xff" + chance.randbytes(100),
        lambda: b"\x17\x03\x03" + len(bomb).to_bytes(2) + bomb,
        lambda: b"SSH-2.0-OpenSSH_9.2\r\n",
        lambda: b"",
    ]
    while True:
        yield chance.choice(kinds)()


def says(stranger: Host, address: str, port: int, said: bytes) -> bytes:
    """Say something, and return the answer until the end of the connection."""
    with contextlib.suppress(OSError), stranger.dial(address, port) as connection:
        connection.sendall(said)
        connection.shutdown(socket.SHUT_WR)
        answer = b""
        while piece := connection.recv(4096):
            answer += piece
        return answer
    return b""


def resident_bytes(pid: int) -> int:
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) * 1024
    raise AssertionError("it has ended")


def test_s2_nothing_of_a_stranger_is_unpickled(lan: Lan) -> None:
    network = lan.network()
    first, second = lan.host("alder", network), lan.host("birch", network)
    stranger = lan.host("stranger", network)
    logs = [audited(host) for host in (first, second)]
    mark = lan.directory / "unpickled"
    cluster = Cluster(first)
    node = cluster.join(second)
    cluster.wait_for_nodes("alder", "birch")
    doors = [(host, kind, port) for host in (first, second) for kind, _, port in host.listeners()]
    doors = [(host, kind, port) for host, kind, port in doors if kind in {"tcp", "udp"}]
    assert any(port == PORT for _, _, port in doors)
    assert any(host is second and kind == "tcp" for host, kind, _ in doors)

    said = frames(mark, seed=1)
    deadline = time.monotonic() + 6
    count = 0
    with stranger.inside(), socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as datagrams:
        while time.monotonic() < deadline:
            for host, kind, port in doors:
                if kind == "udp":
                    datagrams.sendto(next(said)[:1400], (host.address, port))
                else:
                    says(stranger, host.address, port, next(said))
                count += 1
    print(f"{count} hostile frames")
    assert count > 100
    assert not mark.exists()
    for log in logs:
        assert not log.exists() or not log.read_text()

    # All still works, and only in workers and the program was anything unpickled.
    job = Job(first, 100, seconds=0.02)
    job.finish()
    pids = {line.split()[0] for log in logs for line in log.read_text().splitlines()}
    assert pids, "the audit hears nothing"
    assert not pids & {str(cluster.scheduler.pid), str(node.pid)}
    assert pids <= {str(each.pid) for each in job.executions()} | {str(job.process.pid)}


def test_s3_strangers_do_nothing(lan: Lan) -> None:
    network = lan.network()
    first, second = lan.host("alder", network), lan.host("birch", network)
    stranger = lan.host("stranger", network)
    cluster = Cluster(first)
    cluster.join(second)
    cluster.wait_for_nodes("alder", "birch")
    alone = Job(first, 200, seconds=0.02, name="alone")
    alone.finish()
    before = resident_bytes(cluster.scheduler.pid)

    is_over = threading.Event()
    said = frames(lan.directory / "unpickled", seed=2)
    counts = [0, 0]

    def dial(number: int) -> None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        context.set_alpn_protocols(["hurricane"])
        while not is_over.is_set():
            with contextlib.suppress(OSError):
                if number:
                    says(stranger, first.address, PORT, next(said))
                else:
                    # Valid TLS 1.3, and no key that anybody knows.
                    with (
                        stranger.dial(first.address, PORT) as plain,
                        context.wrap_socket(plain) as secured,
                    ):
                        assert not secured.recv(100), "something was said to a stranger"
            counts[bool(number)] += 1

    threads = [threading.Thread(target=dial, args=(number,)) for number in range(3)]
    for thread in threads:
        thread.start()
    try:
        job = Job(first, 200, seconds=0.02, name="besieged")
        hosts = job.finish()
    finally:
        is_over.set()
        for thread in threads:
            thread.join()
    assert set(hosts) == {"alder", "birch"}
    assert set(job.times().values()) == {1}
    grown = resident_bytes(cluster.scheduler.pid) - before
    print(f"{sum(counts)} connections, {grown >> 10} KiB more memory")
    assert min(counts) > 0
    assert grown < 64 << 20
    assert cluster.status()["tasks"]["failed"] == 0


def test_s11_who_is_slow_is_closed(lan: Lan) -> None:
    network = lan.network()
    first, stranger = lan.host("alder", network), lan.host("stranger", network)
    Cluster(first, "--no-node")
    with stranger.dial(first.address, PORT, seconds=20) as connection:
        started = time.monotonic()
        connection.sendall(b"\x16\x03\x01\x02\x00\x01")
        with contextlib.suppress(ConnectionError):
            assert not connection.recv(1)
        assert time.monotonic() - started < 3 * 5


def test_s12_strangers_take_little_memory(lan: Lan) -> None:
    network = lan.network()
    first, stranger = lan.host("alder", network), lan.host("stranger", network)
    second = lan.host("birch", network)
    cluster = Cluster(first, "--no-node")
    sources = [f"10.77.0.{100 + number}" for number in range(40)]
    for source in sources:
        stranger.run("ip", "address", "add", f"{source}/24", "dev", "eth0")
    before = resident_bytes(cluster.scheduler.pid)
    # Each claims as much as it can, and sends as much as it may.
    hello = b"\x16\x03\x01\x40\x00\x01\xff\xff\xff\x03\x03".ljust(4000, b"x")
    connections = []
    peak = 0
    try:
        for source in sources * 10:
            with stranger.inside(), contextlib.suppress(OSError):
                address = (first.address, PORT)
                connection = socket.create_connection(address, 2, source_address=(source, 0))
                connections.append(connection)
                connection.sendall(hello)
            peak = max(peak, resident_bytes(cluster.scheduler.pid))
        grown = peak - before
        print(f"{len(connections)} strangers, {grown >> 10} KiB more memory")
        assert len(connections) > 256
        assert grown < 256 * (64 << 10) + (4 << 20)
        # A member gets in nevertheless.
        cluster.join(second)
    finally:
        for connection in connections:
            connection.close()


def test_s12_no_stranger_is_heard_out(lan: Lan) -> None:
    network = lan.network()
    first, stranger = lan.host("alder", network), lan.host("stranger", network)
    Cluster(first, "--no-node")
    hello = b"\x16\x03\x01\x40\x00\x01\x00\x3f\xfc\x03\x03"
    with stranger.dial(first.address, PORT, seconds=20) as connection:
        started = time.monotonic()
        with contextlib.suppress(ConnectionError):
            connection.sendall(hello.ljust(8192, b"x"))
            while connection.recv(4096):
                pass
        # Not after its time was over, but after its bytes were.
        assert time.monotonic() - started < 3


def test_a_flood_of_strangers_ends_and_leaves_nothing(lan: Lan) -> None:
    network = lan.network()
    first, stranger = lan.host("alder", network), lan.host("stranger", network)
    cluster = Cluster(first, "--no-node")
    descriptors = Path(f"/proc/{cluster.scheduler.pid}/fd")
    cluster.status()
    before = len(list(descriptors.iterdir()))
    connections = []
    for _ in range(300):
        with contextlib.suppress(OSError):
            connections.append(stranger.dial(first.address, PORT))
    for connection in connections:
        connection.close()
    until(lambda: len(list(descriptors.iterdir())) <= before)
