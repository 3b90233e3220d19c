"""What the commands of a cluster print and how they end, on one host where nobody else is."""

import contextlib
import http.server
import json
import re
import signal
import socket
import stat
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from conditions import until
from lan.cluster import Cluster, Job
from lan.hosts import BIN, Host, Lan, Process

TICKET = r"h1[0-9a-hjkmnp-tv-z]{63}"

CLOCK = r"\d\d:\d\d:\d\d"


@pytest.fixture
def host(lan: Lan) -> Host:
    """One host, without any network."""
    return lan.host("alder")


@pytest.fixture
def other(lan: Lan, host: Host) -> dict[str, str]:
    """The environment of somebody else on that host, with directories of their own."""
    del lan
    directories = {"HURRICANE_STATE_DIR": "state", "HURRICANE_RUNTIME_DIR": "run"}
    home = host.directory / "other"
    (home / "run").mkdir(parents=True, mode=0o700)
    return {variable: str(home / name) for variable, name in directories.items()}


def events(process: Process) -> list[str]:
    """What it has logged, without the times."""
    lines = process.output("stderr").splitlines()
    return [re.sub(rf"^{CLOCK} ", "", line) for line in lines]


def join(host: Host, cluster: Cluster, *arguments: str, **environment: str) -> Process:
    """Start a node as somebody else."""
    ticket = cluster.invite()
    node = host.start_hurricane(
        "join", ticket, "--address", "127.0.0.1", "--cpus", "1", *arguments, **environment
    )
    node.wait_for_line("joined port-12222")
    return node


@contextlib.contextmanager
def web_server(host: Host, port: int) -> Iterator[None]:
    """Serve something else on a port."""
    with host.inside():
        server = http.server.ThreadingHTTPServer(
            ("127.0.0.1", port), http.server.BaseHTTPRequestHandler
        )
    with server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield
        finally:
            server.shutdown()
            thread.join()


def error(done: Any) -> list[str]:
    """What a command that has failed says about it."""
    assert done.returncode == 2
    lines: list[str] = done.stderr.splitlines()
    first = next(at for at, line in enumerate(lines) if line.startswith("error: "))
    return lines[first:]


# --- up, and what is asked of it ---------------------------------------------------------------


def test_up_prints_the_line_for_other_machines(host: Host) -> None:
    cluster = Cluster(host, "--cpus", "2")
    first, second, *rest = cluster.scheduler.output("stdout").splitlines()
    assert first == "The cluster port-12222 runs on port 12222, with 1 node here."
    assert second == "Within 15 minutes, on up to 10 machines, type:"
    assert [line for line in rest if line] == [f"  hurricane join {cluster.ticket}"]
    cluster.scheduler.wait_for_line(
        rf"^{CLOCK} node alder joined from this host: 2 cpus, .* memory"
    )
    assert cluster.scheduler.stop() == 0
    assert events(cluster.scheduler)[-2:] == ["ending", "node alder left"]
    assert not host.processes()


def test_up_takes_a_name_a_port_and_addresses(host: Host) -> None:
    cluster = Cluster(host, "--name", "lab", "--bind", "127.0.0.1", "--no-node", port=13000)
    assert cluster.scheduler.output("stdout").startswith("The cluster lab runs on port 13000.\n")
    assert [door for door in host.listeners() if door[0] == "tcp"] == [("tcp", "127.0.0.1", 13000)]
    status = cluster.status()
    assert status["cluster"]["name"] == "lab"
    assert status["cluster"]["addresses"] == ["127.0.0.1:13000"]
    # The only one that runs is found, whatever its port.
    assert host.hurricane("down").stdout == "lab is down\n"


def test_status_tells_what_the_cluster_does(host: Host) -> None:
    cluster = Cluster(host, "--cpus", "2", "--memory", "8GB", "--resource", "license=1.5")
    until(cluster.nodes)
    Job(host, 5).finish()
    until(lambda: cluster.status()["tasks"]["done"] == 5)
    status = cluster.status()
    assert [*status] == ["clients", "cluster", "nodes", "tasks"]
    [node] = status["nodes"]
    assert node["name"] == "alder"
    assert node["address"] == "this host"
    assert node["leaving"] is False
    expected = {"cpus": 2.0, "gpus": 0.0, "memory": 8_000_000_000, "resources": {"license": 1.5}}
    assert node["resources"] == expected
    assert (node["running"], node["backlog"], node["finished"]) == (0, 0, 5)
    counts = {"queued": 0, "waiting": 0, "ready": 0, "assigned": 0, "running": 0}
    assert status["tasks"] == counts | {"done": 5, "failed": 0, "cancelled": 0}
    assert status["cluster"]["name"] == "port-12222"
    assert status["cluster"]["port"] == 12222
    assert 0 < status["cluster"]["uptime"] < 600
    text = host.hurricane("status").stdout.splitlines()
    assert text[0].startswith("cluster port-12222, port 12222, up for ")
    assert text[-4:-2] == [
        "1 node, 0 of 2 cpus in use",
        "  alder  this host  2 cpus, 8 GB memory, 1.5 license  0 running, 5 finished",
    ]
    assert re.fullmatch("[01] clients?", text[-2])
    pattern = r"tasks: 0 queued, 0 running, 5 done, 0 failed, 0 cancelled; [\d.]+ a second"
    assert re.fullmatch(pattern, text[-1])


def test_invite_prints_a_line_to_type(host: Host) -> None:
    Cluster(host, "--no-node")
    done = host.hurricane("invite")
    assert re.fullmatch(rf"hurricane join {TICKET}\n", done.stdout)
    assert done.stderr == "for 1 machine to be a member of port-12222 (node), within 15 minutes\n"
    done = host.hurricane("invite", "--uses", "3", "--ttl", "90s", "--role", "submit")
    assert done.stderr == (
        "for 3 machines to be a member of port-12222 (submit), within 1 minute 30 seconds\n"
    )


def test_several_clusters_of_a_machine_are_chosen_between(host: Host) -> None:
    one = Cluster(host, "--no-node")
    two = Cluster(host, "--no-node", "--name", "two", port=13000)
    first, second = error(host.hurricane("invite", code=2))
    assert first.startswith("error: there are several clusters that could be meant: ")
    assert first.endswith("`port-12222` (port 12222), `two` (port 13000)")
    assert second == "hint: choose one with `--port` or `--cluster`"
    assert "of two (node)" in host.hurricane("invite", "--cluster", "two").stderr
    assert "of two (node)" in host.hurricane("invite", HURRICANE_PORT="13000").stderr
    # Programs take the usual port if nothing is said, and so does this.
    assert host.hurricane("status").stdout.startswith("cluster port-12222,")
    host.hurricane("down", "--port", "13000")
    assert two.scheduler.wait() == 0
    assert one.scheduler.is_running()


def test_a_cluster_runs_once(host: Host) -> None:
    Cluster(host, "--no-node")
    done = host.hurricane("up", "--no-node", code=2)
    assert done.stdout == ""
    assert error(done)[0] == "error: the scheduler of the cluster `port-12222` is running already"
    done = host.hurricane("up", "--no-node", "--name", "two", code=2)
    assert "12222" in error(done)[0]
    assert "--port" in error(done)[-1]


def test_a_port_that_something_else_has(host: Host) -> None:
    with web_server(host, 12222):
        done = host.hurricane("up", "--no-node", code=2)
    assert "12222" in error(done)[0]
    assert error(done)[-1].startswith("hint: ")
    assert "--port" in error(done)[-1]


# --- Members -----------------------------------------------------------------------------------


def test_a_member_from_join_to_leave(host: Host, other: dict[str, str]) -> None:
    cluster = Cluster(host, "--no-node")
    node = join(host, cluster, **other)
    assert events(node)[-1] == "alder-2 joined port-12222, at 127.0.0.1:12222"
    cluster.scheduler.wait_for_line(r"alder-2 is a member now \(node\), enrolled from ")
    cluster.scheduler.wait_for_line(r"node alder-2 joined from ")
    [title, row] = host.hurricane("nodes").stdout.splitlines()
    assert title.split() == ["NAME", "ADDRESS", "CPUS", "STATE", "TASKS"]
    assert row.split()[0] == "alder-2"
    assert row.split()[2:] == ["1", "here", "0", "running,", "0", "finished"]
    assert node.stop(signal.SIGTERM) == 0
    until(lambda: not cluster.nodes())
    [_, row] = host.hurricane("nodes").stdout.splitlines()
    assert re.fullmatch(r"alder-2  -        -     away   node, since \d{4}-\d\d-\d\d", row)
    # From now on this is enough.
    again = host.start_hurricane("node", "--address", "127.0.0.1", **other)
    again.wait_for_line("alder-2 joined port-12222")
    again.stop()
    done = host.hurricane("leave", "--address", "127.0.0.1", **other)
    assert done.stdout == "this machine is a member of port-12222 no more\n"
    assert done.stderr == ""
    assert host.hurricane("nodes").stdout.splitlines() == [
        " ".join(title.split()).replace(" ", "  ")
    ]


def test_who_leaves_while_the_scheduler_is_away(host: Host, other: dict[str, str]) -> None:
    cluster = Cluster(host, "--no-node")
    join(host, cluster, **other).stop()
    cluster.scheduler.stop()
    done = host.hurricane("leave", "--address", "127.0.0.1", **other)
    assert done.stdout == "this machine is a member of port-12222 no more\n"
    lines = done.stderr.splitlines()
    assert lines[0] == "its scheduler was not told:"
    assert lines[-1] == "`hurricane revoke alder-2` there takes it off the list"
    assert error(host.hurricane("leave", code=2, **other)) == [
        "error: this machine is a member of no cluster"
    ]


def test_who_is_revoked_is_told_so(host: Host, other: dict[str, str]) -> None:
    cluster = Cluster(host, "--no-node")
    node = join(host, cluster, **other)
    done = host.hurricane("revoke", "alder-2")
    assert re.fullmatch(
        r"alder-2 is a member of port-12222 no more; \d+ connections? cut\n", done.stdout
    )
    node.wait_for_line("revoked")
    cluster.scheduler.wait_for_line("alder-2 is a member no more")
    assert error(host.hurricane("revoke", "alder-2", code=2)) == [
        "error: no machine of this cluster is called `alder-2`"
    ]
    assert node.stop() == 0


def test_who_was_revoked_cannot_join_with_an_old_ticket(host: Host, other: dict[str, str]) -> None:
    cluster = Cluster(host, "--no-node")
    join(host, cluster, **other).stop()
    host.hurricane("revoke", "alder-2")
    used = ["join", cluster.expired_ticket(), "--address", "127.0.0.1"]
    lines = error(host.hurricane(*used, code=2, **other))
    assert "does not let this machine in" in lines[0]
    assert "`hurricane invite`" in lines[1]


def test_a_member_may_repeat_its_line(host: Host, other: dict[str, str]) -> None:
    cluster = Cluster(host, "--no-node")
    ticket = cluster.invite()
    for word in ("now", "already"):
        node = host.start_hurricane("join", ticket, "--address", "127.0.0.1", **other)
        node.wait_for_line(rf"a member of port-12222 {word} \(node\), called alder-2$")
        node.wait_for_line("joined port-12222")
        assert node.stop() == 0


def test_a_ticket_to_submit_enrols_and_ends(host: Host, other: dict[str, str]) -> None:
    cluster = Cluster(host, "--cpus", "1")
    ticket = cluster.invite("--role", "submit")
    text = f"hurricane join {ticket}\n"
    done = host.hurricane("join", "-", "--address", "127.0.0.1", text=text, **other)
    assert done.stdout == "Programs on this machine may submit to port-12222 now.\n"
    assert done.stderr.endswith("a member of port-12222 now (submit), called alder-2\n")
    done = host.hurricane("status", "--address", "127.0.0.1", "--json", **other)
    status = json.loads(done.stdout)
    assert status["cluster"]["members"] == []
    lines = error(host.hurricane("node", code=2, **other))
    assert lines[0].startswith("error: this machine may not run tasks of `port-12222`")
    assert "`hurricane invite`" in lines[1]


def test_a_node_may_not_ask(host: Host, other: dict[str, str]) -> None:
    cluster = Cluster(host, "--no-node")
    join(host, cluster, **other)
    lines = error(host.hurricane("status", code=2, **other))
    assert lines[0].startswith("error: this machine may not submit tasks to `port-12222`")
    assert "`hurricane invite --role submit`" in lines[1]


def test_a_used_ticket(host: Host, other: dict[str, str]) -> None:
    cluster = Cluster(host, "--no-node")
    ticket = cluster.invite()
    node = host.start_hurricane("join", ticket, "--address", "127.0.0.1", **other)
    node.wait_for_line("joined")
    third = {name: f"{path}-3" for name, path in other.items()}
    Path(third["HURRICANE_RUNTIME_DIR"]).mkdir(mode=0o700)
    done = host.hurricane("join", ticket, "--address", "127.0.0.1", code=2, **third)
    assert error(done) == [
        "error: at `127.0.0.1:12222`: this ticket was used up",
        "hint: run `hurricane invite` on the scheduler's machine for a new ticket",
    ]


def test_an_expired_ticket(host: Host, other: dict[str, str]) -> None:
    cluster = Cluster(host, "--no-node")
    ticket = cluster.expired_ticket()
    done = host.hurricane("join", ticket, "--address", "127.0.0.1", code=2, **other)
    assert "expired" in error(done)[0]
    assert "hurricane invite" in error(done)[1]


def test_a_ticket_of_another_cluster(host: Host, other: dict[str, str]) -> None:
    cluster = Cluster(host, "--no-node")
    ticket = cluster.ticket
    cluster.scheduler.stop()
    Cluster(host, "--no-node", "--name", "two")
    done = host.hurricane("join", ticket, "--address", "127.0.0.1:12222", code=2, **other)
    assert "another cluster" in error(done)[0]


def test_something_else_at_the_address(host: Host, other: dict[str, str]) -> None:
    cluster = Cluster(host, "--no-node")
    ticket = cluster.ticket
    cluster.scheduler.stop()
    with web_server(host, 8080):
        done = host.hurricane("join", ticket, "--address", "127.0.0.1:8080", code=2, **other)
    assert "does not speak hurricane's protocol" in error(done)[0]
    assert "check the address and the port" in error(done)[-1]


# --- Nodes -------------------------------------------------------------------------------------


def test_a_node_waits_for_its_scheduler(host: Host) -> None:
    node = host.start_hurricane("node", "--cpus", "1")
    node.wait_for_line(rf"^{CLOCK} looking for your scheduler on this machine, port 12222$")
    cluster = Cluster(host, "--no-node")
    node.wait_for_line(r"alder joined port-12222, on this machine$")
    cluster.scheduler.stop()
    node.wait_for_line(r"lost the scheduler: .*; looking for it again$")
    cluster.start()
    node.wait_for_line("alder joined", after=3)
    assert node.stop() == 0
    assert events(node)[-1] == "ending"


def test_what_nodes_have_is_divided_and_said(host: Host) -> None:
    cluster = Cluster(host, "--no-node")
    node = host.start_hurricane("node", "--count", "3", "--cpus", "2", "--gpus", "2")
    until(lambda: len(cluster.nodes()) == 3)
    nodes = {each["name"]: each["resources"] for each in cluster.nodes()}
    assert [*nodes] == ["alder", "alder-2", "alder-3"]
    assert [each["cpus"] for each in nodes.values()] == [1.0, 1.0, 1.0]
    assert sorted(each["gpus"] for each in nodes.values()) == [0.0, 1.0, 1.0]
    said = events(node)
    assert said[0] == "3 nodes on 2 cpus: each has one cpu, and they share what there is"
    second = host.start_hurricane("node", "--cpus", "1")
    second.wait_for_line("another hurricane process has nodes on this machine")
    second.wait_for_line("alder-4 joined")
    for process in (node, second):
        assert process.stop() == 0


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_is_a_wish(host: Host, number: signal.Signals) -> None:
    cluster = Cluster(host, "--cpus", "1")
    job = Job(host, 1, seconds=60)
    job.wait_for_executions(1)
    started = time.monotonic()
    assert cluster.scheduler.stop(number) == 0
    assert time.monotonic() - started < 10
    job.process.kill()
    until(lambda: not host.processes())


def test_a_node_drains_if_it_is_to(host: Host) -> None:
    cluster = Cluster(host, "--no-node")
    node = host.start_hurricane("node", "--cpus", "1", "--drain")
    node.wait_for_line("joined")
    job = Job(host, 3, seconds=1.0)
    job.wait_for_executions(1)
    node.send(signal.SIGINT)
    node.wait_for_line("finishing what runs here")
    assert node.wait() == 0
    # What had begun was not done again, and the rest was handed back.
    assert len(job.executions()) == 1
    other = host.start_hurricane("node", "--cpus", "1")
    job.finish()
    assert set(job.times().values()) == {1}
    other.stop()
    assert cluster.scheduler.stop() == 0


def test_a_second_wish_ends_at_once(host: Host) -> None:
    Cluster(host, "--no-node")
    node = host.start_hurricane("node", "--cpus", "1", "--drain")
    node.wait_for_line("joined")
    job = Job(host, 1, seconds=60)
    job.wait_for_executions(1)
    node.send(signal.SIGINT)
    node.wait_for_line("finishing what runs here")
    node.send(signal.SIGINT)
    assert node.wait(10) == 1
    assert "ending at once" in events(node)[-1]


# --- In the background -------------------------------------------------------------------------


def test_a_cluster_in_the_background(host: Host) -> None:
    done = host.hurricane("up", "--detach", "--cpus", "1")
    assert re.search(rf"^  hurricane join {TICKET}$", done.stdout, re.MULTILINE)
    [line] = [line for line in done.stderr.splitlines() if line.startswith("log: ")]
    log = Path(line.removeprefix("log: "))
    assert stat.S_IMODE(log.stat().st_mode) == 0o600
    until(lambda: "node alder joined" in log.read_text())
    assert host.hurricane("status").stdout.startswith("cluster port-12222")
    # A mistake is told by the process that people started.
    done = host.hurricane("up", "--detach", code=2)
    assert error(done)[0] == "error: the scheduler of the cluster `port-12222` is running already"
    assert host.hurricane("down").stdout == "port-12222 is down\n"
    # It has waited for the processes.
    assert not host.processes()
    assert log.read_text().endswith("the scheduler has ended\n")
    assert not re.search(TICKET, log.read_text())


def test_a_node_in_the_background(host: Host, other: dict[str, str]) -> None:
    cluster = Cluster(host, "--no-node")
    ticket = cluster.invite()
    done = host.hurricane("join", "--detach", ticket, "--address", "127.0.0.1", **other)
    assert done.stderr.endswith("alder-2 joined port-12222, at 127.0.0.1:12222\n")
    assert [line for line in host.processes().values() if "--detached" in line]
    assert not [line for line in host.processes().values() if ticket in line]
    assert [each["name"] for each in cluster.nodes()] == ["alder-2"]
    host.hurricane("revoke", "alder-2")


def test_a_node_in_the_background_goes_on_looking(host: Host) -> None:
    started = time.monotonic()
    done = host.hurricane("node", "--detach", "--cpus", "1")
    assert 4 < time.monotonic() - started < 30
    assert "looking for your scheduler" in done.stderr
    cluster = Cluster(host, "--no-node")
    until(cluster.nodes)


# --- deploy ------------------------------------------------------------------------------------


@pytest.fixture
def ssh(host: Host, other: dict[str, str]) -> dict[str, str]:
    """The environment of a user whose ssh leads to the same host, but for one that is not there."""
    program = host.directory / "bin" / "ssh"
    program.parent.mkdir()
    variables = " ".join(f"{name}='{path}'" for name, path in other.items())
    program.write_text(
        f"""#!/bin/sh
echo "$@" >> {host.directory}/ssh.log
[ "$1 $2" = "-T --" ] || exit 9
case "$3" in gone) echo "ssh: Could not resolve hostname gone" >&2; exit 255;; esac
shift 3
exec env {variables} sh -c "$*"
"""
    )
    program.chmod(0o755)
    return {"PATH": f"{program.parent}:{host.variables()['PATH']}"}


def test_deploy_carries_a_ticket_over_ssh(host: Host, ssh: dict[str, str]) -> None:
    cluster = Cluster(host, "--no-node")
    options = ["--cpus", "1", "--resource", "rack 7=1", "--address", "127.0.0.1"]
    done = host.hurricane("deploy", "ada@birch", *options, **ssh)
    assert done.stdout == "ada@birch: alder-2 joined port-12222, at 127.0.0.1:12222\n"
    [line] = (host.directory / "ssh.log").read_text().splitlines()
    assert line == (
        "-T -- ada@birch hurricane join --detach "
        "--cpus 1 --resource 'rack 7=1' --address 127.0.0.1 -"
    )
    [node] = cluster.nodes()
    assert node["resources"]["resources"] == {"rack 7": 1.0}


def test_deploy_tells_of_each_host(host: Host, ssh: dict[str, str]) -> None:
    cluster = Cluster(host, "--no-node")
    command = ["deploy", "birch", "gone", "--cpus", "1", "--address", "127.0.0.1"]
    done = host.hurricane(*command, code=2, **ssh)
    assert sorted(done.stdout.splitlines()) == [
        "birch: alder-2 joined port-12222, at 127.0.0.1:12222",
        "gone: failed",
    ]
    assert done.stderr == "gone: ssh: Could not resolve hostname gone\n"
    assert len(cluster.nodes()) == 1


def test_deploy_needs_ssh(host: Host) -> None:
    Cluster(host, "--no-node")
    program = str(BIN / "hurricane")
    done = host.run("env", "PATH=/nonexistent", program, "deploy", "birch", code=2)
    assert done.stdout.startswith("birch: failed: ssh cannot be run: No such file")


# --- The rest ----------------------------------------------------------------------------------


def test_a_program_on_a_machine_that_only_runs_nodes_is_told_so(
    host: Host, other: dict[str, str]
) -> None:
    cluster = Cluster(host, "--no-node")
    join(host, cluster, **other)
    done = host.python("import hurricane; hurricane.Client()", code=1, **other)
    assert "hurricane invite --role submit" in done.stderr


def test_strangers_cost_a_line(host: Host) -> None:
    cluster = Cluster(host, "--no-node")
    with host.dial("127.0.0.1", 12222) as stranger:
        stranger.sendall(b"GET / HTTP/1.1\r\nHost: alder\r\n\r\n")
        stranger.shutdown(socket.SHUT_WR)
        cluster.scheduler.wait_for_line(rf"^{CLOCK} refused 127\.0\.0\.1")
