"""`options`: what is merged, what is refused, and in which words."""

import math
import os

import pytest

from hurricane._options import Options
from hurricane._units import format_bytes, parse_bytes


@pytest.mark.parametrize(
    ("text", "amount"),
    [
        ("8GB", 8 * 10**9),
        ("8 gib", 8 * 2**30),
        ("1.5kB", 1_500),
        ("64", 64),
        ("0.5MiB", 2**19),
        ("2TB", 2 * 10**12),
        ("7 b", 7),
        (0, 0),
    ],
)
def test_memory_as_people_write_it(text, amount):
    assert parse_bytes(text) == amount


@pytest.mark.parametrize("text", ["", "GB", "-1GB", "8G8", "nanGB", "1e3", "8XB", "8 GB 1", "٣GB"])
def test_memory_that_cannot_be_read(text):
    with pytest.raises(ValueError, match="like '8GB'"):
        parse_bytes(text)


def test_memory_for_people():
    assert [format_bytes(amount) for amount in (0, 1_000, 999_600, 2 * 10**15)] == [
        "0 bytes",
        "1 kB",
        "1 MB",
        "2 PB",
    ]


@pytest.mark.parametrize(
    ("changes", "kind", "words"),
    [
        ({"cpu": 1}, TypeError, r"options\(\) got an unexpected keyword argument 'cpu'"),
        ({"cpus": 0}, ValueError, "cpus must be greater than 0"),
        ({"cpus": -1}, ValueError, "cpus must be greater than or equal to 0"),
        ({"cpus": math.nan}, ValueError, "cpus must be a finite number"),
        ({"cpus": math.inf}, ValueError, "cpus must be a finite number"),
        ({"cpus": 0.00001}, ValueError, "at least 0.0001"),
        ({"cpus": 1e300}, ValueError, "cpus must be at most"),
        ({"cpus": 10**400}, ValueError, "cpus must be at most"),
        ({"cpus": "2"}, TypeError, "cpus must be a number, not str"),
        ({"cpus": True}, TypeError, "cpus must be a number, not bool"),
        ({"cpus": None}, TypeError, "cpus must be a number, not NoneType"),
        ({"gpus": -1}, ValueError, "gpus must be greater than or equal to 0"),
        ({"memory": -1}, ValueError, "memory must be greater than or equal to 0"),
        ({"memory": 1.5}, TypeError, "memory must be an integer or a string, not float"),
        ({"memory": "much"}, ValueError, "memory must be a number of bytes"),
        ({"memory": 2**70}, ValueError, "memory must be at most"),
        ({"retries": -1}, ValueError, "retries must be greater than or equal to 0"),
        ({"retries": 1.0}, TypeError, "retries must be an integer, not float"),
        ({"retries": 2**40}, ValueError, "retries must be at most"),
        ({"timeout": 0}, ValueError, "timeout must be greater than 0"),
        ({"timeout": -1}, ValueError, "timeout must be greater than or equal to 0"),
        ({"timeout": math.nan}, ValueError, "timeout must be a finite number"),
        ({"timeout": "1"}, TypeError, "timeout must be a number, not str"),
        ({"priority": 0.5}, TypeError, "priority must be an integer, not float"),
        ({"priority": 2**40}, ValueError, "priority must be at most"),
        ({"name": 1}, TypeError, "name must be a string, not int"),
        ({"name": " "}, ValueError, "name must be a printable string"),
        ({"name": "a\nb"}, ValueError, "name must be a printable string"),
        ({"name": "a" * 300}, ValueError, "name must be at most 256 bytes"),
        ({"resources": ["x"]}, TypeError, "resources must be a mapping"),
        ({"resources": {1: 1}}, TypeError, "names of resources must be strings"),
        ({"resources": {"": 1}}, ValueError, "names of resources must be"),
        ({"resources": {"cpus": 1}}, ValueError, "cpus is an option of its own"),
        ({"resources": {"licence": -1}}, ValueError, r"resources\['licence'\] must be greater"),
        ({"resources": {str(n): 1 for n in range(40)}}, ValueError, "at most 32"),
    ],
)
def test_wrong_names_and_values_are_refused(changes, kind, words):
    with pytest.raises(kind, match=words):
        Options().changed(changes)


def test_what_is_not_given_stays(client):
    first = client.options(cpus=2, memory="1kB")
    second = first.options(memory=10, name="small")
    assert second._options == Options(cpus=2, memory=10, name="small")
    assert client._options == Options()


def test_equal_options_are_equal():
    one = Options().changed({"resources": {"a": 1, "b": 2}, "cpus": 2})
    other = Options().changed({"cpus": 2.0, "resources": {"b": 2.0, "a": 1.0}})
    assert (one, hash(one)) == (other, hash(other))
    assert one != one.changed({"priority": 1})


def test_a_view_is_the_same_client(client):
    view = client.options(cpus=2, name="wide")
    assert view.submit(abs, client.submit(abs, -1)).result() == 1
    assert list(view.map(abs, [-1])) == [1]
    view.shutdown()
    with pytest.raises(RuntimeError, match="after shutdown"):
        client.submit(abs, 1)


def test_priority_comes_first(narrow_client, tmp_path):
    order = tmp_path / "order"

    def note(word):
        with order.open("a") as file:
            file.write(word)

    def wait_for_go():
        from conditions import until

        until((tmp_path / "go").exists)

    first = narrow_client.submit(wait_for_go)
    futures = [narrow_client.submit(note, "b") for _ in range(3)]
    futures += [narrow_client.options(priority=1).submit(note, "a") for _ in range(3)]
    (tmp_path / "go").touch()
    for future in [first, *futures]:
        future.result()
    # What lies in the node's backlog already is not taken back for it.
    assert sorted(order.read_text()) == list("aaabbb")
    assert order.read_text().endswith("b")


def test_cpus_size_the_thread_pools_of_libraries(client):
    def threads():
        return os.environ.get("OMP_NUM_THREADS")

    assert client.submit(threads).result() == "1"
    assert client.options(cpus=2).submit(threads).result() == "2"


def test_retries(client, tmp_path):
    def fail_twice():
        number = len(list(tmp_path.iterdir()))
        (tmp_path / str(number)).touch()
        if number < 2:
            raise ValueError(number)
        return number

    with pytest.raises(ValueError, match="0"):
        client.submit(fail_twice).result()
    (tmp_path / "0").unlink()
    assert client.options(retries=2).submit(fail_twice).result() == 2
