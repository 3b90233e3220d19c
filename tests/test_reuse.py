"""Functions that carry something: each call begins with what was submitted."""

import functools
import textwrap
import types

import pytest

import hurricane
from hurricane._reuse import is_unchanging


class Counter:
    """Counts its calls."""

    def __init__(self):
        self.count = 0

    def step(self, *_):
        self.count += 1
        return self.count

    __call__ = step

    @classmethod
    def name(cls):
        return cls.__name__


def append(numbers, *_):
    numbers.append(0)
    return len(numbers)


def with_default(*_, numbers=[]):  # noqa: B006 - that is it
    numbers.append(0)
    return len(numbers)


def closing_over_a_list():
    numbers = []

    def inner(*_):
        numbers.append(0)
        return len(numbers)

    return inner


def closing_over_a_variable():
    count = 0

    def inner(*_):
        nonlocal count
        count += 1
        return count

    return inner


def closing_over_a_constant():
    number = 7

    def inner(depth):
        return inner(depth - 1) if depth else number

    return inner


CHANGING = {
    "a method": lambda: Counter().step,
    "an object": Counter,
    "a partial": lambda: functools.partial(append, []),
    "a list's method": lambda: [].append,
    "a closure": closing_over_a_list,
    "a variable": closing_over_a_variable,
    "a wrapped one": lambda: functools.wraps(len)(functools.partial(append, numbers=[])),
}


@pytest.mark.parametrize("make", CHANGING.values(), ids=CHANGING)
def test_what_may_change_is_known(make):
    assert not is_unchanging(make())


@pytest.mark.parametrize(
    "function",
    [
        len,
        str,
        "".join,
        Counter.name,
        append,
        closing_over_a_constant(),
        functools.partial(pow, 2),
        functools.partial(closing_over_a_constant(), 0),
        functools.lru_cache(append),
        types.SimpleNamespace,
    ],
)
def test_what_cannot_change_is_known(function):
    assert is_unchanging(function)


@pytest.mark.parametrize("name", ["a method", "an object", "a partial", "a closure", "a variable"])
def test_no_call_sees_what_another_did(narrow_client, name):
    function = CHANGING[name]()
    assert [narrow_client.submit(function, 0).result() for _ in range(30)] == [1] * 30
    assert list(narrow_client.map(function, range(300))) == [1] * 300
    # Who chooses groups gets them.
    assert list(narrow_client.map(function, range(4), chunksize=2)) == [1, 2, 1, 2]


def test_functions_in_a_program_of_its_own(run_program):
    program = """
        import functools
        import hurricane

        class Settings:
            mode = "a"

        def mode(*_):
            return Settings.mode

        def other(*_):
            return Settings

        @functools.lru_cache
        def double(number):
            return [number] * 2

        def is_kept(number):
            return double(number) is double(number)

        @functools.cache
        def fibonacci(number):
            return number if number < 2 else fibonacci(number - 1) + fibonacci(number - 2)

        with hurricane.Client(max_workers=1) as client:
            seen = []
            for Settings.mode in "abab":
                seen.append(client.submit(mode).result())
                seen += client.map(mode, range(2))
            Settings.mode = "c"
            client.submit(other).result()
            Settings.mode = "a"
            seen.append(client.submit(mode).result())
            print("".join(seen))
            print(client.submit(double, 3).result(), client.submit(is_kept, 3).result())
            print(client.submit(fibonacci, 30).result())
    """
    assert run_program(textwrap.dedent(program)).stdout.splitlines() == [
        "aaabbbaaabbba",
        "[3, 3] True",
        "832040",
    ]


def test_a_function_that_is_made_anew_sees_what_the_initializer_set():
    def set_up():
        import builtins

        builtins.offset = 5

    def add(numbers, number):
        numbers.append(number)
        return offset + len(numbers)  # noqa: F821 - the initializer sets it

    with hurricane.Client(max_workers=1, initializer=set_up) as client:
        function = functools.partial(add, [])
        assert [client.submit(function, 1).result() for _ in range(3)] == [6, 6, 6]
