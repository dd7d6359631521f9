"""The PROXY header at the beginning of an accepted connection.

Owns the wait for it and what it changes: the client's address, for everything that looks at the
transport's peer, and the key by which its connections are counted. Refuses to know what is spoken
afterwards: a port's next protocol takes over.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

from twisted.internet.address import IPv6Address
from twisted.python.failure import Failure

from revproxy.net.deadlines import NEVER, Deadlines
from revproxy.net.downstream import Summary
from revproxy.wire.proxy_protocol import Endpoints, ProxyHeaderError, parse_proxy_header


class Settled(Protocol):
    """Lets somebody take over after a header."""

    def __call__(self, transport: Any, rest: bytes, *, relayed: bool) -> bool:
        """As of :class:`ProxyIntake`."""


class ProxyIntake:
    """See the module.

    Args:
        deadlines: of the header.
        secs: how long it may take.
        settled: the address is known: gives the transport its next protocol, and that what has
            come after the header; told whether the header names a client. False when that one
            has too many connections.
        refused: told why there is no next.
        secure: whether the port speaks TLS.
    """

    upgraded = 0

    def __init__(
        self,
        deadlines: Deadlines,
        secs: float,
        settled: Settled,
        refused: Callable[[Any, str], None],
        *,
        secure: bool,
    ) -> None:
        self._deadlines = deadlines
        self._secs = secs
        self._settled = settled
        self._refused = refused
        self._secure = secure
        self._buffer = b""
        self._opened = 0.0
        self._refusing = False
        self.transport: Any = None
        self.deadline = NEVER

    def makeConnection(self, transport: Any) -> None:
        """Wait for the header."""
        self.transport = transport
        self._opened = self._deadlines.now
        self.deadline = self._deadlines.after(self._secs)
        self._deadlines.watch(self)

    def dataReceived(self, data: bytes) -> None:
        """Read the header; what follows it is for the next protocol."""
        self._buffer += data
        try:
            header = parse_proxy_header(self._buffer)
        except ProxyHeaderError as error:
            self._refuse(str(error))
            return
        if header is None:
            return
        self._deadlines.forget(self)
        transport, rest = self.transport, self._buffer[header.size :]
        self._buffer = b""
        if header.endpoints is not None:
            _settle(transport, header.endpoints)
        if not self._settled(transport, rest, relayed=header.endpoints is not None):
            self._refusing = True
            transport.abortConnection()

    def connectionLost(self, reason: Failure) -> None:
        """Gone before it has said whom it speaks for. (One that only tries the port says none.)"""
        self._deadlines.forget(self)
        if self._buffer and not self._refusing:
            self._refused(self.transport, "cut short")

    def expired(self, now: float) -> None:
        """No header in time."""
        self._refuse("no proxy header in time")

    def _refuse(self, reason: str) -> None:
        self._deadlines.forget(self)
        self._refusing = True
        self._refused(self.transport, reason)
        self.transport.abortConnection()

    # For the control plane

    @property
    def busy(self) -> bool:
        """Nothing is under way."""
        return False

    def give_way(self) -> bool:
        """Not idle: it has yet to begin."""
        return False

    def drain(self) -> None:
        """The header's own time limit is short enough."""

    def cut(self) -> None:
        """End at once."""
        self.transport.abortConnection()

    def summary(self) -> Summary:
        """What it is doing."""
        peer = self.transport.getPeer().host
        return Summary(peer, self._secure, "", "proxy header", self._opened)


def _settle(transport: Any, endpoints: Endpoints) -> None:
    """Let the transport's peer be whom the header names."""
    transport.client = str(endpoints.source), endpoints.source_port
    if endpoints.source.version == 6:
        transport._addressType = IPv6Address
