"""Responses of an upstream on their way to the downstream, and what they do to connections."""

from __future__ import annotations

from attrs import evolve

from revproxy.wire.chunked import ChunkedDecoder
from tests.support.playbook import (
    DATE_LINE,
    GET,
    OK,
    UPSTREAM,
    Peer,
    PlaybookCase,
    Stage,
    own,
    post,
)

HEAD = b"HTTP/1.1 200 OK\r\n" + DATE_LINE
CHUNKED = HEAD + b"Transfer-Encoding: chunked\r\n\r\n"
BAD_GATEWAY = own(b"502 Bad Gateway")


def unchunked(response: bytes) -> bytes:
    """``response`` with the content of its chunks only: how it is chunked is free."""
    head, mark, body = response.partition(CHUNKED)
    if not mark:
        return response
    decoder = ChunkedDecoder(100, 100)
    return head + mark + decoder.feed(body) + b"done" * decoder.done


class ResponseCase(PlaybookCase):
    def asked(self, request: bytes = GET, **arguments: object) -> tuple[Stage, Peer, Peer]:
        """A request that its upstream has received."""
        stage = self.stage(**arguments)
        down = stage.downstream()
        down.says(request)
        up = stage.upstream()
        up.heard()
        return stage, down, up


class PassingTests(ResponseCase):
    def test_split_at_every_byte(self) -> None:
        """Where an upstream splits its responses makes no difference."""
        hints = b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n"
        for response in (OK, hints + OK, CHUNKED + b"3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n"):
            for at in range(1, len(response)):
                stage, down, up = self.asked()
                up.says(response[:at], response[at:])
                self.assertEqual(unchunked(down.heard()), unchunked(response))
                self.assertEqual((stage.log.statuses, stage.pool.idle), ([200], 1))

    def test_one_read_one_send(self) -> None:
        """What one read of the upstream brings leaves as one send."""
        _, down, up = self.asked()
        up.says(CHUNKED + b"3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n")
        self.assertEqual(len(down.wire.sends), 1)

    def test_date(self) -> None:
        """A response without Date gets one."""
        _, down, up = self.asked()
        up.says(b"HTTP/1.1 200 Fine\r\nA: b\r\nContent-Length: 0\r\n\r\n")
        self.assertEqual(
            down.heard(),
            b"HTTP/1.1 200 Fine\r\nA: b\r\n" + DATE_LINE + b"Content-Length: 0\r\n\r\n",
        )

    def test_without_body(self) -> None:
        """HEAD, 204 and 304 have no body, whatever their fields say."""
        for method, status in ((b"HEAD", b"200 OK"), (b"GET", b"304 Not Modified")):
            stage, down, up = self.asked(GET.replace(b"GET", method))
            head = b"HTTP/1.1 %b\r\n%bContent-Length: 500\r\n\r\n" % (status, DATE_LINE)
            up.says(head)
            self.assertEqual(down.heard(), head)
            self.assertEqual(stage.pool.idle, 1)

    def test_http_1_0_downstream(self) -> None:
        """HTTP/1.0 gets neither chunks nor 1xx; a body without length ends with the connection."""
        _, down, up = self.asked(GET.replace(b"1.1", b"1.0"))
        up.says(b"HTTP/1.1 103 Early Hints\r\n\r\n", CHUNKED + b"3\r\nabc\r\n0\r\n\r\n")
        self.assertEqual(down.heard(), HEAD + b"Connection: close\r\n\r\nabc")
        self.assertEqual(down.ended, "closed")

    def test_http_1_0_upstream(self) -> None:
        """An upstream of HTTP/1.0 serves one request a connection."""
        stage, down, up = self.asked()
        up.says(OK.replace(b"HTTP/1.1", b"HTTP/1.0"))
        self.assertEqual(down.heard(), OK)
        self.assertEqual((stage.pool.idle, up.ended), (0, "closed"))

    def test_trailers(self) -> None:
        """Trailers reach a downstream that asked for them, and no other."""
        body = b"3\r\nabc\r\n0\r\nA: b\r\n\r\n"
        _, down, up = self.asked(GET.replace(b"\r\n\r\n", b"\r\nTE: trailers\r\n\r\n"))
        up.says(CHUNKED + body)
        self.assertEqual(down.heard(), CHUNKED + body)
        _, down, up = self.asked()
        up.says(CHUNKED + body)
        self.assertEqual(down.heard(), CHUNKED + b"3\r\nabc\r\n0\r\n\r\n")

    def test_early_response(self) -> None:
        """A response that is complete before its request ends both connections."""
        stage, down, up = self.asked(post(100_000) + b"x")
        up.says(OK)
        self.assertIn(b"\r\nConnection: close\r\n", down.heard())
        self.assertTrue(down.half_closed)
        self.assertEqual((up.ended, stage.pool.idle), ("closed", 0))
        down.says(b"x" * 1000)
        self.assertEqual(stage.log.statuses, [200])

    def test_early_response_and_rest_of_request(self) -> None:
        """A request that is complete before its early response is leaves the upstream usable."""
        stage, down, up = self.asked(post(4) + b"bo")
        up.says(OK[:-1])
        down.says(b"dy")
        self.assertEqual(up.heard(), b"dy")
        up.says(b"k")
        self.assertTrue(down.heard().endswith(b"Connection: close\r\n\r\nok"))
        self.assertEqual((down.ended, stage.pool.idle), ("closed", 1))


class InvalidResponseTests(ResponseCase):
    def refused(self, response: bytes, reason: str, **arguments: object) -> None:
        """``response`` is 502 and the end of the upstream connection."""
        stage, down, up = self.asked(**arguments)
        up.says(response)
        self.assertEqual(down.heard(), BAD_GATEWAY)
        self.assertEqual((up.ended, stage.pool.idle), ("aborted", 0))
        self.assertEqual(stage.log.upstream_errors, [reason])

    def test_heads(self) -> None:
        """A head that is none, or frames its body in two ways, is 502."""
        self.refused(b"nonsense\r\n\r\n", "invalid status line")
        self.refused(b"HTTP/1.1 200 OK\nA: b\n\n", "invalid response head")
        both = b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n"
        self.refused(both, "content-length with transfer-encoding in the response")

    def test_switching_protocols(self) -> None:
        """A 101 that nobody asked for is 502."""
        self.refused(b"HTTP/1.1 101 Switching Protocols\r\n\r\n", "unasked 101")

    def test_head_too_large(self) -> None:
        """A head above upstream_head_bytes is 502, complete or not."""
        settings = evolve(UPSTREAM, head_bytes=100)
        reason = "response head too large"
        self.refused(OK[:-6] + b"a" * 100, reason, settings=settings)
        self.refused(b"HTTP/1.1 200 OK\r\nA: %b\r\n\r\n" % (b"a" * 80), reason, settings=settings)

    def test_too_many_interims(self) -> None:
        """At most interim_responses 1xx are passed on."""
        stage, down, up = self.asked(settings=evolve(UPSTREAM, interim=2))
        hints = b"HTTP/1.1 103 Early Hints\r\n\r\n"
        up.says(hints, hints)
        self.assertEqual(down.heard(), hints * 2)
        up.says(hints)
        self.assertEqual(down.heard(), BAD_GATEWAY)
        self.assertEqual(stage.log.upstream_errors, ["too many 1xx"])

    def test_unasked_continue(self) -> None:
        """A 100 that nobody waits for is swallowed."""
        _, down, up = self.asked()
        up.says(b"HTTP/1.1 100 Continue\r\n\r\n" + OK)
        self.assertEqual(down.heard(), OK)

    def test_invalid_chunk(self) -> None:
        """A chunked body that turns invalid is cut there."""
        stage, down, up = self.asked()
        up.says(CHUNKED + b"3\r\nabc\r\n", b"nonsense\r\n")
        self.assertEqual(down.heard(), CHUNKED + b"3\r\nabc\r\n")
        self.assertEqual((down.ended, up.ended), ("closed", "aborted"))
        self.assertEqual(stage.log.requests[0]["cut"], "upstream")


class ReuseTests(ResponseCase):
    def test_clean(self) -> None:
        """A connection is reused by whoever comes next."""
        stage, _, up = self.asked()
        up.says(OK)
        other = stage.downstream()
        other.says(GET)
        self.assertEqual((up.heard().count(b"GET"), stage.pool.idle, stage.attempts), (1, 0, []))
        up.says(OK)
        self.assertEqual(other.heard(), OK)

    def test_more_than_announced(self) -> None:
        """Bytes after a response make its connection useless, and reach nobody."""
        for request, response in (
            (GET, OK + b"HTTP/1.1 200 OK\r\n\r\n"),
            (GET, CHUNKED + b"0\r\n\r\nx"),
            (GET.replace(b"GET", b"HEAD"), OK),
        ):
            stage, down, up = self.asked(request)
            up.says(response)
            self.assertNotIn(b"HTTP", down.heard()[10:])
            self.assertEqual((stage.pool.idle, up.ended), (0, "closed"))
            self.assertIsNone(down.ended)

    def test_unasked_response(self) -> None:
        """An idle connection that says anything is closed at once."""
        stage, _, up = self.asked()
        up.says(OK)
        up.says(OK)
        self.assertEqual((stage.pool.idle, up.ended), (0, "aborted"))

    def test_close(self) -> None:
        """A response with Connection: close ends its connection and not the downstream's."""
        stage, down, up = self.asked()
        up.says(OK.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n"))
        self.assertEqual(down.heard(), OK)
        self.assertEqual((stage.pool.idle, up.ended, down.ended), (0, "closed", None))

    def test_next_request_in_the_same_turn(self) -> None:
        """A pipelined request goes out on the connection that its predecessor just freed."""
        stage, down, up = self.asked(GET * 3)
        for _ in range(3):
            up.says(OK)
        self.assertEqual(down.heard(), OK * 3)
        self.assertEqual((stage.pool.idle, stage.attempts), (1, []))

    def test_failure_of_another(self) -> None:
        """One exchange's failure never touches another's."""
        stage = self.stage()
        first, second = stage.downstream(), stage.downstream()
        first.says(GET)
        second.says(GET)
        one, two = stage.upstream(), stage.upstream()
        one.says(b"nonsense\r\n\r\n")
        two.says(OK)
        self.assertEqual((first.heard(), second.heard()), (BAD_GATEWAY, OK))
