"""Large values go from node to node, and by the scheduler only where there is no other way."""

import json
import shutil

import pytest

from lan.cluster import PORT, Cluster
from lan.hosts import Host, Lan, measured

#: Much more than whatever else goes over a link meanwhile.
MEGABYTES = 40

#: Makes values on one node, has another one need them, and says what that took.
PROGRAM = f"""
import sys, time
import hurricane

def make(number):
    return bytes([number]) * ({MEGABYTES} << 20)

def look(values):
    return [(len(value), value[0], value[-1]) for value in values]

with hurricane.Client(port={PORT}) as client:
    made = client.options(resources={{"made": 1}}).submit(make, 7)
    done = client.options(resources={{"made": 1}}).submit(str)
    done.result()
    began = time.monotonic()
    looked = client.options(resources={{"needed": 1}}).submit(look, [made]).result()
    print(time.monotonic() - began, flush=True)
    assert looked == [({MEGABYTES} << 20, 7, 7)], looked
"""


def sent_megabytes(host: Host) -> int:
    """Return how much has gone out over a host's link."""
    shown = host.run("ip", "-s", "-j", "link", "show", "dev", host.links[0]).stdout
    sent: int = json.loads(shown)[0]["stats64"]["tx"]["bytes"]
    return sent >> 20


def part_from(host: Host, other: Host) -> None:
    """Let nothing go from a host to another: by nftables, or without them by a route to nowhere."""
    _, _, network, place = other.address.split(".")
    other_ipv6 = f"fd77:{network}::{place}"
    if shutil.which("nft"):
        hook = "{ type filter hook output priority 0; }"
        host.run("nft", f"add table inet parted; add chain inet parted out {hook}")
        host.run("nft", f"add rule inet parted out ip daddr {other.address} drop")
        host.run("nft", f"add rule inet parted out ip6 daddr {other_ipv6} drop")
    else:
        host.run("ip", "route", "add", "blackhole", other.address)
        host.run("ip", "-6", "route", "add", "blackhole", other_ipv6)


def holders(lan: Lan) -> tuple[Cluster, Host, Host]:
    """Start a scheduler, a node that makes values, and a node that needs them."""
    network = lan.network()
    first, second, third = (lan.host(name, network) for name in ("alder", "birch", "cedar"))
    cluster = Cluster(first, "--no-node")
    cluster.join(second, "--resource", "made=1")
    cluster.join(third, "--resource", "needed=1")
    cluster.wait_for_nodes("birch", "cedar")
    return cluster, second, third


def test_a_large_value_goes_from_node_to_node(lan: Lan) -> None:
    cluster, _, _ = holders(lan)
    before = sent_megabytes(cluster.host)
    seconds = float(cluster.host.python(PROGRAM).stdout)
    assert sent_megabytes(cluster.host) - before < MEGABYTES // 4
    measured(f"{MEGABYTES} MiB from node to node", seconds, 3)


def test_where_nodes_cannot_reach_each_other_the_scheduler_helps(lan: Lan) -> None:
    cluster, maker, needer = holders(lan)
    part_from(maker, needer)
    part_from(needer, maker)
    before = sent_megabytes(cluster.host)
    seconds = float(cluster.host.python(PROGRAM).stdout)
    assert sent_megabytes(cluster.host) - before >= MEGABYTES
    measured(f"{MEGABYTES} MiB by the scheduler", seconds, 6)


#: Makes a value on one node, has all others need it at the same time, and says what that took.
SHARED_PROGRAM = f"""
import hashlib, sys, time
import hurricane

def make():
    import random
    return random.Random(7).randbytes({MEGABYTES} << 20)

def digest(value):
    import hashlib
    return hashlib.sha256(value).hexdigest()

with hurricane.Client(port={PORT}) as client:
    if sys.argv[1] == "made":
        value = client.options(resources={{"made": 1}}).submit(make)
        expected = client.options(resources={{"made": 1}}).submit(digest, value).result()
    else:
        value = client.put(make())
        expected = digest(make())
    began = time.monotonic()
    needs = client.options(resources={{"needed": 1}})
    digests = [needs.submit(digest, value) for _ in range(4)]
    assert [each.result() for each in digests] == [expected] * 4
    print(time.monotonic() - began, flush=True)
    # Or the client would bring the value here before it ends: somebody might still ask for it.
    del value
"""


def received_megabytes(host: Host) -> int:
    """Return how much has come in over a host's link."""
    shown = host.run("ip", "-s", "-j", "link", "show", "dev", host.links[0]).stdout
    received: int = json.loads(shown)[0]["stats64"]["rx"]["bytes"]
    return received >> 20


def owner_and_four(lan: Lan) -> tuple[Cluster, Host, list[Host]]:
    """Start a scheduler, a node that makes values, and four that need them, each for one task."""
    network = lan.network()
    first, second = lan.host("alder", network), lan.host("birch", network)
    others = [lan.host(name, network) for name in ("cedar", "dogwood", "elm", "fir")]
    cluster = Cluster(first, "--no-node")
    cluster.join(second, "--resource", "made=1")
    for other in others:
        cluster.join(other, "--cpus", "1", "--resource", "needed=1")
    cluster.wait_for_nodes("birch", *(other.name for other in others))
    return cluster, second, others


@pytest.mark.parametrize("whose", ["made", "put"])
def test_an_owner_sends_once_what_many_need(lan: Lan, whose: str) -> None:
    cluster, maker, others = owner_and_four(lan)
    owner = maker if whose == "made" else cluster.host
    before = sent_megabytes(owner)
    had = [received_megabytes(other) for other in others]
    seconds = float(cluster.host.python(SHARED_PROGRAM, whose).stdout)
    assert sent_megabytes(owner) - before <= 1.1 * MEGABYTES
    # Each of them has run one of the tasks.
    came = [received_megabytes(other) - then for other, then in zip(others, had, strict=True)]
    assert all(each >= MEGABYTES for each in came), came
    measured(f"{MEGABYTES} MiB to each of 4 nodes", seconds, 6)


def test_nodes_that_do_not_reach_the_owner_have_it_by_the_scheduler(lan: Lan) -> None:
    cluster, maker, others = owner_and_four(lan)
    for other in others:
        part_from(maker, other)
        part_from(other, maker)
    before = sent_megabytes(maker)
    cluster.host.python(SHARED_PROGRAM, "made")
    assert sent_megabytes(maker) - before >= MEGABYTES
