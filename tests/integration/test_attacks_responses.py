"""Responses that are invalid, ambiguous, cut or too much (RFC 9112 6.3, 9.5)."""

from __future__ import annotations

from tests.support.cases import ProxyCase
from tests.support.recording_upstream import OK, Answer

L5 = b"Content-Length: 5\r\n"
CHUNKED = b"Transfer-Encoding: chunked\r\n"
START = b"HTTP/1.1 200 OK\r\n"

INVALID = [
    START + L5 + CHUNKED + b"\r\n0\r\n\r\n",
    START + CHUNKED + L5 + b"\r\nhello",
    START + b"Transfer-Encoding: gzip\r\n\r\nhello",
    START + b"Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
    START + b"Transfer-Encoding: identity\r\n\r\nhello",
    START + b"Transfer-Encoding: xchunked\r\n\r\nhello",
    START + CHUNKED + CHUNKED + b"\r\n0\r\n\r\n",
    START + b"Transfer-Encoding : chunked\r\n\r\n0\r\n\r\n",
    b"HTTP/1.0 200 OK\r\n" + CHUNKED + b"\r\n0\r\n\r\n",
    START + L5 + L5 + b"\r\nhello",
    START + L5 + b"Content-Length: 6\r\n\r\nhello",
    START + b"Content-Length: 5, 5\r\n\r\nhello",
    START + b"Content-Length: +5\r\n\r\nhello",
    START + b"Content-Length: -5\r\n\r\nhello",
    START + b"Content-Length: 0x5\r\n\r\nhello",
    START + b"Content-Length: five\r\n\r\nhello",
    START + b"Content-Length:\r\n\r\nhello",
    START + b"Content-Length: 9223372036854775808\r\n\r\nhello",
    b"HTTP/1.1 099 Odd\r\n" + L5 + b"\r\nhello",
    b"HTTP/1.1 000 Odd\r\n" + L5 + b"\r\nhello",
    b"HTTP/1.1 20 OK\r\n" + L5 + b"\r\nhello",
    b"HTTP/1.1 2000 OK\r\n" + L5 + b"\r\nhello",
    b"HTTP/1.1 abc OK\r\n" + L5 + b"\r\nhello",
    b"HTTP/1.1 -20 OK\r\n" + L5 + b"\r\nhello",
    b"HTTP/1.1  200 OK\r\n" + L5 + b"\r\nhello",
    b"HTTP/2.0 200 OK\r\n" + L5 + b"\r\nhello",
    b"HTTP/0.9 200 OK\r\n" + L5 + b"\r\nhello",
    b"RTSP/1.0 200 OK\r\n" + L5 + b"\r\nhello",
    b"ICY 200 OK\r\n" + L5 + b"\r\nhello",
    b"http/1.1 200 OK\r\n" + L5 + b"\r\nhello",
    b"garbage\r\n\r\n",
    b"<html>hello</html>\r\n\r\n",
    b"\x15\x03\x03\x00\x02\x02\x46\r\n\r\n",
    START + L5 + b"X : y\r\n\r\nhello",
    START + L5 + b": y\r\n\r\nhello",
    START + L5 + b"X: y\r\n folded\r\n\r\nhello",
    START + b" X: y\r\n" + L5 + b"\r\nhello",
    START + b"Content-Length:\r\n 5\r\n\r\nhello",
    START + L5 + b"X\r\n\r\nhello",
    START + L5 + b"X y: z\r\n\r\nhello",
    START + L5 + b"X: a\x00b\r\n\r\nhello",
    START + L5 + b"X: a\rSet-Cookie: b=c\r\n\r\nhello",
    START + L5 + b"X: a\nSet-Cookie: b=c\r\n\r\nhello",
    b"HTTP/1.1 200 O\x00K\r\n" + L5 + b"\r\nhello",
    b"HTTP/1.1 200 O\rK\r\n" + L5 + b"\r\nhello",
    b"HTTP/1.1 200 OK\n" + L5 + b"\r\nhello",
    b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\nraw",
    b"HTTP/1.1 101 Switching Protocols\r\n\r\n",
    START + b"X: " + b"v" * 70_000 + b"\r\n\r\n",
    START + b"X: y\r\n" * 20_000 + b"\r\n",
    START + b"X: " + b"v" * 70_000,
    b"H" * 100_000,
]

CUT = [
    START + b"Content-Length: 10\r\n\r\nhello",
    START + b"Content-Length: 10\r\n\r\n",
    START + CHUNKED + b"\r\n5\r\nhello\r\n",
    START + CHUNKED + b"\r\n5\r\nhel",
    START + CHUNKED + b"\r\n5\r\nhello\r\n0",
    START + CHUNKED + b"\r\n5\r\nhello\r\n0\r\n",
    START + CHUNKED + b"\r\n",
    START + CHUNKED + b"\r\n5\r\nhello\r\nxyz\r\n",
    START + CHUNKED + b"\r\n5\r\nhelloXX0\r\n\r\n",
    START + CHUNKED + b"\r\n-5\r\nhello\r\n0\r\n\r\n",
    START + CHUNKED + b"\r\n5\nhello\r\n0\r\n\r\n",
    START + CHUNKED + b"\r\n5\r\nhello\r\n;" + b"a" * 100_000,
    START + CHUNKED + b"\r\n5\r\nhello\r\n0\r\n" + b"X: y\r\n" * 50_000,
]


class InvalidResponseTests(ProxyCase):
    """What is no valid response is a 502, once, and its connection is not used again."""

    def test_invalid(self) -> None:
        """A response that breaks the framing or syntax rules is 502."""

        def check(raw: bytes) -> None:
            self.upstream.forget()
            for then in ("keep", "close"):
                self.upstream.answers[b"/bad"] = Answer((raw,), then=then)
                with self.client() as client:
                    response = client.ask(self.request(b"/bad"))
                    self.assertEqual((response.status, response.body), (502, b"Bad Gateway"))
                    self.assertEqual(client.ask(self.request(b"/next")).status, 200)
            seen = [request.connection for request in self.upstream.requests]
            self.assertEqual(len(seen), 4, "a request was repeated")
            self.assertTrue(seen[0] != seen[1] and seen[2] != seen[3], "used again")

        self.each(INVALID, check)

    def test_early_close(self) -> None:
        """A connection that closes before or in the response head is 502."""

        def check(pieces: tuple[bytes, ...], then: str) -> None:
            self.upstream.answers[b"/bad"] = Answer(pieces, then=then)
            self.assertEqual(self.get(b"/bad").status, 502)

        heads = ((), (b"HTTP/1.1 200",), (START,), (START + L5,))
        self.each([(pieces, then) for pieces in heads for then in ("close", "reset")], check)

    def test_cut(self) -> None:
        """A body cut short, or broken in the middle, is cut short to the client."""

        def check(raw: bytes) -> None:
            for then in ("close", "reset"):
                self.upstream.answers[b"/cut"] = Answer((raw,), then=then)
                response = self.get(b"/cut")
                if response.status == 502:
                    continue
                self.assertEqual(response.status, 200)
                self.assertFalse(response.complete, "passed off as complete")

        self.each(CUT, check)

    def test_cut_to_http_1_0(self) -> None:
        """A chunked body cut short does not end like a whole one on HTTP/1.0 either."""
        self.upstream.answers[b"/cut"] = Answer(
            (START + CHUNKED + b"\r\n5\r\nhello\r\n",), then="close"
        )
        client = self.client()
        client.send(self.request(b"/cut", version=b"HTTP/1.0"))
        response = client.read_response()
        self.assertTrue(response.status == 502 or not response.complete)

    def test_next_request_after_a_cut(self) -> None:
        """After a cut response the next request works."""
        self.upstream.answers[b"/cut"] = Answer((CUT[0],), then="close")
        self.assertFalse(self.get(b"/cut").complete)
        self.assertEqual(self.get(b"/next").status, 200)

    def test_extra_bytes(self) -> None:
        """Bytes behind a response are nobody's answer, and end the connection's use."""
        evil = b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil"

        def check(whole: bytes, *, late: bool) -> None:
            self.upstream.forget()
            pieces = (whole, evil) if late else (whole + evil,)
            self.upstream.answers[b"/more"] = Answer(pieces, gap=0.1)
            client = self.client()
            self.assertEqual(client.ask(self.request(b"/more")).status, 200)
            self.upstream.wait_until(lambda: not self.upstream.open_connections, 2)
            for _ in range(3):
                self.assertEqual(client.ask(self.request(b"/next")).body, b"ok")

        chunked = START + CHUNKED + b"\r\n2\r\nok\r\n0\r\n\r\n"
        none = b"HTTP/1.1 204 No Content\r\n\r\n"
        for whole in (OK, chunked):
            check(whole, late=False)
            check(whole, late=True)
        self.upstream.forget()
        self.upstream.answers[b"/more"] = none + evil
        client = self.client()
        self.assertEqual(client.ask(self.request(b"/more")).status, 204)
        self.assertEqual(client.ask(self.request(b"/next")).body, b"ok")

    def test_unasked_response(self) -> None:
        """A response sent before the request on an idle connection answers nobody."""
        client = self.client()
        evil = b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil"
        self.upstream.answers[b"/then"] = Answer((OK, evil), gap=0.1)
        self.assertEqual(client.ask(self.request(b"/then")).body, b"ok")
        self.upstream.wait_until(lambda: not self.upstream.open_connections, 2)
        self.assertEqual(client.ask(self.request(b"/next")).body, b"ok")

    def test_body_where_none_may_be(self) -> None:
        """Bytes after HEAD, 204 and 304 are no body, and answer nobody."""

        def check(head: bytes, method: bytes) -> None:
            self.upstream.forget()
            self.upstream.answers[b"/none"] = head + b"\r\nhello"
            client = self.client()
            raw = self.request(b"/none", method=method)
            response = client.ask(raw, method)
            self.assertEqual(response.body, b"")
            self.assertEqual(client.ask(self.request(b"/next")).body, b"ok")

        self.each(
            [
                (START + L5, b"HEAD"),
                (START + CHUNKED, b"HEAD"),
                (START, b"HEAD"),
                (b"HTTP/1.1 204 No Content\r\n", b"GET"),
                (b"HTTP/1.1 304 Not Modified\r\n" + L5, b"GET"),
                (b"HTTP/1.1 304 Not Modified\r\n", b"GET"),
            ],
            check,
        )

    def test_connection_close_in_trailers(self) -> None:
        """``Connection: close`` among response trailers changes nothing for the client."""
        trailers = b"Connection: close\r\nContent-Length: 3\r\nX-Sum: 1\r\n"
        whole = START + CHUNKED + b"\r\n5\r\nhello\r\n0\r\n" + trailers + b"\r\n"
        self.upstream.answers[b"/t"] = whole
        client = self.client()
        response = client.ask(self.request(b"/t"))
        self.assertEqual((response.body, response.complete), (b"hello", True))
        self.assertEqual(response.trailers, [])
        self.assertEqual(client.ask(self.request(b"/next")).body, b"ok")

    def test_every_split(self) -> None:
        """A response is the same whichever two pieces it comes in, and byte by byte."""
        head = b"HTTP/1.1 207 Many Words Here\r\nX: y\r\n"
        whole = [
            head + L5 + b"\r\nhello",
            head + CHUNKED + b"\r\n5;x=y\r\nhello\r\n0\r\nT: u\r\n\r\n",
            b"HTTP/1.1 103 Early Hints\r\nLink: a\r\n\r\n" + head + L5 + b"\r\nhello",
        ]
        client = self.client()
        for raw in whole:
            splits = [(raw[:at], raw[at:]) for at in range(1, len(raw))]
            for pieces in [*splits, tuple(raw[at : at + 1] for at in range(len(raw)))]:
                self.upstream.answers[b"/split"] = Answer(pieces)
                response = client.ask(self.request(b"/split"))
                self.assertEqual(
                    (response.status, response.reason, response.value(b"X"), response.body),
                    (207, b"Many Words Here", b"y", b"hello"),
                )


class ResponseSplittingTests(ProxyCase):
    """Nothing a client sends can add a line to a response of the proxy's own."""

    def test_redirect_location(self) -> None:
        """A redirect names the configured host and keeps escapes escaped."""

        def check(target: bytes) -> None:
            response = self.plain_client().ask(self.request(target, host=b"SITE.test:80"))
            self.assertEqual(response.status, 301)
            prefix = b"https://site.test:%d" % self.proxy.https_port
            self.assertEqual(response.value(b"Location"), prefix + target)
            self.assertIsNone(response.value(b"Set-Cookie"))

        self.each(
            [
                b"/a%0d%0aSet-Cookie:%20x=y",
                b"/%0aLocation:evil",
                b"//evil.test/%2e%2e",
                b"/?a=%0d%0a%0d%0a<script>",
                b"/@evil.test",
                b"/\\evil.test",
            ],
            check,
        )

    def test_redirect_body_repeats_nothing(self) -> None:
        """A redirect's body holds nothing of the request."""
        response = self.plain_client().ask(self.request(b"/<script>alert(1)</script>"))
        self.assertNotIn(b"script", response.body)
