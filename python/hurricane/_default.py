"""`hurricane.submit` and `hurricane.map`: the same, with one client for the whole program."""

import sys
import threading
from collections.abc import Callable, Iterable, Iterator
from typing import Any, TypeVar

from hurricane._client import Client
from hurricane._exit import call_in_forked_child
from hurricane._future import Future

T = TypeVar("T")

_making = threading.Lock()
_client: Client | None = None


def submit(fn: Callable[..., T], /, *args: Any, **kwargs: Any) -> Future[T]:
    """Have `fn(*args, **kwargs)` called in a worker of the program's default client.

    The client is made at the first call, and ends with the program. See `Client.submit`.

    Examples
    --------
    >>> import hurricane
    >>> hurricane.submit(pow, 2, 10).result()
    1024
    """
    return _default_client().submit(fn, *args, **kwargs)


def map(  # noqa: A001 - it is called as what it does in place of
    fn: Callable[..., T],
    *iterables: Iterable[Any],
    timeout: float | None = None,
    chunksize: int | None = None,
    progress: bool = False,
) -> Iterator[T]:
    """Call a function with each item, in the workers of the program's default client.

    The client is made at the first call, and ends with the program. See `Client.map`.

    Examples
    --------
    >>> import hurricane
    >>> list(hurricane.map(abs, [-1, -2]))
    [1, 2]
    """
    client = _default_client()
    return client.map(fn, *iterables, timeout=timeout, chunksize=chunksize, progress=progress)


def _default_client() -> Client:
    global _client
    worker = sys.modules.get("hurricane._worker")
    if worker is not None and worker.current() is not None:
        # The running task's own connection, which ends with it.
        return Client()
    with _making:
        if _client is None:
            _client = Client()
        return _client


def _forget() -> None:
    """Leave the parent's client to the parent."""
    global _client, _making
    _client = None
    _making = threading.Lock()


call_in_forked_child(_forget)
