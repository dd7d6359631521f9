"""Heads for the unit tests: whole by default, so that a test names only what it changes.

Owns valid bytes and valid values. Refuses to know what is expected of them.
"""

from __future__ import annotations

from typing import Any

from revproxy.model.http import RequestHead, ResponseHead
from revproxy.wire.request_head import read_request_head
from revproxy.wire.response_head import read_response_head

MAX_TARGET = 8192
MAX_FIELDS = 128


def request_bytes(
    *lines: bytes,
    method: bytes = b"GET",
    target: bytes = b"/",
    version: bytes = b"HTTP/1.1",
    host: bytes | None = b"site.test",
) -> bytes:
    """A request head for site.test with ``lines`` as further field lines."""
    hosts = [] if host is None else [b"Host: " + host]
    return b"\r\n".join([b" ".join([method, target, version]), *hosts, *lines, b"", b""])


def request_head(*lines: bytes, **changes: Any) -> RequestHead:
    """What is read from :func:`request_bytes`."""
    return read_request_head(request_bytes(*lines, **changes), MAX_TARGET, MAX_FIELDS)


def response_bytes(*lines: bytes, status_line: bytes = b"HTTP/1.1 200 OK") -> bytes:
    """A response head with ``lines`` as its field lines."""
    return b"\r\n".join([status_line, *lines, b"", b""])


def response_head(
    *lines: bytes, status_line: bytes = b"HTTP/1.1 200 OK", method: bytes = b"GET"
) -> ResponseHead:
    """What is read from :func:`response_bytes` as the answer to ``method``."""
    return read_response_head(response_bytes(*lines, status_line=status_line), method)


def values(head: RequestHead | ResponseHead) -> dict[str, Any]:
    """Every attribute of a head, to compare two of them."""
    return {name: getattr(head, name) for name in head.__slots__}
