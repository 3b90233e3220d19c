"""The command `hurricane`, also as `python -m hurricane`: its verbs live in the Rust part."""

import sys

from hurricane._native import command_line

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


def main() -> int:
    """Run the command line of this process and return its exit code."""
    outcome = command_line(sys.argv[1:])
    if isinstance(outcome, int):
        return outcome
    verb, options = outcome
    return _run_in_python(verb, options)


def _run_in_python(verb: str, options: "dict[str, Any]") -> int:
    """Run one of the verbs whose work is Python's."""
    match verb:
        case "demo":
            from hurricane import _demo

            return _demo.run(**options)
    msg = f"the command line names a verb that Python does not know: {verb}"
    raise AssertionError(msg)


if __name__ == "__main__":
    sys.exit(main())
