"""Somebody between: who poses as the scheduler, repeats what was said, or changes it."""

import shutil
import socket
import time

from conditions import until
from fault_proxy import FaultProxy, TlsMiddle, replay
from lan.cluster import JOINED, PORT, Cluster, Job, TicketParts, keys_of
from lan.hosts import Host, Lan
from lan.wire import SYN, TCP, datagrams, packets

MDNS = ("224.0.0.251", 5353)


def secrets_of(host: Host, *tickets: str) -> list[bytes]:
    """Return what nobody but a host and its cluster may know."""
    return [*keys_of(host).values(), *(TicketParts.of(ticket).secret for ticket in tickets)]


def dialed_by(host: Host, frames: list[bytes]) -> set[str]:
    """Return the addresses to which a host has begun connections."""
    begun = [each for each in packets(frames) if each.protocol == TCP and each.flags == SYN]
    return {each.target[0] for each in begun if each.source[0] in host.addresses}


def test_s5_a_middle_with_a_certificate_hears_nothing(lan: Lan) -> None:
    left, right = lan.network(), lan.network()
    first, second = lan.host("alder", left), lan.host("birch", right)
    middle = lan.host("middle", left, right)
    cluster = Cluster(first, "--no-node")
    with TlsMiddle((middle.addresses[1], PORT), inside=middle.inside) as ear:
        address = f"{middle.addresses[1]}:{PORT}"
        # While it is to be enrolled, and as a member.
        done = second.hurricane("join", cluster.ticket, "--address", address, code=2)
        assert "error:" in done.stderr
        assert ear.connections > 0
        with FaultProxy(
            (first.address, PORT), listen=(middle.addresses[1], 1234), inside=middle.inside
        ):
            node = cluster.join(second, "--address", f"{middle.addresses[1]}:1234")
            node.stop()
        connections = ear.connections
        node = cluster.node(second, "--address", address)
        until(lambda: ear.connections > connections)
        node.wait_for_line("(?i)look|wait")
        assert not ear.heard
    assert not cluster.nodes()


def test_s5_a_middle_that_speaks_hurricane_gets_no_secret(lan: Lan) -> None:
    left, right = lan.network(), lan.network()
    first, second = lan.host("alder", left), lan.host("birch", right)
    middle = lan.host("middle", left, right)
    cluster = Cluster(first, "--no-node")
    # It has a key and lets everybody in who has a ticket.
    false = Cluster(middle, "--no-node")
    inner, outer = (middle.addresses[1], PORT), (middle.addresses[1], 1234)
    with FaultProxy(inner, listen=outer, inside=middle.inside) as ear:
        address = f"{outer[0]}:{outer[1]}"
        done = second.hurricane("join", cluster.ticket, "--address", address, code=2)
        assert "error:" in done.stderr
        assert "key" in done.stderr
        assert ear.connections > 0
        heard = b"".join(bytes(each.from_dialer) for each in ear.recordings)
        for secret in secrets_of(second, cluster.ticket):
            assert secret not in heard
        # The last word is a refusal, before the joining side's key is shown: that takes more.
        assert all(len(each.from_dialer) < 600 for each in ear.recordings)
    assert not false.nodes()
    members = (middle.state / "clusters").rglob("authorized")
    assert all(second.name not in file.read_text() for file in members)


def test_s10_a_node_that_poses_as_the_scheduler_is_refused(lan: Lan) -> None:
    """A member's key is good for what it was let in for."""
    network = lan.network()
    first, second = lan.host("alder", network), lan.host("birch", network)
    third = lan.host("cedar", network)
    cluster = Cluster(first, "--no-node")
    cluster.enrol(second)
    cluster.enrol(third)
    cluster.scheduler.stop()
    # The node's own key becomes that of a cluster with the same name and port.
    second.hurricane("up", "--help")
    false = Cluster(second, "--no-node")
    false.scheduler.stop()
    [machine] = (second.state / "machines").rglob("key")
    [posed] = (second.state / "clusters").rglob("key")
    shutil.copyfile(machine, posed)
    false.start()
    node = cluster.node(third, "--address", f"{second.address}:{PORT}")
    node.wait_for_line("(?i)another cluster|different key|another key|wrong key|not the")
    assert not false.nodes()
    cluster.start()
    node.wait_for_line(JOINED)


def test_s6_what_was_said_counts_once(lan: Lan) -> None:
    left, right = lan.network(), lan.network()
    first, second = lan.host("alder", left), lan.host("birch", right)
    middle, thief = lan.host("middle", left, right), lan.host("thief", left)
    cluster = Cluster(first, "--no-node")
    entrance = (middle.addresses[1], PORT)
    address = f"{entrance[0]}:{entrance[1]}"
    target = (first.address, PORT)
    with FaultProxy(target, listen=entrance, inside=middle.inside) as tape:
        # A join, a node's session with a result, a client's with a submit.
        node = cluster.join(second, "--address", address)
        second.hurricane("join", cluster.invite("--role", "submit"), "--address", address)
        job = Job(second, 10, address=address)
        assert set(job.finish()) == {"birch"}
        node.stop()
        said = [bytes(each.from_dialer) for each in tape.recordings]
    assert len(said) >= 3
    until(lambda: not cluster.nodes())
    before = cluster.status()
    members = [file.read_text() for file in first.state.rglob("authorized")]
    for recorded in said:
        for cut in (len(recorded), len(recorded) // 2):
            replay(recorded[:cut], target, seconds=1, inside=thief.inside)
    after = cluster.status()
    assert after["tasks"] == before["tasks"]
    assert after["nodes"] == []
    assert members == [file.read_text() for file in first.state.rglob("authorized")]
    assert len(job.executions()) == 10


def test_s6_nobody_is_dialed_whom_the_key_did_not_sign(lan: Lan) -> None:
    network = lan.network()
    first, second = lan.host("alder", network), lan.host("birch", network)
    thief, newcomer = lan.host("thief", network), lan.host("cedar", network)
    with network.capture() as capture:
        cluster = Cluster(first, "--no-node")
        cluster.enrol(second)
    # Of what followed, the last would take it all back.
    cluster.scheduler.stop()
    announced = [each for each in datagrams(capture.frames, 5353) if b"hurricane" in each.content]
    answers = [each.content for each in announced if each.source[0] == first.address]
    assert answers, "nothing was announced"

    with thief.inside():
        trap = socket.create_server(("0.0.0.0", PORT))
    trap.settimeout(0.05)
    dialed = []
    with network.capture() as capture:
        node = cluster.node(second)
        joining = newcomer.start_hurricane("join", cluster.ticket)
        # As they were, and with the thief's address in the place of the scheduler's.
        own, other = (socket.inet_aton(host.address) for host in (thief, first))
        forged = [
            each.replace(other, own).replace(first.address.encode(), thief.address.encode())
            for each in answers
        ]
        with thief.inside(), socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
            sender.bind((thief.address, 5353))

            def has_dialed() -> bool:
                return first.address in dialed_by(newcomer, capture.frames)

            began = time.monotonic()
            while (taken := time.monotonic() - began) < 4 or not (taken > 60 or has_dialed()):
                for answer in (*answers, *forged):
                    sender.sendto(answer, MDNS)
                try:
                    dialed.append(trap.accept()[1])
                except TimeoutError:
                    continue
    trap.close()
    assert not dialed
    for host in (second, newcomer):
        assert thief.address not in dialed_by(host, capture.frames)
    # What the key did sign was heard by one that knew no address, and was of no use to the thief.
    assert first.address in dialed_by(newcomer, capture.frames)
    joining.kill()
    # It has not lost its way by that.
    cluster.start()
    node.wait_for_line(JOINED)


def test_s7_changed_bits_change_nothing(lan: Lan) -> None:
    left, right = lan.network(), lan.network()
    first, second = lan.host("alder", left), lan.host("birch", right)
    middle = lan.host("middle", left, right)
    cluster = Cluster(first, "--no-node")
    entrance = (middle.addresses[1], PORT)
    with FaultProxy((first.address, PORT), listen=entrance, seed=7, inside=middle.inside) as proxy:
        cluster.join(second, "--address", f"{entrance[0]}:{entrance[1]}")
        cluster.wait_for_nodes("birch")
        connections = proxy.connections
        proxy.faults.flip_every_bytes = 100_000
        # Arguments and results of 30 kB go both ways, within the messages.
        job = Job(first, 60, padding=30_000)
        assert set(job.finish()) == {"birch"}
        assert proxy.flipped > 10
        assert proxy.connections > connections
        print(f"{proxy.flipped} bits changed, {proxy.connections} connections")
    assert cluster.status()["tasks"]["failed"] == 0
