"""The state of the cluster at a moment, for people."""

from typing import Any

from hurricane._units import format_bytes


class Status(dict[str, Any]):
    """Nodes, clients and counts of tasks by state: a dictionary whose `repr` is a text.

    Examples
    --------
    >>> node = {"name": "box", "running": 1, "backlog": 0, "finished": 7,
    ...         "resources": {"cpus": 2.0, "gpus": 0.0, "memory": 8_000_000_000},
    ...         "used": {"cpus": 1.0, "gpus": 0.0, "memory": 0}}
    >>> Status(nodes=[node], clients=[], tasks={"running": 1, "done": 7, "failed": 0})
    1 node
      box: 1 of 2 cpus in use, 8 GB of memory, 1 task running, 7 finished
    tasks: 1 running, 7 done
    """

    def __repr__(self) -> str:
        nodes = self.get("nodes", [])
        lines = [_counted(len(nodes), "node")]
        lines += [f"  {_describe_node(node)}" for node in nodes]
        counts = [f"{count} {state}" for state, count in self.get("tasks", {}).items() if count]
        lines += [f"tasks: {', '.join(counts) or 'none'}"]
        return "\n".join(lines)


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
    return f"{node['name']}: {', '.join(parts)}"


def _counted(count: int, what: str) -> str:
    return f"{count} {what}{'' if count == 1 else 's'}"
