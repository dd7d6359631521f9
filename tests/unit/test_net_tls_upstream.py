"""TLS towards an upstream: verified, or there is no connection."""

from __future__ import annotations

import ssl
from typing import Any

from revproxy.errors import ProxyError
from revproxy.net.tls_upstream import ClientTls
from tests.support.fake_sockets import FIN
from tests.support.tls_peers import TLS_1_2, TLS_1_3
from tests.support.tls_wire import FarEnd, TlsCase, server_context, trusting_context


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


class HalfCloseTests(ClientCase):
    """Our sending side is closed, and the upstream goes on."""

    def half_closed(self, version: ssl.TLSVersion) -> None:
        """A connection that is closed for writing."""
        self.setUp()
        context = trusting_context()
        context.maximum_version = version
        self.begin(context=context)
        self.shake()
        self.layer.write(b"last words")
        self.layer.loseWriteConnection()
        self.reactor.run()
        self.assertEqual(self.connection.wire.events, ["shutdown 1"])
        self.assertEqual(self.heard(), b"last words")

    def test_read_on(self) -> None:
        """What it says after that arrives, in pieces of any size, and then its end in order."""
        for version in (TLS_1_2, TLS_1_3):
            for step in (1, 1 << 20):
                self.half_closed(version)
                sent = self.encrypted(b"good", b"bye") + self.close_notify()
                self.to_layer(*(sent[at : at + step] for at in range(0, len(sent), step)))
                self.assertEqual(bytes(self.upper.received), b"goodbye")
                self.assertEqual(self.upper.events, ["connected", "read closed, cut: False"])
                self.assertIsNone(self.connection.ended)
                self.layer.loseConnection()
                self.reactor.run()
                self.assertEqual(self.connection.ended, "closed")

    def test_record_under_way(self) -> None:
        """A record of which a part had come before is read when the rest comes."""
        for version in (TLS_1_2, TLS_1_3):
            for part in (1, 5, 10):
                self.setUp()
                context = trusting_context()
                context.maximum_version = version
                self.begin(context=context)
                self.shake()
                record = self.encrypted(b"goodbye")
                self.to_layer(record[:part])
                self.layer.loseWriteConnection()
                self.to_layer(record[part:])
                self.assertEqual(bytes(self.upper.received), b"goodbye")
                self.assertIsNone(self.connection.ended)

    def test_cut(self) -> None:
        """A FIN without close_notify is still told as a cut."""
        self.half_closed(TLS_1_3)
        self.to_layer(self.encrypted(b"good"), FIN)
        self.assertEqual(bytes(self.upper.received), b"good")
        self.assertEqual(self.upper.events, ["connected", "read closed, cut: True"])

    def test_nothing_more_is_sent(self) -> None:
        """Nothing is written any more."""
        self.half_closed(TLS_1_3)
        self.layer.write(b"more")
        self.assertEqual(self.heard(), b"")

    def test_end_before(self) -> None:
        """After the upstream's own end nothing is read."""
        self.begin()
        self.shake()
        self.to_layer(self.close_notify())
        self.layer.loseWriteConnection()
        self.to_layer(b"whatever")
        self.assertEqual(bytes(self.upper.received), b"")
