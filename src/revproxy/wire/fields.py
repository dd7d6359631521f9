"""What each header field name means to a proxy, and which bytes may stand in a field section.

Owns the classification of field names (RFC 9110 5, 7.6.1) and the byte-level checks that both
HTTP versions and both directions share. Refuses to know what is done with a field of a kind.
"""

from __future__ import annotations

import re
from typing import Final

from revproxy.model.http import Field

TOKEN = rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+"
"""RFC 9110 5.6.2."""

_VALID_BYTES = bytes(byte for byte in range(256) if byte >= 32 and byte != 127) + b"\t"
_PLAIN_NAME = re.compile(rb"[A-Za-z0-9-]+")
_TOKEN_LIST = re.compile(rb"[ \t]*%b[ \t]*(?:,[ \t]*%b[ \t]*)*" % (TOKEN, TOKEN))

LEARNED_NAMES = 4096
"""How many spellings of field names are remembered with their kind, in all."""

LEARNED_NAME_BYTES = 64
"""Longer names are classified anew each time."""


# Why a field of a request or response is not simply passed on. Integers and not an Enum: these
# are compared for every field of every head, and a member of an Enum costs five times a global.
ORDINARY: Final = 0
DROPPED: Final = 1
HOST: Final = 2
CONTENT_LENGTH: Final = 3
TRANSFER_ENCODING: Final = 4
CONNECTION: Final = 5
EXPECT: Final = 6
TE: Final = 7
FORWARDED_FOR: Final = 8
CLIENT_ADDRESS: Final = 9
REQUEST_ID: Final = 10
MAX_FORWARDS: Final = 11
DATE: Final = 12

SpecialField = tuple[int, bytes, bytes]
"""A kind other than ORDINARY, the name and the value."""


class FieldKinds(dict[bytes, int]):
    """Spelling of a field name -> its kind, learning what it is asked for, within bounds."""

    def __init__(self, lower_case: dict[bytes, int], prefix: bytes = b"") -> None:
        """``lower_case`` names the special ones; what starts with ``prefix`` is dropped."""
        super().__init__(lower_case)
        self._lower_case = lower_case
        self._prefix = prefix

    def __missing__(self, name: bytes) -> int:
        kind = self._classify(name.lower())
        if len(self) < LEARNED_NAMES and len(name) <= LEARNED_NAME_BYTES:
            self[name] = kind
        return kind

    def _classify(self, lower: bytes) -> int:
        kind = self._lower_case.get(lower)
        if kind is not None:
            return kind
        if self._prefix and lower.startswith(self._prefix):
            return DROPPED
        return ORDINARY


class RequestFieldKinds(FieldKinds):
    """As :class:`FieldKinds`; names that CGI-like upstreams could confuse are dropped too.

    ``X_Real_IP`` and ``X-Real-IP`` are the same variable to many an application.
    """

    def _classify(self, lower: bytes) -> int:
        kind = super()._classify(lower)
        if kind is ORDINARY and not _PLAIN_NAME.fullmatch(lower):
            return DROPPED
        return kind


_HOP_BY_HOP = dict.fromkeys(
    (
        b"keep-alive",
        b"proxy-connection",
        b"proxy-authorization",
        b"proxy-authenticate",
        b"proxy-authentication-info",
        b"trailer",
        b"upgrade",
        b"http2-settings",
    ),
    DROPPED,
)

_SHARED = _HOP_BY_HOP | {
    b"connection": CONNECTION,
    b"content-length": CONTENT_LENGTH,
    b"transfer-encoding": TRANSFER_ENCODING,
}

REQUEST_FIELDS = RequestFieldKinds(
    _SHARED
    | {
        b"host": HOST,
        b"expect": EXPECT,
        b"te": TE,
        b"max-forwards": MAX_FORWARDS,
        b"proxy": DROPPED,
        b"x-real-ip": DROPPED,
        b"forwarded": DROPPED,
        b"x-forwarded-for": FORWARDED_FOR,
        b"x-client-ip": CLIENT_ADDRESS,
        b"true-client-ip": CLIENT_ADDRESS,
        b"cf-connecting-ip": CLIENT_ADDRESS,
        b"x-request-id": REQUEST_ID,
    },
    prefix=b"x-forwarded-",
)
"""Kinds of request fields."""

RESPONSE_FIELDS = FieldKinds(
    _SHARED
    | {
        b"server": DROPPED,
        b"te": DROPPED,
        b"date": DATE,
    }
)
"""Kinds of response fields."""

_NEVER_IN_TRAILERS = frozenset(_SHARED) | {
    b"host",
    b"te",
    b"server",
    b"date",
    b"set-cookie",
    b"authorization",
    b"www-authenticate",
    b"content-encoding",
    b"content-type",
    b"content-range",
    b"cache-control",
    b"location",
    b"expect",
    b"age",
    b"vary",
}
"""Framing, routing, control: never merged from a trailer (RFC 9110 6.5.1)."""

_TRAILER_LINE = re.compile(rb"(%b):[ \t]*(.*?)[ \t]*" % TOKEN)


def has_valid_bytes(section: bytes) -> bool:
    """Whether a head has no control character but HTAB, and CR and LF only as CRLF line ends.

    (Folded lines, RFC 9112 5.2, are left to llhttp, which refuses them.)
    """
    return not b"".join(section.split(b"\r\n")).translate(None, _VALID_BYTES)


def has_bare_line_feed(part: bytes) -> bool:
    """Whether an incomplete head can no longer become valid, for an LF without its CR."""
    return part.count(b"\n") != part.count(b"\r\n")


def is_token_list(value: bytes) -> bool:
    """Whether ``value`` is a comma-separated list of tokens without empty elements."""
    return _TOKEN_LIST.fullmatch(value) is not None


def tokens(values: list[bytes]) -> set[bytes]:
    """The lower-cased elements of a list-valued field (RFC 9110 5.6.1), parameters cut off."""
    joined = b",".join(values).lower()
    return {part.partition(b";")[0].strip(b" \t") for part in joined.split(b",")} - {b""}


def trailer_fields(section: bytes) -> list[Field]:
    """Read a trailer section (RFC 9112 7.1.2), CRLF after each line.

    Returns:
        the fields that a trailer may hold; the others are left out.

    Raises:
        ValueError: a line is no field line.
    """
    if not has_valid_bytes(section):
        raise ValueError("invalid byte in a trailer")
    fields = []
    for line in section.split(b"\r\n")[:-1]:
        match = _TRAILER_LINE.fullmatch(line)
        if match is None:
            raise ValueError("invalid trailer line")
        if match[1].lower() not in _NEVER_IN_TRAILERS:
            fields.append((match[1], match[2]))
    return fields
