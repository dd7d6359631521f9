"""What both directions of HTTP/1.x say alike about a message's length and its connection.

Owns the reading of Content-Length (RFC 9110 8.6) and Connection (RFC 9110 7.6.1). Refuses to know
requests and responses.
"""

from __future__ import annotations

from revproxy.wire.fields import tokens

_LENGTH_DIGITS = 18
"""Digits that are read: every length below 10^18."""

_LASTING_OPTIONS = frozenset((b"close", b"keep-alive"))
_NOTHING: frozenset[bytes] = frozenset()


def read_content_length(values: list[bytes]) -> int:
    """The length that the Content-Length values of one message give (RFC 9112 6.3).

    Raises:
        ValueError: there are several, also equal ones, or it is anything but digits.
    """
    if len(values) != 1 or not values[0].isdigit() or len(values[0]) > _LENGTH_DIGITS:
        raise ValueError("invalid content-length")
    return int(values[0])


def read_connection(
    values: list[bytes], *, http_1_0: bool
) -> tuple[bool, set[bytes] | frozenset[bytes]]:
    """Whether the connection lasts (RFC 9112 9.3), and the fields that belong to it alone.

    Returns:
        the verdict, and the lower-cased names of further fields that are not passed on.
    """
    if len(values) == 1 and values[0].lower() == b"keep-alive":
        return True, _NOTHING
    options = tokens(values)
    lasts = b"close" not in options and (not http_1_0 or b"keep-alive" in options)
    return lasts, options - _LASTING_OPTIONS
