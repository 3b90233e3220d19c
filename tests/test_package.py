"""The package's names: all of them, and no others."""

import subprocess
import sys

import pytest

import hurricane


def test_every_public_name_is_there():
    assert sorted(hurricane.__all__) == sorted(hurricane._HOMES)
    for name in hurricane.__all__:
        assert getattr(hurricane, name) is not None
        assert name in dir(hurricane)


def test_everything_public_is_documented():
    for name in hurricane.__all__:
        if name != "__version__":
            assert getattr(hurricane, name).__doc__, name


def test_a_name_that_is_not_there():
    with pytest.raises(AttributeError, match="no attribute 'Cluent'"):
        hurricane.Cluent  # noqa: B018 - to look it up is the test


def test_names_are_resolved_late():
    program = "import sys, hurricane; print(*[n for n in sys.modules if n.startswith('hurricane')])"
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert done.stdout == "hurricane\n"
