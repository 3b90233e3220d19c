"""Finds what it is that makes a value impossible to pickle. Only failures pay for this."""

import functools
import types
from collections.abc import Callable, Iterator
from typing import Any

# Deep enough for any structure that people make by hand, and a bound for those that are not.
_MAX_DEPTH = 30

# How many parts are tried in all. Each is pickled for it, and an error must not take minutes.
_MAX_TRIES = 2_000

# How much of a reason is quoted; the whole of it stands in the cause.
_MAX_REASON_CHARACTERS = 300


def explain(
    value: Any, label: str, is_fine: Callable[[Any], bool], error: BaseException | None = None
) -> str:
    """Say in a sentence which part of `value` cannot be pickled, and why.

    Parameters
    ----------
    value
        What cannot be pickled.
    label
        What it is to the reader: `argument 0`.
    is_fine
        Whether a part can be pickled.
    error
        What was raised for it. Quoted if it says more than the sentence does already.

    Examples
    --------
    >>> import threading
    >>> explain({"lock": threading.Lock()}, "argument 0", lambda part: isinstance(part, str))
    "argument 0: `['lock']` is a `_thread.lock`, which cannot be pickled"
    """
    path, culprit = _Search(is_fine).follow(value)
    path = path.removeprefix(".")
    what = f"a `{_name_of(type(culprit))}`, which cannot be pickled"
    if reason := _reason(error, type(culprit)):
        what = f"{what}: {reason}"
    return f"{label}: `{path}` is {what}" if path else f"{label} is {what}"


def _reason(error: BaseException | None, kind: type) -> str:
    try:
        reason = "" if error is None else str(error).partition("\n")[0]
    except Exception:  # Written by the user, as the class may be.
        return ""
    for name in (kind.__name__, _name_of(kind)):
        reason = reason.removeprefix(f"cannot pickle {name!r} object")
    return reason.removeprefix(": ")[:_MAX_REASON_CHARACTERS]


class _Search:
    """Goes from a value that cannot be pickled to the part of it that is to blame."""

    def __init__(self, is_fine: Callable[[Any], bool]) -> None:
        self._is_fine = is_fine
        self._tries_left = _MAX_TRIES
        self._seen: set[int] = set()

    def follow(self, value: Any) -> tuple[str, Any]:
        path = ""
        for _ in range(_MAX_DEPTH):
            self._seen.add(id(value))
            found = self._first_bad_part(value)
            if found is None:
                break
            step, value = found
            path += step
        return path, value

    def _first_bad_part(self, value: Any) -> tuple[str, Any] | None:
        for step, part in _parts(value):
            if id(part) in self._seen:
                continue
            if self._tries_left == 0:
                return None
            self._tries_left -= 1
            if not self._is_fine(part):
                return step, part
        return None


def _parts(value: Any) -> Iterator[tuple[str, Any]]:
    if isinstance(value, dict):
        for key, part in value.items():
            yield f"[{key!r:.60}]", part
            yield f"[{key!r:.60}] (the key)", key
    elif isinstance(value, (list, tuple)):
        yield from ((f"[{index}]", part) for index, part in enumerate(value))
    elif isinstance(value, (set, frozenset)):
        yield from ((".{…}", part) for part in value)
    elif isinstance(value, types.FunctionType):
        yield from _parts_of_function(value)
    elif isinstance(value, types.MethodType):
        yield ".__self__", value.__self__
    elif isinstance(value, functools.partial):
        yield ".func", value.func
        yield from ((f".args[{index}]", part) for index, part in enumerate(value.args))
        yield from ((f".keywords[{name!r}]", part) for name, part in value.keywords.items())
    is_opaque = isinstance(value, (type, types.ModuleType, types.FunctionType))
    # Of hurricane's own, people know the whole and no part.
    if not is_opaque and not type(value).__module__.startswith("hurricane."):
        yield from _attributes(value)


def _parts_of_function(function: types.FunctionType) -> Iterator[tuple[str, Any]]:
    code = function.__code__
    for name, cell in zip(code.co_freevars, function.__closure__ or (), strict=False):
        try:
            yield f".{name}", cell.cell_contents
        except ValueError:  # Not assigned yet.
            continue
    for name in code.co_names:
        if name in function.__globals__:
            yield f".{name}", function.__globals__[name]
    yield from ((f".__defaults__[{i}]", part) for i, part in enumerate(function.__defaults__ or ()))
    yield from ((f".{name}", part) for name, part in (function.__kwdefaults__ or {}).items())


def _attributes(value: Any) -> Iterator[tuple[str, Any]]:
    own = getattr(value, "__dict__", None)
    if isinstance(own, dict):
        yield from ((f".{name}", part) for name, part in own.items())
    for kind in type(value).__mro__:
        slots = kind.__dict__.get("__slots__", ())
        for name in (slots,) if isinstance(slots, str) else slots:
            part = getattr(value, name, None)
            if part is not None:
                yield f".{name}", part


def _name_of(kind: type) -> str:
    module = kind.__module__
    if module == "builtins":
        return kind.__qualname__
    if module.startswith("hurricane."):
        module = "hurricane"
    return f"{module}.{kind.__qualname__}"
