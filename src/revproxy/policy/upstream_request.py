"""The request head as the upstream gets it.

Owns what is said in it: what was parsed and may pass, and what only the proxy may say (behaviour:
"Headers to the upstream"). Nothing is copied from the downstream's bytes unparsed. Refuses to
know connections.
"""

from __future__ import annotations

from itertools import count
from os import urandom

from revproxy.model.http import CHUNKED, RequestHead
from revproxy.policy.forwarded import Client
from revproxy.policy.upgrade import Upgrade
from revproxy.wire.head_bytes import field_lines

_REQUEST_ID = b"%b-%%x" % urandom(8).hex().encode()
"""Unique by the process' own random part and a serial number; it identifies, it is no secret."""

_serial = count(1)
_NEEDS_LENGTH = frozenset((b"POST", b"PUT", b"PATCH"))
"""Methods whose request says that its body is empty (RFC 9110 8.6)."""


def upstream_request_head(
    head: RequestHead, client: Client, *, expect: bool, upgrade: Upgrade | None = None
) -> bytes:
    """The bytes of the head, for an HTTP/1.1 upstream.

    Args:
        head: the downstream's.
        client: who the upstream is told it comes from.
        expect: the body is to wait for the upstream's 100.
        upgrade: what the connection is to become.
    """
    length = head.content_length
    framing = b""
    if length == CHUNKED:
        framing = b"Transfer-Encoding: chunked\r\n"
    elif length or head.method in _NEEDS_LENGTH:
        framing = b"Content-Length: %d\r\n" % length
    method, fields = head.method, head.fields
    if upgrade is not None:
        if method == b"CONNECT":
            method, framing = b"GET", b""
        framing += b"Connection: Upgrade\r\nUpgrade: %b\r\n" % upgrade.protocol
        if upgrade.key:
            fields = [field for field in fields if field[0].lower() != b"sec-websocket-key"]
            framing += b"Sec-WebSocket-Key: %b\r\n" % upgrade.key
    elif head.wants_trailers:
        framing += b"TE: trailers\r\nConnection: TE\r\n"
    if expect:
        framing += b"Expect: 100-continue\r\n"
    request_id = _REQUEST_ID % next(_serial)
    if client.trusted:
        request_id = head.request_id or request_id
        framing += field_lines(head.client_address_fields)
    return (
        b"%b %b HTTP/1.1\r\nHost: %b\r\n%bX-Forwarded-Host: %b\r\nX-Request-ID: %b\r\n%b%b\r\n"
        % (
            method,
            head.target,
            head.authority,
            client.forwarding,
            head.authority,
            request_id,
            framing,
            field_lines(fields),
        )
    )
