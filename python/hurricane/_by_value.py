"""Pickling by value, with cloudpickle: functions, and what lives in modules that others have not.

A class of the program's own modules travels to the worker by value. Where its instances come back,
the program finds its own class in them: `isinstance` and `except` must hold. So a worker names such
a class by an identity that the program remembers, and adds what another worker makes it from.
"""

import io
import sys
import threading
import weakref
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import lru_cache
from pickle import PickleBuffer
from typing import Any

import cloudpickle
from cloudpickle import cloudpickle as tracker

# cloudpickle keeps the list of such modules for the whole process, and others may use it as well.
_listing = threading.RLock()

# What `functools.cache` and `functools.lru_cache` make of a function.
_CachedFunction: Any = type(lru_cache(lambda: None))

# The bytes of classes that came here by value, which stay the same.
_definitions: "weakref.WeakKeyDictionary[type, bytes]" = weakref.WeakKeyDictionary()


def dumps(
    value: Any,
    protocol: int,
    buffer_callback: Callable[[PickleBuffer], Any],
    own_modules: Sequence[str],
) -> bytes:
    """Pickle a value; functions and classes of `own_modules` with their code."""
    with _listed(own_modules), io.BytesIO() as file:
        _Pickler(file, protocol=protocol, buffer_callback=buffer_callback).dump(value)
        return file.getvalue()


@contextmanager
def _listed(own_modules: Sequence[str]) -> Iterator[None]:
    """Have cloudpickle write what is in these modules by value."""
    with _listing:
        listed = cloudpickle.list_registry_pickle_by_value()
        names = [name for name in own_modules if name != "__main__" and name not in listed]
        modules = [sys.modules[name] for name in names if name in sys.modules]
        for module in modules:
            cloudpickle.register_pickle_by_value(module)
        try:
            yield
        finally:
            for module in modules:
                cloudpickle.unregister_pickle_by_value(module)


class _Pickler(cloudpickle.Pickler):  # type: ignore[misc]  # cloudpickle has no types
    """cloudpickle, but for classes that came here by value from elsewhere, and files."""

    def reducer_override(self, obj: Any) -> Any:
        if isinstance(obj, type) and _is_from_elsewhere(obj):
            return _find_class, (_identity(obj), obj.__module__, obj.__qualname__, _defined(obj))
        if isinstance(obj, _CachedFunction) and _goes_by_value(obj):
            # By its name, nobody else would find it.
            return _cached, (obj.__wrapped__, obj.cache_parameters())
        if isinstance(obj, io.TextIOWrapper) and obj not in (sys.stdout, sys.stderr):
            # cloudpickle would send a copy of the whole text in place of an open file.
            msg = f"cannot pickle {type(obj).__name__!r} object"
            raise TypeError(msg)
        return super().reducer_override(obj)


def _goes_by_value(function: Any) -> bool:
    found = tracker._lookup_module_and_qualname(function)
    return found is None or tracker._is_registered_pickle_by_value(found[0])


def _cached(function: Callable[..., Any], parameters: dict[str, Any]) -> Any:
    return lru_cache(**parameters)(function)


def _is_from_elsewhere(kind: type) -> bool:
    return (
        "hurricane._worker" in sys.modules
        and "<locals>" not in kind.__qualname__
        and _identity(kind) is not None
        and _named(kind.__module__, kind.__qualname__) is not kind
    )


def _identity(kind: type) -> str | None:
    # cloudpickle gives each class that it writes by value an identity, and remembers it at both
    # ends for as long as the class lives.
    identity: str | None = tracker._DYNAMIC_CLASS_TRACKER_BY_CLASS.get(kind)
    return identity


def _defined(kind: type) -> bytes:
    """Pickle the class itself, for a worker that has not got it."""
    definition = _definitions.get(kind)
    if definition is None:
        definition = _definitions[kind] = cloudpickle.dumps(kind)
    return definition


def _find_class(identity: str, module: str, name: str, definition: bytes) -> Any:
    """Find the class that was sent out, also where its name stands for another by now."""
    found = tracker._DYNAMIC_CLASS_TRACKER_BY_ID.get(identity)
    if found is None and "hurricane._worker" not in sys.modules:
        found = _named(module, name)
    return cloudpickle.loads(definition) if found is None else found


def _named(module: str, name: str) -> Any:
    """Give what has this name now, if anything."""
    found: Any = sys.modules.get(module)
    for part in name.split("."):
        found = getattr(found, part, None)
    return found
