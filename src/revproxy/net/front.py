"""What an exchange expects of the downstream side, whatever its HTTP version.

Owns the Protocols that every front provides. Refuses to know any front.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from revproxy.model.http import Field, ResponseHead
from revproxy.model.tls import Identity
from revproxy.net.plan import ListenerPort
from revproxy.policy.forwarded import Client

if TYPE_CHECKING:
    from revproxy.net.tunnel import Tunnel


class Response(Protocol):
    """Takes a response, in this order; it leaves with the front's next ``flush``."""

    def interim(self, head: ResponseHead) -> None:
        """Pass a 1xx on."""

    def head(self, head: ResponseHead) -> None:
        """Begin the final response."""

    def data(self, content: bytes) -> None:
        """A part of its body."""


class Front(Protocol):
    """The downstream side of an exchange, of whatever HTTP version."""

    port: ListenerPort
    peer: Client
    paused: bool
    identity: Identity | None

    @property
    def read_bytes(self) -> int:
        """How much is to be read of an upstream at once."""

    @property
    def writer(self) -> Response:
        """Where the response goes."""

    def switch(self, head: ResponseHead, protocol: bytes, tunnel: Tunnel) -> int:
        """Pass a 101 on: from now on bytes go to and come from ``tunnel``.

        Returns:
            the status that the downstream has got.
        """

    def finish(self, trailers: list[Field]) -> None:
        """The response is complete. The exchange is over."""

    def answer(
        self, status: int, fields: list[Field], *, close: bool, body: bytes | None = None
    ) -> None:
        """Send a whole response of the proxy's own. The exchange is over.

        Without a ``body`` it is the reason phrase; with one, ``fields`` say what it is.
        """

    def reset(self) -> None:
        """The response is cut short, visibly. The exchange is over."""

    def hold(self, held: bool) -> None:
        """Stop reading the request body, or go on."""

    def wait(self, waiting: bool) -> None:
        """The request body is not due, or due from now on: whether its clocks stand still."""

    def flush(self) -> None:
        """Send what has been said so far."""
