"""What the wake-ups of one round trip of W1 take by themselves: bare processes pass bytes on.

On one machine a program waits for a worker; in a cluster for a scheduler, which waits for a node,
which waits for a worker. These processes do nothing else, and nothing is encrypted.
"""

import os
import socket
import statistics
from time import perf_counter

_BYTES = 64
_ROUND_TRIPS = 2000
_WARM_UPS = 200

Link = tuple[socket.socket, socket.socket]


def measure(_work: str, system: str) -> dict[str, float]:
    """Send bytes along as many links as a task takes, and wait for them to come back."""
    links = [socket.socketpair()]
    if system == "hurricane-tls":
        links = [_tcp_link(), _tcp_link(), *links]
    for place in range(len(links)):
        if os.fork() == 0:
            _pass_on(links, place)
            os._exit(0)
    first = links[0][0]
    _close_all_but(links, first)
    samples: list[float] = []
    for _ in range(_WARM_UPS + _ROUND_TRIPS):
        began = perf_counter()
        _send_and_wait(first)
        samples.append(perf_counter() - began)
    # Each process ends when the one before it has.
    first.close()
    for _ in links:
        os.wait()
    return {"W1 wake-ups": statistics.median(samples[_WARM_UPS:]) * 1e6}


def _pass_on(links: list[Link], place: int) -> None:
    before = links[place][1]
    after = links[place + 1][0] if place + 1 < len(links) else None
    _close_all_but(links, before, after)
    while before.recv(_BYTES):
        if after is not None:
            _send_and_wait(after)
        before.sendall(bytes(_BYTES))


def _close_all_but(links: list[Link], *kept: socket.socket | None) -> None:
    for link in links:
        for end in link:
            if end not in kept:
                end.close()


def _send_and_wait(link: socket.socket) -> None:
    link.sendall(bytes(_BYTES))
    link.recv(_BYTES)


def _tcp_link() -> Link:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        own = socket.create_connection(listener.getsockname())
        other, _ = listener.accept()
    for end in (own, other):
        end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, True)
    return own, other
