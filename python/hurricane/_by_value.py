"""Pickling by value, with cloudpickle: functions, and what lives in a `__main__` of its own.

A class of the program's `__main__` travels to the worker by value. Its instances come back by the
class's name, so that the program finds its own class in them: `isinstance` and `except` must hold.
"""

import io
import sys
from collections.abc import Callable, Sequence
from pickle import PickleBuffer
from typing import Any

import cloudpickle
from cloudpickle import cloudpickle as tracker


def dumps(
    value: Any,
    protocol: int,
    buffer_callback: Callable[[PickleBuffer], Any],
    own_modules: Sequence[str],
) -> bytes:
    """Pickle a value; functions and classes of `own_modules` with their code."""
    for name in own_modules:
        if name != "__main__" and name in sys.modules:
            cloudpickle.register_pickle_by_value(sys.modules[name])
    with io.BytesIO() as file:
        _Pickler(file, protocol=protocol, buffer_callback=buffer_callback).dump(value)
        return file.getvalue()


class _Pickler(cloudpickle.Pickler):  # type: ignore[misc]  # cloudpickle has no types
    """cloudpickle, but for classes that came here by value from another `__main__`, and files."""

    def reducer_override(self, obj: Any) -> Any:
        if isinstance(obj, type) and _is_from_elsewhere(obj):
            return _find_class, (_identity(obj), obj.__qualname__)
        if isinstance(obj, io.TextIOWrapper) and obj not in (sys.stdout, sys.stderr):
            # cloudpickle would send a copy of the whole text in place of an open file.
            msg = f"cannot pickle {type(obj).__name__!r} object"
            raise TypeError(msg)
        return super().reducer_override(obj)


def _is_from_elsewhere(kind: type) -> bool:
    return (
        kind.__module__ == "__main__"
        and "<locals>" not in kind.__qualname__
        and "hurricane._worker" in sys.modules
        and _identity(kind) is not None
    )


def _identity(kind: type) -> str | None:
    # cloudpickle gives each class that it writes by value an identity, and remembers it at both
    # ends for as long as the class lives.
    identity: str | None = tracker._DYNAMIC_CLASS_TRACKER_BY_CLASS.get(kind)
    return identity


def _find_class(identity: str, name: str) -> Any:
    """Find the class that was sent out, also where its name stands for another by now."""
    found = tracker._DYNAMIC_CLASS_TRACKER_BY_ID.get(identity)
    if found is not None:
        return found
    found = sys.modules["__main__"]
    for part in name.split("."):
        found = getattr(found, part)
    return found
