"""TCP and UNIX transports that send at once.

Owns the write path of every connection of the data path: a write goes to the kernel immediately
when nothing is queued before it, and only what the kernel does not take waits for the reactor.
Stock Twisted transports queue every write and wait a reactor turn for it, with two ``epoll_ctl``
calls each (docs/architecture/decisions/0002). Everything else is Twisted's: producers,
``loseConnection`` after the last byte, half-close, abort.

Refuses to know what the bytes mean.
"""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING, Any, cast

from twisted.internet import main, tcp, unix
from twisted.internet.address import IPv6Address
from twisted.logger import Logger
from twisted.python.failure import Failure

READ_BYTES = 262144
"""The most that one read takes from a socket: a quarter of a mebibyte moves bodies 1.2 times as
fast as 64 KiB, and costs small requests nothing."""

_log = Logger()
_CLOSED = Failure(main.CONNECTION_DONE)

# Twisted's interfaces are opaque to mypy (methods without self), hence the Any in this package,
# and the ignored clashes with the narrower types that Twisted's classes declare.
_Connection: Any = tcp.Connection if TYPE_CHECKING else object


class EagerMixin(_Connection):  # type: ignore[misc]
    """The write path, to be mixed in before a Twisted ``Connection``.

    Attributes:
        taken: bytes that the kernel has taken so far, to tell a stalled peer from a slow one.
        high_water: queued bytes above which a registered producer is paused.
    """

    disconnecting: int
    taken = 0
    high_water = 65536

    @property
    def unsent(self) -> int:
        """Bytes that the kernel has not taken yet."""
        unsent: int = len(self.dataBuffer) - self.offset + self._tempDataLen
        return unsent

    def write(self, data: bytes) -> None:
        """Send ``data`` now, as far as the kernel takes it, and queue the rest.

        An error is not reported from here, where the caller may be in the middle of something:
        the bytes are queued, and the reactor meets the same error in its next turn.
        """
        if not self.connected or self._writeDisconnected or self._aborting:
            return
        if not self._tempDataLen and not self.dataBuffer:
            try:
                sent = self.socket.send(data)
            except OSError:
                sent = 0
            self.taken += sent
            if sent == len(data):
                return
            if sent:
                data = data[sent:]
        self._tempDataBuffer.append(data)
        self._tempDataLen += len(data)
        self._maybePauseProducer()
        self.startWriting()

    def writeLast(self, data: bytes) -> None:
        """Send ``data``, and close the connection after it."""
        if data:
            self.write(data)
        self.loseConnection()

    def loseConnection(self) -> None:
        """Close after the last byte; where nothing is queued, without waiting to be writable."""
        if self.unsent or self.producer is not None or self._writeDisconnecting:
            super().loseConnection()
        elif self.connected and not self.disconnecting and not self._aborting:
            self.disconnecting = 1
            self.stopReading()
            self.reactor.callLater(0, self.connectionLost, _CLOSED)

    def writeSomeData(self, data: bytes) -> int | Exception:
        """Send from the queue, in the reactor's turn."""
        sent: int | Exception = super().writeSomeData(data)
        if isinstance(sent, int):
            self.taken += sent
        return sent

    def doRead(self) -> Exception | None:
        """Read once. File descriptors sent along on a UNIX socket are not accepted."""
        try:
            data = self.socket.recv(READ_BYTES)
        except BlockingIOError:
            return None
        except OSError:
            return main.CONNECTION_LOST
        if not data:
            return main.CONNECTION_DONE
        self.protocol.dataReceived(data)
        return None

    def _isSendBufferFull(self) -> bool:
        return self.unsent > self.high_water


class EagerServer(EagerMixin, tcp.Server):  # type: ignore[misc]
    """An accepted TCP connection; a listening port's ``transport``.

    The port's factory is told of its beginning and of its end: ``connected(transport)`` and
    ``disconnected(transport)``.
    """

    def __init__(
        self,
        skt: socket.socket,
        protocol: Any,
        client: tuple[Any, ...],
        server: tcp.Port,
        sessionno: int,
        reactor: Any,
    ) -> None:
        # As tcp.Server, less the names that it makes up for its log.
        tcp.Connection.__init__(self, skt, protocol, reactor)
        if len(client) != 2:
            self._addressType = IPv6Address
        self.server = server
        self.client = client
        self.sessionno = sessionno
        self.hostname = client[0]
        self.logstr = self.repstr = "downstream connection"
        self._factory: Any = server.factory
        self.startReading()
        self.connected = 1

    def connectionLost(self, reason: Failure) -> None:
        """The connection is gone; told once."""
        open_until_now = hasattr(self, "socket")
        try:
            super().connectionLost(reason)
        finally:
            if open_until_now:
                self._factory.disconnected(self)


class _EagerClient(EagerMixin, tcp.Client):  # type: ignore[misc]
    """A TCP connection of ours."""


class _EagerUnixClient(EagerMixin, unix.Client):  # type: ignore[misc]
    """A connection of ours to a UNIX socket."""


class EagerConnector(tcp.Connector):
    """Connects to an IP address and port. ``high_water`` is passed on to the transport."""

    high_water = EagerMixin.high_water

    def _makeTransport(self) -> _EagerClient:
        client = _EagerClient(self.host, self.port, self.bindAddress, self, self.reactor)
        client.high_water = self.high_water
        if hasattr(client, "socket"):  # not when no descriptor could be had
            client.setTcpNoDelay(True)
        return client


class EagerUnixConnector(unix.Connector):
    """Connects to a UNIX socket. ``high_water`` is passed on to the transport."""

    high_water = EagerMixin.high_water

    def _makeTransport(self) -> _EagerUnixClient:
        client = _EagerUnixClient(self.address, self, self.reactor)
        client.high_water = self.high_water
        return client


class EagerPort(tcp.Port):
    """A listening TCP port; connections get :class:`EagerServer`."""

    transport = cast(Any, EagerServer)

    def doRead(self) -> None:
        """Accept what has come, as stock Twisted does, less what it does for its own log.

        Where ``accept`` fails (no descriptor is left), stock Twisted's way out is taken.
        """
        for accepted in range(self.numberAccepts):
            try:
                skt, address = self.socket.accept()
            except BlockingIOError:
                self.numberAccepts = max(1, accepted)
                return
            except OSError:
                super().doRead()
                return
            self._begin(skt, address)
        self.numberAccepts += 20

    def _begin(self, skt: socket.socket, address: tuple[Any, ...]) -> None:
        transport = None
        try:
            factory: Any = self.factory
            protocol = factory.buildProtocol(self._buildAddr(address[:2]))
            if protocol is None:
                skt.close()
                return
            self.sessionno += 1
            transport = EagerServer(skt, protocol, address, self, self.sessionno, self.reactor)
            factory.connected(transport)
            protocol.makeConnection(transport)
        except Exception:
            _log.failure("while accepting a connection")
            if transport is None:
                skt.close()
            else:
                transport.abortConnection()


def listen(reactor: Any, port: int, factory: Any, address: str, backlog: int = 4096) -> tcp.Port:
    """Listen on a TCP port.

    TCP_NODELAY is set on the listening socket and inherited by what it accepts.

    Raises:
        twisted.internet.error.CannotListenError: the address cannot be bound.
    """
    listening = EagerPort(port, factory, backlog, address, reactor)
    listening.startListening()
    listening.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return listening
