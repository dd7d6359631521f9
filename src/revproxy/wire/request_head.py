"""HTTP/1.x request heads: one head's bytes to one validated :class:`RequestHead`.

Owns every check of a request's head that does not depend on configuration beyond limits; the
same checks serve fields that came in another HTTP version. Refuses to know where the head's end
was found, and routing.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from revproxy.errors import BadRequest
from revproxy.model.http import CHUNKED, Field, RequestHead
from revproxy.wire.field_lines import FieldLineReader
from revproxy.wire.fields import (
    CLIENT_ADDRESS,
    CONNECTION,
    CONTENT_LENGTH,
    COOKIE,
    DROPPED,
    EXPECT,
    FORWARDED_FOR,
    HOST,
    MALFORMED,
    MAX_FORWARDS,
    REQUEST_FIELDS,
    REQUEST_ID,
    TE,
    TRANSFER_ENCODING,
    UPGRADE,
    is_token_list,
    tokens,
)
from revproxy.wire.framing import read_connection, read_content_length
from revproxy.wire.host import normal_host
from revproxy.wire.request_line import parse_request_line

_lines = FieldLineReader(REQUEST_FIELDS)

SettleHost = Callable[[RequestHead, list[bytes], bytes], None]
"""Sets ``host`` and ``authority`` from the values of ``Host`` and the target's authority."""


class MalformedField(BadRequest):
    """A field that is not allowed in its version of HTTP."""

    __slots__ = ()


def read_request_head(section: bytes, max_target: int, max_fields: int) -> RequestHead:
    """Read one head: request line, field lines and the empty line, CRLF and all.

    Args:
        section: the head's bytes.
        max_target: bytes of a request target: 414.
        max_fields: header fields: 431.

    Raises:
        BadRequest: with the status to answer; the connection cannot go on.
    """
    lines = section.split(b"\r\n")
    request_line = parse_request_line(lines[0], max_target)
    if len(lines) - 3 > max_fields:
        raise BadRequest(431, "too many header fields")
    try:
        fields = _lines.read(lines[1:-2])
    except ValueError as error:
        raise BadRequest(400, str(error)) from None
    return validated_head(*request_line, fields)


def validated_head(
    method: bytes,
    target: bytes,
    minor: int,
    authority: bytes,
    fields: Sequence[tuple[int, Field] | tuple[int, Field, int]],
    settle_host: SettleHost | None = None,
) -> RequestHead:
    """Check a head's fields against each other and make the value of it.

    Args:
        method: a token.
        target: in origin-form, or ``*``.
        minor: 0 for HTTP/1.0, else 1.
        authority: from an absolute-form target or ``:authority``; else ``b""``.
        fields: every field with its kind (:data:`REQUEST_FIELDS`), valid in itself.
        settle_host: the version's own rule for the host, if it is not HTTP/1.x.

    Raises:
        BadRequest: 400, 417 or 501.
        MalformedField: as the 400 that it is.
    """
    head = RequestHead()
    head.method = method
    head.target = target
    head.path = target.partition(b"?")[0] if b"?" in target else target
    head.minor = minor
    head.fields = [line[1] for line in fields if not line[0]]
    head.content_length = 0
    head.keep_alive = minor == 1
    head.expect_continue = False
    head.wants_trailers = False
    head.forwarded_for = b""
    head.request_id = b""
    head.client_address_fields = []
    head.max_forwards = -1
    head.protocol = b""
    hosts: list[bytes] = []
    lengths: list[bytes] = []
    codings: list[bytes] = []
    connection: list[bytes] = []
    crumbs: list[bytes] = []
    upgrades: list[bytes] = []
    for line in [line for line in fields if line[0]]:
        kind = line[0]
        name, value = line[1]
        if kind == HOST:
            hosts.append(value)
        elif kind == CONNECTION:
            connection.append(value)
        elif kind == CONTENT_LENGTH:
            lengths.append(value)
        elif kind == TRANSFER_ENCODING:
            codings.append(value)
        elif kind == COOKIE:
            crumbs.append(value)
        elif kind == UPGRADE:
            upgrades.append(value)
        elif kind != DROPPED:
            _take_special(head, kind, name, value)
    if crumbs:
        head.fields.append((b"cookie", b"; ".join(crumbs)))
    (settle_host or _settle_host)(head, hosts, authority)
    if codings:
        if lengths:
            raise BadRequest(400, "content-length with transfer-encoding")
        _chunked(codings, minor)
        head.content_length = CHUNKED
    elif lengths:
        try:
            head.content_length = read_content_length(lengths)
        except ValueError as error:
            raise BadRequest(400, str(error)) from None
    if connection:
        _settle_connection(head, connection, upgrades)
    return head


def _take_special(head: RequestHead, kind: int, name: bytes, value: bytes) -> None:
    if kind == FORWARDED_FOR:
        head.forwarded_for = b", ".join((head.forwarded_for, value)).lstrip(b", ")
    elif kind == REQUEST_ID:
        head.request_id = value
    elif kind == CLIENT_ADDRESS:
        head.client_address_fields.append((name, value))
    elif kind == TE:
        head.wants_trailers = head.wants_trailers or b"trailers" in tokens([value])
    elif kind == EXPECT:
        if value.lower() != b"100-continue":
            raise BadRequest(417, "unknown expectation")
        # RFC 9110 10.1.1: an expectation in HTTP/1.0 is ignored
        head.expect_continue = head.minor == 1
    elif kind == MAX_FORWARDS:
        hops = int(value) if value.isdigit() and len(value) < 10 else -1
        head.max_forwards = hops
        # RFC 9110 7.6.2: counted down for OPTIONS, and of no meaning for other methods
        counted = head.method == b"OPTIONS" and hops > 0
        head.fields.append((name, b"%d" % (hops - 1) if counted else value))
    elif kind >= MALFORMED:
        raise MalformedField(400, "field of another http version")


def _settle_host(head: RequestHead, hosts: list[bytes], authority: bytes) -> None:
    """RFC 9112 3.2: exactly one Host; an absolute-form target's authority wins over it."""
    if len(hosts) != 1:
        raise BadRequest(400, "host is repeated" if hosts else "no host")
    try:
        head.host = normal_host(hosts[0])
        head.authority = hosts[0]
        if authority:
            head.host = normal_host(authority)
            head.authority = authority
    except ValueError:
        raise BadRequest(400, "invalid host") from None


def _chunked(codings: list[bytes], minor: int) -> None:
    """Pass only a Transfer-Encoding that is exactly ``chunked`` (RFC 9112 6.1)."""
    if minor == 0:
        raise BadRequest(400, "transfer-encoding in http/1.0")
    if len(codings) == 1 and codings[0].strip(b" \t").lower() == b"chunked":
        return
    if all(is_token_list(value) for value in codings):
        raise BadRequest(501, "transfer-encoding other than chunked")
    raise BadRequest(400, "invalid transfer-encoding")


def _settle_connection(head: RequestHead, values: list[bytes], upgrades: list[bytes]) -> None:
    """Persistence, the fields that Connection names, and what the connection is to become.

    An upgrade is only asked for where Connection says so, and never in HTTP/1.0 (RFC 9110 7.8).
    One with a body is passed over, as nobody could tell where the new protocol begins, and so is
    one of CONNECT, which asks for a tunnel of another kind.
    """
    head.keep_alive, named = read_connection(values, http_1_0=head.minor == 0)
    if named:
        head.fields = [field for field in head.fields if field[0].lower() not in named]
        head.client_address_fields = [
            field for field in head.client_address_fields if field[0].lower() not in named
        ]
        if (
            upgrades
            and b"upgrade" in named
            and head.minor
            and not head.content_length
            and head.method != b"CONNECT"
        ):
            head.protocol = b", ".join(upgrades)
