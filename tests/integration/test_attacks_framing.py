"""Request framing that two parties could read differently (RFC 9112 6)."""

from __future__ import annotations

from tests.support.cases import ProxyCase

SMUGGLED = b"GET /smuggled HTTP/1.1\r\nHost: site.test\r\n\r\n"

BAD_LENGTHS = [
    [b"Content-Length: 5, 5"],
    [b"Content-Length: 5", b"Content-Length: 5"],
    [b"Content-Length: 5", b"Content-Length: 6"],
    [b"content-length: 5", b"CONTENT-LENGTH: 5"],
    [b"Content-Length: 5, 6"],
    [b"Content-Length:"],
    [b"Content-Length: "],
    [b"Content-Length: +5"],
    [b"Content-Length: -0"],
    [b"Content-Length: -1"],
    [b"Content-Length: 0x5"],
    [b"Content-Length: 1_0"],
    [b"Content-Length: ,5"],
    [b"Content-Length: 5,"],
    [b"Content-Length: 5 5"],
    [b"Content-Length: 5;"],
    [b"Content-Length: 5.0"],
    [b"Content-Length: five"],
    [b'Content-Length: "5"'],
    [b"Content-Length: \x0b5"],
    [b"Content-Length: 5\x0c"],
    [b"Content-Length: \xb2"],
    [b"Content-Length: \xd9\xa5"],
    [b"Content-Length: 9223372036854775808"],
    [b"Content-Length: 18446744073709551616"],
    [b"Content-Length: 18446744073709551621"],
    [b"Content-Length: " + b"9" * 400],
]

BOTH = [
    [b"Content-Length: 5", b"Transfer-Encoding: chunked"],
    [b"Transfer-Encoding: chunked", b"Content-Length: 5"],
    [b"Content-Length: 0", b"Transfer-Encoding: chunked"],
    [b"Transfer-Encoding: identity", b"Content-Length: 5"],
    [b"Transfer-Encoding: gzip", b"Content-Length: 5"],
    [b"transfer-encoding: Chunked", b"X: y", b"content-length: 44"],
]

WELL_FORMED = {501}
EITHER = {400, 501}
OTHER_CODINGS = [
    ([b"Transfer-Encoding: gzip"], WELL_FORMED),
    ([b"Transfer-Encoding: identity"], WELL_FORMED),
    ([b"Transfer-Encoding: xchunked"], WELL_FORMED),
    ([b"Transfer-Encoding: gzip, chunked"], WELL_FORMED),
    ([b"Transfer-Encoding: gzip;a=b"], EITHER),
    ([b"Transfer-Encoding: chunked;a=b"], EITHER),
    ([b"Transfer-Encoding: chunked, identity"], EITHER),
    ([b"Transfer-Encoding: identity, chunked"], EITHER),
    ([b"Transfer-Encoding: chunked, chunked"], EITHER),
    ([b"Transfer-Encoding: ,chunked"], EITHER),
    ([b"Transfer-Encoding: chunked,"], EITHER),
    ([b"Transfer-Encoding: chunked", b"Transfer-Encoding: chunked"], EITHER),
    ([b"Transfer-Encoding: identity", b"Transfer-Encoding: chunked"], EITHER),
    ([b"Transfer-Encoding: chunked", b"transfer-encoding: gzip"], EITHER),
    ([b"Transfer-Encoding:"], EITHER),
    ([b"Transfer-Encoding: ", b"Transfer-Encoding: chunked"], EITHER),
    ([b'Transfer-Encoding: "chunked"'], {400}),
    ([b"Transfer-Encoding: chun ked"], {400}),
    ([b"Transfer-Encoding: chunked chunked"], {400}),
    ([b"Transfer-Encoding: \x0bchunked"], {400}),
    ([b"Transfer-Encoding: chunked\x0c"], {400}),
    ([b"Transfer-Encoding: chunked\x00"], {400}),
    ([b"Transfer-Encoding: \xffchunked"], {400}),
    ([b"Transfer-Encoding : chunked"], {400}),
    ([b"Transfer-Encoding\t: chunked"], {400}),
    ([b"Transfer-Encoding: x\nTransfer-Encoding: chunked"], {400}),
    ([b"X: y\rTransfer-Encoding: chunked"], {400}),
    ([b"Transfer-Encoding:\r\n chunked"], {400}),
]


class FramingAttackTests(ProxyCase):
    """Each refusal is the same on both ports, closes, and lets nothing through."""

    def refuse(self, fields: list[bytes], statuses: set[int]) -> None:
        """Refused on both ports, with what follows never read as a request."""
        raw = self.request(b"/attack", *fields, method=b"POST", body=b"0\r\n\r\n" + SMUGGLED)
        self.assert_refused(self.client(), raw, statuses)
        self.assert_refused(self.plain_client(), raw, statuses)

    def test_both_framings(self) -> None:
        """Content-Length together with any Transfer-Encoding is 400, whatever their order."""
        self.each(((fields, {400}) for fields in BOTH), self.refuse)
        self.assert_nothing_forwarded()

    def test_bad_content_lengths(self) -> None:
        """A Content-Length that is not exactly one number below 2^63 is 400."""
        self.each(((fields, {400}) for fields in BAD_LENGTHS), self.refuse)
        self.assert_nothing_forwarded()

    def test_other_transfer_encodings(self) -> None:
        """A Transfer-Encoding other than chunked is 501 when well-formed and 400 otherwise."""
        self.each(OTHER_CODINGS, self.refuse)
        self.assert_nothing_forwarded()

    def test_transfer_encoding_on_http_1_0(self) -> None:
        """Transfer-Encoding on HTTP/1.0 is 400."""
        raw = self.request(
            b"/attack",
            b"Transfer-Encoding: chunked",
            b"Connection: keep-alive",
            method=b"POST",
            version=b"HTTP/1.0",
            body=b"0\r\n\r\n" + SMUGGLED,
        )
        self.assert_refused(self.client(), raw)
        self.assert_refused(self.plain_client(), raw)
        self.assert_nothing_forwarded()

    def test_accepted_spellings(self) -> None:
        """One ``chunked`` in any case, with white space around it, frames the body."""

        def check(line: bytes) -> None:
            self.upstream.forget()
            raw = self.request(b"/fine", line, method=b"POST", body=b"5\r\nhello\r\n0\r\n\r\n")
            client = self.client()
            self.assertEqual(client.ask(raw).status, 200)
            self.assertEqual(client.ask(self.request(b"/next")).status, 200)
            seen = self.upstream.requests
            self.assertEqual([r.target for r in seen], [b"/fine", b"/next"])
            self.assertEqual(seen[0].body, b"hello")
            self.assertEqual(
                seen[0].values(b"Transfer-Encoding") + seen[0].values(b"Content-Length"),
                [b"chunked"],
            )

        self.each(
            [
                b"Transfer-Encoding: chunked",
                b"Transfer-Encoding: Chunked",
                b"TRANSFER-ENCODING:CHUNKED",
                b"Transfer-Encoding:  chunked  ",
            ],
            check,
        )

    def test_content_length_with_white_space(self) -> None:
        """White space around a Content-Length is no part of it and is not sent on."""
        raw = self.request(b"/", b"Content-Length: \t 5 \t ", method=b"POST", body=b"hello")
        self.assertEqual(self.client().ask(raw).status, 200)
        self.assertIn(b"\r\ncontent-length: 5\r\n", self.only_request().head.lower())

    def test_body_of_a_get_is_framed(self) -> None:
        """A GET with a body that looks like a request is one request, and the next one works."""
        length = b"Content-Length: %d" % len(SMUGGLED)
        chunk = b"%x\r\n%s\r\n0\r\n\r\n" % (len(SMUGGLED), SMUGGLED)

        def check(line: bytes, body: bytes) -> None:
            self.upstream.forget()
            client = self.client()
            client.send(self.request(b"/a", line, body=body) + self.request(b"/b"))
            self.assertEqual([client.read_response().status for _ in "ab"], [200, 200])
            self.assertEqual([r.target for r in self.upstream.requests], [b"/a", b"/b"])
            self.assertEqual(self.upstream.requests[0].body, SMUGGLED)

        self.each([(length, SMUGGLED), (b"Transfer-Encoding: chunked", chunk)], check)

    def test_body_on_the_plain_port_is_framed(self) -> None:
        """A body sent with a redirected request is never read as the next request."""
        length = b"Content-Length: %d" % len(SMUGGLED)
        client = self.plain_client()
        client.send(self.request(b"/a", length, method=b"POST", body=SMUGGLED))
        self.assertEqual(client.read_response().value(b"Location"), self.location(b"/a"))
        client.send(self.request(b"/b", b"Connection: close"))
        rest = client.read_until_close()
        self.assertNotIn(b"/smuggled", rest)

    def location(self, path: bytes) -> bytes:
        """Where the plain port sends a request for ``path``."""
        return b"https://%s:%d%s" % (self.HOST.encode(), self.proxy.https_port, path)
