"""The request line of HTTP/1.x: method, target, version (RFC 9112 3).

Owns the four target forms. Refuses to know header fields.
"""

from __future__ import annotations

import re

from revproxy.errors import BadRequest
from revproxy.wire.fields import TOKEN

_METHOD = re.compile(TOKEN)
_VERSION = re.compile(rb"HTTP/[0-9](\.[0-9])?")
_TARGET_BYTES = bytes(range(0x21, 0x7F)).replace(b"#", b"")
_ABSOLUTE = re.compile(rb"https?://([^/?]+)([/?].*)?", re.IGNORECASE)

_USUAL = frozenset((b"GET", b"HEAD", b"POST", b"PUT", b"DELETE", b"PATCH", b"OPTIONS"))


def parse_request_line(line: bytes, target_limit: int) -> tuple[bytes, bytes, int, bytes]:
    """Split a request line, without its CRLF.

    Returns:
        method, target in origin-form or ``*`` (an authority for CONNECT), the minor version,
        and the authority of an absolute-form target or ``b""``.

    Raises:
        BadRequest: 400, 414 for a target over ``target_limit`` bytes, 505 for a version.
    """
    parts = line.split(b" ")
    if len(parts) != 3:
        raise _not_three_parts(parts)
    method, target, version = parts
    if version == b"HTTP/1.1":
        minor = 1
    elif version == b"HTTP/1.0":
        minor = 0
    elif _VERSION.fullmatch(version):
        raise BadRequest(505, "http version not supported")
    else:
        raise BadRequest(400, "invalid protocol in the request line")
    if method not in _USUAL and not _METHOD.fullmatch(method):
        raise BadRequest(400, "invalid method")
    if len(target) > target_limit:
        raise BadRequest(414, "target too long")
    if not target or target.translate(None, _TARGET_BYTES):
        raise BadRequest(400, "invalid byte in the target")
    if target[0] == 0x2F:
        return method, target, minor, b""
    return method, *_other_form(method, target, minor)


def is_method(method: bytes) -> bool:
    """Whether it is a token."""
    return method in _USUAL or _METHOD.fullmatch(method) is not None


def is_target(target: bytes) -> bool:
    """Whether it is not empty and holds only bytes that a target may hold (RFC 3986 2)."""
    return bool(target) and not target.translate(None, _TARGET_BYTES)


def may_begin_request(part: bytes) -> bool:
    """Whether the first bytes of a connection can still become a request line.

    TLS, SSH and other strangers on the wrong port are told at once instead of after a timeout.
    """
    return _METHOD.match(part) is not None or part in (b"", b"\r")


def _other_form(method: bytes, target: bytes, minor: int) -> tuple[bytes, int, bytes]:
    """Targets that do not begin with a slash (RFC 9112 3.2.2 to 3.2.4)."""
    if (target == b"*" and method == b"OPTIONS") or method == b"CONNECT":
        return target, minor, b""
    match = _ABSOLUTE.fullmatch(target)
    if match is None:
        raise BadRequest(400, "invalid target")
    rest = match[2] or (b"*" if method == b"OPTIONS" else b"/")
    return b"/" + rest if rest[0] == 0x3F else rest, minor, match[1]


def _not_three_parts(parts: list[bytes]) -> BadRequest:
    if len(parts) == 2 and parts[1][:1] == b"/" and _METHOD.fullmatch(parts[0]):
        return BadRequest(505, "http/0.9 not supported")
    return BadRequest(400, "invalid request line")
