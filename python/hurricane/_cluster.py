"""A program that is the scheduler of a cluster, for as long as it runs."""

import weakref
from operator import index
from types import TracebackType
from typing import Self

from hurricane import _launch, _native
from hurricane._client import Client, Handle, check_port, connect
from hurricane._options import Options
from hurricane._status import Status


class Cluster:
    """A cluster whose scheduler is in this program, open to the machines that were let in.

    It has the keys of the cluster that `hurricane up` starts on the same port: machines that have
    joined that one are members of this one. Leaving the `with` block ends it, and so does the end
    of the program, however it comes.

    Parameters
    ----------
    port
        The initialization port; `HURRICANE_PORT`, if not given, or 12222.
    name
        What people call the cluster. None: `port-` and the port.
    bind
        The addresses of this machine at which to listen. None: all.
    node
        Whether this machine runs tasks, too.
    cpus
        How many cpus that node has. None: as many as this process may use.

    Raises
    ------
    ValueError
        If a name, port, address or number is none.
    OSError
        If the port is in use, or the machine does not let it start; says why.

    Examples
    --------
    >>> import hurricane
    >>> with hurricane.Cluster(port=12345) as cluster:
    ...     with cluster.client() as client:
    ...         client.submit(pow, 2, 10).result()
    1024
    """

    def __init__(
        self,
        port: int | None = None,
        *,
        name: str | None = None,
        bind: list[str] | None = None,
        node: bool = True,
        cpus: int | None = None,
    ) -> None:
        check_port(port)
        if cpus is not None and index(cpus) <= 0:
            msg = "cpus must be greater than 0"
            raise ValueError(msg)
        self._server = _native.Server(port=port, name=name, bind=bind or [])
        # The server ends when nothing holds it: also if there cannot be a node.
        nodes = _start_node(self._server.port, cpus) if node else None
        # At the end of the program, clients have ended before.
        self._end = weakref.finalize(self, _end, self._server, nodes)

    @property
    def port(self) -> int:
        """The initialization port."""
        return self._server.port

    @property
    def addresses(self) -> list[str]:
        """Where the scheduler listens, each as `address:port`."""
        return self._server.addresses

    def client(self) -> Client:
        """Give a new client of this cluster.

        Examples
        --------
        >>> import hurricane
        >>> with hurricane.Cluster(port=12345) as cluster, cluster.client() as client:
        ...     list(client.map(abs, [-1, 2]))
        [1, 2]
        """
        handle = connect(self._server.remote())
        handle.owner = self
        return _client_of(handle)

    def invite(self, uses: int = 1, ttl: float = 900, role: str = "node") -> str:
        """Make a ticket, with which another machine joins: `hurricane join TICKET`.

        Parameters
        ----------
        uses
            How many machines may use it.
        ttl
            For how many seconds.
        role
            What they may do: `node`, to run tasks; `submit`; or `node,submit`.

        Returns
        -------
        str
            The ticket: one line, and a secret.

        Raises
        ------
        ValueError
            If there is no such role.
        OSError
            If the cluster is over, or there are too many tickets.
        """
        return self._server.invite(uses, ttl, role)

    def status(self) -> Status:
        """Say what the cluster does at this moment, as `Client.status` does."""
        return Status(self._server.snapshot())

    def shutdown(self) -> None:
        """End the cluster. Tasks that have not ended are lost; nodes look for it from then on."""
        self._end()

    close = shutdown

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        _kind: type[BaseException] | None,
        _error: BaseException | None,
        _traceback: TracebackType | None,
    ) -> None:
        self.shutdown()

    def __repr__(self) -> str:
        return f"<{type(self).__name__} on port {self.port}>"


def _start_node(port: int, cpus: int | None) -> _native.Nodes:
    return _native.Nodes(
        port=port,
        cpus=cpus,
        worker_command=_launch.worker_command(),
        setup=_launch.node_setup(),
    )


def _end(server: _native.Server, nodes: _native.Nodes | None) -> None:
    if nodes is not None:
        nodes.stop()
    server.stop()


def _client_of(handle: Handle) -> Client:
    client = object.__new__(Client)
    client._handle = handle
    client._options = Options()
    client._calls = handle.calls
    return client
