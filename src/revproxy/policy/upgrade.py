"""Which protocol a connection may become, and WebSocket's handshake where two versions meet.

Owns the choice (RFC 9110 7.8) and the key that only HTTP/1.1 knows (RFC 6455 4, RFC 8441 5).
Refuses to know connections.
"""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Set
from hashlib import sha1
from os import urandom

from revproxy.model.http import Field

WEBSOCKET = b"websocket"

_WEBSOCKET_METHODS = frozenset((b"GET", b"CONNECT"))
_GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"


def chosen_protocol(asked: bytes, allowed: Set[bytes], method: bytes) -> bytes:
    """The first of the protocols asked for that is allowed, in lower case; ``b""`` for none.

    Args:
        asked: the value of ``Upgrade``, or of ``:protocol``.
        allowed: names in lower case.
        method: of the request; a WebSocket begins with GET (RFC 6455 4.1) or CONNECT.
    """
    for name in asked.split(b","):
        protocol = name.strip(b" \t").lower()
        if protocol in allowed and (protocol != WEBSOCKET or method in _WEBSOCKET_METHODS):
            return protocol
    return b""


def websocket_key() -> bytes:
    """A new ``Sec-WebSocket-Key`` for an upstream, on behalf of a client that has sent none."""
    return b64encode(urandom(16))


def accepts_key(fields: list[Field], key: bytes) -> bool:
    """Whether a 101 answers ``key``: it is no older response, and no accident."""
    answers = [value for name, value in fields if name.lower() == b"sec-websocket-accept"]
    return answers == [b64encode(sha1(key + _GUID, usedforsecurity=False).digest())]
