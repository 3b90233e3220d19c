"""Large values on one host: they lie in shared memory, and nobody sees what others write."""

import contextlib
import gc
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

import hurricane
from clusters import cluster_program, free_port, own_user
from conditions import DEADLINE_SECONDS, until

np = pytest.importorskip("numpy")

KIB = 1 << 10
MIB = 1 << 20


def echo(value):
    return value


def write(array):
    array[0] = -1
    return array


def is_equal(array, expected):

    return bool((array == expected).all())


def wait_and_measure(path, value):
    until(path.exists)
    return len(value)


def write_to_first(first, second):
    first[:] = -1
    return first, second


def kept(client):
    """How many values the scheduler keeps for a client, beside those that tasks will give."""
    [of_client] = client.status()["clients"]
    unended = ("waiting", "ready", "assigned", "running")
    return of_client["held"] - sum(of_client["tasks"][state] for state in unended)


def process_and_array(length):
    return os.getpid(), np.arange(length)


def descriptors():
    return len(os.listdir("/proc/self/fd"))


def resident(pids):
    """How much shared memory processes have mapped and touched, in bytes."""
    total = 0
    for pid in pids:
        with open(f"/proc/{pid}/smaps_rollup", encoding="ascii") as file:
            lines = dict(line.split(":", 1) for line in file if ":" in line)
        total += int(lines["Pss_Shmem"].split()[0]) * 1024
    return total


def identical(sent, received):
    assert type(received) is type(sent)
    assert received.dtype == sent.dtype
    assert received.shape == sent.shape
    assert (received == sent).all()


@pytest.fixture(params=["local", "cluster"])
def any_client(request):
    """A client on one machine, and one of a cluster in another process."""
    if request.param == "local":
        with hurricane.Client(max_workers=2) as client:
            yield client
        return
    port = free_port()
    with own_user(), cluster_program(port), hurricane.Client(port=port) as client:
        yield client


@pytest.mark.parametrize(
    "array",
    [
        np.arange(MIB),
        np.arange(MIB)[7:-5],
        np.arange(MIB).reshape(1024, -1)[::2, ::3],
        np.asfortranarray(np.arange(MIB).reshape(1024, -1)),
        np.zeros((0, 5)),
        np.arange(100_000, dtype="u1"),
        np.arange(65_536, dtype="u1"),
        np.array(["a", "b"] * 50_000, dtype=object),
    ],
    ids=["plain", "slice", "strided", "fortran", "empty", "small", "least", "objects"],
)
def test_arrays_come_back_equal_and_writable(client, array):
    kept = array.copy()
    back = client.submit(echo, array).result()
    identical(array, back)
    assert back.flags.f_contiguous == array.flags.f_contiguous or not array.flags.forc
    if back.size:
        back[...] = back[::-1].copy()
    identical(kept, array)
    identical(array, client.submit(echo, array).result())


@pytest.mark.parametrize("kind", [bytes, bytearray])
@pytest.mark.parametrize("length", [0, 65_535, 65_536, 65_537, 3 * MIB + 1])
def test_bytes_come_back_equal(client, kind, length):
    value = kind(os.urandom(length))
    back = client.submit(echo, value).result()
    assert type(back) is kind
    assert back == value
    assert client.submit(len, value).result() == length
    nested = client.submit(echo, {"key": [value, value]}).result()
    assert nested == {"key": [value, value]}


def test_structures_of_arrays_come_back(client):
    frame = {name: np.arange(50_000) * index for index, name in enumerate("abcdef")}
    frame["same"] = frame["a"]
    back = client.submit(echo, (frame, "text", b"x" * MIB)).result()
    assert list(back[0]) == list(frame)
    for name, column in frame.items():
        identical(column, back[0][name])
    assert back[0]["same"] is back[0]["a"]
    assert back[1:] == ("text", b"x" * MIB)


def test_read_only_arrays_stay_so(client):
    array = np.arange(MIB)
    array.flags.writeable = False
    assert not client.submit(echo, array).result().flags.writeable


def test_what_a_task_writes_comes_back_and_nobody_else_sees_it(client):
    array = np.arange(MIB)
    shared = client.put(array)
    writers = [client.submit(write, argument) for argument in (array, shared) * 3]
    readers = [client.submit(is_equal, shared, array) for _ in range(4)]
    changed = array.copy()
    changed[0] = -1
    for writer in writers:
        identical(changed, writer.result())
    assert all(reader.result() for reader in readers)
    assert array[0] == 0


def test_equal_arguments_are_kept_once_and_let_go(any_client, tmp_path):
    value = os.urandom(8 * MIB)
    go = tmp_path / "go"
    equal = [bytearray(value) for _ in range(5)]
    waiting = [any_client.submit(wait_and_measure, go, each) for each in equal]
    until(lambda: kept(any_client) == 1)
    # One byte apart, be it where nobody looks first.
    for place in (0, 4 * MIB + 1, 8 * MIB - 1):
        equal[0][place] ^= 1
        waiting.append(any_client.submit(wait_and_measure, go, equal[0]))
    until(lambda: kept(any_client) == 4)
    go.touch()
    assert [future.result() for future in waiting] == [8 * MIB] * 8
    until(lambda: kept(any_client) == 0)
    # Those that are still wanted were not let go with the others.
    assert any_client.submit(echo, value).result() == value
    assert any_client.submit(echo, bytes(equal[0])).result() == equal[0]


def test_equal_arguments_of_one_call_are_not_one(any_client):
    array = np.arange(MIB)
    for _ in range(2):
        first, second = any_client.submit(write_to_first, array, array.copy()).result()
        assert (first == -1).all()
        identical(array, second)


def test_an_argument_of_cancelled_tasks_is_let_go(any_client, tmp_path):
    value = os.urandom(MIB)
    go = tmp_path / "go"
    waiting = [any_client.submit(wait_and_measure, go, value) for _ in range(9)]
    until(lambda: kept(any_client) == 1)
    for future in waiting:
        future.cancel()
    go.touch()
    until(lambda: kept(any_client) == 0)


def test_results_of_tasks_are_arguments_of_others(client):
    first = client.submit(np.arange, MIB)
    second = client.submit(echo, first)
    third = client.submit(write, second)
    assert third.result()[0] == -1
    identical(np.arange(MIB), second.result())
    # What came back is sent again, as it is and changed.
    again = second.result()
    identical(again, client.submit(echo, again).result())
    again[5] = 7
    assert client.submit(echo, again).result()[5] == 7


def test_a_value_outlives_the_worker_that_made_it(client):
    pid, array = client.submit(process_and_array, MIB).result()
    other = client.submit(process_and_array, MIB)
    other_pid = other.result()[0]
    for victim in {pid, other_pid}:
        os.kill(victim, signal.SIGKILL)
    identical(np.arange(MIB), array)
    identical(np.arange(MIB), client.submit(echo, other).result()[1])


def test_results_can_be_read_after_the_end():
    with hurricane.Client(max_workers=1) as client:
        future = client.submit(np.arange, MIB)
    identical(np.arange(MIB), future.result())
    future.result()[0] = 9
    assert future.result()[0] == 9


def test_many_values_take_few_descriptors(client):
    before = descriptors()
    objects = [client.put(np.full(100_000, index % 256, dtype="u1")) for index in range(2_000)]
    futures = [client.submit(echo, one) for one in objects[::20]]
    assert [int(future.result()[-1]) for future in futures] == [
        index % 256 for index in range(0, 2_000, 20)
    ]
    assert descriptors() - before < 50


def test_memory_goes_back():
    with hurricane.Client(max_workers=2) as client:
        pids = [os.getpid(), *client._handle.delivery.cluster.worker_pids()]
        for _ in range(40):
            array = np.random.default_rng(0).integers(0, 9, 8 * MIB)
            assert client.submit(len, client.submit(echo, array)).result() == len(array)
            made = client.submit(np.ones, 8 * MIB).result()
            assert made[-1] == 1
            del made, array
        gc.collect()
        # 40 rounds of 128 MiB; what is kept warm is bounded.
        until(lambda: resident(pids) < 3 << 30)


def test_no_descriptor_stays_open():
    with hurricane.Client(max_workers=1) as client:
        client.submit(echo, np.arange(MIB)).result()
    before = descriptors()
    for _ in range(3):
        with hurricane.Client(max_workers=2) as client:
            back = client.submit(echo, np.arange(MIB)).result()
            assert back[-1] == MIB - 1
        del back, client
        gc.collect()
    assert descriptors() <= before


def test_a_forked_child_goes_on_seeing_what_its_parent_lets_go():
    program = """
import os, sys
import numpy as np
import hurricane

def made(seed):
    return np.full(1 << 20, seed)

with hurricane.Client(max_workers=1) as client:
    array = client.submit(made, 1).result()
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        os.read(read, 1)
        os._exit(0 if (array == 1).all() else 1)
    del array
    for seed in range(2, 6):
        assert (client.submit(made, seed).result() == seed).all()
    os.write(write, b".")
    _, status = os.waitpid(child, 0)
    sys.exit(os.waitstatus_to_exitcode(status))
"""
    ended = subprocess.run([sys.executable, "-c", program], timeout=DEADLINE_SECONDS, check=False)
    assert ended.returncode == 0


def test_a_forked_child_that_returns_leaves_its_parents_result_as_it_is(narrow_client, tmp_path):
    may_return = tmp_path / "may_return"

    def fork():
        child = os.fork()
        if child == 0:
            until(may_return.exists)
            return [np.full(2 * MIB, 7, np.uint8)]
        return [np.full(2 * MIB, 1, np.uint8), child]

    def has_ended(process):
        try:
            status = Path(f"/proc/{process}/stat").read_text()
        except FileNotFoundError:
            return True
        return status.rpartition(") ")[2].startswith("Z")

    # The pages of this one are free when the next one forks: both processes would take them.
    assert len(narrow_client.submit(np.zeros, MIB, np.uint8).result()) == MIB
    array, child = narrow_client.submit(fork).result()
    may_return.touch()
    until(lambda: has_ended(child))
    assert (array == 1).all()


def mappings():
    return len(Path("/proc/self/maps").read_text().splitlines())


def test_a_value_of_many_pieces_of_its_argument_takes_few_mappings(narrow_client):
    def slices(array):
        return [array[start : start + 64 * KIB] for start in range(2000)]

    array = np.arange(64 * KIB + 2000) % 251
    before = mappings()
    pieces = narrow_client.submit(slices, array.astype(np.uint8)).result()
    assert mappings() < before + 1000
    for start, piece in enumerate(pieces):
        assert piece[0] == start % 251
        assert piece[-1] == (start + 64 * KIB - 1) % 251


def shared_bytes():
    """Of all memory that this program shares with its workers."""
    total = 0
    for descriptor in Path("/proc/self/fd").iterdir():
        with contextlib.suppress(FileNotFoundError):
            if str(descriptor.readlink()).startswith("/memfd:"):
                total += descriptor.stat().st_blocks * 512
    return total


def test_a_dead_worker_keeps_no_memory_but_what_is_seen_of_it(narrow_client):
    small = narrow_client.submit(np.full, 20_000, 7).result()
    large = narrow_client.submit(np.ones, 4 * MIB).result()
    worker = narrow_client.submit(os.getpid).result()
    assert shared_bytes() > large.nbytes
    del large
    os.kill(worker, signal.SIGKILL)
    until(lambda: shared_bytes() < 2 * MIB)
    assert (small == 7).all()
    assert narrow_client.submit(np.sum, small).result() == 7 * 20_000


def run_with(program, **environment):
    return subprocess.run(
        [sys.executable, "-c", program],
        env={**os.environ, **environment},
        timeout=DEADLINE_SECONDS,
        check=False,
        capture_output=True,
        text=True,
    )


def test_what_memory_has_no_room_for_goes_to_a_disk(tmp_path):
    program = """
import numpy as np
import hurricane

with hurricane.Client(max_workers=2) as client:
    objects = [client.put(np.full(1 << 17, seed)) for seed in range(20)]
    results = [client.submit(np.add, one, 1) for one in objects]
    for seed, result in enumerate(results):
        assert (result.result() == seed + 1).all()
    again = [client.submit(np.multiply, one, 2) for one in objects]
    for seed, result in enumerate(again):
        assert (result.result() == seed * 2).all()
"""
    ended = run_with(program, HURRICANE_STORE_BYTES="3000000", TMPDIR=str(tmp_path))
    assert ended.returncode == 0, ended.stderr
    assert list(tmp_path.iterdir()) == []


def test_where_no_disk_has_room_either_it_is_said_and_nothing_is_lost():
    program = """
import numpy as np
import hurricane

with hurricane.Client(max_workers=1) as client:
    first = client.put(np.arange(1 << 18))
    try:
        while True:
            held = client.put(np.arange(1 << 18)), held if "held" in globals() else None
    except hurricane.StoreFull as error:
        assert "HURRICANE_STORE_BYTES" in str(error)
    large = client.submit(np.arange, 1 << 18)
    assert isinstance(large.exception(), hurricane.StoreFull), large.exception()
    assert client.submit(np.sum, first).result() == sum(range(1 << 18))
    del held
"""
    ended = run_with(program, HURRICANE_STORE_BYTES="5000000", TMPDIR="/proc")
    assert ended.returncode == 0, ended.stderr
