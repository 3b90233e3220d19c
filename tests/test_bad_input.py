"""What is wrong is told in one clear sentence, for that task alone, and nothing hangs."""

import concurrent.futures
import os
import subprocess
import threading

import pytest

import hurricane


class Config:
    """Has what cannot be pickled."""

    def __init__(self):
        self.lock = threading.Lock()


class Poison:
    """Cannot be unpickled in a worker."""

    def __reduce__(self):
        return int, ("not a number",)


class BadResult:
    """Cannot be unpickled at the client."""

    def __reduce__(self):
        return _raise_on_unpickling, ()


def _raise_on_unpickling():
    raise LookupError("not here")


@pytest.mark.parametrize("number", [0, -1])
def test_max_workers_must_be_positive(number):
    with pytest.raises(ValueError, match="max_workers must be greater than 0"):
        hurricane.Client(max_workers=number)


def test_max_workers_must_be_an_integer():
    with pytest.raises(TypeError):
        hurricane.Client(max_workers=1.5)
    with pytest.raises(TypeError):
        hurricane.Client(max_workers="2")


def test_an_initializer_must_be_callable():
    with pytest.raises(TypeError, match="initializer must be a callable"):
        hurricane.Client(max_workers=1, initializer=123)


def test_an_initializer_must_be_picklable():
    with pytest.raises(hurricane.NotSerializable, match="_thread.lock"):
        hurricane.Client(max_workers=1, initializer=print, initargs=(threading.Lock(),))


def test_an_argument_that_cannot_be_pickled(client):
    good = client.submit(abs, -1)
    bad = client.submit(id, {"config": Config()})
    error = bad.exception()
    assert isinstance(error, hurricane.NotSerializable)
    assert isinstance(error, TypeError)
    assert str(error) == (
        "argument 0: `['config'].lock` is a `_thread.lock`, which cannot be pickled"
    )
    assert good.result() == 1
    assert client.submit(abs, -2).result() == 2


def test_a_function_that_cannot_be_pickled(client):
    lock = threading.Lock()
    error = client.submit(lambda: lock).exception()
    assert isinstance(error, hurricane.NotSerializable)
    assert "`lock` is a `_thread.lock`" in str(error)
    with pytest.raises(hurricane.NotSerializable):
        next(client.map(lambda _: lock, [1]))


def test_a_result_that_cannot_be_pickled(client):
    error = client.submit(Config).exception()
    assert isinstance(error, hurricane.NotSerializable)
    assert "`lock` is a `_thread.lock`" in str(error)
    assert client.submit(abs, -1).result() == 1


def test_an_argument_that_cannot_be_unpickled(client):
    assert isinstance(client.submit(id, Poison()).exception(), ValueError)
    assert client.submit(abs, -1).result() == 1


def test_a_result_that_cannot_be_unpickled(client):
    error = client.submit(BadResult).exception()
    assert isinstance(error, hurricane.NotSerializable)
    assert "not here" in str(error)
    assert isinstance(error.__cause__, LookupError)


def test_a_client_is_no_argument(client):
    error = client.submit(id, client).exception()
    assert isinstance(error, hurricane.NotSerializable)
    assert "make a `hurricane.Client()` of its own" in str(error)


def test_futures_and_objects_are_no_results(client):
    def give_future():
        return [hurricane.submit(abs, -1)]

    def give_object():
        return {"it": hurricane.Client().put(1)}

    for function, kind in ((give_future, "Future"), (give_object, "Object")):
        error = client.submit(function).exception()
        assert isinstance(error, hurricane.NotSerializable)
        assert f"`hurricane.{kind}`" in str(error)
        assert "among the arguments of a task" in str(error)


def test_futures_and_objects_of_another_client(client, narrow_client):
    for foreign in (narrow_client.submit(abs, -1), narrow_client.put(1)):
        error = client.submit(id, [foreign]).exception()
        assert isinstance(error, ValueError)
        assert "another client" in str(error)


def test_an_object_must_be_picklable(client):
    with pytest.raises(hurricane.NotSerializable, match="`lock`"):
        client.put(Config())
    with pytest.raises(hurricane.NotSerializable, match="Object"):
        client.put([client.put(1)])


def test_more_than_the_machine_has(client):
    error = client.options(cpus=1000).submit(abs, 1).exception()
    assert isinstance(error, hurricane.Infeasible)
    assert "1000 cpus" in error.asked
    assert "2 cpus" in error.most
    for wish in ({"gpus": 99}, {"memory": "900TB"}, {"resources": {"licence": 1}}):
        error = client.options(**wish).submit(abs, 1).exception()
        assert isinstance(error, hurricane.Infeasible), wish
    assert client.submit(abs, -1).result() == 1


def test_what_is_not_callable(client):
    assert isinstance(client.submit(42).exception(), TypeError)


def test_wrong_arguments_of_the_function(client):
    assert isinstance(client.submit(abs).exception(), TypeError)
    assert isinstance(client.submit(abs, 1, wrong=2).exception(), TypeError)


def fail_to_start():
    raise ValueError("error in initializer")


def test_an_initializer_that_fails(caplog):
    with hurricane.Client(max_workers=2, initializer=fail_to_start) as client:
        error = client.submit(abs, 1).exception()
        assert isinstance(error, hurricane.SetupFailed)
        assert isinstance(error, concurrent.futures.BrokenExecutor)
        assert "error in initializer" in str(error)
        with pytest.raises(hurricane.SetupFailed):
            for _ in range(1_000_000):
                client.submit(abs, 1).exception()
    assert "ValueError: error in initializer" in caplog.text


def test_an_initializer_that_ends_its_worker():
    with hurricane.Client(max_workers=1, initializer=os._exit, initargs=(5,)) as client:
        try:
            error = client.submit(abs, 1).exception()
        except hurricane.SetupFailed as raised:
            error = raised
        assert isinstance(error, hurricane.SetupFailed)


def test_initializers_prepare_workers():
    with hurricane.Client(1, initializer=os.putenv, initargs=("PREPARED", "yes")) as client:
        assert client.submit(subprocess.getoutput, "echo $PREPARED").result() == "yes"


def test_wrong_options(client):
    with pytest.raises(TypeError, match="unexpected keyword argument 'workers'"):
        client.options(workers=2)
    with pytest.raises(ValueError, match="cpus must be greater than 0"):
        client.options(cpus=0)


@pytest.mark.parametrize(
    ("limit", "words"),
    [
        ("resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64))", "ulimit -n"),
        ("os.environ['HURRICANE_RUNTIME_DIR'] = '/proc/nowhere'", "directory"),
    ],
)
def test_what_the_machine_does_not_allow_is_one_sentence(run_program, limit, words):
    done = run_program(f"""
import os, resource
import hurricane
{limit}
try:
    with hurricane.Client(max_workers=40) as client:
        futures = [client.submit(abs, 1) for _ in range(100)]
        print({{future.result() for future in futures}})
except (OSError, hurricane.HurricaneError) as error:
    print(error)
""")
    assert done.stdout.count("\n") == 1, done.stdout
    assert words in done.stdout or done.stdout == "{1}\n"
