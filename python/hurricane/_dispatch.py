"""How the tasks of a `MasterNode` get to slaves: over a cluster of its own, or one that is there.

A task whose slave was lost goes to another by the cluster's own means. What the cluster gives up
for lack of slaves is kept here and handed over again, so that nothing is lost.
"""

import logging
import threading
from collections import deque
from collections.abc import Callable
from concurrent.futures import CancelledError, Future
from time import monotonic
from typing import Any, NamedTuple

from hurricane._broken import SchedulerLost, WorkerLost
from hurricane._client import Client
from hurricane._cluster import Cluster
from hurricane._exceptions import HurricaneError, Infeasible, ObjectLost
from hurricane._functions import Function
from hurricane._future import Future as OwnFuture
from hurricane._options import Options
from hurricane._serialize import dumps_function

# What slaves have and nothing else has, so that these tasks go to slaves and to nobody else.
RESOURCE = "slave"
_OPTIONS = Options(cpus=0, resources=((RESOURCE, 1.0),), name="task")

# How often to look whether a slave is there, while there is none.
LOOK_SECONDS = 0.05

# How long to wait before trying again to get to a cluster.
_REOPEN_SECONDS = 0.5

# How often to look whether the scheduler is still there. If another program was it, its end is the
# turn of this one; what a client waits for a scheduler would be half a minute.
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


class Dispatch:
    """Hands tasks to slaves until it is closed.

    Parameters
    ----------
    port
        The initialization port of the cluster.
    on_ended
        Called with the id of each task that has ended, and what was generated or an error.
    on_taken_down
        Called when somebody has ended this program's cluster, by `hurricane down`.

    Raises
    ------
    OSError
        If the port cannot be had; says why.
    """

    def __init__(
        self,
        port: int,
        on_ended: Callable[[int, bytes, BaseException | None], None],
        on_taken_down: Callable[[], None],
    ) -> None:
        self._port = port
        self._tell_ended = on_ended
        self._tell_taken_down = on_taken_down
        self._changed = threading.Condition()
        self._unsent: deque[Sent] = deque()
        self._ended: deque[tuple[_Way, Sent, Future[bytes]]] = deque()
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
        if self._thread is not threading.current_thread():
            self._thread.join()

    def _run(self) -> None:
        try:
            while self._wait():
                self._do_something()
        finally:
            # It may be another one by now.
            self._way.close()

    def _wait(self) -> bool:
        """Wait until there is something to do; false when all is over."""

        def has_more() -> bool:
            may_send = bool(self._unsent) and not self._is_held
            return self._is_over or may_send or bool(self._ended)

        with self._changed:
            self._changed.wait_for(has_more, LOOK_SECONDS if self._is_held else _WATCH_SECONDS)
            return not self._is_over

    def _do_something(self) -> None:
        if not self._way.is_open():
            self._go_on_elsewhere()
        elif self._ended:
            # First, so that what is sent has room: there are limits to what may be under way.
            self._settle(*self._ended.popleft())
        elif self._is_held:
            self._is_held = not self._way.has_slave()
        elif self._unsent:
            self._submit(self._unsent.popleft())

    def _submit(self, sent: Sent) -> None:
        way = self._way
        try:
            future = way.submit(sent)
        except RuntimeError:
            self._unsent.appendleft(sent)
            self._go_on_elsewhere()
        else:
            future.call_when_done(lambda ended: self._on_ended(way, sent, ended))

    def _on_ended(self, way: "_Way", sent: Sent, future: Future[bytes]) -> None:
        # Not here: what is large has yet to be fetched, and this thread brings all the others.
        with self._changed:
            self._ended.append((way, sent, future))
            self._changed.notify_all()

    def _settle(self, way: "_Way", sent: Sent, future: Future[bytes]) -> None:
        try:
            generated = future.result()
        except Infeasible:
            # Nodes are there, and no slave among them.
            self._is_held = True
            self._unsent.append(sent)
        except (ObjectLost, WorkerLost) as error:
            _log.info("Task %s is sent again: %s", sent.task_id, error)
            self._unsent.append(sent)
        except (CancelledError, SchedulerLost):
            self._unsent.append(sent)
            if way is self._way:
                self._go_on_elsewhere()
        except Exception as error:
            _log.error("Task %s has failed: %s", sent.task_id, error)
            self._tell_ended(sent.task_id, b"", error)
        else:
            self._tell_ended(sent.task_id, generated, None)

    def _go_on_elsewhere(self) -> None:
        """Get to another cluster on the port, after the scheduler of this one has gone."""
        if self._is_over:
            return
        if self._way.is_own:
            self._tell_taken_down()
            return
        self._way.close()
        while not self._is_over:
            try:
                self._way = _Way(self._port)
            except (HurricaneError, OSError) as error:
                _log.warning("The scheduler is gone, and there is no other yet: %s", error)
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
        self._next_look = monotonic() + _WATCH_SECONDS

    @property
    def is_own(self) -> bool:
        """Whether this program is the scheduler."""
        return self._cluster is not None

    def submit(self, sent: Sent) -> OwnFuture[bytes]:
        delivery = self._client._handle.open()
        return delivery.submit(FUNCTION, _OPTIONS, tuple(sent), {})

    def has_slave(self) -> bool:
        try:
            nodes = self._nodes()
        except (OSError, RuntimeError):
            return False
        return any(node["resources"]["resources"].get(RESOURCE) for node in nodes)

    def is_open(self) -> bool:
        """Whether the scheduler is there; looked for no more often than need be."""
        if monotonic() < self._next_look:
            return True
        self._next_look = monotonic() + _WATCH_SECONDS
        if self._cluster is not None:
            return not self._cluster._server.wait(0)
        try:
            self._nodes()
        except (OSError, RuntimeError):
            return False
        return True

    def close(self) -> None:
        self._client._handle.kill()
        if self._cluster is not None:
            self._cluster.close()

    def _nodes(self) -> list[dict[str, Any]]:
        nodes: list[dict[str, Any]] = (self._cluster or self._client).status()["nodes"]
        return nodes
