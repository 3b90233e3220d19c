"""A client's initializer on the workers of a cluster, which serve other clients as well.

Whoever starts the workers of one machine has them call it first. Workers of a cluster call it
before the first function of its client instead: it travels with each of them.
"""

import os

from hurricane._ending import setup_failure
from hurricane._serialize import describe_exception, dumps_function, loads_function

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

# What became of the initializers that this worker has called; None is well.
_outcomes: "dict[bytes, bytes | None]" = {}


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


class _Initialized:
    """Becomes the function itself when it is unpickled."""

    def __init__(self, token: bytes, initializer: bytes, function: bytes) -> None:
        self._parts = token, initializer, function

    def __call__(self) -> None:
        raise NotImplementedError

    def __reduce__(self) -> "tuple[Any, ...]":
        return _initialize, self._parts


class _InitializerFailed(Exception):  # noqa: N818 - it says what has happened
    """Arrives as `SetupFailed`, with what the initializer raised as its cause."""

    def __init__(self, description: bytes) -> None:
        super().__init__("the initializer failed")
        self._description = description

    def __reduce__(self) -> "tuple[Any, ...]":
        return setup_failure, (self._description,)


def _initialize(token: bytes, initializer: bytes, function: bytes) -> "Callable[..., Any]":
    if token not in _outcomes:
        _outcomes[token] = _call(initializer)
    failure = _outcomes[token]
    if failure is not None:
        raise _InitializerFailed(failure)
    return loads_function(function)


def _call(initializer: bytes) -> bytes | None:
    from hurricane import _worker

    try:
        loads_function(initializer)()
    except BaseException as error:  # It is a stranger's code, as tasks are.
        link = _worker.current()
        return describe_exception(error, link.node_name() if link else "", "initializer")
    return None
