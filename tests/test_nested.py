"""Tasks within tasks, with one slot: nothing waits for ever."""

import os

import pytest

import hurricane
from nested_tasks import (
    descend,
    fibonacci,
    gather_all,
    gather_from_executor,
    give_up_waiting,
    leave_running,
    square_all,
    take_as_completed,
    wait_for_all,
)


def test_results_of_children(narrow_client):
    assert narrow_client.submit(fibonacci, 5).result() == 5


@pytest.mark.parametrize(
    "work", [gather_all, gather_from_executor, wait_for_all, take_as_completed]
)
def test_every_way_to_wait(narrow_client, work):
    assert narrow_client.submit(work, [-1, -2, -3]).result() == [1, 2, 3]


@pytest.mark.parametrize("how", ["result", "wait", "as_completed", "await"])
def test_who_gives_up_waiting_goes_on(narrow_client, how):
    # The child has the only slot, and ends only because its parent goes on without one.
    assert narrow_client.submit(give_up_waiting, how).result() == (True, 1)


def test_a_client_in_a_task(narrow_client):
    assert narrow_client.submit(square_all, [1, 2, 3]).result() == [1, 4, 9]
    assert narrow_client.submit(square_all, list(range(200))).result()[-1] == 199**2


def test_a_client_in_a_task_starts_nothing(narrow_client):
    def count():
        with hurricane.Client(max_workers=50) as inner, hurricane.Client() as other:
            return inner.submit(os.getppid).result() == other.submit(os.getppid).result()

    assert narrow_client.submit(count).result()


def test_children_fail_as_themselves(narrow_client):
    def fail():
        return hurricane.submit(divmod, 1, 0).result()

    error = narrow_client.submit(fail).exception()
    assert isinstance(error, ZeroDivisionError)


def test_children_end_with_their_parent(narrow_client, tmp_path):
    assert narrow_client.submit(leave_running, tmp_path).result()
    # The slot is free: what was left behind is gone.
    assert narrow_client.submit(abs, -1).result() == 1


def test_children_of_the_same_map(narrow_client):
    assert list(narrow_client.map(fibonacci, range(6))) == [0, 1, 1, 2, 3, 5]


def test_too_deep(narrow_client):
    assert narrow_client.submit(descend, 5).result() == 5
    error = narrow_client.submit(descend, 100).exception()
    assert isinstance(error, hurricane.NestedTooDeep)
    assert isinstance(error, RecursionError)
    assert error.limit == 64


def test_the_status_is_not_a_tasks_business(narrow_client):
    def look():
        with hurricane.Client() as client:
            return client.status()

    with pytest.raises(RuntimeError, match="cannot see"):
        narrow_client.submit(look).result()


def test_a_child_that_a_task_forks_is_a_program_of_its_own(narrow_client):
    def fork():
        reading, writing = os.pipe()
        if os.fork() == 0:
            with hurricane.Client(max_workers=1) as client:
                os.write(writing, b"%d" % client.submit(abs, -7).result())
            os._exit(0)
        os.wait()
        return os.read(reading, 100)

    assert narrow_client.submit(fork).result() == b"7"


def test_parents_do_not_start_all_before_the_first_child(narrow_client):
    """More of them than may wait at a time, short, and with one slot."""
    futures = [narrow_client.submit(square_all, [number]) for number in range(150)]
    assert [future.result() for future in futures] == [[number**2] for number in range(150)]
