"""`Future`: waiting, cancelling, callbacks, awaiting."""

import asyncio
import concurrent.futures
import gc
import os
import threading
import weakref

import pytest

import hurricane
from conditions import DEADLINE_SECONDS, until


class Marked(Exception):
    """An exception of the tests."""


class Counted:
    """Counts in this process how often it was unpickled."""

    times = 0

    def __setstate__(self, state):
        type(self).times += 1

    def __getstate__(self):
        return {"some": "state"}


def wait_for(path):
    until(path.exists)


def raise_marked(text):
    raise Marked(text)


def test_a_future_tells_its_state(client, tmp_path):
    future = client.submit(wait_for, tmp_path / "go")
    until(future.running)
    assert not future.done()
    assert "running" in repr(future)
    (tmp_path / "go").touch()
    assert future.result() is None
    assert future.done()
    assert not future.running()
    assert not future.cancelled()
    assert "finished returned NoneType" in repr(future)


def test_a_result_that_does_not_come_in_time(client, tmp_path):
    future = client.submit(wait_for, tmp_path / "go")
    for ask in (future.result, future.exception):
        with pytest.raises(TimeoutError):
            ask(timeout=0.01)
    (tmp_path / "go").touch()
    assert future.exception() is None


def test_a_result_is_unpickled_once_and_only_if_asked_for(client):
    before = Counted.times
    future = client.submit(Counted)
    concurrent.futures.wait([future])
    assert Counted.times == before
    assert future.result() is future.result()
    assert Counted.times == before + 1


def test_an_exception_is_the_same_each_time(client):
    future = client.submit(raise_marked, "why")
    error = future.exception()
    assert isinstance(error, Marked)
    assert error.args == ("why",)
    with pytest.raises(Marked) as caught:
        future.result()
    assert caught.value is error
    assert "finished raised Marked" in repr(future)


def test_cancelling_a_running_task_kills_it(narrow_client, tmp_path):
    def tell_and_wait(path):
        path.write_text(str(os.getpid()))
        threading.Event().wait()

    told = tmp_path / "pid"
    future = narrow_client.submit(tell_and_wait, told)
    until(lambda: told.exists() and told.read_text())
    assert future.cancel()
    assert future.cancelled()
    assert future.cancel()
    with pytest.raises(concurrent.futures.CancelledError):
        future.result()
    with pytest.raises(concurrent.futures.CancelledError):
        future.exception()
    # The slot is free again, and the process gone.
    assert narrow_client.submit(abs, -1).result() == 1
    until(lambda: not os.path.exists(f"/proc/{told.read_text()}"))


def test_what_has_ended_cannot_be_cancelled(client):
    future = client.submit(abs, -1)
    assert future.result() == 1
    assert not future.cancel()
    assert not future.cancelled()


def test_cancelling_wakes_those_who_wait(client, tmp_path):
    future = client.submit(wait_for, tmp_path / "never")
    ended = []

    def wait():
        with pytest.raises(concurrent.futures.CancelledError):
            future.result()
        ended.append(True)

    thread = threading.Thread(target=wait)
    thread.start()
    future.cancel()
    thread.join()
    assert ended
    assert concurrent.futures.wait([future]).done == {future}


def test_callbacks_run_once_with_the_future(client, tmp_path, caplog):
    future = client.submit(wait_for, tmp_path / "go")
    calls = []
    future.add_done_callback(lambda _: 1 / 0)
    future.add_done_callback(calls.append)
    (tmp_path / "go").touch()
    until(lambda: calls)
    future.add_done_callback(calls.append)
    assert calls == [future, future]
    assert "ZeroDivisionError" in caplog.text


def test_futures_can_be_awaited(client, tmp_path):
    async def gather():
        first = await client.submit(abs, -1)
        rest = await asyncio.gather(*(client.submit(abs, -number) for number in (2, 3)))
        with pytest.raises(Marked):
            await client.submit(raise_marked, "awaited")
        return [first, *rest]

    assert asyncio.run(gather()) == [1, 2, 3]


def test_cancelling_the_awaiting_cancels_the_task(client, tmp_path):
    future = client.submit(wait_for, tmp_path / "never")

    async def give_up():
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(asyncio.wrap_future(future), 0.01)

    asyncio.run(give_up())
    until(future.cancelled)


def test_many_threads_wait_for_one_future(client, tmp_path):
    future = client.submit(wait_for, tmp_path / "go")
    results = []
    threads = [threading.Thread(target=lambda: results.append(future.result())) for _ in range(10)]
    for thread in threads:
        thread.start()
    (tmp_path / "go").touch()
    for thread in threads:
        thread.join()
    assert results == [None] * 10


def test_nothing_holds_what_is_over(client):
    class Value:
        pass

    value = Value()
    gone = weakref.ref(value)
    future = client.submit(id, 1)
    future.add_done_callback(lambda _, value=value: None)
    future.result()
    del value, future
    gc.collect()
    until(lambda: gone() is None)


def test_every_callback_is_called_however_watching_meets_the_end(client):
    """An ending finds who watches, or who watches finds the ending."""
    called = []
    futures = []
    for count in range(2_000):
        future = client.submit(abs, -count)
        future.add_done_callback(called.append)
        futures.append(future)
    until(lambda: len(called) == 2_000)
    assert len({id(future) for future in called}) == 2_000
    assert sorted(future.result() for future in called) == list(range(2_000))


def test_every_waiter_sees_the_end_however_it_comes(client):
    for count in range(300):
        future = client.submit(abs, -count)
        others = [client.submit(abs, -count) for _ in range(2)]
        assert len(concurrent.futures.wait([future, *others]).done) == 3
        assert next(concurrent.futures.as_completed([future])) is future
        assert future.result() == count


def test_what_waits_sees_that_another_thread_cancels(client, tmp_path):
    future = client.submit(wait_for, tmp_path / "never")
    futures = [client.submit(wait_for, tmp_path / "never") for _ in range(2)]
    errors = []

    def wait(waited_for):
        with pytest.raises(concurrent.futures.CancelledError):
            waited_for.result()
        errors.append(waited_for)

    futures.append(future)
    threads = [threading.Thread(target=wait, args=(waited_for,)) for waited_for in futures]
    for thread in threads:
        thread.start()
    until(future.running)
    for waited_for in futures:
        assert waited_for.cancel()
    for thread in threads:
        thread.join()
    assert set(errors) == set(futures)


def test_a_task_whose_future_was_dropped_still_runs(client, tmp_path):
    client.submit((tmp_path / "went").touch)
    gc.collect()
    until((tmp_path / "went").exists)


def test_a_stored_result_goes_with_its_future(client):
    def held():
        return [one["held"] for one in client.status()["clients"]]

    future = client.submit(bytes, 1 << 20)
    assert len(future.result()) == 1 << 20
    assert sum(held()) == 1
    # The one ends before its future is dropped, the other after.
    client.submit(bytes, 1 << 20)
    del future
    until(lambda: client.status()["tasks"]["done"] == 2 and sum(held()) == 0)


def test_a_result_that_holds_its_future_is_collected(client):
    future = client.submit(list)
    future.result().append(future)
    gone = weakref.ref(future)
    del future
    gc.collect()
    assert gone() is None


def test_a_callback_may_wait_for_other_tasks(client):
    results = []
    done = threading.Event()

    def go_on(future):
        others = [client.submit(abs, -number) for number in range(future.result())]
        results.append(client.submit(sum, others).result())
        results.append(len(hurricane.wait(others).done))
        results.append(sorted(other.result() for other in hurricane.as_completed(others)))
        results.append(list(client.map(abs, [-7, 8])))
        with pytest.raises(TimeoutError):
            client.submit(_wait).result(0.01)
        done.set()

    client.submit(abs, -4).add_done_callback(go_on)
    assert done.wait(DEADLINE_SECONDS)
    assert results == [6, 4, [0, 1, 2, 3], [7, 8]]
    client._handle.kill()


def test_a_callback_that_raises_ends_nothing_else(client, caplog):
    def end(_):
        raise SystemExit

    client.submit(abs, -1).add_done_callback(end)
    assert client.submit(abs, -2).result() == 2
    until(lambda: "Exception in a callback" in caplog.text)
    assert client.submit(abs, -3).result() == 3


def _wait():
    threading.Event().wait()


def test_the_collector_looks_at_futures_that_may_be_in_a_cycle(client):
    client.submit(sorted, ()).result()
    plain, by_attribute, by_result, by_callback = (client.submit(sorted, ()) for _ in range(4))
    assert not gc.is_tracked(plain)
    by_attribute.itself = by_attribute
    by_result.result().append(by_result)
    by_callback.add_done_callback(lambda _, itself=by_callback: itself)
    futures = [weakref.ref(future) for future in (plain, by_attribute, by_result, by_callback)]
    for future in (plain, by_attribute, by_result, by_callback):
        future.result()
    del future, plain, by_attribute, by_result, by_callback
    gc.collect()
    until(lambda: [future() for future in futures] == [None] * 4)
