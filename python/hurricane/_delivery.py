"""One connection to the scheduler, and the thread that ends futures with what comes in over it.

All clients of one connection share this. It lives on until the last task has ended, also when
nobody holds a client any more, as executors of the standard library do.
"""

import threading
from collections import OrderedDict, deque
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import wait as wait_for_futures
from concurrent.futures._base import FIRST_COMPLETED, LOGGER
from contextlib import AbstractContextManager, suppress
from threading import get_ident
from time import monotonic
from typing import Any

from hurricane import _exit
from hurricane._ending import Location, scheduler_lost, setup_failure
from hurricane._exceptions import NotSerializable
from hurricane._functions import Function, encode_function
from hurricane._future import Future, end_all
from hurricane._native import Calls, Connection, Local, Memory, Remote
from hurricane._object import Object
from hurricane._options import Options
from hurricane._output import write_notice, write_output
from hurricane._place import Place
from hurricane._serialize import (
    EndedBefore,
    dumps_arguments,
    dumps_parts,
)
from hurricane._sizes import Measured
from hurricane._waiting import NOTHING_TO_GIVE_BACK, Waiters, Waiting

# How often a callback that waits looks for what is no news to the thread that it runs in.
_ATTENTION_SECONDS = 0.1

# How long somebody who waits for a stored value does not look whether it lies elsewhere by now.
_FETCH_SECONDS = 0.1

# How long a wait may be silent.
_SILENCE_SECONDS = 5.0

# Definitions cost memory here and in the scheduler; a program that makes new functions all the time
# must stay within bounds.
_MAX_DEFINITIONS = 1_000
_MAX_DEFINITION_BYTES = 64 << 20


TYPE_CHECKING = False
if TYPE_CHECKING:
    from hurricane._map import Mapping


class Delivery:
    """Submits tasks over a connection and ends their futures.

    Parameters
    ----------
    connection
        The connection. It is closed at the end, unless it is a running task's.
    cluster
        The cluster inside of this process, or the way to one, that ends with it.
    place
        Where the tasks run.
    waiting
        What gives the resources of the running task back while it waits for others.
    """

    def __init__(
        self,
        connection: Connection,
        cluster: Local | Remote | None,
        place: Place,
        waiting: Waiting | None = None,
    ) -> None:
        self.cluster = cluster
        self.measured = _Measurements()
        self.broken: BaseException | None = None
        # Of these, nobody has asked for a result: all of their calls are wanted, as of others.
        self.unread: set[Mapping] = set()
        self.is_forked = False
        self._connection = connection
        self._waiting = waiting
        self._place = place
        self._definitions = _Definitions(connection, place)
        self._unwanted: deque[Future[Any]] = deque()
        self._is_ending = False
        # A definition must not be forgotten between its making and its use.
        self._submitting = threading.RLock()
        # Futures that are watched for failures only, which keep nothing alive themselves.
        self._kept: dict[int, Future[Any]] = {}
        # Futures that have ended and whose callbacks have not run yet.
        self._ended: deque[Future[Any]] = deque()
        self._is_over = threading.Event()
        self._thread = threading.Thread(target=self._run, name="hurricane", daemon=True)
        if waiting is None:
            _exit.watch(self)
        try:
            self._thread.start()
        except BaseException:  # Ctrl-C, or there is no thread to be had.
            self.kill()
            raise

    @property
    def slots(self) -> int:
        """How many default tasks may run at a time, as far as one can know."""
        return self._place.slots()

    @property
    def own_modules(self) -> Sequence[str]:
        """The modules that the other end has not got."""
        return self._place.own_modules()

    # Submitting.

    def encode(self, function: Callable[..., Any], name: str | None = None) -> Function:
        """Pickle a function so that workers can make it of that."""
        return encode_function(function, name, self.own_modules)

    def submit(
        self,
        function: Function,
        options: Options,
        positional: tuple[Any, ...],
        named: dict[str, Any],
    ) -> Future[Any]:
        """Submit a call. What cannot be submitted is told by the future."""
        future: Future[Any] = Future(self, options.name or function.name, self._connection)
        try:
            if function.error is not None:
                raise function.error
            self._send(future, function, options, positional, named)
        except EndedBefore as early:
            future._end_before(early.ending)
        except NotSerializable as error:
            future._end_before(error)
        return future

    def calls(self) -> Calls:
        """Make a short way to submit."""
        return Calls(self._connection, Future)

    def teach(
        self,
        calls: Calls,
        function: Callable[..., Any],
        encoded: Function,
        options: Options,
    ) -> None:
        """Let calls of a function go the short way, if that can be."""
        footprint = encoded.footprint
        if footprint is None or calls.knows(function, footprint):
            return
        with self._submitting:
            definition = self._definitions.number_of(encoded, options)
            parts = self, options.name or encoded.name, self._connection
            calls.learn(function, footprint, definition, parts)

    def put(self, value: Any) -> Object:
        """Make an object."""
        number = self._put(dumps_parts(value, self.own_modules))
        return Object(number, self)

    def keep_buffer(self, buffer: memoryview, beside: Sequence[int]) -> Object:
        """Make a value of a buffer among arguments, or find an equal one, if not `beside` it."""
        while (number := self._connection.keep(buffer, beside)) < 0:
            self._wait_for_allowance()
        return Object(number, self)

    def release(self, number: int) -> None:
        """Let go a value. May be called by finalizers, which may run anywhere."""
        if not self.is_forked:
            with suppress(RuntimeError):  # All is over anyway.
                self._connection.release([number])

    def _put(self, value: Any) -> int:
        while (number := self._connection.put(value)) < 0:
            self._wait_for_allowance()
        return number

    def _send(
        self,
        future: Future[Any],
        function: Function,
        options: Options,
        positional: tuple[Any, ...],
        named: dict[str, Any],
    ) -> None:
        own_modules = self.own_modules
        arguments, dependencies = dumps_arguments(positional, named, self, own_modules)
        while True:
            numbers = [found.number for found in dependencies]
            with self._submitting:
                definition = self._definitions.number_of(function, options)
                number = self._connection.submit(future, definition, arguments, numbers)
            if number > 0:
                break
            if number < 0:
                self._wait_for_allowance()
                continue
            # One of the futures has ended meanwhile: its value is here, or will be in a moment.
            ended = [found for found in dependencies if isinstance(found, Future)]
            wait_for_futures(ended, return_when=FIRST_COMPLETED)
            arguments, dependencies = dumps_arguments(positional, named, self, own_modules)

    def _wait_for_allowance(self) -> None:
        with self.waiting():
            while not self._connection.wait_for_allowance(_SILENCE_SECONDS):
                self.check_process()

    # What futures ask for.

    def cancel(self, future: Future[Any]) -> None:
        """Tell the scheduler that nobody wants this task's result."""
        with suppress(RuntimeError):  # All is over anyway.
            self._connection.cancel(future.number)

    def cancel_later(self, futures: Iterable[Future[Any]]) -> None:
        """Cancel futures soon. To be called by finalizers, which may run anywhere."""
        self._unwanted.extend(futures)
        self._wake()

    def is_running(self, future: Future[Any]) -> bool:
        """Whether the task has room on a node."""
        return not self.is_forked and self._connection.is_running(future.number)

    def waiting(self) -> AbstractContextManager[None]:
        """Give what a wait for tasks must be done within."""
        return self._waiting or NOTHING_TO_GIVE_BACK

    def waiters(self) -> list[Any]:
        """Make the list into which `concurrent.futures.wait` hangs its waiters."""
        return Waiters(self)

    def wait(
        self,
        is_met: Callable[[], bool],
        wait: Callable[[float | None], bool],
        timeout: float | None,
    ) -> bool:
        """Wait for tasks until something is so; whether it is.

        Parameters
        ----------
        is_met
            Whether it is so now.
        wait
            What waits for it, so many seconds at most. But in a callback, which runs in the thread
            that brings the results, nothing would ever come: the thread goes on delivering.
        timeout
            Seconds to wait at most.
        """
        if self._waiting is None:
            return self._wait_here(is_met, wait, timeout)
        self._waiting.begin()
        has_come = False
        try:
            has_come = self._wait_here(is_met, wait, timeout)
        finally:
            self._waiting.end(has_come=has_come)
        return has_come

    def keep(self, future: Future[Any]) -> None:
        """Keep alive a future that is watched for failures only.

        Those that have ended are let go one by one, as others come.
        """
        kept = self._kept
        while kept and (oldest := kept[next(iter(kept))]).done():
            kept.pop(oldest.number, None)
        kept[future.number] = future

    def let_go(self, future: Future[Any]) -> None:
        """Do so no more."""
        self._kept.pop(future.number, None)

    def wait_without_blocking(self, future: Future[Any]) -> None:
        """Be taken to wait for a task until it has ended, as an event loop does."""
        waiting = self._waiting
        if waiting is not None:
            waiting.begin()
            future.call_when_done(lambda ended: waiting.end(has_come=not ended.cancelled()))

    def _wait_here(
        self,
        is_met: Callable[[], bool],
        wait: Callable[[float | None], bool],
        timeout: float | None,
    ) -> bool:
        if self.is_delivering():
            return self._deliver_until(is_met, wait, timeout)
        return wait(timeout)

    def is_delivering(self) -> bool:
        """Whether this is the thread that brings the results of watched futures."""
        return get_ident() == self._thread.ident

    def is_waited_for_plainly(self) -> bool:
        """Whether `wait` does no more in this thread than it is given."""
        return self._waiting is None and not self.is_delivering()

    def check_process(self) -> None:
        """Raise RuntimeError in a child of the process that made this."""
        if self.is_forked:
            msg = (
                "this hurricane client belongs to the process from which this one was forked; "
                "make a new one here"
            )
            raise RuntimeError(msg)

    # The end.

    def finish(self) -> None:
        """Let what was submitted run, and then end. Does not wait; may be called by finalizers."""
        self._is_ending = True
        self._connection.slow_down()
        if not self.is_forked:
            with suppress(RuntimeError):  # All is over anyway.
                self._connection.finish()

    def read_all(self) -> None:
        """Submit all calls of `map` that are wanted."""
        while self.unread and not self.is_forked:
            # What reading raises comes to whoever asks for the results.
            with suppress(Exception):
                self.unread.pop().read_all()

    def cancel_waiting(self) -> None:
        """Cancel every task that does not run yet."""
        with suppress(RuntimeError):  # All is over anyway.
            self._connection.cancel_waiting()

    def cancel_all(self) -> None:
        """Cancel every task, also those that run."""
        with suppress(RuntimeError):  # All is over anyway.
            self._connection.cancel_all()

    def is_over(self) -> bool:
        """Whether everything that there was to do is done."""
        return self._is_over.is_set()

    def is_of(self, connection: Connection) -> bool:
        """Whether this is the delivery of that connection."""
        return self._connection is connection

    def wait_until_finished(self) -> None:
        """Wait until all is over, in words if it takes long. Ctrl-C ends it at once."""
        try:
            if not self._join(_SILENCE_SECONDS):
                self._say_what_is_waited_for()
                self._join(None)
        except BaseException:
            self.kill()
            raise

    def wait_for_pending(self) -> None:
        """Wait until everything submitted so far has ended; what a running task does instead."""
        connection, last = self._connection, self._connection.last_number()
        if not connection.wait_until_over(last, 0):
            self.wait(
                lambda: connection.wait_until_over(last, 0),
                lambda timeout: connection.wait_until_over(last, timeout),
                None,
            )

    def kill(self) -> None:
        """End everything at once: tasks, workers, threads."""
        self._is_ending = True
        self.unread.clear()
        self._connection.close()
        if self.cluster is not None:
            self.cluster.stop()
        self._join(None)

    def _join(self, timeout: float | None) -> bool:
        """Wait until the thread is over; whether it is, or waits for itself here."""
        if self._thread.ident in (None, get_ident()):
            return True
        # Not `Thread.join` alone: interrupted once, it takes the thread for ended.
        if self._is_over.wait(timeout):
            self._thread.join()
        return self._is_over.is_set()

    def _say_what_is_waited_for(self) -> None:
        count = self._connection.pending()
        tasks = "1 task" if count == 1 else f"{count} tasks"
        write_notice(f"waiting for {tasks} to finish (Ctrl-C ends them)")

    # The thread.

    def _run(self) -> None:
        try:
            while self._deliver_next(None):
                self._call_back()
                if self._is_ending and not self._connection.pending():
                    break
        finally:
            try:
                self._end()
            finally:
                self._is_over.set()

    def _wake(self) -> None:
        """Have the thread look around soon. May be called by finalizers."""
        if not self.is_forked:
            with suppress(RuntimeError):  # All is over anyway.
                self._connection.wake()

    def _deliver_next(self, timeout: float | None) -> bool:
        """Wait for what comes in and deal with it; false when nothing more will come.

        A function of its own, so that nothing of it is held while the next one is waited for.
        """
        events = self._connection.receive(timeout)
        if events is None:
            return False
        self._deliver(events)
        del events
        while self._unwanted:
            self._unwanted.popleft().cancel()
        return True

    def _deliver_until(
        self,
        is_met: Callable[[], bool],
        wait: Callable[[float | None], bool],
        timeout: float | None,
    ) -> bool:
        """Go on delivering in a callback that waits; other callbacks run when it has returned."""
        end = None if timeout is None else monotonic() + timeout
        while not is_met():
            rest = None if end is None else max(0.0, end - monotonic())
            if rest == 0:
                return False
            if not self._deliver_next(min(_ATTENTION_SECONDS, rest or _ATTENTION_SECONDS)):
                return wait(rest)
        return True

    def _call_back(self) -> None:
        """Run the callbacks of futures that have ended."""
        with suppress(IndexError):  # None is left.
            while True:
                future = self._ended.popleft()
                try:
                    future._invoke_callbacks()
                except BaseException:
                    # Even `SystemExit` ends no more than the callback.
                    LOGGER.critical("Exception in a callback:", exc_info=True)

    def _deliver(self, events: Sequence[tuple[Any, ...]]) -> None:
        ended = []
        for event in events:
            match event:
                case ("ended", future):
                    ended.append(future)
                case ("failed", number) if number in self._kept:
                    ended.append(self._kept.pop(number))
                case _:
                    self._take_in(event)
        self._ended.extend(end_all(ended))

    def _take_in(self, event: tuple[Any, ...]) -> None:
        """Deal with what ends no task."""
        match event:
            case ("output", name, number, node, is_stderr, text, dropped):
                write_output(f"{name}-{number}", node, text, dropped, is_stderr=is_stderr)
            case ("setup_failed", description):
                self._break(description)
            case ("stalled", what):
                write_notice(what)
            case ("scheduler_lost", reason):
                self.broken = scheduler_lost(reason)
                self._connection.slow_down()

    def fetch(self, location: Location) -> Memory | bytes | None:
        """Wait a while for a stored value.

        Raises
        ------
        KeyError
            If it is gone.
        RuntimeError
            If the connection is.
        """
        is_delivering = self.is_delivering()
        try:
            value = self._connection.fetch(*location, 0 if is_delivering else _FETCH_SECONDS)
        except KeyError:
            if not self._place.is_far:
                raise
            # Its node is lost, and the scheduler will say what becomes of the value.
            value = None
            threading.Event().wait(_FETCH_SECONDS)
        if value is None and is_delivering:
            # A callback asks for it: what happens to it meanwhile comes through this thread.
            self._deliver_next(_FETCH_SECONDS)
        return value

    def _break(self, description: bytes) -> None:
        if self.broken is None:
            self.broken = setup_failure(description)
            self._connection.slow_down()
            cause = self.broken.__cause__
            LOGGER.critical("Exception in initializer:", exc_info=cause or self.broken)

    def _end(self) -> None:
        """Leave nothing behind; only then is the thread over."""
        # They can be asked for after the end, too.
        self._connection.bring_stored(self._place.is_far)
        if self._waiting is None:
            self._connection.close()
            # What was submitted until then is given back, each task once.
            while self._deliver_next(0):
                pass
        self._call_back()
        if self.cluster is not None:
            self.cluster.stop()


class _Measurements(OrderedDict[bytes, Measured]):
    """What calls of pickled functions took; those not seen for long are forgotten."""

    def __setitem__(self, function: bytes, measured: Measured) -> None:
        super().__setitem__(function, measured)
        if len(self) > _MAX_DEFINITIONS:
            self.popitem(last=False)


class _Definitions:
    """What functions are called on the connection; the least recently used are forgotten."""

    def __init__(self, connection: Connection, place: Place) -> None:
        self._connection = connection
        self._place = place
        self._numbers: OrderedDict[tuple[Any, ...], int] = OrderedDict()
        self._bytes = 0

    def number_of(self, function: Function, options: Options) -> int:
        name = options.name or function.name
        key = (function.pickled, name, options)
        number = self._numbers.get(key)
        if number is not None:
            self._numbers.move_to_end(key)
            return number
        number = self._define(function.pickled, name, options)
        self._numbers[key] = number
        self._bytes += len(function.pickled)
        self._forget_the_oldest()
        return number

    def _define(self, pickled: bytes, name: str, options: Options) -> int:
        if self._place.initializer is not None:
            pickled = self._place.initializer.before(pickled)
        return self._connection.define(
            pickled,
            name,
            cpus=options.cpus,
            gpus=options.gpus,
            memory=options.memory,
            resources=dict(options.resources),
            retries=options.retries,
            timeout=options.timeout,
            priority=options.priority,
        )

    def _forget_the_oldest(self) -> None:
        # The newest one stays, however large: it is about to be used.
        while len(self._numbers) > 1 and (
            len(self._numbers) > _MAX_DEFINITIONS or self._bytes > _MAX_DEFINITION_BYTES
        ):
            key, number = self._numbers.popitem(last=False)
            self._bytes -= len(key[0])
            self._connection.forget(number)
