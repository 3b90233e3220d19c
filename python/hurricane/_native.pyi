"""The Rust part of hurricane, as Python sees it. Private: people use `hurricane`."""

from collections.abc import Mapping, Sequence
from typing import Any, final

__all__ = [
    "Connection",
    "Local",
    "Nodes",
    "Remote",
    "Server",
    "Slave",
    "WorkerLink",
    "__version__",
    "command_line",
    "find_cluster",
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
        self, future: object, definition: int, arguments: bytes, dependencies: Sequence[int]
    ) -> int:
        """Submit a task; `future` is kept, and given back by `receive` when the task ended.

        Returns its number, or 0 if a dependency has ended and was released meanwhile (its future
        is done now or in a moment: encode the arguments again), or -1 if the allowance is used up
        (call `wait_for_allowance`, then again). Nothing was submitted in these two cases.
        """

    def put(self, value: bytes) -> int:
        """Make an object; returns its number, or -1 as `submit`. It lives until released."""

    def wait_for_allowance(self, timeout: float) -> bool:
        """Wait until something more may be submitted; False after `timeout` seconds."""

    def cancel(self, number: int) -> None: ...
    def cancel_waiting(self) -> None:
        """Cancel every task of this client that does not run yet."""

    def release(self, numbers: Sequence[int]) -> None:
        """Let go the values of objects and of tasks whose result was stored.

        Ended tasks with any other ending are released by `receive` itself.
        """

    def is_running(self, number: int) -> bool: ...
    def fetch(self, node: int, object: int, timeout: float) -> bytes | None:
        """The value of a stored result. Raises KeyError if it is gone.

        None after `timeout` seconds: it has not arrived yet, or is being computed again, and then
        `restored` will say so.
        """

    def receive(self, timeout: float | None) -> list[tuple[Any, ...]] | None:
        """What has come in; waits for the first. [] after `timeout` seconds; None once closed.

        ("done", future, result: bytes)
        ("stored", future, node: int, object: int, size: int)
        ("failed", future, failure: tuple, cause: tuple[int, str] | None)   cause: number, name
        ("cancelled", future, cause: tuple[int, str] | None)
        ("restored", number: int, ended: tuple)    one of the above with None for its future: a
            stored result was lost with its node, and the task ran again
        ("output", name: str, number: int, node: str, is_stderr: bool, text: bytes,
            dropped_lines: int)
        ("setup_failed", error: bytes)      everything submitted fails so, now and later
        ("stalled", what: str)              a sentence: what ready tasks or this client wait for
        ("scheduler_lost", reason: str)     it comes once, after the tasks that have not ended

        failure is one of
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

    def pending(self) -> int:
        """How many submitted tasks `receive` has not yet given back."""

    def close(self) -> None:
        """End the client: its tasks are cancelled, its objects released. Idempotent."""

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

        `tools` has `loads_function`, `loads_arguments`, `dumps_result` and `describe_exception` of
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
