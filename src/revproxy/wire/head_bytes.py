"""Heads to HTTP/1.1 bytes, and the fixed texts of answers of the proxy's own.

Owns how a head is written and the reason phrases (RFC 9110 15). Refuses to choose a status.
"""

from __future__ import annotations

from http import HTTPStatus

from revproxy.model.http import Field

REASONS: dict[int, bytes] = {status.value: status.phrase.encode() for status in HTTPStatus}
"""Reason phrases by status; the names of RFC 9110 where Python's are older."""
REASONS.update(
    {
        413: b"Content Too Large",
        414: b"URI Too Long",
        422: b"Unprocessable Content",
    }
)

_join_field = b": ".join


def field_lines(fields: list[Field]) -> bytes:
    """Field lines, CRLF after each."""
    if not fields:
        return b""
    return b"\r\n".join(map(_join_field, fields)) + b"\r\n"


def response_head_bytes(status: int, reason: bytes, fields: list[Field], framing: bytes) -> bytes:
    """A response head of HTTP/1.1, with its empty line.

    Args:
        status: a status.
        reason: its reason phrase.
        fields: what the response says.
        framing: the lines that frame it on this connection, CRLF after each.
    """
    lines = b"\r\n".join(map(_join_field, fields))
    if lines:
        return b"HTTP/1.1 %d %b\r\n%b\r\n%b\r\n" % (status, reason, lines, framing)
    return b"HTTP/1.1 %d %b\r\n%b\r\n" % (status, reason, framing)
