"""Connections to one upstream: kept when idle, made when needed.

Owns the idle connections of one upstream address; how new ones are made is in ``attempt.py``.
Refuses to know requests beyond the exchange that waits for a connection.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from attrs import frozen

from revproxy.model.address import UpstreamAddress
from revproxy.model.tls import TlsContext
from revproxy.net.attempt import Attempt, Destination, Waiting
from revproxy.net.deadlines import Deadlines
from revproxy.net.transport import ALL_DESCRIPTORS
from revproxy.net.upstream_h1 import UpstreamH1


@frozen
class PoolSettings:
    """What distinguishes one pool from another; equal settings can share a pool.

    Attributes:
        address: of the upstream.
        tls: whether to speak TLS, verified against the address' host.
        connect_secs: for name resolution, TCP connect and TLS handshake together.
        request_secs: to the response head, then between two reads.
        keepalive: idle connections kept at the most.
        idle_secs: how long an idle connection is kept.
        head_bytes: of a response head.
        interim: 1xx responses before the final one.
        chunk_line_bytes: of a chunk-size line.
        trailer_bytes: of a trailer section.
        buffered_bytes: queued for the upstream before the downstream is paused.
    """

    address: UpstreamAddress
    tls: bool = False
    connect_secs: float = 5.0
    request_secs: float = 60.0
    keepalive: int = 64
    idle_secs: float = 4.0
    head_bytes: int = 65536
    interim: int = 10
    chunk_line_bytes: int = 4096
    trailer_bytes: int = 16384
    buffered_bytes: int = 262144


class Pool(Destination):
    """The connections to one upstream.

    Args:
        settings: see there.
        reactor: to connect and to resolve names with.
        deadlines: time limits of attempts and connections.
        context: makes the client context of a TLS upstream, at the first need of it.
        most_descriptors: no connection takes a descriptor of this number or above.
    """

    def __init__(
        self,
        settings: PoolSettings,
        reactor: Any,
        deadlines: Deadlines,
        context: Callable[[], TlsContext],
        most_descriptors: int = ALL_DESCRIPTORS,
    ) -> None:
        super().__init__(
            settings.address,
            reactor,
            deadlines,
            connect_secs=settings.connect_secs,
            buffered_bytes=settings.buffered_bytes,
            tls=settings.tls,
            context=context,
            most_descriptors=most_descriptors,
        )
        self.settings = settings
        self._idle: list[UpstreamH1] = []
        self._closing = False

    def acquire(
        self, exchange: Waiting, *, fresh: bool = False, first: bytes = b""
    ) -> Attempt | None:
        """Give ``exchange`` a connection, at once or later.

        Args:
            exchange: is called back, perhaps before this returns.
            fresh: only a new connection will do.
            first: what a new connection is to begin with; only a new one will do then.

        Returns:
            the attempt that it waits for, to be cancelled when it is not wanted any more.
        """
        if not fresh and not first:
            while self._idle:
                connection = self._idle.pop()
                if connection.usable:
                    exchange.attached(connection)
                    return None
        attempt = Attempt(self, exchange, first)
        attempt.begin()
        return attempt

    def protocol(self, ready: Callable[[UpstreamH1], None]) -> UpstreamH1:
        """A connection that speaks HTTP/1.1."""
        return UpstreamH1(self, ready)

    def release(self, connection: UpstreamH1) -> None:
        """Keep a connection that has nothing to do, or close it."""
        if self._closing or len(self._idle) >= self.settings.keepalive:
            connection.close()
        else:
            self._idle.append(connection)

    def discard(self, connection: UpstreamH1) -> None:
        """Forget an idle connection that is gone."""
        try:
            self._idle.remove(connection)
        except ValueError:
            pass

    def close(self) -> None:
        """Close what is idle now and whatever becomes idle."""
        self._closing = True
        while self._idle:
            self._idle.pop().close()

    @property
    def idle(self) -> int:
        """Idle connections."""
        return len(self._idle)
