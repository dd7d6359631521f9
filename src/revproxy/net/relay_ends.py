"""The two ends of a relay: what is known of each, and the backend's as a protocol.

Owns the state of one direction's sender and the calls from the backend's transport. Refuses to
know what the end of one means for the other (``relay.py``).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

from twisted.internet.error import ConnectionDone
from twisted.internet.interfaces import IHalfCloseableProtocol, IPushProducer
from twisted.python.failure import Failure
from zope.interface import implementer

from revproxy.net.deadlines import NEVER
from revproxy.net.stall import Stall


class End:
    """One of the two connections.

    Args:
        name: for the log: ``downstream`` or ``upstream``.

    Attributes:
        transport: of the connection.
        stall: of what is queued for it.
        ended: it sends no more.
        closing: it is being closed, after what is queued for it.
        gone: there is none any more, or not yet.
    """

    __slots__ = ("closing", "ended", "gone", "name", "stall", "transport")

    def __init__(self, name: str) -> None:
        self.name = name
        self.transport: Any = None
        self.stall = Stall()
        self.ended = self.closing = False
        self.gone = True

    def begin(self, transport: Any) -> None:
        """It is there."""
        self.transport = transport
        self.gone = False

    @property
    def taken(self) -> int:
        """Bytes that it has taken so far."""
        return 0 if self.transport is None else int(self.transport.taken)

    def finish(self, until: float, *, close: bool) -> None:
        """Nothing more is written to it: it ends after what is queued, for one way or both.

        Args:
            until: when to look whether it takes that.
            close: whether nothing is read either.
        """
        if self.gone or self.closing:
            return
        transport = self.transport
        transport.unregisterProducer()
        if transport.unsent and not self.stalling:
            self.stall.begin(transport.taken, until)
        if close:
            self.closing = True
            transport.loseConnection()
        else:
            transport.loseWriteConnection()

    def abort(self) -> None:
        """Reset it."""
        if not self.gone:
            self.transport.abortConnection()

    @property
    def stalling(self) -> bool:
        """Whether something waits for it to take it."""
        return self.stall.until is not NEVER

    def stalled(self, now: float, secs: float) -> bool:
        """Whether it has taken nothing for ``secs``."""
        if self.gone or not self.transport.unsent:
            self.stall.end()
            return False
        return self.stalling and self.stall.over(now, self.transport.taken, secs)

    def is_done(self, reason: Failure) -> bool:
        """Whether it is gone as it was to go."""
        return self.closing and reason.check(ConnectionDone) is not None


class Relaying(Protocol):
    """Who is told of the backend's connection."""

    transport: Any

    def far_data(self, data: bytes) -> None:
        """Bytes of the backend."""

    def far_ended(self) -> None:
        """The backend sends no more."""

    def far_lost(self, reason: Failure) -> None:
        """The backend's connection is gone."""

    def far_full(self) -> None:
        """The backend takes nothing."""

    def far_drained(self) -> None:
        """The backend has taken everything."""


@implementer(IHalfCloseableProtocol, IPushProducer)
class FarEnd:
    """The connection to the backend.

    Args:
        ready: called with this, when it can be written to.

    Attributes:
        relay: who is told; None until somebody takes it.
    """

    def __init__(self, ready: Callable[[FarEnd], None]) -> None:
        self._ready = ready
        self.relay: Relaying | None = None
        self.transport: Any = None

    def makeConnection(self, transport: Any) -> None:
        """Connected."""
        self.transport = transport
        self._ready(self)

    def close(self) -> None:
        """Nobody wants it any more."""
        self.transport.abortConnection()

    def dataReceived(self, data: bytes) -> None:
        """Bytes of the backend."""
        if self.relay is not None:
            self.relay.far_data(data)

    def readConnectionLost(self) -> None:
        """The backend sends no more."""
        if self.relay is not None:
            self.relay.far_ended()

    def writeConnectionLost(self) -> None:
        """Our FIN has left."""

    def connectionLost(self, reason: Failure) -> None:
        """Gone."""
        relay, self.relay = self.relay, None
        if relay is not None:
            relay.far_lost(reason)

    def pauseProducing(self) -> None:
        """The backend takes nothing."""
        if self.relay is not None:
            self.relay.far_full()

    def resumeProducing(self) -> None:
        """The backend has taken everything."""
        if self.relay is not None:
            self.relay.far_drained()

    def stopProducing(self) -> None:
        """The connection is lost; :meth:`connectionLost` follows."""
