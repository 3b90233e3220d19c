"""Tickets: what they are good for, for how long, and what happens to those who guess."""

import os
import time
from dataclasses import replace

import pytest

from conditions import until
from lan.cluster import JOINED, Cluster, TicketParts, keys_of
from lan.hosts import Host, Lan


@pytest.fixture
def hosts(lan: Lan) -> list[Host]:
    """Four hosts in a network."""
    network = lan.network()
    return [lan.host(name, network) for name in ("alder", "birch", "cedar", "dogwood")]


def refused(host: Host, ticket: str) -> str:
    """Try a ticket in vain; returns what is said of it."""
    done = host.hurricane("join", ticket, code=2)
    assert done.stderr.startswith("error: ") or "\nerror: " in done.stderr
    assert "Traceback" not in done.stderr
    assert ticket not in done.stderr
    return done.stderr


def test_s8_a_ticket_burns(hosts: list[Host]) -> None:
    first, second, third, _ = hosts
    cluster = Cluster(first, "--no-node")
    ticket = cluster.invite()
    node = cluster.join(second, ticket=ticket)
    said = refused(third, ticket)
    assert "used" in said
    assert "hurricane invite" in said
    # The same machine may repeat itself: the answer may have been lost.
    node.stop()
    cluster.join(second, ticket=ticket)
    cluster.wait_for_nodes("birch")


def test_s8_a_ticket_expires(hosts: list[Host]) -> None:
    first, second, third, _ = hosts
    cluster = Cluster(first, "--no-node")
    assert "expired" in refused(second, cluster.expired_ticket())
    cluster.join(third)


def test_s8_a_revoked_machine_does_not_come_back_with_its_ticket(hosts: list[Host]) -> None:
    first, second, third, _ = hosts
    cluster = Cluster(first, "--no-node")
    cluster.join(second)
    cluster.wait_for_nodes("birch")
    first.hurricane("revoke", "birch")
    until(lambda: not cluster.nodes())
    for each in [host.start_hurricane("join", cluster.ticket) for host in (second, third)]:
        assert each.wait() == 2
        assert "error:" in each.output()
    assert not cluster.nodes()


def test_s8_guesses_are_few_and_burn_nothing(hosts: list[Host]) -> None:
    first, second, third, _ = hosts
    cluster = Cluster(first, "--no-node")
    ticket = cluster.invite()
    parts = TicketParts.of(ticket)
    guesses = [replace(parts, secret=os.urandom(16)).line() for _ in range(16)]
    tries = [second.start_hurricane("join", guess) for guess in guesses]
    assert all(each.wait() == 2 for each in tries)
    # They come from two addresses: one is of IPv4, the other of IPv6.
    answers = sorted((each.lines[-1].at, "`[" in each.output(), each.output()) for each in tries)
    judged = [(at, by) for at, by, said in answers if "does not know this ticket" in said]
    assert 0 < len(judged) < len(answers)
    for at, by in judged:
        # A little more time than a second passes here in a second there.
        assert len([1 for other, of in judged if of == by and at <= other < at + 0.8]) <= 5
    assert not keys_in(first, second)
    cluster.join(third, ticket=ticket)


def keys_in(scheduler: Host, member: Host) -> list[str]:
    """Return the lines that let a host in."""
    files = scheduler.state.rglob("authorized")
    lines = [line for file in files for line in file.read_text().splitlines()]
    return [line for line in lines if f" {member.name} " in line]


def test_s8_a_ticket_of_another_cluster_is_none(hosts: list[Host]) -> None:
    first, second, third, _ = hosts
    Cluster(first, "--no-node")
    other = Cluster(second, "--no-node")
    other.scheduler.stop()
    done = third.start_hurricane("join", other.ticket)
    done.wait_for_line("(?i)no scheduler|not found|waiting|looking|no cluster")
    assert not keys_in(first, third)


def test_a_ticket_may_come_from_standard_input(hosts: list[Host]) -> None:
    first, second, *_ = hosts
    cluster = Cluster(first, "--no-node")
    ticket = cluster.invite("--role", "submit")
    second.hurricane("join", "-", text=ticket + "\n")
    assert keys_of(second)
    assert len(keys_in(first, second)) == 1


@pytest.mark.parametrize("change", ["swapped", "cut", "letter", "nonsense", "empty"])
def test_a_mistyped_ticket_is_named_at_once(hosts: list[Host], change: str) -> None:
    first, second, *_ = hosts
    good = Cluster(first, "--no-node").ticket
    line = {
        "swapped": good[:20] + ("0" if good[20] != "0" else "1") + good[21:],
        "cut": good[:-3],
        "letter": good[:9] + "l" + good[10:],
        "nonsense": "let-me-in",
        "empty": "",
    }[change]
    started = time.monotonic()
    done = second.hurricane("join", line, code=2)
    assert "ticket" in done.stderr
    assert good[10:] not in done.stderr
    assert time.monotonic() - started < 10


def test_who_leaves_is_forgotten_on_both_sides(hosts: list[Host]) -> None:
    first, second, *_ = hosts
    cluster = Cluster(first, "--no-node")
    node = cluster.join(second)
    node.stop()
    second.hurricane("leave")
    assert not keys_in(first, second)
    kept = [file.name for file in second.state.glob("machines/*/memberships/*")]
    assert set(kept) <= {"lock"}
    # It may come again with another ticket.
    cluster.join(second, ticket=cluster.invite()).wait_for_line(JOINED)
