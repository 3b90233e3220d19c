"""How long a program waits for hurricane: importing it, and from `Client()` to the first result.

Beside it, in the same run and by turns, the standard library's `ProcessPoolExecutor` with the spawn
method, which like hurricane gives workers that share nothing with the program. Each sample is a new
interpreter. Usage: `python benchmarks/start.py [samples]`.
"""

import statistics
import subprocess
import sys

PROGRAMS = {
    "hurricane": """
from time import perf_counter
began = perf_counter()
from hurricane import Client
imported = perf_counter()
client = Client(max_workers=2)
""",
    "ProcessPoolExecutor, spawn": """
from time import perf_counter
began = perf_counter()
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
imported = perf_counter()
client = ProcessPoolExecutor(max_workers=2, mp_context=get_context("spawn"))
""",
}
FIRST_RESULT = """
assert client.submit(pow, 2, 10).result() == 1024
print(imported - began, perf_counter() - imported)
client.shutdown()
"""

MOST_OF_SPAWN = 0.5


def main(samples: int) -> int:
    """Measure and print; the exit code says whether hurricane takes half the time or less."""
    seconds: dict[str, list[tuple[float, float]]] = {name: [] for name in PROGRAMS}
    for name in PROGRAMS:
        measure(name)  # Warms the caches.
    for _ in range(samples):
        for name, measured in seconds.items():
            measured.append(measure(name))

    print(f"{'median of ' + str(samples) + ', ms':28}{'import':>10}{'first result':>16}")
    first_results = []
    for name, measured in seconds.items():
        imported, first_result = map(statistics.median, zip(*measured, strict=True))
        first_results.append(first_result)
        print(f"{name:28}{imported * 1000:10.1f}{first_result * 1000:16.1f}")
    ratio = first_results[0] / first_results[1]
    print(f"\nhurricane's first result takes {ratio:.2f} of spawn's time (at most {MOST_OF_SPAWN})")
    return int(ratio > MOST_OF_SPAWN)


def measure(name: str) -> tuple[float, float]:
    """Run one of the programs; the seconds that its import and its first result took."""
    done = subprocess.run(
        [sys.executable, "-c", PROGRAMS[name] + FIRST_RESULT],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=True,
    )
    imported, first_result = map(float, done.stdout.split())
    return imported, first_result


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1]) if len(sys.argv) > 1 else 15))
