"""`map`: order, per-item exceptions, grouping, reading ahead, progress."""

import itertools
import os
import struct
import sys
import threading
import time
from copy import copy
from signal import Signals as Signal

import pytest

import hurricane
from conditions import until
from hurricane._columns import Input
from hurricane._native import pack_numbers


def inverse(number):
    return 1 / number


def divide(number, divisor):
    return number / divisor


def end_the_worker_at(culprit, number):
    if number == culprit:
        os.abort()
    return number


def add(*numbers):
    return sum(numbers)


class Unpicklable:
    """Cannot be pickled where it is asked for."""

    def __init__(self, number):
        self.number = number

    def __reduce__(self):
        if self.number == 70:
            raise ValueError("not this one")
        return Unpicklable, (self.number,)


@pytest.mark.parametrize("count", [0, 1, 5, 64, 65, 1_000, 20_000])
def test_results_come_in_order(client, count):
    numbers = range(count)
    expected = [number * 2 for number in numbers]
    for inputs in (numbers, list(numbers), (number for number in numbers)):
        assert list(client.map(add, inputs, numbers)) == expected


def test_the_shortest_input_ends_it(client):
    assert list(client.map(add, range(3), itertools.count(), [1] * 9)) == [1, 3, 5]
    assert list(client.map(add, b"ab", (1, 2, 3))) == [98, 100]
    assert list(client.map(add)) == []


@pytest.mark.parametrize("count", [10, 1_000])
def test_each_item_has_its_own_exception(client, count):
    numbers = [number % 5 for number in range(count)]
    results = client.map(inverse, numbers)
    for number in numbers:
        if number:
            assert next(results) == 1 / number
        else:
            with pytest.raises(ZeroDivisionError):
                next(results)
    with pytest.raises(StopIteration):
        next(results)


def test_stop_iteration_in_a_call_is_no_end(client):
    def stop_at_three(number):
        if number == 3:
            raise StopIteration
        return number

    results = client.map(stop_at_three, range(6), chunksize=6)
    got = []
    for _ in range(6):
        try:
            got.append(next(results))
        except RuntimeError:
            got.append("stopped")
    assert got == [0, 1, 2, "stopped", 4, 5]


def test_an_item_that_ends_its_worker_does_not_take_its_group_along(client):
    results = client.map(end_the_worker_at, [70] * 100, range(100), chunksize=50)
    got = []
    for _ in range(100):
        try:
            got.append(next(results))
        except hurricane.WorkerLost as error:
            got.append(error)
    assert isinstance(got.pop(70), hurricane.WorkerLost)
    assert got == [number for number in range(100) if number != 70]


def test_a_group_is_tried_again_though_nobody_asks(client, tmp_path):
    def touch(number):
        if number == 7:
            os.abort()
        (tmp_path / str(number)).touch()

    results = client.map(touch, range(10), chunksize=10)
    until(lambda: len(list(tmp_path.iterdir())) == 9)
    results.close()


def test_a_group_is_tried_again_before_the_client_ends(client, tmp_path):
    def touch(number):
        if number == 7:
            os.abort()
        (tmp_path / str(number)).touch()

    client.map(touch, range(10), chunksize=10)
    client.shutdown()
    assert len(list(tmp_path.iterdir())) == 9


def test_an_item_that_cannot_be_pickled_does_not_take_its_group_along(client):
    def number_of(thing):
        return thing.number

    results = client.map(number_of, [Unpicklable(number) for number in range(100)], chunksize=50)
    assert list(itertools.islice(results, 70)) == list(range(70))
    with pytest.raises(hurricane.NotSerializable):
        next(results)
    assert list(results) == list(range(71, 100))


def test_long_calls_use_all_slots(client, tmp_path):
    def meet(number):
        (tmp_path / str(number)).touch()
        until((tmp_path / str(number ^ 1)).exists)

    # Were two of them in one task, it would wait for the other for ever.
    assert list(client.map(meet, range(64))) == [None] * 64


@pytest.mark.parametrize("inputs", [range(200_000), iter(range(200_000))])
def test_groups_grow_though_only_so_much_is_read_ahead(client, inputs):
    assert sum(client.map(abs, inputs)) == sum(range(200_000))
    # Some hundred each in the end. Ten, if each group is as small as that whose place it takes.
    assert client.status()["tasks"]["done"] < 200_000 // 40


def test_short_calls_share_tasks(client):
    count = 20_000
    assert len(list(client.map(abs, range(count)))) == count
    # The second time it is known how short they are.
    before = client.status()["tasks"]["done"]
    assert len(list(client.map(abs, range(count)))) == count
    assert client.status()["tasks"]["done"] - before < count / 20


@pytest.mark.parametrize(
    "values",
    [
        [0, -1, 2**63 - 1, -(2**63)],
        [1, 2**63, 3],
        [1, 2**200],
        [0.0, -0.0, 1e308, float("-inf")],
        [1, True, 2],
        [False, True],
        [1, 2.0, 3],
        [1, None, 3],
        [Signal.SIGINT, Signal.SIGTERM],
        [2, Signal.SIGINT, 2],
        ["a", b"b"],
    ],
)
def test_values_keep_their_types_in_groups(client, values):
    got = list(client.map(copy, values, chunksize=len(values)))
    assert list(map(repr, got)) == list(map(repr, values))
    assert list(map(type, got)) == list(map(type, values))


def test_numbers_are_packed_if_all_are_of_one_type():
    assert pack_numbers([1, -2, 2**63 - 1]) == struct.pack("<c3q", b"q", 1, -2, 2**63 - 1)
    assert pack_numbers([-0.0, 1.5]) == struct.pack("<c2d", b"d", -0.0, 1.5)
    for others in ([], [1, 1.0], [1, True], [2**63], [1, Signal.SIGINT], ["1"]):
        assert pack_numbers(others) is None


def test_what_follows_an_exception_is_called_with_its_own_items(client):
    rows = [(number % 3, number) for number in range(300)]
    results = client.map(divide, [row[1] for row in rows], [row[0] for row in rows], chunksize=150)
    for divisor, number in rows:
        if divisor:
            assert next(results) == number / divisor
        else:
            with pytest.raises(ZeroDivisionError):
                next(results)


def test_chunksize_is_honoured(client):
    assert list(client.map(abs, range(100), chunksize=10)) == list(range(100))
    assert client.status()["tasks"]["done"] == 10
    for wrong in (0, -1):
        with pytest.raises(ValueError, match="chunksize must be >= 1"):
            client.map(abs, [1], chunksize=wrong)


def test_retries_count_by_call(client, tmp_path):
    def fail_the_first_time(number):
        path = tmp_path / str(number)
        if not path.exists():
            path.touch()
            raise ValueError(number)
        return number

    view = client.options(retries=1)
    assert list(view.map(fail_the_first_time, range(10), chunksize=5)) == list(range(10))


def test_sized_inputs_are_submitted_at_once(client, tmp_path):
    client.map(lambda number: (tmp_path / str(number)).touch(), range(200))
    client.shutdown()
    assert len(list(tmp_path.iterdir())) == 200


def test_an_endless_input_is_read_only_so_far(client):
    read = itertools.count()
    results = client.map(abs, read)
    for consumed in range(1, 5_000):
        next(results)
        so_far = int(repr(read)[len("count(") : -1])
        assert so_far - consumed <= 2_000
    results.close()


def test_a_slow_input_yields_as_it_goes(client):
    read = []

    def slow():
        for number in range(500):
            read.append(number)
            time.sleep(0.004)
            yield number

    # A worker is there already: the first result comes before many more are read.
    client.submit(abs, 1).result()
    results = client.map(abs, slow())
    assert next(results) == 0
    assert len(read) < 250
    results.close()


def test_the_exception_of_an_input_comes_in_its_place(client):
    def broken():
        yield from range(5_000)
        raise LookupError("the input")

    results = client.map(abs, broken())
    assert list(itertools.islice(results, 5_000)) == list(range(5_000))
    with pytest.raises(LookupError, match="the input"):
        next(results)


def test_the_exception_of_an_input_comes_though_it_was_met_before():
    columns = Input([(1 // number for number in (1, 0))])
    assert columns.take(1) == ((1,),)
    for _ in range(2):
        with pytest.raises(ZeroDivisionError):
            columns.take(1)


def test_a_timeout_cancels_the_rest(narrow_client, tmp_path):
    def wait_for_go(number):
        if number:
            until((tmp_path / "go").exists)
        return number

    results = narrow_client.map(wait_for_go, range(5), timeout=2)
    assert next(results) == 0
    with pytest.raises(TimeoutError):
        next(results)
    # Would one of them still run, this had to wait for it.
    assert narrow_client.submit(abs, -1).result() == 1


def test_closing_cancels_the_rest(narrow_client, tmp_path):
    def wait_for_go(number):
        if number:
            until((tmp_path / "go").exists)
        return number

    results = narrow_client.map(wait_for_go, range(5))
    assert next(results) == 0
    results.close()
    assert list(results) == []
    assert narrow_client.submit(abs, -1).result() == 1


def test_dropping_cancels_the_rest(narrow_client, tmp_path):
    def wait_for_go(number):
        if number:
            until((tmp_path / "go").exists)
        return number

    for number in narrow_client.map(wait_for_go, range(5)):
        assert number == 0
        break
    assert narrow_client.submit(abs, -1).result() == 1


def test_futures_may_be_items(client):
    futures = [client.submit(abs, -number) for number in range(100)]
    assert list(client.map(add, futures, [1] * 100)) == list(range(1, 101))


def test_progress_shows_items(client, capsys):
    pytest.importorskip("tqdm")
    assert list(client.map(abs, range(100), progress=True)) == list(range(100))
    shown = capsys.readouterr().err
    assert "abs" in shown
    assert "100/100" in shown


def test_progress_without_tqdm_says_what_to_install(client, monkeypatch):
    monkeypatch.setitem(sys.modules, "tqdm.auto", None)
    with pytest.raises(ImportError, match=r"hurricane\[progress\]"):
        client.map(abs, [1], progress=True)


def test_a_group_measures_itself(client):
    def wait_a_little(_):
        began = time.perf_counter()
        while time.perf_counter() - began < 0.001:
            pass

    assert list(client.map(wait_a_little, range(100), chunksize=50)) == [None] * 100
    [measured] = client._handle.delivery.measured.values()
    assert 0.001 <= measured.seconds < 0.1


def test_a_slow_first_call_does_not_keep_the_rest_apart(client):
    def wait_once(number):
        if number == 0:
            # What this call takes; nothing waits for anything here.
            time.sleep(0.5)
        return number

    count = 150_000
    assert sum(client.map(wait_once, range(count))) == sum(range(count))
    assert client.status()["tasks"]["done"] < count // 40


def append_to(numbers):
    numbers.append(0)
    return len(numbers)


def are_one(left, right):
    return left is right


@pytest.mark.parametrize("chunksize", [None, 100])
def test_items_of_a_group_share_nothing(client, chunksize):
    shared = [0]
    lengths = list(client.map(append_to, [shared] * 1_000, chunksize=chunksize))
    assert lengths == [2] * 1_000
    assert shared == [0]


def test_the_arguments_of_one_item_share_what_they_shared(client):
    lists = [[index] for index in range(300)]
    assert all(client.map(are_one, lists, lists, chunksize=100))


def give_awkward(number):
    return AwkwardToRead(number)


class AwkwardToRead:
    """Cannot be unpickled in the program, for some numbers."""

    def __init__(self, number):
        self.number = number

    def __reduce__(self):
        return read_awkward, (self.number,)


def read_awkward(number):
    if number % 100 == 5:
        raise ValueError(f"not {number}")
    return number


@pytest.mark.parametrize("chunksize", [None, 50])
def test_a_result_that_cannot_be_read_is_alone_in_that(client, chunksize):
    results = client.map(give_awkward, range(300), chunksize=chunksize)
    outcomes = []
    while len(outcomes) < 300:
        try:
            outcomes.append(next(results))
        except hurricane.NotSerializable as error:
            outcomes.append(str(error.__cause__))
    expected = [f"not {number}" if number % 100 == 5 else number for number in range(300)]
    assert outcomes == expected


def log_and_give(log, number):
    with open(log, "a") as file:
        file.write(f"{number}\n")
    return (i for i in ()) if number == 5 else [number]


def test_a_result_that_cannot_be_written_is_alone_in_that_and_runs_once(client, tmp_path):
    log = tmp_path / "log"
    results = client.map(log_and_give, [str(log)] * 10, range(10), chunksize=10)
    outcomes = []
    while len(outcomes) < 10:
        try:
            outcomes.append(next(results))
        except hurricane.NotSerializable:
            outcomes.append(None)
    assert outcomes == [None if number == 5 else [number] for number in range(10)]
    assert len(log.read_text().splitlines()) == 10


def write_mark(directory, number):
    (directory / str(number)).touch()
    return number


@pytest.mark.parametrize("is_kept", [True, False])
def test_what_nobody_has_asked_for_is_called_all_the_same(tmp_path, is_kept):
    numbers = (number for number in range(2_000))
    with hurricane.Client(max_workers=1) as client:
        results = client.map(write_mark, itertools.repeat(tmp_path), numbers)
        if not is_kept:
            del results
    assert len(list(tmp_path.iterdir())) == 2_000
    if is_kept:
        assert list(results) == list(range(2_000))


def test_inputs_without_an_end_do_not_make_others_endless(tmp_path):
    with hurricane.Client(max_workers=1) as client:
        results = client.map(add, range(500), itertools.repeat(2), itertools.count())
    assert list(results) == [2 * number + 2 for number in range(500)]
    source = Input([itertools.repeat(1), itertools.count()])
    assert (source.length, source.is_endless) == (None, True)
    source = Input([itertools.repeat(1, 3), itertools.cycle("ab")])
    assert (source.length, source.is_endless) == (None, False)


def test_what_cannot_be_read_at_the_end_is_told_to_who_asks():
    def numbers():
        yield from range(2_000)
        raise ValueError("no more")

    with hurricane.Client(max_workers=1) as client:
        results = client.map(add, numbers())
    assert list(itertools.islice(results, 2_000)) == list(range(2_000))
    with pytest.raises(ValueError, match="no more"):
        next(results)


def wait_for(path):
    until(path.exists)


def test_a_second_thread_is_told_that_results_are_for_one(client, tmp_path):
    results = client.map(wait_for, [tmp_path / "gate"])
    taken = []
    thread = threading.Thread(target=lambda: taken.append(next(results)))
    thread.start()
    until(results._chunks._advancing.locked)
    with pytest.raises(ValueError, match="another thread"):
        next(results)
    (tmp_path / "gate").touch()
    thread.join()
    assert taken == [None]
