"""What happens to clients when the interpreter ends, and in a forked child.

As in `concurrent.futures`, the interpreter waits for pending tasks before it ends, and does so
before it waits for threads; but not when the program was interrupted.
"""

import atexit
import os
import sys
import threading
import weakref
from collections.abc import Callable

TYPE_CHECKING = False
if TYPE_CHECKING:
    from hurricane._delivery import Delivery

_living: "weakref.WeakSet[Delivery]" = weakref.WeakSet()
_is_exiting = False
_in_forked_child: list[Callable[[], None]] = []


def watch(delivery: "Delivery") -> None:
    """See to it that this one is over before the interpreter is."""
    _living.add(delivery)


def is_exiting() -> bool:
    """Whether it is too late to begin anything."""
    return _is_exiting


def call_in_forked_child(function: Callable[[], None]) -> None:
    """Have a function called in every child that `os.fork` makes of this process."""
    _in_forked_child.append(function)


def _finish_all() -> None:
    global _is_exiting
    _is_exiting = True
    living = [delivery for delivery in _living if not delivery.is_forked]
    if _was_interrupted():
        for delivery in living:
            delivery.kill()
    try:
        for delivery in living:
            delivery.read_all()
            delivery.finish()
        for delivery in living:
            delivery.wait_until_finished()
    except BaseException:
        for delivery in living:
            delivery.kill()
        raise


def _was_interrupted() -> bool:
    error = getattr(sys, "last_type", None)
    return isinstance(error, type) and issubclass(error, KeyboardInterrupt)


def _disown_all() -> None:
    """Mark what a child has inherited: threads and connections are its parent's."""
    for delivery in _living:
        delivery.is_forked = True
    for function in _in_forked_child:
        function()


# The hook by which the standard library's own executors end before the interpreter waits for
# threads, and before modules are torn down. It has no public name.
getattr(threading, "_register_atexit", atexit.register)(_finish_all)
os.register_at_fork(after_in_child=_disown_all)
