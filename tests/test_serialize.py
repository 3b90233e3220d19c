"""What becomes bytes, and what comes back."""

import enum
import functools
import sys
import threading

import pytest

import hurricane
from hurricane import _serialize as serialize


class Slotted:
    """Has slots and no dictionary."""

    __slots__ = ("inner",)

    def __init__(self, inner):
        self.inner = inner


class Guarded:
    """Refuses to be pickled, in words of its own."""

    def __reduce__(self):
        raise RuntimeError("it belongs to this thread")


class Config:
    """Has what cannot be pickled."""

    def __init__(self):
        self.name = "config"
        self.lock = threading.Lock()


def there_and_back(value):
    return serialize.loads_result(serialize.dumps_result(value))


@pytest.mark.parametrize(
    "value",
    [None, 1, "text", b"bytes", [1, {"a": (2.5, {3})}], range(9), "__main__", len, pytest.raises],
)
def test_values_come_back(value):
    assert there_and_back(value) == value


def test_plain_values_are_plain_pickles():
    assert serialize.dumps_result([1, 2])[0] == 0x80


@pytest.mark.parametrize("length", [0, 1, 4_095, 4_096, 100_000])
def test_arrays_come_back_writable(length):
    numpy = pytest.importorskip("numpy")
    arrays = [numpy.arange(length, dtype="u1"), numpy.arange(length) * 2.0]
    pickled = serialize.dumps_result(arrays)
    assert pickled[0] == (1 if length >= 4_096 else 0x80) or length in (1, 4_095)
    for sent, received in zip(arrays, serialize.loads_result(pickled), strict=True):
        assert (sent == received).all()
        assert sent.dtype == received.dtype
        received[:] = 1


def test_read_only_arrays_stay_so():
    numpy = pytest.importorskip("numpy")
    array = numpy.ones(10_000)
    array.flags.writeable = False
    assert not there_and_back(array).flags.writeable


def test_large_buffers_are_aligned_in_the_container():
    numpy = pytest.importorskip("numpy")
    arrays = [numpy.full(5_001, 7, dtype="u1"), numpy.full(4_097, 8, dtype="u1")]
    pickled = serialize.dumps_result(arrays)
    assert pickled.index(b"\x07" * 5_001) % 64 == 0
    assert pickled.index(b"\x08" * 4_097) % 64 == 0


def test_functions_by_value_come_back():
    offset = 3
    function = serialize.loads_function(serialize.dumps_function(lambda number: number + offset))
    assert function(1) == 4


@pytest.mark.parametrize(
    ("positional", "named", "words"),
    [
        ((threading.Lock(),), {}, "argument 0 is a `_thread.lock`, which cannot be pickled"),
        ((1, Config()), {}, "argument 1: `lock` is a `_thread.lock`, which cannot be pickled"),
        (({"a": [Config()]},), {}, "argument 0: `['a'][0].lock` is a `_thread.lock`"),
        ((), {"config": Config()}, "argument `config`: `lock` is a `_thread.lock`"),
        ((Slotted(number for number in ()),), {}, "argument 0: `inner` is a `generator`"),
        ((functools.partial(print, Config()),), {}, "argument 0: `args[0].lock` is a"),
        ((Config().__init__,), {}, "argument 0: `__self__.lock` is a `_thread.lock`"),
    ],
)
def test_the_culprit_is_named(positional, named, words):
    with pytest.raises(hurricane.NotSerializable) as caught:
        serialize.dumps_arguments(positional, named)
    assert words in str(caught.value)
    assert caught.value.__cause__ is not None


def test_the_culprit_of_a_function_is_named():
    lock = threading.Lock()
    with pytest.raises(hurricane.NotSerializable, match="the function: `lock` is a `_thread.lock`"):
        serialize.dumps_function(lambda: lock)


def test_a_reason_that_says_more_is_quoted():
    with pytest.raises(hurricane.NotSerializable) as caught:
        serialize.dumps_result([Guarded()])
    assert str(caught.value).endswith("which cannot be pickled: it belongs to this thread")
    with pytest.raises(hurricane.NotSerializable) as caught:
        serialize.dumps_result([threading.Lock()])
    assert str(caught.value).endswith("which cannot be pickled")


@pytest.mark.parametrize("mode", ["r", "rb", "w"])
def test_an_open_file_cannot_be_pickled(tmp_path, mode):
    path = tmp_path / "file"
    path.write_text("text")
    with path.open(mode) as file, pytest.raises(hurricane.NotSerializable, match=r"a `_io\."):
        serialize.dumps_arguments((file,), {})


def test_standard_streams_stand_for_those_of_the_worker(monkeypatch, tmp_path):
    with (tmp_path / "printed").open("w") as stream:
        monkeypatch.setattr(sys, "stdout", stream)
        assert there_and_back([stream, lambda: None])[0] is stream


def test_a_structure_that_holds_itself_ends_the_search():
    value = [threading.Lock()]
    value.insert(0, value)
    with pytest.raises(hurricane.NotSerializable, match=r"`\[1\]` is a `_thread.lock`"):
        serialize.dumps_result(value)


def test_what_is_nested_too_deeply_is_named():
    value = None
    for _ in range(100_000):
        value = [value]
    with pytest.raises(hurricane.NotSerializable):
        serialize.dumps_result(value)


def test_classes_of_main_come_back_as_the_programs_own(run_program):
    done = run_program("""
import enum
import hurricane

class Point:
    counter = 0

    def __init__(self, x):
        self.x = x

class Colour(enum.Enum):
    RED = 1

class OwnError(Exception):
    def __init__(self, code):
        super().__init__(code)
        self.code = code

def move(point, colour):
    assert colour is Colour.RED
    return Point(point.x + 1), colour, [Point]

def fail():
    raise OwnError(7)

with hurricane.Client(max_workers=1) as client:
    Point.counter = 5
    future = client.submit(move, Point(1), Colour.RED)
    Point.counter = 6
    point, colour, [kind] = future.result()
    assert type(point) is Point and point.x == 2, type(point)
    assert colour is Colour.RED
    assert kind is Point
    assert Point.counter == 6
    try:
        client.submit(fail).result()
    except OwnError as error:
        assert error.code == 7
    # And into a task again, and through a group.
    again, *_ = client.submit(move, point, colour).result()
    assert type(again) is Point and again.x == 3
    for point in client.map(Point, range(1000)):
        assert type(point) is Point
print("well")
""")
    assert done.stdout == "well\n", done.stderr


def test_a_redefined_class_is_told_from_the_old_one(run_program):
    done = run_program("""
import hurricane

class Point:
    pass

Old = Point
make = lambda: Old()
with hurricane.Client(max_workers=1) as client:
    client.submit(make).result()

    class Point:
        pass

    assert type(client.submit(make).result()) is Old
    assert type(client.submit(lambda: Point()).result()) is Point
print("well")
""")
    assert done.stdout == "well\n", done.stderr


def test_plain_work_does_not_import_cloudpickle(run_program):
    done = run_program("""
import sys
import hurricane
with hurricane.Client(max_workers=1) as client:
    assert client.submit(pow, 2, 3).result() == 8
    assert list(client.map(abs, range(200))) == list(range(200))
print(*sorted({"cloudpickle", "asyncio", "multiprocessing"} & {*sys.modules}))
""")
    assert done.stdout in {"\n", "cloudpickle\n"}


class Colour(enum.Enum):
    """An enumeration of a module."""

    RED = 1


def test_members_of_enumerations_are_themselves(client):
    assert client.submit(lambda colour: colour, Colour.RED).result() is Colour.RED
