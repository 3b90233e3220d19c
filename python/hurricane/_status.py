"""The state of the cluster at a moment, for people."""

from typing import Any

from hurricane._units import format_bytes

# The units in which a time is told: at most two of them, the largest first.
_UNITS = (("day", 86_400), ("hour", 3_600), ("minute", 60), ("second", 1))


class Status(dict[str, Any]):
    """Nodes, clients and counts of tasks by state: a dictionary whose `repr` is a text.

    Examples
    --------
    >>> node = {"name": "box", "address": "", "leaving": False, "running": 1, "backlog": 0,
    ...         "finished": 7, "used": {"cpus": 1.0, "gpus": 0.0, "memory": 0},
    ...         "resources": {"cpus": 2.0, "gpus": 0.0, "memory": 8_000_000_000}}
    >>> Status(cluster=None, nodes=[node], clients=[], tasks={"running": 1, "done": 7, "failed": 0})
    1 node
      box: 1 of 2 cpus in use, 8 GB of memory, 1 task running, 7 finished
    tasks: 1 running, 7 done
    """

    def __repr__(self) -> str:
        cluster = self.get("cluster")
        nodes = self.get("nodes", [])
        lines = [] if cluster is None else _describe_cluster(cluster)
        lines += [_counted(len(nodes), "node")]
        lines += [f"  {_describe_node(node)}" for node in nodes]
        lines += [_describe_tasks(self.get("tasks", {}), cluster)]
        return "\n".join(lines)


def _describe_cluster(cluster: dict[str, Any]) -> list[str]:
    uptime = _duration(cluster["uptime"])
    lines = [
        f"cluster {cluster['name']}, port {cluster['port']}, up for {uptime}, id {cluster['id']}"
    ]
    if cluster["addresses"]:
        lines += [f"scheduler at {', '.join(cluster['addresses'])}"]
    return lines


def _describe_node(node: dict[str, Any]) -> str:
    resources, used = node["resources"], node["used"]
    parts = [f"{used['cpus']:g} of {resources['cpus']:g} cpus in use"]
    if resources["gpus"]:
        parts += [f"{used['gpus']:g} of {resources['gpus']:g} gpus in use"]
    parts += [f"{format_bytes(resources['memory'])} of memory"]
    parts += [f"{_counted(node['running'], 'task')} running"]
    if node["backlog"]:
        parts += [f"{node['backlog']} waiting there"]
    parts += [f"{node['finished']} finished"]
    if node["leaving"]:
        parts += ["leaving"]
    where = f" at {node['address']}" if node["address"] else ""
    return f"{node['name']}{where}: {', '.join(parts)}"


def _describe_tasks(tasks: dict[str, int], cluster: dict[str, Any] | None) -> str:
    counts = [f"{count} {state}" for state, count in tasks.items() if count]
    rate = "" if cluster is None else f"; {cluster['rate']:g} a second"
    return f"tasks: {', '.join(counts) or 'none'}{rate}"


def _duration(seconds: float) -> str:
    """Write a time with two units at most.

    Examples
    --------
    >>> _duration(11_530), _duration(60.9), _duration(0.5)
    ('3 hours 12 minutes', '1 minute', '0 seconds')
    """
    rest = int(seconds)
    parts: list[str] = []
    for unit, length in _UNITS:
        count, rest = divmod(rest, length)
        if parts or count:
            parts += [_counted(count, unit)] if count else [""]
    return " ".join(part for part in parts[:2] if part) or "0 seconds"


def _counted(count: int, what: str) -> str:
    return f"{count} {what}{'' if count == 1 else 's'}"
