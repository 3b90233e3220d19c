"""What tests of the Python face share: a client on the real thing, and programs of their own."""

import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import hurricane
from conditions import DEADLINE_SECONDS


def pytest_configure() -> None:
    """Let programs that tests start hear Ctrl-C, also where this one was started without it.

    Shells start what goes to the background with the signal ignored, and that is inherited.
    """
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


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
