"""The Rust part of hurricane, as Python sees it. Private: people use `hurricane`."""

from collections.abc import Mapping, Sequence
from typing import Any, Self, final

from typing_extensions import Buffer, disjoint_base

__all__ = [
    "Calls",
    "Connection",
    "Footprint",
    "Local",
    "Memory",
    "NativeFuture",
    "Nodes",
    "Remote",
    "Server",
    "Slave",
    "WorkerLink",
    "__version__",
    "command_line",
    "copied",
    "find_cluster",
    "gather",
    "pack_numbers",
]

__version__: str

@final
class Local:
    """Scheduler and node of a one-machine cluster, in threads of this process."""

    def __new__(
        cls,
        *,
        slots: int | None,
        worker_command: Sequence[str],
        setup: bytes,
    ) -> Local:
        """Start the threads and the first workers; does not wait for the workers.

        `slots`: exactly so many cpus, or None for as many as this process may use.
        `worker_command`: program and arguments that start a worker.
        `setup`: opaque; each worker gets it from `WorkerLink.setup`.
        Raises OSError with a sentence for people (runtime directory, file descriptors).
        """

    def connect(self) -> Connection: ...
    def snapshot(self) -> dict[str, Any]:
        """The state at this moment, plain values all the way down.

        {"cluster": None or cluster, "nodes": [node, ...], "clients": [client, ...],
            "tasks": counts}, where
        cluster is {"name": str, "id": str, "port": int, "addresses": [str, ...], "uptime": float,
            "rate": float, "members": [member, ...]}     seconds; tasks ended a second
        member is {"name": str, "id": str, "roles": str, "since": str, "connections": int}
        node is {"id": int, "name": str, "address": str, "leaving": bool, "resources": amounts,
            "used": amounts, "running": int, "backlog": int, "finished": int}
        client is {"id": int, "tasks": counts, "held": int}
        amounts is {"cpus": float, "gpus": float, "memory": int, "resources": {name: float}}
        counts is {"waiting": int, "ready": int, "assigned": int, "running": int, "done": int,
            "failed": int, "cancelled": int}
        """

    def worker_pids(self) -> list[int]: ...
    def stop(self) -> None:
        """End all workers with their process trees, then the threads. Idempotent; returns when
        no process is left. Connections are closed: their `receive` returns None."""

@final
class Remote:
    """The way to a cluster, and the thread that carries connections to it."""

    def connect(self) -> Connection: ...
    def snapshot(self) -> dict[str, Any]:
        """As `Local.snapshot`; asks the scheduler. Raises ConnectionError if it does not answer."""

    def slots(self) -> int:
        """How many default tasks the nodes have room for, as was heard lately; at least 1."""

    def worker_pids(self) -> list[int]:
        """None: they are on the nodes."""

    def stop(self) -> None:
        """End the connections: their `receive` returns None. Idempotent."""

def find_cluster(
    *, cluster: str | None, address: str | None, port: int | None
) -> tuple[Remote | None, bool]:
    """Find the cluster that is there or was chosen, if any; and whether this user holds a key.

    What is not given is taken from the environment. Without a key nothing is asked on any network.
    Raises ConnectionError with a sentence for people: there are several, or what was chosen is not
    found, or this machine may not submit to it; ValueError if what was chosen cannot be read.
    """

@final
class Server:
    """A cluster's scheduler, in a thread of this process."""

    def __new__(cls, *, port: int | None, name: str | None, bind: Sequence[str]) -> Server:
        """Start it; it listens and is announced when this returns.

        `port`: the initialization port, or None for that of the environment or the usual one.
        `name`: what people call the cluster, or None for one after the port.
        `bind`: addresses of this machine, or none for all.
        Raises OSError with a sentence for people: the port is in use, the keys cannot be used.
        """

    @property
    def port(self) -> int: ...
    @property
    def addresses(self) -> list[str]: ...
    def invite(self, uses: int, ttl_seconds: float, roles: str) -> str:
        """Make a ticket for the roles `node`, `submit` or `node,submit`."""

    def remote(self) -> Remote:
        """The way to it for clients of this process."""

    def snapshot(self) -> dict[str, Any]:
        """As `Local.snapshot`; empty when it is over."""

    def wait(self, timeout: float | None) -> bool:
        """Wait until it is over; False after `timeout` seconds."""

    def stop(self) -> None:
        """End it: members are told. Idempotent; returns when it is over."""

@final
class Nodes:
    """A node that has this machine's resources, in a thread of this process."""

    def __new__(
        cls,
        *,
        port: int,
        cpus: int | None,
        worker_command: Sequence[str],
        setup: bytes,
    ) -> Nodes:
        """Start it; does not wait for the scheduler, which is this user's on this machine.

        `cpus`: exactly so many, or None for as many as this process may use. The others are as
        for `Local`. Raises OSError with a sentence for people.
        """

    def worker_pids(self) -> list[int]: ...
    def drain(self) -> None:
        """Take no more tasks, and end when those that run have ended."""

    def wait(self, timeout: float | None) -> bool:
        """Wait until it is over; False after `timeout` seconds."""

    def stop(self) -> None:
        """End it with its workers. Idempotent; returns when no process is left."""

@final
class Calls:
    """Submits calls of functions that are known already, with arguments that are simple."""

    def __new__(cls, connection: Connection, future_type: type[NativeFuture]) -> Self: ...
    def submit(
        self, function: object, positional: tuple[Any, ...], named: dict[str, Any]
    ) -> Any | None:
        """Submit a call; the future, or None if that must go the long way."""

    def learn(
        self,
        function: object,
        footprint: Footprint,
        definition: int,
        parts: tuple[Any, str, Connection],
    ) -> None:
        """From now on calls of this function are submitted here, as long as it does not change.

        `parts`: what its futures are made of.
        """

    def knows(self, function: object, footprint: Footprint) -> bool:
        """Whether this is known of a function."""

    def beside(self) -> Calls:
        """One for other options, which closes with this one."""

    def close(self) -> None:
        """Everything goes the long way from now on."""

@final
class Footprint:
    """Of what the bytes of a function were made, to tell whether they still say it."""

    def __new__(cls, checks: Sequence[tuple[Any, ...]]) -> Self:
        """Make it of these:

        ("attribute", holder, name, value), ("item", dictionary, key, value),
        ("no item", dictionary, key), ("length", dictionary, length),
        ("global", module: str, name, value)
        """

    def is_unchanged(self) -> bool:
        """Whether everything is as it was."""

@final
class Connection:
    """A client's connection to its scheduler, or that of a running task through its worker.

    All methods may be called from any thread. Those that wait release the GIL and let signal
    handlers run. After `close`, or when the cluster stopped, those that send raise RuntimeError;
    when the scheduler is lost, `hurricane.SchedulerLost`.
    """

    def define(
        self,
        function: bytes,
        name: str,
        *,
        cpus: float,
        gpus: float,
        memory: int,
        resources: Mapping[str, float],
        retries: int,
        timeout: float | None,
        priority: int,
    ) -> int:
        """Name a function and how to run it; `memory` in bytes, `timeout` in seconds."""

    def forget(self, definition: int) -> None: ...
    def submit(
        self, future: NativeFuture, definition: int, arguments: bytes, dependencies: Sequence[int]
    ) -> int:
        """Submit a task, whose end `future` is told.

        Returns its number, or 0 if a dependency has ended and was released meanwhile (its future
        is done now or in a moment: encode the arguments again), or -1 if the allowance is used up
        (call `wait_for_allowance`, then again). Nothing was submitted in these two cases.
        """

    def put(self, value: Buffer | Sequence[Buffer]) -> int:
        """Make an object of bytes, or of parts (see `gather`); returns its number, or -1 as
        `submit`. It lives until released. A large one is copied into shared memory, where there is
        some; what lies there already and was not written to is not."""

    def keep(self, argument: Buffer, beside: Sequence[int]) -> int:
        """Make an object of a large argument, or give one again that is equal and still there.

        Returns its number, or -1 as `submit`. It lives until it was released as often as it was
        given, and the last task that depends on it has ended. None of those `beside` which it is to
        stand is given again.
        """

    def wait_for_allowance(self, timeout: float) -> bool:
        """Wait until something more may be submitted; False after `timeout` seconds."""

    def cancel(self, number: int) -> None: ...
    def cancel_waiting(self) -> None:
        """Cancel every task of this client that does not run yet."""

    def cancel_all(self) -> None:
        """Cancel every task of this client, and end their futures at once."""

    def release(self, numbers: Sequence[int]) -> None:
        """Let go the values of objects. Futures do so themselves, when they go."""

    def is_running(self, number: int) -> bool: ...
    def fetch(self, node: int, object: int, timeout: float) -> Memory | bytes | None:
        """The value of a stored result, each time as a view of its own. Raises KeyError if it is
        gone.

        None after `timeout` seconds: it has not arrived yet, or is being computed again, and then
        its future will say where it is.
        """

    def bring_stored(self, is_far: bool) -> None:
        """Take over the stored results of all futures, as far as they are to be had."""

    def receive(self, timeout: float | None) -> list[tuple[Any, ...]] | None:
        """What has come in and is not native; waits for the first. None once closed.

        [] after `timeout` seconds, or if there is something else to look after: see `wake` and
        `finish`.

        ("ended", future)       one that is watched: take its condition and call `_settle`
        ("failed", number)      the same, if it is watched for failures and still there
        ("output", name: str, number: int, node: str, is_stderr: bool, text: bytes,
            dropped_lines: int)
        ("setup_failed", error: bytes)      everything submitted fails so, now and later
        ("stalled", what: str)              a sentence: what ready tasks or this client wait for
        ("scheduler_lost", reason: str)     it comes once, after the tasks that have not ended
        """

    def slow_down(self) -> None:
        """From now on `Calls` submits nothing."""

    def wake(self) -> None:
        """Have `receive` return soon."""

    def finish(self) -> None:
        """From now on `receive` returns whenever no task is pending."""

    def pending(self) -> int:
        """How many submitted tasks have not ended, or wait to be given back by `receive`."""

    def last_number(self) -> int:
        """The number given out last."""

    def wait_until_over(self, last: int, timeout: float | None) -> bool:
        """Wait until all tasks up to this number have ended; False after `timeout` seconds.

        Those that `receive` gave back are over when it is called again.
        """

    def close(self) -> None:
        """End the client: its tasks are cancelled, its objects released. Idempotent."""

@disjoint_base
class NativeFuture:
    """What a future is as long as nobody watches it; `hurricane.Future` is the rest.

    It is ended without Python, in whatever thread learned of the end. Once it is watched, its end
    goes through `Connection.receive`.
    """

    def __new__(cls, delivery: Any, name: str, connection: Connection | None = None) -> Self: ...
    def __init__(self, delivery: Any, name: str, connection: Connection | None = None) -> None: ...
    number: int
    _state: str
    _opened: tuple[Any, BaseException | None] | None
    @property
    def _delivery(self) -> Any: ...
    @property
    def _name(self) -> str: ...
    @property
    def _ending(self) -> Any:
        """How it ended, as `hurricane._ending` has it; None before.

        The failure of a `Failed` is one of
        ("raised", exception: bytes)
        ("timed_out", seconds: float, stack: str)
        ("worker_lost", is_poison: bool, deaths)  each death a dict: node: str,
            exit_code: int | None, signal: int | None, peak_memory: int, last_output: str,
            stack: str
        ("infeasible", asked: str, most: str)
        ("object_lost",)
        ("nested_too_deep", limit: int)
        ("setup_failed", error: bytes)
        ("refused", reason: str)
        ("scheduler_lost", reason: str)
        """

    def done(self) -> bool:
        """Whether the task has ended, be it by being cancelled."""

    def cancelled(self) -> bool:
        """Whether the task was cancelled."""

    def result(self, timeout: float | None = None) -> Any:
        """Wait for the task and return what it returned, or raise what it raised."""

    def _open_here(self) -> tuple[Any, BaseException | None] | None:
        """Open what needs no help of Python's; a value and an exception, one of them None."""

    def _track(self) -> None:
        """From now on the collector of garbage looks at it: it may refer to itself."""

    def _keep_opened(
        self, opened: tuple[Any, BaseException | None]
    ) -> tuple[Any, BaseException | None]:
        """Keep what was opened, unless another thread was faster; what is kept."""

    def _watch(self) -> None:
        """From now on, whoever ends it takes its condition. It is kept alive until then."""

    def _watch_for_failure(self) -> bool:
        """From now on, whoever ends it without a value takes its condition. False if it has ended.

        It is not kept alive by this.
        """

    def _settle(self) -> bool:
        """End it as has arrived; whether that was the end. Its condition is held."""

    def _end_cancelled(self) -> bool:
        """End it as cancelled; False if it has ended. Its condition is held."""

    def _cancel_unwatched(self) -> bool | None:
        """Cancel a task that nobody watches; whether it is cancelled. None: somebody watches."""

    def _end_before(self, why: BaseException | NativeFuture) -> None:
        """End it before it was submitted: with an exception, or as what it depends on."""

    def _park(self, timeout: float | None = None) -> bool:
        """Wait without the GIL; whether the task has ended."""

@final
class WorkerLink:
    """A worker process's link to its node. Made once, by the worker's main thread, first thing."""

    def __new__(cls) -> WorkerLink:
        """Take the link over from standard input and make the process a worker: own session, no
        new privileges, no core dumps, higher OOM score, and a thread that ends the process and
        its tree when the node is gone."""

    def setup(self) -> bytes:
        """The opaque setup; waits for it."""

    def node_name(self) -> str: ...
    def stack_path(self) -> str:
        """The file that faulthandler is to write to."""

    def stack_signal(self) -> int:
        """The signal on which faulthandler is to dump all threads."""

    def ready(self) -> None: ...
    def setup_failed(self, error: bytes) -> None: ...
    def serve(self, tools: Any) -> None:
        """Run tasks, one after the other, until the node says that this was all, or is gone.

        `tools` has `load_for_calls`, `loads_arguments`, `dumps_parts` and `describe_exception` of
        `hurricane._serialize`; `tidy_up()`, to be called after a task that printed or left other
        streams in the places of `streams` (stdout, stderr); and `are_noting`: whether these call
        `note_output` before they are written to. Returns in a forked child, too.
        """

    def is_running(self) -> bool:
        """Whether a task runs."""

    def note_output(self, is_stderr: bool) -> None:
        """Something is about to be written to standard output or error: the running task's."""

    def connect(self) -> Connection:
        """The connection of the running task in the part of a client; each call, the same one
        within a run. It closes when the run ends."""

    def wait_begin(self) -> None:
        """The running task waits for its children from now on. Raises RecursionError with the
        limit as argument if too many tasks of the node wait already."""

    def wait_end(self) -> None:
        """The task would go on; returns when it has its resources again."""

    def wait_break_off(self) -> None:
        """The task goes on at once, though nothing has come; it has its resources again when there
        is room."""

@final
class Memory:
    """A value in shared memory: a view that belongs to its holder alone, who may write to it."""

    def __len__(self) -> int: ...
    def __buffer__(self, flags: int, /) -> memoryview: ...

def copied(buffer: Buffer) -> bytes:
    """Copy a buffer, as `bytes(buffer)` does, only faster where it is large."""

def gather(parts: Sequence[Buffer | int]) -> bytes:
    """Make one value of a pickle and its buffers; a number is the place of a dependency whose
    value is the buffer."""

def pack_numbers(values: list[Any], /) -> bytes | None:
    """The letter that `array` has for integers or floats of eight bytes, and so many for each of
    some values, the lowest first. None if there are none, if they are not all alike, or if one does
    not fit. Numbers of other types, as `True`, are not packed."""

@final
class Slave:
    """A node with one slot whose worker is this process; it looks for its scheduler for ever."""

    def __new__(cls, *, port: int, address: str | None, resource: str) -> Slave:
        """Start the node; it has one of the resource, and nothing else."""

    def hear(self, timeout: float | None) -> tuple[Any, ...] | None:
        """The next thing that happens; None after `timeout`. No work while some is in hand.

        ("work", function: bytes, arguments: bytes, inputs: list[bytes])
        ("joined", name: str, cluster: str)
        ("looking", why: str)               the last try failed, and the next one follows
        ("lost", why: str)                  and what was in hand is nobody's any more
        ("refused", why: str)
        """

    def finish(self, result: bytes) -> bool:
        """End what is in hand with a result; whether somebody wants it."""

    def fail(self, exception: bytes) -> bool:
        """End what is in hand with a description of an exception; whether somebody wants it."""

    def give_back(self) -> bool:
        """Leave what is in hand to others; whether something was."""

    def close(self, timeout: float) -> None:
        """Leave the cluster, after what was finished has arrived; but not if nothing of it was
        fetched for `timeout` seconds."""

def command_line(arguments: Sequence[str]) -> tuple[str, dict[str, Any]] | int:
    """Run a command of the command line; an exit code, or a verb and its options for Python."""
