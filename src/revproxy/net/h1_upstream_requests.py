"""Requests of one HTTP/1.1 connection to an upstream: heads and bodies out, as one write each.

Owns the framing of what is sent, and since when the upstream's time runs. The reading half and
the connection's life are in ``upstream_h1.py``, which builds on this. Refuses to know responses,
routing and the downstream's HTTP version.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from revproxy.net.deadlines import NEVER, SLACK_SECS
from revproxy.wire.chunked import LAST_CHUNK, chunk

if TYPE_CHECKING:
    from revproxy.net.exchange import Exchange
    from revproxy.net.pool import Pool

CONTINUE_SECS = 1.0
"""How long a request body waits for the upstream's 100."""


class H1UpstreamRequests:
    """The sending half of a connection.

    Args:
        pool: where it belongs.
    """

    __slots__ = ("_chunked_out", "_interim", "_left", "_method", "_out", "_pool", "_protocol",
                 "_request_done", "_socket", "_taken", "_timeout", "deadline", "exchange",
                 "transport")  # fmt: skip

    def __init__(self, pool: Pool) -> None:
        self._pool = pool
        self._timeout = pool.settings.request_secs
        self._out: list[bytes] = []
        self._chunked_out = False
        self._request_done = True
        self._taken = 0
        self._method = b""
        self._protocol = b""
        self._left: int | None = None
        self._interim = 0
        self.deadline = NEVER
        self.exchange: Exchange | None = None
        self.transport: Any = None
        self._socket: Any = None

    # From the exchange

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
        """Send a request's head; :meth:`send_body` and :meth:`end` follow if it has a body."""
        self.exchange = exchange
        self._socket.read_bytes = exchange.front.read_bytes
        self._protocol = protocol
        self._method = method
        self._left = None
        self._interim = 0
        self._chunked_out = chunked
        self._request_done = not has_body
        self.deadline = self._pool.deadlines.now + self._timeout + SLACK_SECS
        if has_body:
            self._taken = self.transport.taken
            self._out.append(head)
        else:
            self.transport.write(head)

    def send_body(self, content: bytes) -> None:
        """Queue a part of the request body until :meth:`flush`."""
        self._out.append(chunk(content) if self._chunked_out else content)

    def end(self) -> None:
        """The request body is complete; from now on the upstream's time runs."""
        if self._chunked_out:
            self._out.append(LAST_CHUNK)
        self._request_done = True
        self.deadline = self._pool.deadlines.now + self._timeout + SLACK_SECS

    def flush(self) -> None:
        """Send what is queued, as one write."""
        out = self._out
        if out:
            self._out = []
            self.transport.write(out[0] if len(out) == 1 else b"".join(out))

    def is_taking(self) -> bool:
        """Whether the upstream takes what is queued for it: has, since this was last asked."""
        before, self._taken = self._taken, self.transport.taken
        return self.transport.unsent > 0 and self._taken != before

    def close_write(self) -> None:
        """Nothing more is sent through a tunnel."""
        self.transport.loseWriteConnection()

    def wait_for_continue(self) -> None:
        """The request body is held back until a 100 or for a second."""
        self.deadline = self._pool.deadlines.after(CONTINUE_SECS)
