"""Prints what tasks print, where the program prints, marked with task and node."""

import sys
from typing import TextIO


def write_output(task: str, node: str, text: bytes, dropped_lines: int, *, is_stderr: bool) -> None:
    """Print whole lines of a task.

    Parameters
    ----------
    task
        The task's name and number.
    node
        The node's name.
    text
        The lines.
    dropped_lines
        How many before these came too fast to be sent.
    is_stderr
        Whether they go to standard error.
    """
    mark = f"[{task} {node}] "
    lines = text.decode(errors="replace").removesuffix("\n").split("\n") if text else []
    if dropped_lines:
        lines.insert(0, f"{dropped_lines} line{'s' * (dropped_lines > 1)} dropped")
    _write(sys.stderr if is_stderr else sys.stdout, "".join(f"{mark}{line}\n" for line in lines))


def write_notice(sentence: str) -> None:
    """Print a line of hurricane's own to standard error."""
    _write(sys.stderr, f"hurricane: {sentence}\n")


def _write(stream: TextIO | None, text: str) -> None:
    # A program may have closed it, have none, or have put anything in its place; and its encoding
    # may lack what a task wrote. None of this may stop the results from coming in.
    try:
        if stream is not None:
            stream.write(text)
            stream.flush()
    except UnicodeEncodeError:
        _write(stream, text.encode("ascii", "backslashreplace").decode("ascii"))
    except Exception:
        return
