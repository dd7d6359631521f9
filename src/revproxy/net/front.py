"""What an exchange expects of the downstream side, whatever its HTTP version.

Owns the Protocol that every front provides. Refuses to know any front.
"""

from __future__ import annotations

from typing import Protocol

from revproxy.model.http import Field, ResponseHead
from revproxy.net.plan import ListenerPort
from revproxy.policy.forwarded import Client


class Front(Protocol):
    """The downstream side of an exchange, of whatever HTTP version."""

    port: ListenerPort
    peer: Client
    paused: bool

    def serves(self, host: str) -> bool:
        """Whether the certificate of this connection covers ``host``."""

    def send_interim(self, head: ResponseHead) -> None:
        """Pass a 1xx on."""

    def send_head(self, head: ResponseHead) -> None:
        """Begin the response."""

    def send_data(self, content: bytes) -> None:
        """A part of its body."""

    def finish(self, trailers: list[Field]) -> None:
        """The response is complete. The exchange is over."""

    def answer(self, status: int, fields: list[Field], *, close: bool) -> None:
        """Send a whole response of the proxy's own. The exchange is over."""

    def reset(self) -> None:
        """The response is cut short, visibly. The exchange is over."""

    def hold(self, held: bool) -> None:
        """Stop reading the request body, or go on."""

    def flush(self) -> None:
        """Send what has been said so far."""
