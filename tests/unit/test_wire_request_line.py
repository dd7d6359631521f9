"""Request lines: the forms of a target, versions, and what is no request line."""

from __future__ import annotations

import re
from collections.abc import Iterable

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from revproxy.errors import BadRequest
from revproxy.wire.request_line import may_begin_request, parse_request_line

FUZZ = settings(deadline=None, derandomize=True, max_examples=500)
LIMIT = 100
WORDS = b"GET OPTIONS CONNECT / * http:// a ? # HTTP/1.1 HTTP/1.0 HTTP/2.0 \xff".split()
PIECES = [*WORDS, b" ", b" ", b"\r", b"\n", b"\t"]


class RequestLineTests(SynchronousTestCase):
    def assert_refused(self, status: int, lines: Iterable[bytes]) -> None:
        for line in lines:
            error = self.assertRaises(BadRequest, parse_request_line, line, LIMIT)
            self.assertEqual(error.status, status, (line, error.reason))

    def test_origin_form(self) -> None:
        """A target with its query is passed on byte for byte."""
        for target in (
            b"/",
            b"//",
            b"/a/../b",
            b"/%2e%2E?x=%00&y='\"<>",
            b"/?",
            b"/a\\b|^`{}",
            b"/*",
        ):
            for minor in (0, 1):
                line = b"GET %b HTTP/1.%d" % (target, minor)
                self.assertEqual(parse_request_line(line, LIMIT), (b"GET", target, minor, b""))

    def test_methods(self) -> None:
        """Any token is a method, and case matters in it."""
        for method in (b"GET", b"get", b"PURGE", b"M-SEARCH", b"!#$%&'*+-.^_`|~09Az", b"A" * 500):
            self.assertEqual(parse_request_line(method + b" / HTTP/1.1", LIMIT)[0], method)

    def test_absolute_form(self) -> None:
        """Of an absolute target the authority is told apart, and an empty path is a slash."""
        table = {
            b"http://a": (b"/", b"a"),
            b"http://a/": (b"/", b"a"),
            b"HTTPS://A.b:8/c?d": (b"/c?d", b"A.b:8"),
            b"http://a?b": (b"/?b", b"a"),
            b"http://a//b": (b"//b", b"a"),
            b"http://u:p@a/b": (b"/b", b"u:p@a"),
            b"http://[::1]:80/": (b"/", b"[::1]:80"),
            b"http://a/http://b/": (b"/http://b/", b"a"),
        }
        for target, (origin, authority) in table.items():
            line = b"GET %b HTTP/1.1" % target
            expected = (b"GET", origin, 1, authority)
            self.assertEqual(parse_request_line(line, LIMIT), expected, target)

    def test_asterisk_form(self) -> None:
        """An asterisk stands for the server with OPTIONS only, an empty path does so too."""
        table = {b"*": (b"*", b""), b"http://a": (b"*", b"a"), b"http://a?b": (b"/?b", b"a")}
        for target, (origin, authority) in table.items():
            line = b"OPTIONS %b HTTP/1.1" % target
            expected = (b"OPTIONS", origin, 1, authority)
            self.assertEqual(parse_request_line(line, LIMIT), expected, target)
        self.assert_refused(
            400, [b"GET * HTTP/1.1", b"options * HTTP/1.1", b"OPTIONS ** HTTP/1.1"]
        )

    def test_authority_form(self) -> None:
        """CONNECT keeps its target, to be refused as a method and not as bad syntax."""
        line = b"CONNECT a:443 HTTP/1.1"
        self.assertEqual(parse_request_line(line, LIMIT), (b"CONNECT", b"a:443", 1, b""))

    def test_bad_targets(self) -> None:
        """Fragments, controls, spaces, bytes above 126 and unknown schemes are refused."""
        bad = (b"/a#b", b"#", b"/\x00", b"/\t", b"/\r", b"/\n", b"/\x7f", b"/\x80", b"/\xc3\xa9")
        forms = (b"a", b"a/b", b"a:443", b"?a", b"ftp://a/", b"http:/a", b"http:a", b"http://")
        more = (b"http:///a", b"http://?a", b"://a", b"ws://a/", b"%2f", b"\\", b"*/")
        for target in (*bad, *forms, *more):
            self.assert_refused(400, [b"GET %b HTTP/1.1" % target])

    def test_every_byte_of_a_target(self) -> None:
        """Of all bytes those from 0x21 to 0x7E without the number sign may stand in a target."""
        allowed = []
        for byte in range(256):
            try:
                parse_request_line(b"GET /%c HTTP/1.1" % byte, LIMIT)
            except BadRequest:
                continue
            allowed.append(byte)
        self.assertEqual(allowed, [byte for byte in range(0x21, 0x7F) if byte != 0x23])

    def test_limit(self) -> None:
        """A target of the limit passes, a longer one is 414, whatever its form."""
        for prefix in (b"/", b"http://a/", b"http://"):
            target = prefix.ljust(LIMIT, b"a")
            parse_request_line(b"GET %b HTTP/1.1" % target, LIMIT)
            self.assert_refused(414, [b"GET %ba HTTP/1.1" % target])

    def test_versions(self) -> None:
        """Only HTTP/1.0 and HTTP/1.1 are spoken; other versions are 505."""
        versions = (b"HTTP/1.2", b"HTTP/2.0", b"HTTP/2", b"HTTP/0.9", b"HTTP/9.9", b"HTTP/3")
        self.assert_refused(505, [b"GET / " + version for version in versions])
        self.assert_refused(505, [b"GET /", b"GET /a?b", b"get /"])

    def test_no_versions(self) -> None:
        """What is no version is 400."""
        versions = (b"", b"http/1.1", b"HTTP/1.1 ", b"HTTP/1.10", b"HTTP/11", b"HTTP/1.", b"HTTP/")
        more = (b"RTSP/1.0", b"HTTP 1.1", b"HTTP/1.1\r", b"HTTP/1.1\n", b"HTTP/-1.1", b"1.1")
        self.assert_refused(400, [b"GET / " + version for version in (*versions, *more)])

    def test_no_request_lines(self) -> None:
        """Anything but three parts with single spaces between them is 400."""
        shapes = (b"", b" ", b"  ", b"GET", b"GET ", b" GET / HTTP/1.1", b"GET  / HTTP/1.1")
        more = (b"GET /  HTTP/1.1", b"GET\t/\tHTTP/1.1", b"GET / HTTP/1.1 x", b"GET a", b"(G) /")
        self.assert_refused(400, (*shapes, *more, b"/ HTTP/1.1", b"GET  HTTP/1.1", b"\0"))

    def test_bad_methods(self) -> None:
        """What is no token is no method."""
        methods = (b"", b"G(T", b"G\0T", b"\xc9", b"G:T", b"{}", b"G/T", b'"GET"', b"G\rT", b"G,T")
        self.assert_refused(400, [method + b" / HTTP/1.1" for method in methods])

    @FUZZ
    @given(
        st.one_of(
            st.binary(max_size=30),
            st.lists(
                st.sampled_from(PIECES),
                max_size=10,
            ).map(b"".join),
        )
    )
    def test_any_bytes(self, line: bytes) -> None:
        """Any bytes give parts that are safe to write, or a BadRequest."""
        try:
            method, target, minor, authority = parse_request_line(line, LIMIT)
        except BadRequest as error:
            self.assertIn(error.status, (400, 414, 505))
            return
        self.assertTrue(re.fullmatch(rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+", method))
        self.assertTrue(re.fullmatch(rb"[!-\"$-~]+", target))
        self.assertTrue(target[:1] == b"/" or target == b"*" or method == b"CONNECT")
        self.assertIn(minor, (0, 1))
        self.assertTrue(re.fullmatch(rb"[!-\"$-~]*", authority))


class MayBeginTests(SynchronousTestCase):
    def test_strangers(self) -> None:
        """TLS, SSH's replies, SMTP-like and binary protocols are told by their first bytes."""
        for part in (b"\x16\x03\x01", b"\0", b"\x80", b" GET", b"\n", b"\rG", b"(", b"\x05\x01"):
            self.assertFalse(may_begin_request(part), part)

    def test_requests(self) -> None:
        """Nothing, a first CR, and every beginning of a method may become a request."""
        for part in (b"", b"\r", b"G", b"GET", b"GET ", b"get /", b"!", b"PRI * HTTP/2.0"):
            self.assertTrue(may_begin_request(part), part)
