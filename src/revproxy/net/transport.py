"""TCP and UNIX transports that send at once.

Owns the write path of every connection of the data path: a write goes to the kernel immediately
when nothing is queued before it, and only what the kernel does not take waits for the reactor.
Stock Twisted transports queue every write and wait a reactor turn for it, with two ``epoll_ctl``
calls each (docs/architecture/decisions/0002). Everything else is Twisted's: producers,
``loseConnection`` after the last byte, half-close, abort.

Refuses to know what the bytes mean.
"""

from __future__ import annotations

import errno
import os
import socket
from collections.abc import Callable
from fcntl import ioctl
from struct import unpack
from termios import TIOCOUTQ
from typing import TYPE_CHECKING, Any, cast

from twisted.internet import main, tcp, unix
from twisted.internet.address import IPv6Address
from twisted.logger import Logger
from twisted.python.failure import Failure

READ_BYTES = 262144
"""The most that one read takes from a socket: a quarter of a mebibyte moves bodies 1.2 times as
fast as 64 KiB, and costs small requests nothing."""

BACKLOG = 4096
"""Connections that the kernel keeps until they are accepted, if its own limit allows so many."""

ALL_DESCRIPTORS = 2**31
"""More than any descriptor's number."""

_NO_RESOURCES = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM})

_log = Logger()
_CLOSED = Failure(main.CONNECTION_DONE)

# Twisted's interfaces are opaque to mypy (methods without self), hence the Any in this package,
# and the ignored clashes with the narrower types that Twisted's classes declare.
_Connection: Any = tcp.Connection if TYPE_CHECKING else object


class EagerMixin(_Connection):  # type: ignore[misc]
    """The write path, to be mixed in before a Twisted ``Connection``.

    Attributes:
        at_admission: called once it is served, if it has to wait for that.
        taken: bytes that the kernel has taken so far, to tell a stalled peer from a slow one.
        high_water: queued bytes above which a registered producer is paused.
        read_bytes: the most that one read takes.
    """

    disconnecting: int
    at_admission: tuple[Callable[[], None], ...] = ()
    taken = 0
    read_bytes = READ_BYTES
    high_water = 65536

    @property
    def unsent(self) -> int:
        """Bytes that the kernel has not taken yet."""
        unsent: int = len(self.dataBuffer) - self.offset + self._tempDataLen
        return unsent

    @property
    def in_flight(self) -> int:
        """Bytes that the kernel has taken and the peer's has not acknowledged; 0 if not known."""
        try:
            (count,) = unpack("i", ioctl(self.socket.fileno(), TIOCOUTQ, b"\0\0\0\0"))
        except (OSError, AttributeError):  # of another system, or the socket is gone
            return 0
        return int(count)

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
            data = self.socket.recv(self.read_bytes)
        except BlockingIOError:
            return None
        except OSError:
            return main.CONNECTION_LOST
        if not data:
            return main.CONNECTION_DONE
        self.protocol.dataReceived(data)
        return None

    def admit(self) -> None:
        """It has waited, unread, for its turn: that has come."""
        self.resumeProducing()
        calls, self.at_admission = self.at_admission, ()
        for call in calls:
            call()

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


class _CeilingMixin(_Connection):  # type: ignore[misc]
    """The making of a socket: none of the last descriptors is taken for it."""

    def createInternetSocket(self) -> socket.socket:
        """A new socket.

        Raises:
            OSError: no descriptor is left, but for those of the control plane.
        """
        made: socket.socket = super().createInternetSocket()
        if made.fileno() >= self.connector.most_descriptors:
            made.close()
            raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))
        return made


class _EagerClient(EagerMixin, _CeilingMixin, tcp.Client):  # type: ignore[misc]
    """A TCP connection of ours."""


class _EagerUnixClient(EagerMixin, _CeilingMixin, unix.Client):  # type: ignore[misc]
    """A connection of ours to a UNIX socket."""


class EagerConnector(tcp.Connector):
    """Connects to an IP address and port.

    Attributes:
        high_water: passed on to the transport.
        most_descriptors: no descriptor of this number or above is taken.
    """

    high_water = EagerMixin.high_water
    most_descriptors = ALL_DESCRIPTORS

    def _makeTransport(self) -> _EagerClient:
        client = _EagerClient(self.host, self.port, self.bindAddress, self, self.reactor)
        client.high_water = self.high_water
        if hasattr(client, "socket"):  # not when no descriptor could be had
            client.setTcpNoDelay(True)
        return client


class EagerUnixConnector(unix.Connector):
    """Connects to a UNIX socket; attributes as of :class:`EagerConnector`."""

    high_water = EagerMixin.high_water
    most_descriptors = ALL_DESCRIPTORS

    def _makeTransport(self) -> _EagerUnixClient:
        client = _EagerUnixClient(self.address, self, self.reactor)
        client.high_water = self.high_water
        return client


class EagerPort(tcp.Port):
    """A listening TCP port; connections get :class:`EagerServer`.

    Before each connection the port's factory is asked whether it is ``full()``. It is told
    ``crowded(port)`` when somebody waits for that, and ``exhausted(port)`` when there was no
    descriptor for one: what comes then waits in the backlog until the port is told to go on.

    Attributes:
        most_descriptors: a connection whose descriptor has this number or a higher one is not
            kept: the last ones are for the control plane.
    """

    transport = cast(Any, EagerServer)
    most_descriptors = ALL_DESCRIPTORS

    def doRead(self) -> None:
        """Accept what has come, as stock Twisted does, less what it does for its own log."""
        factory: Any = self.factory
        for accepted in range(self.numberAccepts):
            if factory.full():
                # The port is readable because somebody waits; in a later round nobody need to.
                if not accepted:
                    factory.crowded(self)
                return
            try:
                skt, address = self.socket.accept()
            except BlockingIOError:
                self.numberAccepts = max(1, accepted)
                return
            except OSError as failure:
                if failure.errno in _NO_RESOURCES:
                    factory.exhausted(self)
                    return
                continue  # it was gone before it was accepted
            if skt.fileno() >= self.most_descriptors:
                skt.close()
                factory.exhausted(self)
                return
            self._begin(skt, address)
        self.numberAccepts += 20

    def stop_accepting(self) -> None:
        """Leave connections in the backlog."""
        self.stopReading()

    def go_on_accepting(self) -> None:
        """Accept again, unless the port has been closed."""
        if self.connected and not self.disconnecting:
            self.startReading()

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


def listen(
    reactor: Any,
    port: int,
    factory: Any,
    address: str,
    *,
    inherited: socket.socket | None = None,
    most_descriptors: int = ALL_DESCRIPTORS,
) -> EagerPort:
    """Listen on a TCP port.

    TCP_NODELAY is set on the listening socket and inherited by what it accepts.

    Args:
        reactor: to listen with.
        port: its number.
        factory: makes the protocols; see :class:`EagerPort`.
        address: an IP address.
        inherited: a socket that listens there already; a duplicate of it is used.
        most_descriptors: see :class:`EagerPort`.

    Raises:
        twisted.internet.error.CannotListenError: the address cannot be bound.
    """
    if inherited is None:
        listening = EagerPort(port, factory, BACKLOG, address, reactor)
    else:
        listening = EagerPort._fromListeningDescriptor(
            reactor, inherited.fileno(), inherited.family, factory
        )
    listening.most_descriptors = most_descriptors
    listening.startListening()
    listening.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return listening
