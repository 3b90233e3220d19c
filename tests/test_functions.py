"""The bytes of functions: used again as long as nothing that they hold has changed."""

import math
import sys
import types
from abc import ABC

import pytest

import hurricane
from hurricane import _functions as functions
from hurricane._serialize import loads_function

OWN = ("__main__", "__mp_main__", __name__)

number = 1
text = "text"
nested = (1, ("two", frozenset((3.0,))), None)
listed = [1]


class Local:
    """A class of this module, which travels by value."""


def uses_number():
    return number


def calls_uses_number():
    return uses_number()


def calls_itself(depth):
    return calls_itself(depth - 1) if depth else number


def uses_much():
    return text, nested, math.pi, len, ABC, types.ModuleType, missing  # noqa: F821 - that is it


def uses_a_list():
    return listed


def uses_a_class():
    return Local


def outer():
    def inner():
        return number

    return inner()


@pytest.fixture
def unchanged(monkeypatch):
    """Puts globals back that a test changes."""
    return monkeypatch


def encode(function):
    return functions.encode_function(function, own_modules=OWN)


def pickled_again(function):
    """Whether it was pickled anew, which makes other objects at least."""
    return encode(function).pickled is not encode(function).pickled


def value_of(function, *arguments):
    return loads_function(encode(function).pickled)(*arguments)


@pytest.mark.parametrize(
    "function",
    [len, math.floor, uses_number, calls_uses_number, calls_itself, uses_much, outer, encode],
)
def test_bytes_are_used_again(function):
    assert not pickled_again(function)


@pytest.mark.parametrize("function", [uses_a_list, uses_a_class, [].append, print, Local])
def test_what_may_change_by_itself_is_pickled_anew(function):
    assert functions.encode_function(function, own_modules=OWN).footprint is None or (
        function is print
    )


@pytest.mark.parametrize("function", [uses_number, calls_uses_number, outer])
def test_a_global_that_changes_is_seen(function, unchanged):
    assert value_of(function) == 1
    unchanged.setattr(sys.modules[__name__], "number", 2)
    assert value_of(function) == 2
    unchanged.setattr(sys.modules[__name__], "number", [3])
    assert value_of(function) == [3]
    number.append(4)
    assert value_of(function) == [3, 4]


def test_a_global_deep_in_a_recursion_is_seen(unchanged):
    assert value_of(calls_itself, 3) == 1
    unchanged.setattr(sys.modules[__name__], "number", 2)
    assert value_of(calls_itself, 3) == 2


def test_a_global_that_comes_and_goes_is_seen(unchanged):
    before = encode(uses_much)
    unchanged.setattr(sys.modules[__name__], "missing", 5, raising=False)
    assert encode(uses_much).pickled != before.pickled
    assert value_of(uses_much)[-1] == 5
    unchanged.delattr(sys.modules[__name__], "missing")
    assert encode(uses_much).pickled == before.pickled


def test_a_function_that_is_replaced_is_seen(unchanged):
    assert value_of(calls_uses_number) == 1
    unchanged.setattr(sys.modules[__name__], "uses_number", lambda: 7)
    assert value_of(calls_uses_number) == 7


def test_a_function_of_another_module_that_is_replaced_is_seen(unchanged):
    def floor():
        return math.floor

    name = "floor"
    assert functions.footprint_of(math.floor).is_unchanged()
    footprint = functions.footprint_of(math.floor)
    unchanged.setattr(math, name, len)
    assert not footprint.is_unchanged()
    assert functions.footprint_of(floor, OWN) is not None


def test_the_content_of_a_closure_is_seen():
    count = 1

    def counted():
        return count

    assert value_of(counted) == 1
    assert not pickled_again(counted)
    count = 2
    assert value_of(counted) == 2
    count = [3]
    assert value_of(counted) == [3]
    count.append(4)
    assert value_of(counted) == [3, 4]


def change_code(function):
    function.__code__ = (lambda x=1, *, y=2: (x, y, "new")).__code__


def change_defaults(function):
    function.__defaults__ = (10,)


def change_keyword_defaults(function):
    function.__kwdefaults__ = {"y": 20}


def change_a_keyword_default(function):
    function.__kwdefaults__["y"] = 30


def change_to_a_mutable_default(function):
    function.__defaults__ = ([1],)


@pytest.mark.parametrize(
    ("change", "value"),
    [
        (change_code, (1, 2, "new")),
        (change_defaults, (10, 2)),
        (change_keyword_defaults, (1, 20)),
        (change_a_keyword_default, (1, 30)),
        (change_to_a_mutable_default, ([1], 2)),
    ],
)
def test_a_part_of_a_function_that_changes_is_seen(change, value):
    def function(x=1, *, y=2):
        return x, y

    assert value_of(function) == (1, 2)
    assert not pickled_again(function)
    change(function)
    assert value_of(function) == value


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("__name__", "other"),
        ("__qualname__", "other.<locals>.function"),
        ("__doc__", "Says something."),
        ("mark", 5),
        ("mark", [5]),
    ],
)
def test_an_attribute_of_a_function_that_changes_is_seen(name, value):
    def function(x: int):
        """Say something else."""

    before = encode(function)
    assert not pickled_again(function)
    setattr(function, name, value)
    assert encode(function).pickled != before.pickled
    assert getattr(loads_function(encode(function).pickled), name) == value


def test_an_annotation_that_changes_is_seen():
    def function(x: int):
        pass

    assert not pickled_again(function)
    function.__annotations__["x"] = float
    assert loads_function(encode(function).pickled).__annotations__ == {"x": float}
    function.__annotations__["x"] = Local
    assert pickled_again(function)


def test_functions_of_namespaces_that_are_no_modules_are_not_kept():
    scope = {"__name__": __name__}
    exec("def function(): pass", scope)
    assert encode(scope["function"]).footprint is None


def test_a_module_that_was_replaced_is_seen(unchanged):
    def function():
        return math.pi

    assert value_of(function) == math.pi
    substitute = types.ModuleType("math")
    substitute.pi = 3
    unchanged.setitem(sys.modules, "math", substitute)
    assert encode(function).footprint is None


def test_what_was_submitted_before_and_has_changed_is_seen(client):
    factor = 2

    def multiply(value):
        return factor * value

    assert [client.submit(multiply, 3).result() for _ in range(3)] == [6, 6, 6]
    factor = 3
    assert [client.submit(multiply, 3).result() for _ in range(3)] == [9, 9, 9]
    multiply.__defaults__ = (5,)
    assert client.submit(multiply).result() == 15


def test_options_and_functions_do_not_mix(client):
    named = client.options(name="named")
    for _ in range(3):
        first, second = client.submit(abs, -1), named.submit(abs, -2)
        assert (first._name, second._name) == ("abs", "named")
        assert (first.result(), second.result()) == (1, 2)


def test_more_functions_than_are_remembered(client, monkeypatch):
    monkeypatch.setattr("hurricane._delivery._MAX_DEFINITIONS", 2)
    for _ in range(3):
        results = [client.submit(function, 4.4).result() for function in (int, str, abs, round)]
        assert results == [4, "4.4", 4.4, 4]


@pytest.mark.parametrize(
    "value",
    [None, True, 0, -1, 2**31, 2**63, 1.5, "x", "x" * 300, "ö", "\ud800", b"y", (), (1, (2,))],
)
def test_simple_arguments_arrive(client, value):
    assert client.submit(repr, value).result() == repr(value)
    assert client.submit(dict, name=value, other=1).result() == {"name": value, "other": 1}
    kind = client.submit(type, value).result()
    assert kind is type(value)


def test_nothing_is_submitted_the_short_way_after_the_end(client_of_one):
    assert client_of_one.submit(abs, -1).result() == 1
    view = client_of_one.options(priority=1)
    assert [view.submit(abs, -1).result() for _ in range(2)] == [1, 1]
    client_of_one.shutdown()
    for client in (client_of_one, view):
        with pytest.raises(RuntimeError):
            client.submit(abs, -1)


@pytest.fixture
def client_of_one():
    with hurricane.Client(max_workers=1) as client:
        yield client
