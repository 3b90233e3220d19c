"""The systems that are measured, each with two workers that run one task at a time.

Every adapter does what that system's own documentation advises. Loops stand inside the adapters, so
that none pays for calls of the harness.
"""

import os
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Executor
from types import TracebackType
from typing import Any, Self

from benchmarks.tasks import identity, noop, square, squares

WORKERS = 2

# Pieces that a map is cut into where the user has to cut: what `multiprocessing.Pool` takes.
_PIECES = WORKERS * 4

Function = Callable[..., Any]


class System(ABC):
    """A running system; it ends with the `with` block."""

    # Whether futures may be arguments of tasks.
    takes_futures = False

    @abstractmethod
    def call(self, function: Function, *arguments: Any) -> Any:
        """Submit one task and wait for its result."""

    @abstractmethod
    def submit(self, function: Function, arguments: Iterable[tuple[Any, ...]]) -> list[Any]:
        """Submit tasks one by one; return what stands for their results."""

    @abstractmethod
    def results(self, handles: list[Any]) -> list[Any]:
        """Wait for the results."""

    @abstractmethod
    def map(self, function: Function, items: Sequence[int]) -> list[Any]:
        """Call a function with each item by the system's best idiom; return the results."""

    @abstractmethod
    def close(self) -> None:
        """End it."""

    def echo(self, values: list[Any]) -> list[Any]:
        """Send values, each as the argument of a task that gives it back."""
        return self.results(self.submit(identity, [(value,) for value in values]))

    def warm_up(self) -> None:
        """Have all workers started, and the machinery run in."""
        for _ in range(3):
            self.results(self.submit(noop, [()] * 20 * WORKERS))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()


class _Executor(System):
    """Whatever is a `concurrent.futures.Executor`."""

    def __init__(self, executor: Executor) -> None:
        self._executor = executor

    def call(self, function: Function, *arguments: Any) -> Any:
        return self._executor.submit(function, *arguments).result()

    def submit(self, function: Function, arguments: Iterable[tuple[Any, ...]]) -> list[Any]:
        submit = self._executor.submit
        return [submit(function, *each) for each in arguments]

    def results(self, handles: list[Any]) -> list[Any]:
        return [future.result() for future in handles]

    def map(self, function: Function, items: Sequence[int]) -> list[Any]:
        return list(self._executor.map(function, items, chunksize=-(-len(items) // _PIECES)))

    def close(self) -> None:
        self._executor.shutdown()


class Hurricane(_Executor):
    """hurricane without a cluster: everything on this machine, started by the program."""

    takes_futures = True

    def __init__(self) -> None:
        from hurricane import Client

        super().__init__(Client(max_workers=WORKERS))

    def map(self, function: Function, items: Sequence[int]) -> list[Any]:
        return list(self._executor.map(function, items))


class HurricaneTls(Hurricane):
    """hurricane in processes of their own: a scheduler and two nodes, over TCP and TLS."""

    def __init__(self) -> None:
        from benchmarks.cluster import Cluster
        from hurricane import Client

        self._cluster = Cluster()
        try:
            self._cluster.start_nodes(WORKERS)
            os.environ.update(self._cluster.member_variables)
            _Executor.__init__(self, Client(address=self._cluster.address))
        except BaseException:
            self._cluster.close()
            raise

    def close(self) -> None:
        try:
            super().close()
        finally:
            self._cluster.close()


class MultiprocessingPool(System):
    """`multiprocessing.Pool`, which forks."""

    def __init__(self) -> None:
        from multiprocessing import get_context

        self._pool = get_context("fork").Pool(WORKERS)

    def call(self, function: Function, *arguments: Any) -> Any:
        return self._pool.apply(function, arguments)

    def submit(self, function: Function, arguments: Iterable[tuple[Any, ...]]) -> list[Any]:
        apply_async = self._pool.apply_async
        return [apply_async(function, each) for each in arguments]

    def results(self, handles: list[Any]) -> list[Any]:
        return [handle.get() for handle in handles]

    def map(self, function: Function, items: Sequence[int]) -> list[Any]:
        return self._pool.map(function, items)

    def close(self) -> None:
        self._pool.terminate()
        self._pool.join()


class ProcessPool(_Executor):
    """`concurrent.futures.ProcessPoolExecutor`, which forks."""

    def __init__(self) -> None:
        from concurrent.futures import ProcessPoolExecutor
        from multiprocessing import get_context

        super().__init__(ProcessPoolExecutor(WORKERS, mp_context=get_context("fork")))


class ProcessPoolSpawn(_Executor):
    """The same with the spawn method, which like hurricane gives workers that share nothing."""

    def __init__(self) -> None:
        from concurrent.futures import ProcessPoolExecutor
        from multiprocessing import get_context

        super().__init__(ProcessPoolExecutor(WORKERS, mp_context=get_context("spawn")))


class Loky(_Executor):
    """loky's reusable executor, which is joblib's default."""

    def __init__(self) -> None:
        from loky import get_reusable_executor

        super().__init__(get_reusable_executor(max_workers=WORKERS))

    def close(self) -> None:
        self._executor.shutdown(wait=True, kill_workers=True)  # type: ignore[call-arg]  # loky's own


class Ray(System):
    """Ray: tasks by `remote`, values by `put`."""

    takes_futures = True

    def __init__(self) -> None:
        import ray

        self._ray = ray
        self._remote: dict[Function, Any] = {}
        # Anything that dials out, serves a page or prints would only cost it time.
        ray.init(
            num_cpus=WORKERS,
            include_dashboard=False,
            log_to_driver=False,
            logging_level="error",
            object_store_memory=2 << 30,
        )

    def _task(self, function: Function) -> Any:
        known = self._remote.get(function)
        if known is None:
            known = self._remote[function] = self._ray.remote(function)
        return known

    def call(self, function: Function, *arguments: Any) -> Any:
        return self._ray.get(self._task(function).remote(*arguments))

    def submit(self, function: Function, arguments: Iterable[tuple[Any, ...]]) -> list[Any]:
        remote = self._task(function).remote
        return [remote(*each) for each in arguments]

    def results(self, handles: list[Any]) -> list[Any]:
        found: list[Any] = self._ray.get(handles)
        return found

    def map(self, function: Function, items: Sequence[int]) -> list[Any]:
        # "Batching tiny tasks", as Ray's guide on too fine-grained tasks has it.
        return _in_batches(self, function, items)

    def echo(self, values: list[Any]) -> list[Any]:
        put = self._ray.put
        return self.results(self.submit(identity, [(put(value),) for value in values]))

    def close(self) -> None:
        self._ray.shutdown()


class Dask(System):
    """Dask's distributed scheduler with two worker processes on this machine."""

    takes_futures = True

    def __init__(self) -> None:
        from distributed import Client

        self._client = Client(
            n_workers=WORKERS,
            threads_per_worker=1,
            processes=True,
            dashboard_address=None,
            silence_logs=40,
        )

    def call(self, function: Function, *arguments: Any) -> Any:
        return self._client.submit(function, *arguments, pure=False).result()

    def submit(self, function: Function, arguments: Iterable[tuple[Any, ...]]) -> list[Any]:
        submit = self._client.submit
        return [submit(function, *each, pure=False) for each in arguments]

    def results(self, handles: list[Any]) -> list[Any]:
        found: list[Any] = self._client.gather(handles)
        return found

    def map(self, function: Function, items: Sequence[int]) -> list[Any]:
        # As its page of best practices advises against very many tasks.
        return _in_batches(self, function, items)

    def echo(self, values: list[Any]) -> list[Any]:
        # Large values go ahead of the tasks, as its warning about large graphs asks for.
        sent = self._client.scatter(values, hash=False)
        return self.results(self.submit(identity, [(value,) for value in sent]))

    def close(self) -> None:
        cluster = self._client.cluster
        self._client.close()
        cluster.close()


def _in_batches(system: System, function: Function, items: Sequence[int]) -> list[Any]:
    """Map as people do by hand where each task costs much."""
    assert function is square
    size = -(-len(items) // _PIECES)
    batches = [(items[start : start + size],) for start in range(0, len(items), size)]
    found = system.results(system.submit(squares, batches))
    return [result for batch in found for result in batch]


SYSTEMS: dict[str, type[System]] = {
    "hurricane": Hurricane,
    "hurricane-tls": HurricaneTls,
    "multiprocessing": MultiprocessingPool,
    "processpool": ProcessPool,
    "processpool-spawn": ProcessPoolSpawn,
    "loky": Loky,
    "ray": Ray,
    "dask": Dask,
}

# What must be installed for a system, by the name of its distribution.
DISTRIBUTIONS = {"loky": "loky", "ray": "ray", "dask": "distributed"}

STANDARD_LIBRARY = ("multiprocessing", "processpool")
PEERS = (*STANDARD_LIBRARY, "loky", "ray", "dask")
