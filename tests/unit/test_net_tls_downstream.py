"""TLS towards the downstream: what decides about a handshake, and how it may fail."""

from __future__ import annotations

from tests.support.fake_sockets import FIN
from tests.support.tls_peers import TLS_1_2, TLS_1_3
from tests.support.tls_wire import ServerCase


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
