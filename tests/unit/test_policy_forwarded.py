"""Who the client is: the peer, or what trusted proxies say, and nothing else."""

from __future__ import annotations

from ipaddress import ip_address, ip_network

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from revproxy.model.configuration import IPNetwork
from revproxy.policy.forwarded import (
    Client,
    connection_key,
    is_trusted,
    normal_address,
    settle_forwarded,
    settle_peer,
)
from revproxy.policy.rate_limit import address_key

FUZZ = settings(deadline=None, derandomize=True, max_examples=400)

PROXY = "10.0.0.1"
TRUSTED: tuple[IPNetwork, ...] = (
    ip_network("10.0.0.0/8"),
    ip_network("2001:db8:ffff::/48"),
    ip_network("192.0.2.100/32"),
)


def key_of(text: str) -> int:
    return address_key(ip_address(text).packed)


def client_behind(chain: bytes, peer: str = PROXY) -> Client:
    """The client of an exchange whose peer says ``chain``."""
    return settle_forwarded(settle_peer(peer, b"https", TRUSTED), chain, b"https", TRUSTED)


class PeerTests(SynchronousTestCase):
    """What a connection's peer alone tells."""

    def test_edge(self) -> None:
        """The client is the peer, and the upstream is told so."""
        client = settle_peer("203.0.113.50", b"https", ())
        self.assertEqual(client.address, "203.0.113.50")
        self.assertEqual(client.key, key_of("203.0.113.50"))
        self.assertFalse(client.trusted)
        self.assertEqual(
            client.forwarding,
            b"X-Real-IP: 203.0.113.50\r\n"
            b"X-Forwarded-For: 203.0.113.50\r\n"
            b"X-Forwarded-Proto: https\r\n",
        )

    def test_scheme(self) -> None:
        """The plain port says http."""
        client = settle_peer("203.0.113.50", b"http", ())
        self.assertIn(b"X-Forwarded-Proto: http\r\n", client.forwarding)

    def test_normal_addresses(self) -> None:
        """IPv4-mapped addresses are IPv4, zones are dropped, IPv6 is canonical."""
        table = {
            "::ffff:203.0.113.50": "203.0.113.50",
            "::FFFF:cb00:7132": "203.0.113.50",
            "2001:DB8:0:0::1": "2001:db8::1",
            "fe80::1%eth0": "fe80::1",
            "::ffff:203.0.113.50%1": "203.0.113.50",
        }
        for peer, address in table.items():
            self.assertEqual(settle_peer(peer, b"http", ()).address, address)
            self.assertEqual(str(normal_address(peer)), address)
            self.assertEqual(connection_key(peer), key_of(address))

    def test_no_address(self) -> None:
        """A peer without an address counts as 0.0.0.0, and all of them as one."""
        for peer in ("", "/run/a.sock", "unix:", "host.test"):
            self.assertEqual(settle_peer(peer, b"http", TRUSTED).address, "0.0.0.0")
            self.assertEqual(connection_key(peer), key_of("0.0.0.0"))
            self.assertRaises(ValueError, normal_address, peer)

    def test_trusted(self) -> None:
        """Trusted is who lies in a trusted network, by either notation of an IPv4 address."""
        inside = ("10.0.0.0", "10.255.255.255", "::ffff:10.1.2.3", "192.0.2.100")
        for peer in (*inside, "2001:db8:ffff::1", "2001:db8:ffff::1%eth0"):
            self.assertTrue(settle_peer(peer, b"http", TRUSTED).trusted, peer)
            self.assertFalse(settle_peer(peer, b"http", ()).trusted, peer)
        for peer in ("11.0.0.0", "192.0.2.101", "2001:db8:fffe::1", "::10.0.0.1", "::1", ""):
            self.assertFalse(settle_peer(peer, b"http", TRUSTED).trusted, peer)
        self.assertFalse(is_trusted(ip_address("::1"), (ip_network("0.0.0.0/0"),)))


class ChainTests(SynchronousTestCase):
    """X-Forwarded-For from a trusted proxy."""

    def test_from_the_right(self) -> None:
        """The client is the right-most address that is not trusted itself."""
        table = {
            b"203.0.113.50": "203.0.113.50",
            b"1.1.1.1, 203.0.113.50": "203.0.113.50",
            b"1.1.1.1,203.0.113.50": "203.0.113.50",
            b"1.1.1.1, 203.0.113.50, 10.0.0.2": "203.0.113.50",
            b"1.1.1.1, 203.0.113.50, 192.0.2.100, 10.9.9.9": "203.0.113.50",
            b"1.1.1.1\t,\t 203.0.113.50 \t": "203.0.113.50",
            b"10.0.0.9, 203.0.113.50": "203.0.113.50",
            b"garbage, 203.0.113.50": "203.0.113.50",
            b"2001:db8::7, 2001:db8:ffff::2": "2001:db8::7",
        }
        for chain, address in table.items():
            client = client_behind(chain)
            self.assertEqual(client.address, address, chain)
            self.assertEqual(client.key, key_of(address), chain)
            self.assertTrue(client.trusted)

    def test_all_trusted(self) -> None:
        """Where everybody is trusted, the left-most one is the client."""
        self.assertEqual(client_behind(b"10.0.0.3, 10.0.0.2").address, "10.0.0.3")
        self.assertEqual(client_behind(b"10.0.0.3").address, "10.0.0.3")

    def test_no_chain(self) -> None:
        """Without a chain the trusted peer itself is the client."""
        client = client_behind(b"")
        self.assertEqual(client.address, PROXY)
        self.assertIn(b"X-Forwarded-For: 10.0.0.1\r\n", client.forwarding)

    def test_appended(self) -> None:
        """The upstream gets the chain with the peer at its end, and the client as X-Real-IP."""
        client = client_behind(b"spoofed, 203.0.113.50, 10.0.0.2")
        self.assertEqual(
            client.forwarding,
            b"X-Real-IP: 203.0.113.50\r\n"
            b"X-Forwarded-For: spoofed, 203.0.113.50, 10.0.0.2, 10.0.0.1\r\n"
            b"X-Forwarded-Proto: https\r\n",
        )

    def test_notations(self) -> None:
        """Ports, brackets, zones and mapped addresses, as some proxies write them, are read."""
        table = {
            b"203.0.113.50:4711": "203.0.113.50",
            b"[2001:db8::7]": "2001:db8::7",
            b"[2001:db8::7]:4711": "2001:db8::7",
            b"2001:DB8:0::7": "2001:db8::7",
            b"fe80::1%eth0": "fe80::1",
            b"::ffff:203.0.113.50": "203.0.113.50",
            b"[::ffff:203.0.113.50]:1": "203.0.113.50",
            b"1.1.1.1, ::ffff:10.0.0.2": "1.1.1.1",
            b"1.1.1.1, 10.0.0.2:80": "1.1.1.1",
            b"1.1.1.1, [2001:db8:ffff::2]:80": "1.1.1.1",
        }
        for chain, address in table.items():
            self.assertEqual(client_behind(chain).address, address, chain)

    def test_broken_chain(self) -> None:
        """Behind an element that is no address nothing is believed."""
        elements = (b"", b" ", b"unknown", b"_hidden", b"1.2.3", b"1.2.3.4.5", b"256.1.1.1", b"1")
        odd = (b"01.2.3.4", b"1.2.3.4 5.6.7.8", b"\xe9", b"\xd9\xa1.1.1.1", b"[", b"[]", b"::1::")
        more = (b"1:2", b'"1.2.3.4"', b"for=1.2.3.4", b"1.2.3.4;", b"1.2.3.4/32", b"%eth0", b":80")
        for element in (*elements, *odd, *more, b"0x7f.1.1.1", b"2130706433", b"localhost"):
            self.assertEqual(client_behind(b"1.1.1.1, " + element).address, PROXY, element)
            chain = b"1.1.1.1, %b, 10.0.0.2" % element
            self.assertEqual(client_behind(chain).address, "10.0.0.2", element)
            chain = b"1.1.1.1, %b, 203.0.113.50" % element
            self.assertEqual(client_behind(chain).address, "203.0.113.50", element)

    def test_long_chain(self) -> None:
        """A chain as long as a head may be is read to its end."""
        self.assertEqual(client_behind(b"1.1.1.1" + b",10.0.0.2" * 3000).address, "1.1.1.1")
        self.assertEqual(client_behind(b"," * 30_000).address, PROXY)

    @FUZZ
    @given(
        st.lists(
            st.one_of(
                st.ip_addresses().map(str),
                st.sampled_from(
                    ["10.0.0.2", "", " ", "[::1]:80", "1.1.1.1:80", "unknown", "%", "["]
                ),
                st.text("0123456789.:[]% ,af", max_size=10),
                st.binary(max_size=5).map(lambda raw: raw.decode("latin-1")),
            ),
            max_size=5,
        )
    )
    def test_any_chain(self, elements: list[str]) -> None:
        """Any chain gives an address; what stands left of an untrusted one changes nothing."""
        chain = ", ".join(elements).encode("latin-1")
        address = client_behind(chain).address
        self.assertEqual(str(normal_address(address)), address)
        if address == PROXY or is_trusted(ip_address(address), TRUSTED):
            return
        for spoofed in (b"1.1.1.1, ", b"10.0.0.2, ", b"unknown, ", b", "):
            self.assertEqual(client_behind(spoofed + chain).address, address)
