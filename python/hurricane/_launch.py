"""What a one-machine cluster needs to start workers that resemble this program.

Not the worker itself: that is `hurricane._worker`.
"""

import marshal
import os
import sys

# Flags that change what code means, as letters of the command line. Those that make an interpreter
# talk about itself (verbose, inspect, quiet) would only clutter what tasks print.
_FLAGS = {
    "bytes_warning": "b",
    "dont_write_bytecode": "B",
    "no_site": "S",
    "optimize": "O",
}

# `-X` options that make every worker print a report of its own start.
_OWN_REPORTS = frozenset({"importtime", "showrefcount"})


def worker_command() -> list[str]:
    """Program and arguments that start a worker with this program's interpreter and flags.

    Raises
    ------
    RuntimeError
        If this Python does not know its own executable, as in some embeddings.
    """
    return _command("from hurricane._worker import main; main()")


def cli_command() -> list[str]:
    """Program and arguments that start the command `hurricane` in the same way.

    Raises
    ------
    RuntimeError
        As `worker_command`.
    """
    return _command("from hurricane.__main__ import main; sys.exit(main())")


def worker_setup(initializer: bytes | None) -> bytes:
    """What each worker makes its own before it takes tasks; `hurricane._worker` reads it.

    Parameters
    ----------
    initializer
        A pickled function that every worker calls first, without arguments, or None.
    """
    # Plain values between two processes of one interpreter: `marshal` needs no import there.
    return marshal.dumps((_working_directory(), [*map(str, sys.argv)], initializer, False))


def node_setup() -> bytes:
    """The same for the workers of a node that serves programs on other machines."""
    return marshal.dumps((_working_directory(), [""], None, True))


def _command(start: str) -> list[str]:
    if not sys.executable:
        msg = "hurricane cannot start processes: this Python does not know its own executable"
        raise RuntimeError(msg)
    # The whole path from the first line on: hurricane and what it imports are this program's own.
    start = f"import sys; sys.path = {_module_path()!a}; {start}"
    return [sys.executable, *_interpreter_flags(), "-c", start]


def _module_path() -> list[str]:
    """`sys.path` with absolute entries: workers may start while the program is elsewhere."""
    directory = _working_directory()
    given: list[object] = [*sys.path]
    entries = [entry for entry in given if isinstance(entry, str)]
    if directory is None:
        return entries
    return [os.path.join(directory, entry) if entry else directory for entry in entries]


def _working_directory() -> str | None:
    try:
        return os.getcwd()
    except FileNotFoundError:  # It was removed under the program.
        return None


def _interpreter_flags() -> list[str]:
    letters = "".join(letter * getattr(sys.flags, name) for name, letter in _FLAGS.items())
    arguments = [f"-{letters}"] if letters else []
    arguments += _isolation_flags()
    arguments += [f"-W{option}" for option in sys.warnoptions]
    for name, value in sys._xoptions.items():
        if name not in _OWN_REPORTS:
            arguments += ["-X", name if value is True else f"{name}={value}"]
    return arguments


def _isolation_flags() -> list[str]:
    if sys.flags.isolated:
        return ["-I"]
    given = {
        "-E": sys.flags.ignore_environment,
        "-s": sys.flags.no_user_site,
        "-P": sys.flags.safe_path,
    }
    return [flag for flag, is_given in given.items() if is_given]
