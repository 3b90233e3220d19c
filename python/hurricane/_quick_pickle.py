"""Imports `_pickle` without `functools`. Workers import this before anything that pickles.

`_pickle` takes nothing of `functools` but `partial`, which `_functools` has. The rest of it, and
`collections` with it, are a third of what a worker would import before its first task; whoever
imports `functools` later gets all of it.
"""

import sys


def _import_pickle() -> None:
    if "functools" in sys.modules or "_pickle" in sys.modules:
        return
    from _functools import partial  # type: ignore[import-not-found]  # not in the stubs

    stand_in = type(sys)("functools")
    stand_in.partial = partial  # type: ignore[attr-defined]  # modules have what is set
    sys.modules["functools"] = stand_in
    try:
        import _pickle  # noqa: F401 - for those who import it next
    finally:
        del sys.modules["functools"]


_import_pickle()
