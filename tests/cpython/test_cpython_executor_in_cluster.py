"""CPython's own tests of executors, with a client of a cluster in the executor's place."""

import unittest.mock
from typing import Any

from test_cpython_executor import (
    OnHurricane,
    TracebacksOnHurricane,
    cpython,
    create_tests,
    executor,
)

import hurricane
from clusters import free_port
from hurricane._serialize import OWN_MODULES


class ClientOfCluster(hurricane.Client):
    """A client that finds a cluster of its own, as large as it is told to be."""

    def __init__(self, max_workers: int | None = None, **options: Any) -> None:
        self.cluster = hurricane.Cluster(
            free_port(), bind=["127.0.0.1"], cpus=abs(max_workers or 2)
        )
        # The tests belong to Python, wherever they lie: the nodes have them.
        with unittest.mock.patch("hurricane._project.own_modules", return_value=OWN_MODULES):
            super().__init__(max_workers, port=self.cluster.port, **options)

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        super().shutdown(wait, cancel_futures=cancel_futures)
        if wait:
            self.cluster.shutdown()


# Not among these: programs that end while tasks run, and initializers that break the executor,
# since other workers of a cluster may have called them without a mistake.
options: dict[str, Any] = {"executor_type": ClientOfCluster, "module": globals()}
create_tests(TracebacksOnHurricane, cpython.ProcessPoolExecutorTest, *executor, **options)
create_tests(OnHurricane, cpython.WaitTests, *executor, **options)
create_tests(OnHurricane, cpython.AsCompletedTests, *executor, **options)
create_tests(OnHurricane, cpython.InitializerMixin, *executor, **options)
