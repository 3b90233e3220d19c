"""W7: how long a program waits for its first result, and what importing costs it.

Each sample is a new interpreter that does nothing else. The clock is the machine's, the same in
this process and in that one.
"""

import os
import subprocess
import sys
from time import monotonic

_TIMEOUT_SECONDS = 60

_PROCESS_POOL = """
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
"""

# How each system is imported and made, gives a first result, and ends.
PROGRAMS = {
    "hurricane": (
        "from hurricane import Client",
        "client = Client(max_workers=2)",
        "client.submit(pow, 2, 10).result()",
        "client.shutdown()",
    ),
    "multiprocessing": (
        "from multiprocessing import Pool",
        "pool = Pool(2)",
        "pool.apply(pow, (2, 10))",
        "pool.terminate()",
    ),
    "processpool": (
        _PROCESS_POOL,
        "pool = ProcessPoolExecutor(2, mp_context=get_context('fork'))",
        "pool.submit(pow, 2, 10).result()",
        "pool.shutdown()",
    ),
    "processpool-spawn": (
        _PROCESS_POOL,
        "pool = ProcessPoolExecutor(2, mp_context=get_context('spawn'))",
        "pool.submit(pow, 2, 10).result()",
        "pool.shutdown()",
    ),
    "loky": (
        "from loky import get_reusable_executor",
        "pool = get_reusable_executor(max_workers=2)",
        "pool.submit(pow, 2, 10).result()",
        "pool.shutdown(kill_workers=True)",
    ),
    "ray": (
        "import ray",
        "ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False, logging_level='error')",
        "ray.get(ray.remote(lambda: pow(2, 10)).remote())",
        "ray.shutdown()",
    ),
    "dask": (
        "from distributed import Client",
        "client = Client(n_workers=2, threads_per_worker=1, dashboard_address=None)",
        "client.submit(pow, 2, 10).result()",
        "client.close()",
    ),
}

_PROGRAM = """
from time import monotonic
began = monotonic()
{}
imported = monotonic()
{}
assert {} == 1024
print(imported - began, imported, monotonic(), flush=True)
{}
"""


def measure(_work: str, system: str) -> dict[str, float]:
    """Start one program; the milliseconds of its three parts."""
    # Nothing of the harness is on the path that imports search.
    plain = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    began = monotonic()
    done = subprocess.run(
        [sys.executable, "-c", _PROGRAM.format(*PROGRAMS[system])],
        env=plain,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        text=True,
        check=True,
        timeout=_TIMEOUT_SECONDS,
    )
    import_seconds, imported, first = map(float, done.stdout.split())
    return {
        "W7 first": (first - began) * 1e3,
        "W7 import": import_seconds * 1e3,
        "W7 made": (first - imported) * 1e3,
    }
