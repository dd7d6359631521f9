"""The PROXY protocol's header, versions 1 and 2, in front of a connection's own bytes.

Owns how a header is read, however its bytes are divided, and how one is written (the PROXY
protocol, HAProxy Technologies, 2020-03-05, sections 2.1 and 2.2). Refuses to know who may send
one, how long one is waited for, and what follows it.

Whatever the specification leaves to the receiver is refused here, and what it says to ignore is
skipped within its bounds: a header is believed for the client's address.
"""

from __future__ import annotations

import re
from ipaddress import AddressValueError, IPv4Address, IPv6Address
from struct import Struct

from attrs import frozen

from revproxy.model.configuration import IPAddress

MAX_V1_BYTES = 107
"""A line of version 1 with its CR LF (section 2.1)."""

MAX_V2_BLOCK = 2048
"""Bytes of version 2 after its first 16: the addresses and all that is told beyond them.

Senders are told to stay below 536 bytes in all; certificates' names and checksums make it more.
"""

MAX_NAME = 255
"""Bytes of an ALPN protocol name (RFC 7301 3.1), and more than a host name has."""

SIGNATURE = b"\r\n\r\n\0\r\nQUIT\n"
"""What version 2 begins with (section 2.2)."""

_V1_START = b"PROXY "
_V2_HEADER = 16
_LOCAL, _PROXY = 0x20, 0x21  # version 2 in the high half
_UNSPEC, _TCP4, _TCP6 = 0x00, 0x11, 0x21
_ALPN, _AUTHORITY = 0x01, 0x02

_ADDRESS_BYTES = {_UNSPEC: 0, _TCP4: 12, 0x12: 12, _TCP6: 36, 0x22: 36, 0x31: 216, 0x32: 216}
"""Every pair of family and transport that may be told, with the bytes of its addresses."""

_ports = Struct(">HH")

_PORT = rb"(0|[1-9][0-9]{0,4})"
_V1_LINE = re.compile(rb"PROXY TCP([46]) ([0-9A-Fa-f:.]+) ([0-9A-Fa-f:.]+) %b %b" % (_PORT, _PORT))
_V1_UNKNOWN = re.compile(rb"PROXY UNKNOWN(?: .*)?")
_MAPPED = re.compile(r"::ffff:[0-9.]+", re.IGNORECASE)


class ProxyHeaderError(ValueError):
    """The bytes begin with no PROXY header, or with one that is refused."""


@frozen
class Endpoints:
    """The two ends of a TCP connection, as the one who accepted it saw them.

    Attributes:
        source: who connected; an IPv4-mapped IPv6 address is the IPv4 one.
        source_port: 0 to 65535.
        destination: whom to, likewise.
        destination_port: 0 to 65535.
    """

    source: IPAddress
    source_port: int
    destination: IPAddress
    destination_port: int


@frozen
class ProxyHeader:
    """A header that has been read.

    Attributes:
        endpoints: of the connection that is passed on; None where the sender speaks for itself
            (LOCAL) or cannot say (UNKNOWN, UNSPEC, and what is no TCP over IP): the connection's
            own are meant.
        size: its bytes, after which the connection's own begin.
    """

    endpoints: Endpoints | None
    size: int


def parse_proxy_header(buffer: bytes) -> ProxyHeader | None:
    """Read the header that a connection starts with (section 2).

    What can be refused is refused at its first wrong byte, as far as that can be seen without
    the whole header. A call on an incomplete header costs little whatever it holds.

    Args:
        buffer: everything received so far, at least up to the header's end; at most
            :data:`MAX_V2_BLOCK` + 16 bytes of it are looked at.

    Returns:
        the header, or None when more bytes are needed.

    Raises:
        ProxyHeaderError: it is none, malformed, too long, or of a kind that must be refused.
    """
    if buffer[:1] == SIGNATURE[:1]:
        return _read_v2(buffer)
    if buffer[:6] != _V1_START[: len(buffer)]:
        raise ProxyHeaderError("no proxy header")
    return _read_v1(buffer)


def _read_v1(buffer: bytes) -> ProxyHeader | None:
    """Wait for the whole line, and read it (section 2.1)."""
    line, end, _ = buffer[:MAX_V1_BYTES].partition(b"\r\n")
    if not end and len(buffer) >= MAX_V1_BYTES:
        raise ProxyHeaderError("the line is too long")
    begun = line if end else line.removesuffix(b"\r")
    if b"\r" in begun or b"\n" in begun:
        raise ProxyHeaderError("a line end other than cr lf")
    if not end:
        return None
    size = len(line) + 2
    if _V1_UNKNOWN.fullmatch(line):
        return ProxyHeader(None, size)
    match = _V1_LINE.fullmatch(line)
    if match is None:
        raise ProxyHeaderError("a malformed line")
    version, source, destination, source_port, destination_port = match.groups()
    read = _v4 if version == b"4" else _v6
    return ProxyHeader(
        Endpoints(read(source), _port(source_port), read(destination), _port(destination_port)),
        size,
    )


def _v4(text: bytes) -> IPAddress:
    """Four numbers without leading zeros."""
    try:
        return IPv4Address(text.decode("ascii"))
    except AddressValueError:
        raise ProxyHeaderError("no ipv4 address") from None


def _v6(text: bytes) -> IPAddress:
    """Groups of hexadecimal digits, or ``::ffff:1.2.3.4`` (RFC 5952 5).

    The specification knows the groups only; what writes mapped addresses, inet_ntop among them,
    writes the other.
    """
    address = text.decode("ascii")
    if "." in address and not _MAPPED.fullmatch(address):
        raise ProxyHeaderError("no ipv6 address")
    try:
        return _unmapped(IPv6Address(address))
    except AddressValueError:
        raise ProxyHeaderError("no ipv6 address") from None


def _port(text: bytes) -> int:
    port = int(text)
    if port > 65535:
        raise ProxyHeaderError("no port")
    return port


def _unmapped(address: IPAddress) -> IPAddress:
    """An IPv4-mapped address as IPv4 (RFC 4291 2.5.5.2)."""
    mapped = address.ipv4_mapped if isinstance(address, IPv6Address) else None
    return mapped or address


def _read_v2(buffer: bytes) -> ProxyHeader | None:
    """Judge the first 16 bytes as they come, wait for the block, and read it (section 2.2)."""
    size = len(buffer)
    if buffer[:12] != SIGNATURE[:size]:
        raise ProxyHeaderError("no proxy header")
    if size > 12 and buffer[12] not in (_LOCAL, _PROXY):
        raise ProxyHeaderError("an unknown version or command")
    relayed = size > 12 and buffer[12] == _PROXY
    if relayed and size > 13 and buffer[13] not in _ADDRESS_BYTES:
        raise ProxyHeaderError("an unknown family or transport")
    if size < _V2_HEADER:
        return None
    end = _V2_HEADER + int.from_bytes(buffer[14:16], "big")
    kind = buffer[13] if relayed else _UNSPEC
    start = _V2_HEADER + _ADDRESS_BYTES[kind]
    if end > _V2_HEADER + MAX_V2_BLOCK:
        raise ProxyHeaderError("the header is too long")
    if end < start:
        raise ProxyHeaderError("the addresses are cut short")
    if size < end:
        return None
    if kind != _UNSPEC:
        _skip_vectors(buffer, start, end)
    return ProxyHeader(_v2_endpoints(kind, buffer), end)


def _skip_vectors(buffer: bytes, position: int, end: int) -> None:
    """See that type-length-value vectors fill the header to its end (section 2.2)."""
    while position < end:
        if position + 3 > end:
            raise ProxyHeaderError("a vector is cut short")
        position += 3 + (buffer[position + 1] << 8 | buffer[position + 2])
    if position != end:
        raise ProxyHeaderError("a vector is cut short")


def _v2_endpoints(kind: int, buffer: bytes) -> Endpoints | None:
    """The addresses of a whole header, where they are of TCP over IP."""
    if kind == _TCP4:
        source: IPAddress = IPv4Address(buffer[16:20])
        destination: IPAddress = IPv4Address(buffer[20:24])
        source_port, destination_port = _ports.unpack_from(buffer, 24)
    elif kind == _TCP6:
        source = _unmapped(IPv6Address(buffer[16:32]))
        destination = _unmapped(IPv6Address(buffer[32:48]))
        source_port, destination_port = _ports.unpack_from(buffer, 48)
    else:
        return None
    return Endpoints(source, source_port, destination, destination_port)


def proxy_header_v1(endpoints: Endpoints | None) -> bytes:
    """A header of version 1 (section 2.1).

    Args:
        endpoints: of the connection that is passed on. Of two IP versions, both are written as
            IPv6. None is written as UNKNOWN.
    """
    if endpoints is None:
        return b"PROXY UNKNOWN\r\n"
    version, *addresses = _one_version(endpoints)
    source, destination = map(_written, addresses)
    ports = f"{endpoints.source_port} {endpoints.destination_port}"
    return f"PROXY TCP{version} {source} {destination} {ports}\r\n".encode("ascii")


def proxy_header_v2(
    endpoints: Endpoints | None, *, alpn: bytes = b"", authority: str = ""
) -> bytes:
    """A header of version 2 (section 2.2).

    Args:
        endpoints: of the connection that is passed on. Of two IP versions, both are written as
            IPv6. None is written as LOCAL, which has nothing more to tell.
        alpn: the protocol that is spoken on it (section 2.2.1), its name alone as other senders
            write it; ``b""`` where it is not known.
        authority: the host name that the client asked for (section 2.2.2); ``""`` for none.

    Raises:
        ValueError: either is over :data:`MAX_NAME` bytes.
    """
    if endpoints is None:
        return SIGNATURE + bytes((_LOCAL, _UNSPEC, 0, 0))
    version, source, destination = _one_version(endpoints)
    ports = _ports.pack(endpoints.source_port, endpoints.destination_port)
    block = source.packed + destination.packed + ports
    block += _vector(_ALPN, alpn) + _vector(_AUTHORITY, authority.encode())
    kind = _TCP4 if version == 4 else _TCP6
    return SIGNATURE + bytes((_PROXY, kind)) + len(block).to_bytes(2, "big") + block


def _one_version(endpoints: Endpoints) -> tuple[int, IPAddress, IPAddress]:
    """The IP version of both addresses, and these, as IPv6 where only one is of IPv4."""
    source, destination = _unmapped(endpoints.source), _unmapped(endpoints.destination)
    if source.version != destination.version:
        return 6, _as_v6(source), _as_v6(destination)
    return source.version, source, destination


def _written(address: IPAddress) -> str:
    """An address in digits and separators alone: without its zone, a mapped one in groups."""
    if isinstance(address, IPv6Address) and address.ipv4_mapped is not None:
        return address.exploded
    return str(address).partition("%")[0]


def _as_v6(address: IPAddress) -> IPv6Address:
    if isinstance(address, IPv6Address):
        return address
    return IPv6Address(bytes(10) + b"\xff\xff" + address.packed)


def _vector(kind: int, value: bytes) -> bytes:
    """A type-length-value vector; nothing for an empty value."""
    if len(value) > MAX_NAME:
        raise ValueError("a name is too long")
    return bytes((kind,)) + len(value).to_bytes(2, "big") + value if value else b""
