"""HTTP/1.x response heads: one head's bytes to one validated :class:`ResponseHead`.

Owns the status line and the framing of responses (RFC 9112 4, 6.3), which depends on the
request's method. Refuses to know what becomes of the response.
"""

from __future__ import annotations

import re
from functools import lru_cache

from revproxy.errors import BadResponse
from revproxy.model.http import CHUNKED, UNTIL_CLOSE, ResponseHead
from revproxy.wire.field_lines import FieldLine, FieldLineReader
from revproxy.wire.fields import (
    CONNECTION,
    CONTENT_LENGTH,
    DATE,
    RESPONSE_FIELDS,
    TRANSFER_ENCODING,
    UPGRADE,
)
from revproxy.wire.framing import read_connection, read_content_length

REMEMBERED_STATUS_LINES = 256
"""How many status lines are remembered with what they say."""

REMEMBERED_STATUS_LINE_BYTES = 64
"""Longer ones are read anew each time."""

_STATUS_LINE = re.compile(rb"HTTP/1\.([01]) ([1-9][0-9]{2})(?: ([\t -~\x80-\xff]*))?")
_lines = FieldLineReader(RESPONSE_FIELDS)


def read_response_head(section: bytes, method: bytes) -> ResponseHead:
    """Read one head, from the status line to the empty line.

    Args:
        section: the head's bytes, CRLF CRLF at the end.
        method: the request's, because a response to HEAD has no body.

    Raises:
        BadResponse: it is not a valid HTTP/1.x response head.
    """
    lines = section.split(b"\r\n")
    read = _status_line if len(lines[0]) <= REMEMBERED_STATUS_LINE_BYTES else _read_status_line
    minor, status, reason = read(lines[0])
    try:
        fields = _lines.read(lines[1:-2])
    except ValueError as error:
        raise BadResponse(f"{error} in the response") from None
    head = ResponseHead()
    head.status = status
    head.reason = reason
    head.fields = [line[1] for line in fields if not line[0] or line[0] == DATE]
    _settle(head, fields, http_1_0=minor == 0, method=method)
    return head


def _read_status_line(line: bytes) -> tuple[int, int, bytes]:
    """The minor version, the status and the reason phrase of a status line."""
    match = _STATUS_LINE.fullmatch(line)
    if match is None:
        raise BadResponse("invalid status line")
    return int(match[1]), int(match[2]), match[3] or b""


_status_line = lru_cache(REMEMBERED_STATUS_LINES)(_read_status_line)


def _settle(head: ResponseHead, fields: list[FieldLine], *, http_1_0: bool, method: bytes) -> None:
    """Persistence and framing, from the fields that are not passed on."""
    lengths: list[bytes] = []
    codings: list[bytes] = []
    connection: list[bytes] = []
    head.has_date = False
    head.protocol = b""
    for kind, (_, value) in [line for line in fields if line[0]]:
        if kind == CONTENT_LENGTH:
            lengths.append(value)
        elif kind == DATE:
            head.has_date = True
        elif kind == TRANSFER_ENCODING:
            codings.append(value)
        elif kind == CONNECTION:
            connection.append(value)
        elif kind == UPGRADE and head.status == 101:
            head.protocol = b", ".join(filter(None, (head.protocol, value)))
    head.keep_alive = not http_1_0
    if connection:
        _settle_connection(head, connection, http_1_0=http_1_0)
    else:
        head.protocol = b""
    _settle_body(head, lengths, codings, method, http_1_0=http_1_0)


def _settle_connection(head: ResponseHead, values: list[bytes], *, http_1_0: bool) -> None:
    head.keep_alive, named = read_connection(values, http_1_0=http_1_0)
    if b"upgrade" not in named:
        head.protocol = b""
    if named:
        head.fields = [field for field in head.fields if field[0].lower() not in named]
        head.has_date = head.has_date and b"date" not in named


def _settle_body(
    head: ResponseHead,
    lengths: list[bytes],
    codings: list[bytes],
    method: bytes,
    *,
    http_1_0: bool,
) -> None:
    """The body's length by the rules of RFC 9112 6.3, in their order."""
    head.content_length = -1
    if lengths:
        if codings:
            raise BadResponse("content-length with transfer-encoding in the response")
        try:
            head.content_length = read_content_length(lengths)
        except ValueError as error:
            raise BadResponse(f"{error} in the response") from None
    if codings and (len(codings) != 1 or codings[0].lower() != b"chunked" or http_1_0):
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
