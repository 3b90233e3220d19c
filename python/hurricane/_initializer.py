"""A client's initializer, and what it leaves behind for the functions after it.

Whoever starts the workers of one machine has them call it first. Workers of a cluster serve other
clients as well, and call it before the first function of its client: it travels with each of them.

An initializer often sets global variables of its module. Functions that travel by value have each
a copy of their globals, so what was set is set anew in every one of them.
"""

import os
from contextlib import contextmanager
from functools import partial

from hurricane._serialize import describe_exception, dumps_function, loads_function

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import Any, TypeAlias

    # Global variables by the names of their modules.
    Globals: TypeAlias = dict[str, dict[str, Any]]

# What each of the initializers that this worker has called has set, or how it has failed.
_outcomes: "dict[bytes, Globals | bytes]" = {}


class Initializer:
    """An initializer, to be called once in each worker.

    Parameters
    ----------
    pickled
        A pickled function without arguments.
    """

    def __init__(self, pickled: bytes) -> None:
        self._token = os.urandom(16)
        self._pickled = pickled

    def before(self, function: bytes) -> bytes:
        """Give the bytes of a pickled function, so that the initializer was called before it."""
        return dumps_function(_Initialized(self._token, self._pickled, function))


def initialize(pickled: bytes) -> None:
    """Call the initializer of all that this worker will ever run."""
    variables = _call(pickled)
    if variables:
        _show_globals(lambda scope: _set_anew(variables, scope))


class _Initialized:
    """Becomes the function itself when it is unpickled."""

    def __init__(self, token: bytes, initializer: bytes, function: bytes) -> None:
        self._parts = token, initializer, function

    def __call__(self) -> None:
        raise NotImplementedError

    def __reduce__(self) -> "tuple[Any, ...]":
        return _load_initialized, self._parts


class _InitializerFailed(Exception):  # noqa: N818 - it says what has happened
    """Arrives as `SetupFailed`, with what the initializer raised as its cause."""

    def __init__(self, description: bytes) -> None:
        super().__init__("the initializer failed")
        self._description = description

    def __reduce__(self) -> "tuple[Any, ...]":
        from hurricane._ending import setup_failure

        return setup_failure, (self._description,)


def _load_initialized(token: bytes, initializer: bytes, function: bytes) -> "Callable[..., Any]":
    if token not in _outcomes:
        _outcomes[token] = _call_or_describe(initializer)
    outcome = _outcomes[token]
    if isinstance(outcome, bytes):
        raise _InitializerFailed(outcome)
    if not outcome:
        return loads_function(function)
    with _seeing_globals(lambda scope: _set_anew(outcome, scope)):
        return loads_function(function)


def _call_or_describe(initializer: bytes) -> "Globals | bytes":
    from hurricane import _worker

    try:
        return _call(initializer)
    except BaseException as error:  # It is a stranger's code, as tasks are.
        link = _worker.current()
        return describe_exception(error, link.node_name() if link else "", "initializer")


def _call(pickled: bytes) -> "Globals":
    """Call an initializer; the global variables that it has set in copies of modules."""
    if b"cloudpickle" not in pickled:
        loads_function(pickled)()
        return {}
    scopes: list[dict[str, Any]] = []
    with _seeing_globals(scopes.append):
        initializer = loads_function(pickled)
    before = [scope.copy() for scope in scopes]
    initializer()
    found: Globals = {}
    for scope, old in zip(scopes, before, strict=True):
        changed = {name: value for name, value in scope.items() if old.get(name, old) is not value}
        found.setdefault(scope.get("__name__", ""), {}).update(changed)
    return {module: variables for module, variables in found.items() if variables}


def _set_anew(variables: "Globals", scope: "dict[str, Any]") -> None:
    scope.update(variables.get(scope.get("__name__", ""), {}))


@contextmanager
def _seeing_globals(see: "Callable[[dict[str, Any]], object]") -> "Iterator[None]":
    """Be shown the globals of each function that is made by value meanwhile."""
    undo = _show_globals(see)
    try:
        yield
    finally:
        undo()


def _show_globals(see: "Callable[[dict[str, Any]], object]") -> "Callable[[], None]":
    """Have the globals of each function that is made by value be shown; gives what ends that."""
    from cloudpickle import cloudpickle as maker

    # What cloudpickle's pickles call, by this name, for each function that they hold.
    original = maker._function_setstate

    def set_state(function: "Any", state: "Any") -> None:
        original(function, state)
        see(function.__globals__)

    maker._function_setstate = set_state
    return partial(setattr, maker, original.__name__, original)
