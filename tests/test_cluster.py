"""Clients of a cluster: the same as on one machine, though values and functions travel."""

import concurrent.futures
import os
import subprocess
import sys
import time

import pytest

import hurricane
from clusters import cluster_program, free_port, open_cluster, own_user
from conditions import DEADLINE_SECONDS, until
from hurricane import _native

MEGABYTES = 5_000_000

sea = "rough"


class Boat:
    def __init__(self, name):
        self.name = name


class Sunk(Exception):
    pass


def build(name):
    return Boat(name)


def name_of(boat):
    assert isinstance(boat, Boat)
    return boat.name


def sink(boat):
    raise Sunk(boat.name)


def build_and_name(name):
    return hurricane.submit(name_of, hurricane.submit(build, name)).result()


@pytest.fixture(scope="module")
def both():
    with open_cluster(cpus=2) as cluster, cluster.client() as client:
        yield cluster, client


@pytest.fixture
def cluster(both):
    return both[0]


@pytest.fixture
def client(both):
    return both[1]


def test_it_is_an_executor(client):
    assert client.submit(pow, 2, exp=10).result() == 1024
    assert list(client.map(pow, range(5), [2] * 5)) == [0, 1, 4, 9, 16]
    futures = [client.submit(abs, -number) for number in range(100)]
    assert sorted(map(hurricane.Future.result, hurricane.as_completed(futures))) == [*range(100)]


def test_long_maps_are_exact(client):
    assert sum(client.map(abs, range(-20_000, 0))) == sum(range(20_001))


def test_large_values_go_both_ways(client):
    content = os.urandom(MEGABYTES)
    assert client.submit(bytes.upper, content).result() == content.upper()
    put = client.put(content)
    results = [client.submit(bytes.__getitem__, put, slice(start, None)) for start in range(3)]
    assert [future.result() for future in results] == [content[start:] for start in range(3)]


def test_values_stay_where_they_are_between_tasks(client):
    large = client.submit(bytes, MEGABYTES)
    assert client.submit(len, large).result() == MEGABYTES
    assert len(large.result()) == MEGABYTES
    # It is here now, and its place in the cluster as well.
    assert client.submit(len, large).result() == MEGABYTES


def test_many_large_results_are_read_at_once(client):
    futures = [client.submit(bytes, 300_000 + number) for number in range(20)]
    with concurrent.futures.ThreadPoolExecutor(20) as threads:
        lengths = list(threads.map(lambda future: len(future.result()), futures))
    assert lengths == [300_000 + number for number in range(20)]


def test_large_results_can_be_asked_for_after_the_end(cluster):
    with cluster.client() as client:
        future = client.submit(bytes, MEGABYTES)
    assert len(future.result()) == MEGABYTES


def test_a_callback_may_ask_for_a_large_result(client):
    lengths = []
    future = client.submit(bytes, MEGABYTES)
    future.add_done_callback(lambda future: lengths.append(len(future.result())))
    until(lambda: lengths == [MEGABYTES], "the callback")


def test_classes_of_the_program_come_back_as_themselves(client):
    boat = client.submit(build, "Argo").result()
    assert isinstance(boat, Boat)
    assert client.submit(name_of, boat).result() == "Argo"
    assert client.submit(name_of, client.submit(build, "Pequod")).result() == "Pequod"
    assert client.submit(lambda: [Boat("a")]).result()[0].name == "a"


def test_exceptions_of_the_program_come_back_as_themselves(client):
    with pytest.raises(Sunk, match="Titanic") as raised:
        client.submit(sink, Boat("Titanic")).result()
    assert "In task `sink` on node" in str(raised.value.__cause__)


def test_tasks_have_tasks(client):
    assert client.submit(build_and_name, "Nautilus").result() == "Nautilus"


def test_failures_and_cancellations_are_passed_on(client):
    failed = client.submit(name_of, client.submit(sink, Boat("Vasa")))
    with pytest.raises(Sunk):
        failed.result()
    running = client.submit(time.sleep, 600)
    waiting = client.submit(abs, running)
    assert running.cancel()
    with pytest.raises(concurrent.futures.CancelledError):
        waiting.result()


def test_output_arrives(client, capfd):
    client.submit(print, "ahoy").result()
    until(lambda: "ahoy" in capfd.readouterr().out, "the line")


def test_options_hold(client):
    with pytest.raises(hurricane.TaskTimeout):
        client.options(timeout=0.2).submit(time.sleep, 600).result()
    with pytest.raises(hurricane.WorkerLost):
        client.submit(os._exit, 3).result()


def test_its_status_can_be_seen(cluster, client):
    client.submit(abs, 1).result()
    status = client.status()
    assert status["cluster"]["port"] == cluster.port
    assert status["nodes"][0]["resources"]["cpus"] == 2
    assert len(status["clients"]) == 1
    assert f"port {cluster.port}" in repr(status)
    assert status["tasks"].keys() == cluster.status()["tasks"].keys()
    # Whom the machine trusts is shown on it alone, which this is.
    assert status["cluster"]["members"] == []


def test_clients_come_and_go(cluster):
    for number in range(5):
        with cluster.client() as client:
            assert client.submit(abs, -number).result() == number
    until(lambda: len(cluster.status()["clients"]) <= 1, "the end of the clients")
    assert client._broken is None
    with pytest.raises(RuntimeError, match="after shutdown"):
        client.submit(abs, 1)


def test_what_a_client_leaves_behind_is_cancelled(cluster):
    client = cluster.client()
    client.submit(time.sleep, 600)
    until(lambda: cluster.status()["tasks"]["running"] == 1, "the task")
    client._handle.kill()
    until(lambda: cluster.status()["tasks"]["running"] == 0, "its end")


def test_invitations_are_lines(cluster):
    assert "\n" not in cluster.invite()
    assert cluster.invite(uses=3, ttl=60, role="node,submit")
    with pytest.raises(ValueError, match="king"):
        cluster.invite(role="king")


def test_functions_need_no_file_on_the_nodes(tmp_path, monkeypatch):
    (tmp_path / "fleet.py").write_text(
        "import harbour\n"
        "class Ship:\n"
        "    def __init__(self, name): self.name = name\n"
        "def launch(name): return Ship(harbour.title(name))\n"
        "def name_of(ship):\n"
        "    assert isinstance(ship, Ship)\n"
        "    return ship.name\n"
    )
    (tmp_path / "harbour.py").write_text("def title(name): return name.title()\n")
    with open_cluster(node=False) as cluster:
        node = start_node(cluster)
        monkeypatch.syspath_prepend(tmp_path)
        import fleet

        with cluster.client() as client:
            ship = client.submit(fleet.launch, "argo").result()
            assert isinstance(ship, fleet.Ship)
            assert client.submit(fleet.name_of, ship).result() == "Argo"
            later = client.submit(fleet.name_of, client.submit(fleet.launch, "vasa"))
            assert later.result() == "Vasa"
            names = client.map(lambda ship: fleet.harbour.title(ship.name), [ship] * 3)
            assert list(names) == ["Argo"] * 3
        node.stop()


def worker_command():
    """How a worker is started on a machine that has nothing but hurricane."""
    paths = [path for path in sys.path if path and not path.endswith("tests")]
    start = f"import sys; sys.path = {paths!r}; from hurricane._worker import main; main()"
    return sys.executable, "-c", start


def test_two_clusters_are_told_apart_by_their_ports():
    with own_user():
        one, other = free_port(), free_port()
        with hurricane.Cluster(one, cpus=1), hurricane.Cluster(other, cpus=1) as second:
            with hurricane.Client(port=one) as client:
                assert client.status()["cluster"]["port"] == one
            with hurricane.Client(cluster=f"port-{other}", port=other) as client:
                assert client.submit(abs, -1).result() == 1
            assert second.status()["tasks"]["done"] == 1


def test_a_port_is_taken_once():
    with open_cluster(node=False) as cluster, pytest.raises(OSError, match="is in use"):
        hurricane.Cluster(cluster.port, name="other", node=False)


def test_a_program_finds_the_cluster_of_its_user(run_program, monkeypatch):
    with own_user():
        port = free_port()
        with hurricane.Cluster(port, cpus=1):
            monkeypatch.setenv("HURRICANE_PORT", str(port))
            text = "import hurricane\nwith hurricane.Client() as c: print(c.status()['cluster'])"
            assert f"'port': {port}" in run_program(text).stdout
        done = run_program(text)
        assert (done.stdout, done.stderr) == (
            "None\n",
            "hurricane: no cluster was found; running on this machine\n",
        )


def test_a_machine_that_joined_may_submit():
    with open_cluster(cpus=1) as cluster:
        ticket = cluster.invite(role="submit")
        with own_user():
            join(ticket, cluster)
            with hurricane.Client(port=cluster.port) as client:
                assert client.submit(bytes.upper, b"x" * MEGABYTES).result() == b"X" * MEGABYTES
            with hurricane.Client(address=f"127.0.0.1:{cluster.port}") as client:
                assert client.submit(abs, -1).result() == 1
            with hurricane.Client(cluster=f"port-{cluster.port}") as client:
                assert client.status()["cluster"]["members"] == []
        assert [member["roles"] for member in cluster.status()["cluster"]["members"]] == ["submit"]


def test_a_machine_that_joined_as_a_node_may_not_submit():
    with open_cluster(node=False) as cluster:
        ticket = cluster.invite()
        with own_user():
            node = start_joining(ticket, cluster)
            until(lambda: cluster.status()["nodes"], "the node")
            node.terminate()
            node.wait(DEADLINE_SECONDS)
            with pytest.raises(ConnectionError, match=r"hurricane invite --role submit"):
                hurricane.Client(port=cluster.port)


def join(ticket, cluster):
    joining = start_joining(ticket, cluster)
    assert joining.wait(DEADLINE_SECONDS) == 0


def start_joining(ticket, cluster):
    command = [sys.executable, "-m", "hurricane", "join", ticket]
    return subprocess.Popen([*command, "--address", f"127.0.0.1:{cluster.port}"])


def test_a_scheduler_that_is_away_is_waited_for_in_words(capfd):
    with own_user():
        port = free_port()
        with cluster_program(port):
            client = hurricane.Client(port=port)
            client.submit(abs, 1).result()
        until(lambda: "waiting for the scheduler" in capfd.readouterr().err, "the line")
        client._handle.kill()


def test_no_key_means_no_search(run_program):
    began = time.monotonic()
    done = run_program("import hurricane\nwith hurricane.Client(): pass")
    assert done.stderr == ""
    assert not os.path.exists(os.environ["HURRICANE_STATE_DIR"])
    assert time.monotonic() - began < DEADLINE_SECONDS


@pytest.mark.parametrize("choice", [{"cluster": "lab"}, {"address": "10.0.0.1"}, {"port": 4711}])
def test_what_was_chosen_without_a_key_is_an_error(choice):
    with pytest.raises(ConnectionError, match=r"not a member of.*hurricane join"):
        hurricane.Client(**choice)


@pytest.mark.parametrize("choice", [{"cluster": "a/b"}, {"address": "a b"}, {"port": 0}])
def test_what_cannot_be_chosen_is_an_error(choice):
    with pytest.raises(ValueError, match="port|name|address"):
        hurricane.Client(**choice)


def calm(how):
    global sea
    sea = how


def look():
    return sea


def test_an_initializer_comes_before_the_first_task():
    with open_cluster(cpus=2) as cluster, calmed(cluster) as client:
        assert {client.submit(look).result() for _ in range(10)} == {"calm"}
        assert set(client.map(lambda _: look(), range(100))) == {"calm"}
        # Others are not concerned.
        with cluster.client() as other:
            assert other.submit(look).result() == "rough"


def calmed(cluster):
    return hurricane.Client(port=cluster.port, initializer=calm, initargs=("calm",))


def test_an_initializer_that_fails_fails_the_tasks():
    with open_cluster(cpus=1) as cluster:
        options = {"initializer": sink, "initargs": (Boat("Vasa"),)}
        with hurricane.Client(port=cluster.port, **options) as client:
            with pytest.raises(hurricane.SetupFailed, match="Vasa") as raised:
                client.submit(abs, 1).result()
            assert isinstance(raised.value.__cause__, Sunk)
            with pytest.raises(hurricane.SetupFailed):
                list(client.map(abs, range(3)))


def test_values_that_are_lost_with_their_node_are_computed_again():
    with open_cluster(node=False) as cluster, cluster.client() as client:
        first = start_node(cluster)
        kept = client.submit(os.urandom, MEGABYTES)
        made = client.submit(bytes, MEGABYTES)
        length = client.submit(len, kept)
        assert length.result() == MEGABYTES
        content = kept.result()
        second = start_node(cluster)
        first.stop()
        # What is here already stays what it was.
        assert kept.result() == content
        assert made.result() == bytes(MEGABYTES)
        assert client.submit(len, made).result() == MEGABYTES
        second.stop()


def test_a_lost_value_that_cannot_be_made_again_is_an_error(tmp_path):
    def once(mark):
        mark.touch(exist_ok=False)
        return bytes(MEGABYTES)

    with open_cluster(node=False) as cluster, cluster.client() as client:
        first = start_node(cluster)
        made = client.submit(once, tmp_path / "mark")
        hurricane.wait([made])
        second = start_node(cluster)
        first.stop()
        with pytest.raises(FileExistsError):
            made.result()
        with pytest.raises(FileExistsError):
            client.submit(len, made).result()
        second.stop()


def start_node(cluster):
    return _native.Nodes(
        port=cluster.port,
        cpus=1,
        worker_command=worker_command(),
        setup=hurricane._launch.node_setup(),
    )


def test_a_scheduler_that_stands_still_is_waited_for(run_program):
    with own_user():
        port = free_port()
        with cluster_program(port) as program:
            # More than may be on its way at once, in a program that may use the memory for it.
            done = run_program(f"""
import os, signal, threading
import hurricane

with hurricane.Client(port={port}) as client:
    client.submit(abs, 1).result()
    os.kill({program.pid}, signal.SIGSTOP)
    going_on = threading.Timer(2, os.kill, [{program.pid}, signal.SIGCONT])
    going_on.start()
    values = [client.put(bytes(5_000_000)) for _ in range(30)]
    print(going_on.is_alive(), [client.submit(len, value).result() for value in values])
""")
            assert done.stdout == f"False {[MEGABYTES] * 30}\n"


def test_a_scheduler_that_ends_takes_the_tasks_along():
    with open_cluster(cpus=1) as cluster:
        client = cluster.client()
        running = client.submit(time.sleep, 600)
        until(lambda: cluster.status()["tasks"]["running"] == 1, "the task")
        cluster.shutdown()
        with pytest.raises(hurricane.SchedulerLost):
            running.result(DEADLINE_SECONDS)
        with pytest.raises(hurricane.SchedulerLost):
            client.submit(abs, 1)
        client.shutdown()


def test_a_scheduler_that_was_killed_and_started_anew_has_lost_the_tasks():
    with own_user():
        port = free_port()
        with cluster_program(port):
            client = hurricane.Client(port=port)
            running = client.submit(time.sleep, 600)
        assert not running.done()
        with cluster_program(port):
            with pytest.raises(hurricane.SchedulerLost, match="started anew"):
                running.result(DEADLINE_SECONDS)
            with hurricane.Client(port=port) as client:
                assert client.submit(abs, -1).result() == 1


def test_workers_end_with_the_program(tmp_path):
    with own_user():
        port = free_port()
        with cluster_program(port), hurricane.Client(port=port) as client:
            pid = client.submit(os.getpid).result()
            os.kill(pid, 0)
        until(lambda: not os.path.exists(f"/proc/{pid}"), "the worker's end")


def test_a_forked_child_has_no_part_in_it(run_program):
    with open_cluster(cpus=1) as cluster:
        done = run_program(f"""
import os
import hurricane

def sockets():
    links = []
    for name in os.listdir("/proc/self/fd"):
        try:
            links.append(os.readlink(f"/proc/self/fd/{{name}}"))
        except FileNotFoundError:
            continue
    return len([link for link in links if link.startswith("socket:")])

with hurricane.Client(port={cluster.port}) as client:
    future = client.submit(abs, -1)
    assert future.result() == 1
    assert sockets() > 0
    child = os.fork()
    if child == 0:
        try:
            client.submit(abs, 1)
        except RuntimeError as error:
            print(error, sockets(), future.result(), flush=True)
        os._exit(0)
    os.waitpid(child, 0)
    print(client.submit(abs, -2).result())
""")
    assert "was forked" in done.stdout
    assert done.stdout.splitlines()[0].endswith(" 0 1")
    assert done.stdout.splitlines()[1] == "2"
