"""What passes through a relay: the first bytes, and all others both ways."""

from __future__ import annotations

from revproxy.model.configuration import Limits
from revproxy.wire.proxy_protocol import parse_proxy_header
from tests.support.fake_sockets import FakeConnection
from tests.support.playbook import Peer
from tests.support.relays import HELLO, RelayCase

SMALL = Limits(buffered_bytes=16384)


class FirstBytesTests(RelayCase):
    """What the backend gets first."""

    def test_split_at_every_byte(self) -> None:
        """A ClientHello reaches the backend whole and first, wherever it is split."""
        port = self.tls_port()
        for at in range(1, len(HELLO)):
            down = self.accept(port)
            down.says(HELLO[:at])
            self.assertEqual(self.relay_stage.attempts, [])
            down.says(HELLO[at:])
            up = self.relay_stage.upstream()
            self.assertEqual(up.heard(), HELLO)
            down.resets()

    def test_more_than_the_hello(self) -> None:
        """What comes with the ClientHello follows it, and what comes while connecting that."""
        down = self.accept(self.tls_port())
        down.says(HELLO + b"early", b" data")
        up = self.relay_stage.upstream()
        self.assertEqual(up.heard(), HELLO + b"early data")
        down.says(b" and more")
        self.assertEqual(up.heard(), b" and more")

    def test_held_while_connecting(self) -> None:
        """Of what comes while connecting no more is read than may be queued."""
        down = self.accept(self.stream_port(limits=SMALL))
        down.says(*[bytes(4096)] * 10)
        self.assertFalse(down.reading)
        self.assertEqual(len(down.wire.incoming), 6)
        up = self.relay_stage.upstream()
        self.assertEqual(len(up.heard()), 40960)

    def test_backend_speaks_first(self) -> None:
        """A stream connects at once: its backend may be the first to say something."""
        down, up = self.passing()
        up.says(b"220 ready\r\n")
        self.assertEqual(down.heard(), b"220 ready\r\n")

    def test_proxy_header(self) -> None:
        """The PROXY header goes before everything, at once, with both ends of the connection."""
        _, up = self.passing("v1")
        self.assertEqual(up.heard(), b"PROXY TCP4 192.0.2.1 192.0.2.9 50000 443\r\n")
        down, up = self.passing("v2")
        down.says(b"hello")
        heard = up.heard()
        header = parse_proxy_header(heard)
        assert header is not None and header.endpoints is not None
        self.assertEqual(str(header.endpoints.source), "192.0.2.1")
        self.assertEqual(heard[header.size :], b"hello")

    def test_proxy_header_before_a_hello(self) -> None:
        """Version 2 tells the name that was asked for, too; the ClientHello follows."""
        down = self.accept(self.tls_port("v2"))
        down.says(HELLO)
        heard = self.relay_stage.upstream().heard()
        header = parse_proxy_header(heard)
        assert header is not None
        self.assertIn(b"\x02\x00\x0bpassed.test", heard[: header.size])
        self.assertEqual(heard[header.size :], HELLO)

    def test_proxy_header_ipv6(self) -> None:
        """A downstream of IPv6 is told as one; the address of ours is written as IPv6 then."""
        self.accept(self.stream_port("v1"), "2001:db8::7")
        heard = self.relay_stage.upstream().heard()
        self.assertTrue(heard.startswith(b"PROXY TCP6 2001:db8::7 "), heard)

    def test_first_bytes_that_stick(self) -> None:
        """Where the backend takes only a part of the first bytes, it gets the rest, and more."""
        down = self.accept(self.stream_port())
        down.says(b"first")
        connector = self.relay_stage.attempts.pop()
        protocol = connector.factory.buildProtocol(None)
        connection = FakeConnection(self.relay_stage.reactor, protocol)
        connection.wire.room = 2
        connection.open()
        up = Peer(self.relay_stage.reactor, connection, opened=True)
        self.relay_stage.peers.append(up)
        down.says(b" and more")
        up.takes()
        self.assertEqual(up.heard(), b"first and more")


class BothWaysTests(RelayCase):
    """Bytes while both are there."""

    def test_both_ways(self) -> None:
        """Bytes of each side reach the other as they are, and are counted."""
        down, up = self.passing()
        down.says(b"GET \x00\xff", b"more")
        up.says(b"\x16\x03\x01", b"ok")
        self.assertEqual(up.heard(), b"GET \x00\xffmore")
        self.assertEqual(down.heard(), b"\x16\x03\x01ok")
        down.closes()
        up.closes()
        (told,) = self.told()
        self.assertEqual((told["bytes_in"], told["bytes_out"]), (10, 5))
        self.assertEqual((told["client_ip"], told["upstream"]), ("192.0.2.1", "10.0.0.1:443"))
        self.assertNotIn("cut", told)

    def test_name_is_told(self) -> None:
        """The record has the name that was asked for."""
        down = self.accept(self.tls_port())
        down.says(HELLO)
        up = self.relay_stage.upstream()
        down.closes()
        up.closes()
        self.assertEqual([told["sni"] for told in self.told()], ["passed.test"])

    def check_pressure(self, sender: Peer, taker: Peer) -> None:
        """``taker`` takes nothing for a while: ``sender`` is not read, nothing is lost."""
        taker.stalls()
        sender.says(*[bytes([n]) * 4096 for n in range(100)])
        self.assertFalse(sender.reading)
        self.assertLessEqual(taker.connection.unsent, SMALL.buffered_bytes + 4096)
        taker.takes(8192)
        self.assertFalse(sender.reading)
        taker.takes()
        self.assertTrue(sender.reading)
        expected = b"".join(bytes([n]) * 4096 for n in range(100))
        self.assertEqual(taker.heard(), expected)

    def test_slow_backend(self) -> None:
        """A downstream is not read while its backend takes nothing."""
        down, up = self.passing(limits=SMALL)
        self.check_pressure(down, up)

    def test_slow_downstream(self) -> None:
        """A backend is not read while its downstream takes nothing."""
        down, up = self.passing(limits=SMALL)
        self.check_pressure(up, down)

    def test_pressure_one_way(self) -> None:
        """While one way is blocked the other goes on."""
        down, up = self.passing(limits=SMALL)
        down.stalls()
        up.says(bytes(40000), b"x")
        down.says(b"still here")
        self.assertEqual(up.heard(), b"still here")
        self.assertFalse(up.reading)
