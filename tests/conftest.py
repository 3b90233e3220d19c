"""What tests of the Python face share: a client on the real thing, and programs of their own."""

import itertools
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import hurricane
from conditions import DEADLINE_SECONDS


def pytest_configure(config: pytest.Config) -> None:
    """Let programs that tests start hear signals, also where this one was started without them.

    Shells start what goes to the background with Ctrl-C ignored, and `nohup` what is to go on with
    the end of a terminal ignored; and that is inherited.
    """
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    if signal.getsignal(signal.SIGHUP) is signal.SIG_IGN:
        signal.signal(signal.SIGHUP, signal.SIG_DFL)
    # What speaks to others does so on networks of its own: tests/lan.
    os.environ["HURRICANE_DISCOVERY"] = "off"
    config.pluginmanager.register(_OwnState())


class _OwnState:
    """Gives each test, and each example in the documentation, a user who holds no keys."""

    def __init__(self) -> None:
        self._root = Path(tempfile.mkdtemp(prefix="hurricane-state-"))
        self._counter = itertools.count()

    def pytest_runtest_setup(self) -> None:
        for name in ("HURRICANE_ADDRESS", "HURRICANE_CLUSTER", "HURRICANE_PORT"):
            os.environ.pop(name, None)
        os.environ["HURRICANE_STATE_DIR"] = str(self._root / str(next(self._counter)))

    def pytest_unconfigure(self) -> None:
        shutil.rmtree(self._root, ignore_errors=True)


@pytest.fixture
def client() -> Iterator[hurricane.Client]:
    """A client with two slots."""
    with hurricane.Client(max_workers=2) as client:
        yield client


@pytest.fixture
def narrow_client() -> Iterator[hurricane.Client]:
    """A client with one slot."""
    with hurricane.Client(max_workers=1) as client:
        yield client


@pytest.fixture
def run_program(tmp_path: Path) -> Callable[..., "subprocess.CompletedProcess[str]"]:
    """Run a program as people do: from a file, in an interpreter of its own."""

    def run(text: str, *, code: int = 0) -> "subprocess.CompletedProcess[str]":
        path = tmp_path / "program.py"
        path.write_text(text)
        done = subprocess.run(
            [sys.executable, str(path)],
            cwd=tmp_path,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=DEADLINE_SECONDS,
            check=False,
        )
        assert done.returncode == code, done.stderr
        return done

    return run
