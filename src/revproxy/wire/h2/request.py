"""Requests in HTTP/2: the fields of a header block to one validated :class:`RequestHead`.

Owns what HTTP/2 says differently (RFC 9113 8.2, 8.3): pseudo-header fields, names in lower case,
fields that are not allowed. What fields mean together is judged by the validator of both versions
(``wire/request_head.py``). Refuses to know frames and streams.
"""

from __future__ import annotations

import re
from operator import itemgetter
from typing import Final

from revproxy.errors import BadRequest
from revproxy.model.http import CHUNKED, Field, RequestHead
from revproxy.wire.fields import (
    CONTENT_LENGTH,
    H2_REQUEST_FIELDS,
    MALFORMED,
    TE,
    has_valid_bytes,
    may_be_trailer,
)
from revproxy.wire.h2.errors import H2StreamError
from revproxy.wire.h2.frames import PROTOCOL_ERROR
from revproxy.wire.h2.hpack import Line, static_lines
from revproxy.wire.h2.limits import H2Limits
from revproxy.wire.host import normal_host
from revproxy.wire.request_head import MalformedField, validated_head
from revproxy.wire.request_line import is_method, is_target

_METHOD: Final = MALFORMED + 1
_SCHEME: Final = MALFORMED + 2
_AUTHORITY: Final = MALFORMED + 3
PATH: Final = MALFORMED + 4
_PROTOCOL: Final = MALFORMED + 5

_PSEUDO = {
    b":method": _METHOD,
    b":scheme": _SCHEME,
    b":authority": _AUTHORITY,
    b":path": PATH,
    b":protocol": _PROTOCOL,
}
_ORIGIN_FORM = frozenset((_METHOD, _SCHEME, PATH))
_SCHEMES = frozenset((b"https", b"http"))
_NAME = re.compile(rb"[!#$%&'*+\-.^_`|~0-9a-z]+")
_BLANKS = b" \t"
_kind_of = itemgetter(0)
_size_of = itemgetter(2)


def request_line(name: bytes, value: bytes) -> Line:
    """A field with what it means in a request, judged by itself (RFC 9113 8.2.1)."""
    size = len(name) + len(value) + 32
    if name[:1] == b":":
        return _PSEUDO.get(name, MALFORMED), (name, value), size
    kind = MALFORMED
    if (
        _NAME.fullmatch(name)
        and has_valid_bytes(value)
        and (not value or (value[0] not in _BLANKS and value[-1] not in _BLANKS))
    ):
        kind = H2_REQUEST_FIELDS.of(name)[0]
        if kind == TE and value.lower() != b"trailers":
            kind = MALFORMED
    return kind, (name, value), size


STATIC_LINES = static_lines(request_line)
"""The static table, judged."""


def read_request(lines: list[Line], limits: H2Limits, *, end: bool) -> RequestHead:
    """Read a request's fields.

    Args:
        lines: what :func:`request_line` has made of them.
        limits: of fields and of the target.
        end: the request ends with them.

    Raises:
        BadRequest: with the status to answer.
        H2StreamError: malformed (RFC 9113 8.1.1).
    """
    if len(lines) > limits.header_fields:
        raise BadRequest(431, "too many header fields")
    if sum(map(_size_of, lines)) > limits.header_list_bytes:
        raise BadRequest(431, "request head too large")
    count = 0
    for line in lines:
        if line[0] <= MALFORMED:
            break
        count += 1
    pseudo = {line[0]: line[1][1] for line in lines[:count]}
    if len(pseudo) != count:
        raise _malformed("a pseudo-header field is repeated")
    method, target = _start(pseudo, limits)
    try:
        head = validated_head(
            method, target, 1, pseudo.get(_AUTHORITY, b""), lines[count:], _settle_host
        )
    except MalformedField as error:
        raise _malformed(error.reason) from None
    head.protocol = pseudo.get(_PROTOCOL, b"")
    if end:
        if head.content_length:
            raise _malformed("content-length without a body")
    elif not head.content_length and not any(line[0] == CONTENT_LENGTH for line in lines):
        head.content_length = CHUNKED
    return head


def read_trailers(lines: list[Line], limits: H2Limits) -> list[Field]:
    """The trailer fields of a request that a trailer may hold; the others are left out.

    Raises:
        H2StreamError: malformed, or over the limit.
    """
    if len(lines) > limits.header_fields or sum(map(_size_of, lines)) > limits.trailer_bytes:
        raise _malformed("trailers too large")
    if lines and max(map(_kind_of, lines)) >= MALFORMED:
        raise _malformed("malformed trailers")
    return [line[1] for line in lines if may_be_trailer(line[1][0])]


def _start(pseudo: dict[int, bytes], limits: H2Limits) -> tuple[bytes, bytes]:
    """Method and target (RFC 9113 8.3.1)."""
    method = pseudo.get(_METHOD, b"")
    if not is_method(method):
        raise _malformed("invalid method")
    if method == b"CONNECT":
        return method, _connect_target(pseudo, limits)
    target = pseudo.get(PATH, b"")
    if pseudo.get(_SCHEME) not in _SCHEMES or _PROTOCOL in pseudo:
        raise _malformed("invalid pseudo-header fields")
    _check_target(target, limits)
    if target[0] != 0x2F and (target != b"*" or method != b"OPTIONS"):
        raise _malformed("invalid path")
    return method, target


def _connect_target(pseudo: dict[int, bytes], limits: H2Limits) -> bytes:
    """CONNECT names an authority (RFC 9113 8.5); an extended one a path, too (RFC 8441 4)."""
    if _PROTOCOL not in pseudo:
        if PATH in pseudo or _SCHEME in pseudo or not pseudo.get(_AUTHORITY):
            raise _malformed("invalid connect")
        return pseudo[_AUTHORITY]
    if not limits.connect_protocol or pseudo.get(_SCHEME) not in _SCHEMES:
        raise _malformed("invalid extended connect")
    target = pseudo.get(PATH, b"")
    _check_target(target, limits)
    if target[0] != 0x2F or not is_method(pseudo[_PROTOCOL]):
        raise _malformed("invalid extended connect")
    return target


def _check_target(target: bytes, limits: H2Limits) -> None:
    if len(target) > limits.target_bytes:
        raise BadRequest(414, "target too long")
    if not is_target(target):
        raise _malformed("invalid path")


def _settle_host(head: RequestHead, hosts: list[bytes], authority: bytes) -> None:
    """RFC 9113 8.3.1: ``:authority`` or ``Host``, and the same host in both."""
    if len(hosts) > 1:
        raise BadRequest(400, "host is repeated")
    if not authority:
        if not hosts:
            raise BadRequest(400, "no host")
        authority = hosts[0]
    try:
        head.host = normal_host(authority)
        if hosts and normal_host(hosts[0]) != head.host:
            raise BadRequest(400, "host and authority disagree")
    except ValueError:
        raise BadRequest(400, "invalid host") from None
    head.authority = authority


def _malformed(reason: str) -> H2StreamError:
    return H2StreamError(PROTOCOL_ERROR, reason)
