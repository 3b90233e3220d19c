"""The client: a `concurrent.futures.Executor` whose tasks run in the cluster.

The workers of this machine need a while to start, and what else is to be imported needs one, too:
so all but `concurrent.futures` is imported when they have begun.
"""

from __future__ import annotations

import os
import sys
import threading
from concurrent.futures import Executor
from operator import index
from time import monotonic

from hurricane import _exit, _native

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from types import TracebackType
    from typing import Any, Self, TypeVar, Unpack

    from hurricane._delivery import Delivery
    from hurricane._future import Future
    from hurricane._object import Object
    from hurricane._options import Changes, Options
    from hurricane._status import Status

    T = TypeVar("T")

_MAX_PORT = 65535

# So many options are remembered with all that is known of functions.
_MAX_CALLS = 64


class Client(Executor):
    """A program's connection to hurricane: an `Executor` as in `concurrent.futures`.

    It goes to the cluster that this machine may submit to, which is looked for on the usual port
    for one second at most; there is none on a machine that never joined one. Without a cluster it
    starts scheduler, node and worker processes on this machine. Leaving the `with` block waits for
    what was submitted and ends what it started; `KeyboardInterrupt` and `SystemExit` end everything
    at once. In a running task it is that task's own connection: what is submitted through it ends
    with the task, and while the task waits for it, its resources are free.

    Parameters
    ----------
    max_workers
        Without a cluster: exactly so many tasks of one cpu run at a time, be it more than the
        machine has cores. None: as many as this process may use. In a cluster the nodes decide.
    initializer
        Every worker calls it before anything of this client.
    initargs
        With these arguments.
    cluster
        The name of a cluster; `HURRICANE_CLUSTER`, if not given. What is chosen by this or one of
        the next two is found within ten seconds, or is an error.
    address
        Where its scheduler is, as `host` or `host:port`; `HURRICANE_ADDRESS`, if not given.
    port
        Its initialization port; `HURRICANE_PORT`, if not given, which is no choice but says where
        to look, or 12222.

    Raises
    ------
    ValueError
        If `max_workers` is not positive, or a name, address or port is none.
    TypeError
        If `initializer` cannot be called.
    NotSerializable
        If `initializer` or `initargs` cannot be pickled.
    ConnectionError
        If the cluster that was chosen is not found, or there are several, or this machine may not
        submit to it; says what to do.
    OSError
        If the machine does not let it start; says why.

    Examples
    --------
    >>> import hurricane
    >>> with hurricane.Client(max_workers=2) as client:
    ...     future = client.submit(pow, 2, 10)
    ...     squares = list(client.map(pow, range(5), [2] * 5))
    ...     future.result(), squares
    (1024, [0, 1, 4, 9, 16])
    """

    def __init__(
        self,
        max_workers: int | None = None,
        *,
        initializer: Callable[..., object] | None = None,
        initargs: tuple[Any, ...] = (),
        cluster: str | None = None,
        address: str | None = None,
        port: int | None = None,
    ) -> None:
        if max_workers is not None and max_workers <= 0:
            msg = "max_workers must be greater than 0"
            raise ValueError(msg)
        _check_callable(initializer)
        check_port(port)
        slots = None if max_workers is None else index(max_workers)
        self._handle = _nested_handle() or _new_handle(
            slots, _bound(initializer, initargs), cluster, address, port
        )
        from hurricane._options import Options

        self._options = Options()
        self._calls = self._handle.calls

    def submit(self, fn: Callable[..., T], /, *args: Any, **kwargs: Any) -> Future[T]:
        """Have `fn(*args, **kwargs)` called in a worker.

        Parameters
        ----------
        fn
            Any function. One that others cannot import travels by value.
        *args, **kwargs
            Its arguments. Futures and objects of this client may stand anywhere in them: the task
            runs when the values are there, with the values in their places.

        Returns
        -------
        Future
            The handle on the result.

        Raises
        ------
        RuntimeError
            After `shutdown`.
        SetupFailed
            If workers cannot be set up.

        Examples
        --------
        >>> import hurricane
        >>> with hurricane.Client(max_workers=1) as client:
        ...     three = client.submit(max, 1, 3)
        ...     client.submit(sum, [three, 4]).result()
        7
        """
        future: Future[T] | None = self._calls.submit(fn, args, kwargs)
        return self._submit_at_length(fn, args, kwargs) if future is None else future

    def _submit_at_length(
        self, fn: Callable[..., T], args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> Future[T]:
        """Submit what does not go the short way, or not yet, or not any more."""
        delivery = self._handle.open()
        function = delivery.encode(fn)
        future = delivery.submit(function, self._options, args, kwargs)
        delivery.teach(self._calls, fn, function, self._options)
        return future

    def map(
        self,
        fn: Callable[..., T],
        *iterables: Iterable[Any],
        timeout: float | None = None,
        chunksize: int | None = None,
        progress: bool = False,
    ) -> Iterator[T]:
        """Call a function with each item, as the built-in `map` does, in the workers.

        Inputs that all have a length, the shortest of them up to 100,000, are submitted at once;
        `itertools.repeat`, `count` and `cycle` may be among them. Others are read as the results
        are consumed: at most 1,000 items ahead for each slot, or 100,000 of inputs with a length.
        If nobody consumes any, the rest is read when the client ends. One thread at a time may take
        results.

        Parameters
        ----------
        fn
            The function.
        *iterables
            Its arguments, item by item; it ends with the shortest.
        timeout
            Seconds from now on within which each result must have come.
        chunksize
            How many items make a task. None: as measured, so that short calls share a task and
            long ones do not. One, if the options count by call (`retries`, `timeout`).
        progress
            Whether to show a progress bar; needs `hurricane[progress]`.

        Returns
        -------
        iterator
            The results, in order. Where an item has raised, so does `next`, and goes on with the
            item after it. What it has not yielded is cancelled when it is dropped or closed.

        Raises
        ------
        ValueError
            If `chunksize` is below 1.
        RuntimeError
            After `shutdown`.
        ImportError
            If `progress` is asked for, and tqdm is not installed.

        Examples
        --------
        >>> import hurricane
        >>> with hurricane.Client(max_workers=1) as client:
        ...     list(client.map(divmod, [7, 9], [2, 4]))
        [(3, 1), (2, 1)]
        """
        if chunksize is not None and chunksize < 1:
            msg = "chunksize must be >= 1."
            raise ValueError(msg)
        from hurricane._columns import Input
        from hurricane._functions import name_of
        from hurricane._map import Mapping, Results
        from hurricane._progress import Progress

        deadline = None if timeout is None else monotonic() + timeout
        delivery = self._handle.open()
        source = Input(iterables)
        bar = Progress(self._options.name or name_of(fn), source.length) if progress else None
        mapping = Mapping(delivery, self._options, fn, source, chunksize=chunksize, progress=bar)
        mapping.begin()
        return Results.of(mapping, deadline, bar)

    def options(self, **changes: Unpack[Changes]) -> Self:
        """Give a view of this client whose tasks run with other options.

        It is the same client: to shut it down shuts this one down. What is not given stays as in
        this one.

        Parameters
        ----------
        cpus : float
            Processors that a task needs; fractions are fine. 1, if never given.
        gpus : float
            Graphics processors.
        memory : int or str
            Bytes, or like `"8GB"` (10⁹) or `"8GiB"` (2³⁰).
        retries : int
            How often a task runs again after an exception or a timeout.
        timeout : float or None
            Seconds that one attempt may run.
        priority : int
            Larger first.
        name : str or None
            What the tasks are called. None: as their functions are.
        resources : mapping of str to float
            Any other resources of nodes, by name.

        Raises
        ------
        TypeError
            If there is no such option, or a value is of a wrong type.
        ValueError
            If a value is out of its range.

        Examples
        --------
        >>> import hurricane
        >>> with hurricane.Client(max_workers=2) as client:
        ...     client.options(cpus=2, memory="10MB", timeout=60).submit(abs, -1).result()
        1
        """
        view = object.__new__(type(self))
        view._handle = self._handle
        view._options = self._options.changed(changes)
        view._calls = self._handle.calls_of(view._options)
        return view

    def put(self, value: Any) -> Object:
        """Send a value into the cluster, once, for any number of tasks.

        Parameters
        ----------
        value
            Whatever can be pickled.

        Returns
        -------
        Object
            What stands for the value among the arguments of tasks.

        Raises
        ------
        NotSerializable
            If it cannot be pickled.
        RuntimeError
            After `shutdown`.

        Examples
        --------
        >>> import hurricane
        >>> with hurricane.Client(max_workers=1) as client:
        ...     words = client.put(["to", "be"])
        ...     client.submit(" ".join, words).result()
        'to be'
        """
        return self._handle.open().put(value)

    def status(self) -> Status:
        """Say what the cluster does at this moment.

        Returns
        -------
        Status
            Nodes, clients and counts of tasks by state: a dictionary, shown as text.

        Raises
        ------
        RuntimeError
            After `shutdown`, and in a running task.
        ConnectionError
            If the scheduler does not answer.

        Examples
        --------
        >>> import hurricane
        >>> with hurricane.Client(max_workers=2) as client:
        ...     client.submit(abs, -1).result()
        ...     client.status()["tasks"]["done"]
        1
        1
        """
        cluster = self._handle.open().cluster
        if cluster is None:
            msg = "a running task cannot see the cluster's status"
            raise RuntimeError(msg)
        from hurricane._status import Status

        return Status(cluster.snapshot())

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """Take no more tasks, and end the workers when those that were submitted have ended.

        Parameters
        ----------
        wait
            Whether to wait for that.
        cancel_futures
            Whether to cancel the tasks that do not run yet.
        """
        self._handle.shut_down(wait=wait, cancel_futures=cancel_futures)

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if kind is not None and issubclass(kind, (KeyboardInterrupt, SystemExit)):
            self._handle.kill()
        else:
            self.shutdown(wait=True)

    def __reduce__(self) -> Any:
        msg = (
            "cannot pickle 'Client' object: in a task, make a `hurricane.Client()` of its own "
            "or use `hurricane.submit`"
        )
        raise TypeError(msg)

    @property
    def _broken(self) -> BaseException | None:
        """Why nothing can be submitted any more; named as in the standard library's executors."""
        return self._handle.delivery.broken


class Handle:
    """What a client and its views share; when the last of them is dropped, so is the client."""

    def __init__(self, delivery: Delivery, *, is_nested: bool) -> None:
        self.delivery = delivery
        # The short ways to submit: with no options, and with others.
        self.calls = delivery.calls()
        self._calls_of: dict[Options, _native.Calls] = {}
        # What must not end before the last client is dropped.
        self.owner: object = None
        self._is_nested = is_nested
        self._is_shut_down = False

    def open(self) -> Delivery:
        """Give the delivery, if tasks may be submitted.

        Raises
        ------
        RuntimeError
            If the client was shut down, or is another process's.
        """
        if self._is_shut_down:
            msg = "cannot schedule new futures after shutdown"
            raise RuntimeError(msg)
        if _exit.is_exiting():
            msg = "cannot schedule new futures after interpreter shutdown"
            raise RuntimeError(msg)
        delivery = self.delivery
        delivery.check_process()
        if delivery.broken is not None:
            raise delivery.broken
        return delivery

    def calls_of(self, options: Options) -> _native.Calls:
        """Give the short way to submit with these options."""
        calls = self._calls_of.get(options)
        if calls is None:
            if len(self._calls_of) >= _MAX_CALLS:
                self._calls_of.clear()
            calls = self._calls_of[options] = self.calls.beside()
        return calls

    def shut_down(self, *, wait: bool, cancel_futures: bool) -> None:
        self._close()
        delivery = self.delivery
        if delivery.is_forked:
            return
        if cancel_futures:
            delivery.cancel_waiting()
        elif wait:
            delivery.read_all()
        if self._is_nested:
            if wait:
                delivery.wait_for_pending()
            return
        delivery.finish()
        if wait:
            delivery.wait_until_finished()

    def kill(self) -> None:
        self._close()
        if self.delivery.is_forked:
            return
        if self._is_nested:
            self.delivery.cancel_all()
        else:
            self.delivery.kill()

    def _close(self) -> None:
        self._is_shut_down = True
        self.calls.close()

    def __del__(self) -> None:
        # As in the standard library: what was submitted still runs. When the interpreter ends, all
        # is over already, and the modules are being taken apart.
        if not self._is_nested and not self.delivery.is_over():
            self.delivery.finish()


def _check_callable(initializer: object) -> None:
    if initializer is not None and not callable(initializer):
        msg = "initializer must be a callable"
        raise TypeError(msg)


def _bound(
    initializer: Callable[..., object] | None, initargs: tuple[Any, ...]
) -> Callable[[], object] | None:
    if initializer is None:
        return None
    from functools import partial

    return partial(initializer, *initargs)


def check_port(port: int | None) -> None:
    """Raise ValueError if it is none."""
    if port is not None and not 1 <= port <= _MAX_PORT:
        msg = f"a port is a number from 1 to {_MAX_PORT}"
        raise ValueError(msg)


def _new_handle(
    slots: int | None,
    initializer: Callable[[], object] | None,
    cluster: str | None,
    address: str | None,
    port: int | None,
) -> Handle:
    """Go to the cluster that is there or was chosen, or start one on this machine."""
    if _exit.is_exiting():
        msg = "cannot schedule new futures after interpreter shutdown"
        raise RuntimeError(msg)
    remote, holds_key = _native.find_cluster(cluster=cluster, address=address, port=port)
    if remote is not None:
        return connect(remote, initializer)
    if holds_key:
        _say_that_it_runs_here()
    return _start_here(slots, initializer)


def connect(remote: _native.Remote, initializer: Callable[[], object] | None = None) -> Handle:
    """Become a client of a cluster."""
    from hurricane._delivery import Delivery
    from hurricane._initializer import Initializer
    from hurricane._place import far_away
    from hurricane._project import own_modules

    first = None
    if initializer is not None:
        from hurricane._serialize import dumps_function

        first = Initializer(dumps_function(initializer, own_modules()))
    return Handle(Delivery(remote.connect(), remote, far_away(remote, first)), is_nested=False)


def _start_here(slots: int | None, initializer: Callable[[], object] | None) -> Handle:
    """Start scheduler, node and workers on this machine."""
    from hurricane import _launch

    pickled = None
    if initializer is not None:
        from hurricane._serialize import dumps_function

        pickled = dumps_function(initializer)
    local = _native.Local(
        slots=slots,
        worker_command=_launch.worker_command(),
        setup=_launch.worker_setup(pickled),
    )
    from hurricane._delivery import Delivery
    from hurricane._place import here

    place = here(slots or _usable_cpus())
    return Handle(Delivery(local.connect(), local, place), is_nested=False)


_has_said_that_it_runs_here = False


def _say_that_it_runs_here() -> None:
    """Say it once: whoever has joined a cluster may expect that it is used."""
    global _has_said_that_it_runs_here
    if not _has_said_that_it_runs_here:
        _has_said_that_it_runs_here = True
        from hurricane._output import write_notice

        write_notice("no cluster was found; running on this machine")


def _usable_cpus() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


_nested_lock = threading.Lock()
_nested: Delivery | None = None


def _disown_nested() -> None:
    """Leave the parent's task to the parent."""
    global _nested, _nested_lock
    _nested = None
    _nested_lock = threading.Lock()


_exit.call_in_forked_child(_disown_nested)


def _nested_handle() -> Handle | None:
    """Connect to the running task's own connection, if a task runs here."""
    global _nested
    worker = sys.modules.get("hurricane._worker")
    if worker is None or (link := worker.current()) is None:
        return None
    from hurricane._delivery import Delivery
    from hurricane._place import beside
    from hurricane._waiting import Waiting

    connection = link.connect()
    with _nested_lock:
        if _nested is None or not _nested.is_of(connection):
            place = beside(_usable_cpus(), is_in_cluster=worker.is_in_cluster())
            _nested = Delivery(connection, None, place, Waiting(link))
        return Handle(_nested, is_nested=True)
