"""Short tasks stand in queues in the workers: each is accounted for, whatever befalls others."""

import os
import pickle
import signal
import sys
import time
from concurrent.futures import as_completed
from pathlib import Path

import pytest

import hurricane
from conditions import DEADLINE_SECONDS, until
from test_output import redirect

# So many that queues are as long as they get.
MANY = 2000


def short(number: int) -> int:
    return number


def warm_up(client: hurricane.Client) -> None:
    """Let the node learn how short tasks are."""
    for future in [client.submit(short, number) for number in range(20)]:
        future.result()


@pytest.mark.parametrize("way", ["exit", "kill"])
def test_one_of_many_kills_its_worker_and_costs_no_other(
    client: hurricane.Client, way: str
) -> None:
    def work(number: int) -> int:
        if number == MANY // 2 and way == "exit":
            os._exit(7)
        if number == MANY // 2:
            os.kill(os.getpid(), signal.SIGKILL)
        return number

    futures = [client.submit(work, number) for number in range(MANY)]
    killer = futures.pop(MANY // 2)
    expected = [number for number in range(MANY) if number != MANY // 2]
    assert [future.result() for future in futures] == expected
    error = killer.exception()
    assert isinstance(error, hurricane.WorkerLost)
    assert len(error.attempts) == 3
    evidence = (7, None) if way == "exit" else (None, signal.SIGKILL)
    assert (error.exit_code, error.signal) == evidence


def test_tasks_queued_behind_a_long_one_are_cancelled(
    narrow_client: hurricane.Client, tmp_path: Path
) -> None:
    def usually_short(number: int) -> int:
        if number == 0:
            (tmp_path / "begun").touch()
            until((tmp_path / "go").exists)
        else:
            (tmp_path / str(number)).touch()
        return number

    for number in range(1000, 1020):
        narrow_client.submit(usually_short, number).result()
    futures = [narrow_client.submit(usually_short, number) for number in range(100)]
    until((tmp_path / "begun").exists)
    cancelled = futures[1::2]
    assert all(future.cancel() for future in cancelled)
    (tmp_path / "go").touch()
    assert [future.result() for future in futures[::2]] == list(range(0, 100, 2))
    assert all(future.cancelled() for future in cancelled)
    assert not any((tmp_path / str(number)).exists() for number in range(1, 100, 2))


def test_a_cancelled_task_that_runs_takes_no_other_along(
    narrow_client: hurricane.Client, tmp_path: Path
) -> None:
    def usually_short(number: int) -> int:
        if number == 50:
            (tmp_path / "begun").touch()
            until((tmp_path / "never").exists)
        return number

    for number in range(1000, 1020):
        narrow_client.submit(usually_short, number).result()
    futures = [narrow_client.submit(usually_short, number) for number in range(100)]
    until((tmp_path / "begun").exists)
    assert futures[50].cancel()
    expected = [number for number in range(100) if number != 50]
    assert [future.result() for future in futures if future is not futures[50]] == expected


def test_one_that_is_long_for_once_holds_nobody_up(
    client: hurricane.Client, tmp_path: Path
) -> None:
    def usually_short(number: int) -> int:
        if number == 5:
            until((tmp_path / "go").exists)
        return number

    warm = [client.submit(usually_short, number) for number in range(1000, 1100)]
    assert [future.result() for future in warm] == list(range(1000, 1100))
    futures = [client.submit(usually_short, number) for number in range(200)]
    for finished, future in enumerate(as_completed(futures), start=1):
        if finished == len(futures) - 1:
            # Everything else is over, and this one has not even been let go.
            assert not futures[5].done()
            (tmp_path / "go").touch()
        assert future.exception() is None
    assert [future.result() for future in futures] == list(range(200))


@pytest.mark.parametrize("known", [0, 300], ids=["cold", "warm"])
def test_tasks_that_wait_for_their_neighbours_find_them_begun(
    client: hurricane.Client, tmp_path: Path, known: int
) -> None:
    def pair(number: int) -> bool:
        (tmp_path / str(number)).touch()
        deadline = time.monotonic() + DEADLINE_SECONDS
        # In naps so short that most of these are short tasks.
        while not (is_there := (tmp_path / str(number ^ 1)).exists()):
            if time.monotonic() > deadline:
                break
            time.sleep(0.0005)
        return is_there

    # The first of them find their neighbours there.
    for number in range(known):
        (tmp_path / str(number)).touch()
    futures = [client.submit(pair, number) for number in range(known + 200)]
    assert all(future.result() for future in futures)


def talk(number: int) -> None:
    if number % 3 == 0:
        print("text", number)
    elif number % 3 == 1:
        print("error", number, file=sys.stderr)
        sys.stdout.write(f"no end {number}")
    if number % 7 == 0:
        # These do not wait for an end of line in the stream above.
        sys.stdout.buffer.write(b"bytes %d" % number)


def lines_of(number: int) -> tuple[list[str], list[str]]:
    """What `talk` prints, to both streams."""
    last = f"bytes {number}" if number % 7 == 0 else ""
    if number % 3 == 1:
        last += f"no end {number}"
    out = [f"text {number}"] if number % 3 == 0 else []
    return out + [last] * bool(last), [f"error {number}"] * (number % 3 == 1)


def test_each_short_task_is_told_by_its_own_lines(
    client: hurricane.Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    out, err = redirect(monkeypatch)
    futures = [client.options(name="talk").submit(talk, number) for number in range(500)]
    for future in futures:
        future.result()
    expected: tuple[set[str], set[str]] = set(), set()
    for number, future in enumerate(futures):
        for stream, lines in zip(expected, lines_of(number), strict=True):
            stream.update(f"talk-{future.number} {line}" for line in lines)

    def told(text: str) -> set[str]:
        lines = [line.split("] ") for line in text.splitlines()]
        return {f"{mark.split(' ')[0].removeprefix('[')} {said}" for mark, said in lines}

    until(lambda: told(out.getvalue()) == expected[0], "what was printed")
    until(lambda: told(err.getvalue()) == expected[1], "what was printed to stderr")


def test_children_never_stand_behind_their_parent(narrow_client: hurricane.Client) -> None:
    def recurse(depth: int) -> int:
        if depth == 0:
            return 0
        with hurricane.Client() as inner:
            return 1 + inner.submit(recurse, depth - 1).result()

    def short_or_parent(number: int) -> int:
        return recurse(3) if number == 30 else number

    futures = [narrow_client.submit(short_or_parent, number) for number in range(60)]
    expected = [3 if number == 30 else number for number in range(60)]
    assert [future.result() for future in futures] == expected


@pytest.mark.parametrize(
    "value",
    [
        None,
        True,
        False,
        *(
            sign * (1 << bits) + more
            for bits in (0, 7, 8, 15, 16, 31, 32, 40, 63)
            for sign in (1, -1)
            for more in (-1, 0, 1)
        ),
        1 << 100,
        0.0,
        -1.5,
        float("inf"),
        "",
        "text",
        "drei€",
        "x" * 255,
        "x" * 256,
        "\udc80",
        "__main__",
        b"",
        b"bytes",
        b"x" * 255,
        b"x" * 256,
        (1, "two"),
        [1, 2],
    ],
    ids=repr,
)
def test_values_come_back_as_pickle_would_bring_them(
    shared_client: hurricane.Client, value: object
) -> None:
    """Simple ones are written and read without it."""

    def same(*arguments: object) -> tuple[object, bytes]:
        return arguments, pickle.dumps(arguments, 5)

    result = shared_client.submit(short, value).result()
    assert type(result) is type(value)
    assert result == value
    for arguments in [(value,), (value, 1), (value, 2.5, None), (value, 1, 2, "four")]:
        assert shared_client.submit(same, *arguments).result() == (
            arguments,
            pickle.dumps(arguments, 5),
        )


def test_named_and_no_arguments_arrive(shared_client: hurricane.Client) -> None:
    assert shared_client.submit(dict).result() == {}
    assert shared_client.submit(dict, a=1).result() == {"a": 1}
    assert shared_client.submit(int, "11", base=2).result() == 3


@pytest.fixture(scope="module")
def shared_client():
    """A client for tests that leave nothing behind."""
    with hurricane.Client(max_workers=1) as client:
        yield client
