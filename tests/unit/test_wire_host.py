"""Host names and their normal form."""

from __future__ import annotations

import re

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from revproxy.wire.host import REMEMBERED_AUTHORITIES, normal_host

FUZZ = settings(deadline=None, derandomize=True, max_examples=500)

LONGEST = b".".join([b"a" * 63] * 3 + [b"a" * 61])


class NormalHostTests(SynchronousTestCase):
    def test_normal_forms(self) -> None:
        """Case, port and one trailing dot mean nothing; brackets and IPv6 are made canonical."""
        table = {
            b"example.com": "example.com",
            b"EXAMPLE.com": "example.com",
            b"example.com.": "example.com",
            b"Example.Com.:8443": "example.com",
            b"example.com:": "example.com",
            b"example.com:0": "example.com",
            b"example.com:65535": "example.com",
            b"example.com:00080": "example.com",
            b"localhost": "localhost",
            b"a_b-c.example": "a_b-c.example",
            b"xn--bcher-kva.example": "xn--bcher-kva.example",
            b"192.0.2.1:80": "192.0.2.1",
            b"[2001:DB8::1]": "[2001:db8::1]",
            b"[2001:db8:0:0:0:0:0:1]:443": "[2001:db8::1]",
            b"[::]": "[::]",
            b"[::1]:": "[::1]",
            LONGEST: LONGEST.decode(),
            LONGEST + b".": LONGEST.decode(),
        }
        for authority, expected in table.items():
            for _ in range(2):
                self.assertEqual(normal_host(authority), expected, authority)

    def test_mapped_address(self) -> None:
        """Two spellings of one IPv4-mapped address are one host."""
        self.assertEqual(normal_host(b"[::ffff:192.0.2.1]"), normal_host(b"[::FFFF:c000:201]"))

    def test_refused(self) -> None:
        """What is no host with an optional port is refused, each time it comes."""
        names = (b"", b".", b"..", b".a", b"a..", b"a..b", b"..a", b"a" * 255, b"*.a", b"a*")
        ports = (
            b":80",
            b"a:65536",
            b"a:99999",
            b"a:123456",
            b"a:-1",
            b"a:+1",
            b"a:8o",
            b"a:80:80",
        )
        literals = (b"[", b"[]", b"[::1", b"::1", b"[::1]80", b"[::1]]", b"[:::1]", b"[1.2.3.4]")
        more = (b"[::1%25eth0]", b"[::1%eth0]", b"[v1.a]", b"[g::1]", b"[1::2::3]", b"x[::1]")
        bytes_ = (b"a b", b" a", b"a ", b"a\t", b"a\0", b"a\r\n", b"a\n", b"a,b", b"a;b", b"a#b")
        urls = (
            b"u@a",
            b"u:p@a",
            b"a/",
            b"/a",
            b"a?b",
            b"http://a",
            b"a%2eb",
            b"a\\b",
            b"\xc3\xa9",
        )
        for authority in (*names, *ports, *literals, *more, *bytes_, *urls):
            for _ in range(2):
                with self.assertRaises(ValueError, msg=authority):
                    normal_host(authority)

    def test_more_than_remembered(self) -> None:
        """More hosts than are remembered keep their normal forms."""
        for _ in range(2):
            for number in range(REMEMBERED_AUTHORITIES + 10):
                self.assertEqual(normal_host(b"H%d.example:80" % number), f"h{number}.example")

    @FUZZ
    @given(
        st.one_of(
            st.binary(max_size=12),
            st.text("aZ.-_:[]0f%@ \r\n", max_size=12).map(str.encode),
            st.from_regex(rb"\A[A-Z.]{1,5}(:[0-9]{0,6})?\Z"),
            st.ip_addresses(v=6).map(lambda address: f"[{address}]".encode()),
        )
    )
    def test_any_bytes(self, authority: bytes) -> None:
        """Any bytes give a normal form that is its own normal form, or a ValueError."""
        try:
            host = normal_host(authority)
        except ValueError:
            return
        self.assertTrue(re.fullmatch(r"[a-z0-9._-]+|\[[0-9a-f:.]+\]", host), host)
        self.assertFalse(host.startswith(".") or host.endswith(".") or ".." in host, host)
        for spelling in (host, host.upper(), f"{host}:80"):
            self.assertEqual(normal_host(spelling.encode()), host)
