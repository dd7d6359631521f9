"""Extended CONNECT of HTTP/2 (RFC 8441) bridged to an upgrade of HTTP/1.1."""

from __future__ import annotations

from tests.support.h2_playbook import Reply
from tests.support.h2_upgrades import ConnectCase, answer
from tests.support.playbook import DATE, GET, OK
from tests.support.upgrades import switching


class SwitchTests(ConnectCase):
    """How it is agreed to."""

    def test_request(self) -> None:
        """The upstream is asked by GET, with a key, and is told nothing of what comes behind."""
        _, client, reply, up = self.asked((b"sec-websocket-protocol", b"chat"), (b"origin", b"x"))
        heard = up.heard()
        self.assertTrue(heard.startswith(b"GET /chat HTTP/1.1\r\nHost: a.test\r\n"))
        self.assertIn(b"\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n", heard)
        self.assertEqual(heard.count(b"\r\nSec-WebSocket-Key: "), 1)
        self.assertIn(b"\r\nsec-websocket-version: 13\r\nsec-websocket-protocol: chat\r\n", heard)
        for name in (b"transfer-encoding", b"content-length", b":protocol", b"expect"):
            self.assertNotIn(name, heard.lower())
        client.say(1, b"early")
        self.assertEqual((up.heard(), reply.status), (b"", 0))

    def test_answer(self) -> None:
        """The 101 is a 200 without the answer to our key, and without fields of HTTP/1.1."""
        _, client, reply, up = self.asked()
        up.says(answer(up.heard(), b"Sec-WebSocket-Protocol: chat", b"X-A: 1"))
        client.talk()
        expected = [(b"sec-websocket-protocol", b"chat"), (b"x-a", b"1"), (b"date", DATE)]
        self.assertEqual((reply.status, reply.fields, reply.ended), (200, expected, False))

    def test_both_ways(self) -> None:
        """DATA passes both ways, what came early first; END_STREAM is a FIN, both ways."""
        stage, client, reply, up = self.asked()
        client.say(1, b"early")
        request = up.heard()
        up.says(answer(request) + b"hello")
        client.talk()
        self.assertEqual((up.heard(), bytes(reply.body)), (b"early", b"hello"))
        client.say(1, b" late")
        up.says(b" world")
        client.talk()
        self.assertEqual((up.heard(), bytes(reply.body)), (b" late", b"hello world"))
        client.say(1, b"", end=True)
        self.assertTrue(up.half_closed)
        up.says(b"!")
        up.closes()
        client.talk()
        self.assertEqual((bytes(reply.body), reply.ended), (b"hello world!", True))
        self.assertIsNone(reply.reset)
        self.check_record(stage, method="CONNECT", status=200, bytes_in=10, bytes_out=12, cut=None)

    def test_wrong_answer(self) -> None:
        """An upstream that does not know our key is no WebSocket: 502, and nothing is passed."""
        for lines in ((), (b"Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=",)):
            _, client, reply, up = self.asked()
            client.say(1, b"early")
            up.heard()
            up.says(switching(*lines) + b"raw bytes")
            client.talk()
            self.assertEqual(reply.brief, (502, b"Bad Gateway"))
            self.assertEqual((up.heard(), up.ended), (b"", "aborted"))

    def test_key_of_the_client(self) -> None:
        """A key that the client sends all the same is not passed on beside ours."""
        _, client, reply, up = self.asked((b"sec-websocket-key", b"dGhlIHNhbXBsZSBub25jZQ=="))
        heard = up.heard()
        self.assertEqual(heard.lower().count(b"sec-websocket-key"), 1)
        self.assertNotIn(b"dGhlIHNhbXBsZSBub25jZQ==", heard)
        up.says(answer(heard))
        client.talk()
        self.assertEqual(reply.status, 200)

    def test_other_protocol(self) -> None:
        """Another protocol of the site is bridged alike, without a key."""
        stage, client = self.connect(upgrades=frozenset((b"chat",)))
        reply = self.ask(client, protocol=b"chat")
        up = stage.upstream()
        heard = up.heard()
        self.assertIn(b"\r\nUpgrade: chat\r\n", heard)
        self.assertNotIn(b"Sec-WebSocket-Key", heard)
        up.says(switching(protocol=b"chat") + b"x")
        client.talk()
        self.assertEqual(reply.brief, (200, b"x"))

    def test_expectation(self) -> None:
        """100-continue has nothing to wait for: what comes is held until the 101 as ever."""
        _, client, reply, up = self.asked((b"expect", b"100-continue"))
        client.say(1, b"early")
        heard = up.heard()
        self.assertNotIn(b"xpect", heard)
        up.says(answer(heard))
        client.talk()
        self.assertEqual((reply.interim, reply.status, up.heard()), ([], 200, b"early"))

    def test_complete_request(self) -> None:
        """A CONNECT that ends with its head is a tunnel whose client says nothing."""
        stage, client = self.connect()
        reply = self.ask(client, end=True)
        up = stage.upstream()
        up.says(answer(up.heard()) + b"hello")
        self.assertTrue(up.half_closed)
        up.closes()
        client.talk()
        self.assertEqual((reply.brief, reply.whole), ((200, b"hello"), True))

    def test_other_streams(self) -> None:
        """Beside it the connection carries requests, and other tunnels, and tells of them."""
        stage, client, reply, up = self.tunnel()
        summary = client.front.summary()
        self.assertEqual((summary.state, summary.method), ("upgraded", "CONNECT"))
        other = self.ask(client)
        second = stage.upstream()
        second.says(answer(second.heard()) + b"2")
        get = client.request()
        self.assertEqual(client.front.summary().state, "response")
        stage.upstream().says(OK)
        client.talk()
        self.assertEqual((get.brief, other.brief), ((200, b"ok"), (200, b"2")))
        self.assertEqual((client.front.upgraded, client.front.busy), (2, True))
        up.says(b"1")
        client.talk()
        self.assertEqual(bytes(reply.body), b"1")
        second.closes()
        self.assertEqual(client.front.upgraded, 1)


class RefusedTests(ConnectCase):
    """How it is not."""

    def check_answer(self, status: bytes, expected: int) -> None:
        _, client, reply, up = self.asked()
        client.say(1, b"early")
        up.heard()
        up.says(OK.replace(b"200 OK", status))
        client.talk()
        self.assertEqual((reply.status, up.heard()), (expected, b""))
        self.assertTrue(reply.whole)

    def test_refused(self) -> None:
        """What the upstream answers instead of a 101 is the answer, and the stream ends."""
        for status in (
            b"401 Unauthorized",
            b"404 Not Found",
            b"302 Found",
            b"426 Upgrade Required",
        ):
            self.check_answer(status, int(status[:3]))

    def test_success_is_no_agreement(self) -> None:
        """A 2xx of the upstream would be a 200 to the client, who took it for a tunnel: 502."""
        for status in (b"200 OK", b"204 No Content", b"299 Odd"):
            self.check_answer(status, 502)

    def test_site_without_it(self) -> None:
        """A protocol that the site does not allow is 501, and nothing goes upstream."""
        for protocol, upgrades in ((b"websocket", ()), (b"connect-udp", (b"websocket",))):
            stage, client = self.connect(upgrades=frozenset(upgrades))
            reply = self.ask(client, protocol=protocol)
            self.assertEqual(reply.brief, (501, b"Not Implemented"))
            self.assertEqual(stage.attempts, [])

    def test_retried(self) -> None:
        """A connection used before that dies before the 101 is replaced, as for a GET."""
        stage, client = self.connect()
        client.request()
        old = stage.upstream()
        old.says(OK)
        reply = self.ask(client)
        client.say(3, b"early")
        old.closes()
        new = stage.upstream()
        new.says(answer(new.heard()) + b"hello")
        client.talk()
        self.assertEqual((reply.brief, new.heard()), ((200, b"hello"), b"early"))

    def test_dead_upstream(self) -> None:
        """A new connection that dies before the 101 is 502."""
        _, client, reply, up = self.asked()
        up.closes()
        client.talk()
        self.assertEqual(reply.brief, (502, b"Bad Gateway"))

    def test_cancelled(self) -> None:
        """A client that cancels before the 101 is 499, and the upstream connection ends."""
        stage, client, _, up = self.asked()
        client.cancel(1)
        self.assertEqual(up.ended, "aborted")
        self.check_record(stage, status=499, cut="downstream")


class Http1Tests(ConnectCase):
    def test_plain_connect(self) -> None:
        """A CONNECT without :protocol is 405, on either version."""
        stage, client = self.connect()
        stream = client.h2.get_next_available_stream_id()
        client.replies[stream] = reply = Reply()
        head = [(b":method", b"CONNECT"), (b":authority", b"a.test:443")]
        client.h2.send_headers(stream, head)
        client.talk()
        self.assertEqual(reply.brief, (405, b"Method Not Allowed"))
        down = stage.downstream()
        down.says(GET.replace(b"GET /", b"CONNECT a.test:443"))
        self.assertTrue(down.heard().startswith(b"HTTP/1.1 405 "))
