"""Requests and responses over HTTP/2 that are whole."""

from __future__ import annotations

from revproxy.wire.h2.frames import NO_ERROR
from tests.support.h2_playbook import H2Case, Reply
from tests.support.playbook import DATE, DATE_LINE, OK, Peer

HEAD_OF_TEN = b"HTTP/1.1 200 OK\r\n" + DATE_LINE + b"Content-Length: 10\r\n\r\n"
CHUNKED = b"HTTP/1.1 200 OK\r\n" + DATE_LINE + b"Transfer-Encoding: chunked\r\n\r\n"


class WholeTests(H2Case):
    def asked(self, *fields: tuple[bytes, bytes], **how: object) -> tuple[Peer, Reply]:
        """The upstream that has got a request, and the reply to it."""
        self.stage_now, self.client = stage, client = self.connect()
        reply = client.request(b"/p?q", *fields, **how)  # type: ignore[arg-type]
        return stage.upstream(), reply

    def hear(self, up: Peer, *said: bytes) -> None:
        """The upstream says this, and the client takes it."""
        up.says(*said)
        self.client.talk()

    def test_request(self) -> None:
        """A request goes upstream as one of HTTP/1.1, with the proxy's own fields."""
        up, reply = self.asked((b"accept", b"*/*"), (b"cookie", b"a=1"), (b"cookie", b"b=2"))
        line, *lines = up.heard().split(b"\r\n")
        self.assertEqual(line, b"GET /p?q HTTP/1.1")
        fields = dict(one.lower().split(b": ") for one in lines if one)
        self.assertTrue(fields.pop(b"x-request-id"))
        self.assertEqual(
            fields,
            {
                b"host": b"a.test",
                b"accept": b"*/*",
                b"cookie": b"a=1; b=2",
                b"x-real-ip": b"192.0.2.1",
                b"x-forwarded-for": b"192.0.2.1",
                b"x-forwarded-proto": b"https",
                b"x-forwarded-host": b"a.test",
            },
        )
        self.hear(up, OK)
        self.assertEqual(reply.brief, (200, b"ok"))
        self.assertTrue(reply.whole)

    def test_response_fields(self) -> None:
        """Fields come in lower case, hop-by-hop ones do not, and Date is added."""
        up, reply = self.asked()
        self.hear(
            up,
            b"HTTP/1.1 200 Fine\r\nSet-Cookie: a\r\nSet-Cookie: b\r\nConnection: x\r\nX: y\r\n"
            b"Keep-Alive: 5\r\nServer: s\r\nContent-Length: 0\r\n\r\n",
        )
        cookies = [(b"set-cookie", b"a"), (b"set-cookie", b"b")]
        expected = [(b"content-length", b"0"), (b"date", DATE), *cookies]
        self.assertEqual(sorted(reply.fields), expected)
        self.assertTrue(reply.whole)

    def test_body_of_known_length(self) -> None:
        """A request body goes upstream by its length."""
        up, reply = self.asked((b"content-length", b"4"), method=b"POST", body=b"body")
        said = up.heard()
        self.assertIn(b"\r\nContent-Length: 4\r\n", said)
        self.assertTrue(said.endswith(b"\r\n\r\nbody"))
        self.hear(up, OK)
        self.assertEqual(reply.brief, (200, b"ok"))

    def test_body_of_unknown_length(self) -> None:
        """One without a length goes upstream in chunks, as it comes."""
        up, reply = self.asked(method=b"POST", end=False)
        self.assertIn(b"\r\nTransfer-Encoding: chunked\r\n", up.heard())
        self.client.say(1, b"some")
        self.assertEqual(up.heard(), b"4\r\nsome\r\n")
        self.client.say(1, b"more", end=True)
        self.assertEqual(up.heard(), b"4\r\nmore\r\n0\r\n\r\n")
        self.hear(up, OK)
        self.assertTrue(reply.whole)

    def test_empty_body(self) -> None:
        """A body that turns out to be empty is one all the same."""
        up, reply = self.asked(method=b"POST", end=False)
        self.client.say(1, b"", end=True)
        self.assertTrue(up.heard().endswith(b"\r\n\r\n0\r\n\r\n"))
        self.hear(up, OK)
        self.assertTrue(reply.whole)

    def test_announced_empty_body(self) -> None:
        """A body of length 0 whose end comes later is none."""
        up, reply = self.asked((b"content-length", b"0"), method=b"POST", end=False)
        self.client.say(1, b"", end=True)
        self.assertTrue(up.heard().endswith(b"\r\n\r\n"))
        self.hear(up, OK)
        self.assertTrue(reply.whole)

    def test_request_trailers(self) -> None:
        """Request trailers are read and dropped."""
        up, reply = self.asked(method=b"POST", end=False)
        self.client.h2.send_data(1, b"body")
        self.client.h2.send_headers(1, [(b"x", b"y")], end_stream=True)
        self.client.talk()
        self.assertTrue(up.heard().endswith(b"4\r\nbody\r\n0\r\n\r\n"))
        self.hear(up, OK)
        self.assertTrue(reply.whole)

    def test_chunked_response(self) -> None:
        """A chunked response ends the stream with its last chunk, and not before."""
        up, reply = self.asked()
        self.hear(up, CHUNKED + b"3\r\nabc\r\n")
        self.assertEqual((reply.brief, reply.ended), ((200, b"abc"), False))
        self.hear(up, b"0\r\n\r\n")
        self.assertTrue(reply.whole)
        self.assertIsNone(reply.value(b"content-length"))

    def test_until_close(self) -> None:
        """A response that ends with its connection ends the stream."""
        up, reply = self.asked()
        self.hear(up, b"HTTP/1.1 200 OK\r\n\r\nabc")
        self.assertFalse(reply.ended)
        up.closes()
        self.client.talk()
        self.assertEqual((reply.brief, reply.whole), ((200, b"abc"), True))

    def test_trailers(self) -> None:
        """Response trailers pass to a client that has asked for them, and to no other."""
        for te, expected in ([(b"te", b"trailers")], [(b"x", b"y")]), ([], []):
            up, reply = self.asked(*te)
            self.assertEqual(b"\r\nTE: trailers\r\n" in up.heard(), bool(te))
            self.hear(up, CHUNKED + b"3\r\nabc\r\n0\r\nX: y\r\n\r\n")
            self.assertEqual((reply.brief, reply.whole), ((200, b"abc"), True))
            self.assertEqual(reply.trailers, expected)

    def test_interim(self) -> None:
        """103 passes on before the final response."""
        up, reply = self.asked()
        self.hear(up, b"HTTP/1.1 103 Early Hints\r\nLink: a\r\n\r\n")
        self.assertEqual(reply.interim, [(103, [(b"link", b"a")])])
        self.hear(up, OK)
        self.assertEqual(reply.brief, (200, b"ok"))

    def test_continue(self) -> None:
        """The upstream's 100 is passed on, and lets the body go."""
        up, reply = self.asked(
            (b"expect", b"100-continue"), (b"content-length", b"4"), method=b"POST", end=False
        )
        self.assertIn(b"\r\nExpect: 100-continue\r\n", up.heard())
        self.hear(up, b"HTTP/1.1 100 Continue\r\n\r\n")
        self.assertEqual(reply.interim, [(100, [])])
        self.client.say(1, b"body", end=True)
        self.assertEqual(up.heard(), b"body")
        self.hear(up, OK)
        self.assertTrue(reply.whole)

    def test_body_before_the_continue(self) -> None:
        """A body that does not wait for the 100 is held until it has come."""
        up, reply = self.asked((b"expect", b"100-continue"), method=b"POST", body=b"body")
        up.heard()
        self.hear(up, b"HTTP/1.1 100 Continue\r\n\r\n")
        self.assertEqual(up.heard(), b"4\r\nbody\r\n0\r\n\r\n")
        self.hear(up, OK)
        self.assertTrue(reply.whole)

    def test_continue_of_our_own(self) -> None:
        """After a second without one the proxy says 100 itself."""
        stage, client = self.connect()
        reply = client.post((b"expect", b"100-continue"))
        stage.upstream()
        stage.wait(2.5)
        client.talk()
        self.assertEqual(reply.interim, [(100, [])])

    def test_head(self) -> None:
        """HEAD has the length and no body."""
        up, reply = self.asked(method=b"HEAD")
        self.hear(up, HEAD_OF_TEN)
        self.assertEqual((reply.brief, reply.whole), ((200, b""), True))
        self.assertEqual(reply.value(b"content-length"), b"10")

    def test_no_content(self) -> None:
        """204 and 304 have no body, whatever they say of their length."""
        for status, length in (b"204 No Content", None), (b"304 Not Modified", b"10"):
            up, reply = self.asked()
            more = b"Content-Length: 10\r\n" if length else b""
            self.hear(up, b"HTTP/1.1 " + status + b"\r\n" + more + b"\r\n")
            self.assertEqual((reply.brief, reply.whole), ((int(status[:3]), b""), True))
            self.assertEqual(reply.value(b"content-length"), length)

    def test_early_answer(self) -> None:
        """A response before the end of the request ends both, but not in one write: clients that
        read both at once make nothing of the response (NO_ERROR, RFC 9113 8.1).
        """
        up, reply = self.asked(method=b"POST", end=False)
        self.client.say(1, b"some")
        self.hear(up, OK)
        self.assertEqual((reply.brief, reply.ended, reply.reset), ((200, b"ok"), True, None))
        self.stage_now.wait(12)
        self.client.talk()
        self.assertEqual(reply.reset, NO_ERROR)

    def test_one_connection_upstream_is_used_again(self) -> None:
        """A second request takes the upstream connection of the first."""
        up, _ = self.asked()
        self.hear(up, OK)
        second = self.client.request()
        self.hear(up, OK)
        self.assertTrue(second.whole)
