"""Imports `_pickle` without `functools`. Workers import this before anything that pickles.

When it is made, the module `_pickle` looks up one name, `functools.partial`, which `_functools`
has. The rest of `functools`, and `collections` with it, is a third of what a worker would import
before its first task. So while `_pickle` is made, another module that has that one name stands in
the place of `functools`; nobody sees it after that, and whoever imports `functools` later gets the
real one.
"""

import sys


def _import_pickle() -> None:
    if "functools" in sys.modules or "_pickle" in sys.modules:
        return  # There is nothing to spare.
    from _functools import partial  # type: ignore[import-not-found]  # not in the stubs

    stand_in = type(sys)("functools")
    vars(stand_in)["partial"] = partial
    sys.modules["functools"] = stand_in
    try:
        import _pickle  # noqa: F401 - for those who import it next
    finally:
        del sys.modules["functools"]


_import_pickle()
