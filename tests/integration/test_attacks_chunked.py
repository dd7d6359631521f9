"""Chunked request bodies made to be read differently, or without end (RFC 9112 7.1)."""

from __future__ import annotations

from tests.support.cases import ProxyCase

CHUNKED = b"Transfer-Encoding: chunked"
END = b"0\r\n\r\n"
SMUGGLED = b"GET /smuggled HTTP/1.1\r\nHost: site.test\r\n\r\n"

BAD_CHUNKS = [
    b"0x5\r\nhello\r\n" + END,
    b"+5\r\nhello\r\n" + END,
    b"-5\r\nhello\r\n" + END,
    b"1_0\r\n" + b"a" * 16 + b"\r\n" + END,
    b" 5\r\nhello\r\n" + END,
    b"5 5\r\nhello\r\n" + END,
    b"g\r\nhello\r\n" + END,
    b"\r\nhello\r\n" + END,
    b";a=b\r\nhello\r\n" + END,
    b"10000000000000005\r\nhello\r\n" + END,
    b"ffffffffffffffff\r\nhello\r\n" + END,
    b"8000000000000000\r\nhello\r\n" + END,
    b"f" * 40 + b"\r\nhello\r\n" + END,
    b"5\r\nhelloXX" + END,
    b"5\r\nhello" + END,
    b"5\r\nhello\n" + END,
    b"5\r\nhello\rX" + END,
    b"5\nhello\r\n" + END,
    b"5\rhello\r\n" + END,
    b"5\r\nhello\r\n0\n\r\n",
    b"5\r\nhello\r\n0\r\n\n",
    b"5;a\nb\r\nhello\r\n" + END,
    b"5;a\rb\r\nhello\r\n" + END,
    b"5;a\x00b\r\nhello\r\n" + END,
    b"5;\n0\r\nhello\r\n" + END,
    b'5;a="b\nc"\r\nhello\r\n' + END,
    b"5\r\nhello\r\n0;a\nb\r\n\r\n",
    b"5\r\nhello\r\n0\r\nX y\r\n\r\n",
    b"5\r\nhello\r\n0\r\n: y\r\n\r\n",
    b"5\r\nhello\r\n0\r\nX : y\r\n\r\n",
    b"5\r\nhello\r\n0\r\nX: a\nY: b\r\n\r\n",
    b"5\r\nhello\r\n0\r\nX: a\r\n folded\r\n\r\n",
    b"5\r\nhello\r\n0\r\nX: a\x00\r\n\r\n",
]


class ChunkedAttackTests(ProxyCase):
    """A body that is refused never reaches the upstream as a whole one."""

    def post(self, body: bytes) -> bytes:
        """A chunked request with ``body`` as it is."""
        return self.request(b"/attack", CHUNKED, method=b"POST", body=body)

    def assert_never_whole(self) -> None:
        """Whatever reached the upstream of the attack was cut, and its connection closed."""
        self.upstream.wait_until(lambda: all(not r.complete for r in self.attacks()), 0.5)
        self.upstream.wait_until(lambda: self.upstream.open_connections <= 1)
        self.assertEqual(self.get(b"/sentinel").status, 200)
        targets = {request.target for request in self.upstream.requests}
        self.assertLessEqual(targets, {b"/attack", b"/sentinel"})
        self.assertEqual([r for r in self.attacks() if r.complete], [])

    def attacks(self) -> list:
        """What the upstream saw of the attack."""
        return [r for r in self.upstream.requests if r.target == b"/attack"]

    def test_bad_chunks(self) -> None:
        """A malformed chunk line, chunk end or trailer is 400 and close, on both ports."""

        def check(body: bytes) -> None:
            self.upstream.forget()
            self.assert_refused(self.client(), self.post(body) + SMUGGLED)
            self.assert_never_whole()

        self.each(BAD_CHUNKS, check)

    def test_bad_chunks_split(self) -> None:
        """A malformed chunk is refused when every byte comes by itself, too."""

        def check(body: bytes) -> None:
            self.upstream.forget()
            client = self.client().send_bytewise(self.post(body))
            self.assert_refused(client, b"")
            self.assert_never_whole()

        self.each(BAD_CHUNKS[::4], check)

    def test_extensions_are_dropped(self) -> None:
        """A well-formed chunk extension is dropped; chunks go on with their bytes unchanged."""
        body = b'5;a=b;c="d e"\r\nhello\r\n3 ;x\r\nyou\r\n0;last\r\n\r\n'

        def check(raw: bytes) -> None:
            self.upstream.forget()
            self.assertIn(self.client().ask(raw).status, {200})
            request = self.only_request()
            self.assertEqual(request.body, b"helloyou")
            self.assertNotIn(b";", self.upstream.received)

        self.each([self.post(body.replace(b"3 ;x", b"3;x"))], check)

    def test_endless_extension(self) -> None:
        """A chunk extension of 1 MB is refused, and the upstream does not see a byte of it."""
        raw = self.post(b"5;" + b"a" * 1_000_000 + b"\r\nhello\r\n" + END)
        self.assert_refused(self.client(), raw)
        self.assert_never_whole()
        self.assertNotIn(b"aaaa", self.upstream.received)

    def test_many_long_extensions(self) -> None:
        """Extensions just under the limit of a line on every chunk cannot go on for ever."""
        line = b"1;" + b"a" * 4000 + b"\r\nx\r\n"
        client = self.client()
        client.send(self.post(line))
        client.send(*([line * 16] * 64), END)
        self.assertIn(client.read_response().status, {200, 400, 413})
        self.assertNotIn(b"aaaa", self.upstream.received)

    def test_leading_zeros(self) -> None:
        """100 000 leading zeros in a chunk size are refused."""
        self.assert_refused(self.client(), self.post(b"0" * 100_000 + b"5\r\nhello\r\n" + END))
        self.assert_never_whole()

    def test_trailers_are_dropped(self) -> None:
        """Request trailers are read and dropped, and never merged into the header fields."""
        trailers = (
            b"Content-Length: 44",
            b"Transfer-Encoding: gzip",
            b"Host: evil.test",
            b"Authorization: Basic eDp5",
            b"X-Forwarded-For: 192.0.2.9",
            b"Connection: close",
            b"X-Plain: yes",
        )
        body = b"5\r\nhello\r\n0\r\n" + b"\r\n".join(trailers) + b"\r\n\r\n"
        client = self.client()
        self.assertEqual(client.ask(self.post(body)).status, 200)
        self.assertEqual(client.ask(self.request(b"/next")).status, 200)
        first, second = self.upstream.requests
        self.assertEqual((first.body, first.trailers), (b"hello", []))
        self.assertEqual((first.complete, second.target), (True, b"/next"))
        self.assertEqual(first.value(b"Host"), b"site.test")
        for word in (b"evil", b"eDp5", b"192.0.2.9", b"X-Plain", b"gzip"):
            self.assertNotIn(word, self.upstream.received)

    def test_endless_trailers(self) -> None:
        """A trailer section above its limit is refused."""

        def check(trailers: bytes) -> None:
            self.upstream.forget()
            raw = self.post(b"5\r\nhello\r\n0\r\n" + trailers + b"\r\n")
            self.assert_refused(self.client(), raw, {400, 431})
            self.assert_never_whole()

        self.each([b"X: y\r\n" * 100_000, b"X: " + b"y" * 1_000_000 + b"\r\n"], check)

    def test_every_split(self) -> None:
        """A chunked body with extensions and trailers is the same at every split."""
        raw = self.post(b"5;a=b\r\nhello\r\n0\r\nX: y\r\n\r\n")
        client = self.client()
        for at in range(1, len(raw)):
            client.send(raw[:at], raw[at:])
            self.assertEqual(client.read_response().status, 200, at)
        self.assertEqual({r.body for r in self.upstream.requests}, {b"hello"})
        client.send_bytewise(raw)
        self.assertEqual(client.read_response().status, 200)
