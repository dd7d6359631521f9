"""HTTP/1.x response heads: one head's bytes to one validated :class:`ResponseHead`.

Owns the status line and the framing of responses (RFC 9112 4, 6.3). Refuses to know what becomes
of the response.

llhttp (through httptools) splits and checks the field lines only: it cannot know that the
request was HEAD, and accepts statuses and codings that are not valid, so status line and framing
are decided here, and a parser serves one head.
"""

from __future__ import annotations

import re

import httptools

from revproxy.errors import BadResponse
from revproxy.model.http import CHUNKED, UNTIL_CLOSE, Field, ResponseHead
from revproxy.wire.fields import (
    CONNECTION,
    CONTENT_LENGTH,
    DATE,
    RESPONSE_FIELDS,
    TRANSFER_ENCODING,
    SpecialField,
    has_valid_bytes,
    tokens,
)

_STATUS_LINE = re.compile(rb"HTTP/1\.([01]) ([1-9][0-9]{2})(?: ([^\r\n]*))?")
_LINE_FOR_PARSER = b"HTTP/1.1 200 OK"
_CONTENT_LENGTH_DIGITS = 18


class _FieldLines:
    """Collects what llhttp finds in one response head."""

    __slots__ = ("fields", "special")

    def __init__(self) -> None:
        self.fields: list[Field] = []
        self.special: list[SpecialField] = []

    def on_header(self, name: bytes, value: bytes) -> None:
        """Take one field line."""
        kind = RESPONSE_FIELDS[name]
        if kind:
            self.special.append((kind, name, value))
        else:
            self.fields.append((name, value))


def read_response_head(section: bytes, method: bytes) -> ResponseHead:
    """Read one head, from the status line to the empty line.

    Args:
        section: the head's bytes, CRLF CRLF at the end.
        method: the request's, because a response to HEAD has no body.

    Raises:
        BadResponse: it is not a valid HTTP/1.x response head.
    """
    line_end = section.index(b"\r\n")
    match = _STATUS_LINE.fullmatch(section, 0, line_end)
    if match is None or not has_valid_bytes(section):
        raise BadResponse("invalid response head")
    lines = _FieldLines()
    try:
        httptools.HttpResponseParser(lines).feed_data(_LINE_FOR_PARSER + section[line_end:])
    except httptools.HttpParserError:
        raise BadResponse("invalid header field in the response") from None
    except httptools.HttpParserUpgrade:
        pass
    if b" \r\n" in section or b"\t\r\n" in section:
        lines.fields = [(name, value.rstrip(b" \t")) for name, value in lines.fields]
    head = ResponseHead()
    head.status = int(match[2])
    head.reason = match[3] or b""
    head.fields = lines.fields
    _settle(head, lines.special, minor=int(match[1]), method=method)
    return head


def _settle(
    head: ResponseHead,
    special: list[SpecialField],
    *,
    minor: int,
    method: bytes,
) -> None:
    lengths: list[bytes] = []
    codings: list[bytes] = []
    connection: list[bytes] = []
    head.has_date = False
    for kind, name, value in special:
        if kind == CONTENT_LENGTH:
            lengths.append(value.rstrip(b" \t"))
        elif kind == DATE:
            head.fields.append((name, value.rstrip(b" \t")))
            head.has_date = True
        elif kind == TRANSFER_ENCODING:
            codings.append(value.strip(b" \t"))
        elif kind == CONNECTION:
            connection.append(value)
    head.keep_alive = minor == 1
    if connection:
        options = tokens(connection)
        head.keep_alive = b"close" not in options and (minor == 1 or b"keep-alive" in options)
        if options - {b"close", b"keep-alive"}:
            head.fields = [field for field in head.fields if field[0].lower() not in options]
            head.has_date = any(name.lower() == b"date" for name, _ in head.fields)
    _settle_body(head, lengths, codings, minor, method)


def _settle_body(
    head: ResponseHead, lengths: list[bytes], codings: list[bytes], minor: int, method: bytes
) -> None:
    """The body's length by the rules of RFC 9112 6.3, in their order."""
    head.content_length = -1
    if lengths:
        if codings:
            raise BadResponse("content-length with transfer-encoding in the response")
        digits = lengths[0]
        if len(lengths) != 1 or not digits.isdigit() or len(digits) > _CONTENT_LENGTH_DIGITS:
            raise BadResponse("invalid content-length in the response")
        head.content_length = int(digits)
    if codings and (len(codings) != 1 or codings[0].lower() != b"chunked" or minor == 0):
        raise BadResponse("invalid transfer-encoding in the response")
    if method == b"HEAD" or head.status < 200 or head.status in (204, 304):
        head.body_length = 0
    elif codings:
        head.body_length = CHUNKED
    elif lengths:
        head.body_length = head.content_length
    else:
        head.body_length = UNTIL_CLOSE
        head.keep_alive = False
