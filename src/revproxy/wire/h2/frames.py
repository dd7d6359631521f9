"""Frames as bytes (RFC 9113 4 and 6): their numbers, and how each that we send is built.

Owns types, flags, error codes and settings identifiers. Refuses to know streams and their states.
"""

from __future__ import annotations

from struct import Struct
from typing import Final

PREFACE: Final = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
"""What a client's connection begins with (RFC 9113 3.4)."""

HEADER_BYTES: Final = 9
"""A frame's header (RFC 9113 4.1)."""

MAX_FRAME: Final = 16384
"""The longest payload, either way: what every peer takes unless it has said more
(SETTINGS_MAX_FRAME_SIZE, RFC 9113 6.5.2). Longer ones would let one stream hold up the others."""

MAX_WINDOW: Final = 2**31 - 1
"""The largest flow-control window, and the largest stream identifier."""

DEFAULT_WINDOW: Final = 65535
"""Every window's size before anything has been said of it (RFC 9113 6.9.2)."""

# Types (RFC 9113 6, RFC 9218 7.1)
DATA: Final = 0
HEADERS: Final = 1
PRIORITY: Final = 2
RST_STREAM: Final = 3
SETTINGS: Final = 4
PUSH_PROMISE: Final = 5
PING: Final = 6
GOAWAY: Final = 7
WINDOW_UPDATE: Final = 8
CONTINUATION: Final = 9
PRIORITY_UPDATE: Final = 16

# Flags
ACK: Final = 0x1
END_STREAM: Final = 0x1
END_HEADERS: Final = 0x4
PADDED: Final = 0x8
HAS_PRIORITY: Final = 0x20

# Settings (RFC 9113 6.5.2, RFC 8441 3)
HEADER_TABLE_SIZE: Final = 1
ENABLE_PUSH: Final = 2
MAX_CONCURRENT_STREAMS: Final = 3
INITIAL_WINDOW_SIZE: Final = 4
MAX_FRAME_SIZE: Final = 5
MAX_HEADER_LIST_SIZE: Final = 6
ENABLE_CONNECT_PROTOCOL: Final = 8

# Error codes (RFC 9113 7)
NO_ERROR: Final = 0
PROTOCOL_ERROR: Final = 1
INTERNAL_ERROR: Final = 2
FLOW_CONTROL_ERROR: Final = 3
SETTINGS_TIMEOUT: Final = 4
STREAM_CLOSED: Final = 5
FRAME_SIZE_ERROR: Final = 6
REFUSED_STREAM: Final = 7
CANCEL: Final = 8
COMPRESSION_ERROR: Final = 9
CONNECT_ERROR: Final = 10
ENHANCE_YOUR_CALM: Final = 11
INADEQUATE_SECURITY: Final = 12
HTTP_1_1_REQUIRED: Final = 13

_header = Struct(">HBBBI").pack
_header_and_word = Struct(">HBBBII").pack
_goaway = Struct(">HBBBIII").pack
_setting = Struct(">HI").pack

read_header = Struct(">HBBBI").unpack_from
"""A frame's header at an offset: length without its last 8 bits, these, type, flags, and the
stream with the reserved bit."""

read_word = Struct(">I").unpack_from
"""32 bits at an offset."""

read_settings = Struct(">HI").iter_unpack
"""Pairs of identifier and value."""

SETTINGS_ACK: Final = _header(0, 0, SETTINGS, ACK, 0)
"""The answer to SETTINGS."""


def frame_header(length: int, kind: int, flags: int, stream: int) -> bytes:
    """The header of a frame with a payload of ``length`` bytes."""
    return _header(length >> 8, length & 0xFF, kind, flags, stream)


def headers_frames(stream: int, block: bytes, *, end: bool) -> bytes:
    """A header block as HEADERS and as many CONTINUATION as it takes (RFC 9113 6.2, 6.10)."""
    size = len(block)
    ending = END_STREAM if end else 0
    if size <= MAX_FRAME:
        return _header(size >> 8, size & 0xFF, HEADERS, END_HEADERS | ending, stream) + block
    frames: list[bytes] = []
    for start in range(0, size, MAX_FRAME):
        part = block[start : start + MAX_FRAME]
        flags = 0 if start else ending
        if start + MAX_FRAME >= size:
            flags |= END_HEADERS
        frames += frame_header(len(part), CONTINUATION if start else HEADERS, flags, stream), part
    return b"".join(frames)


def rst_stream(stream: int, code: int) -> bytes:
    """The end of a stream (RFC 9113 6.4)."""
    return _header_and_word(0, 4, RST_STREAM, 0, stream, code)


def settings(values: dict[int, int]) -> bytes:
    """SETTINGS, by identifier (RFC 9113 6.5)."""
    payload = b"".join([_setting(*pair) for pair in values.items()])
    return frame_header(len(payload), SETTINGS, 0, 0) + payload


def ping(opaque: bytes, *, ack: bool) -> bytes:
    """PING with 8 bytes of ours, or the answer with the peer's (RFC 9113 6.7)."""
    return _header(0, 8, PING, ACK if ack else 0, 0) + opaque


def goaway(last: int, code: int) -> bytes:
    """The end of the connection; ``last`` is the last stream that is served (RFC 9113 6.8)."""
    return _goaway(0, 8, GOAWAY, 0, 0, last, code)


def window_update(stream: int, increment: int) -> bytes:
    """So many more bytes of DATA are welcome; stream 0 is the connection (RFC 9113 6.9)."""
    return _header_and_word(0, 4, WINDOW_UPDATE, 0, stream, increment)
