"""What importing hurricane costs: little time, and nothing that a program would notice."""

import statistics
import subprocess
import sys

# What a program pays before its first line; see `benchmarks/start.py` for what comes after.
MOST_MILLISECONDS = 50


def run_python(*arguments: str) -> "subprocess.CompletedProcess[str]":
    """Run a new interpreter to its end."""
    return subprocess.run(
        [sys.executable, *arguments],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=True,
    )


def assert_prints_nothing(*arguments: str) -> None:
    """Run one that prints a list, which is empty."""
    done = run_python(*arguments)
    assert done.stdout == "\n"
    assert done.stderr == ""


def import_milliseconds() -> float:
    """Time `import hurricane` in a new interpreter, with all that it imports."""
    done = run_python("-X", "importtime", "-c", "import hurricane")
    [cumulative] = [
        line.split("|")[1]
        for line in done.stderr.splitlines()
        if line.split("|")[-1].strip() == "hurricane"
    ]
    return int(cumulative) / 1000


def test_import_is_quick() -> None:
    import_milliseconds()  # Warms the caches.
    # Other work on the machine makes it slower, never quicker: the best of some medians counts.
    medians = (statistics.median(import_milliseconds() for _ in range(5)) for _ in range(6))
    best = float("inf")
    for median in medians:
        best = min(best, median)
        if best < MOST_MILLISECONDS:
            break
    assert best < MOST_MILLISECONDS


def test_workers_start_before_the_rest_is_imported() -> None:
    program = """if True:
        import sys
        import hurricane
        hurricane.Client
        print(*sorted({"typing", "hurricane._delivery", "hurricane._map"} & {*sys.modules}))
    """
    assert_prints_nothing("-S", "-c", f"import sys; sys.path[:] = {sys.path!r}\n{program}")


def test_a_worker_imports_next_to_nothing() -> None:
    program = """if True:
        import sys
        before = {*sys.modules}
        import hurricane._worker
        print(*sorted({"collections", "functools", "re", "threading"} & {*sys.modules} - before))
        import functools
        assert functools.lru_cache and functools.partial is type(functools.partial(int))
    """
    assert_prints_nothing("-S", "-c", f"import sys; sys.path[:] = {sys.path!r}\n{program}")


def test_import_starts_and_configures_nothing() -> None:
    program = """if True:
        import logging, sys, threading
        import hurricane
        assert threading.active_count() == 1
        assert not logging.getLogger().handlers
        print(*sorted({"asyncio", "cloudpickle", "numpy", "subprocess", "tqdm"} & {*sys.modules}))
    """
    assert_prints_nothing("-c", program)
