"""What the proxy itself says over HTTP/2: its own answers, and that something was cut."""

from __future__ import annotations

from revproxy.model.configuration import Limits
from revproxy.model.tls import Identity
from revproxy.policy.rate_limit import TokenBuckets
from revproxy.wire.h2.frames import CANCEL, INTERNAL_ERROR, RST_STREAM, rst_stream
from tests.support.h2_playbook import H2Case, H2Client, Reply
from tests.support.h2_wire import GET as GET_FIELDS
from tests.support.h2_wire import headers, sent_frames
from tests.support.playbook import DATE, DATE_LINE, OK, Peer, Stage

HEAD_OF_TEN = b"HTTP/1.1 200 OK\r\n" + DATE_LINE + b"Content-Length: 10\r\n\r\n"
CHUNKED = b"HTTP/1.1 200 OK\r\n" + DATE_LINE + b"Transfer-Encoding: chunked\r\n\r\n"


class OwnAnswerTests(H2Case):
    def check(self, reply: Reply, status: int, reason: bytes, **more: bytes) -> None:
        """An answer of the proxy's own, whole."""
        self.assertEqual(reply.brief, (status, reason))
        self.assertTrue(reply.whole)
        fields = {name.replace(b"_", b"-").decode(): value for name, value in reply.fields}
        self.assertEqual(
            fields,
            {
                "content-type": b"text/plain; charset=utf-8",
                "content-length": b"%d" % len(reason),
                "date": DATE,
                **{name.replace("_", "-"): value for name, value in more.items()},
            },
        )

    def test_unknown_host(self) -> None:
        """404, and the connection goes on."""
        stage, client = self.connect()
        self.check(client.request(host=b"x.test"), 404, b"Not Found")
        self.check(client.request(host=b"x.test"), 404, b"Not Found")
        self.assertIsNone(client.peer.ended)
        self.assertEqual(stage.log.statuses, [404, 404])

    def test_unknown_host_with_a_body(self) -> None:
        """What more comes of the request is thrown away, and its window given back."""
        _, client = self.connect()
        for _ in range(20):
            stream = client.h2.get_next_available_stream_id()
            reply = client.request(host=b"x.test", method=b"POST", body=b"x" * 10, end=False)
            self.assertEqual(reply.status, 404)
            # As if the reset had not come yet.
            client.peer.says(b"\0\x40\0\0\0" + stream.to_bytes(4, "big") + b"x" * 16384)
        client.talk()
        self.assertGreaterEqual(sum(client.updates.get(0, [])), 20 * 16384 - 2**19)

    def test_misdirected(self) -> None:
        """421 for a host that the connection's certificate does not cover."""
        stage = self.stage()
        client = H2Client(stage, identity=Identity(None, frozenset({"b.test"}), frozenset()))
        self.check(client.request(), 421, b"Misdirected Request")

    def test_announced_too_large(self) -> None:
        """413 before a byte of it, and nothing goes upstream."""
        stage, client = self.connect(body_limit=100)
        reply = client.post((b"content-length", b"101"))
        self.assertEqual(reply.brief, (413, b"Content Too Large"))
        self.assertEqual(stage.attempts, [])

    def test_too_large_while_it_comes(self) -> None:
        """413 while the body comes; the upstream has no whole request."""
        stage, client = self.connect(body_limit=100)
        reply = client.post()
        up = stage.upstream()
        client.say(1, b"x" * 100)
        self.assertEqual(reply.status, 0)
        client.say(1, b"x")
        self.assertEqual(reply.brief, (413, b"Content Too Large"))
        self.assertEqual(up.ended, "aborted")
        self.assertNotIn(b"0\r\n\r\n", up.heard())
        self.assertEqual(client.request(host=b"x.test").status, 404)
        self.assertEqual(stage.log.statuses, [413, 404])

    def test_too_large_with_its_end(self) -> None:
        """The last part that is too much is no end of a request."""
        stage, client = self.connect(body_limit=100)
        reply = client.post(body=b"x" * 101, end=True)
        self.assertEqual(reply.brief, (413, b"Content Too Large"))
        self.assertEqual([one.state for one in stage.attempts], ["disconnected"])

    def test_rate_limit(self) -> None:
        """429 beyond the burst, for each stream by itself."""
        stage, client = self.connect(burst=2)
        stage.port.router.plan = stage.plan(limiter=TokenBuckets(0.001, 2, 8))
        replies = [client.request(host=b"x.test", talk=False) for _ in range(4)]
        client.talk()
        self.assertEqual([reply.status for reply in replies], [404, 404, 429, 429])
        retry = replies[-1].value(b"retry-after")
        assert retry is not None
        self.check(replies[-1], 429, b"Too Many Requests", retry_after=retry)
        events = [event for _, event, _ in stage.log.records]
        self.assertEqual(events, ["RATE_LIMIT", "RATE_LIMIT"])

    def test_too_many_fields(self) -> None:
        """431, and the connection goes on."""
        stage, client = self.connect(limits=Limits(request_headers=10))
        reply = client.request(b"/", *[(b"x", b"y")] * 10)
        self.check(reply, 431, b"Request Header Fields Too Large")
        self.assertEqual(client.request(host=b"x.test").status, 404)
        self.assertEqual(stage.log.requests[0]["error"], "too many header fields")

    def test_refused_head_request(self) -> None:
        """HEAD has no content even when it is refused before it is understood."""
        _, client = self.connect(limits=Limits(request_headers=10))
        reply = client.request(b"/", *[(b"x", b"y")] * 10, method=b"HEAD")
        self.assertEqual((reply.brief, reply.whole), ((431, b""), True))

    def test_refused_requests_are_limited(self) -> None:
        """Requests that are refused as they are cost their client of its rate, too."""
        stage, client = self.connect(limits=Limits(request_headers=10))
        stage.port.router.plan = stage.plan(limiter=TokenBuckets(0.001, 2, 8))
        many = [(b"x", b"y")] * 10
        statuses = [client.request(b"/", *many).status for _ in range(4)]
        self.assertEqual(statuses, [431, 431, 429, 429])
        self.assertEqual(stage.log.statuses, statuses)

    def test_long_target(self) -> None:
        """414."""
        _, client = self.connect(limits=Limits(request_target_bytes=100))
        self.check(client.request(b"/" + b"x" * 100), 414, b"URI Too Long")

    def test_refused_with_a_body(self) -> None:
        """What comes of a refused request is thrown away, whatever its amount."""
        _, client = self.connect(limits=Limits(request_target_bytes=100))
        reply = client.request(b"/" + b"x" * 100, method=b"POST", body=b"x" * 16384, end=False)
        self.assertEqual((reply.status, reply.reset), (414, None))

    def test_methods(self) -> None:
        """CONNECT and TRACE are 405, OPTIONS of the proxy 204."""
        _, client = self.connect()
        self.assertEqual(client.request(method=b"TRACE").status, 405)
        client.peer.says(headers(3, [(b":method", b"CONNECT"), (b":authority", b"a.test:1")]))
        (head, *_) = sent_frames(client.peer.heard())
        self.assertEqual(head.stream, 3)
        other = H2Client(self.stage())
        reply = other.request(b"*", method=b"OPTIONS")
        self.assertEqual((reply.brief, reply.whole), ((204, b""), True))

    def test_head(self) -> None:
        """An answer to HEAD has the length of its content, and none."""
        _, client = self.connect()
        reply = client.request(host=b"x.test", method=b"HEAD")
        self.assertEqual((reply.brief, reply.whole), ((404, b""), True))
        self.assertEqual(reply.value(b"content-length"), b"9")

    def test_upstream_refuses(self) -> None:
        """502."""
        stage, client = self.connect()
        reply = client.request()
        stage.attempts[0].fail(OSError())
        client.talk()
        self.check(reply, 502, b"Bad Gateway")


class CutTests(H2Case):
    def begun(self, *fields: tuple[bytes, bytes], **how: object) -> tuple[Stage, H2Client, Peer]:
        """A request that has reached its upstream."""
        stage, client = self.connect()
        client.request(b"/", *fields, **how)  # type: ignore[arg-type]
        up = stage.upstream()
        up.heard()
        return stage, client, up

    def test_response_cut(self) -> None:
        """A response that its upstream cuts is reset, by length, chunked or half a chunk."""
        for said in (HEAD_OF_TEN + b"abc", CHUNKED + b"3\r\nabc\r\n", CHUNKED + b"6\r\nabc"):
            stage, client, up = self.begun()
            up.says(said)
            up.closes()
            client.talk()
            reply = client.replies[1]
            self.assertEqual((reply.ended, reply.reset), (False, INTERNAL_ERROR))
            self.assertEqual(bytes(reply.body), b"abc")
            self.assertEqual(stage.log.requests[0]["cut"], "upstream")
            self.assertEqual(client.request(host=b"x.test").status, 404)

    def test_cut_trailers(self) -> None:
        """Without its trailer section a response is not whole."""
        _, client, up = self.begun()
        up.says(CHUNKED + b"3\r\nabc\r\n0\r\nX: y\r\n")
        up.resets()
        client.talk()
        self.assertEqual(client.replies[1].reset, INTERNAL_ERROR)

    def test_client_cancels(self) -> None:
        """A stream that the client resets takes its upstream along, and is 499."""
        for how in ({}, {"method": b"POST", "body": b"some", "end": False}):
            stage, client, up = self.begun(**how)
            client.cancel(1)
            self.assertEqual(up.ended, "aborted")
            self.assertEqual(stage.log.statuses, [499])
            self.assertEqual(stage.log.requests[0]["cut"], "downstream")
            self.assertFalse(up.heard().endswith(b"0\r\n\r\n"))
            self.assertIsNone(client.peer.ended)

    def test_client_cancels_a_response(self) -> None:
        """One whose response has begun has that status, and is cut."""
        stage, client, up = self.begun()
        up.says(HEAD_OF_TEN + b"abc")
        client.cancel(1)
        self.assertEqual(up.ended, "aborted")
        self.assertEqual((stage.log.statuses, stage.log.requests[0]["cut"]), ([200], "downstream"))

    def test_client_cancels_an_attempt(self) -> None:
        """One that waits for its upstream connection waits no more."""
        stage, client = self.connect()
        client.request()
        client.cancel(1)
        self.assertEqual([one.state for one in stage.attempts], ["disconnected"])
        self.assertEqual(stage.log.statuses, [499])

    def test_cancel_one_of_many(self) -> None:
        """The others go on."""
        stage, client, first = self.begun()
        second = client.request()
        up = stage.upstream()
        client.cancel(1)
        up.says(OK)
        client.talk()
        self.assertEqual((first.ended, second.brief), ("aborted", (200, b"ok")))

    def test_connection_lost(self) -> None:
        """A connection that is lost takes all its exchanges along."""
        stage, client, first = self.begun()
        client.post(body=b"some")
        second = stage.upstream()
        client.request(host=b"a.test")
        client.peer.resets()
        stage.wait(0.1)
        self.assertEqual((first.ended, second.ended), ("aborted", "aborted"))
        self.assertEqual(stage.log.statuses, [499, 499, 499])
        self.assertEqual(stage.deadlines.watching, set())

    def test_reset_after_the_end(self) -> None:
        """A reset that crosses the end of the response is nothing."""
        stage, client, up = self.begun()
        up.says(OK)
        client.peer.says(rst_stream(1, CANCEL))
        client.talk()
        self.assertEqual(client.request(host=b"x.test").status, 404)
        self.assertEqual(stage.log.statuses, [200, 404])

    def test_request_shorter_than_announced(self) -> None:
        """A request that ends before its length is no request: reset, nothing whole upstream."""
        stage, client = self.connect()
        fields = [(b":method", b"POST"), *GET_FIELDS[1:], (b"content-length", b"10")]
        client.peer.says(headers(1, fields, end=False))
        up = stage.upstream()
        client.peer.says(b"\0\0\x04\0\1\0\0\0\1body")
        self.assertEqual([one.kind for one in sent_frames(client.peer.heard())], [RST_STREAM])
        self.assertEqual((up.ended, stage.log.statuses), ("aborted", [499]))

    def test_refused_in_mid_response(self) -> None:
        """A request body that is refused after the response has begun cuts that response."""
        stage, client = self.connect(body_limit=10)
        reply = client.post(body=b"x" * 5)
        stage.upstream().says(HEAD_OF_TEN + b"abc")
        client.say(1, b"x" * 6)
        self.assertEqual((reply.ended, reply.reset), (False, INTERNAL_ERROR))
        self.assertEqual(stage.log.requests[0]["error"], "request body too large")
