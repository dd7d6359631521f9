"""Connections to one upstream: kept when idle, made when needed.

Owns the idle connections of one upstream address and the attempts to make new ones: which
addresses are tried, for how long, and what a failure means. Refuses to know requests beyond the
exchange that waits for a connection.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any, Protocol

from attrs import frozen
from twisted.internet import error
from twisted.internet.protocol import ClientFactory
from twisted.python.failure import Failure

from revproxy.errors import ProxyError, Side
from revproxy.model.address import UpstreamAddress
from revproxy.model.tls import TlsContext
from revproxy.net.deadlines import NEVER, Deadlines
from revproxy.net.names import Names
from revproxy.net.tls_upstream import ClientTls
from revproxy.net.transport import ALL_DESCRIPTORS, EagerConnector, EagerUnixConnector
from revproxy.net.upstream import UpstreamConnection
from revproxy.net.upstream_h1 import UpstreamH1


class Waiting(Protocol):
    """An exchange that wants a connection."""

    def attached(self, connection: UpstreamConnection) -> None:
        """Here it is."""

    def failed(self, error: ProxyError) -> None:
        """There is none to be had."""


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


class Pool:
    """The connections to one upstream.

    Args:
        settings: see there.
        reactor: to connect and to resolve names with.
        deadlines: time limits of attempts and connections.
        context: makes the client context of a TLS upstream, at the first need of it.
        most_descriptors: no connection takes a descriptor of this number or above.

    Attributes:
        open: connections that there are, the idle ones included.
        made: connections that there have been.
        failures: attempts to connect that have failed.
        failed_at: when one has, in seconds of the monotonic clock; None once one has succeeded.
    """

    def __init__(
        self,
        settings: PoolSettings,
        reactor: Any,
        deadlines: Deadlines,
        context: Callable[[], TlsContext],
        most_descriptors: int = ALL_DESCRIPTORS,
    ) -> None:
        self.settings = settings
        self.reactor = reactor
        self.deadlines = deadlines
        self.context = context
        self.most_descriptors = most_descriptors
        self.open = self.made = self.failures = 0
        self.failed_at: float | None = None
        self.names = Names(settings.address, reactor, deadlines.clock)
        self._idle: list[UpstreamH1] = []
        self._closing = False

    def acquire(self, exchange: Waiting, *, fresh: bool = False) -> Attempt | None:
        """Give ``exchange`` a connection, at once or later.

        Args:
            exchange: is called back, perhaps before this returns.
            fresh: only a new connection will do.

        Returns:
            the attempt that it waits for, to be cancelled when it is not wanted any more.
        """
        if not fresh:
            while self._idle:
                connection = self._idle.pop()
                if connection.usable:
                    exchange.attached(connection)
                    return None
        attempt = Attempt(self, exchange)
        attempt.begin()
        return attempt

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


class Attempt(ClientFactory):
    """One exchange's way to a new connection, over all addresses of the upstream in turn."""

    noisy = False

    def __init__(self, pool: Pool, exchange: Waiting) -> None:
        self._pool = pool
        self._exchange: Waiting | None = exchange
        self._left: list[str] = []
        self._connector: Any = None
        self._tls: ClientTls | None = None
        self._tried = False
        self.deadline = NEVER
        self._until = NEVER

    def begin(self) -> None:
        """Resolve the name, then connect."""
        pool = self._pool
        self.deadline = self._until = pool.deadlines.after(pool.settings.connect_secs)
        pool.deadlines.watch(self)
        if pool.settings.address.path:
            self._connect(
                EagerUnixConnector(pool.settings.address.path, self, None, pool.reactor, 0)
            )
        else:
            pool.names.lookup(self._resolved)

    def cancel(self) -> None:
        """The exchange is gone. A connection under way is given up."""
        self._exchange = None
        self._finish()
        self._give_up()

    def _resolved(self, addresses: tuple[str, ...]) -> None:
        if self._exchange is None:
            return
        if not addresses:
            self._failed(ProxyError(Side.UPSTREAM, 502, "name resolution failed"))
            return
        self._left = list(addresses)
        self._next_address()

    def _next_address(self) -> None:
        """Try one address; a dead one must not use up the time of those after it."""
        address = self._left.pop(0)
        deadlines = self._pool.deadlines
        share = (self._until - deadlines.now) / (len(self._left) + 1)
        self.deadline = deadlines.now + share
        port = self._pool.settings.address.port
        no_timeout: Any = None  # the attempt has its own
        self._connect(EagerConnector(address, port, self, no_timeout, None, self._pool.reactor))

    def _connect(self, connector: EagerConnector | EagerUnixConnector) -> None:
        self._tried = True
        connector.high_water = self._pool.settings.buffered_bytes
        connector.most_descriptors = self._pool.most_descriptors
        self._connector = connector
        try:
            connector.connect()
        except OSError as error:  # UNIX sockets only: no descriptor is left
            refused = ProxyError(Side.UPSTREAM, 502, _words_of(error.errno or 0))
            self._pool.deadlines.soon(lambda: self._failed(refused))

    def expired(self, now: float) -> None:
        """No connection in time: on to the next address, or it is over."""
        self._give_up()
        if self._left and now < self._until:
            self._next_address()
        elif self._tried:
            self._failed(ProxyError(Side.UPSTREAM, 504, "connect timeout"))
        else:
            self._failed(ProxyError(Side.UPSTREAM, 502, "name resolution timed out"))

    # ClientFactory

    def buildProtocol(self, addr: object) -> Any:
        """TCP is connected."""
        if self._exchange is None:
            return None
        connection = UpstreamH1(self._pool, self._connected)
        if not self._pool.settings.tls:
            return connection
        self._tls = tls = ClientTls(
            connection,
            self._pool.context(),
            self._pool.settings.address.host,
            lambda error: self._failed(error) if self._tls is tls else None,
        )
        return tls

    def clientConnectionFailed(self, connector: Any, reason: Failure) -> None:
        """TCP could not be connected."""
        if self._exchange is None or connector is not self._connector:
            return
        if self._left:
            self._next_address()
        else:
            self._failed(ProxyError(Side.UPSTREAM, 502, _words(reason)))

    def _connected(self, connection: UpstreamH1) -> None:
        self._finish()
        self._pool.failed_at = None
        exchange, self._exchange = self._exchange, None
        if exchange is None:
            connection.close()
        else:
            exchange.attached(connection)

    def _failed(self, error: ProxyError) -> None:
        pool = self._pool
        self._finish()
        self._tls = None  # what it says of its own end is no second failure
        if self._tried:
            pool.names.doubt()
        pool.failures += 1
        pool.failed_at = pool.deadlines.now
        exchange, self._exchange = self._exchange, None
        if exchange is not None:
            exchange.failed(error)

    def _finish(self) -> None:
        self._pool.names.forget(self._resolved)
        self.deadline = NEVER
        self._pool.deadlines.forget(self)

    def _give_up(self) -> None:
        connector, self._connector = self._connector, None
        tls, self._tls = self._tls, None
        if tls is not None and tls.transport is not None:
            tls.transport.abortConnection()
        elif connector is not None and connector.state == "connecting":
            connector.stopConnecting()


def _words(reason: Failure) -> str:
    """Why a connect failed, for the log."""
    if reason.check(error.ConnectionRefusedError):
        return "connection refused"
    if reason.check(error.NoRouteError):
        return "no route to host"
    if reason.check(error.TCPTimedOutError, error.TimeoutError):
        return "connection timed out"
    os_error = getattr(reason.value, "osError", None)
    return _words_of(os_error) if os_error else "connect failed"


def _words_of(os_error: int) -> str:
    return f"connect failed: {os.strerror(os_error).lower()}"
