"""How the tasks of a `MasterNode` get to slaves: over a cluster of its own, or one that is there.

A task whose slave was lost goes to another by the cluster's own means. What the cluster gives up
for lack of slaves is kept here and handed over again, so that nothing is lost.
"""

import logging
import threading
from collections import deque
from collections.abc import Callable
from concurrent.futures import CancelledError
from concurrent.futures import Future as StandardFuture
from time import monotonic
from typing import Any, NamedTuple

from hurricane._broken import SchedulerLost, WorkerLost
from hurricane._client import Client
from hurricane._cluster import Cluster
from hurricane._delivery import Function
from hurricane._exceptions import HurricaneError, Infeasible, ObjectLost
from hurricane._future import Future
from hurricane._options import Options
from hurricane._serialize import dumps_function

# What slaves have and nothing else has, so that these tasks go to slaves and to nobody else.
RESOURCE = "slave"
_OPTIONS = Options(cpus=0, resources=((RESOURCE, 1.0),), name="task")

# How often to look whether a slave is there, while there is none.
LOOK_SECONDS = 0.05

# How long to wait before trying again to get to a cluster.
_REOPEN_SECONDS = 0.5

# How often to look whether the other program is still there that is the scheduler: its end is the
# turn of this one. Waiting for what a client waits for a scheduler would take half a minute.
_WATCH_SECONDS = 1.0

_log = logging.getLogger("hurricane")


def for_a_slave(_task_id: int, _data: bytes) -> None:
    """Stand for what slaves do: nobody calls this, but its name travels with each task."""
    msg = "a task of a master node came to a worker that is no slave node"
    raise RuntimeError(msg)


FUNCTION = Function("task", dumps_function(for_a_slave))


class Sent(NamedTuple):
    """A task on its way."""

    task_id: int
    data: bytes


# What is told of a task that has ended: its id, what was generated or nothing, and the error if
# there is no result.
Complete = Callable[[int, bytes, BaseException | None], None]


class Dispatch:
    """Hands tasks to slaves until it is closed.

    Parameters
    ----------
    port
        The initialization port of the cluster.
    complete
        What is told of each task that has ended.

    Raises
    ------
    OSError
        If the port cannot be had; says why.
    """

    def __init__(self, port: int, complete: Complete) -> None:
        self._port = port
        self._complete = complete
        self._changed = threading.Condition()
        self._unsent: deque[Sent] = deque()
        self._ended: deque[tuple[_Way, Sent, StandardFuture[bytes]]] = deque()
        # There was no slave when it was last tried.
        self._is_held = False
        self._is_over = False
        self._way = _Way(port)
        self._thread = threading.Thread(target=self._run, name="hurricane-master", daemon=True)
        self._thread.start()

    def send(self, task_id: int, data: bytes) -> None:
        """Have a slave do this. Does not wait."""
        with self._changed:
            self._unsent.append(Sent(task_id, data))
            self._changed.notify_all()

    def has_slave(self) -> bool:
        """Whether a slave is there."""
        return self._way.has_slave()

    def close(self) -> None:
        """Give up what has not ended, and end the cluster if it is this program's."""
        with self._changed:
            self._is_over = True
            self._changed.notify_all()
        # Whatever the thread waits for ends with it.
        self._way.close()
        self._thread.join()

    def _run(self) -> None:
        try:
            self._send_and_settle()
        finally:
            # It may be another one by now.
            self._way.close()

    def _send_and_settle(self) -> None:
        while self._wait():
            if not self._way.is_open():
                self._open_again()
            while self._ended:
                self._settle(*self._ended.popleft())
            if self._is_held and self._way.has_slave():
                self._is_held = False
            while self._unsent and not self._is_held and not self._is_over:
                self._submit(self._unsent.popleft())

    def _wait(self) -> bool:
        """Wait until there is something to do; false when all is over."""

        def has_more() -> bool:
            may_send = bool(self._unsent) and not self._is_held
            return self._is_over or may_send or bool(self._ended)

        pause = LOOK_SECONDS if self._is_held else self._way.watched_every
        with self._changed:
            self._changed.wait_for(has_more, pause)
            return not self._is_over

    def _submit(self, sent: Sent) -> None:
        way = self._way
        try:
            future = way.submit(sent)
        except RuntimeError:
            self._unsent.appendleft(sent)
            self._open_again()
        else:
            future.call_when_done(lambda ended: self._on_ended(way, sent, ended))

    def _on_ended(self, way: "_Way", sent: Sent, future: StandardFuture[bytes]) -> None:
        # Not here: what is large has yet to be fetched, and this thread brings all the others.
        with self._changed:
            self._ended.append((way, sent, future))
            self._changed.notify_all()

    def _settle(self, way: "_Way", sent: Sent, future: StandardFuture[bytes]) -> None:
        try:
            generated = future.result()
        except Infeasible:
            # Nodes are there, and no slave among them.
            self._is_held = True
            self._unsent.append(sent)
        except (ObjectLost, WorkerLost) as error:
            _log.info("Task %s is sent again: %s", sent.task_id, error)
            self._unsent.appendleft(sent)
        except (CancelledError, SchedulerLost):
            self._unsent.appendleft(sent)
            if way is self._way:
                self._open_again()
        except Exception as error:
            _log.error("Task %s has failed: %s", sent.task_id, error)
            self._complete(sent.task_id, b"", error)
        else:
            self._complete(sent.task_id, generated, None)

    def _open_again(self) -> None:
        """Get to a cluster again, after the other program has gone that was the scheduler."""
        self._way.close()
        while not self._is_over:
            try:
                self._way = _Way(self._port)
            except (HurricaneError, OSError) as error:
                _log.warning("The cluster is gone, and there is no other yet: %s", error)
            else:
                return
            with self._changed:
                self._changed.wait_for(lambda: self._is_over, _REOPEN_SECONDS)


class _Way:
    """A client of the cluster on a port of this host: of this program's own, if none was there."""

    def __init__(self, port: int) -> None:
        self._cluster: Cluster | None = None
        try:
            self._cluster = Cluster(port=port, node=False)
        except FileExistsError:
            # Another program of this user is the scheduler.
            self._client = Client(address="localhost", port=port)
        else:
            self._client = self._cluster.client()
        # A scheduler in another program may end.
        self.watched_every = None if self._cluster is not None else _WATCH_SECONDS
        self._next_look = monotonic() + _WATCH_SECONDS

    def submit(self, sent: Sent) -> Future[bytes]:
        delivery = self._client._handle.open()
        return delivery.submit(FUNCTION, _OPTIONS, tuple(sent), {})

    def has_slave(self) -> bool:
        try:
            nodes = self._nodes()
        except (OSError, RuntimeError):
            return False
        return any(node["resources"]["resources"].get(RESOURCE) for node in nodes)

    def is_open(self) -> bool:
        """Whether the scheduler is there; asked no more often than need be."""
        if self._cluster is not None or monotonic() < self._next_look:
            return True
        self._next_look = monotonic() + _WATCH_SECONDS
        try:
            self._nodes()
        except (OSError, RuntimeError):
            return False
        return True

    def _nodes(self) -> list[dict[str, Any]]:
        nodes: list[dict[str, Any]] = (self._cluster or self._client).status()["nodes"]
        return nodes

    def close(self) -> None:
        self._client._handle.kill()
        if self._cluster is not None:
            self._cluster.close()
