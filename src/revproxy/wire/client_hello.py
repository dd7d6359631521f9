"""The first flight of a TLS connection, read before the handshake starts.

Owns how a ClientHello is found in the records that carry it (RFC 8446 5.1 and 4.1.2) and which
of its extensions decide what becomes of the connection: server_name (RFC 6066 3) and ALPN
(RFC 7301 3.1). Refuses to know certificates, contexts and sockets; whatever it does not name is
left to the TLS library, which reads the same bytes again.
"""

from __future__ import annotations

import re
from struct import Struct

from revproxy.model.tls import ClientHello

UNEXPECTED_MESSAGE = 10
"""TLS alert: not the message that may come now (RFC 8446 6.2)."""

ILLEGAL_PARAMETER = 47
"""TLS alert: well-formed, but against the rules (RFC 8446 6.2)."""

PROTOCOL_VERSION = 70
"""TLS alert: a version that is not spoken here (RFC 8446 6.2)."""

DECODE_ERROR = 50
"""TLS alert: a length does not fit (RFC 8446 6.2)."""

MAX_RECORDS = 16
"""Records that one ClientHello may be spread over.

Browsers use one; what splits a hello to slip past a filter uses a few. Every call walks the
records again, so this also bounds the work of a peer that sends a hello byte by byte.
"""

_RECORD_STARTS = (b"\x16\x03", b"\x16", b"")  # a handshake of SSL 3.0 or later
_CLIENT_HELLO = 1
_MAX_RECORD = 2**14
_RECORD_HEADER = 5
_MESSAGE_HEADER = 4
_SESSION_ID = _MESSAGE_HEADER + 2 + 32  # after legacy_version and random

_SERVER_NAME = 0
_ALPN = 16

_HOST_NAME = re.compile(
    rb"(?!-)[a-z0-9_-]{1,63}(?<!-)(?:\.(?!-)[a-z0-9_-]{1,63}(?<!-))*", re.IGNORECASE
)
_two_shorts = Struct(">HH").unpack_from


class NotTls(ValueError):
    """The peer does not speak TLS: its first bytes are no handshake record."""


class BadClientHello(ValueError):
    """The peer speaks TLS, but its first message is refused.

    Attributes:
        alert: the number of the alert to refuse with (RFC 8446 6).
    """

    def __init__(self, reason: str, alert: int = DECODE_ERROR) -> None:
        super().__init__(reason)
        self.alert = alert


def parse_client_hello(buffer: bytes, limit: int = 16384) -> ClientHello | None:
    """Read the ClientHello that a connection starts with.

    A call on an incomplete hello looks at the record headers only (at most
    :data:`MAX_RECORDS`), so feeding it one byte at a time costs ``limit`` cheap calls, not a
    parse each.

    Args:
        buffer: everything received so far; bytes after the hello's last record are ignored.
        limit: the most bytes that the hello may take on the wire, record headers included.

    Returns:
        the hello, or ``None`` when more bytes are needed.

    Raises:
        NotTls: the first bytes are not a TLS handshake record.
        BadClientHello: malformed, over ``limit``, or against RFC 6066 3 or RFC 8446 4.2.
    """
    message = _first_message(buffer, limit)
    return None if message is None else _parse_message(message)


def _first_message(buffer: bytes, limit: int) -> bytes | None:
    """The whole ClientHello message with its header, or ``None`` while it is incomplete."""
    message = b""
    position = 0
    for _ in range(MAX_RECORDS):
        end = _record_end(buffer, position)
        start = position + _RECORD_HEADER
        message += buffer[start:end]
        if message and message[0] != _CLIENT_HELLO:
            raise BadClientHello("the first message is no ClientHello", UNEXPECTED_MESSAGE)
        missing = 1
        if len(message) >= _MESSAGE_HEADER:
            missing = _MESSAGE_HEADER + int.from_bytes(message[1:4], "big") - len(message)
        whole_record = end <= len(buffer)
        if (end if whole_record else len(buffer)) + max(missing, 0) > limit:
            raise BadClientHello("the ClientHello is over the limit")
        if not whole_record:
            return None
        if missing < 0:
            raise BadClientHello("bytes follow the ClientHello in its record", UNEXPECTED_MESSAGE)
        if missing == 0:
            return message
        position = end
    raise BadClientHello("the ClientHello is spread over too many records")


def _record_end(buffer: bytes, position: int) -> int:
    """Where the record at ``position`` ends (RFC 8446 5.1), past the buffer if not all came."""
    header = buffer[position : position + _RECORD_HEADER]
    if header[:2] not in _RECORD_STARTS:
        if position == 0:
            raise NotTls("no TLS handshake record")
        raise BadClientHello("the ClientHello is interrupted", UNEXPECTED_MESSAGE)
    if len(header) < _RECORD_HEADER:
        return len(buffer) + 1
    length = int.from_bytes(header[3:], "big")
    if not 0 < length <= _MAX_RECORD:
        raise BadClientHello("a record of a length that is not allowed")
    return position + _RECORD_HEADER + length


def _parse_message(message: bytes) -> ClientHello:
    """Read a whole ClientHello (RFC 8446 4.1.2), jumping over what decides nothing."""
    size = len(message)
    try:
        if message[_MESSAGE_HEADER] != 3:
            raise BadClientHello("an unknown legacy_version", PROTOCOL_VERSION)
        session_id = message[_SESSION_ID]
        position = _SESSION_ID + 1 + session_id
        cipher_suites = message[position] << 8 | message[position + 1]
        position += 2 + cipher_suites
        compression_methods = message[position]
        position += 1 + compression_methods
        if session_id > 32 or cipher_suites < 2 or cipher_suites & 1 or not compression_methods:
            raise BadClientHello("a vector of a length that is not allowed")
        if position == size:
            return ClientHello()
        extensions = message[position] << 8 | message[position + 1]
    except IndexError:
        raise BadClientHello("the ClientHello is truncated") from None
    position += 2
    if position + extensions != size:
        raise BadClientHello("the extensions do not fill the ClientHello")
    return _parse_extensions(message, position)


def _parse_extensions(message: bytes, position: int) -> ClientHello:
    """Read the extensions from ``position`` to the end of the message (RFC 8446 4.2)."""
    size = len(message)
    count = 0
    found: dict[int, int] = {}
    while position < size:
        if position + 4 > size:
            raise BadClientHello("an extension is truncated")
        extension, length = _two_shorts(message, position)
        found[extension] = position
        count += 1
        position += 4 + length
    if position != size:
        raise BadClientHello("an extension is truncated")
    if count != len(found):
        raise BadClientHello("an extension comes twice", ILLEGAL_PARAMETER)
    name, alpn = found.get(_SERVER_NAME), found.get(_ALPN)
    return ClientHello(
        "" if name is None else _server_name(_content(message, name)),
        () if alpn is None else _protocols(_content(message, alpn)),
    )


def _content(message: bytes, position: int) -> bytes:
    """The extension_data of the extension at ``position``."""
    start = position + 4
    return message[start : start + (message[position + 2] << 8 | message[position + 3])]


def _server_name(content: bytes) -> str:
    """The one host name of a server_name extension, in lower case (RFC 6066 3).

    A trailing dot, which the RFC does not allow, is dropped as HTTP does. An IP address, which
    it does not allow either, is refused: no certificate would be chosen by it.
    """
    if len(content) < 5:
        raise BadClientHello("server_name is truncated")
    list_length, name_type = _two_shorts(content)[0], content[2]
    name_length = content[3] << 8 | content[4]
    if name_type != 0:
        raise BadClientHello("server_name is no host_name", ILLEGAL_PARAMETER)
    if list_length != len(content) - 2 or name_length > list_length - 3:
        raise BadClientHello("the lengths in server_name do not fit")
    if name_length < list_length - 3:
        raise BadClientHello("server_name holds more than one name", ILLEGAL_PARAMETER)
    name = content[5:].removesuffix(b".")
    if len(name) > 253 or not _HOST_NAME.fullmatch(name) or name.rpartition(b".")[2].isdigit():
        raise BadClientHello("server_name is no valid host name", ILLEGAL_PARAMETER)
    return name.decode("ascii").lower()


def _protocols(content: bytes) -> tuple[bytes, ...]:
    """The protocol names of an ALPN extension, in the peer's order (RFC 7301 3.1)."""
    size = len(content)
    if size < 4 or int.from_bytes(content[:2], "big") != size - 2:
        raise BadClientHello("the lengths in ALPN do not fit")
    protocols = []
    position = 2
    while position < size:
        start = position + 1
        position = start + content[position]
        if position == start or position > size:
            raise BadClientHello("the lengths in ALPN do not fit")
        protocols.append(content[start:position])
    return tuple(protocols)
