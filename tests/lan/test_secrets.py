"""What nobody may see: on the wire, among processes, in logs, and as another user."""

import base64
import os
import resource
import signal
import socket
import time
import traceback
import warnings
from collections.abc import Callable
from pathlib import Path

import pytest

from conditions import until
from lan.cluster import JOINED, PORT, Cluster, Job, TicketParts, keys_of
from lan.hosts import Host, Lan
from lan.wire import check_is_tls_1_3, flows, packets

CANARY = "canary-5b1f9e"

CANARIES = """
import hurricane

def canary_5b1f9e_in_a_function(argument):
    "canary-5b1f9e in code"
    print("canary-5b1f9e printed")
    if argument.endswith("raise"):
        raise ValueError("canary-5b1f9e raised")
    return argument + "canary-5b1f9e returned" * 20_000

with hurricane.Client() as client:
    view = client.options(name="canary-5b1f9e-name")
    futures = [view.submit(canary_5b1f9e_in_a_function, f"canary-5b1f9e {i}") for i in range(8)]
    kept = client.put("canary-5b1f9e put" * 100_000)
    futures.append(client.submit(len, kept))
    print(sum(1 for future in futures if future.result()), flush=True)
    failed = view.submit(canary_5b1f9e_in_a_function, "raise").exception()
    assert isinstance(failed, ValueError), failed
"""


ALONE = """
import time
import hurricane
with hurricane.Client() as client:
    print("result", client.submit(abs, -1).result(), flush=True)
    time.sleep(600)
"""


def test_s1_nothing_is_exposed_by_default(lan: Lan) -> None:
    network = lan.network()
    first = lan.host("alder", network)
    # What else is in the network changes nothing: this user holds no key.
    Cluster(lan.host("birch", network))
    with network.capture() as capture:
        program = first.start_python(ALONE)
        program.wait_for_line("result 1")
        assert first.listeners() == []
        program.stop()
    assert not first.state.exists()
    # Not even a question.
    assert first.address not in {each.source[0] for each in packets(capture.frames)}


def test_s15_the_wire_shows_nothing(lan: Lan) -> None:
    network = lan.network()
    first, second, third = (lan.host(name, network) for name in ("alder", "birch", "cedar"))
    with network.capture() as capture:
        # All of it crosses the network: the program is on one host, nodes are on two others.
        cluster = Cluster(first, "--no-node")
        for host in (second, third):
            cluster.join(host)
        cluster.wait_for_nodes("birch", "cedar")
        third.hurricane("join", cluster.invite("--role", "submit"))
        third.python(CANARIES)
        second.hurricane("leave")
    seen = b"".join(capture.frames)
    assert len(seen) > 1_000_000
    for canary in (CANARY, CANARY.replace("-", "_")):
        assert canary.encode() not in seen
        assert canary.encode("utf-16-le") not in seen
    for secret in secrets_of(first, second, third, tickets=[cluster.ticket]):
        assert secret not in seen
    found = flows(capture.frames)
    assert len(found) >= 6
    for (source, target), flow in found.items():
        try:
            check_is_tls_1_3(flow)
        except AssertionError as error:
            raise AssertionError(f"{source} to {target} is not TLS 1.3") from error


def secrets_of(*hosts: Host, tickets: list[str]) -> list[bytes]:
    keys = [key for host in hosts for key in keys_of(host).values()]
    assert keys
    return keys + [TicketParts.of(ticket).secret for ticket in tickets]


def spellings(secret: bytes) -> list[bytes]:
    """Return how a secret may be written down."""
    hexadecimal = secret.hex()
    return [
        secret,
        hexadecimal.encode(),
        hexadecimal.upper().encode(),
        base64.b64encode(secret).rstrip(b"="),
        base64.b32encode(secret).rstrip(b"=").lower(),
        str(list(secret)).encode(),
    ]


def shown_by(pid: int) -> bytes:
    """Return what other processes of this user see of one."""
    directory = Path(f"/proc/{pid}")
    return (directory / "cmdline").read_bytes() + (directory / "environ").read_bytes()


def test_s16_keys_stay_where_they_are(lan: Lan) -> None:
    network = lan.network()
    first, second = lan.host("alder", network), lan.host("birch", network)
    for host in (first, second):
        host.environment["RUST_LOG"] = "trace"
        host.environment["RUST_BACKTRACE"] = "1"
    cluster = Cluster(first, "-v") if accepts_verbose(first) else Cluster(first)
    invited = cluster.invite()
    ticket = second.write(invited, "ticket")
    node = second.start("/bin/sh", "-c", f'hurricane join - < "{ticket}"')
    node.wait_for_line(JOINED)
    job = Job(first, 100, seconds=0.05)
    job.wait_for_executions(4)
    pids = [*first.processes(), *second.processes()]
    workers = {each.pid for each in job.executions()}
    assert workers <= set(pids)
    seen = b"".join(shown_by(pid) for pid in pids)
    job.finish()
    secrets = secrets_of(first, second, tickets=[cluster.ticket, invited])
    logs = (cluster.scheduler.output("stderr") + node.output()).encode()
    for secret in secrets:
        for spelling in spellings(secret):
            assert spelling not in seen
            assert spelling not in logs
    for line in (cluster.ticket, invited):
        assert line.encode() not in seen
        assert line.encode() not in logs
    for pid in workers:
        assert b"HURRICANE_STATE_DIR" not in shown_by(pid)


def accepts_verbose(host: Host) -> bool:
    return "--verbose" in host.hurricane("up", "--help").stdout


def test_s16_no_core_file_holds_a_key(lan: Lan) -> None:
    pattern = Path("/proc/sys/kernel/core_pattern").read_text()
    if pattern.startswith("|"):
        pytest.skip("this system gives core files to a program of its own")
    network = lan.network()
    first, second = lan.host("alder", network), lan.host("birch", network)
    _, most = resource.getrlimit(resource.RLIMIT_CORE)
    soft = resource.getrlimit(resource.RLIMIT_CORE)[0]
    resource.setrlimit(resource.RLIMIT_CORE, (most, most))
    try:
        cluster = Cluster(first)
        node = cluster.join(second)
    finally:
        resource.setrlimit(resource.RLIMIT_CORE, (soft, most))
    secrets = secrets_of(first, second, tickets=[cluster.ticket])
    for process in (node, cluster.scheduler):
        process.send(signal.SIGABRT)
        process.wait()
    for host in (first, second):
        for file in host.directory.rglob("*core*"):
            if file.is_file():
                content = file.read_bytes()
                assert not any(secret in content for secret in secrets), file


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660])
def test_s16_a_key_that_others_can_read_is_refused(lan: Lan, mode: int) -> None:
    network = lan.network()
    first, second = lan.host("alder", network), lan.host("birch", network)
    cluster = Cluster(first, "--no-node")
    cluster.enrol(second)
    cluster.scheduler.stop()
    for host, command in ((first, "up"), (second, "node")):
        for file in keys_of(host):
            if command == "up" and "clusters" not in file.parts:
                continue
            file.chmod(mode)
            done = host.hurricane(command, code=2, seconds=20)
            assert str(file) in done.stderr
            assert "chmod 600" in done.stderr
            file.chmod(0o600)
    second.state.chmod(0o755)
    done = second.hurricane("node", code=2, seconds=20)
    assert "chmod 700" in done.stderr


def as_another_user(attempt: Callable[[], object]) -> str:
    """Try something as nobody; returns the name of the error that came, or nothing."""
    reading, writing = os.pipe()
    with warnings.catch_warnings():
        # Threads that gather output are no matter to a child that only tries this.
        warnings.simplefilter("ignore", DeprecationWarning)
        child = os.fork()
    if child == 0:
        said = "the child failed"
        try:
            os.setgroups([])
            os.setgid(65534)
            os.setuid(65534)
            try:
                attempt()
                said = ""
            except OSError as error:
                said = type(error).__name__
        except BaseException:
            said = traceback.format_exc()
        finally:
            os.write(writing, said.encode())
            os._exit(0)
    os.close(writing)
    with os.fdopen(reading) as answer:
        said = answer.read()
    os.waitpid(child, 0)
    return said


needs_users = pytest.mark.skipif(
    len(Path("/proc/self/uid_map").read_text().split()) > 3
    or Path("/proc/self/uid_map").read_text().split()[2] == "1",
    reason="there is only one user in this user namespace: run it as root",
)


@needs_users
def test_s17_other_users_of_the_machine_are_shut_out(lan: Lan) -> None:
    network = lan.network()
    first = lan.host("alder", network)
    cluster = Cluster(first)
    sockets = [path for path in first.runtime.rglob("*") if path.is_socket()]
    assert sockets
    keys = list(keys_of(first))

    def connect(path: Path) -> None:
        with socket.socket(socket.AF_UNIX) as connection:
            connection.connect(str(path))

    for path in sockets:
        assert as_another_user(lambda path=path: connect(path)) == "PermissionError"
    for path in (first.state, first.runtime):
        assert as_another_user(lambda path=path: os.listdir(path)) == "PermissionError"
    for path in keys:
        assert as_another_user(lambda path=path: path.read_bytes()) == "PermissionError"
    # The socket itself checks, too, should its directory have been opened.
    for path in sockets:
        opened = [path, *path.parents[: len(path.relative_to(first.runtime).parts)]]
        for each in opened:
            each.chmod(0o777)
        assert not as_another_user(lambda path=path: exchange(path))
    assert cluster.status()["tasks"]["done"] == 0

    # The port on loopback is that of the network: without a key it says nothing.
    with first.dial("127.0.0.1", PORT) as connection:
        said = as_another_user(lambda: hear_nothing(connection))
    assert not said


def exchange(path: Path) -> None:
    """Connect, and fail unless nothing is said."""
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(5)
        connection.connect(str(path))
        hear_nothing(connection)


def hear_nothing(connection: socket.socket) -> None:
    try:
        connection.sendall(b"hurricane\x02\0\x01\0\0\0\x01\0\0\x0b".ljust(32, b"\0"))
        said = connection.recv(100)
    except (ConnectionError, BrokenPipeError):
        return
    # An alert of TLS is all that a stranger may hear.
    if said and said[0] != 21:
        raise FileExistsError(said)


def test_what_runs_without_a_terminal_leaves_no_process(lan: Lan) -> None:
    network = lan.network()
    first = lan.host("alder", network)
    done = first.hurricane("up", "--detach")
    assert "hurricane join h1" in done.stdout
    until(lambda: len(first.processes()) > 0)
    program = "import hurricane\nwith hurricane.Client() as c: print(c.submit(abs, -1).result())"
    assert first.python(program).stdout == "1\n"
    started = time.monotonic()
    first.hurricane("down")
    until(lambda: not first.processes())
    assert time.monotonic() - started < 30
