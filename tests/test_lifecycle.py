"""Beginnings and ends: `with`, Ctrl-C, exit, fork, dropped clients. No process is left behind."""

import functools
import gc
import os
import signal
import subprocess
import sys
import threading
import weakref
from pathlib import Path

import pytest

import hurricane
from conditions import DEADLINE_SECONDS, until


def workers_of(client):
    return client._handle.delivery.cluster.worker_pids()


def state_of(pid):
    """One letter, as `ps` shows it."""
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]


def is_gone(pid):
    try:
        return state_of(pid) in "ZX"
    except (FileNotFoundError, ProcessLookupError):
        return True


def wait_for(path):
    until(path.exists)


@pytest.fixture
def start_program(tmp_path):
    """Start a program that writes the pids of its workers, and return when it has."""
    started = []

    def start(text):
        path = tmp_path / "program.py"
        path.write_text(text)
        program = subprocess.Popen(
            [sys.executable, "-u", str(path)],
            cwd=tmp_path,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        started.append(program)
        told = tmp_path / "pids"
        until(lambda: program.poll() is not None or (told.exists() and told.read_text()))
        assert program.poll() is None, program.communicate()[1]
        return program, [int(pid) for pid in told.read_text().split()]

    yield start
    for program in started:
        program.kill()
        program.communicate()


def test_leaving_the_block_waits_and_ends_all(tmp_path):
    with hurricane.Client(max_workers=2) as client:
        futures = [client.submit(os.getpid) for _ in range(10)]
        pids = {*workers_of(client), *(future.result() for future in futures)}
        slow = client.submit(wait_for, tmp_path / "go")
        until(slow.running)
        (tmp_path / "go").touch()
    assert slow.done()
    assert slow.result() is None
    assert pids
    assert all(is_gone(pid) for pid in pids)


@pytest.mark.parametrize("kind", [KeyboardInterrupt, SystemExit])
def test_an_interrupt_ends_all_at_once(kind):
    pids = []
    futures = []
    with pytest.raises(kind), hurricane.Client(max_workers=1) as client:
        pids.append(client.submit(os.getpid).result())
        futures.append(client.submit(_wait))
        futures += [client.submit(abs, 1) for _ in range(10)]
        raise kind
    assert all(future.cancelled() for future in futures)
    assert all(is_gone(pid) for pid in pids)


def _wait():
    threading.Event().wait()


def test_another_exception_waits_for_what_runs():
    with pytest.raises(LookupError), hurricane.Client(max_workers=1) as client:
        future = client.submit(abs, -1)
        raise LookupError
    assert future.result() == 1


def test_shutdown_may_be_called_again(client):
    client.shutdown()
    client.shutdown(wait=False)
    client.shutdown(cancel_futures=True)


def test_shutdown_without_waiting(tmp_path):
    client = hurricane.Client(max_workers=1)
    future = client.submit(wait_for, tmp_path / "go")
    # A task may have its room before the process is there in which it runs.
    until(future.running)
    until(functools.partial(workers_of, client))
    [pid] = workers_of(client)
    client.shutdown(wait=False)
    assert not future.done()
    (tmp_path / "go").touch()
    assert future.result() is None
    until(lambda: is_gone(pid))


def test_a_dropped_client_finishes_its_work(tmp_path):
    client = hurricane.Client(max_workers=1)
    future = client.submit(wait_for, tmp_path / "go")
    later = client.submit(abs, -1)
    # A task may have its room before the process is there in which it runs.
    until(future.running)
    until(functools.partial(workers_of, client))
    [pid] = workers_of(client)
    del client
    gc.collect()
    (tmp_path / "go").touch()
    assert future.result() is None
    assert later.result() == 1
    until(lambda: is_gone(pid))


def test_a_view_keeps_the_client():
    view = hurricane.Client(max_workers=1).options(name="kept")
    gc.collect()
    assert view.submit(abs, -1).result() == 1
    view.shutdown()


def test_shutdown_in_a_callback(narrow_client):
    called = threading.Event()

    def end(_):
        narrow_client.shutdown()
        called.set()

    narrow_client.submit(abs, -1).add_done_callback(end)
    assert called.wait(DEADLINE_SECONDS)


def test_handles_that_are_dropped_release_their_values(client):
    def held():
        return sum(each["held"] for each in client.status()["clients"])

    future, handle = client.submit(bytes, 1_000_000), client.put(bytes(1_000_000))
    assert len(future.result()) == 1_000_000
    until(lambda: held() == 2)
    del future, handle
    until(lambda: held() == 0)


def test_the_program_ends_after_its_tasks(run_program):
    done = run_program("""
import hurricane, pathlib, time
def write():
    time.sleep(0.2)
    pathlib.Path("written").write_text("yes")
client = hurricane.Client(max_workers=1)
client.submit(write)
hurricane.submit(write)
""")
    assert done.stderr == ""


def test_nothing_can_be_submitted_at_the_very_end(run_program):
    done = run_program("""
import atexit, hurricane
client = hurricane.Client(max_workers=1)
@atexit.register
def too_late():
    for submit in (client.submit, hurricane.submit):
        try:
            submit(abs, 1)
        except RuntimeError as error:
            print(error)
client.submit(abs, 1).result()
""")
    assert done.stdout == "cannot schedule new futures after interpreter shutdown\n" * 2


PROGRAM_THAT_WAITS = """
import os, pathlib, time
import hurricane

def wait():
    time.sleep(600)

client = hurricane.Client(max_workers=2)
pids = {{*client._handle.delivery.cluster.worker_pids(), client.submit(os.getpid).result()}}
futures = [client.submit(wait) for _ in range(5)]
while not futures[0].running():
    pass
pathlib.Path("pids.new").write_text(" ".join(map(str, pids)))
os.rename("pids.new", "pids")
{wait}
"""


@pytest.mark.parametrize(
    "wait",
    [
        "futures[0].result()",
        "time.sleep(600)",
        "client.shutdown()",
        "with client: pass",
        "with client: time.sleep(600)",
        "list(client.map(time.sleep, [600]))",
        "",
    ],
)
def test_ctrl_c_ends_everything_the_first_time(start_program, wait):
    program, pids = start_program(PROGRAM_THAT_WAITS.format(wait=wait))
    program.send_signal(signal.SIGINT)
    program.communicate(timeout=DEADLINE_SECONDS)
    assert program.returncode != 0 or not wait
    assert pids
    until(lambda: all(is_gone(pid) for pid in pids))


def test_a_long_wait_says_what_it_waits_for(start_program):
    program, pids = start_program(PROGRAM_THAT_WAITS.format(wait="client.shutdown()"))
    assert program.stderr is not None
    line = program.stderr.readline()
    assert line == "hurricane: waiting for 5 tasks to finish (Ctrl-C ends them)\n"
    program.send_signal(signal.SIGINT)
    program.communicate(timeout=DEADLINE_SECONDS)
    until(lambda: all(is_gone(pid) for pid in pids))


def test_a_forked_child_makes_a_client_of_its_own(run_program):
    done = run_program("""
import os, sys, warnings
warnings.simplefilter("ignore")
import hurricane

client = hurricane.Client(max_workers=1)
assert client.submit(abs, -1).result() == 1
assert hurricane.submit(abs, -1).result() == 1
pending = client.submit(__import__("time").sleep, 1)
child = os.fork()
if child == 0:
    for use in (lambda: client.submit(abs, 1), lambda: pending.result()):
        try:
            use()
        except RuntimeError as error:
            assert "forked" in str(error), error
        else:
            os._exit(1)
    assert hurricane.submit(abs, -2).result() == 2
    with hurricane.Client(max_workers=1) as own:
        assert own.submit(abs, -3).result() == 3
    sys.exit(0)
_, status = os.waitpid(child, 0)
assert status == 0, status
assert client.submit(abs, -4).result() == 4
client.shutdown()
print("well")
""")
    assert done.stdout == "well\n"


def test_every_future_ends_however_submitting_meets_the_end(monkeypatch):
    client = hurricane.Client(max_workers=1)
    assert client.submit(abs, -1).result() == 1
    delivery = client._handle.delivery
    taken_over = client.submit(_wait)
    number_of = delivery._definitions.number_of

    def last_moment(*task):
        delivery.kill()
        return number_of(*task)

    monkeypatch.setattr(delivery._definitions, "number_of", last_moment)
    with pytest.raises(RuntimeError):
        # It is not among the arguments that are encoded natively.
        client.submit(_wait, [])
    assert taken_over.cancelled()


def test_what_was_cancelled_by_the_end_is_no_leak():
    with hurricane.Client(max_workers=1) as client:
        future = weakref.ref(client.submit(_wait))
        client._handle.kill()
    del client
    until(lambda: gc.collect() >= 0 and future() is None)


def test_clients_one_after_the_other_leave_nothing_open():
    def open_now():
        return len(os.listdir("/proc/self/fd")), threading.active_count()

    def use(client):
        return [client.submit(abs, -1), client.submit(_wait)]

    before = open_now()
    for _ in range(5):
        with pytest.raises(SystemExit), hurricane.Client(max_workers=1) as client:
            use(client)[0].result()
            raise SystemExit
        dropped = hurricane.Client(max_workers=1)
        dropped.submit(abs, -1)
        del client, dropped
    until(lambda: open_now() == before)


def test_shutdown_from_several_threads(client):
    futures = [client.submit(abs, -number) for number in range(100)]
    threads = [threading.Thread(target=client.shutdown) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(DEADLINE_SECONDS)
    assert [future.result(0) for future in futures] == list(range(100))


@pytest.mark.parametrize("prepare", ["os.kill(os.getpid(), signal.SIGSTOP)", "block_forks()"])
def test_a_killed_program_takes_hindered_workers_along(start_program, prepare):
    """A worker that stands still, or in which a library holds up every fork."""
    program, pids = start_program(f"""
import ctypes, os, pathlib, signal, time
import hurricane

def block_forks():
    library = ctypes.CDLL(None)
    library.__register_atfork(library.pause, None, None, None)
    time.sleep(600)

def task():
    os.rename("pids.new", "pids")
    {prepare}

client = hurricane.Client(max_workers=1)
pathlib.Path("pids.new").write_text(str(client.submit(os.getpid).result()))
client.submit(task).result()
""")
    if "SIGSTOP" in prepare:
        until(
            lambda: Path(f"/proc/{pids[0]}/stat").read_text().rpartition(")")[2].split()[0] == "T"
        )
    program.kill()
    program.wait(DEADLINE_SECONDS)
    until(lambda: all(is_gone(pid) for pid in pids))
