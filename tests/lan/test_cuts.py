"""Cables pulled, schedulers killed: nothing runs twice without need, and everybody comes back."""

import signal
import time

from conditions import until
from lan.cluster import Cluster, Job
from lan.hosts import Lan, measured, seconds_until


def test_a_cut_of_three_seconds_is_no_loss(lan: Lan) -> None:
    network = lan.network()
    first, second = lan.host("alder", network), lan.host("birch", network)
    cluster = Cluster(first)
    cluster.join(second)
    cluster.wait_for_nodes("alder", "birch")
    job = Job(first, 160, seconds=0.1)
    until(lambda: any(each.host == "birch" for each in job.executions()))
    network.cut(second)
    cut = time.monotonic()
    until(lambda: time.monotonic() >= cut + 3)
    network.heal(second)
    healed = time.time()
    hosts = job.finish()
    assert set(job.times().values()) == {1}
    assert hosts["birch"] > 0
    again = [each.at for each in job.executions() if each.host == "birch" and each.at > healed]
    assert again
    measured("a node's first task after a cut of 3 s", min(again) - healed, 5)


def test_a_cut_of_thirty_seconds_moves_tasks(lan: Lan) -> None:
    network = lan.network()
    first, second = lan.host("alder", network), lan.host("birch", network)
    cluster = Cluster(first)
    node = cluster.join(second)
    cluster.wait_for_nodes("alder", "birch")
    # On the other side of the cut, all of them end while nobody hears of it.
    job = Job(first, 24, seconds=2)
    until(lambda: len([each for each in job.executions() if each.host == "birch"]) >= 2)
    network.cut(second)
    cut = time.monotonic()
    lost = seconds_until(lambda: cluster.node_names() == {"alder"}, "the loss", since=cut)
    measured("a silent node is lost", lost, 6)
    hosts = job.finish()
    # What had begun there ran again here, and here is where its result is from.
    moved = {number for number, times in job.times().items() if times > 1}
    on_second = {each.number for each in job.executions() if each.host == "birch"}
    assert moved == on_second
    assert set(hosts) == {"alder"}
    until(lambda: time.monotonic() >= cut + 30)
    network.heal(second)
    back = seconds_until(lambda: cluster.node_names() == {"alder", "birch"}, "the return")
    measured("a node is back after a cut of 30 s", back, 5)
    assert node.is_running()
    assert set(Job(first, 40, seconds=0.05, name="after").finish()) == {"alder", "birch"}


def test_a_killed_scheduler_finds_its_nodes_again(lan: Lan) -> None:
    network = lan.network()
    first, second = lan.host("alder", network), lan.host("birch", network)
    cluster = Cluster(first)
    cluster.join(second)
    cluster.wait_for_nodes("alder", "birch")
    job = Job(first, 1000, seconds=0.1)
    job.wait_for_executions(10)
    pids = {each.pid for each in job.executions() if each.host == "birch"}
    cluster.scheduler.kill()
    cluster.start()
    back = seconds_until(
        lambda: cluster.node_names() == {"alder", "birch"},
        "the return",
        since=cluster.scheduler.started_at,
    )
    measured("nodes are back after a scheduler's restart", back, 5)
    # What ran for the scheduler that is gone has nobody to tell.
    job.process.wait_for_line("SchedulerLost")
    assert job.process.wait() == 0
    until(lambda: not pids & set(second.processes()), "the end of what ran for the old scheduler")
    assert set(Job(first, 40, seconds=0.05, name="after").finish()) == {"alder", "birch"}


def test_a_killed_node_loses_nothing(lan: Lan) -> None:
    network = lan.network()
    first, second = lan.host("alder", network), lan.host("birch", network)
    cluster = Cluster(first)
    node = cluster.join(second)
    cluster.wait_for_nodes("alder", "birch")
    job = Job(first, 200, seconds=0.05)
    until(lambda: any(each.host == "birch" for each in job.executions()))
    node.kill()
    killed = time.monotonic()
    lost = seconds_until(lambda: cluster.node_names() == {"alder"}, "the loss", since=killed)
    measured("a killed node is lost", lost, 1)
    job.finish()
    assert max(job.times().values()) <= 2
    until(lambda: not second.processes())


def test_a_drained_node_hands_back_and_loses_nothing(lan: Lan) -> None:
    network = lan.network()
    first, second = lan.host("alder", network), lan.host("birch", network)
    cluster = Cluster(first)
    node = cluster.join(second, "--drain")
    cluster.wait_for_nodes("alder", "birch")
    job = Job(first, 60, seconds=0.2)
    until(lambda: any(each.host == "birch" for each in job.executions()))
    assert node.stop(signal.SIGTERM) == 0
    job.finish()
    assert set(job.times().values()) == {1}
