"""The eager write path, over fake sockets and over real pairs of sockets."""

from __future__ import annotations

import errno
import socket
from typing import Any

from twisted.internet.error import ConnectionDone
from twisted.internet.interfaces import IHalfCloseableProtocol, IPushProducer
from twisted.internet.protocol import ClientFactory, Protocol
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import implementer

from revproxy.net.transport import (
    READ_BYTES,
    EagerConnector,
    EagerServer,
    EagerUnixConnector,
    listen,
)
from tests.support.fake_sockets import FIN, FakeConnection, FakeReactor, FakeSocket


@implementer(IHalfCloseableProtocol)
class RecordingProtocol(Protocol):
    """Keeps what happened to it, in order."""

    def __init__(self) -> None:
        self.events: list[Any] = []

    def dataReceived(self, data: bytes) -> None:
        self.events.append(data)

    def readConnectionLost(self) -> None:
        self.events.append("read closed")

    def writeConnectionLost(self) -> None:
        self.events.append("write closed")

    def connectionLost(self, reason: Any = None) -> None:
        self.events.append(f"lost: {reason.type.__name__}")


@implementer(IPushProducer)
class RecordingProducer:
    """Keeps how often it was paused and resumed."""

    def __init__(self) -> None:
        self.events: list[str] = []

    def pauseProducing(self) -> None:
        self.events.append("pause")

    def resumeProducing(self) -> None:
        self.events.append("resume")

    def stopProducing(self) -> None:
        self.events.append("stop")


class TransportCase(SynchronousTestCase):
    """A transport over a fake socket."""

    def setUp(self) -> None:
        self.reactor = FakeReactor()
        self.protocol = RecordingProtocol()
        self.transport = FakeConnection(self.reactor, self.protocol)
        self.wire: FakeSocket = self.transport.wire
        self.transport.open()


class WriteTests(TransportCase):
    def test_at_once(self) -> None:
        """With nothing queued a write is in the kernel when it returns."""
        self.transport.write(b"hello")
        self.assertEqual(bytes(self.wire.sent), b"hello")
        self.assertEqual((self.transport.taken, self.transport.unsent), (5, 0))
        self.assertEqual(self.reactor.writers, set())

    def test_rest_is_queued(self) -> None:
        """Only what the kernel does not take waits for the reactor."""
        self.wire.room = 2
        self.transport.write(b"hello")
        self.assertEqual(bytes(self.wire.sent), b"he")
        self.assertEqual((self.transport.taken, self.transport.unsent), (2, 3))
        self.assertEqual(self.reactor.writers, {self.transport})

    def test_order(self) -> None:
        """Whatever the kernel takes each time, bytes leave in the order they were written."""
        stream = bytes(range(256)) * 4
        for step in (1, 2, 3, 7, 50):
            self.setUp()
            for at in range(0, len(stream), 16):
                self.wire.room = step
                self.transport.write(stream[at : at + 16])
                if at % 64 == 0:
                    self.reactor.run()
            while self.transport.unsent:
                self.wire.room = step
                self.reactor.run()
            self.assertEqual(bytes(self.wire.sent), stream)
            self.assertEqual(self.transport.taken, len(stream))
            self.assertEqual(self.reactor.writers, set())

    def test_nothing_overtakes_queue(self) -> None:
        """A write behind a queue is queued, though the kernel has room again."""
        self.wire.room = 0
        self.transport.write(b"first")
        self.wire.room = None
        self.transport.write(b"second")
        self.assertEqual(bytes(self.wire.sent), b"")
        self.reactor.run()
        self.assertEqual(bytes(self.wire.sent), b"firstsecond")

    def test_error(self) -> None:
        """An error in a write is reported from the reactor, never from inside the write."""
        for code in (errno.EPIPE, errno.ECONNRESET):
            self.setUp()
            self.wire.send_error = OSError(code, "gone")
            self.transport.write(b"hello")
            self.assertEqual(self.protocol.events, [])
            self.reactor.run()
            self.assertEqual(self.protocol.events, ["lost: ConnectionLost"])
            self.transport.write(b"more")
            self.assertEqual(self.protocol.events, ["lost: ConnectionLost"])

    def test_not_connected(self) -> None:
        """Before the connection is there and after it is gone nothing is sent."""
        transport = FakeConnection(self.reactor, self.protocol)
        transport.write(b"early")
        self.assertEqual((transport.unsent, transport.taken), (0, 0))
        self.wire.incoming.append(OSError(errno.ECONNRESET, "reset"))
        self.reactor.run()
        self.transport.write(b"late")
        self.assertEqual(bytes(self.wire.sent), b"")


class ProducerTests(TransportCase):
    def setUp(self) -> None:
        super().setUp()
        self.producer = RecordingProducer()
        self.transport.high_water = 10
        self.transport.registerProducer(self.producer, True)

    def test_high_water(self) -> None:
        """A producer is paused above high_water queued bytes and resumed when all is taken."""
        self.wire.room = 5
        self.transport.write(b"x" * 15)
        self.assertEqual(self.producer.events, [])
        self.transport.write(b"x")
        self.assertEqual(self.producer.events, ["pause"])
        self.wire.room = 10
        self.reactor.run()
        self.assertEqual(self.producer.events, ["pause"])
        self.wire.room = None
        self.reactor.run()
        self.assertEqual(self.producer.events, ["pause", "resume"])

    def test_one_large_write(self) -> None:
        """A write that the kernel takes whole pauses nobody, however large it is."""
        self.transport.write(b"x" * 1_000_000)
        self.assertEqual(self.producer.events, [])

    def test_close_waits_for_producer(self) -> None:
        """A registered producer holds up loseConnection until it is unregistered."""
        self.wire.room = 0
        self.transport.write(b"x" * 11)
        self.transport.loseConnection()
        self.wire.room = None
        self.reactor.run()
        self.assertEqual(self.protocol.events, [])
        self.transport.unregisterProducer()
        self.reactor.run()
        self.assertEqual(self.protocol.events, ["lost: ConnectionDone"])

    def test_lost(self) -> None:
        """A producer is told when the connection is lost."""
        self.transport.abortConnection()
        self.reactor.run()
        self.assertEqual(self.producer.events, ["stop"])


class CloseTests(TransportCase):
    def test_after_last_byte(self) -> None:
        """loseConnection closes after the last byte of the queue."""
        self.wire.room = 3
        self.transport.write(b"hello")
        self.transport.loseConnection()
        self.reactor.run()
        self.assertEqual(self.protocol.events, [])
        self.wire.room = None
        self.reactor.run()
        self.assertEqual(bytes(self.wire.sent), b"hello")
        self.assertEqual(self.protocol.events, ["lost: ConnectionDone"])

    def test_nothing_queued(self) -> None:
        """With nothing queued the connection is lost in the next turn, never within the call."""
        self.transport.write(b"hello")
        self.transport.loseConnection()
        self.transport.loseConnection()
        self.assertEqual(self.protocol.events, [])
        self.wire.incoming.append(b"not wanted")
        self.reactor.run()
        self.assertEqual(self.protocol.events, ["lost: ConnectionDone"])
        self.assertEqual((self.reactor.readers, self.reactor.writers), (set(), set()))

    def test_half_close(self) -> None:
        """loseWriteConnection shuts one direction down after the last byte; reading goes on."""
        self.wire.room = 3
        self.transport.write(b"hello")
        self.transport.loseWriteConnection()
        self.reactor.run()
        self.assertEqual(self.wire.events, [])
        self.wire.room = None
        self.wire.incoming.append(b"answer")
        self.reactor.run()
        self.assertEqual(bytes(self.wire.sent), b"hello")
        self.assertEqual(self.wire.events, ["shutdown 1"])
        self.assertEqual(self.protocol.events, [b"answer", "write closed"])
        self.transport.write(b"never")
        self.transport.loseConnection()
        self.reactor.run()
        self.assertEqual(bytes(self.wire.sent), b"hello")
        self.assertEqual(self.protocol.events[-1], "lost: ConnectionDone")

    def test_abort(self) -> None:
        """abortConnection drops the queue, and nothing is sent after it."""
        self.wire.room = 3
        self.transport.write(b"hello")
        self.transport.abortConnection()
        self.wire.room = None
        self.transport.write(b"never")
        self.wire.incoming.append(b"not wanted")
        self.reactor.run()
        self.assertEqual(bytes(self.wire.sent), b"hel")
        self.assertEqual(self.protocol.events, ["lost: ConnectionAborted"])

    def test_abort_after_close(self) -> None:
        """An abort while a close waits for its last byte ends the connection once."""
        for room in (0, None):
            self.setUp()
            self.wire.room = room
            self.transport.write(b"hello")
            self.transport.loseConnection()
            self.transport.abortConnection()
            self.reactor.run()
            self.assertEqual(len(self.protocol.events), 1)


class ReadTests(TransportCase):
    def test_data(self) -> None:
        """What came is handed over in pieces of READ_BYTES at the most."""
        self.wire.incoming.append(b"x" * (READ_BYTES + 1))
        self.reactor.run()
        self.assertEqual([len(piece) for piece in self.protocol.events], [READ_BYTES, 1])

    def test_nothing_there(self) -> None:
        """A socket that was not readable after all is no end."""
        self.assertIsNone(self.transport.doRead())
        self.assertEqual(self.protocol.events, [])

    def test_end(self) -> None:
        """A FIN ends reading only: writing goes on."""
        self.wire.incoming.append(FIN)
        self.reactor.run()
        self.assertEqual(self.protocol.events, ["read closed"])
        self.assertEqual(self.reactor.readers, set())
        self.transport.write(b"answer")
        self.assertEqual(bytes(self.wire.sent), b"answer")

    def test_reset(self) -> None:
        """A reset loses the connection, whatever the error is called."""
        for code in (errno.ECONNRESET, errno.ETIMEDOUT, errno.EHOSTUNREACH):
            self.setUp()
            self.wire.incoming.append(OSError(code, "gone"))
            self.reactor.run()
            self.assertEqual(self.protocol.events, ["lost: ConnectionLost"])

    def test_pause(self) -> None:
        """A paused transport is not read until it is resumed."""
        self.transport.pauseProducing()
        self.wire.incoming.append(b"data")
        self.reactor.run()
        self.assertEqual(self.protocol.events, [])
        self.transport.resumeProducing()
        self.reactor.run()
        self.assertEqual(self.protocol.events, [b"data"])


class RecordingFactory:
    """Keeps who came and who was lost."""

    def __init__(self) -> None:
        self.came: list[Any] = []
        self.left: list[object] = []

    def connected(self, transport: object) -> None:
        self.came.append(transport)

    def disconnected(self, transport: object) -> None:
        self.left.append(transport)


class AcceptingFactory(RecordingFactory):
    """Makes protocols, unless told otherwise."""

    broken = False
    refuses = False
    room: int | None = None

    def __init__(self) -> None:
        super().__init__()
        self.told_exhausted: list[object] = []
        self.told_crowded = 0

    def full(self) -> bool:
        """Whether as many have come as there is room for."""
        return self.room is not None and len(self.came) >= self.room

    def crowded(self, port: object) -> None:
        self.told_crowded += 1

    def exhausted(self, port: object) -> None:
        self.told_exhausted.append(port)

    def doStart(self) -> None:
        """As of any factory."""

    def doStop(self) -> None:
        """As of any factory."""

    def buildProtocol(self, address: object) -> RecordingProtocol | None:
        if self.broken:
            raise ZeroDivisionError
        return None if self.refuses else RecordingProtocol()


class Listening:
    """As much of a listening port as a connection looks at."""

    def __init__(self) -> None:
        self.factory = RecordingFactory()
        self._realPortNumber = 1


class SocketPairTests(SynchronousTestCase):
    def setUp(self) -> None:
        ours, self.theirs = socket.socketpair()
        self.addCleanup(ours.close)
        self.addCleanup(self.theirs.close)
        self.reactor = FakeReactor()
        self.protocol = RecordingProtocol()
        self.listening = Listening()
        address = ("192.0.2.1", 50000)
        self.transport = EagerServer(ours, self.protocol, address, self.listening, 1, self.reactor)

    def received(self, count: int) -> bytes:
        """The next ``count`` bytes that arrive at the other end."""
        received = b""
        while len(received) < count:
            received += self.theirs.recv(count - len(received))
        return received

    def test_full_kernel(self) -> None:
        """More than a real kernel takes leaves in order, over as many turns as it needs."""
        stream = bytes(range(256)) * 8192
        self.transport.write(stream)
        self.assertGreater(self.transport.taken, 0)
        self.assertEqual(self.transport.taken + self.transport.unsent, len(stream))
        received = b""
        while self.transport.unsent:
            received += self.received(self.transport.taken - len(received))
            self.transport.doWrite()
        received += self.received(len(stream) - len(received))
        self.assertEqual(received, stream)

    def test_gone_peer(self) -> None:
        """A peer that is gone is met by the reactor, and the port is told of it once."""
        self.theirs.close()
        self.transport.write(b"hello")
        self.assertEqual(self.protocol.events, [])
        self.reactor._disconnectSelectable(self.transport, self.transport.doWrite(), False)
        self.transport.abortConnection()
        self.reactor.advance(1)
        self.assertEqual(self.protocol.events, ["lost: ConnectionLost"])
        self.assertEqual(self.listening.factory.left, [self.transport])


class PortTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.factory = AcceptingFactory()
        self.reactor = FakeReactor()
        self.port = listen(self.reactor, 0, self.factory, "127.0.0.1")
        self.addCleanup(self.close)
        self.address = self.port.socket.getsockname()

    def close(self) -> None:
        """End the port and what it accepted."""
        for connection in (*self.factory.came, self.port):
            connection.connectionLost(Failure(ConnectionDone()))

    def connect(self) -> socket.socket:
        """A client of the port."""
        client = socket.create_connection(self.address)
        self.addCleanup(client.close)
        return client

    def test_accepts(self) -> None:
        """What has come is accepted, and gets a protocol and an eager transport without Nagle."""
        clients = [self.connect() for _ in range(3)]
        self.port.doRead()
        self.assertEqual(len(self.factory.came), 3)
        transport: Any = self.factory.came[0]
        self.assertIsInstance(transport, EagerServer)
        self.assertEqual(transport.getPeer().host, "127.0.0.1")
        self.assertTrue(transport.getTcpNoDelay())
        transport.write(b"hello")
        self.assertEqual(clients[0].recv(5), b"hello")

    def test_refused_by_factory(self) -> None:
        """Without a protocol the connection is closed at once."""
        self.factory.refuses = True
        client = self.connect()
        self.port.doRead()
        self.assertEqual((self.factory.came, client.recv(1)), ([], b""))

    def test_failing_factory(self) -> None:
        """An exception of one connection closes that one, and the next is accepted."""
        self.factory.broken = True
        client = self.connect()
        self.port.doRead()
        self.assertEqual(client.recv(1), b"")
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)
        self.factory.broken = False
        self.connect()
        self.port.doRead()
        self.assertEqual(len(self.factory.came), 1)

    def test_full(self) -> None:
        """While the factory has no room, what comes waits in the backlog."""
        self.factory.room = 2
        clients = [self.connect() for _ in range(3)]
        self.port.doRead()
        self.assertEqual((len(self.factory.came), self.factory.told_crowded), (2, 0))
        self.port.doRead()  # which is called because there is one more
        self.assertEqual((len(self.factory.came), self.factory.told_crowded), (2, 1))
        self.factory.room = None
        self.port.doRead()
        self.assertEqual(len(self.factory.came), len(clients))

    def test_stops_and_goes_on(self) -> None:
        """A port that is told to stop is not read from until it is told to go on."""
        self.port.stop_accepting()
        self.assertNotIn(self.port, self.reactor.readers)
        self.port.go_on_accepting()
        self.assertIn(self.port, self.reactor.readers)

    def test_does_not_go_on_when_closed(self) -> None:
        """A port that has been closed stays closed."""
        self.port.stop_accepting()
        self.port.stopListening()
        self.port.go_on_accepting()
        self.assertNotIn(self.port, self.reactor.readers)

    def test_no_descriptor(self) -> None:
        """Where there is no descriptor for a connection the factory is told of it."""
        self.connect()
        for code in (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM):
            self.factory.told_exhausted.clear()
            kept, self.port.socket = self.port.socket, BrokenListening(code)
            self.port.doRead()
            self.port.socket = kept
            self.assertEqual(self.factory.told_exhausted, [self.port])
        self.port.doRead()
        self.assertEqual(len(self.factory.came), 1)

    def test_gone_before_it_was_accepted(self) -> None:
        """A connection that is reset in the backlog is passed over."""
        kept, self.port.socket = self.port.socket, BrokenListening(errno.ECONNABORTED)
        self.port.doRead()
        self.port.socket = kept
        self.assertEqual(self.factory.told_exhausted, [])

    def test_last_descriptors_are_left(self) -> None:
        """A connection is closed that would take one of the last descriptors."""
        client = self.connect()
        self.port.most_descriptors = client.fileno()  # an accepted one gets a higher number
        self.port.doRead()
        self.assertEqual((self.factory.came, client.recv(1)), ([], b""))
        self.assertEqual(self.factory.told_exhausted, [self.port])

    def test_inherited(self) -> None:
        """A socket that listens already is listened on."""
        passed = socket.create_server(("127.0.0.1", 0))
        passed.setblocking(False)
        self.addCleanup(passed.close)
        factory = AcceptingFactory()
        port = listen(self.reactor, 0, factory, "127.0.0.1", inherited=passed)
        client = socket.create_connection(passed.getsockname())
        self.addCleanup(client.close)
        port.doRead()
        self.assertEqual(len(factory.came), 1)
        for connection in (*factory.came, port):
            connection.connectionLost(Failure(ConnectionDone()))


class BrokenListening:
    """A listening socket whose accept fails."""

    def __init__(self, code: int) -> None:
        self._code = code

    def accept(self) -> None:
        """Fail."""
        raise OSError(self._code, "failed")


class ConnectorTests(SynchronousTestCase):
    """Connections of ours, and the descriptors that they leave alone."""

    def setUp(self) -> None:
        self.reactor = FakeReactor()
        self.factory = ClientFactory()
        self.failures: list[Any] = []
        self.factory.noisy = False
        self.factory.clientConnectionFailed = lambda _, reason: self.failures.append(reason)

    def test_last_descriptors_are_left(self) -> None:
        """A TCP connection that would take one of the last descriptors fails."""
        connector = EagerConnector("127.0.0.1", 1, self.factory, None, None, self.reactor)
        connector.most_descriptors = 0
        connector.connect()
        self.reactor.advance(0)
        self.assertEqual([failure.value.osError for failure in self.failures], [errno.EMFILE])

    def test_last_descriptors_are_left_by_unix(self) -> None:
        """So does one to a UNIX socket, at once."""
        connector = EagerUnixConnector("/nowhere", self.factory, None, self.reactor, 0)
        connector.most_descriptors = 0
        failure = self.assertRaises(OSError, connector.connect)
        self.assertEqual(failure.errno, errno.EMFILE)
