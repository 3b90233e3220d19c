"""The Rust part of hurricane, as Python sees it. Private: people use `hurricane`."""

from collections.abc import Mapping, Sequence
from typing import Any, final

__all__ = ["Connection", "Local", "WorkerLink", "__version__", "command_line"]

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

        {"nodes": [node, ...], "clients": [client, ...], "tasks": counts}, where
        node is {"id": int, "name": str, "resources": amounts, "used": amounts, "running": int,
            "backlog": int, "finished": int}
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
class Connection:
    """A client's connection to its scheduler, or that of a running task through its worker.

    All methods may be called from any thread. Those that wait release the GIL and let signal
    handlers run. After `close`, or when the cluster stopped, those that send raise RuntimeError.
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
    def fetch(self, node: int, object: int) -> bytes:
        """The value of a stored result. Raises KeyError if it is gone."""

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
        ("stalled", what: str)              a sentence: what ready tasks wait for

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
    def receive(self) -> tuple[Any, ...] | None:
        """The next thing to do; waits for it. None: end.

        ("run", run: int, definition: int, arguments: bytes, inputs: list[bytes])
        ("define", definition: int, name: str, function: bytes)
        ("forget", definition: int)
        """

    def finished(self, run: int, result: bytes, ran: float) -> None: ...
    def raised(self, run: int, exception: bytes, ran: float) -> None: ...
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

def command_line(arguments: Sequence[str]) -> tuple[str, dict[str, Any]] | int:
    """Run a command of the command line; an exit code, or a verb and its options for Python."""
