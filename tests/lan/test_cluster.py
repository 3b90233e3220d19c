"""Machines that find each other: one line on each, no address typed, and no mixing of clusters."""

import signal
import time

from conditions import until
from lan.cluster import JOINED, PORT, Cluster, Job
from lan.hosts import Lan, measured, seconds_until

NAMES = ("alder", "birch", "cedar", "dogwood")


def test_four_hosts_work_on_one_job(lan: Lan) -> None:
    network = lan.network()
    first, *others = [lan.host(name, network) for name in NAMES]
    cluster = Cluster(first)
    for host in others:
        cluster.join(host)
    cluster.wait_for_nodes(*NAMES)
    job = Job(first, 2000, seconds=0.005)
    hosts = job.finish()
    assert set(hosts) == set(NAMES)
    assert set(job.times().values()) == {1}
    status = cluster.status()
    assert status["tasks"]["done"] == 2000
    assert status["tasks"]["failed"] == 0
    assert status["cluster"]["port"] == PORT
    assert {node["address"].partition(":")[0] for node in status["nodes"]} >= {
        host.address for host in others
    }
    text = first.hurricane("status").stdout
    assert all(name in text for name in NAMES)
    # All of them end at a word.
    first.hurricane("down")
    until(lambda: not first.processes())


def test_a_node_that_starts_later_works_soon(lan: Lan) -> None:
    network = lan.network()
    first, second = lan.host("alder", network), lan.host("birch", network)
    cluster = Cluster(first, "--no-node")
    cluster.enrol(second)
    job = Job(first, 1)
    job.process.wait_for_line("submitted")
    node = cluster.node(second)
    until(job.executions)
    measured("node started last, to its first task", time.monotonic() - node.started_at, 3)
    job.finish()


def test_a_node_that_starts_first_works_soon(lan: Lan) -> None:
    network = lan.network()
    first, second = lan.host("alder", network), lan.host("birch", network)
    cluster = Cluster(first, "--no-node")
    cluster.enrol(second)
    cluster.scheduler.stop()
    node = cluster.node(second)
    node.wait_for_line("(?i)look|wait")
    # So long that it does not look often any more: nothing but time shows that.
    tired = time.monotonic() + 4
    until(lambda: time.monotonic() > tired)
    cluster.start()
    job = Job(first, 1)
    until(job.executions)
    measured(
        "scheduler started last, to the node's first task",
        time.monotonic() - cluster.scheduler.started_at,
        3,
    )
    job.finish()


def test_a_program_on_another_machine_finds_the_cluster(lan: Lan) -> None:
    network = lan.network()
    first, second = lan.host("alder", network), lan.host("birch", network)
    cluster = Cluster(first)
    second.hurricane("join", cluster.invite("--role", "submit"))
    hosts = Job(second, 100).finish()
    assert set(hosts) == {"alder"}


def test_eight_nodes_on_a_device(lan: Lan) -> None:
    network = lan.network()
    first, second = lan.host("alder", network), lan.host("birch", network)
    cluster = Cluster(first, "--no-node")
    cluster.enrol(second)
    node = cluster.node(second, "--cpus", "16", "--count", "8")
    until(lambda: len(cluster.nodes()) == 8)
    assert [each["resources"]["cpus"] for each in cluster.nodes()] == [2] * 8
    job = Job(first, 400, seconds=0.02)
    job.finish()
    assert all(each["finished"] > 0 for each in cluster.nodes())
    assert node.stop() == 0
    until(lambda: not second.processes())
    until(lambda: not cluster.nodes())


def test_more_nodes_than_cpus_is_said(lan: Lan) -> None:
    network = lan.network()
    first, second = lan.host("alder", network), lan.host("birch", network)
    cluster = Cluster(first, "--no-node")
    cluster.enrol(second)
    node = cluster.node(second, "--cpus", "2", "--count", "8")
    until(lambda: len(cluster.nodes()) == 8)
    said = [line.text for line in node.lines if "8" in line.text and "cpu" in line.text]
    assert len(said) == 1, node.output()
    assert [each["resources"]["cpus"] for each in cluster.nodes()] == [1] * 8


def test_any_number_of_nodes_may_be_started(lan: Lan) -> None:
    network = lan.network()
    first, second = lan.host("alder", network), lan.host("birch", network)
    cluster = Cluster(first, "--no-node")
    cluster.enrol(second)
    nodes = [cluster.node(second) for _ in range(3)]
    until(lambda: len(cluster.nodes()) == 3)
    assert cluster.node_names() == {"birch", "birch-2", "birch-3"}
    for node in nodes:
        assert node.stop(signal.SIGTERM) == 0
    until(lambda: not cluster.nodes())


def test_s4_clusters_with_different_ports_never_mix(lan: Lan) -> None:
    network = lan.network()
    first, second = lan.host("alder", network), lan.host("birch", network)
    one, other = Cluster(first, "--no-node"), Cluster(second, "--no-node", port=12300)
    rack, desk = lan.host("rack", network), lan.host("desk", network)
    one.enrol(rack)
    other.enrol(desk)
    for _ in range(25):
        nodes = [one.node(rack), other.node(desk)]
        for node in nodes:
            node.wait_for_line(JOINED)
        assert one.node_names() == {"rack"}
        assert other.node_names() == {"desk"}
        for node in nodes:
            node.kill()
        until(lambda: not one.nodes() and not other.nodes())


def test_s4_clusters_with_one_port_and_different_keys_never_mix(lan: Lan) -> None:
    network = lan.network()
    first, second = lan.host("alder", network), lan.host("birch", network)
    one, other = Cluster(first, "--no-node"), Cluster(second, "--no-node")
    rack, desk = lan.host("rack", network), lan.host("desk", network)
    one.enrol(rack)
    other.enrol(desk)
    for turn in range(25):
        nodes = [one.node(rack), other.node(desk)]
        if turn % 8 == 7:
            # With the schedulers in the places of each other, even.
            for cluster in (one, other):
                cluster.scheduler.stop()
                cluster.start()
        for node in nodes:
            node.wait_for_line(JOINED)
        until(lambda: one.node_names() == {"rack"} and other.node_names() == {"desk"})
        for node in nodes:
            node.kill()
        until(lambda: not one.nodes() and not other.nodes())


def test_s4_who_is_at_the_wrong_cluster_is_told_why(lan: Lan) -> None:
    network = lan.network()
    first, second = lan.host("alder", network), lan.host("birch", network)
    rack = lan.host("rack", network)
    one, other = Cluster(first, "--no-node"), Cluster(second, "--no-node")
    one.enrol(rack)
    one.scheduler.stop()
    node = one.node(rack, "--address", f"{second.address}:{PORT}")
    _, line = node.wait_for_line("(?i)another cluster|different key|another key|wrong key|not the")
    measured("wrong cluster named", line.at - node.started_at, 1)
    assert not other.nodes()
    # And with its own scheduler back, it goes there.
    one.start()
    node.wait_for_line(JOINED)
    assert one.node_names() == {"rack"}
    assert not other.nodes()


def test_two_clusters_of_one_machine_on_one_port_must_be_chosen_between(lan: Lan) -> None:
    network = lan.network()
    first, second = lan.host("alder", network), lan.host("birch", network)
    rack = lan.host("rack", network)
    one = Cluster(first, "--no-node", "--name", "one")
    other = Cluster(second, "--no-node", "--name", "other")
    one.enrol(rack)
    other.enrol(rack)
    done = rack.hurricane("node", code=2)
    assert "one" in done.stderr
    assert "other" in done.stderr
    assert "--cluster" in done.stderr
    node = rack.start_hurricane("node", "--cluster", "other")
    node.wait_for_line(JOINED)
    assert other.node_names() == {"rack"}
    assert not one.nodes()


def test_a_host_in_two_networks_serves_both(lan: Lan) -> None:
    left, right = lan.network(), lan.network()
    first = lan.host("alder", left, right)
    cluster = Cluster(first, "--no-node")
    for host in (lan.host("birch", left), lan.host("cedar", right)):
        cluster.join(host)
    cluster.wait_for_nodes("birch", "cedar")


def test_an_interface_that_comes_later_is_used(lan: Lan) -> None:
    early, late = lan.network(), lan.network()
    first, second = lan.host("alder", early), lan.host("birch", late)
    cluster = Cluster(first, "--no-node")
    node = second.start_hurricane("join", cluster.ticket)
    late.attach(first)
    took = seconds_until(lambda: cluster.node_names() == {"birch"}, "the node")
    assert node.is_running()
    measured("a network that came later", took, 10)


def test_names_of_nodes_are_unique(lan: Lan) -> None:
    network = lan.network()
    first, namesake = lan.host("alder", network), lan.host("alder", network, directory="other")
    cluster = Cluster(first)
    cluster.join(namesake)
    cluster.wait_for_nodes("alder", "alder-2")
