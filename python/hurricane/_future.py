"""The client's handle on a task: a `concurrent.futures.Future` that costs little until it is used.

A program may have a million of them, so the condition, the waiters and the callbacks are made when
somebody asks for them, and a result is unpickled by the thread that asks for it. What most need is
native, and ended without Python; see `NativeFuture`. One whose condition was asked for is watched:
it is ended by the delivery thread, which takes the condition for it.
"""

import sys
import threading
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import CancelledError
from concurrent.futures import Future as StandardFuture
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from hurricane._ending import Opened, Stored, open_ending
from hurricane._exit import call_in_forked_child
from hurricane._native import NativeFuture
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

# Guards the making of conditions: two threads that ask for one get the same. One for all, and held
# for a few instructions.
_making = threading.RLock()


def _renew_lock() -> None:
    """Make the lock anew in a forked child: a thread of the parent may have held it."""
    global _making
    _making = threading.RLock()


call_in_forked_child(_renew_lock)


class Future(NativeFuture, StandardFuture[T], Generic[T]):
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
    _made_condition: threading.Condition | None = None
    _made_waiters: "list[Any] | None" = None
    _made_callbacks: "list[Any] | None" = None
    _on_failure: Callable[[], object] | None = None

    if TYPE_CHECKING:

        def result(self, timeout: float | None = None) -> T: ...
        @property
        def _delivery(self) -> Delivery: ...

    def __setattr__(self, name: str, value: object) -> None:
        """Set an attribute; only after that it may be part of a cycle, unless by its result."""
        self._track()
        super().__setattr__(name, value)

    def cancel(self) -> bool:
        """Cancel the task, also while it runs: its worker is killed then.

        Returns
        -------
        bool
            False if the result has arrived already, or else true.
        """
        is_cancelled = self._cancel_unwatched()
        if is_cancelled is not None:
            return is_cancelled
        with self._condition:
            if not self._end_cancelled():
                return self.cancelled()
            self._tell()
        self._delivery.cancel(self)
        self._invoke_callbacks()
        return True

    def running(self) -> bool:
        """Whether the task runs in a worker at this moment."""
        return self._state == "PENDING" and self._delivery.is_running(self)

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
        self._delivery.keep(self)
        if not self._watch_for_failure():
            self._delivery.let_go(self)
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
            raise EndedBefore(ValueError(msg))
        ending = self._ending
        if ending is None or isinstance(ending, Stored):
            return dependency(self)
        if isinstance(ending, bytes):
            return inline(ending)
        raise EndedBefore(self)

    # What the standard library keeps in attributes, and its `wait` and `as_completed` reach for.

    @property
    def _condition(self) -> threading.Condition:  # type: ignore[override]  # made late
        condition = self._made_condition
        if condition is None:
            with _making:
                condition = self._made_condition
                if condition is None:
                    condition = threading.Condition()
                    # Before anybody can have it: an ending finds that it is watched, or whoever
                    # takes the condition finds the ending.
                    self._watch()
                    self._made_condition = condition
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
        if self._on_failure is not None and self.done():
            self._delivery.let_go(self)
        opened = self._open_here()
        if opened is not None:
            return opened
        ending = self._ending
        if isinstance(ending, Stored):
            return self._keep_opened(ending.open(self._delivery.fetch, self))
        if ending is None:
            return None, None
        return self._keep_opened(open_ending(ending, self._name))

    def _open_in_time(self, timeout: float | None) -> Opened:
        if not self._wait_for_end(timeout):
            raise TimeoutError
        if self._made_condition is not None:
            # Whoever ends it from outside may not be done with it.
            with self._made_condition:
                pass
        if self.cancelled() and self._ending is None:
            raise CancelledError
        return self._open()

    def _result_in_time(self, timeout: float | None) -> T:
        """Do what `result` does, where that is not native."""
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

    def _wait_for_end(self, timeout: float | None) -> bool:
        """Wait until the task has ended; whether it has."""
        if self.done():
            return True
        delivery = self._delivery
        delivery.check_process()
        if delivery.is_delivering():
            # So that its end comes through this thread.
            self._condition  # noqa: B018 - it is made by being asked for
        return delivery.wait(self.done, self._park, timeout)

    def _is_to_be_called(self) -> bool:
        """Whether somebody is to be called, now that it has ended."""
        if self._on_failure is not None and isinstance(self._ending, (bytes, Stored)):
            self._on_failure = None
        return bool(self._made_callbacks) or self._on_failure is not None

    def _tell(self) -> None:
        """Tell whoever waits that it has ended. Its condition is held."""
        ending = self._ending
        for waiter in self._made_waiters or ():
            if self.cancelled():
                waiter.add_cancelled(self)
            elif isinstance(ending, (bytes, Stored)):
                waiter.add_result(self)
            else:
                waiter.add_exception(self)
        self._condition.notify_all()


def _is_in_event_loop() -> bool:
    asyncio = sys.modules.get("asyncio")
    return asyncio is not None and asyncio._get_running_loop() is not None


def end_all(futures: Iterable[Future[Any]]) -> list[Future[Any]]:
    """End watched futures whose endings have arrived, and tell whoever waits for them.

    Returns
    -------
    list
        Those whose callbacks are to be run: by now all have ended, whatever a callback looks at.
    """
    to_call = []
    for future in futures:
        with future._condition:
            if future._settle():
                future._tell()
                if future._is_to_be_called():
                    to_call.append(future)
    return to_call
