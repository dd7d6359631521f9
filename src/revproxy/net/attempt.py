"""The way to a new upstream connection: name, TCP and TLS, within its time.

Owns what is known of reaching one upstream, and each attempt to: which addresses are tried, for
how long, and what a failure means. Refuses to know what is spoken on the connection.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any, Protocol

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


class Waiting(Protocol):
    """Somebody who wants a connection."""

    def attached(self, connection: Any) -> None:
        """Here it is."""

    def failed(self, error: ProxyError) -> None:
        """There is none to be had."""


class Destination:
    """One upstream address, and what is known of reaching it.

    Args:
        address: of the upstream.
        reactor: to connect and to resolve names with.
        deadlines: time limits of attempts and connections.
        connect_secs: for name resolution, TCP connect and TLS handshake together.
        buffered_bytes: queued for the upstream before the downstream is paused.
        tls: whether to speak TLS, verified against the address' host.
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
        address: UpstreamAddress,
        reactor: Any,
        deadlines: Deadlines,
        *,
        connect_secs: float,
        buffered_bytes: int,
        tls: bool = False,
        context: Callable[[], TlsContext] | None = None,
        most_descriptors: int = ALL_DESCRIPTORS,
    ) -> None:
        self.address = address
        self.reactor = reactor
        self.deadlines = deadlines
        self.connect_secs = connect_secs
        self.buffered_bytes = buffered_bytes
        self.tls = tls
        self.context = context
        self.most_descriptors = most_descriptors
        self.open = self.made = self.failures = 0
        self.failed_at: float | None = None
        self.names = Names(address, reactor, deadlines.clock)

    def protocol(self, ready: Callable[[Any], None]) -> Any:
        """The protocol of a new connection; it calls ``ready`` with itself, once, when it can be
        written to.
        """
        raise NotImplementedError


class Attempt(ClientFactory):
    """The way to one new connection, over all addresses of the upstream in turn.

    Args:
        destination: where to.
        waiting: who wants it, and is told.
        first: sent as soon as TCP is connected, before any TLS.
    """

    noisy = False

    def __init__(self, destination: Destination, waiting: Waiting, first: bytes = b"") -> None:
        self._first = first
        self._destination = destination
        self._waiting: Waiting | None = waiting
        self._left: list[str] = []
        self._connector: Any = None
        self._tls: ClientTls | None = None
        self._tried = False
        self.deadline = NEVER
        self._until = NEVER

    def begin(self) -> None:
        """Resolve the name, then connect."""
        destination = self._destination
        self.deadline = self._until = destination.deadlines.after(destination.connect_secs)
        destination.deadlines.watch(self)
        if destination.address.path:
            self._connect(
                EagerUnixConnector(destination.address.path, self, None, destination.reactor, 0)
            )
        else:
            destination.names.lookup(self._resolved)

    def cancel(self) -> None:
        """Nobody waits any more. A connection under way is given up."""
        self._waiting = None
        self._finish()
        self._give_up()

    def _resolved(self, addresses: tuple[str, ...]) -> None:
        if self._waiting is None:
            return
        if not addresses:
            self._failed(ProxyError(Side.UPSTREAM, 502, "name resolution failed"))
            return
        self._left = list(addresses)
        self._next_address()

    def _next_address(self) -> None:
        """Try one address; a dead one must not use up the time of those after it."""
        address = self._left.pop(0)
        deadlines = self._destination.deadlines
        share = (self._until - deadlines.now) / (len(self._left) + 1)
        self.deadline = deadlines.now + share
        port = self._destination.address.port
        no_timeout: Any = None  # the attempt has its own
        self._connect(
            EagerConnector(address, port, self, no_timeout, None, self._destination.reactor)
        )

    def _connect(self, connector: EagerConnector | EagerUnixConnector) -> None:
        self._tried = True
        connector.high_water = self._destination.buffered_bytes
        connector.most_descriptors = self._destination.most_descriptors
        self._connector = connector
        try:
            connector.connect()
        except OSError as error:  # UNIX sockets only: no descriptor is left
            refused = ProxyError(Side.UPSTREAM, 502, _words_of(error.errno or 0))
            self._destination.deadlines.soon(lambda: self._failed(refused))

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
        if self._waiting is None:
            return None
        connection = self._destination.protocol(self._connected)
        if not self._destination.tls:
            return connection
        self._tls = tls = ClientTls(
            connection,
            self._context(),
            self._destination.address.host,
            lambda error: self._failed(error) if self._tls is tls else None,
            self._first,
        )
        return tls

    def _context(self) -> TlsContext:
        assert self._destination.context is not None
        return self._destination.context()

    def clientConnectionFailed(self, connector: Any, reason: Failure) -> None:
        """TCP could not be connected."""
        if self._waiting is None or connector is not self._connector:
            return
        if self._left:
            self._next_address()
        else:
            self._failed(ProxyError(Side.UPSTREAM, 502, _words(reason)))

    def _connected(self, connection: Any) -> None:
        self._finish()
        self._destination.failed_at = None
        waiting, self._waiting = self._waiting, None
        if waiting is None:
            connection.close()
        else:
            if self._first and not self._destination.tls:
                connection.transport.write(self._first)
            waiting.attached(connection)

    def _failed(self, error: ProxyError) -> None:
        destination = self._destination
        self._finish()
        self._tls = None  # what it says of its own end is no second failure
        if self._tried:
            destination.names.doubt()
        destination.failures += 1
        destination.failed_at = destination.deadlines.now
        waiting, self._waiting = self._waiting, None
        if waiting is not None:
            waiting.failed(error)

    def _finish(self) -> None:
        self._destination.names.forget(self._resolved)
        self.deadline = NEVER
        self._destination.deadlines.forget(self)

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
