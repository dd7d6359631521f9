"""Answers that come before the request has ended, and expectations (RFC 9112 9.5, 9110 10.1.1)."""

from __future__ import annotations

import threading
import time

from tests.support.cases import ProxyCase
from tests.support.raw_client import RawClient
from tests.support.recording_upstream import OK, Answer, Conversation

SMUGGLED = b"GET /smuggled HTTP/1.1\r\nHost: site.test\r\n\r\n"
EARLY = b"HTTP/1.1 403 Forbidden\r\nContent-Length: 2\r\n\r\nno"
CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"
EXPECT = b"Expect: 100-continue"


class EarlyAnswerTests(ProxyCase):
    """An upstream that answers before it has the whole request is never used again."""

    def begin_upload(self, *, size: int = 1_000_000) -> RawClient:
        """A client in the middle of its upload."""
        raw = self.request(b"/early", b"Content-Length: %d" % size, method=b"POST")
        return self.client().send(raw, b"b" * 1000)

    def test_answer_before_the_body(self) -> None:
        """The answer is relayed at once and that upstream connection closed, not pooled."""
        self.upstream.answers[b"/early"] = Answer((EARLY,), then="hold", early=True)
        client = self.begin_upload()
        response = client.read_response()
        self.assertEqual((response.status, response.body), (403, b"no"))
        self.assertEqual(response.value(b"Connection"), b"close")
        client.close()
        self.upstream.wait_until(lambda: not self.upstream.open_connections)
        self.assertEqual(self.get(b"/next").status, 200)
        first, second = self.upstream.requests
        self.assertNotEqual(first.connection, second.connection)

    def test_rest_of_the_body_is_no_request(self) -> None:
        """What the client still sends after an early answer is never read as a request."""
        self.upstream.answers[b"/early"] = Answer((EARLY,), then="hold", early=True)
        size = 1000 + len(SMUGGLED)
        client = self.begin_upload(size=size)
        self.assertEqual(client.read_response().status, 403)
        client.send(SMUGGLED)
        client.send(self.request(b"/after"))
        rest = client.half_close().read_until_close()
        self.assertLessEqual(rest.count(b"HTTP/1.1 "), 1)
        self.assertEqual(self.get(b"/sentinel").status, 200)
        targets = {request.target for request in self.upstream.requests}
        self.assertLessEqual(targets, {b"/early", b"/after", b"/sentinel"})

    def test_upstream_that_answers_and_closes(self) -> None:
        """An early answer reaches a client that is still sending when the upstream closes."""

        def check(then: str) -> None:
            self.upstream.forget()
            self.upstream.answers[b"/early"] = Answer((EARLY,), then=then, early=True)
            client = self.begin_upload(size=20_000_000)
            for _ in range(200):
                client.send(b"b" * 50_000)
            response = client.read_response()
            self.assertEqual((response.status, response.body), (403, b"no"))

        self.each(["close"], check)

    def test_upstream_that_answers_and_reads_no_more(self) -> None:
        """An upstream that answers early and stops reading does not keep its connection."""
        cut = []

        def deaf(conversation: Conversation) -> None:
            conversation.pause(1)
            conversation.send(EARLY)
            cut.append(conversation.is_cut(3))

        self.upstream.answers[b"/early"] = deaf
        client = self.begin_upload(size=60_000_000)
        writer = threading.Thread(target=client.send, args=(bytes(59_000_000),))
        writer.start()
        self.assertEqual(client.read_response().status, 403)
        self.upstream.wait_until(lambda: bool(cut), 10)
        self.assertEqual(cut, [True])
        client.close()
        writer.join(10)

    def test_early_answer_without_end(self) -> None:
        """An upstream may answer while it still reads; both sides then flow to their ends."""

        def both_ways(conversation: Conversation) -> None:
            conversation.send(
                b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nearly\r\n"
            )
            conversation.read_body()
            conversation.send(b"4\r\nlate\r\n0\r\n\r\n")

        self.upstream.answers[b"/both"] = both_ways
        client = self.client()
        client.send(self.request(b"/both", b"Content-Length: 6", method=b"POST"), b"abc")
        self.assertEqual(client.stream.until(b"early\r\n")[-7:], b"early\r\n")
        client.send(b"def")
        self.assertEqual(client.stream.until(b"0\r\n\r\n"), b"4\r\nlate\r\n0\r\n\r\n")
        self.assertEqual(self.only_request().body, b"abcdef")


class ExpectationTests(ProxyCase):
    """``Expect: 100-continue`` invites a body only after every check, and by the upstream."""

    OVERRIDES = {"body": {"limit_bytes": 100_000}}

    def ask_first(self, *fields: bytes, size: int = 5) -> RawClient:
        """A client that waits before it sends its body."""
        length = b"Content-Length: %d" % size
        raw = self.request(b"/e", EXPECT, length, *fields, method=b"PUT")
        return self.client().send(raw)

    def test_forwarded(self) -> None:
        """It is forwarded; the upstream's 100 is passed on, and the body follows it."""
        seen_before = []

        def script(conversation: Conversation) -> None:
            seen_before.append(bytes(conversation.request.body))
            conversation.send(CONTINUE)
            conversation.read_body()
            conversation.send(OK)

        self.upstream.answers[b"/e"] = script
        client = self.ask_first()
        self.assertEqual(client.read_head().status, 100)
        client.send(b"hello")
        self.assertEqual(client.read_response().status, 200)
        request = self.only_request()
        self.assertEqual(request.value(b"Expect"), b"100-continue")
        self.assertEqual((request.body, request.complete), (b"hello", True))
        self.assertEqual(client.ask(self.request(b"/next")).status, 200)

    def test_refused_by_the_upstream(self) -> None:
        """A final answer instead of 100 is relayed and the body is not forwarded."""
        self.upstream.answers[b"/e"] = Answer((EARLY,), early=True, then="hold")
        client = self.ask_first(size=len(SMUGGLED))
        response = client.read_response()
        self.assertEqual((response.status, response.interim), (403, []))
        client.send(SMUGGLED)
        client.half_close().read_until_close()
        self.assertEqual(self.get(b"/sentinel").status, 200)
        targets = [request.target for request in self.upstream.requests]
        self.assertEqual(targets, [b"/e", b"/sentinel"])

    def test_body_sent_without_waiting(self) -> None:
        """A body sent at once waits for the 100, or for a second without an answer."""
        self.upstream.answers[b"/e"] = OK
        started = time.monotonic()
        client = self.ask_first().send(b"hello")
        self.assertEqual(client.read_response().status, 200)
        self.assert_quick(started, 0.5, 3.5)
        self.assertEqual(self.only_request().body, b"hello")

    def test_checks_come_first(self) -> None:
        """A body above the limit is 413 without a 100 and without a byte upstream."""
        client = self.ask_first(size=100_001)
        response = client.read_response()
        self.assertEqual((response.status, response.interim), (413, []))
        self.assertTrue(client.is_closed_by_proxy())
        self.assert_nothing_forwarded()

    def test_unknown_host_comes_first(self) -> None:
        """An unknown host gets its answer without a 100."""
        raw = self.request(b"/e", EXPECT, b"Content-Length: 5", method=b"PUT", host=b"no.test")
        response = self.client().ask(raw)
        self.assertIn(response.status, {404, 421})
        self.assertEqual(response.interim, [])
        self.assert_nothing_forwarded()

    def test_unknown_expectation(self) -> None:
        """Any other expectation is 417, and nothing goes upstream."""

        def check(line: bytes) -> None:
            raw = self.request(b"/e", line, b"Content-Length: 5", method=b"PUT", body=b"hello")
            self.assertEqual(self.client().ask(raw).status, 417)

        self.each([b"Expect: 200-ok", b"Expect: 100-continue, x", b"Expect: x=y"], check)
        self.assert_nothing_forwarded()

    def test_case(self) -> None:
        """The expectation is case-insensitive."""
        self.upstream.answers[b"/e"] = Answer((CONTINUE, OK), early=True)
        raw = self.request(b"/e", b"Expect: 100-Continue", b"Content-Length: 5", method=b"PUT")
        client = self.client().send(raw)
        self.assertEqual(client.read_head().status, 100)

    def test_http_1_0(self) -> None:
        """HTTP/1.0 never gets a 100; its expectation is ignored (RFC 9110 10.1.1)."""
        raw = self.request(
            b"/e",
            EXPECT,
            b"Content-Length: 5",
            method=b"PUT",
            version=b"HTTP/1.0",
            body=b"hello",
        )
        response = self.client().ask(raw)
        self.assertEqual((response.status, response.interim), (200, []))
        self.assertEqual(self.only_request().body, b"hello")

    def test_unasked_100_is_swallowed(self) -> None:
        """A 100 that nobody asked for is not passed on."""
        self.upstream.answers[b"/e"] = CONTINUE + OK
        response = self.get(b"/e")
        self.assertEqual((response.status, response.interim), (200, []))


class CutRequestTests(ProxyCase):
    """A request that was cut short is never a whole one upstream."""

    def test_downstream_vanishes_in_its_body(self) -> None:
        """When the client goes in the middle of its body, the upstream connection closes."""

        def check(line: bytes, part: bytes, end: str) -> None:
            self.upstream.forget()
            client = self.client()
            client.send(self.request(b"/cut", line, method=b"POST", body=part))
            self.upstream.wait_for_requests(1)
            if end == "reset":
                client.reset()
            else:
                client.close()
            self.upstream.wait_until(lambda: not self.upstream.open_connections)
            self.assertFalse(self.only_request().complete)

        length, chunked = b"Content-Length: 1000", b"Transfer-Encoding: chunked"
        self.each(
            [
                (length, b"part", "close"),
                (length, b"part", "reset"),
                (chunked, b"4\r\npart\r\n", "close"),
                (chunked, b"4\r\npa", "close"),
                (chunked, b"4\r\npart\r\n0\r\n", "reset"),
            ],
            check,
        )

    def test_downstream_vanishes_while_waiting(self) -> None:
        """When the client goes before its answer, the upstream connection closes."""
        self.upstream.answers[b"/wait"] = Answer((), then="hold")
        client = self.client().send(self.request(b"/wait"))
        self.upstream.wait_for_requests(1)
        client.reset()
        self.upstream.wait_until(lambda: not self.upstream.open_connections)

    def test_half_closed_body(self) -> None:
        """FIN in the middle of a body is an end cut short."""
        client = self.client()
        client.send(self.request(b"/cut", b"Content-Length: 9", method=b"POST", body=b"part"))
        self.upstream.wait_for_requests(1)
        client.half_close()
        self.upstream.wait_until(lambda: not self.upstream.open_connections, 2)
        self.assertFalse(self.only_request().complete)
