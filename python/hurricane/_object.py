"""The client's handle on a value that it has put into the cluster."""

from typing import TYPE_CHECKING, Any

from hurricane._serialize import EndedBefore, dependency, encoding_client, is_encoding_arguments

if TYPE_CHECKING:
    from hurricane._delivery import Delivery


class Object:
    """A value in the cluster, sent once and shared by all tasks that name it.

    `Client.put` makes them. As an argument it stands for its value. It lives until the last
    handle and the last task that names it are gone.

    Examples
    --------
    >>> import hurricane
    >>> with hurricane.Client(max_workers=1) as client:
    ...     numbers = client.put(list(range(1_000)))
    ...     total = client.submit(sum, numbers)
    ...     largest = client.submit(max, numbers)
    ...     total.result(), largest.result()
    (499500, 999)
    """

    __slots__ = ("__weakref__", "_delivery", "number")

    def __init__(self, number: int, delivery: "Delivery") -> None:
        self.number = number
        self._delivery = delivery

    def __del__(self) -> None:
        self._delivery.release(self.number)

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.number}>"

    def __reduce_ex__(self, _protocol: Any) -> Any:
        """Stand for the value among the arguments of a task; nothing else can be pickled."""
        if is_encoding_arguments() and encoding_client() is not self._delivery:
            msg = f"{self!r} is an object of another client: put its value into this one"
            raise EndedBefore(ValueError(msg))
        return dependency(self)
