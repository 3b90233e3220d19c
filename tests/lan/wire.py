"""What a capture holds: TCP flows, put together again, and whether they are TLS 1.3."""

import ipaddress
from collections.abc import Iterable
from dataclasses import dataclass

_ETHER_IPV4 = 0x0800
_ETHER_IPV6 = 0x86DD
TCP = 6
_UDP = 17
SYN = 0x02

Place = tuple[str, int]


@dataclass(frozen=True)
class Packet:
    """One packet of TCP or UDP."""

    protocol: int
    source: Place
    target: Place
    sequence: int
    flags: int
    content: bytes


def packets(frames: Iterable[bytes]) -> list[Packet]:
    """Return what of Ethernet frames is TCP or UDP."""
    return [found for frame in list(frames) if (found := _packet(frame))]


def datagrams(frames: Iterable[bytes], port: int) -> list[Packet]:
    """Return what was sent to a UDP port."""
    return [each for each in packets(frames) if each.protocol == _UDP and each.target[1] == port]


def flows(frames: Iterable[bytes]) -> dict[tuple[Place, Place], bytes]:
    """Return all bytes that went from one place to another by TCP, in their order."""
    pieces: dict[tuple[Place, Place], dict[int, bytes]] = {}
    starts: dict[tuple[Place, Place], int] = {}
    for each in packets(frames):
        if each.protocol != TCP:
            continue
        way = (each.source, each.target)
        if each.flags & SYN:
            starts[way] = (each.sequence + 1) % 2**32
        elif each.content:
            gathered = pieces.setdefault(way, {})
            if len(gathered.get(each.sequence, b"")) < len(each.content):
                gathered[each.sequence] = each.content
    return {way: _join(starts.get(way), gathered) for way, gathered in pieces.items()}


def _join(start: int | None, pieces: dict[int, bytes]) -> bytes:
    """Put segments in order, up to the first that is missing."""
    first = min(pieces) if start is None else start
    joined = bytearray()
    for sequence in sorted(pieces, key=lambda sequence: (sequence - first) % 2**32):
        at = (sequence - first) % 2**32
        if at > len(joined):
            break
        joined[at:] = pieces[sequence] if at + len(pieces[sequence]) > len(joined) else joined[at:]
    return bytes(joined)


def _packet(frame: bytes) -> Packet | None:
    kind, rest = int.from_bytes(frame[12:14]), frame[14:]
    if kind == _ETHER_IPV4:
        protocol, header, end = rest[9], (rest[0] & 15) * 4, int.from_bytes(rest[2:4])
        source, target = rest[12:16], rest[16:20]
    elif kind == _ETHER_IPV6:
        protocol, header, end = rest[6], 40, 40 + int.from_bytes(rest[4:6])
        source, target = rest[8:24], rest[24:40]
    else:
        return None
    # What is too long for its length field is said to be 0 long.
    body = rest[header : end if end > header else None]
    places = [
        (str(ipaddress.ip_address(address)), int.from_bytes(body[at : at + 2]))
        for address, at in ((source, 0), (target, 2))
    ]
    if protocol == TCP:
        sequence, flags = int.from_bytes(body[4:8]), body[13]
        return Packet(protocol, *places, sequence, flags, body[(body[12] >> 4) * 4 :])
    if protocol == _UDP:
        return Packet(protocol, *places, 0, 0, body[8:])
    return None


_HANDSHAKE = 22
_ALERT = 21
_CHANGE_CIPHER = 20
_APPLICATION = 23

# Of a message in the handshake.
_CLIENT_HELLO = 1
_SERVER_HELLO = 2

# The extension in which both sides say that they mean 1.3, and how that is written.
_SUPPORTED_VERSIONS = 43
_TLS_1_3 = b"\x03\x04"


def records(flow: bytes) -> list[tuple[int, bytes]]:
    """Return the whole records of a flow, which must be TLS."""
    found = []
    at = 0
    while at + 5 <= len(flow):
        kind, version, size = flow[at], flow[at + 1 : at + 3], int.from_bytes(flow[at + 3 : at + 5])
        assert kind in {_HANDSHAKE, _ALERT, _CHANGE_CIPHER, _APPLICATION}, (at, flow[at : at + 40])
        assert version in {b"\x03\x01", b"\x03\x03"}, (at, flow[at : at + 40])
        assert size <= 2**14 + 256, (at, flow[at : at + 40])
        if at + 5 + size > len(flow):
            break
        found.append((kind, flow[at + 5 : at + 5 + size]))
        at += 5 + size
    return found


def check_is_tls_1_3(flow: bytes) -> None:
    """Fail unless a flow is one side of TLS 1.3, with nothing in the clear but its hello."""
    found = records(flow)
    if not found:
        return
    [(kind, hello), *rest] = found
    if kind == _ALERT:
        # A refusal before the handshake is all that this side has said.
        assert not rest
        return
    assert kind == _HANDSHAKE
    assert hello[0] in {_CLIENT_HELLO, _SERVER_HELLO}
    assert _TLS_1_3 in _versions(hello)
    for kind, content in rest:
        hello_again = kind == _HANDSHAKE and content[0] in {_CLIENT_HELLO, _SERVER_HELLO}
        alert = kind == _ALERT and len(content) == 2
        assert kind in {_CHANGE_CIPHER, _APPLICATION} or hello_again or alert, (kind, content[:20])


def _versions(hello: bytes) -> list[bytes]:
    """Return the versions that a hello names in its extension."""
    is_client = hello[0] == _CLIENT_HELLO
    at = 4 + 2 + 32
    at += 1 + hello[at]
    if is_client:
        at += 2 + int.from_bytes(hello[at : at + 2])
        at += 1 + hello[at]
    else:
        at += 3
    end = at + 2 + int.from_bytes(hello[at : at + 2])
    at += 2
    while at < end:
        kind, size = int.from_bytes(hello[at : at + 2]), int.from_bytes(hello[at + 2 : at + 4])
        content = hello[at + 4 : at + 4 + size]
        if kind == _SUPPORTED_VERSIONS:
            said = content[1:] if is_client else content
            return [said[place : place + 2] for place in range(0, len(said), 2)]
        at += 4 + size
    return []
