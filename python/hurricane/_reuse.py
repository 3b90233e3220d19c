"""Which functions may be called again as they are, and which are made anew for each call.

A function that carries a list, or is the method of an object, may leave something behind there.
What one call did must not show in the next: which worker that meets, and after what, is chance. As
in the standard library, each call of such a function begins with what was submitted. Global
variables stay, there as here. Workers import this: it imports next to nothing.
"""

import _functools  # type: ignore[import-not-found]  # not in the stubs
import sys

from hurricane._serialize import loads_function

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import Any

_CONSTANT = frozenset({type(None), bool, int, float, complex, str, bytes, range, type(sys)})
_FUNCTION = type(lambda: None)
_BUILTIN = type(len)
_METHOD = type((lambda: None).__get__(object()))
_CODE = type((lambda: None).__code__)
_CACHED = _functools._lru_cache_wrapper
_PARTIAL = _functools.partial

# How cloudpickle writes down that a class is made, or found again and given what it has now.
_CLASS_MAKERS = b"_make_skeleton_class", b"_make_skeleton_enum"


def load_for_calls(pickled: bytes) -> "tuple[Callable[..., Any], bool]":
    """Bring back a function, and say whether it serves for more than one call.

    Where others know the same class, what it has now is what was unpickled last.
    """
    function = loads_function(pickled)
    makes_class = any(maker in pickled for maker in _CLASS_MAKERS)
    return function, not makes_class and is_unchanging(function)


def is_unchanging(function: "Callable[..., Any]") -> bool:
    """Whether no call of a function can leave anything behind in it.

    Examples
    --------
    >>> import functools
    >>> is_unchanging(len), is_unchanging(functools.partial(pow, 2)), is_unchanging([].append)
    (True, True, False)
    """
    return _is_unchanging(function, set())


def _is_unchanging(part: "Any", seen: "set[int]") -> bool:
    kind = type(part)
    if kind in _CONSTANT or isinstance(part, type) or id(part) in seen:
        return True
    seen.add(id(part))
    parts: Iterator[Any]
    if kind is _FUNCTION:
        if part.__closure__ and _rebinds(part.__code__):
            return False
        parts = _parts_of(part)
    elif kind is tuple or kind is frozenset:
        parts = iter(part)
    elif kind is _PARTIAL:
        parts = iter((part.func, part.args, *part.keywords.values(), *vars(part).values()))
    elif kind is _CACHED:  # What it keeps, it is there to keep.
        parts = iter((part.__wrapped__,))
    elif kind is _BUILTIN:
        parts = iter((part.__self__,))
    elif kind is _METHOD:
        parts = iter((part.__self__, part.__func__))
    else:
        return bool(getattr(part, "calls_unchanging", False))
    return all(_is_unchanging(inner, seen) for inner in parts)


def _parts_of(function: "Any") -> "Iterator[Any]":
    for cell in function.__closure__ or ():
        try:
            yield cell.cell_contents
        except ValueError:  # It is empty.
            continue
    yield from function.__defaults__ or ()
    yield from (function.__kwdefaults__ or {}).values()
    yield from vars(function).values()


def _rebinds(code: "Any") -> bool:
    """Whether a function, or one within it, assigns to variables of the functions around it.

    That of its own variables, which those within it see, is taken for the same.
    """
    from opcode import opmap

    assigning = {opmap["STORE_DEREF"], opmap["DELETE_DEREF"]}
    within = (constant for constant in code.co_consts if type(constant) is _CODE)
    return not assigning.isdisjoint(code.co_code[::2]) or any(map(_rebinds, within))
