"""What a connection may become, and WebSocket's handshake where two versions of HTTP meet.

Owns the choice (RFC 9110 7.8) and the key that only HTTP/1.1 knows (RFC 6455 4, RFC 8441 5).
Refuses to know connections.
"""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Set
from hashlib import sha1
from os import urandom

from attrs import frozen

from revproxy.model.http import Field, RequestHead

WEBSOCKET = b"websocket"

_WEBSOCKET_METHODS = frozenset((b"GET", b"CONNECT"))
_GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"


@frozen
class Upgrade:
    """One that is asked for and allowed.

    Attributes:
        protocol: in lower case.
        key: the ``Sec-WebSocket-Key`` for the upstream, where the downstream has sent none;
            else ``b""``.
    """

    protocol: bytes
    key: bytes = b""

    def is_answered_by(self, fields: list[Field]) -> bool:
        """Whether a 101 with these fields answers :attr:`key`; without one the client looks."""
        if not self.key:
            return True
        answers = [value for name, value in fields if name.lower() == b"sec-websocket-accept"]
        digest = sha1(self.key + _GUID, usedforsecurity=False).digest()
        return answers == [b64encode(digest)]


def upgrade_of(head: RequestHead, allowed: Set[bytes]) -> Upgrade | None:
    """The first of the protocols that a request asks for and that is allowed; None for none.

    Args:
        head: of the request; a WebSocket begins with GET (RFC 6455 4.1) or CONNECT.
        allowed: names in lower case.
    """
    for name in head.protocol.split(b","):
        protocol = name.strip(b" \t").lower()
        if protocol in allowed and (protocol != WEBSOCKET or head.method in _WEBSOCKET_METHODS):
            keyless = protocol == WEBSOCKET and head.method == b"CONNECT"
            return Upgrade(protocol, b64encode(urandom(16)) if keyless else b"")
    return None
