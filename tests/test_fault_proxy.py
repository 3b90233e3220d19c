"""The proxy does what its faults say, and the same for the same seed."""

import socket
import ssl
import threading
from collections.abc import Iterator
from contextlib import suppress

import pytest

from conditions import until
from fault_proxy import FaultProxy, TlsMiddle, replay


@pytest.fixture
def echo() -> Iterator[tuple[str, int]]:
    """Somebody who answers what they hear, until they hear the end."""
    listener = socket.create_server(("127.0.0.1", 0))

    def answer(connection: socket.socket) -> None:
        with connection, suppress(OSError):
            while piece := connection.recv(1 << 16):
                connection.sendall(piece)

    def accept() -> None:
        with suppress(OSError):
            while True:
                threading.Thread(target=answer, args=(listener.accept()[0],), daemon=True).start()

    thread = threading.Thread(target=accept, daemon=True)
    thread.start()
    yield listener.getsockname()
    listener.shutdown(socket.SHUT_RDWR)
    listener.close()
    thread.join()


def dial(proxy: FaultProxy) -> socket.socket:
    return socket.create_connection(("127.0.0.1", proxy.port), timeout=0.3)


def exchange(proxy: FaultProxy, said: bytes) -> bytes:
    heard = bytearray()
    with socket.create_connection(("127.0.0.1", proxy.port), timeout=5) as connection:
        threading.Thread(target=connection.sendall, args=(said,), daemon=True).start()
        with suppress(ConnectionError):
            while len(heard) < len(said) and (piece := connection.recv(1 << 16)):
                heard += piece
    return bytes(heard)


def test_it_carries_and_records(echo: tuple[str, int]) -> None:
    with FaultProxy(echo) as proxy:
        assert exchange(proxy, b"hello") == b"hello"
        [recording] = proxy.recordings
        assert bytes(recording.from_dialer) == bytes(recording.from_listener) == b"hello"


def test_it_flips_the_same_bits_for_the_same_seed(echo: tuple[str, int]) -> None:
    said = bytes(1_000_000)
    heard = []
    for seed in (1, 1, 2):
        with FaultProxy(echo, seed=seed) as proxy:
            proxy.faults.flip_every_bytes = 100_000
            heard.append(exchange(proxy, said))
            assert 2 <= proxy.flipped <= 60
    assert heard[0] == heard[1] != heard[2]
    assert heard[0] != said


def test_it_cuts(echo: tuple[str, int]) -> None:
    with FaultProxy(echo) as proxy:
        proxy.faults.cut_after_bytes = 100_000
        assert len(exchange(proxy, bytes(1_000_000))) < 1_000_000
        proxy.faults.cut_after_bytes = 0
        assert len(exchange(proxy, bytes(1_000_000))) == 1_000_000


def test_it_stalls_and_goes_on(echo: tuple[str, int]) -> None:
    with FaultProxy(echo) as proxy, dial(proxy) as connection:
        proxy.faults.is_stalled = True
        connection.sendall(b"hello")
        with pytest.raises(TimeoutError):
            connection.recv(1)
        proxy.faults.is_stalled = False
        connection.settimeout(5)
        assert connection.recv(5) == b"hello"


def test_it_hides_the_end(echo: tuple[str, int]) -> None:
    with FaultProxy(echo) as proxy, dial(proxy) as connection:
        proxy.faults.hides_ends = True
        connection.shutdown(socket.SHUT_WR)
        with pytest.raises(TimeoutError):
            connection.recv(1)


def test_it_replays(echo: tuple[str, int]) -> None:
    with FaultProxy(echo) as proxy:
        exchange(proxy, b"hello")
        recorded = bytes(proxy.recordings[0].from_dialer)
    assert replay(recorded, echo, seconds=0.3) == b"hello"


def test_the_middle_hears_who_trusts_it() -> None:
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    with TlsMiddle() as middle:
        with (
            socket.create_connection(("127.0.0.1", middle.port), timeout=5) as plain,
            context.wrap_socket(plain) as secured,
        ):
            assert secured.recv(32).startswith(b"hurricane")
            secured.sendall(b"canary")
        until(lambda: b"canary" in middle.heard)
