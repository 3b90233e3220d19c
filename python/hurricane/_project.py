"""Which modules are the user's own: what other machines have not got, and so travels by value."""

import os
import site
import sys
import sysconfig
from types import ModuleType

from hurricane._serialize import OWN_MODULES

# What lies below such a directory was installed, be it into another environment that was made
# visible in this one.
_INSTALLED = frozenset({"site-packages", "dist-packages"})

# Found for so many loaded modules; with the next import they are looked for anew.
_known: tuple[int, tuple[str, ...]] = (0, OWN_MODULES)


def own_modules() -> tuple[str, ...]:
    """Name the packages and modules at the top that are neither Python's nor installed.

    `__main__` is among them, hurricane is not.
    """
    global _known
    loaded = len(sys.modules)
    if _known[0] != loaded:
        _known = loaded, _find()
    return _known[1]


def _find() -> tuple[str, ...]:
    own = {name.partition(".")[0] for name, module in [*sys.modules.items()] if _is_own(module)}
    own -= {"hurricane", *OWN_MODULES}
    return (*OWN_MODULES, *sorted(own))


def _is_own(module: ModuleType | None) -> bool:
    # Modules put all kinds of things in the place of themselves, and `None` where there is none.
    file = getattr(module, "__file__", None)
    return isinstance(file, str) and file.endswith(".py") and not _is_installed(file)


def _is_installed(file: str) -> bool:
    path = os.path.realpath(file)
    return path.startswith(_installed_places()) or not _INSTALLED.isdisjoint(path.split(os.sep))


def _installed_places() -> tuple[str, ...]:
    paths = sysconfig.get_paths()
    places = {paths[kind] for kind in ("stdlib", "platstdlib", "purelib", "platlib")}
    places |= {*site.getsitepackages(), site.getusersitepackages()}
    return tuple(os.path.realpath(place) + os.sep for place in places)
