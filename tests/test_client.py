"""`Client` as an executor: submit, put, status, shutdown, dependencies."""

import concurrent.futures
import os
import threading
import time

import pytest

import hurricane
from conditions import until


def add(*numbers):
    return sum(numbers)


def write(path, text="x"):
    path.write_text(text)


def wait_for(path):
    until(path.exists)


def test_a_client_is_an_executor(client):
    assert isinstance(client, concurrent.futures.Executor)
    future = client.submit(pow, 2, exp=10)
    assert isinstance(future, concurrent.futures.Future)
    assert future.result() == 1024


def test_every_kind_of_function_runs(client):
    offset = 5

    class Adder:
        def __init__(self, amount):
            self.amount = amount

        def __call__(self, number):
            return number + self.amount

        def add(self, number):
            return number + self.amount

    assert client.submit(lambda number: number + offset, 1).result() == 6
    assert client.submit(Adder(2), 1).result() == 3
    assert client.submit(Adder(3).add, 1).result() == 4
    assert client.submit("-".join, ["a", "b"]).result() == "a-b"


def test_keywords_of_the_function_are_its_own(client):
    def describe(*, timeout, cpus, name, fn, self):
        return timeout, cpus, name, fn, self

    given = {"timeout": 1, "cpus": 2, "name": 3, "fn": 4, "self": 5}
    assert client.submit(describe, **given).result() == (1, 2, 3, 4, 5)


def test_tasks_run_in_other_processes_at_the_same_time(client, tmp_path):
    first, second = tmp_path / "first", tmp_path / "second"

    def meet(mine, other):
        write(mine)
        wait_for(other)
        return os.getpid()

    pids = {
        future.result()
        for future in [client.submit(meet, first, second), client.submit(meet, second, first)]
    }
    assert len(pids) == 2
    assert os.getpid() not in pids


def test_more_slots_than_cores(tmp_path):
    count = (os.cpu_count() or 1) + 3
    paths = [tmp_path / str(number) for number in range(count)]

    def meet_all(mine):
        write(mine)
        until(lambda: all(path.exists() for path in paths))

    with hurricane.Client(max_workers=count) as client:
        concurrent.futures.wait([client.submit(meet_all, path) for path in paths])
        assert len(list(tmp_path.iterdir())) == count


def test_futures_are_arguments_at_any_depth(client):
    three = client.submit(add, 1, 2)
    four = client.submit(add, three, 1)
    nested = client.submit(lambda data: data["x"][0] + data["y"], {"x": [three], "y": four})
    assert nested.result() == 7
    # And once their values are here.
    assert client.submit(add, three, four).result() == 7


def test_one_future_twice_is_one_value(client):
    value = client.submit(list, [1])
    assert client.submit(lambda a, b: a is b, value, value).result()


def test_large_results_and_arguments(client):
    large = client.submit(bytes, 1_000_000)
    assert client.submit(len, large).result() == 1_000_000
    assert large.result() == bytes(1_000_000)
    assert client.submit(len, large).result() == 1_000_000
    assert client.submit(len, bytes(2_000_000)).result() == 2_000_000


def test_a_large_result_outlives_the_client():
    with hurricane.Client(max_workers=1) as client:
        future = client.submit(bytes, 1_000_000)
    assert len(future.result()) == 1_000_000


def test_put(client):
    small, large = client.put([1, 2]), client.put(bytes(1_000_000))
    assert client.submit(add, *[client.submit(len, small), client.submit(len, large)]).result()
    assert client.submit(lambda parts: [len(part) for part in parts], (small, large)).result() == [
        2,
        1_000_000,
    ]
    assert "Object" in repr(small)


def test_a_dependency_that_fails_fails_its_dependants_with_a_note(client):
    failed = client.options(name="divide").submit(divmod, 1, 0)
    error = client.submit(abs, failed).exception()
    assert isinstance(error, ZeroDivisionError)
    [note] = error.__notes__
    assert f"divide-{failed.number}" in note
    # The same, once the failure is here.
    error = client.submit(abs, client.submit(abs, failed)).exception()
    assert isinstance(error, ZeroDivisionError)
    assert f"divide-{failed.number}" in error.__notes__[0]


def test_a_dependency_that_is_cancelled_cancels_its_dependants(narrow_client, tmp_path):
    blocker = narrow_client.submit(wait_for, tmp_path / "go")
    first = narrow_client.submit(abs, -1)
    second = narrow_client.submit(abs, first)
    assert first.cancel()
    third = narrow_client.submit(abs, first)
    for future in (second, third):
        with pytest.raises(concurrent.futures.CancelledError):
            future.result()
    write(tmp_path / "go")
    blocker.result()


def test_status_says_what_there_is(client):
    assert client.submit(abs, -1).result() == 1
    status = client.status()
    assert status["tasks"]["done"] == 1
    assert sum(node["resources"]["cpus"] for node in status["nodes"]) == 2
    assert "1 done" in repr(status)


@pytest.mark.parametrize("count", [1, 2, 3, 100, 2_000])
def test_a_stream_that_nobody_waits_for_is_run(narrow_client, count):
    # What is submitted at once gathers before it is looked at, down to the last task.
    futures = [narrow_client.submit(abs, -number) for number in range(count)]
    until(lambda: all(future.done() for future in futures))


def test_submit_after_shutdown(client):
    client.shutdown()
    for use in (
        lambda: client.submit(abs, 1),
        lambda: client.map(abs, [1]),
        lambda: client.put(1),
        lambda: client.options(cpus=1).submit(abs, 1),
    ):
        with pytest.raises(RuntimeError, match="cannot schedule new futures after shutdown"):
            use()


def test_shutdown_cancels_what_does_not_run_yet(narrow_client, tmp_path):
    running = narrow_client.submit(wait_for, tmp_path / "go")
    until(running.running)
    waiting = [narrow_client.submit(abs, number) for number in range(10)]
    narrow_client.shutdown(wait=False, cancel_futures=True)
    write(tmp_path / "go")
    narrow_client.shutdown()
    assert running.result() is None
    assert all(future.cancelled() for future in waiting)


def test_threads_share_a_client(client):
    sums = []

    def use():
        sums.append(sum(client.map(add, range(50), range(50))))

    threads = [threading.Thread(target=use) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sums == [sum(range(50)) * 2] * 8


def test_a_changed_global_is_seen_by_the_next_call(run_program):
    done = run_program("""
import hurricane

factor = 1

def scaled(number):
    return number * factor

with hurricane.Client(max_workers=1) as client:
    print(client.submit(scaled, 7).result())
    factor = 2
    print(client.submit(scaled, 7).result())
""")
    assert done.stdout == "7\n14\n"


def test_callbacks_may_submit(client):
    results = []

    def submit_next(future):
        if future.result() < 5:
            client.submit(add, future, 1).add_done_callback(submit_next)
        else:
            results.append(future.result())

    client.submit(add, 1).add_done_callback(submit_next)
    until(lambda: results)
    assert results == [5]


def test_many_functions_stay_within_bounds(client):
    futures = [client.submit(lambda number=number: number) for number in range(1_200)]
    assert [future.result() for future in futures] == list(range(1_200))


def test_the_default_client():
    assert hurricane.submit(add, 1, 2).result() == 3
    assert list(hurricane.map(add, [1, 2], [3, 4])) == [4, 6]


def test_wait_and_as_completed(client, tmp_path):
    slow = client.submit(wait_for, tmp_path / "go")
    quick = [client.submit(add, number) for number in range(10)]
    done, pending = hurricane.wait([slow, *quick], return_when="FIRST_COMPLETED")
    assert done
    assert slow in pending
    assert {future.result() for future in hurricane.as_completed(quick)} == set(range(10))
    write(tmp_path / "go")
    assert slow in hurricane.wait([slow]).done


def test_starting_a_client_does_not_wait_for_workers():
    began = time.perf_counter()
    client = hurricane.Client(max_workers=8)
    seconds = time.perf_counter() - began
    client.shutdown()
    # Eight interpreters take longer than that on any machine.
    assert seconds < 1


def test_numpy_arrays_arrive_writable(client):
    numpy = pytest.importorskip("numpy")

    def double(array):
        array *= 2
        return array

    for length in (10, 1_000_000):
        doubled = client.submit(double, numpy.ones(length)).result()
        doubled += 1
        assert doubled.sum() == 3 * length
