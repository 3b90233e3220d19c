"""A worker's interpreter resembles the program's: flags, warnings, `-X` options, module path."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

# Prints what the program sees of its interpreter, and what one that starts as workers do sees.
PROGRAM = """
import json, subprocess, sys
from hurricane._launch import worker_command
look = "import json, sys; print(json.dumps([sys.flags, sys.warnoptions, sys._xoptions, sys.path]))"
exec(look + "; sys.stdout.flush()", {})
*start, code = worker_command()
set_path, work, rest = code.partition("from hurricane._worker import main; main()")
assert work and not rest
subprocess.run([*start, set_path + look], check=True)
"""


def seen_with(*flags: str, directory: Path | None = None) -> tuple[Any, Any]:
    """What program and worker see: flags, warnings, `-X` options and module path of each."""
    command = [sys.executable, *flags, "-c", PROGRAM]
    run = subprocess.run(command, check=True, capture_output=True, text=True, cwd=directory)
    program, worker = map(json.loads, run.stdout.splitlines())
    return program, worker


@pytest.mark.parametrize(
    "flags",
    [
        [],
        ["-O"],
        ["-OO", "-B"],
        ["-bb"],
        ["-I"],
        ["-E", "-s"],
        ["-P"],
        ["-W", "error::UserWarning", "-W", "ignore:deprecated thing"],
        ["-X", "utf8", "-X", "int_max_str_digits=5000"],
    ],
    ids=" ".join,
)
def test_flags_are_the_programs(flags: list[str]) -> None:
    program, worker = seen_with(*flags)
    assert worker[0] == program[0]
    assert set(worker[1]) == set(program[1])
    assert worker[2] == program[2]


def test_a_report_of_the_start_is_not_asked_of_workers() -> None:
    program, worker = seen_with("-X", "importtime")
    assert "importtime" in program[2]
    assert "importtime" not in worker[2]


def test_module_path_is_the_programs_with_absolute_entries(tmp_path: Path) -> None:
    program, worker = seen_with(directory=tmp_path)
    assert program[3][0] == ""
    assert worker[3] == [str(tmp_path), *program[3][1:]]
