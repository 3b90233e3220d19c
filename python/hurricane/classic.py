"""The 2016 API: a `MasterNode` sends tasks, and any number of `SlaveNode` do them.

Programs written for it run as they are. A master is a cluster of its own for as long as it runs,
and each slave a node of it with one slot, whose worker is the program itself.

A master, in one program::

    from hurricane import MasterNode

    master = MasterNode()
    master.initialize()
    master.wait_for_connection()
    task_id = master.send_task({"name": "first"})
    print(master.wait_for_task_completion(task_id).get_generated_data())

and slaves in as many others as you like, on this machine, or on those that have joined the cluster
with a ticket::

    from hurricane import SlaveNode

    slave = SlaveNode()
    slave.initialize()
    slave.wait_for_initialize()
    while True:
        data = slave.wait_for_task()
        slave.finish_task(generated_data={"hello": data["name"]})
"""

import atexit
import itertools
import logging
import socket
import threading
import warnings
import weakref
from collections.abc import Callable
from datetime import datetime
from functools import cached_property
from time import monotonic
from typing import Any, NamedTuple

from hurricane import _exit, _native
from hurricane._dispatch import FUNCTION, LOOK_SECONDS, RESOURCE, Dispatch
from hurricane._serialize import (
    describe_exception,
    dumps_result,
    loads_arguments,
    loads_result,
)

__all__ = ["MasterNode", "SlaveNode", "Task"]

_DEFAULT_PORT = 12222

# How long a slave that ends waits until what it has finished has arrived, or more of it.
_FAREWELL_SECONDS = 5.0

# How long a slave may look for its master before it says so, and how long before it says so again.
_SILENCE_SECONDS = 5.0
_SILENCE_AGAIN_SECONDS = 60.0

_LOG_FORMAT = "%(asctime)s %(name)s [%(levelname)s] %(message)s"

_log = logging.getLogger("hurricane")


class Task:
    """A task that a master has sent, when it is completed.

    Masters make them; see `MasterNode.wait_for_task_completion`.
    """

    def __init__(self, task_id: int, pickled_data: bytes, return_port: int) -> None:
        self._task_id = task_id
        self._pickled_data = pickled_data
        self._return_port = return_port
        self._starttime = datetime.now()  # noqa: DTZ005 - as programs know it: local, without a zone
        self._pickled_result = b""
        self._error: BaseException | None = None

    def get_task_id(self) -> int:
        """Return what `send_task` has returned."""
        return self._task_id

    def get_data(self) -> Any:
        """Return the data that were sent, as they were then."""
        return self._data

    def get_generated_data(self) -> Any:
        """Return what the slave has generated.

        Raises
        ------
        Exception
            Whatever has kept a slave from reading the data, or keeps this program from reading
            what was generated: a module that is not there, for instance.
        """
        if self._error is not None:
            raise self._error
        return self._result

    def get_starttime(self) -> datetime:
        """Return when it was sent, in local time."""
        return self._starttime

    def get_return_port(self) -> int:
        """Return the initialization port of the master."""
        return self._return_port

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self._task_id}>"

    def _end(self, pickled_result: bytes, error: BaseException | None) -> None:
        self._pickled_result = pickled_result
        self._error = error

    @cached_property
    def _data(self) -> Any:
        return loads_result(self._pickled_data)

    @cached_property
    def _result(self) -> Any:
        return loads_result(self._pickled_result)


class MasterNode:
    """Sends tasks to slave nodes and collects what they generate.

    Parameters
    ----------
    initialize_port : int
        What tells clusters apart on one network: slaves with the same port come to this master.
        12222 if not given.
    debug : bool
        Whether to log what happens to standard error.
    level : int or str
        From which level of `logging` on; `logging.INFO` if not given.
    **kwargs
        `master_node` and `max_disconnect_errors` have nothing to say here any more. Others are
        ignored, with a warning.

    Examples
    --------
    >>> from hurricane import MasterNode
    >>> master = MasterNode(initialize_port=13456)
    >>> task_id = master.send_task({"name": "first"})
    >>> master.is_task_completed(task_id)
    (False, None)
    >>> master.has_connection()
    False
    """

    def __init__(self, **kwargs: Any) -> None:
        options = _Options.of(type(self).__name__, kwargs)
        self._port = options.port
        self._ids = itertools.count(1)
        # Those that are not completed, and those that are and were not asked for, in this order.
        self._sent: dict[int, Task] = {}
        self._completed: dict[int, Task] = {}
        self._changed = threading.Condition()
        self._dispatch: Dispatch | None = None
        self._stops = 0
        self._is_stopped = False
        _living.add(self)

    def initialize(self) -> None:
        """Open the cluster to slaves, until `stop` or the end of the program.

        Where a scheduler of this user runs on this port already, started by `hurricane up` or by
        another master, this one sends its tasks through that one.

        Raises
        ------
        OSError
            If the port cannot be had; says why.
        """
        if self._dispatch is not None:
            return
        dispatch = Dispatch(self._port, self._on_ended, self._on_taken_down)
        with self._changed:
            self._dispatch = dispatch
            if self._is_stopped:
                # What was sent before it was stopped, or completed, is of the past.
                self._completed.clear()
            self._is_stopped = False
            for task_id, task in self._sent.items():
                dispatch.send(task_id, task._pickled_data)
            self._changed.notify_all()
        _log.info("Waiting for slave nodes on port %s", self._port)

    def wait_for_connection(self, timeout: float = -1) -> None:
        """Wait until a slave is there.

        Parameters
        ----------
        timeout
            Seconds to wait at most; none if it is not positive.
        """
        deadline = _Deadline(timeout)
        stops = self._stops
        while not (self.has_connection() or self._was_stopped_since(stops) or deadline.is_past()):
            with self._changed:
                self._changed.wait(deadline.rest(LOOK_SECONDS))

    def has_connection(self) -> bool:
        """Tell whether a slave is there."""
        dispatch = self._dispatch
        return dispatch is not None and dispatch.has_slave()

    def send_task(self, data: Any) -> int:
        """Have a slave do something, as soon as one is free for it.

        A slave that dies with the task in hand loses nothing: another does it.

        Parameters
        ----------
        data
            Whatever can be pickled: what the slave's `wait_for_task` returns.

        Returns
        -------
        int
            What the task is called from now on.

        Raises
        ------
        NotSerializable
            If the data cannot be pickled.
        """
        pickled = dumps_result(data)
        task_id = next(self._ids)
        with self._changed:
            self._sent[task_id] = Task(task_id, pickled, self._port)
            if self._dispatch is not None:
                self._dispatch.send(task_id, pickled)
        _log.info("Sending task %s", task_id)
        return task_id

    def wait_for_task_completion(self, task_id: int, timeout: float = -1) -> Task | None:
        """Wait until a task is completed.

        Parameters
        ----------
        task_id
            What `send_task` has returned.
        timeout
            Seconds to wait at most; none if it is not positive.

        Returns
        -------
        Task or None
            The task, once: who asks again gets None. None also when the time is over, when the
            master is stopped, and at once if no slave is there.
        """
        completed, task = self.is_task_completed(task_id)
        if completed:
            return task
        if not self.has_connection():
            _log.info("There is no slave node, and so task %s is not waited for", task_id)
            return None

        def take() -> tuple[bool, Task | None]:
            task = self._completed.pop(task_id, None)
            # One that nobody knows, or that another thread has taken, will never come.
            return task is not None or task_id not in self._sent, task

        return self._wait(take, timeout)

    def wait_for_any_task_completion(self, timeout: float = -1) -> Task | None:
        """Wait until any task is completed.

        Parameters
        ----------
        timeout
            Seconds to wait at most; none if it is not positive.

        Returns
        -------
        Task or None
            The one that was completed first of those that were not returned yet. None when the
            time is over, and when the master is stopped.
        """

        def take() -> tuple[bool, Task | None]:
            first = next(iter(self._completed), None)
            return first is not None, None if first is None else self._completed.pop(first)

        return self._wait(take, timeout)

    def is_task_completed(self, task_id: int) -> tuple[bool, Task | None]:
        """Tell whether a task is completed, without waiting.

        Parameters
        ----------
        task_id
            What `send_task` has returned.

        Returns
        -------
        tuple
            True and the task, once: who asks again gets `(False, None)`, as for a task that is not
            completed.
        """
        with self._changed:
            task = self._completed.pop(task_id, None)
        return task is not None, task

    def stop(self) -> None:
        """End the cluster and all waits, and give up what is not completed.

        Slaves wait for a master to come back: this one, by `initialize`, or another.
        """
        with self._changed:
            dispatch, self._dispatch = self._dispatch, None
            self._stops += 1
            self._is_stopped = True
            self._sent.clear()
            self._changed.notify_all()
        if dispatch is not None:
            dispatch.close()

    def _on_ended(self, task_id: int, result: bytes, error: BaseException | None) -> None:
        with self._changed:
            task = self._sent.pop(task_id, None)
            if task is not None:  # It was not given up.
                _log.info("Task %s is completed", task_id)
                task._end(result, error)
                self._completed[task_id] = task
                self._changed.notify_all()

    def _on_taken_down(self) -> None:
        _log.warning("The cluster was ended by `hurricane down`: this master is stopped")
        self.stop()

    def _wait(self, take: Callable[[], tuple[bool, Task | None]], timeout: float) -> Task | None:
        """Wait until `take` has an answer, and give it; None after `timeout` or `stop`."""
        deadline = _Deadline(timeout)
        with self._changed:
            stops = self._stops
            while not self._was_stopped_since(stops):
                is_answered, task = take()
                if is_answered:
                    return task
                if deadline.is_past():
                    break
                self._changed.wait(deadline.rest())
        return None

    def _end(self) -> None:
        self.stop()

    def _was_stopped_since(self, stops: int) -> bool:
        return self._is_stopped or self._stops != stops

    def _forget_parent(self) -> None:
        """Begin anew in a forked child: what was there is the parent's."""
        _left_to_parents.append(self._dispatch)
        self._changed = threading.Condition()
        self._dispatch = None
        self._sent.clear()
        self._completed.clear()


class SlaveNode:
    """Does the tasks of a master node, one at a time: the program that makes it is the worker.

    Parameters
    ----------
    initialize_port : int
        The port of the master. 12222 if not given.
    master_node : str
        The name or address of the master's machine, if it cannot be found by itself.
    debug : bool
        Whether to log what happens to standard error.
    level : int or str
        From which level of `logging` on; `logging.INFO` if not given.
    **kwargs
        `max_disconnect_errors` has nothing to say any more: a slave looks for its master for ever.
        Others are ignored, with a warning.
    """

    def __init__(self, **kwargs: Any) -> None:
        options = _Options.of(type(self).__name__, kwargs)
        self._port = options.port
        self._master = options.master
        self._node: _native.Slave | None = None
        self._is_initialized = False
        self._task_id: int | None = None
        self._looking = _Looking(self._port)
        _living.add(self)

    def initialize(self) -> None:
        """Begin to look for the master. It may be started later, and does not hold this up.

        Raises
        ------
        OSError
            If this machine was not let into the cluster in which the master is to be; says what to
            do.
        """
        if self._node is None:
            address = None if self._master is None or _is_here(self._master) else self._master
            self._node = _native.Slave(port=self._port, address=address, resource=RESOURCE)

    def wait_for_initialize(self) -> None:
        """Wait until the master was found, for ever if need be."""
        while not self._is_initialized:
            self._hear()

    def wait_for_task(self, timeout: float = 5) -> Any:  # noqa: ARG002 - see below
        """Wait for a task, for ever if need be, and return its data.

        A task that was not finished goes back: to another slave, or to this one.

        Parameters
        ----------
        timeout
            Anything: it was never heeded.
        """
        self.wait_for_initialize()
        if self._opened_node().give_back():
            _log.info("Task %s goes back unfinished", self._task_id)
        while True:
            work = self._hear()
            if work is None:
                continue
            try:
                self._task_id, data = _open_work(*work)
            except Exception as error:
                self._refuse(error)
                continue
            _log.info("Received task %s", self._task_id)
            return data

    def finish_task(self, **kwargs: Any) -> None:
        """Say that the task is done.

        Parameters
        ----------
        generated_data
            What the master is to get: whatever can be pickled. None if not given.

        Raises
        ------
        NotSerializable
            If it cannot be pickled. The task is still in hand.
        """
        # Pickled twice, so that it is the master's program that opens it, when it asks for it.
        result = dumps_result(dumps_result(kwargs.get("generated_data")))
        if self._task_id is None:
            _log.error("There is no task to finish")
            return
        task_id, self._task_id = self._task_id, None
        if self._opened_node().finish(result):
            _log.info("Finished task %s", task_id)
        else:
            _log.info("Task %s is finished, but nobody wants it any more", task_id)

    def _opened_node(self) -> _native.Slave:
        self.initialize()
        assert self._node is not None
        return self._node

    def _hear(self) -> "tuple[bytes, bytes, list[bytes]] | None":
        """Wait for whatever comes next; a task, if that was it."""
        match self._opened_node().hear(None):
            case ("work", function, arguments, inputs):
                return function, arguments, inputs
            case ("joined", name, cluster):
                self._is_initialized = True
                self._looking.found()
                _log.info("Joined `%s` as `%s`", cluster, name)
            case ("looking", why):
                self._looking.go_on(why)
            case ("lost", why):
                _log.warning("The master is gone: %s", why)
            case ("refused", why):
                _log.error("The master takes no slave of this machine: %s", why)
        return None

    def _refuse(self, error: Exception) -> None:
        _log.error("The data of a task cannot be read", exc_info=error)
        self._opened_node().fail(describe_exception(error, socket.gethostname(), "task"))

    def _end(self) -> None:
        if self._node is not None:
            self._node.close(_FAREWELL_SECONDS)

    def _forget_parent(self) -> None:
        """Begin anew in a forked child: what was there is the parent's."""
        _left_to_parents.append(self._node)
        self._node = None
        self._is_initialized = False
        self._task_id = None


class _Options(NamedTuple):
    """What of the options of a node matters."""

    port: int
    master: str | None

    @classmethod
    def of(cls, name: str, given: dict[str, Any]) -> "_Options":
        """Sort options out; warn of those that are not known, on behalf of the caller's caller."""
        known = {"debug", "initialize_port", "level", "master_node", "max_disconnect_errors"}
        unknown = sorted(given.keys() - known)
        if unknown:
            listed = ", ".join(f"`{option}`" for option in unknown)
            warnings.warn(f"{name} ignores {listed}", stacklevel=3)
        if given.get("debug") or "level" in given:
            _begin_to_log(given.get("level", logging.INFO))
        return cls(
            int(given.get("initialize_port", _DEFAULT_PORT)), given.get("master_node") or None
        )


class _Deadline:
    """When a wait is over, by a timeout of the 2016 API: one that is not positive is none."""

    def __init__(self, timeout: float | None) -> None:
        self._end = monotonic() + timeout if timeout is not None and timeout > 0 else None

    def is_past(self) -> bool:
        return self._end is not None and monotonic() >= self._end

    def rest(self, most: float | None = None) -> float | None:
        """Give the seconds until then, or `most`, or None for no end."""
        rest = None if self._end is None else max(0.0, self._end - monotonic())
        return min((seconds for seconds in (rest, most) if seconds is not None), default=None)


class _Looking:
    """Says that a slave looks for its master when that takes long, and then now and again."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._since: float | None = None
        self._said: float | None = None

    def found(self) -> None:
        self._since = self._said = None

    def go_on(self, why: str) -> None:
        """Note that it was not found, and say so if it is time."""
        now = monotonic()
        if self._since is None:
            self._since = now
        is_due = (
            now - self._since >= _SILENCE_SECONDS
            if self._said is None
            else now - self._said >= _SILENCE_AGAIN_SECONDS
        )
        if is_due:
            self._said = now
            _log.warning("Waiting for a master node on port %s: %s", self._port, why)


def _open_work(function: bytes, arguments: bytes, inputs: list[bytes]) -> tuple[int, Any]:
    """Give the id and the data of a task that a master has sent."""
    if function != FUNCTION.pickled:
        msg = "a slave node takes only what a master node sends"
        raise TypeError(msg)
    (task_id, pickled), _ = loads_arguments(arguments, inputs)
    return task_id, loads_result(pickled)


def _is_here(address: str) -> bool:
    """Whether an address is one of this machine.

    Examples
    --------
    >>> _is_here("127.0.0.1"), _is_here("192.0.2.1")
    (True, False)
    """
    try:
        found = socket.getaddrinfo(address, None, type=socket.SOCK_DGRAM)
    except OSError:  # The network may come later.
        return False
    return any(_may_bind(family, sockaddr) for family, _, _, _, sockaddr in found)


def _may_bind(family: int, address: Any) -> bool:
    try:
        with socket.socket(family, socket.SOCK_DGRAM) as probe:
            probe.bind(address)
    except OSError:
        return False
    return True


def _begin_to_log(level: int | str) -> None:
    """Show what happens on standard error, unless the program has said where it is to go."""
    if not _log.hasHandlers():
        handler = logging.StreamHandler()
        handler.setFormatter(logging.Formatter(_LOG_FORMAT))
        _log.addHandler(handler)
    _log.setLevel(level)


# All that are to end with the program. What a forked child has of its parent is never dropped: its
# threads are not there, and cannot be waited for.
_living: "weakref.WeakSet[MasterNode | SlaveNode]" = weakref.WeakSet()
_left_to_parents: list[object] = []


def _end_all() -> None:
    for node in list(_living):
        node._end()


def _begin_anew() -> None:
    for node in list(_living):
        node._forget_parent()


# Registered after the hook of `_exit`, and so called before it: what a master has sent, and nobody
# will ask for any more, is not waited for.
getattr(threading, "_register_atexit", atexit.register)(_end_all)
_exit.call_in_forked_child(_begin_anew)
