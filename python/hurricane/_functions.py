"""How functions become bytes, and when the bytes of last time still say what a function is.

A function that goes by value is pickled at each submit, so that its globals are never stale. That
takes fifty times as long as all the rest of a submit; so for each function it is kept what its
pickle was made of, if nothing in that can change while it is the same object. As long as everything
is the same object, the pickle would be the same.
"""

import sys
from collections.abc import Callable, Sequence
from types import BuiltinFunctionType, CodeType, FunctionType, ModuleType
from typing import Any, NamedTuple

from hurricane._exceptions import NotSerializable
from hurricane._native import Footprint
from hurricane._serialize import OWN_MODULES, dumps_function

# What people call a task is at most this long.
_MAX_NAME_CHARACTERS = 60

# Functions that are known are kept alive, with what stands in their closures.
_MAX_KNOWN = 1_000
_MAX_TEXT = 65_536

# What depends on more than this is pickled anew each time.
_MAX_CHECKS = 256
_MAX_DEPTH = 8

_UNCHANGING = (type(None), bool, int, float, complex, CodeType)
_PLAIN_FUNCTIONS = (FunctionType, BuiltinFunctionType)

# The attributes of a function that its pickle holds as they are.
_ATTRIBUTES = (
    "__code__", "__name__", "__qualname__", "__module__", "__doc__", "__defaults__", "__closure__",
)  # fmt: skip
_DICTIONARIES = ("__kwdefaults__", "__annotations__", "__dict__")

# The global variables that go with every function.
_BASE_GLOBALS = ("__package__", "__name__", "__path__", "__file__")


class Function(NamedTuple):
    """A function as it travels, or why it cannot.

    Attributes
    ----------
    name
        What people call it.
    pickled
        Its bytes.
    error
        Why there are none.
    footprint
        Tells whether the bytes still say what the function is, if that can be told at all.
    """

    name: str
    pickled: bytes
    error: NotSerializable | None = None
    footprint: Footprint | None = None


# Functions by themselves, with the modules that were the user's own.
_known: "dict[Callable[..., Any], tuple[Function, Sequence[str]]]" = {}


def encode_function(
    function: Callable[..., Any],
    name: str | None = None,
    own_modules: Sequence[str] = OWN_MODULES,
) -> Function:
    """Pickle a function; that it cannot be is found out by whoever waits for its results."""
    encoded = _find(function, own_modules)
    if encoded is None:
        encoded = _encode(function, own_modules)
        if encoded.footprint is not None:
            if len(_known) >= _MAX_KNOWN:
                _known.clear()
            _known[function] = encoded, own_modules
    return encoded if name is None else encoded._replace(name=name)


def name_of(function: Callable[..., Any]) -> str:
    """What people call a function.

    Examples
    --------
    >>> import functools
    >>> name_of(len), name_of(functools.partial(pow, 2)), name_of(lambda: 0)
    ('len', 'pow', '<lambda>')
    """
    inner = getattr(function, "func", function)
    name = getattr(inner, "__name__", None)
    return str(name or type(function).__name__)[:_MAX_NAME_CHARACTERS]


def footprint_of(
    function: Callable[..., Any], own_modules: Sequence[str] = OWN_MODULES
) -> Footprint | None:
    """Find out what the bytes of a function are made of.

    Parameters
    ----------
    function
        The function.
    own_modules
        As for `dumps_function`.

    Returns
    -------
    Footprint or None
        None if the bytes may change though everything is the same object.
    """
    walk = _Walk(own_modules)
    try:
        walk.add(function, 0)
    except _Unknown:
        return None
    return Footprint(walk.checks)


def _find(function: Callable[..., Any], own_modules: Sequence[str]) -> Function | None:
    if type(function) not in _PLAIN_FUNCTIONS:
        return None
    known = _known.get(function)
    if known is None:
        return None
    encoded, modules = known
    if modules != own_modules or encoded.footprint is None:
        return None
    return encoded if encoded.footprint.is_unchanged() else None


def _encode(function: Callable[..., Any], own_modules: Sequence[str]) -> Function:
    footprint = None
    if type(function) in _PLAIN_FUNCTIONS:
        footprint = footprint_of(function, own_modules)
    try:
        pickled = dumps_function(function, own_modules)
    except NotSerializable as error:
        return Function(name_of(function), b"", error)
    # Another thread may have changed something meanwhile.
    is_stable = footprint is not None and footprint.is_unchanged()
    return Function(name_of(function), pickled, None, footprint if is_stable else None)


class _Unknown(Exception):  # noqa: N818 - it is no error, but a way out of the walk
    """Something may be pickled in another way though it is the same object."""


class _Walk:
    """Goes through everything that the pickle of something holds."""

    def __init__(self, own_modules: Sequence[str]) -> None:
        self.checks: list[tuple[Any, ...]] = []
        self._own_modules = own_modules
        self._seen: set[int] = set()

    def add(self, value: Any, depth: int) -> None:
        """Note what the pickle of a value depends on."""
        kind = type(value)
        if kind in _UNCHANGING:
            return
        if kind is str or kind is bytes:
            if len(value) > _MAX_TEXT:
                raise _Unknown
        elif depth > _MAX_DEPTH or len(self.checks) > _MAX_CHECKS:
            raise _Unknown
        elif id(value) not in self._seen:
            self._seen.add(id(value))
            self._add_compound(value, kind, depth)

    def _add_compound(self, value: Any, kind: type, depth: int) -> None:
        if kind is tuple or kind is frozenset:
            for part in value:
                self.add(part, depth + 1)
        elif kind is ModuleType:
            self._add_module(value)
        elif isinstance(value, type) or kind in _PLAIN_FUNCTIONS:
            if self._is_elsewhere(value):
                self.checks.append(("global", value.__module__, value.__name__, value))
            elif isinstance(value, FunctionType) and self._goes_by_value(value):
                self._add_function(value, depth)
            else:
                raise _Unknown
        else:
            raise _Unknown

    def _add_module(self, module: ModuleType) -> None:
        name = module.__name__
        if self._is_own(name):
            raise _Unknown
        self._check_item(sys.modules, name, module)
        if sys.modules.get(name) is not module:
            raise _Unknown
        if module.__package__:
            # Modules within it that were imported and that the code may mean go with the function.
            self.checks.append(("length", sys.modules, len(sys.modules)))

    def _is_elsewhere(self, value: Any) -> bool:
        """Whether it goes by name: others find it in its module."""
        module, name = getattr(value, "__module__", None), value.__name__
        if type(module) is not str or type(name) is not str or name != value.__qualname__:
            return False
        found = sys.modules.get(module)
        return (
            type(found) is ModuleType
            and not self._is_own(module)
            and vars(found).get(name) is value
        )

    def _goes_by_value(self, function: FunctionType) -> bool:
        return self._is_own(function.__module__ or "") or "<" in function.__qualname__

    def _is_own(self, module: str) -> bool:
        return module.partition(".")[0] in self._own_modules

    def _add_function(self, function: FunctionType, depth: int) -> None:
        from cloudpickle import cloudpickle

        for name in _ATTRIBUTES:
            self._check_attribute(function, name, depth)
        for name in _DICTIONARIES:
            found = getattr(function, name)
            self.checks.append(("attribute", function, name, found))
            if found is not None:
                self._add_dictionary(found, depth)
        scope = function.__globals__
        module = sys.modules.get(scope.get("__name__", ""))
        if type(module) is not ModuleType or vars(module) is not scope:
            # What is known is kept alive, and modules alone stay anyway.
            raise _Unknown
        names = cloudpickle._extract_code_globals(function.__code__)
        for name in (*_BASE_GLOBALS, *names):
            if name in scope:
                self._check_item(scope, name, scope[name])
                self.add(scope[name], depth + 1)
            else:
                self.checks.append(("no item", scope, name))

    def _check_attribute(self, function: FunctionType, name: str, depth: int) -> None:
        value = getattr(function, name)
        self.checks.append(("attribute", function, name, value))
        if name != "__closure__":
            self.add(value, depth + 1)
            return
        for cell in value or ():
            try:
                content = cell.cell_contents
            except ValueError:  # It is empty.
                raise _Unknown from None
            self.checks.append(("attribute", cell, "cell_contents", content))
            self.add(content, depth + 1)

    def _add_dictionary(self, dictionary: dict[Any, Any], depth: int) -> None:
        self.checks.append(("length", dictionary, len(dictionary)))
        for key, value in dictionary.items():
            if type(key) is not str:
                raise _Unknown
            self._check_item(dictionary, key, value)
            self.add(value, depth + 1)

    def _check_item(self, dictionary: dict[str, Any], key: str, value: Any) -> None:
        self.checks.append(("item", dictionary, key, value))
