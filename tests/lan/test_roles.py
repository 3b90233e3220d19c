"""What a key is good for, and how soon it is good for nothing."""

import time

from conditions import until
from lan.cluster import PORT, Cluster, Job
from lan.hosts import Host, Lan, measured

SUBMIT = """
import hurricane
try:
    with hurricane.Client() as client:
        print("result", client.submit(abs, -1).result())
except Exception as error:
    print("refused", type(error).__module__, type(error).__name__, error)
"""


def test_s9_revoking_is_immediate(lan: Lan) -> None:
    network = lan.network()
    first, second = lan.host("alder", network), lan.host("birch", network)
    cluster = Cluster(first)
    node = cluster.join(second)
    cluster.wait_for_nodes("alder", "birch")
    job = Job(first, 200, seconds=0.05)
    until(lambda: any(each.host == "birch" for each in job.executions()))
    revoked = time.monotonic()
    first.hurricane("revoke", "birch")
    _, line = node.wait_for_line("(?i)revoked|not let in|no longer|not a member|refused")
    measured("a revoked node is cut off", line.at - revoked, 1)
    until(lambda: cluster.node_names() == {"alder"})
    begun = {each.number for each in job.executions() if each.host == "birch"}
    job.finish()
    # Nothing was given to it any more, though it asks again.
    after = {each.number for each in job.executions() if each.host == "birch"}
    assert after == begun
    assert cluster.node_names() == {"alder"}
    again = cluster.node(second)
    again.wait_for_line("(?i)revoked|not let in|no longer|not a member|refused")
    assert cluster.node_names() == {"alder"}


def test_s9_who_has_removed_the_line_can_still_revoke(lan: Lan) -> None:
    network = lan.network()
    first, second = lan.host("alder", network), lan.host("birch", network)
    cluster = Cluster(first, "--no-node")
    cluster.join(second)
    cluster.wait_for_nodes("birch")
    [file] = first.state.rglob("authorized")
    lines = file.read_text().splitlines(keepends=True)
    file.write_text("".join(line for line in lines if " birch " not in line))
    first.hurricane("revoke", "birch")
    until(lambda: not cluster.nodes())


def test_s10_a_node_may_not_submit(lan: Lan) -> None:
    network = lan.network()
    first, second = lan.host("alder", network), lan.host("birch", network)
    cluster = Cluster(first)
    cluster.enrol(second)
    done = second.python(SUBMIT)
    assert done.stdout.startswith("refused ")
    assert "hurricane invite --role submit" in done.stdout
    # It is told the same if it says where.
    text = SUBMIT.replace("Client()", f"Client(address='{first.address}:{PORT}')")
    done = second.python(text)
    assert done.stdout.startswith("refused ")
    assert "hurricane invite --role submit" in done.stdout
    assert cluster.status()["tasks"]["done"] == 0
    # And may when it is let.
    second.hurricane("join", cluster.invite("--role", "submit"))
    assert second.python(SUBMIT).stdout == "result 1\n"


def test_s10_a_submitter_is_no_node(lan: Lan) -> None:
    network = lan.network()
    first, second = lan.host("alder", network), lan.host("birch", network)
    cluster = Cluster(first, "--no-node")
    cluster.enrol(second, role="submit")
    node = cluster.node(second)
    node.wait_for_line("(?i)role|invite")
    assert not cluster.nodes()


def commands_are_refused(host: Host) -> None:
    for command in (["invite"], ["revoke", "alder"], ["down"]):
        done = host.hurricane(*command, code=2)
        assert "error:" in done.stderr, command
        assert "h1" not in done.stdout


def test_s10_members_do_not_command(lan: Lan) -> None:
    network = lan.network()
    first, second = lan.host("alder", network), lan.host("birch", network)
    third = lan.host("cedar", network)
    cluster = Cluster(first, "--no-node")
    cluster.join(second)
    cluster.enrol(third, role="submit")
    for host in (second, third):
        commands_are_refused(host)
    assert cluster.node_names() == {"birch"}
    # Who may submit may look, but is not told of all keys.
    assert '"birch"' in third.hurricane("status", "--json").stdout
    done = second.hurricane("status", code=2)
    assert "error:" in done.stderr


def test_s10_a_stranger_does_nothing(lan: Lan) -> None:
    network = lan.network()
    first, stranger = lan.host("alder", network), lan.host("stranger", network)
    cluster = Cluster(first)
    commands_are_refused(stranger)
    node = stranger.start_hurricane("node", "--address", f"{first.address}:{PORT}")
    node.wait_for_line("(?i)join|enrol|member|invite|wait|look")
    assert stranger.python(SUBMIT).stdout == "result 1\n"
    assert cluster.status()["tasks"]["done"] == 0
    assert cluster.node_names() == {"alder"}
