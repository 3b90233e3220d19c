"""How tasks are to be run: what `Client.options` takes."""

import math
import numbers
import sys
from collections.abc import Mapping
from operator import index
from typing import Any, NamedTuple, TypedDict

from hurricane._units import parse_bytes

# The scheduler counts in parts of 1/10,000.
_SMALLEST = 1 / 10_000

# What the scheduler accepts; see `crates/hurricane-core/src/{message,resources}.rs`.
_MAX_NAME_BYTES = 256
_MAX_RESOURCES = 32
_MAX_RESOURCE_NAME_BYTES = 64
_MAX_AMOUNT = 1e12
_MAX_MEMORY_BYTES = 2**63
_MAX_RETRIES = 2**32 - 1
_MAX_PRIORITY = 2**31 - 1


class Changes(TypedDict, total=False):
    """The keywords of `Client.options`."""

    cpus: float
    gpus: float
    memory: int | str
    retries: int
    timeout: float | None
    priority: int
    name: str | None
    resources: Mapping[str, float]


class Options(NamedTuple):
    """How tasks are to be run, checked; equal ones are equal and hash alike."""

    cpus: float = 1
    gpus: float = 0
    memory: int = 0
    retries: int = 0
    timeout: float | None = None
    priority: int = 0
    name: str | None = None
    resources: tuple[tuple[str, float], ...] = ()

    def changed(self, changes: Mapping[str, Any]) -> "Options":
        """Make other options of these.

        Raises
        ------
        TypeError
            If there is no such option, or its value is of a wrong type.
        ValueError
            If a value is out of its range.

        Examples
        --------
        >>> Options().changed({"cpus": 2, "memory": "1kB"})
        Options(cpus=2.0, gpus=0, memory=1000, retries=0, timeout=None, priority=0, name=None,
                resources=())
        """
        for name in changes:
            if name not in _CHECKS:
                msg = f"options() got an unexpected keyword argument {name!r}"
                raise TypeError(msg)
        return self._replace(**{name: _CHECKS[name](value) for name, value in changes.items()})

    @property
    def count_each_call(self) -> bool:
        """Whether something is counted by call, so that one task must be one call."""
        return self.timeout is not None or self.retries > 0


def _amount(name: str, value: Any, most: float = _MAX_AMOUNT) -> float:
    if isinstance(value, bool) or not isinstance(value, numbers.Real):
        msg = f"{name} must be a number, not {type(value).__name__}"
        raise TypeError(msg)
    amount = _float(value)
    if not math.isfinite(amount):
        msg = f"{name} must be a finite number"
        raise ValueError(msg)
    if amount < 0:
        msg = f"{name} must be greater than or equal to 0"
        raise ValueError(msg)
    if amount > most:
        msg = f"{name} must be at most {most:g}"
        raise ValueError(msg)
    if 0 < amount < _SMALLEST:
        msg = f"{name} must be 0 or at least {_SMALLEST}"
        raise ValueError(msg)
    return amount


def _float(value: numbers.Real) -> float:
    try:
        return float(value)
    except OverflowError:  # An integer beyond all floats, of which it is told that it is too much.
        return sys.float_info.max


def _cpus(value: Any) -> float:
    cpus = _amount("cpus", value)
    if cpus == 0:
        msg = "cpus must be greater than 0"
        raise ValueError(msg)
    return cpus


def _gpus(value: Any) -> float:
    return _amount("gpus", value)


def _memory(value: Any) -> int:
    memory = parse_bytes(value)
    if memory > _MAX_MEMORY_BYTES:
        msg = f"memory must be at most {_MAX_MEMORY_BYTES} bytes"
        raise ValueError(msg)
    return memory


def _integer(name: str, value: Any, least: int, most: int) -> int:
    try:
        number = index(value)
    except TypeError:
        msg = f"{name} must be an integer, not {type(value).__name__}"
        raise TypeError(msg) from None
    if number < least:
        msg = f"{name} must be greater than or equal to {least}"
        raise ValueError(msg)
    if number > most:
        msg = f"{name} must be at most {most}"
        raise ValueError(msg)
    return number


def _retries(value: Any) -> int:
    return _integer("retries", value, 0, _MAX_RETRIES)


def _priority(value: Any) -> int:
    return _integer("priority", value, -_MAX_PRIORITY, _MAX_PRIORITY)


def _timeout(value: Any) -> float | None:
    if value is None:
        return None
    timeout = _amount("timeout", value)
    if timeout == 0:
        msg = "timeout must be greater than 0"
        raise ValueError(msg)
    return timeout


def _name(value: Any) -> str | None:
    if value is None:
        return None
    if not isinstance(value, str):
        msg = f"name must be a string, not {type(value).__name__}"
        raise TypeError(msg)
    if not value.strip() or not value.isprintable():
        msg = "name must be a printable string that is not empty"
        raise ValueError(msg)
    if len(value.encode()) > _MAX_NAME_BYTES:
        msg = f"name must be at most {_MAX_NAME_BYTES} bytes long"
        raise ValueError(msg)
    return value


def _resources(value: Any) -> tuple[tuple[str, float], ...]:
    if not isinstance(value, Mapping):
        msg = f"resources must be a mapping of names to numbers, not {type(value).__name__}"
        raise TypeError(msg)
    if len(value) > _MAX_RESOURCES:
        msg = f"resources must be at most {_MAX_RESOURCES}"
        raise ValueError(msg)
    amounts = {_resource_name(name): _amount(f"resources[{name!r}]", value[name]) for name in value}
    return tuple(sorted(amounts.items()))


def _resource_name(name: Any) -> str:
    if not isinstance(name, str):
        msg = f"names of resources must be strings, not {type(name).__name__}"
        raise TypeError(msg)
    if name in _CHECKS:
        msg = f"{name} is an option of its own, not one of the resources"
        raise ValueError(msg)
    if not name.isprintable() or not 0 < len(name.encode()) <= _MAX_RESOURCE_NAME_BYTES:
        msg = f"names of resources must be 1 to {_MAX_RESOURCE_NAME_BYTES} printable bytes long"
        raise ValueError(msg)
    return name


_CHECKS: Mapping[str, Any] = {
    "cpus": _cpus,
    "gpus": _gpus,
    "memory": _memory,
    "retries": _retries,
    "timeout": _timeout,
    "priority": _priority,
    "name": _name,
    "resources": _resources,
}
