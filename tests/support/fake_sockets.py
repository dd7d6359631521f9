"""A reactor of fake sockets, with the real transports on them.

Owns readiness and time by hand: what a kernel would take and bring is set by a test, and
back-pressure, half-close and abort are the real ones. Refuses to know what is spoken.
"""

from __future__ import annotations

from collections import deque
from typing import Any

from twisted.internet import error
from twisted.internet.address import IPv4Address
from twisted.internet.posixbase import _DisconnectSelectableMixin
from twisted.internet.task import Clock
from twisted.internet.tcp import Connection
from twisted.python.failure import Failure

from revproxy.net.transport import EagerMixin

FIN = b""
"""What a socket reads when its peer has closed."""


class FakeSocket:
    """A kernel's socket: what came in, and how much of what goes out is taken.

    Attributes:
        incoming: what will be read, piece by piece; FIN or an OSError ends it.
        sent: what was taken and not looked at yet.
        room: bytes that are still taken; None = all.
        send_error: raised by the next sends.
        events: shutdowns and the close, in order.
    """

    def __init__(self, room: int | None = None) -> None:
        self.incoming: deque[bytes | OSError] = deque()
        self.sent = bytearray()
        self.sends: list[int] = []
        self.room = room
        self.send_error: OSError | None = None
        self.events: list[str] = []

    def setblocking(self, blocking: bool) -> None:
        """Nothing here blocks."""

    def setsockopt(self, *_: object) -> None:
        """Options have no effect."""

    def fileno(self) -> int:
        """A number that no selector sees."""
        return 1_000_000

    def send(self, content: bytes | memoryview) -> int:
        """Take as much as there is room for."""
        if self.send_error is not None:
            raise self.send_error
        if self.room == 0:
            raise BlockingIOError(11, "no room")
        count = len(content) if self.room is None else min(self.room, len(content))
        if self.room is not None:
            self.room -= count
        self.sent += content[:count]
        self.sends.append(count)
        return count

    def recv(self, count: int) -> bytes:
        """The next piece."""
        if not self.incoming:
            raise BlockingIOError(11, "nothing there")
        piece = self.incoming.popleft()
        if isinstance(piece, OSError):
            raise piece
        if len(piece) > count:
            self.incoming.appendleft(piece[count:])
        return piece[:count]

    def shutdown(self, how: int) -> None:
        """Half-close, or the beginning of a close."""
        self.events.append(f"shutdown {how}")

    def close(self) -> None:
        """Close."""
        self.events.append("close")


class FakeReactor(Clock, _DisconnectSelectableMixin):
    """Time and readiness by hand."""

    def __init__(self) -> None:
        super().__init__()
        self.readers: set[Any] = set()
        self.writers: set[Any] = set()

    def addReader(self, reader: Any) -> None:
        self.readers.add(reader)

    def removeReader(self, reader: Any) -> None:
        self.readers.discard(reader)

    def addWriter(self, writer: Any) -> None:
        self.writers.add(writer)

    def removeWriter(self, writer: Any) -> None:
        self.writers.discard(writer)

    def run(self) -> None:
        """Turn until nothing is left to do at this moment."""
        busy = True
        while busy:
            busy = False
            for reader in [one for one in self.readers if one.socket.incoming]:
                if reader in self.readers:
                    busy = True
                    self._done(reader, reader.doRead(), reading=True)
            for writer in [one for one in self.writers if one.socket.room != 0]:
                if writer in self.writers:
                    busy = True
                    self._done(writer, writer.doWrite(), reading=False)
            if any(call.getTime() <= self.seconds() for call in self.getDelayedCalls()):
                busy = True
                self.advance(0)

    def _done(self, selectable: Any, why: Any, *, reading: bool) -> None:
        if why:
            self._disconnectSelectable(selectable, why, reading)


class FakeConnection(EagerMixin, Connection):  # type: ignore[misc]
    """The real transport over a :class:`FakeSocket`."""

    def __init__(self, reactor: FakeReactor, protocol: Any, host: str = "192.0.2.1") -> None:
        self.wire = FakeSocket()
        super().__init__(self.wire, protocol, reactor)
        self._host = host
        self.ended: str | None = None

    def open(self) -> None:
        """Connected."""
        self.connected = 1
        self.startReading()
        self.protocol.makeConnection(self)

    def getPeer(self) -> IPv4Address:
        return IPv4Address("TCP", self._host, 50000)

    def getHost(self) -> IPv4Address:
        return IPv4Address("TCP", "192.0.2.9", 443)

    def connectionLost(self, reason: Failure) -> None:
        self.ended = "aborted" if reason.check(error.ConnectionAborted) else "closed"
        super().connectionLost(reason)


class FakeConnector:
    """Stands for a connector of Twisted's: the test decides how the attempt ends."""

    made: list[FakeConnector]
    high_water = 65536

    def __init__(self, where: str, port: int, factory: Any, reactor: FakeReactor) -> None:
        self.where = where
        self.port = port
        self.factory = factory
        self.reactor = reactor
        self.state = "disconnected"

    def connect(self) -> None:
        """The attempt begins."""
        self.state = "connecting"
        self.reactor.attempts.append(self)  # type: ignore[attr-defined]

    def stopConnecting(self) -> None:
        """The attempt is given up."""
        assert self.state == "connecting"
        self.fail(error.UserError())

    def succeed(self) -> FakeConnection | None:
        """TCP is connected; None when the factory does not want it any more."""
        self.state = "connected"
        protocol = self.factory.buildProtocol(None)
        if protocol is None:
            return None
        connection = FakeConnection(self.reactor, protocol)
        connection.high_water = self.high_water
        connection.open()
        return connection

    def fail(self, reason: Exception) -> None:
        """TCP could not be connected."""
        self.state = "disconnected"
        self.factory.clientConnectionFailed(self, Failure(reason))
