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

REMEMBERED_NAMES = 1024
"""How many spellings of field names are remembered with their kind."""

REMEMBERED_NAME_BYTES = 64
"""Longer names are classified anew each time."""

_SECRET_FIELDS = frozenset((b"authorization", b"cookie", b"set-cookie", b"proxy-authorization"))

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
COOKIE: Final = 13
UPGRADE: Final = 14
MALFORMED: Final = 15
"""Not allowed in its version of HTTP, as all kinds above, which that version gives meaning to."""


class FieldKinds:
    """What the names of a kind of head mean.

    Args:
        special: kinds by lower-cased name; all other names are ordinary.
        dropped_prefix: what begins like this is dropped; ``b""`` for nothing.
        plain_names: drop names of anything but letters, digits and hyphens, which CGI-like
            applications confuse: ``X_Real_IP`` and ``X-Real-IP`` are one variable to them.
    """

    __slots__ = ("_dropped_prefix", "_plain_names", "_special", "_spellings")

    def __init__(
        self, special: dict[bytes, int], dropped_prefix: bytes = b"", *, plain_names: bool = False
    ) -> None:
        self._special = special
        self._dropped_prefix = dropped_prefix
        self._plain_names = plain_names
        self._spellings: dict[bytes, tuple[int, bool]] = {}

    def of(self, name: bytes) -> tuple[int, bool]:
        """The kind of a field by its name, and whether its value is a credential."""
        known = self._spellings.get(name)
        if known is None:
            lower = name.lower()
            known = self._kind(lower), lower in _SECRET_FIELDS
            if len(name) <= REMEMBERED_NAME_BYTES:
                if len(self._spellings) >= REMEMBERED_NAMES:
                    self._spellings.clear()
                self._spellings[name] = known
        return known

    def _kind(self, lower: bytes) -> int:
        kind = self._special.get(lower)
        if kind is not None:
            return kind
        if self._dropped_prefix and lower.startswith(self._dropped_prefix):
            return DROPPED
        if self._plain_names and not _PLAIN_NAME.fullmatch(lower):
            return DROPPED
        return ORDINARY


_HOP_BY_HOP = dict.fromkeys(
    (
        b"keep-alive",
        b"proxy-connection",
        b"proxy-authorization",
        b"proxy-authenticate",
        b"proxy-authentication-info",
        b"trailer",
        b"http2-settings",
    ),
    DROPPED,
)

_SHARED = _HOP_BY_HOP | {
    b"connection": CONNECTION,
    b"content-length": CONTENT_LENGTH,
    b"transfer-encoding": TRANSFER_ENCODING,
    b"upgrade": UPGRADE,
}

_REQUEST = _SHARED | {
    b"host": HOST,
    b"expect": EXPECT,
    b"te": TE,
    b"max-forwards": MAX_FORWARDS,
    b"proxy": DROPPED,
    b"x-real-ip": DROPPED,
    b"forwarded": DROPPED,
    b"x-forwarded": DROPPED,
    b"x-forwarded-for": FORWARDED_FOR,
    b"x-client-ip": CLIENT_ADDRESS,
    b"true-client-ip": CLIENT_ADDRESS,
    b"cf-connecting-ip": CLIENT_ADDRESS,
    b"x-request-id": REQUEST_ID,
}

REQUEST_FIELDS = FieldKinds(_REQUEST, dropped_prefix=b"x-forwarded-", plain_names=True)
"""Kinds of request fields in HTTP/1.x."""

H2_REQUEST_FIELDS = FieldKinds(
    _REQUEST
    | {b"cookie": COOKIE}
    | dict.fromkeys(
        (b"connection", b"keep-alive", b"proxy-connection", b"transfer-encoding", b"upgrade"),
        MALFORMED,
    ),
    dropped_prefix=b"x-forwarded-",
    plain_names=True,
)
"""Kinds of request fields in HTTP/2: those of its connection are malformed (RFC 9113 8.2.2), and
cookies come in crumbs (RFC 9113 8.2.3)."""

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

_TRAILER_LINE = re.compile(rb"(%b):(.*)" % TOKEN)


def is_secret(name: bytes) -> bool:
    """Whether the values of a field are credentials, by its lower-cased name."""
    return name in _SECRET_FIELDS


def has_valid_bytes(lines: bytes) -> bool:
    """Whether field lines, their CRLF taken off, hold no control character but HTAB."""
    return not lines.translate(None, _VALID_BYTES)


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


def may_be_trailer(name: bytes) -> bool:
    """Whether a field may come in a trailer section, by its lower-cased name."""
    return name not in _NEVER_IN_TRAILERS


def trailer_fields(section: bytes) -> list[Field]:
    """Read a trailer section (RFC 9112 7.1.2), CRLF after each line.

    Returns:
        the fields that a trailer may hold; the others are left out.

    Raises:
        ValueError: a line is no field line.
    """
    lines = section.split(b"\r\n")[:-1]
    if not has_valid_bytes(b"".join(lines)):
        raise ValueError("invalid byte in a trailer")
    fields = []
    for line in lines:
        match = _TRAILER_LINE.fullmatch(line)
        if match is None:
            raise ValueError("invalid trailer line")
        if may_be_trailer(match[1].lower()):
            fields.append((match[1], match[2].strip(b" \t")))
    return fields
