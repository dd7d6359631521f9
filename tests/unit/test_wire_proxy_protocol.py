"""The PROXY protocol: headers read from bytes that come divided anyhow, and headers written."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address, ip_address

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from revproxy.wire.proxy_protocol import (
    MAX_NAME,
    MAX_V1_BYTES,
    MAX_V2_BLOCK,
    SIGNATURE,
    Endpoints,
    ProxyHeader,
    ProxyHeaderError,
    parse_proxy_header,
    proxy_header_v1,
    proxy_header_v2,
)

FUZZ = settings(deadline=None, derandomize=True, max_examples=500)

FOLLOWING = b"GET / HTTP/1.1\r\nHost: 192.168.0.11\r\n\r\n"
"""What follows the header in the specification's example."""

V4 = Endpoints(ip_address("192.168.0.1"), 56324, ip_address("192.168.0.11"), 443)
V6 = Endpoints(ip_address("2001:db8::1"), 65535, ip_address("2001:db8::2"), 0)

ADDRESSES_V4 = bytes((192, 168, 0, 1, 192, 168, 0, 11)) + b"\xdc\x04\x01\xbb"
ADDRESSES_V6 = V6.source.packed + V6.destination.packed + b"\xff\xff\0\0"


def vector(kind: int, value: bytes) -> bytes:
    """A type-length-value vector."""
    return bytes((kind,)) + len(value).to_bytes(2, "big") + value


def v2(
    block: bytes = ADDRESSES_V4,
    *,
    command: int = 0x21,
    kind: int = 0x11,
    length: int | None = None,
    signature: bytes = SIGNATURE,
) -> bytes:
    """A header of version 2; each argument breaks one thing about it."""
    size = len(block) if length is None else length
    return signature + bytes((command, kind)) + size.to_bytes(2, "big") + block


def line(rest: bytes) -> bytes:
    """A line of version 1."""
    return b"PROXY " + rest + b"\r\n"


class HeaderTestCase(SynchronousTestCase):
    """Asserts about one header, in one piece and divided."""

    def accepted(self, header: bytes, endpoints: Endpoints | None) -> None:
        """It is read whole as ``endpoints``, with or without more, and waited for until then."""
        expected = ProxyHeader(endpoints, len(header))
        for following in (b"", b"\r", b"\n", FOLLOWING):
            self.assertEqual(parse_proxy_header(header + following), expected, header)
        for end in range(len(header)):
            self.assertIsNone(parse_proxy_header(header[:end]), header[:end])

    def refused(self, sent: bytes, reason: str, first: int | None = None) -> None:
        """It is refused for ``reason``, from its byte number ``first`` on where that is told."""
        with self.assertRaises(ProxyHeaderError) as caught:
            parse_proxy_header(sent)
        self.assertEqual(str(caught.exception), reason, sent)
        if first is not None:
            self.assertIsNone(parse_proxy_header(sent[: first - 1]), sent)
            self.assertRaises(ProxyHeaderError, parse_proxy_header, sent[:first])


class FirstBytesTests(HeaderTestCase):
    """What begins like neither version."""

    def test_other_protocols(self) -> None:
        """HTTP, TLS, SSH and a half of a signature are told apart at their first wrong byte."""
        for sent, first in (
            (FOLLOWING, 1),
            (b"\x16\3\1\2\0\1\0\1\xfc\3\3", 1),
            (b"SSH-2.0-x\r\n", 1),
            (b"POST / HTTP/1.1\r\n", 2),
            (b"PROXY\tTCP4", 6),
            (b"proxy TCP4", 1),
            (b" PROXY TCP4", 1),
            (b"\nPROXY TCP4", 1),
            (b"\r\nPROXY TCP4", 3),
            (b"\r\n\r\n\0\r\nQUIT\r", 12),
            (b"\0", 1),
        ):
            self.refused(sent, "no proxy header", first)

    def test_nothing_yet(self) -> None:
        """No byte is no header yet."""
        self.assertIsNone(parse_proxy_header(b""))


class VersionOneTests(HeaderTestCase):
    """Lines of text."""

    def test_example(self) -> None:
        """The specification's example."""
        self.accepted(line(b"TCP4 192.168.0.1 192.168.0.11 56324 443"), V4)

    def test_longest(self) -> None:
        """The specification's longest lines fit."""
        full = ip_address("ffff:" * 7 + "ffff")
        hexadecimal = b"ffff:" * 7 + b"ffff"
        self.accepted(
            line(b"TCP4 255.255.255.255 255.255.255.255 65535 65535"),
            Endpoints(*[ip_address("255.255.255.255"), 65535] * 2),
        )
        longest = b"%b %b 65535 65535" % (hexadecimal, hexadecimal)
        self.accepted(line(b"TCP6 " + longest), Endpoints(full, 65535, full, 65535))
        self.assertEqual(len(line(b"UNKNOWN " + longest)), MAX_V1_BYTES)
        self.accepted(line(b"UNKNOWN " + longest), None)

    def test_ipv6_forms(self) -> None:
        """Case, leading zeros of a group and where it is shortened make no difference."""
        for form in (b"2001:db8::1", b"2001:DB8::1", b"2001:0db8::0001", b"2001:db8:0:0:0:0:0:1"):
            self.accepted(line(b"TCP6 %b 2001:db8::2 65535 0" % form), V6)

    def test_mapped(self) -> None:
        """An IPv4-mapped address is the IPv4 one, in either spelling."""
        for form in (b"::ffff:192.168.0.1", b"::FFFF:c0a8:1", b"0:0:0:0:0:ffff:c0a8:0001"):
            self.accepted(line(b"TCP6 %b ::ffff:192.168.0.11 56324 443" % form), V4)

    def test_unknown(self) -> None:
        """UNKNOWN means the connection's own ends, whatever follows it in its line."""
        self.accepted(line(b"UNKNOWN"), None)
        for ignored in (b"", b"1.2.3.4", b"TCP4 1.2.3.4 1.2.3.4 1 1", b"\xff\0 x"):
            self.accepted(line(b"UNKNOWN " + ignored), None)

    def test_addresses(self) -> None:
        """An address in any other form, or of the other version, is refused."""
        for address in (b"1.2.3", b"1.2.3.256", b"01.2.3.4", b"1.2.3.04", b"1.2.3.4.", b".1.2.3"):
            self.refused(line(b"TCP4 %b 1.2.3.4 1 1" % address), "no ipv4 address")
            self.refused(line(b"TCP4 1.2.3.4 %b 1 1" % address), "no ipv4 address")
        for address in (b"::1", b"16909060", b"f"):
            self.refused(line(b"TCP4 %b 1.2.3.4 1 1" % address), "no ipv4 address")
        for address in (
            b"1.2.3.4",
            b"::1.2.3.4",
            b"1::1.2.3.4",
            b"::ffff:1.2.3.04",
            b"::ffff:1.2.3",
            b":::",
            b"1::2::3",
            b"00001::",
            b"1:2:3:4:5:6:7:8:9",
            b"1:2:3:4:5:6:7",
            b":1:2:3:4:5:6:7",
            b"ffff",
        ):
            self.refused(line(b"TCP6 %b ::1 1 1" % address), "no ipv6 address")
            self.refused(line(b"TCP6 ::1 %b 1 1" % address), "no ipv6 address")

    def test_ports(self) -> None:
        """A port is a decimal number up to 65535 without leading zeros."""
        self.refused(line(b"TCP4 1.2.3.4 1.2.3.4 65536 1"), "no port")
        self.refused(line(b"TCP4 1.2.3.4 1.2.3.4 1 99999"), "no port")
        for port in (b"01", b"00", b"+1", b"-1", b"0x1", b"1.", b"", b"100000", b"\xb2", b"a"):
            self.refused(line(b"TCP4 1.2.3.4 1.2.3.4 %b 1" % port), "a malformed line")
            self.refused(line(b"TCP4 1.2.3.4 1.2.3.4 1 %b" % port), "a malformed line")

    def test_form(self) -> None:
        """Words and single spaces are exactly the specification's."""
        for rest in (
            b"",
            b"TCP4",
            b"TCP5 1.2.3.4 1.2.3.4 1 1",
            b"tcp4 1.2.3.4 1.2.3.4 1 1",
            b"UDP4 1.2.3.4 1.2.3.4 1 1",
            b"UNIX /a /b",
            b"UNKNOWNX",
            b"unknown",
            b" TCP4 1.2.3.4 1.2.3.4 1 1",
            b"TCP4  1.2.3.4 1.2.3.4 1 1",
            b"TCP4\t1.2.3.4 1.2.3.4 1 1",
            b"TCP4 1.2.3.4 1.2.3.4 1 1 ",
            b"TCP4 1.2.3.4 1.2.3.4 1 1 1",
            b"TCP4 1.2.3.4 1.2.3.4 1",
            b"TCP4 1.2.3.4 1",
            b"TCP6 fe80::1%eth0 ::1 1 1",
            b"TCP6 [::1] [::1] 1 1",
            b"TCP4 1.2.3.4\0 1.2.3.4 1 1",
        ):
            self.refused(line(rest), "a malformed line")

    def test_line_end(self) -> None:
        """Only CR LF ends the line; anything else is seen as soon as it is there."""
        begin = b"PROXY TCP4 1.2.3.4 1.2.3.4 1 1"
        wrong = "a line end other than cr lf"
        self.refused(begin + b"\n", wrong, len(begin) + 1)
        self.refused(begin + b"\n\r\n", wrong, len(begin) + 1)
        for rest in (b"\rx", b"\r\r\n", b"\r\r"):
            self.refused(begin + rest, wrong, len(begin) + 2)
        self.refused(b"PROXY UNKNOWN \n\r\n", wrong)

    def test_limit(self) -> None:
        """A line without its end in the first 107 bytes is refused at the last of them."""
        filler = b"PROXY UNKNOWN " + b"x" * 200
        self.refused(filler, "the line is too long", MAX_V1_BYTES)
        self.accepted(filler[: MAX_V1_BYTES - 2] + b"\r\n", None)
        self.refused(filler[: MAX_V1_BYTES - 1] + b"\r\n", "the line is too long", MAX_V1_BYTES)


class VersionTwoTests(HeaderTestCase):
    """Binary headers."""

    def test_tcp(self) -> None:
        """TCP over IPv4 and IPv6."""
        self.accepted(v2(), V4)
        self.accepted(v2(ADDRESSES_V6, kind=0x21), V6)

    def test_mapped(self) -> None:
        """IPv4-mapped addresses are IPv4."""
        prefix = bytes(10) + b"\xff\xff"
        block = prefix + ADDRESSES_V4[:4] + prefix + ADDRESSES_V4[4:]
        self.accepted(v2(block, kind=0x21), V4)

    def test_local(self) -> None:
        """LOCAL means the connection's own ends; its family and its block are skipped."""
        self.accepted(v2(b"", command=0x20, kind=0), None)
        for kind in (0, 0x11, 0x13, 0xFF):
            self.accepted(v2(b"\1\xff\xff", command=0x20, kind=kind), None)
        self.accepted(v2(command=0x20), None)

    def test_unspecified(self) -> None:
        """What the sender cannot specify means the connection's own ends."""
        for block in (b"", b"\1", ADDRESSES_V4, vector(4, b"")):
            self.accepted(v2(block, kind=0), None)

    def test_other_transports(self) -> None:
        """UDP and UNIX sockets, which cannot be meant, count as unspecified (section 2.2)."""
        for kind, size in ((0x12, 12), (0x22, 36), (0x31, 216), (0x32, 216)):
            self.accepted(v2(bytes(size), kind=kind), None)
            self.accepted(v2(bytes(size) + vector(4, b"x"), kind=kind), None)
            self.refused(v2(bytes(size - 1), kind=kind), "the addresses are cut short", 16)
            self.refused(v2(bytes(size + 1), kind=kind), "a vector is cut short")

    def test_versions_and_commands(self) -> None:
        """Any other version or command is refused when it comes."""
        for command in (0x00, 0x11, 0x22, 0x2F, 0x31, 0xFF):
            self.refused(v2(command=command), "an unknown version or command", 13)

    def test_families(self) -> None:
        """Any other family or transport is refused when it comes."""
        for kind in (0x01, 0x02, 0x10, 0x13, 0x20, 0x30, 0x33, 0x41, 0xFF):
            self.refused(v2(kind=kind), "an unknown family or transport", 14)

    def test_short_addresses(self) -> None:
        """A block that the addresses do not fit in is refused when its length is known."""
        for length in (0, 11):
            self.refused(v2(length=length), "the addresses are cut short", 16)
        self.refused(v2(bytes(35), kind=0x21), "the addresses are cut short", 16)

    def test_vectors(self) -> None:
        """Vectors are skipped, known or not, the longest too."""
        longest = MAX_V2_BLOCK - len(ADDRESSES_V4) - 3
        for vectors in (
            vector(1, b"h2"),
            vector(2, b"a.test") + vector(4, b"") + vector(0xEE, b"\0" * 9),
            vector(0x20, b"\1\0\0\0\0" + vector(0x21, b"TLSv1.3")),
            vector(0xFF, bytes(longest)),
        ):
            self.accepted(v2(ADDRESSES_V4 + vectors), V4)

    def test_vectors_out_of_bounds(self) -> None:
        """A vector that does not end where the header does is refused."""
        for vectors in (
            b"\1",
            b"\1\0",
            b"\1\0\1",
            b"\1\0\0\2",
            b"\4\0\3ab",
            b"\1\xff\xff" + b"x" * 9,
        ):
            self.refused(v2(ADDRESSES_V4 + vectors), "a vector is cut short")

    def test_limit(self) -> None:
        """A header over the limit is refused when its length is known, LOCAL or not."""
        for command in (0x20, 0x21):
            sent = v2(b"", command=command, length=MAX_V2_BLOCK + 1)
            self.refused(sent, "the header is too long", 16)
            self.assertIsNone(parse_proxy_header(v2(b"", command=command, length=MAX_V2_BLOCK)))


class RealSenderTests(HeaderTestCase):
    """What HAProxy 2.6 and nginx 1.22 were seen to send."""

    def test_dual_stack(self) -> None:
        """Both, of an IPv4 client on a socket of both IP versions, in version 1."""
        loopback = ip_address("127.0.0.1")
        self.accepted(
            b"PROXY TCP6 ::ffff:127.0.0.1 ::ffff:127.0.0.1 53450 21806\r\n",
            Endpoints(loopback, 53450, loopback, 21806),
        )

    def test_checksum(self) -> None:
        """HAProxy with the option crc32c, which is skipped, in version 2."""
        loopback = ip_address("127.0.0.1")
        header = SIGNATURE + (
            b"\x21\x11\0\x13\x7f\0\0\1\x7f\0\0\1\xc2\x74\x55\x2a\3\0\4\xd1\xef\x19\x84"
        )
        self.accepted(header, Endpoints(loopback, 49780, loopback, 21802))

    def test_two_versions_in_one_line(self) -> None:
        """nginx behind another proxy may mix them, against the specification: refused."""
        self.refused(line(b"TCP6 2001:db8::9 127.0.0.1 1234 21807"), "no ipv6 address")
        self.refused(line(b"TCP4 203.0.113.9 ::1 1234 21807"), "no ipv4 address")


class WrittenTests(SynchronousTestCase):
    """Headers of our own."""

    def test_version_one(self) -> None:
        """The specification's example, IPv6, and what is unknown."""
        self.assertEqual(proxy_header_v1(V4), b"PROXY TCP4 192.168.0.1 192.168.0.11 56324 443\r\n")
        self.assertEqual(proxy_header_v1(V6), b"PROXY TCP6 2001:db8::1 2001:db8::2 65535 0\r\n")
        self.assertEqual(proxy_header_v1(None), b"PROXY UNKNOWN\r\n")

    def test_version_two(self) -> None:
        """Addresses and ports in network order, and LOCAL."""
        self.assertEqual(proxy_header_v2(V4), v2())
        self.assertEqual(proxy_header_v2(V6), v2(ADDRESSES_V6, kind=0x21))
        self.assertEqual(proxy_header_v2(None), v2(b"", command=0x20, kind=0))
        self.assertEqual(
            proxy_header_v2(None, alpn=b"h2", authority="a.test"), proxy_header_v2(None)
        )

    def test_vectors(self) -> None:
        """The protocol and the name asked for follow the addresses."""
        self.assertEqual(
            proxy_header_v2(V4, alpn=b"h2", authority="git.example.com"),
            v2(ADDRESSES_V4 + b"\1\0\2h2" + b"\2\0\x0fgit.example.com"),
        )
        self.assertEqual(proxy_header_v2(V4, authority="a"), v2(ADDRESSES_V4 + b"\2\0\1a"))

    def test_vector_limit(self) -> None:
        """A name that nobody can have is a mistake of the caller."""
        proxy_header_v2(V4, alpn=b"x" * MAX_NAME, authority="x" * MAX_NAME)
        self.assertRaises(ValueError, proxy_header_v2, V4, alpn=b"x" * (MAX_NAME + 1))
        self.assertRaises(ValueError, proxy_header_v2, V4, authority="x" * (MAX_NAME + 1))

    def test_two_versions(self) -> None:
        """Ends of two IP versions are both written as IPv6, in groups of digits."""
        mixed = Endpoints(IPv4Address("1.2.3.4"), 1, IPv6Address("2001:db8::1"), 2)
        written = proxy_header_v1(mixed)
        self.assertEqual(
            written, b"PROXY TCP6 0000:0000:0000:0000:0000:ffff:0102:0304 2001:db8::1 1 2\r\n"
        )
        for header in (written, proxy_header_v2(mixed)):
            self.assertEqual(parse_proxy_header(header), ProxyHeader(mixed, len(header)))

    def test_mapped_and_zone(self) -> None:
        """A mapped address is written as IPv4, and a zone, which means nothing there, is not."""
        mapped = Endpoints(
            IPv6Address("::ffff:192.168.0.1"), 56324, IPv6Address("::ffff:192.168.0.11"), 443
        )
        self.assertEqual(proxy_header_v1(mapped), proxy_header_v1(V4))
        self.assertEqual(proxy_header_v2(mapped), proxy_header_v2(V4))
        local = Endpoints(IPv6Address("fe80::1%eth0"), 1, IPv6Address("fe80::2"), 2)
        self.assertEqual(proxy_header_v1(local), b"PROXY TCP6 fe80::1 fe80::2 1 2\r\n")


PORTS = st.integers(0, 65535)
ADDRESSES = st.one_of(
    st.ip_addresses(v=4),
    st.ip_addresses(v=6).filter(lambda address: address.ipv4_mapped is None),
)
ENDPOINTS = st.builds(Endpoints, ADDRESSES, PORTS, ADDRESSES, PORTS)
NAMES = st.text("abc.-", max_size=MAX_NAME)


class AnyBytesTests(SynchronousTestCase):
    """What holds for any input."""

    def check(self, sent: bytes) -> None:
        """It is refused or read or waited for, and how it is divided makes no difference."""
        found: ProxyHeader | str | None
        try:
            found = parse_proxy_header(sent)
        except ProxyHeaderError as error:
            found = str(error)
            self.assertRegex(found, r"\A[a-z0-9 ]+\Z")
        for end in range(len(sent)):
            try:
                early = parse_proxy_header(sent[:end])
            except ProxyHeaderError:
                self.assertIsInstance(found, str)
                return
            if early is not None:
                self.assertEqual(early, found)

    @FUZZ
    @given(st.binary(max_size=80), st.sampled_from((b"", b"PROXY ", b"PROXY TCP4 ", SIGNATURE)))
    def test_junk(self, junk: bytes, start: bytes) -> None:
        """Any bytes, from the start or after one of the two."""
        self.check(start + junk)

    @FUZZ
    @given(st.text("PROXYTCUNKW46 .:0129af\r\n", max_size=120))
    def test_text(self, text: str) -> None:
        """Any line of what lines are made of."""
        self.check(b"PROXY " + text.encode())

    @FUZZ
    @given(
        st.sampled_from((0x20, 0x21)),
        st.sampled_from((0, 0x11, 0x12, 0x21, 0x22, 0x31, 0x32)),
        st.integers(0, 60),
        st.binary(max_size=60),
    )
    def test_blocks(self, command: int, kind: int, length: int, block: bytes) -> None:
        """Any block, of any length that is told."""
        self.check(v2(block, command=command, kind=kind, length=length))

    @FUZZ
    @given(ENDPOINTS, st.binary(max_size=6), st.integers(0, 120), st.booleans())
    def test_mutations(self, ends: Endpoints, junk: bytes, at: int, first: bool) -> None:
        """Any header with bytes overwritten."""
        whole = proxy_header_v1(ends) if first else proxy_header_v2(ends, authority="a.test")
        self.check(whole[:at] + junk + whole[at + len(junk) :])

    @FUZZ
    @given(ENDPOINTS, NAMES, st.binary(max_size=MAX_NAME), st.binary(max_size=20))
    def test_round_trip(self, ends: Endpoints, name: str, alpn: bytes, following: bytes) -> None:
        """What is written is read as what it was written of, and only that."""
        for header in (proxy_header_v1(ends), proxy_header_v2(ends, alpn=alpn, authority=name)):
            read = parse_proxy_header(header + following)
            self.assertEqual(read, ProxyHeader(ends, len(header)))
            self.assertIsNone(parse_proxy_header(header[:-1]))
