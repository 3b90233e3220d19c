"""The 2016 API: masters and slaves, each a program of its own."""

import json
import os
import signal
import sys
from pathlib import Path

import pytest

from conditions import until
from lan.cluster import Cluster
from lan.hosts import Host, Lan, Process, measured

EXAMPLES = Path(__file__).parents[2] / "examples" / "classic"

SLAVE = """
import os, sys, time
from hurricane import SlaveNode

slave = SlaveNode(initialize_port=int(sys.argv[1]), debug=True)
slave.initialize()
slave.wait_for_initialize()
print("initialized")
while True:
    data = slave.wait_for_task()
    print("doing", data["number"])
    time.sleep(data.get("seconds", 0))
    slave.finish_task(generated_data={"square": data["number"] ** 2, "pid": os.getpid()})
    print("finished", data["number"])
"""

MASTER = """
import sys, time, threading
from hurricane import MasterNode

master = MasterNode(initialize_port={port}, debug=True)
master.initialize()
print("ready")
"""


def start_slave(host: Host, *, port: int = 12222, wait: bool = True) -> Process:
    slave = host.start_python(SLAVE, str(port), name="slave.py")
    if wait:
        slave.wait_for_line("^initialized$")
    return slave


def start_master(host: Host, text: str, *, port: int = 12222, name: str = "master.py") -> Process:
    return host.start_python(MASTER.replace("{port}", str(port)) + text, name=name)


@pytest.fixture
def host(lan: Lan) -> Host:
    """A machine of one user, who has enrolled nobody."""
    return lan.host("box")


def test_a_task_is_sent_done_and_returned_once(host):
    master = start_master(
        host,
        """
from datetime import datetime
before = datetime.now()
master.wait_for_connection()
first = master.send_task({"number": 7})
second = master.send_task({"number": 8})
task = master.wait_for_task_completion(first)
assert type(first) is int and task.get_task_id() == first
assert task.get_data() == {"number": 7}
assert task.get_generated_data()["square"] == 49
assert before <= task.get_starttime() <= datetime.now()
assert task.get_return_port() == 12222
assert master.wait_for_task_completion(first) is None
assert master.wait_for_task_completion(first, 30) is None
assert master.is_task_completed(first) == (False, None)
while not (found := master.is_task_completed(second))[0]:
    time.sleep(0.01)
assert found[1].get_generated_data()["square"] == 64
assert master.is_task_completed(second) == (False, None)
assert master.wait_for_any_task_completion(0.1) is None
print("well")
""",
    )
    start_slave(host)
    master.wait_for_line("^well$")
    assert master.wait() == 0


def test_any_completion_from_slaves_in_several_processes(host):
    slaves = [start_slave(host, wait=False) for _ in range(3)]
    master = start_master(
        host,
        """
import json
pids = set()
# One of them may be late.
while len(pids) < 3:
    sent = {master.send_task({"number": number, "seconds": 0.01}): number for number in range(60)}
    done = [master.wait_for_any_task_completion() for _ in sent]
    assert {task.get_task_id() for task in done} == set(sent)
    for task in done:
        assert task.get_generated_data()["square"] == sent[task.get_task_id()] ** 2
        pids.add(task.get_generated_data()["pid"])
print("pids", json.dumps(sorted(pids)))
""",
    )
    found, _ = master.wait_for_line("^pids (.*)")
    assert len(json.loads(found[1])) == 3
    assert master.wait() == 0
    for slave in slaves:
        slave.wait_for_line("^initialized$")


def test_slaves_wait_for_their_master_and_come_back_to_the_next(host):
    slave = start_slave(host, wait=False)
    slave.wait_for_line("Waiting for a master node on port 12222")
    for number in range(3):
        seen = len(slave.lines)
        master = start_master(
            host,
            f"""
print(master.wait_for_task_completion(0))
master.wait_for_connection()
sent = master.send_task({{"number": {number}}})
print("gave", master.wait_for_task_completion(sent).get_generated_data()["square"])
if {number} != 1:
    master.stop()
""",
        )
        _, ready = master.wait_for_line("^ready$")
        _, gave = master.wait_for_line(f"^gave {number**2}$")
        measured("from a master's start to its slave's first answer", gave.at - ready.at, 5)
        assert master.wait() == 0
        slave.wait_for_line("The master is gone", after=seen)


def test_a_master_that_stops_can_begin_anew(host):
    start_slave(host, wait=False)
    master = start_master(
        host,
        """
for number in range(3):
    master.initialize()
    master.wait_for_connection()
    sent = master.send_task({"number": number})
    assert master.wait_for_task_completion(sent).get_generated_data()["square"] == number ** 2
    left = master.send_task({"number": 100, "seconds": 0.2})
    master.stop()
    assert not master.has_connection()
    assert master.wait_for_task_completion(left) is None
    assert master.wait_for_any_task_completion() is None
    assert master.wait_for_connection() is None
early = master.send_task({"number": 9})
master.initialize()
assert master.wait_for_any_task_completion().get_task_id() == early
print("well")
""",
    )
    master.wait_for_line("^well$")
    assert master.wait() == 0


def test_a_slave_killed_in_mid_task_loses_nothing(host):
    first = start_slave(host, wait=False)
    master = start_master(
        host,
        """
master.wait_for_connection()
sent = master.send_task({"number": 5, "seconds": 3})
task = master.wait_for_task_completion(sent)
print("gave", task.get_generated_data()["square"], "by", task.get_generated_data()["pid"])
""",
    )
    first.wait_for_line("^doing 5$")
    first.send(signal.SIGKILL)
    second = start_slave(host)
    second.wait_for_line("^doing 5$")
    found, _ = master.wait_for_line("^gave 25 by (.*)")
    assert int(found[1]) == second.pid
    assert master.wait() == 0


def test_waits_end_in_time_and_by_stop(host):
    master = start_master(
        host,
        """
begun = time.monotonic()
assert master.has_connection() is False
sent = master.send_task({"number": 1})
assert master.wait_for_task_completion(sent) is None
assert master.wait_for_task_completion(sent, 60) is None
assert time.monotonic() - begun < 5, "without a slave it does not wait"
begun = time.monotonic()
assert master.wait_for_connection(0.3) is None
assert master.wait_for_any_task_completion(0.3) is None
assert 0.6 <= time.monotonic() - begun < 30
print("without a slave")
master.wait_for_connection()
master.wait_for_any_task_completion()
sent = master.send_task({"number": 1, "seconds": 1000})
assert master.wait_for_task_completion(sent, 0.2) is None
ended = []
waits = [
    lambda: master.wait_for_task_completion(sent),
    master.wait_for_any_task_completion,
    lambda: master.wait_for_any_task_completion(1000),
    lambda: master.wait_for_task_completion(sent, 1000),
]
threads = [threading.Thread(target=lambda wait=wait: ended.append(wait())) for wait in waits]
for thread in threads:
    thread.start()
# Those that end at once, by mistake, have done so by then.
threads[0].join(0.3)
assert ended == []
master.stop()
for thread in threads:
    thread.join()
assert ended == [None] * 4
other = MasterNode(initialize_port=12999)
other.initialize()
thread = threading.Thread(target=other.wait_for_connection)
thread.start()
other.stop()
thread.join()
print("well")
""",
    )
    master.wait_for_line("^without a slave$")
    start_slave(host)
    master.wait_for_line("^well$")
    assert master.wait() == 0


def test_what_was_stopped_goes_nowhere_and_its_slave_goes_on(host):
    slave = start_slave(host, wait=False)
    master = start_master(
        host,
        """
master.wait_for_connection()
master.send_task({"number": 1, "seconds": 2})
assert master.wait_for_any_task_completion(0.5) is None
master.stop()
master.initialize()
sent = master.send_task({"number": 2})
print("gave", master.wait_for_any_task_completion().get_generated_data()["square"])
print("more", master.wait_for_any_task_completion(0.5))
""",
    )
    master.wait_for_line("^gave 4$")
    master.wait_for_line("^more None$")
    slave.wait_for_line("nobody wants it any more")
    assert master.wait() == 0


def test_a_task_that_is_not_finished_goes_back(host):
    master = start_master(
        host,
        """
master.wait_for_connection()
sent = master.send_task({"number": 3})
print("gave", master.wait_for_task_completion(sent).get_generated_data())
""",
    )
    slave = host.start_python(
        """
from hurricane import SlaveNode
slave = SlaveNode(debug=True)
slave.initialize()
for _ in range(7):
    assert slave.wait_for_task() == {"number": 3}
slave.finish_task(generated_data="at last")
slave.finish_task(generated_data="once more")
""",
        name="forgetful.py",
    )
    master.wait_for_line("^gave at last$")
    assert master.wait() == 0
    assert slave.wait() == 0
    assert "There is no task to finish" in slave.output("stderr")


def test_what_a_slave_has_finished_arrives_though_it_ends(host):
    master = start_master(
        host,
        """
for size in (10, 1 << 16, 30_000_000):
    sent = master.send_task(size)
    assert master.wait_for_any_task_completion().get_generated_data() == bytes(size)
    print("got", size)
""",
    )
    for size in (10, 1 << 16, 30_000_000):
        slave = host.start_python(
            """
from hurricane import SlaveNode
slave = SlaveNode()
slave.initialize()
slave.finish_task(generated_data=bytes(slave.wait_for_task()))
""",
            name="brief.py",
        )
        master.wait_for_line(f"^got {size}$")
        assert slave.wait(20) == 0
    assert master.wait() == 0


def test_data_and_results_are_any_picklable_values(host):
    host.start_python(
        """
from hurricane import SlaveNode
slave = SlaveNode(debug=True)
slave.initialize()
while True:
    data = slave.wait_for_task()
    if data == "unpicklable":
        try:
            slave.finish_task(generated_data=open(__file__))
        except TypeError:
            data = "still in hand"
    slave.finish_task(generated_data=data) if data != "nothing" else slave.finish_task()
""",
        name="echo.py",
    )
    master = start_master(
        host,
        """
import sys, types
master.wait_for_connection()

class Own:
    def __init__(self, value):
        self.value = value
    def __eq__(self, other):
        return vars(self) == getattr(other, "__dict__", None)

def echo(data):
    return master.wait_for_task_completion(master.send_task(data)).get_generated_data()

for data in (None, 7, "text", [1, (2, {3})], {"a": {"b": b"c"}}, Own(8), bytes(20_000_000)):
    assert echo(data) == data, data
assert echo(lambda: 5)() == 5
assert echo("nothing") is None
assert echo("unpicklable") == "still in hand"
try:
    master.send_task(open(__file__))
except TypeError as error:
    print("refused", error)

# What slaves cannot read is told to whoever wants to know.
module = types.ModuleType("only_here")
exec("class There: pass", module.__dict__)
sys.modules["only_here"] = module
try:
    echo(module.There())
except ModuleNotFoundError:
    print("unreadable")
data = {"changed": False}
sent = master.send_task(data)
data["changed"] = True
assert master.wait_for_task_completion(sent).get_data() == {"changed": False}
print("well")
""",
    )
    master.wait_for_line("^refused ")
    master.wait_for_line("^unreadable$")
    master.wait_for_line("^well$")
    assert master.wait() == 0


def test_slaves_and_nodes_keep_to_their_own(host):
    cluster = Cluster(host)
    master = start_master(
        host,
        """
import hurricane
sent = master.send_task({"number": 6})
with hurricane.Client(port=12222) as client:
    assert client.submit(pow, 2, 5).result() == 32
assert not master.is_task_completed(sent)[0]
assert not master.has_connection()
print("no slave")
master.wait_for_connection()
print("gave", master.wait_for_task_completion(sent).get_generated_data()["square"])
with hurricane.Client(port=12222) as client:
    assert list(client.map(abs, range(-50, 0))) == list(range(50, 0, -1))
print("well")
""",
    )
    master.wait_for_line("^no slave$")
    slave = start_slave(host)
    master.wait_for_line("^gave 36$")
    master.wait_for_line("^well$")
    assert master.wait() == 0
    until(lambda: len(cluster.nodes()) == 2)
    assert [line.text for line in slave.lines if line.text.startswith("doing")] == ["doing 6"]


def test_a_master_outlives_the_one_that_was_the_scheduler(host):
    first = start_master(host, "time.sleep(1000)", name="first.py")
    first.wait_for_line("^ready$")
    second = start_master(
        host,
        """
number = 0
while True:
    sent = master.send_task({"number": number})
    task = master.wait_for_any_task_completion()
    print("gave", task.get_generated_data()["square"])
    number += 1
    time.sleep(0.02)
""",
        name="second.py",
    )
    slave = start_slave(host)
    second.wait_for_line("^gave 25$")
    first.send(signal.SIGKILL)
    seen = len(slave.lines)
    slave.wait_for_line("^initialized|Joined", after=seen)
    seen = len(second.lines)
    second.wait_for_line("^gave ", after=seen)
    assert [line.text for line in second.lines if line.text.startswith("gave")] == [
        f"gave {number**2}"
        for number in range(sum(line.text.startswith("gave") for line in second.lines))
    ]
    second.stop(signal.SIGKILL)


@pytest.mark.parametrize(
    "wait",
    [
        "slave.wait_for_initialize()",
        "slave.wait_for_task()",
        "master.wait_for_connection()",
        "master.wait_for_connection(1000)",
        "master.wait_for_any_task_completion()",
        "master.wait_for_any_task_completion(1000)",
    ],
)
def test_ctrl_c_ends_every_wait(host, wait):
    program = host.start_python(
        f"""
from hurricane import MasterNode, SlaveNode
if {wait!r}.startswith("slave"):
    slave = SlaveNode()
    slave.initialize()
else:
    master = MasterNode()
    master.initialize()
try:
    print("waiting")
    {wait}
except KeyboardInterrupt:
    print("interrupted")
"""
    )
    program.wait_for_line("^waiting$")
    assert program.stop(signal.SIGINT) == 0
    assert program.output("stdout") == "waiting\ninterrupted"


def test_ctrl_c_while_a_task_is_waited_for(host):
    start_slave(host, wait=False)
    master = start_master(
        host,
        """
master.wait_for_connection()
sent = master.send_task({"number": 1, "seconds": 1000})
try:
    print("waiting")
    master.wait_for_task_completion(sent)
except KeyboardInterrupt:
    print("interrupted")
""",
    )
    master.wait_for_line("^waiting$")
    assert master.stop(signal.SIGINT) == 0
    master.wait_for_line("^interrupted$")


def test_a_master_ends_though_nobody_does_its_tasks(host):
    master = start_master(host, "master.send_task({'number': 1})")
    assert master.wait() == 0


def test_a_taken_port_is_a_sentence(host):
    taken = host.start_python(
        "import socket, time; s = socket.create_server(('', 12222)); print('here'); time.sleep(99)",
        name="taken.py",
    )
    taken.wait_for_line("^here$")
    master = start_master(host, "")
    assert master.wait() == 1
    assert "port 12222 is in use" in master.output("stderr")


def test_the_samples(host):
    master = host.start(sys.executable, str(EXAMPLES / "master.py"))
    slave = host.start(sys.executable, str(EXAMPLES / "slave.py"))
    master.wait_for_line("^task 2 gave {'square': 4}$")
    slave.wait_for_line("^doing task 2$")
    assert slave.stop(signal.SIGINT) != 0
    slaves = host.start(sys.executable, str(EXAMPLES / "slaves_per_core.py"))
    master.wait_for_line(r"gave {'slave': \d+, 'square': \d+}")
    # As a terminal does: all of them hear it.
    for pid, command in host.processes().items():
        if "slaves_per_core" in command:
            os.kill(pid, signal.SIGINT)
    slaves.wait()
    master.stop(signal.SIGINT)
    until(lambda: not host.processes())


def test_programs_of_2016_run_as_they_were(host):
    master = host.start_python(
        """
from hurricane import MasterNode
from time import sleep

if __name__ == '__main__':
    server = MasterNode(debug=True, starting_task_port=12228)
    server.initialize()

    server.wait_for_connection()
    while True:
        if server.has_connection():
            task_id = server.send_task({"name" : "server"})
            completed = server.wait_for_task_completion(task_id)
            if completed:
                if completed.get_generated_data(): print(completed.get_generated_data())
            sleep(0.3)
        else:
            sleep(0.1)
""",
        name="server.py",
    )
    host.start_python(
        """
import multiprocessing
from hurricane import SlaveNode

def run_node():
    client = SlaveNode(debug=True, master_node='127.0.0.1')

    client.initialize()
    client.wait_for_initialize()

    while True:
        task_data = client.wait_for_task()
        print("[*] Task name: " + str(task_data["name"]))
        client.finish_task(generated_data={"completion_status" : "success"})


if __name__ == '__main__':
    for node_num in range(multiprocessing.cpu_count()):
        print("[*] Starting another node...")
        node_process = multiprocessing.Process(target=run_node)
        node_process.start()
""",
        name="advanced_client.py",
    )
    seen = 0
    for _ in range(3):
        _, line = master.wait_for_line("^{'completion_status': 'success'}$", after=seen)
        seen = master.lines.index(line) + 1
    assert "ignores `starting_task_port`" in master.output("stderr")


def test_slaves_on_machines_that_have_joined(lan):
    network = lan.network()
    hosts = [lan.host(name, network) for name in ("desk", "rack")]
    master = start_master(
        hosts[0],
        """
while True:
    sent = master.send_task({"number": 4})
    master.wait_for_connection()
    print("gave", master.wait_for_task_completion(sent, 5))
    time.sleep(0.1)
""",
    )
    master.wait_for_line("^ready$")
    ticket = hosts[0].hurricane("invite").stdout.split()
    [ticket] = [word for word in ticket if word.startswith("h1")]
    refused = hosts[1].start_python(
        "import hurricane, sys; hurricane.SlaveNode(master_node=sys.argv[1]).initialize()",
        hosts[0].address,
        name="refused.py",
    )
    assert refused.wait() == 1
    assert "hurricane join" in refused.output("stderr")
    node = hosts[1].start_hurricane("join", ticket)
    node.wait_for_line("[Jj]oined")
    node.stop()
    slave = start_slave(hosts[1])
    slave.wait_for_line("^doing 4$")
    master.wait_for_line("^gave <Task")


def test_a_master_whose_cluster_is_taken_down_is_stopped(host):
    master = start_master(
        host,
        """
print(master.wait_for_any_task_completion())
assert not master.has_connection()
master.initialize()
master.wait_for_connection()
print("again")
""",
    )
    slave = start_slave(host)
    host.hurricane("down")
    master.wait_for_line("^None$")
    master.wait_for_line("^again$")
    assert master.wait() == 0
    slave.wait_for_line("The master is gone")
