"""Responses in HTTP/2: heads and trailers to header blocks.

Owns which fields frame a response and how a field is written; the blocks change no table, so what
has been written once is remembered, but never what carries credentials. Refuses to know streams.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache

from revproxy.model.http import Field, ResponseHead
from revproxy.wire.fields import is_secret
from revproxy.wire.h2.hpack import encode_literal
from revproxy.wire.head_bytes import REASONS

REMEMBERED_FIELDS = 4096
"""How many fields are remembered as they are written, over all connections."""

REMEMBERED_FIELD_BYTES = 256
"""Larger ones are written anew each time."""

_known: dict[Field, bytes] = {}
_statuses = {status: encode_literal(b":status", b"%d" % status) for status in range(100, 1000)}


def response_block(head: ResponseHead) -> bytes:
    """The header block of a final response."""
    get = _known.get
    written = [get(field) or _write(field) for field in head.fields]
    if head.content_length >= 0 and head.status != 204:
        written.append(_content_length(head.content_length))
    return _statuses[head.status] + b"".join(written)


@lru_cache(REMEMBERED_FIELDS)
def _content_length(length: int) -> bytes:
    return encode_literal(b"content-length", b"%d" % length)


def own_response(
    status: int, fields: list[Field], body: bytes | None, method: bytes
) -> tuple[ResponseHead, bytes]:
    """A whole response of the proxy's own to a request of ``method``: its head and its content.

    Without a ``body`` it is the reason phrase; with one, ``fields`` say what it is.
    """
    head = ResponseHead()
    head.status, head.reason = status, REASONS[status]
    head.keep_alive = head.has_date = True
    if body is None and status != 204:
        body = head.reason
        fields = [*fields, (b"Content-Type", b"text/plain; charset=utf-8")]
    head.fields = fields
    content = body or b""
    head.content_length = len(content)
    if method == b"HEAD":
        content = b""
    head.body_length = len(content)
    return head, content


def interim_block(head: ResponseHead) -> bytes:
    """The header block of a 1xx: a status, and fields that frame nothing."""
    return _statuses[head.status] + fields_block(head.fields)


def fields_block(fields: Iterable[Field]) -> bytes:
    """The header block of a trailer section."""
    return b"".join([_known.get(field) or _write(field) for field in fields])


def _write(field: Field) -> bytes:
    name = field[0].lower()
    written = encode_literal(name, field[1])
    if len(written) <= REMEMBERED_FIELD_BYTES and not is_secret(name):
        if len(_known) >= REMEMBERED_FIELDS:
            _known.clear()
        _known[field] = written
    return written
