"""The client's handle on a task: a `concurrent.futures.Future` that costs little until it is used.

A program may have a million of them, so the condition, the waiters and the callbacks are made when
somebody asks for them, and a result is unpickled by the thread that asks for it.
"""

import sys
import threading
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import CancelledError
from concurrent.futures import Future as StandardFuture
from concurrent.futures._base import (
    CANCELLED,
    CANCELLED_AND_NOTIFIED,
    FINISHED,
    PENDING,
)
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from hurricane._ending import Cancelled, Ending, Failed, Opened, Raised, Stored, open_ending
from hurricane._exit import call_in_forked_child
from hurricane._serialize import (
    ONLY_IN_ARGUMENTS,
    EndedBefore,
    dependency,
    encoding_client,
    inline,
    is_encoding_arguments,
)

if TYPE_CHECKING:
    from hurricane._delivery import Delivery

T = TypeVar("T")

_DONE = frozenset((CANCELLED, CANCELLED_AND_NOTIFIED, FINISHED))

# Guards the making of conditions against the end of their futures: an ending finds the condition,
# or whoever makes it finds the ending. One for all, and held for a few instructions.
_making = threading.RLock()


def _renew_lock() -> None:
    """Make the lock anew in a forked child: a thread of the parent may have held it."""
    global _making
    _making = threading.RLock()


call_in_forked_child(_renew_lock)


class Future(StandardFuture[T], Generic[T]):
    """What a task will have returned: a `concurrent.futures.Future` that can also be awaited.

    `Client.submit` makes them. They may stand anywhere in the arguments of other tasks, which run
    when the values are there; the program need not wait in between.

    Examples
    --------
    >>> import hurricane
    >>> with hurricane.Client(max_workers=1) as client:
    ...     future = client.submit(pow, 2, 10)
    ...     future.result()
    1024
    """

    # Unlike the standard library's, instances start with the class's values for these.
    _state: str = PENDING
    _ending: Ending | None = None
    _opened: Opened | None = None
    _made_condition: threading.Condition | None = None
    _made_waiters: "list[Any] | None" = None
    _made_callbacks: "list[Any] | None" = None
    _on_failure: Callable[[], object] | None = None
    number: int = 0

    def __init__(self, delivery: "Delivery", name: str) -> None:
        # Not the standard library's `__init__`: it makes all that is made late here.
        self._delivery = delivery
        self._name = name

    def cancel(self) -> bool:
        """Cancel the task, also while it runs: its worker is killed then.

        Returns
        -------
        bool
            False if the result has arrived already, or else true.
        """
        with self._condition:
            if self._state == FINISHED:
                return False
            if self._state != PENDING:
                return True
            self._end_under_condition(Cancelled(None))
        self._delivery.cancel(self)
        self._invoke_callbacks()
        return True

    def cancelled(self) -> bool:
        """Whether the task was cancelled."""
        return self._state in (CANCELLED, CANCELLED_AND_NOTIFIED)

    def running(self) -> bool:
        """Whether the task runs in a worker at this moment."""
        return self._state == PENDING and self._delivery.is_running(self)

    def done(self) -> bool:
        """Whether the task has ended, be it by being cancelled."""
        return self._state in _DONE

    def result(self, timeout: float | None = None) -> T:
        """Wait for the task and return what it returned, or raise what it raised.

        Parameters
        ----------
        timeout
            Seconds to wait at most.

        Raises
        ------
        TimeoutError
            If the task has not ended by then.
        concurrent.futures.CancelledError
            If it was cancelled.
        """
        try:
            value, error = self._open_in_time(timeout)
            if error is not None:
                raise error
            result: T = value
            return result
        finally:
            # The exception holds this frame: without this, the two would hold each other.
            error = None
            del self

    def exception(self, timeout: float | None = None) -> BaseException | None:
        """Wait for the task and return what it raised, or None.

        Parameters
        ----------
        timeout
            Seconds to wait at most.

        Raises
        ------
        TimeoutError
            If the task has not ended by then.
        concurrent.futures.CancelledError
            If it was cancelled.
        """
        _, error = self._open_in_time(timeout)
        if self.cancelled() and error is not None:
            raise error
        return error

    def __await__(self) -> Generator[Any, None, T]:
        """Wait for the task in an event loop: `await client.submit(…)`."""
        import asyncio

        return (yield from asyncio.wrap_future(self).__await__())

    def add_done_callback(self, fn: Callable[[StandardFuture[T]], object]) -> None:
        """Have a function called with this future when the task has ended.

        Parameters
        ----------
        fn
            The function. What it raises is logged and harms nobody.
        """
        # This is how event loops wait.
        if _is_in_event_loop() and not self.done():
            self._delivery.wait_without_blocking(self)
        self.call_when_done(fn)

    def call_when_done(self, fn: Callable[[StandardFuture[T]], object]) -> None:
        """Do the same where nobody waits for it."""
        super().add_done_callback(fn)

    def call_if_failed(self, fn: Callable[[], object]) -> None:
        """Have a function called if the task ends without a value, perhaps more than once.

        While it runs, the task counts as pending. For a task that ends as it should this costs
        nothing.
        """
        self._on_failure = fn
        if self.done():
            self._call_on_failure()

    def _call_on_failure(self) -> None:
        call, self._on_failure = self._on_failure, None
        if call is not None and not isinstance(self._ending, (bytes, Stored)):
            call()

    def _invoke_callbacks(self) -> None:
        self._call_on_failure()
        if self._made_callbacks:
            super()._invoke_callbacks()  # type: ignore[misc]  # not in the stubs

    def __repr__(self) -> str:
        if self.running():
            return f"<{type(self).__name__} at {id(self):#x} state=running>"
        return super().__repr__()

    def __reduce_ex__(self, _protocol: Any) -> Any:
        """Stand for the value among the arguments of a task; nothing else can be pickled."""
        if not is_encoding_arguments():
            msg = f"cannot pickle {type(self).__name__!r} object: {ONLY_IN_ARGUMENTS}"
            raise TypeError(msg)
        if encoding_client() is not self._delivery:
            msg = f"{self!r} is a future of another client: wait for it, and pass its result"
            raise EndedBefore(Raised(ValueError(msg)))
        ending = self._ending
        if isinstance(ending, Stored):
            ending = ending.restored
        if ending is None:
            return dependency(self)
        if isinstance(ending, bytes):
            return inline(ending)
        raise EndedBefore(self._ending_of_dependants(ending))

    def _ending_of_dependants(self, ending: Failed | Cancelled | Raised) -> Ending:
        cause = (self.number, self._name)
        if isinstance(ending, Cancelled):
            return Cancelled(ending.cause or cause)
        if isinstance(ending, Failed):
            return ending.passed_on_by(cause)
        return ending

    # What the standard library keeps in attributes, and its `wait` and `as_completed` reach for.

    @property
    def _condition(self) -> threading.Condition:  # type: ignore[override]  # made late
        condition = self._made_condition
        if condition is None:
            with _making:
                condition = self._made_condition
                if condition is None:
                    condition = self._made_condition = threading.Condition()
        return condition

    @property
    def _waiters(self) -> "list[Any]":  # type: ignore[override]  # made late
        waiters = self._made_waiters
        if waiters is None:
            waiters = self._made_waiters = self._delivery.waiters()
        return waiters

    @property
    def _done_callbacks(self) -> "list[Any]":
        callbacks = self._made_callbacks
        if callbacks is None:
            callbacks = self._made_callbacks = []
        return callbacks

    @property
    def _result(self) -> Any:
        return self._open()[0]

    @_result.setter
    def _result(self, value: Any) -> None:
        self._opened = value, None

    @property
    def _exception(self) -> BaseException | None:
        return self._open()[1]

    @_exception.setter
    def _exception(self, error: BaseException | None) -> None:
        self._opened = None, error

    def _open(self) -> Opened:
        """Unpickle the ending, once; nothing if the task has not ended."""
        if self._opened is not None:
            return self._opened
        if self._ending is None:
            return None, None
        # Outside of any lock, for it runs code of the user. Should two threads come here at the
        # same moment, both get what the first one made.
        opened = open_ending(self._ending, self._name)
        with _making:
            if self._opened is None:
                self._opened = opened
        return self._opened

    def _open_in_time(self, timeout: float | None) -> Opened:
        if not self._wait_for_end(timeout):
            raise TimeoutError
        if self._state in (CANCELLED, CANCELLED_AND_NOTIFIED) and self._ending is None:
            raise CancelledError
        return self._open()

    def _wait_for_end(self, timeout: float | None) -> bool:
        """Wait until the task has ended; whether it has."""
        if self._state in _DONE:
            return True
        self._delivery.check_process()
        return self._delivery.wait(self.done, self._wait_on_condition, timeout)

    def _wait_on_condition(self, timeout: float | None) -> bool:
        with self._condition:
            return self._condition.wait_for(self.done, timeout)

    def _is_to_be_called(self) -> bool:
        """Whether somebody is to be called, now that it has ended."""
        if self._on_failure is not None and isinstance(self._ending, (bytes, Stored)):
            self._on_failure = None
        return bool(self._made_callbacks) or self._on_failure is not None

    def _end_under_condition(self, ending: Ending) -> None:
        is_cancelled = isinstance(ending, Cancelled)
        self._ending = ending
        self._state = CANCELLED_AND_NOTIFIED if is_cancelled else FINISHED
        for waiter in self._made_waiters or ():
            if is_cancelled:
                waiter.add_cancelled(self)
            elif isinstance(ending, (bytes, Stored)):
                waiter.add_result(self)
            else:
                waiter.add_exception(self)
        self._condition.notify_all()


def _is_in_event_loop() -> bool:
    asyncio = sys.modules.get("asyncio")
    return asyncio is not None and asyncio._get_running_loop() is not None


def end_all(endings: Iterable[tuple[Future[Any], Ending]]) -> list[Future[Any]]:
    """End futures that have not ended, and tell whoever waits for them.

    Returns
    -------
    list
        Those whose callbacks are to be run: by now all have ended, whatever a callback looks at.
    """
    watched = []
    to_call = []
    with _making:
        for future, ending in endings:
            if future._made_condition is not None:
                watched.append((future, ending))
            elif future._state == PENDING:
                future._ending = ending
                future._state = (
                    CANCELLED_AND_NOTIFIED if isinstance(ending, Cancelled) else FINISHED
                )
                if future._is_to_be_called():
                    to_call.append(future)
    # Conditions are taken outside of the lock: their holders may make others.
    for future, ending in watched:
        with future._condition:
            if future._state == PENDING:
                future._end_under_condition(ending)
                if future._is_to_be_called():
                    to_call.append(future)
    return to_call
