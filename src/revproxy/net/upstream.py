"""What an exchange expects of a connection to an upstream, whatever it speaks.

Owns the Protocol. Refuses to know any such connection.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from revproxy.net.exchange import Exchange
    from revproxy.net.tunnel import Tunnel


class UpstreamConnection(Protocol):
    """One connection of a pool, which serves one exchange at a time.

    Attributes:
        reused: whether it has served another exchange before.
    """

    reused: bool

    def begin(
        self,
        exchange: Exchange,
        head: bytes,
        method: bytes,
        *,
        has_body: bool,
        chunked: bool,
        protocol: bytes = b"",
    ) -> None:
        """Send a request's head; its body follows, if it has one.

        With a ``protocol`` the upstream may answer 101, and the connection become that.
        """

    def send_body(self, content: bytes) -> None:
        """Queue a part of the request body until :meth:`flush`."""

    def end(self) -> None:
        """The request body is complete."""

    def flush(self) -> None:
        """Send what is queued."""

    def become(self, tunnel: Tunnel) -> None:
        """The upstream has agreed: from now on bytes go to and come from ``tunnel``."""

    def is_taking(self) -> bool:
        """Whether the upstream takes what is queued for it: has, since this was last asked."""

    def close_write(self) -> None:
        """Nothing more is sent through a tunnel."""

    def wait_for_continue(self) -> None:
        """The request body is held back until a 100 or for a second."""

    def pause(self) -> None:
        """The downstream takes nothing: stop reading."""

    def resume(self) -> None:
        """The downstream takes bytes again."""

    def abandon(self) -> None:
        """The exchange is over before its response is."""
