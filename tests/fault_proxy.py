"""A proxy for TCP connections that does to them what networks and attackers do, without any rights.

What it does is chosen by `Faults`, which may be changed while it runs; where chance comes in, a
seed makes it repeatable for each connection and direction. It records what it carries, for replay.
"""

import contextlib
import random
import select
import socket
import ssl
import tempfile
import threading
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext, suppress
from dataclasses import dataclass, field
from typing import Self

PIECE_BYTES = 1 << 16


@dataclass
class Faults:
    """What is done to what crosses."""

    delay_seconds: float = 0.0
    """What each piece waits before it goes on."""
    flip_every_bytes: int = 0
    """One bit is flipped in so many bytes, on average; 0 flips none."""
    cut_after_bytes: int = 0
    """A connection is reset after so many bytes in both directions; 0 resets none."""
    is_stalled: bool = False
    """Nothing goes on, and nobody is told."""
    hides_ends: bool = False
    """Who closes or resets a connection does so for itself alone: the other side hears nothing."""


@dataclass
class Recording:
    """What one connection has carried, as it came, before any fault."""

    from_dialer: bytearray = field(default_factory=bytearray)
    from_listener: bytearray = field(default_factory=bytearray)


class FaultProxy:
    """Listens, and carries each connection to one place.

    `inside` is where its sockets are made: the network of a host, or of this process.
    """

    def __init__(
        self,
        target: tuple[str, int],
        *,
        listen: tuple[str, int] = ("127.0.0.1", 0),
        seed: int = 0,
        inside: Callable[[], AbstractContextManager[None]] = nullcontext,
    ) -> None:
        self.faults = Faults()
        self.recordings: list[Recording] = []
        self.flipped = 0
        self._target = target
        self._seed = seed
        self._inside = inside
        self._open: set[socket.socket] = set()
        self._is_over = False
        with inside():
            self._listener = socket.create_server(listen)
        self.port: int = self._listener.getsockname()[1]
        self._threads = [threading.Thread(target=self._accept, daemon=True)]
        self._threads[0].start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def connections(self) -> int:
        """How many have been carried."""
        return len(self.recordings)

    def cut(self) -> None:
        """Reset all that is open."""
        for each in list(self._open):
            _reset(each)

    def close(self) -> None:
        """End, with all that is open."""
        self._is_over = True
        self._listener.close()
        self.cut()
        for thread in self._threads:
            thread.join(10)

    def _accept(self) -> None:
        while not self._is_over:
            try:
                if not select.select([self._listener], [], [], 0.1)[0]:
                    continue
                dialer, _ = self._listener.accept()
            except (OSError, ValueError):
                return
            try:
                with self._inside():
                    listener = socket.create_connection(self._target, timeout=5)
            except OSError:
                _reset(dialer)
                continue
            listener.settimeout(None)
            self._carry(dialer, listener)

    def _carry(self, dialer: socket.socket, listener: socket.socket) -> None:
        number, recording = len(self.recordings), Recording()
        self.recordings.append(recording)
        self._open |= {dialer, listener}
        both = _Both(dialer, listener)
        for name, source, sink, record in (
            ("there", dialer, listener, recording.from_dialer),
            ("back", listener, dialer, recording.from_listener),
        ):
            chance = random.Random(f"{self._seed} {number} {name}")
            arguments = (both, source, sink, record, chance)
            thread = threading.Thread(target=self._pump, args=arguments, daemon=True)
            self._threads.append(thread)
            thread.start()

    def _pump(
        self,
        both: "_Both",
        source: socket.socket,
        sink: socket.socket,
        record: bytearray,
        chance: random.Random,
    ) -> None:
        until_flip = self._next_flip(chance)
        while piece := _receive(source):
            record += piece
            time.sleep(self.faults.delay_seconds)
            while self.faults.is_stalled and not self._is_over:
                time.sleep(0.01)
            if self.faults.flip_every_bytes:
                piece, until_flip = self._flip(piece, until_flip, chance)
            try:
                sink.sendall(piece)
            except OSError:
                break
            both.carried += len(piece)
            if 0 < self.faults.cut_after_bytes <= both.carried:
                _reset(source)
                _reset(sink)
                break
        if self.faults.hides_ends and not self._is_over:
            return
        with suppress(OSError):
            sink.shutdown(socket.SHUT_WR)
        both.finish()
        self._open -= both.closed()

    def _next_flip(self, chance: random.Random) -> int:
        every = self.faults.flip_every_bytes
        return chance.randrange(2 * every) if every else 0

    def _flip(self, piece: bytes, until: int, chance: random.Random) -> tuple[bytes, int]:
        changed = bytearray(piece)
        while until < len(changed):
            changed[until] ^= 1 << chance.randrange(8)
            self.flipped += 1
            until += 1 + self._next_flip(chance)
        return bytes(changed), until - len(changed)


class _Both:
    """The two ends of what one connection has become, closed when both directions have ended."""

    def __init__(self, dialer: socket.socket, listener: socket.socket) -> None:
        self.carried = 0
        self._sockets = {dialer, listener}
        self._finished = 0
        self._lock = threading.Lock()

    def finish(self) -> None:
        with self._lock:
            self._finished += 1
            if self._finished == 2:
                for each in self._sockets:
                    each.close()

    def closed(self) -> set[socket.socket]:
        return self._sockets if self._finished == 2 else set()


def replay(
    recorded: bytes,
    target: tuple[str, int],
    *,
    seconds: float = 5.0,
    inside: Callable[[], AbstractContextManager[None]] = nullcontext,
) -> bytes:
    """Say to somebody byte for byte what another has said; returns the answer, until it ends."""
    answer = bytearray()
    with inside():
        connection = socket.create_connection(target, timeout=seconds)
    with connection, suppress(OSError):
        connection.sendall(recorded)
        while piece := connection.recv(PIECE_BYTES):
            answer += piece
    return bytes(answer)


class TlsMiddle:
    """Answers TLS with a certificate of its own, and keeps what is said to it."""

    def __init__(
        self,
        listen: tuple[str, int] = ("127.0.0.1", 0),
        *,
        inside: Callable[[], AbstractContextManager[None]] = nullcontext,
    ) -> None:
        self.heard = bytearray()
        """What came through TLS, in the clear."""
        self.connections = 0
        self.failures: list[str] = []
        self._context = _certified()
        with inside():
            self._listener = socket.create_server(listen)
        self.port: int = self._listener.getsockname()[1]
        self._is_over = False
        self._thread = threading.Thread(target=self._accept, daemon=True)
        self._thread.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._is_over = True
        self._thread.join(10)
        self._listener.close()

    def _accept(self) -> None:
        while not self._is_over:
            if not select.select([self._listener], [], [], 0.1)[0]:
                continue
            connection, _ = self._listener.accept()
            self.connections += 1
            connection.settimeout(2)
            try:
                with self._context.wrap_socket(connection, server_side=True) as secured:
                    # In the place of a greeting.
                    secured.sendall(b"hurricane".ljust(32, b"\0"))
                    while piece := secured.recv(PIECE_BYTES):
                        self.heard += piece
            except OSError as error:
                self.failures.append(str(error))


def _receive(source: socket.socket) -> bytes:
    with suppress(OSError, ValueError):
        return source.recv(PIECE_BYTES)
    return b""


def _reset(connection: socket.socket) -> None:
    """Close so that the other side hears of an error, and whoever reads here stops."""
    with suppress(OSError):
        now = (1).to_bytes(4, "little") + (0).to_bytes(4, "little")
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, now)
    with suppress(OSError):
        connection.shutdown(socket.SHUT_RDWR)
    with suppress(OSError):
        connection.close()


def _certified() -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    with tempfile.NamedTemporaryFile("w", suffix=".pem") as file:
        file.write(_WORTHLESS)
        file.flush()
        context.load_cert_chain(file.name)
    with contextlib.suppress(NotImplementedError):
        context.set_alpn_protocols(["hurricane", "hurricane-enrolment"])
    return context


# Made for these tests: nobody trusts it.
_WORTHLESS = """\
-----BEGIN PRIVATE KEY-----
MIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0wawIBAQQgdukfjwEq/F8IznvQ
vVr8/DMBqWrZgnvSRwcP/pHcdiyhRANCAARScOGWpCZLpj8viXtq9JGAwTaxR2LA
VjEBCNY7n1q9ghfRLJpDNbI+UCREqj4ZEC0PbO8QN0vN84rwDDRtgMhV
-----END PRIVATE KEY-----
-----BEGIN CERTIFICATE-----
MIIBfzCCASWgAwIBAgIUR4fFCipYAHiK3YyyayaMsW7sTjgwCgYIKoZIzj0EAwIw
FDESMBAGA1UEAwwJaHVycmljYW5lMCAXDTI2MTEyMjE0MTUwMloYDzIxMjYxMDI5
MTQxNTAyWjAUMRIwEAYDVQQDDAlodXJyaWNhbmUwWTATBgcqhkjOPQIBBggqhkjO
PQMBBwNCAARScOGWpCZLpj8viXtq9JGAwTaxR2LAVjEBCNY7n1q9ghfRLJpDNbI+
UCREqj4ZEC0PbO8QN0vN84rwDDRtgMhVo1MwUTAdBgNVHQ4EFgQU2tBBwpzX3VTc
ah/FLrMsDi+P1VMwHwYDVR0jBBgwFoAU2tBBwpzX3VTcah/FLrMsDi+P1VMwDwYD
VR0TAQH/BAUwAwEB/zAKBggqhkjOPQQDAgNIADBFAiEAl3hrXKpfyrjYz2uPcUjS
j9IKWm90aqhm6whlC9a8k/oCIHshVYNvvnbUvEtoOQFO4l+PsBl8QtxmJHvAIwTu
6hDs
-----END CERTIFICATE-----
"""
