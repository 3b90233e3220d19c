"""Large values go from node to node, and by the scheduler only where there is no other way."""

import json

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
    for host, other in ((maker, needer), (needer, maker)):
        _, _, network, place = other.address.split(".")
        host.run("ip", "route", "add", "blackhole", other.address)
        host.run("ip", "-6", "route", "add", "blackhole", f"fd77:{network}::{place}")
    before = sent_megabytes(cluster.host)
    seconds = float(cluster.host.python(PROGRAM).stdout)
    assert sent_megabytes(cluster.host) - before >= MEGABYTES
    measured(f"{MEGABYTES} MiB by the scheduler", seconds, 6)
