"""How a running task waits for tasks of its own: it gives its resources back meanwhile.

So one slot is enough for tasks within tasks. In a program nothing is given back, and waiting costs
nothing extra.
"""

import threading
from contextlib import AbstractContextManager, nullcontext
from types import TracebackType
from typing import TYPE_CHECKING, Any

from hurricane._exceptions import NestedTooDeep
from hurricane._native import WorkerLink

if TYPE_CHECKING:
    from hurricane._delivery import Delivery

NOTHING_TO_GIVE_BACK: AbstractContextManager[None] = nullcontext()


class Waiting(AbstractContextManager[None]):
    """While at least one thread of the task is in here, its resources are free for others.

    Who leaves with an exception has waited in vain, and goes on at once.
    """

    def __init__(self, link: WorkerLink) -> None:
        self._link = link
        self._lock = threading.Lock()
        self._threads = 0

    def begin(self) -> None:
        """Give the resources back.

        Raises
        ------
        NestedTooDeep
            If too many tasks of the node wait already.
        """
        with self._lock:
            if self._threads == 0:
                self._give_back()
            self._threads += 1

    def end(self, *, has_come: bool) -> None:
        """Take the resources back.

        Parameters
        ----------
        has_come
            Whether what was waited for is there. If not, this does not wait for the resources:
            those who have them may never end, if not for what this task does next.
        """
        with self._lock:
            self._threads -= 1
            if self._threads > 0:
                return
            if has_come:
                self._link.wait_end()
            else:
                self._link.wait_break_off()

    def __enter__(self) -> None:
        self.begin()

    def __exit__(
        self,
        _kind: type[BaseException] | None,
        error: BaseException | None,
        _traceback: TracebackType | None,
    ) -> None:
        self.end(has_come=error is None)

    def _give_back(self) -> None:
        try:
            self._link.wait_begin()
        except RecursionError as error:
            raise NestedTooDeep(*error.args) from None


class Waiters(list[Any]):
    """The waiters of a future.

    `concurrent.futures.wait` and `as_completed` hang an event of theirs in here, and then wait for
    that event: where a wait must be done in another way, so must this.
    """

    def __init__(self, delivery: "Delivery") -> None:
        super().__init__()
        self._delivery = delivery

    def append(self, waiter: Any) -> None:
        is_known = isinstance(waiter.event, _Event)
        if not is_known and not self._delivery.is_waited_for_plainly():
            waiter.event = _Event(self._delivery)
        super().append(waiter)


class _Event(threading.Event):
    def __init__(self, delivery: "Delivery") -> None:
        super().__init__()
        self._delivery = delivery

    def wait(self, timeout: float | None = None) -> bool:
        if self.is_set():
            return True
        return self._delivery.wait(self.is_set, super().wait, timeout)
