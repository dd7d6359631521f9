"""Request lines and header blocks that are no HTTP, or that somebody else would repair."""

from __future__ import annotations

from tests.support.cases import ProxyCase

HOST = b"Host: site.test\r\n"
SMUGGLED = b"GET /smuggled HTTP/1.1\r\nHost: site.test\r\n\r\n"

LINE_ENDINGS = [
    b"GET / HTTP/1.1\nHost: site.test\n\n",
    b"GET / HTTP/1.1\n" + HOST + b"\r\n",
    b"GET / HTTP/1.1\r\nHost: site.test\n\r\n",
    b"GET / HTTP/1.1\r\n" + HOST + b"\n",
    b"GET / HTTP/1.1\r" + HOST + b"\r\n",
    b"GET / HTTP/1.1\r\nHost: site.test\r\r\n",
    b"GET / HTTP/1.1\r\nHost: site.test\rX: y\r\n\r\n",
    b"GET / HTTP/1.1\r\n" + HOST + b"X: a\nY: b\r\n\r\n",
    b"GET / HTTP/1.1\r\n" + HOST + b"X: a\rY: b\r\n\r\n",
    b"GET / HTTP/1.1\r\n" + HOST + b"X: a\n\nGET /smuggled HTTP/1.1\r\n\r\n",
    b"GET / HTTP/1.1\r\n" + HOST + b"X: a\r\n\nY: b\r\n\r\n",
    b"GET / HTTP/1.1\r\n" + HOST + b"\r\r\n\r\n",
    b"\nGET / HTTP/1.1\r\n" + HOST + b"\r\n",
    b"\rGET / HTTP/1.1\r\n" + HOST + b"\r\n",
]

FIELDS = [
    b"X: a\r\n folded\r\n",
    b"X: a\r\n\tfolded\r\n",
    b"X: a\r\n \r\n",
    b"Content-Length:\r\n 5\r\n",
    b"X : a\r\n",
    b"X\t: a\r\n",
    b" X: a\r\n",
    b": a\r\n",
    b":\r\n",
    b"X\r\n",
    b"X y: a\r\n",
    b"X(y): a\r\n",
    b'X"y": a\r\n',
    b"X\x00: a\r\n",
    b"X\xe9: a\r\n",
    b"X\x7f: a\r\n",
    b"X/y: a\r\n",
    b"X: a\x00b\r\n",
    b"X: a\x01b\r\n",
    b"X: a\x08b\r\n",
    b"X: a\x0bb\r\n",
    b"X: a\x1bb\r\n",
    b"X: a\x7fb\r\n",
    b"X: \x00\r\n",
]

REQUEST_LINES = [
    b"GET  / HTTP/1.1",
    b"GET /  HTTP/1.1",
    b"GET / HTTP/1.1 ",
    b" GET / HTTP/1.1",
    b"GET\t/ HTTP/1.1",
    b"GET /\tHTTP/1.1",
    b"GET /a b HTTP/1.1",
    b"GET /# HTTP/1.1",
    b"GET /a#b HTTP/1.1",
    b"GET /?a#b HTTP/1.1",
    b"GET http://site.test/#x HTTP/1.1",
    b"GET /\x00 HTTP/1.1",
    b"GET /\x01 HTTP/1.1",
    b"GET /\x7f HTTP/1.1",
    b"GET /\xc3\xa9 HTTP/1.1",
    b"GET /?q=\xff HTTP/1.1",
    b"GET  HTTP/1.1",
    b"GET HTTP/1.1",
    b"GET",
    b"/ HTTP/1.1",
    b" / HTTP/1.1",
    b"GET index.html HTTP/1.1",
    b"GET ?a HTTP/1.1",
    b"GET site.test/ HTTP/1.1",
    b"GET * HTTP/1.1",
    b"GET http:// HTTP/1.1",
    b"GET http:///a HTTP/1.1",
    b"GET http:/a HTTP/1.1",
    b"GET http://:80/ HTTP/1.1",
    b"GET https:// HTTP/1.1",
    b"GET ftp://site.test/ HTTP/1.1",
    b"GET http://user@site.test/ HTTP/1.1",
    b"GET http://site.test:x/ HTTP/1.1",
    b"GET http://site.test:99999/ HTTP/1.1",
    b"G\xc9T / HTTP/1.1",
    b"G,T / HTTP/1.1",
    b"G(T / HTTP/1.1",
    b'"GET" / HTTP/1.1',
    b"G\x00T / HTTP/1.1",
    b"GET:/ / HTTP/1.1",
    b"GET / http/1.1",
    b"GET / HTTP/1.1x",
    b"GET / HTTP/11",
    b"GET / HTTP/1",
    b"GET / HTTP/1.",
    b"GET / HTTP/01.1",
    b"GET / HTTP/1.01",
    b"GET / HTTP /1.1",
    b"GET / HTTP/+1.1",
    b"GET / RTSP/1.0",
    b"GET / XHTTP/1.1",
    b"GET / ICE/1.0",
]

VERSIONS = [
    b"GET / HTTP/2.0",
    b"GET / HTTP/1.2",
    b"GET / HTTP/1.9",
    b"GET / HTTP/0.9",
    b"GET / HTTP/3.0",
    b"PRI * HTTP/2.0",
    b"GET /",
]


class SyntaxAttackTests(ProxyCase):
    """Bad syntax is refused alike on both ports, and nothing behind it is read."""

    def refuse(self, raw: bytes, statuses: set[int]) -> None:
        """Refused on both ports."""
        self.assert_refused(self.client(), raw + SMUGGLED, statuses)
        self.assert_refused(self.plain_client(), raw + SMUGGLED, statuses)

    def test_line_endings(self) -> None:
        """A bare LF or CR as a terminator or in a value is 400."""
        self.each(((raw, {400}) for raw in LINE_ENDINGS), self.refuse)
        self.assert_nothing_forwarded()

    def test_fields(self) -> None:
        """Folding, white space before the colon, and bytes no field may hold are 400."""

        def check(line: bytes) -> None:
            self.refuse(b"GET / HTTP/1.1\r\n" + HOST + line + b"\r\n", {400})

        self.each(FIELDS, check)
        self.assert_nothing_forwarded()

    def test_white_space_before_the_first_field(self) -> None:
        """A first header line that begins with white space is 400."""
        for blank in (b" ", b"\t"):
            self.refuse(b"GET / HTTP/1.1\r\n" + blank + HOST + b"\r\n", {400})
        self.assert_nothing_forwarded()

    def test_request_lines(self) -> None:
        """A request line that is not three parts with one space between each is 400."""

        def check(line: bytes) -> None:
            self.refuse(line + b"\r\n" + HOST + b"\r\n", {400, 505} if b"/" in line else {400})

        self.each(REQUEST_LINES, check)
        self.assert_nothing_forwarded()

    def test_versions(self) -> None:
        """HTTP/0.9, HTTP/2.0 and every version but 1.0 and 1.1 are 505."""

        def check(line: bytes) -> None:
            self.refuse(line + b"\r\n" + HOST + b"\r\n", {505})

        self.each(VERSIONS, check)
        self.assert_nothing_forwarded()

    def test_endless_empty_lines(self) -> None:
        """Empty lines before a request line do not go on for ever."""
        for port in (self.client(), self.plain_client()):
            self.assert_refused(port, b"\r\n" * 100_000 + SMUGGLED, {400, 431})
        self.assert_nothing_forwarded()

    def test_endless_line(self) -> None:
        """A first line without an end is refused while it comes."""
        self.assert_refused(self.client(), b"G" * 1_000_000, {400, 414, 431})
        self.assert_refused(self.plain_client(), b"\x16\x03\x01" * 30_000, {400, 414, 431})
        self.assert_nothing_forwarded()

    def test_connect_and_trace(self) -> None:
        """CONNECT and TRACE are 405 with Allow, and never reach an upstream."""

        def check(line: bytes) -> None:
            raw = line + b" HTTP/1.1\r\n" + HOST + b"\r\n"
            with self.client() as client:
                response = client.ask(raw)
                self.assertEqual(response.status, 405)
                allowed = (response.value(b"Allow") or b"").split(b", ")
                self.assertIn(b"GET", allowed)
                self.assertNotIn(b"TRACE", allowed)
                self.assertNotIn(b"CONNECT", allowed)

        self.each(
            [b"CONNECT site.test:443", b"CONNECT evil.test:25", b"TRACE /", b"TRACE *"][:3], check
        )
        self.assert_nothing_forwarded()

    def test_connect_tunnels_nothing(self) -> None:
        """Bytes behind a CONNECT are never taken for a tunnel's."""
        raw = b"CONNECT site.test:443 HTTP/1.1\r\n" + HOST + b"\r\n\x16\x03\x01 not http"
        client = self.client()
        self.assertEqual(client.ask(raw).status, 405)
        rest = client.half_close().read_until_close()
        self.assertIn(rest[:12], {b"", b"HTTP/1.1 400"})
        self.assert_nothing_forwarded()

    def test_unusual_methods(self) -> None:
        """Any other token is a method and reaches the upstream as it is, with its body."""

        def check(method: bytes) -> None:
            self.upstream.forget()
            raw = self.request(b"/m", b"Content-Length: 2", method=method, body=b"hi")
            self.assertEqual(self.client().ask(raw, method).status, 200)
            request = self.only_request()
            self.assertEqual((request.method, request.body), (method, b"hi"))

        self.each(
            [
                b"PROPFIND",
                b"VERSION-CONTROL",
                b"BREW",
                b"get",
                b"M-SEARCH",
                b"X",
                b"QUERY",
                b"!#$%&'*+-.^_`|~09",
                b"A" * 200,
                b"HTTP",
                b"DESCRIBE",
                b"PRI",
            ],
            check,
        )

    def test_targets_go_on_byte_for_byte(self) -> None:
        """Path and query reach the upstream unchanged on a site without routes."""

        def check(target: bytes) -> None:
            self.upstream.forget()
            self.assertEqual(self.get(target).status, 200)
            self.assertEqual(self.only_request().target, target)

        self.each(
            [
                b"/a/../b",
                b"//a//b",
                b"/%2e%2e/%2F%5c%00",
                b"/%252e",
                b"/%zz%",
                b"/\\a",
                b'/?a=b?c&d=[e]{f}|"<>^`',
                b"/;p=1,2!*'()",
                b"//evil.test/",
                b"/" + b"a" * 8000,
                b"/?",
                b"/http://evil.test/",
            ],
            check,
        )

    def test_values(self) -> None:
        """Values keep inner white space and bytes above 0x7f, and lose what surrounds them."""
        fields = (b"A:\t x  y\t ", b"B:", b"C: \xc3\xa9\xff", b"D: a\tb", b'E: ,;=()<>@"\\')
        self.assertEqual(self.get(b"/", *fields).status, 200)
        request = self.only_request()
        self.assertEqual(
            [request.value(name) for name in (b"A", b"B", b"C", b"D", b"E")],
            [b"x  y", b"", b"\xc3\xa9\xff", b"a\tb", b',;=()<>@"\\'],
        )
        self.assertNotIn(b" \r\n", request.head.replace(b"B: \r\n", b""))

    def test_every_split_of_a_head(self) -> None:
        """A request is the same whichever two pieces it comes in, and byte by byte."""
        raw = self.request(b"/split?a=b", b"X-Long: " + b"v" * 30)
        client = self.client()
        for at in range(1, len(raw)):
            client.send(raw[:at], raw[at:])
            self.assertEqual(client.read_response().status, 200, at)
        self.assertEqual(client.send_bytewise(raw).read_response().status, 200)
        heads = {request.target for request in self.upstream.requests}
        self.assertEqual(heads, {b"/split?a=b"})

    def test_one_empty_line_between_requests(self) -> None:
        """An empty line before a request line is ignored (RFC 9112 2.2)."""
        client = self.client()
        raw = self.request(b"/", b"Content-Length: 2", method=b"POST", body=b"hi")
        client.send(raw + b"\r\n" + self.request(b"/b"))
        self.assertEqual([client.read_response().status for _ in "ab"], [200, 200])
