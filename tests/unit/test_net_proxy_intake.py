"""PROXY headers of accepted connections: who must send one, and what they change."""

from __future__ import annotations

from ipaddress import ip_network

from revproxy.model.configuration import Timeouts
from revproxy.policy.rate_limit import TokenBuckets
from tests.support.accepted import AcceptedConnection
from tests.support.fake_sockets import FIN
from tests.support.intakes import CLIENT, HELLO, LOCAL, STRANGER, UNKNOWN, IntakeCase, header
from tests.support.playbook import GET, Peer, own


class SenderTests(IntakeCase):
    """Connections from a listed network."""

    def test_split_at_every_byte(self) -> None:
        """The header is found wherever it is split, and the request after it."""
        port = self.port()
        for version in (1, 2):
            whole = header(version=version) + GET
            for at in range(1, len(whole)):
                down = self.accept(port)
                down.says(whole[:at], whole[at:])
                self.assertIn(b"X-Real-IP: 203.0.113.50\r\n", self.served(down))

    def test_address(self) -> None:
        """Its address is what is told upstream, and logged, and listed."""
        for client in (CLIENT, "2001:db8:7::8"):
            for version in (1, 2):
                down = self.accept(self.port())
                down.says(header(client, version), GET)
                self.assertEqual(down.connection.protocol.summary().client, client)
                heard = self.served(down)
                self.assertIn(b"X-Forwarded-For: %b\r\n" % client.encode(), heard)
                self.assertIn(b"X-Real-IP: %b\r\n" % client.encode(), heard)
                self.assertEqual(self.intake_stage.log.requests[0]["client_ip"], client)
                self.assertEqual(down.connection.getPeer().host, client)
                self.assertEqual(down.connection.getPeer().port, 51000)

    def test_mapped(self) -> None:
        """An IPv4-mapped sender is one of IPv4, and an IPv4-mapped client too."""
        down = self.accept(self.port(), "::ffff:192.0.2.7")
        down.says(b"PROXY TCP6 ::ffff:203.0.113.50 ::ffff:192.0.2.9 51000 443\r\n" + GET)
        self.assertIn(b"X-Real-IP: 203.0.113.50\r\n", self.served(down))

    def test_rate_limit(self) -> None:
        """Its address is whose requests are limited."""
        port = self.port()
        stage = self.intake_stage
        stage.port.router.plan = stage.plan(limiter=TokenBuckets(0.01, 1))
        for client in (CLIENT, "203.0.113.51"):
            down = self.accept(port)
            down.says(header(client) + GET)
            self.served(down)
            again = self.accept(port)
            again.says(header(client) + GET)
            self.assertTrue(again.heard().startswith(b"HTTP/1.1 429 "))

    def test_own_connections(self) -> None:
        """LOCAL and UNKNOWN are the sender's own: its address, and not limited in number."""
        port = self.port(most_per_key=1)
        for first in (LOCAL, UNKNOWN) * 3:
            down = self.accept(port)
            down.says(first + GET)
            self.assertIn(b"X-Real-IP: 192.0.2.1\r\n", self.served(down))
        self.assertEqual(self.intake_stage.port.connections.total, 6)

    def test_second_header(self) -> None:
        """Only the first header is one: another is what a request begins with, and refused."""
        down = self.accept(self.port())
        down.says(header() + header("203.0.113.51") + GET)
        self.assertTrue(down.heard().startswith(b"HTTP/1.1 400 "))
        self.assertEqual(self.intake_stage.log.requests[0]["client_ip"], CLIENT)

    def test_tls(self) -> None:
        """On a TLS port a ClientHello follows, in the same read or not."""
        for pieces in ((header() + HELLO,), (header(), HELLO), (header() + HELLO[:9], HELLO[9:])):
            down = self.accept(self.tls_port())
            down.says(*pieces)
            self.assertEqual(down.heard()[:1], b"\x15")
            (refused,) = self.records("TLS_REFUSED")
            self.assertEqual(refused["client_ip"], CLIENT)
            self.assertEqual(refused["server_name"], "x.test")


class RefusalTests(IntakeCase):
    """Connections that have no valid header."""

    def check_refused(self, down: Peer, reason: str) -> None:
        """It has been closed without an answer, which was told once."""
        self.assertIsNotNone(down.ended)
        self.assertEqual(down.heard(), b"")
        told = self.records("PROXY_REFUSED")
        self.assertEqual(told, [{"client_ip": "192.0.2.1", "error": reason}])

    def test_no_header_in_time(self) -> None:
        """Without a whole header in proxy_header_secs it is closed, however it trickles in."""
        for make in (self.port, self.tls_port):
            down = self.accept(make())
            for byte in b"PROXY TCP4 ":
                self.intake_stage.wait(0.25)
                down.says(bytes([byte]))
            self.assertIsNone(down.ended)
            self.intake_stage.wait(1.5)
            self.check_refused(down, "no proxy header in time")

    def test_own_limit(self) -> None:
        """The limit is the configured one."""
        down = self.accept(self.port(timeouts=Timeouts(proxy_header_secs=10)))
        self.intake_stage.wait(9)
        self.assertIsNone(down.ended)
        self.intake_stage.wait(2)
        self.check_refused(down, "no proxy header in time")

    def test_junk(self) -> None:
        """What is no header is refused at its first wrong byte: nothing is served without."""
        for junk in (GET, HELLO, b"PROXY TCP5 ::1\r\n", b"\r\n\r\n\0\r\nQUIX"):
            down = self.accept(self.port())
            down.says(junk)
            self.assertEqual(down.ended, "aborted")
            self.assertEqual(len(self.records("PROXY_REFUSED")), 1)
            self.assertEqual(self.intake_stage.attempts, [])

    def test_cut_short(self) -> None:
        """A header that is cut short is refused."""
        for end in (FIN, ConnectionResetError(104, "reset")):
            down = self.accept(self.port())
            down.says(header()[:-1])
            down.says(end)  # type: ignore[arg-type]
            self.check_refused(down, "cut short")

    def test_knock(self) -> None:
        """Who connects and leaves, to see whether the port is there, is not told of."""
        down = self.accept(self.port())
        down.says(FIN)
        self.assertEqual(self.records("PROXY_REFUSED"), [])

    def test_others(self) -> None:
        """From others a header is none: 400, in plain, on either port."""
        down = self.accept(self.port(), STRANGER)
        down.says(header() + GET)
        self.assertEqual(down.heard(), own(b"400 Bad Request", close=True))
        down = self.accept(self.tls_port(), STRANGER)
        down.says(header() + HELLO)
        self.assertTrue(down.heard().startswith(b"HTTP/1.1 400 "))
        self.assertEqual(self.records("TLS_REFUSED")[0]["client_ip"], STRANGER)

    def test_others_version_2(self) -> None:
        """Likewise one of version 2: there is no answer that its sender would understand."""
        down = self.accept(self.port(), STRANGER)
        down.says(header(version=2) + GET)
        self.assertTrue(down.heard().startswith(b"HTTP/1.1 400 "))
        down = self.accept(self.tls_port(), STRANGER)
        down.says(header(version=2) + HELLO)
        self.assertEqual((down.heard(), down.ended), (b"", "closed"))

    def test_others_without(self) -> None:
        """From others a request without header is served."""
        down = self.accept(self.port(), STRANGER)
        down.says(GET)
        self.assertIn(b"X-Real-IP: 198.51.100.1\r\n", self.served(down))


class LifeTests(IntakeCase):
    """A connection whose header has not come yet, for the control plane."""

    def test_states(self) -> None:
        """It is told as such, is not busy, and gives no way."""
        down = self.accept(self.port())
        intake = down.connection.protocol
        summary = intake.summary()
        self.assertEqual((summary.client, summary.state), ("192.0.2.1", "proxy header"))
        self.assertEqual((intake.busy, intake.give_way(), intake.upgraded), (False, False, 0))
        intake.drain()
        self.assertIsNone(down.ended)
        intake.cut()
        self.intake_stage.wait(1)
        self.assertEqual(down.ended, "aborted")

    def test_senders_change(self) -> None:
        """Other networks count for connections to come; one that is open stays what it is."""
        port = self.port()
        before = self.accept(port)
        port.senders = (ip_network("198.51.100.0/24"),)
        after = self.accept(port, STRANGER)
        plain = self.accept(port)
        for down, said in ((before, header()), (after, header()), (plain, b"")):
            down.says(said + GET)
            self.served(down)
        clients = [request["client_ip"] for request in self.intake_stage.log.requests]
        self.assertEqual(clients, [CLIENT, CLIENT, "192.0.2.1"])

    def test_ipv6_sender(self) -> None:
        """A sender of IPv6 tells of clients of either version."""
        port = self.port()
        for client in (CLIENT, "2001:db8:7::8"):
            down = self.accept(port, "2001:db8:5::1")
            self.assertIsInstance(down.connection, AcceptedConnection)
            down.says(header(client) + GET)
            self.assertIn(b"X-Real-IP: %b\r\n" % client.encode(), self.served(down))
