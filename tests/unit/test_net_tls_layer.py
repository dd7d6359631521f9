"""The TLS layer, both sides: real handshakes over fake sockets."""

from __future__ import annotations

import socket
import ssl
from typing import Any

from twisted.internet.interfaces import IHalfCloseableProtocol
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import implementer

from revproxy.errors import ProxyError
from revproxy.model.configuration import Timeouts
from revproxy.model.tls import UNRECOGNIZED_NAME, Alert, ClientHello, Identity
from revproxy.net.tls_downstream import ServerTls
from revproxy.net.tls_layer import WRITE_BYTES, TlsLayer
from revproxy.net.tls_upstream import ClientTls
from tests.support.certificates import authority
from tests.support.playbook import FIN, CountingDeadlines, FakeConnection, FakeReactor
from tests.support.tls_peers import TLS_1_2, TLS_1_3, client_context

HELLO_BYTES = 16384


def server_context(*names: str) -> ssl.SSLContext:
    """A context that serves a certificate for ``names``."""
    pair = authority().pair(*names)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(pair.cert_path, pair.key_path, password="")
    return context


def trusting_context() -> ssl.SSLContext:
    """A client's context that verifies against the tests' authority."""
    return ssl.create_default_context(cafile=authority().ca_path)


@implementer(IHalfCloseableProtocol)
class RecordingUpper:
    """What speaks through the layer: keeps what it was told."""

    def __init__(self) -> None:
        self.events: list[str] = []
        self.received = bytearray()
        self.reads = 0
        self.transport: Any = None
        self.answer = b""

    def makeConnection(self, transport: Any) -> None:
        self.transport = transport
        self.events.append("connected")
        if self.answer:
            transport.write(self.answer)

    def dataReceived(self, data: bytes) -> None:
        self.reads += 1
        self.received += data

    def readConnectionLost(self) -> None:
        self.events.append(f"read closed, cut: {self.transport.read_cut}")

    def connectionLost(self, reason: Any) -> None:
        self.events.append("lost")


class FarEnd:
    """The other side of a connection: OpenSSL by itself, in memory.

    Attributes:
        tls: its side of the handshake.
        incoming: what it will read.
        outgoing: what it has written and not sent.
    """

    def __init__(self, context: ssl.SSLContext, *, server: bool, name: str | None = None) -> None:
        self.incoming, self.outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self.tls = context.wrap_bio(
            self.incoming, self.outgoing, server_side=server, server_hostname=name
        )

    def handshake(self) -> bool:
        """Go on; returns whether it is complete."""
        try:
            self.tls.do_handshake()
        except ssl.SSLWantReadError:
            return False
        return True

    def plaintext(self) -> bytes:
        """Everything that can be read."""
        pieces = []
        try:
            while piece := self.tls.read(65536):
                pieces.append(piece)
        except ssl.SSLWantReadError:
            pass
        return b"".join(pieces)


class TlsCase(SynchronousTestCase):
    """A layer on a fake socket, and OpenSSL as its peer."""

    layer: TlsLayer
    connection: FakeConnection
    far: FarEnd

    def setUp(self) -> None:
        self.reactor = FakeReactor()
        self.deadlines = CountingDeadlines(self.reactor)
        self.deadlines.start()
        self.upper = RecordingUpper()

    def connect(self, layer: TlsLayer, far: FarEnd) -> None:
        """The TCP connection is there."""
        self.layer = layer
        self.far = far
        self.connection = FakeConnection(self.reactor, layer)
        self.connection.open()

    def to_layer(self, *pieces: bytes) -> None:
        """Bytes from the peer, each piece read by itself."""
        self.connection.wire.incoming.extend(pieces)
        self.reactor.run()

    def to_far(self) -> None:
        """Let the peer have what was sent to it."""
        self.far.incoming.write(bytes(self.connection.wire.sent))
        self.connection.wire.sent.clear()

    def shake(self, step: int = 1 << 20) -> None:
        """Drive the handshake to its end, ``step`` bytes a read."""
        done = False
        for _ in range(10):
            self.to_far()
            done = done or self.far.handshake()
            flight = self.far.outgoing.read()
            self.to_layer(*[flight[at : at + step] for at in range(0, len(flight), step)])
            if done and not flight:
                return
        raise AssertionError("the handshake does not end")

    def encrypted(self, *contents: bytes) -> bytes:
        """A record of the peer's for each of ``contents``."""
        for content in contents:
            self.far.tls.write(content)
        return self.far.outgoing.read()

    def heard(self) -> bytes:
        """The plaintext that the peer has got."""
        self.to_far()
        return self.far.plaintext()

    def close_notify(self) -> bytes:
        """The peer's close_notify."""
        try:
            self.far.tls.unwrap()
        except ssl.SSLWantReadError:
            pass
        return self.far.outgoing.read()


class Identities:
    """Chooses: serves ``a.test``, refuses every other name; keeps the hellos."""

    def __init__(self) -> None:
        context = server_context("a.test")
        self.identity = Identity(context, frozenset({"a.test"}), frozenset())
        self.hellos: list[ClientHello] = []

    def __call__(self, hello: ClientHello) -> Identity | Alert:
        self.hellos.append(hello)
        if hello.server_name == "a.test":
            return self.identity
        return Alert(UNRECOGNIZED_NAME, "no certificate for the name")


class ServerCase(TlsCase):
    def setUp(self) -> None:
        super().setUp()
        self.choose = Identities()
        self.refusals: list[tuple[str, str]] = []

    def begin(self, version: ssl.TLSVersion = TLS_1_3, name: str | None = "a.test") -> ServerTls:
        """A downstream has connected, and its ClientHello is ready in ``far``."""
        tls = ServerTls(
            self.choose,
            lambda _: self.upper,
            lambda _, level, reason: self.refusals.append((level, reason)),
            self.deadlines,
            Timeouts(),
            HELLO_BYTES,
        )
        self.connect(tls, FarEnd(client_context(version), server=False, name=name))
        return tls

    def established(self, version: ssl.TLSVersion = TLS_1_3) -> None:
        """The handshake is done."""
        self.begin(version)
        self.shake()
        self.assertEqual(self.upper.events, ["connected"])


class HandshakeTests(ServerCase):
    def test_versions(self) -> None:
        """Both versions shake hands, and the hello decided about the certificate."""
        for version in (TLS_1_2, TLS_1_3):
            self.setUp()
            tls = self.begin(version)
            self.shake()
            self.assertEqual(self.upper.events, ["connected"])
            self.assertEqual([hello.server_name for hello in self.choose.hellos], ["a.test"])
            self.assertIs(tls.identity, self.choose.identity)
            self.assertEqual(self.deadlines.watching, set())
            self.assertEqual(self.refusals, [])

    def test_byte_by_byte(self) -> None:
        """A handshake that comes byte by byte is one all the same."""
        for version in (TLS_1_2, TLS_1_3):
            self.setUp()
            self.begin(version)
            self.shake(step=1)
            self.assertEqual(self.upper.events, ["connected"])
            self.assertEqual(len(self.choose.hellos), 1)

    def test_request_with_last_flight(self) -> None:
        """What comes in the same read as the end of the handshake is delivered."""
        self.begin()
        self.far.handshake()
        self.to_layer(self.far.outgoing.read())
        self.to_far()
        self.assertTrue(self.far.handshake())
        self.far.tls.write(b"hello")
        self.to_layer(self.far.outgoing.read())
        self.assertEqual(bytes(self.upper.received), b"hello")

    def test_upper_speaks_first(self) -> None:
        """What the upper protocol says at once follows the handshake's last bytes."""
        for version in (TLS_1_2, TLS_1_3):
            self.setUp()
            self.upper.answer = b"welcome"
            self.begin(version)
            self.shake()
            self.assertEqual(self.heard(), b"welcome")

    def test_unknown_name(self) -> None:
        """A name that nobody serves is refused by the alert chosen, before any handshake."""
        for name in ("b.test", None):
            self.setUp()
            self.begin(name=name)
            self.far.handshake()
            self.to_layer(self.far.outgoing.read())
            self.assertEqual(bytes(self.connection.wire.sent), b"\x15\x03\x03\x00\x02\x02\x70")
            self.assertEqual(self.refusals, [("warn", "no certificate for the name")])
            self.assertEqual(self.connection.ended, "closed")
            self.assertEqual(self.deadlines.watching, set())

    def test_plain_http(self) -> None:
        """A plain HTTP request gets a plain 400, whatever its bytes are split into."""
        self.begin()
        self.to_layer(b"G", b"ET / HTTP/1.1\r\nHost: a.test\r\n\r\n")
        self.assertTrue(bytes(self.connection.wire.sent).startswith(b"HTTP/1.1 400 Bad Request"))
        self.assertEqual(self.refusals, [("info", "no tls on the tls port")])
        self.assertEqual(self.connection.ended, "closed")

    def test_noise(self) -> None:
        """Bytes that are neither TLS nor HTTP get no answer."""
        self.begin()
        self.to_layer(b"\x00\x01\x02\x03\x04\x05")
        self.assertEqual(bytes(self.connection.wire.sent), b"")
        self.assertEqual(self.connection.ended, "closed")
        self.assertEqual(len(self.refusals), 1)

    def test_invalid_hello(self) -> None:
        """A first record that holds no ClientHello is refused by an alert."""
        self.begin()
        self.to_layer(b"\x16\x03\x01\x00\x04\x02\x00\x00\x00")
        self.assertEqual(bytes(self.connection.wire.sent)[:6], b"\x15\x03\x03\x00\x02\x02")
        self.assertEqual([level for level, _ in self.refusals], ["info"])

    def test_broken_handshake(self) -> None:
        """Noise after the hello ends the handshake by OpenSSL's own alert, and is told once."""
        self.begin()
        self.far.handshake()
        self.to_layer(self.far.outgoing.read())
        self.connection.wire.sent.clear()
        self.to_layer(b"\x17\x03\x03\x00\x20" + bytes(32), b"more")
        self.assertEqual(self.connection.ended, "closed")
        self.assertTrue(bytes(self.connection.wire.sent))
        self.assertEqual(len(self.refusals), 1)
        self.assertTrue(self.refusals[0][1].startswith("tls: "))
        self.assertEqual(self.upper.events, [])

    def test_lost_in_handshake(self) -> None:
        """A downstream that leaves in the handshake is closed, and nothing stays watched."""
        for end in (FIN, ConnectionResetError(104, "reset")):
            for flights in (0, 1):
                self.setUp()
                self.begin()
                self.far.handshake()
                if flights:
                    self.to_layer(self.far.outgoing.read())
                self.to_layer(end)  # type: ignore[arg-type]
                self.assertEqual(self.connection.ended, "closed")
                self.assertEqual(self.deadlines.watching, set())
                self.assertEqual(self.upper.events, [])

    def test_no_hello_in_time(self) -> None:
        """Without a whole ClientHello in client_hello_secs the connection is cut."""
        self.begin()
        self.far.handshake()
        self.to_layer(self.far.outgoing.read()[:-1])
        self.reactor.pump([0.5] * 9)
        self.assertIsNone(self.connection.ended)
        self.reactor.pump([0.5] * 3)
        self.assertEqual(self.connection.ended, "aborted")
        self.assertEqual(self.refusals, [("debug", "handshake timeout")])
        self.assertEqual(self.deadlines.watching, set())

    def test_no_end_in_time(self) -> None:
        """A handshake that does not end in tls_handshake_secs from accept is cut."""
        self.begin()
        self.far.handshake()
        self.reactor.pump([0.5] * 8)
        self.to_layer(self.far.outgoing.read())
        self.reactor.pump([0.5] * 11)
        self.assertIsNone(self.connection.ended)
        self.reactor.pump([0.5] * 3)
        self.assertEqual(self.connection.ended, "aborted")
        self.assertEqual(self.deadlines.watching, set())

    def test_long_hello(self) -> None:
        """A ClientHello above its limit is refused before it is complete."""
        self.begin()
        record = b"\x16\x03\x01\x40\x00"
        self.to_layer(record + b"\x01\x00\xf0\x00" + bytes(16380), record + bytes(100))
        self.assertEqual(self.connection.ended, "closed")
        self.assertEqual(len(self.refusals), 1)


class RecordTests(ServerCase):
    def test_one_record(self) -> None:
        """One record is one piece of plaintext, and the answer leaves in one send."""
        self.established()
        self.to_layer(self.encrypted(b"hello"))
        self.assertEqual((bytes(self.upper.received), self.upper.reads), (b"hello", 1))
        sends = len(self.connection.wire.sends)
        self.layer.write(b"answer")
        self.assertEqual(len(self.connection.wire.sends), sends + 1)
        self.assertEqual(self.heard(), b"answer")

    def test_many_records(self) -> None:
        """Many records in one read are one piece of plaintext."""
        self.established()
        contents = [b"%d," % number for number in range(100)] + [b"x" * 16384] * 3
        self.to_layer(self.encrypted(*contents))
        self.assertEqual((bytes(self.upper.received), self.upper.reads), (b"".join(contents), 1))

    def test_split_at_every_byte(self) -> None:
        """Where the bytes of two records are split makes no difference."""
        for version in (TLS_1_2, TLS_1_3):
            self.setUp()
            self.established(version)
            length = len(self.encrypted(b"hello", b"world"))
            self.setUp()
            self.established(version)
            for at in range(1, length):
                stream = self.encrypted(b"hello", b"world")
                self.upper.received.clear()
                self.to_layer(stream[:at], stream[at:])
                self.assertEqual(bytes(self.upper.received), b"helloworld")

    def test_long_writes(self) -> None:
        """Writes of any length arrive whole."""
        self.established()
        for length in (1, WRITE_BYTES - 1, WRITE_BYTES, WRITE_BYTES + 1, 5 * WRITE_BYTES + 17):
            content = bytes(length)
            self.layer.write(content)
            self.assertEqual(self.heard(), content)

    def test_broken_record(self) -> None:
        """A record that does not verify cuts the connection; what came before it counts."""
        self.established()
        good = self.encrypted(b"good")
        bad = bytearray(self.encrypted(b"bad"))
        bad[-1] ^= 1
        self.to_layer(good + bytes(bad))
        self.assertEqual(bytes(self.upper.received), b"good")
        self.assertEqual(self.connection.ended, "aborted")
        self.assertEqual(self.upper.events, ["connected", "lost"])

    def test_back_pressure(self) -> None:
        """Pausing and the figures of the queue are the TCP transport's."""
        self.established()
        self.layer.pauseProducing()
        self.assertEqual(self.reactor.readers, set())
        self.layer.resumeProducing()
        self.assertEqual(self.reactor.readers, {self.connection})
        self.connection.wire.room = 0
        taken = self.layer.taken
        self.layer.write(b"hello")
        self.assertGreater(self.layer.unsent, 5)
        self.assertEqual(self.layer.taken, taken)


class CloseTests(ServerCase):
    def test_close_notify_of_peer(self) -> None:
        """A close_notify is an end in order, told once; writing goes on."""
        for version in (TLS_1_2, TLS_1_3):
            self.setUp()
            self.established(version)
            self.to_layer(self.encrypted(b"last") + self.close_notify(), FIN)
            self.assertEqual(bytes(self.upper.received), b"last")
            self.assertEqual(self.upper.events, ["connected", "read closed, cut: False"])
            self.layer.write(b"answer")
            self.assertTrue(self.connection.wire.sent)

    def test_bare_fin(self) -> None:
        """A FIN without close_notify may be a cut, and says so."""
        self.established()
        self.to_layer(self.encrypted(b"last"), FIN)
        self.assertEqual(bytes(self.upper.received), b"last")
        self.assertEqual(self.upper.events, ["connected", "read closed, cut: True"])

    def test_bytes_after_close_notify(self) -> None:
        """What a peer sends after its close_notify is thrown away and fills no memory."""
        self.established()
        self.to_layer(self.close_notify())
        for _ in range(100):
            self.to_layer(bytes(100_000))
        self.assertEqual(self.layer._incoming.pending, 0)
        self.assertEqual(bytes(self.upper.received), b"")
        self.assertEqual(self.upper.events, ["connected", "read closed, cut: False"])

    def test_not_resumed_after_close_notify(self) -> None:
        """After the peer's close_notify there is nothing to resume reading for."""
        self.established()
        self.to_layer(self.close_notify())
        self.layer.pauseProducing()
        self.layer.resumeProducing()
        self.assertEqual(self.reactor.readers, set())

    def test_our_close(self) -> None:
        """loseConnection sends a close_notify, then closes after the last byte."""
        self.established()
        self.connection.wire.room = 0
        self.layer.write(b"last")
        self.layer.loseConnection()
        self.layer.write(b"never")
        self.assertIsNone(self.connection.ended)
        self.connection.wire.room = None
        self.reactor.run()
        self.assertEqual(self.heard(), b"last")
        self.assertEqual(self.far.tls.read(10), b"")
        self.assertEqual(self.connection.ended, "closed")
        self.assertEqual(self.upper.events, ["connected", "lost"])

    def test_our_half_close(self) -> None:
        """After our half-close the upper protocol counts what still comes, undecrypted."""
        self.established()
        self.layer.loseWriteConnection()
        self.reactor.run()
        self.assertEqual(self.far_end_reads(), b"")
        self.assertEqual(self.connection.wire.events, [f"shutdown {socket.SHUT_WR}"])
        stream = self.encrypted(b"late")
        self.to_layer(stream)
        self.assertEqual(len(self.upper.received), len(stream))
        self.layer.loseConnection()
        self.reactor.run()
        self.assertEqual(self.connection.ended, "closed")

    def far_end_reads(self) -> bytes:
        """What the peer's next read returns; nothing is an end in order."""
        self.to_far()
        return self.far.tls.read(10)

    def test_abort(self) -> None:
        """An abort sends no close_notify: the peer sees a cut."""
        self.established()
        self.connection.wire.sent.clear()
        self.layer.abortConnection()
        self.layer.write(b"never")
        self.reactor.run()
        self.assertEqual(bytes(self.connection.wire.sent), b"")
        self.assertEqual(self.upper.events, ["connected", "lost"])

    def test_lost(self) -> None:
        """A reset reaches the upper protocol once, and nothing can be written any more."""
        self.established()
        self.to_layer(ConnectionResetError(104, "reset"))  # type: ignore[arg-type]
        self.layer.write(b"never")
        self.layer.loseConnection()
        self.layer.abortConnection()
        self.assertEqual(self.upper.events, ["connected", "lost"])


class ClientCase(TlsCase):
    def setUp(self) -> None:
        super().setUp()
        self.failures: list[str] = []

    def begin(self, *names: str, asked: str = "up.test", context: Any = None) -> None:
        """A connection to an upstream that has a certificate for ``names``."""

        def failed(error: ProxyError) -> None:
            self.failures.append(error.reason)
            self.assertEqual(error.status, 502)

        layer = ClientTls(self.upper, context or trusting_context(), asked, failed)
        self.connect(layer, FarEnd(server_context(*names or ("up.test",)), server=True))


class UpstreamTests(ClientCase):
    def test_handshake(self) -> None:
        """A verified upstream is handed to the upper protocol, and both can speak."""
        for step in (1, 1 << 20):
            self.setUp()
            self.begin()
            self.assertEqual(self.upper.events, [])
            self.shake(step)
            self.assertEqual(self.upper.events, ["connected"])
            self.layer.write(b"question")
            self.assertEqual(self.heard(), b"question")
            self.to_layer(self.encrypted(b"ans", b"wer"))
            self.assertEqual(bytes(self.upper.received), b"answer")
            self.assertEqual(self.failures, [])

    def refused(self) -> str:
        """The handshake fails; returns why."""
        with self.assertRaises((ssl.SSLError, AssertionError)):
            self.shake()
        self.reactor.run()
        self.assertEqual(self.upper.events, [])
        self.assertEqual(self.connection.ended, "aborted")
        return self.failures[0]

    def test_wrong_name(self) -> None:
        """A certificate for another name is refused, and the reason says so."""
        self.begin("other.test")
        reason = self.refused()
        self.assertTrue(reason.startswith("certificate verification failed: Hostname mismatch"))

    def test_address(self) -> None:
        """An upstream given by its address is verified against the addresses covered."""
        self.begin("192.0.2.7", asked="192.0.2.7")
        self.shake()
        self.assertEqual(self.upper.events, ["connected"])
        self.setUp()
        self.begin("192.0.2.7", asked="192.0.2.8")
        self.assertIn("IP address mismatch", self.refused())

    def test_unknown_authority(self) -> None:
        """A certificate of an authority that is not trusted is refused."""
        self.begin(context=ssl.create_default_context())
        self.assertTrue(self.refused().startswith("certificate verification failed: "))

    def test_lost_in_handshake(self) -> None:
        """An upstream that leaves in the handshake is a failure and not an end."""
        for end, reason in (
            (FIN, "connection closed in the tls handshake"),
            (ConnectionResetError(104, "reset"), "connection lost in the tls handshake"),
        ):
            self.setUp()
            self.begin()
            self.to_layer(end)  # type: ignore[arg-type]
            self.assertEqual(self.failures[0], reason)
            self.assertEqual(self.upper.events, [])

    def test_plaintext_before_handshake(self) -> None:
        """A response injected before the handshake is complete reaches nobody."""
        injected = b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil"
        for flights in (0, 1):
            self.setUp()
            context = trusting_context()
            context.maximum_version = TLS_1_2  # in 1.3 the first flight completes it
            self.begin(context=context)
            if flights:
                self.to_far()
                self.far.handshake()
                self.to_layer(self.far.outgoing.read())
            self.to_layer(injected)
            self.assertEqual((self.upper.events, bytes(self.upper.received)), ([], b""))
            self.assertEqual(self.connection.ended, "aborted")
            self.assertTrue(self.failures[0].startswith("tls: "))

    def test_plaintext_after_handshake(self) -> None:
        """A response injected after the handshake cuts the connection."""
        self.begin()
        self.shake()
        self.to_layer(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil")
        self.assertEqual(bytes(self.upper.received), b"")
        self.assertEqual(self.connection.ended, "aborted")
        self.assertEqual(self.upper.events, ["connected", "lost"])
        self.assertEqual(self.failures, [])
