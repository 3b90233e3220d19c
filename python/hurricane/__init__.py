"""hurricane makes the machines on a network one Python supercomputer.

>>> import hurricane
>>> with hurricane.Client() as client:
...     sum(client.map(abs, range(-3, 3)))
9

Importing it does nothing and costs next to nothing: names are resolved when they are used.
"""

# Not taken from `typing`, which costs every worker a good part of its start.
TYPE_CHECKING = False
if TYPE_CHECKING:
    from concurrent.futures import as_completed as as_completed
    from concurrent.futures import wait as wait
    from typing import Any

    from hurricane._broken import PoisonTask as PoisonTask
    from hurricane._broken import SchedulerLost as SchedulerLost
    from hurricane._broken import SetupFailed as SetupFailed
    from hurricane._broken import WorkerLost as WorkerLost
    from hurricane._client import Client as Client
    from hurricane._cluster import Cluster as Cluster
    from hurricane._default import map as map  # noqa: A004 - in place of the built-in one
    from hurricane._default import submit as submit
    from hurricane._exceptions import HurricaneError as HurricaneError
    from hurricane._exceptions import Infeasible as Infeasible
    from hurricane._exceptions import NestedTooDeep as NestedTooDeep
    from hurricane._exceptions import NotSerializable as NotSerializable
    from hurricane._exceptions import ObjectLost as ObjectLost
    from hurricane._exceptions import Refused as Refused
    from hurricane._exceptions import RemoteTraceback as RemoteTraceback
    from hurricane._exceptions import StoreFull as StoreFull
    from hurricane._exceptions import TaskFailed as TaskFailed
    from hurricane._exceptions import TaskTimeout as TaskTimeout
    from hurricane._future import Future as Future
    from hurricane._native import __version__ as __version__
    from hurricane._object import Object as Object
    from hurricane._status import Status as Status
    from hurricane.classic import MasterNode as MasterNode
    from hurricane.classic import SlaveNode as SlaveNode

_HOMES = {
    "Client": "hurricane._client",
    "Cluster": "hurricane._cluster",
    "Future": "hurricane._future",
    "HurricaneError": "hurricane._exceptions",
    "Infeasible": "hurricane._exceptions",
    "MasterNode": "hurricane.classic",
    "NestedTooDeep": "hurricane._exceptions",
    "NotSerializable": "hurricane._exceptions",
    "Object": "hurricane._object",
    "ObjectLost": "hurricane._exceptions",
    "PoisonTask": "hurricane._broken",
    "Refused": "hurricane._exceptions",
    "RemoteTraceback": "hurricane._exceptions",
    "SchedulerLost": "hurricane._broken",
    "SetupFailed": "hurricane._broken",
    "SlaveNode": "hurricane.classic",
    "Status": "hurricane._status",
    "StoreFull": "hurricane._exceptions",
    "TaskFailed": "hurricane._exceptions",
    "TaskTimeout": "hurricane._exceptions",
    "WorkerLost": "hurricane._broken",
    "__version__": "hurricane._native",
    "as_completed": "concurrent.futures",
    "map": "hurricane._default",
    "submit": "hurricane._default",
    "wait": "concurrent.futures",
}

__all__ = [
    "Client",
    "Cluster",
    "Future",
    "HurricaneError",
    "Infeasible",
    "MasterNode",
    "NestedTooDeep",
    "NotSerializable",
    "Object",
    "ObjectLost",
    "PoisonTask",
    "Refused",
    "RemoteTraceback",
    "SchedulerLost",
    "SetupFailed",
    "SlaveNode",
    "Status",
    "StoreFull",
    "TaskFailed",
    "TaskTimeout",
    "WorkerLost",
    "__version__",
    "as_completed",
    "map",
    "submit",
    "wait",
]


def __getattr__(name: str) -> "Any":
    home = _HOMES.get(name)
    if home is None:
        msg = f"module {__name__!r} has no attribute {name!r}"
        raise AttributeError(msg)
    from importlib import import_module

    value = getattr(import_module(home), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
