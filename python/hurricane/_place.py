"""Where the tasks of a client run, as far as that makes a difference in the program."""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, NamedTuple

from hurricane._serialize import OWN_MODULES

if TYPE_CHECKING:
    from hurricane._initializer import Initializer
    from hurricane._native import Remote


class Place(NamedTuple):
    """See the top of this file.

    Attributes
    ----------
    slots
        Tells how many default tasks may run at a time, as far as one can know.
    own_modules
        Tells which modules only this program has.
    initializer
        What workers must have called before this client's tasks.
    is_far
        Whether values may be lost with the machine that holds them, and be computed again.
    """

    slots: Callable[[], int]
    own_modules: Callable[[], Sequence[str]] = lambda: OWN_MODULES
    initializer: "Initializer | None" = None
    is_far: bool = False


def here(slots: int) -> Place:
    """Tell of this machine and processes made like this one."""
    return Place(lambda: slots)


def far_away(remote: "Remote", initializer: "Initializer | None") -> Place:
    """Tell of a cluster."""
    from hurricane._project import own_modules

    return Place(remote.slots, own_modules, initializer, is_far=True)


def beside(slots: int, *, is_in_cluster: bool) -> Place:
    """Tell of a running task, whose own tasks may run on other nodes."""
    if not is_in_cluster:
        return here(slots)
    from hurricane._project import own_modules

    return Place(lambda: slots, own_modules, is_far=True)
