"""Upgrades that do not come about: nothing is tunnelled, and nothing behind them is a request."""

from __future__ import annotations

from tests.support.playbook import DATE_LINE, GET, OK, Peer, Stage, own
from tests.support.upgrades import ASKING, PASSED_ON, SWITCHING, UpgradeCase, asking, switching

SMUGGLED = b"GET /smuggled HTTP/1.1\r\nHost: a.test\r\n\r\n"
LAST_OK = OK.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n")
BAD_GATEWAY = own(b"502 Bad Gateway", close=True)


class RefusalCase(UpgradeCase):
    def check_closed(self, stage: Stage, down: Peer, answer: bytes, begun: int = 1) -> None:
        """``answer`` was all, the connection ends in order, and nothing more was a request."""
        self.assertEqual(down.heard(), answer)
        down.says(SMUGGLED)
        stage.wait(3)
        self.assertEqual((down.heard(), down.ended), (b"", "closed"))
        self.assertEqual((stage.begun, stage.attempts), (begun, []))


class BadSwitchTests(RefusalCase):
    """A 101 that is none."""

    def check(self, answer: bytes, *said: bytes) -> None:
        stage, down, up = self.asked(*(said or (asking() + SMUGGLED,)))
        up.heard()
        up.says(answer + b"raw bytes")
        self.assertEqual((up.heard(), up.ended), (b"", "aborted"))
        self.check_closed(stage, down, BAD_GATEWAY)
        self.check_record(stage, status=502)
        self.check_end(stage)

    def test_other_protocol(self) -> None:
        """Any protocol but the one that was asked for, more than it, or none, is 502."""
        for protocol in (b"chat", b"websocket/13", b"websocket, chat", b"h2c", b""):
            self.check(switching(protocol=protocol))
        twice = SWITCHING.replace(b"\r\n\r\n", b"\r\nUpgrade: websocket\r\n\r\n")
        self.check(twice)

    def test_no_connection(self) -> None:
        """A 101 that says Upgrade and not Connection: upgrade, or nothing at all, is 502."""
        start = b"HTTP/1.1 101 Switching Protocols\r\n"
        self.check(start + b"Upgrade: websocket\r\n\r\n")
        self.check(start + b"Upgrade: websocket\r\nConnection: keep-alive\r\n\r\n")
        self.check(start + b"Connection: Upgrade\r\n\r\n")
        self.check(start + b"\r\n")

    def test_framed(self) -> None:
        """A 101 with a transfer coding and a length is no valid response."""
        framed = b"Transfer-Encoding: chunked\r\nContent-Length: 5"
        self.check(switching(framed))

    def test_unasked(self) -> None:
        """Who has not asked for it gets no 101."""
        for request in (GET, GET.replace(b"GET", b"HEAD"), asking(lines=ASKING[1:])):
            stage, down, up = self.asked(request)
            up.says(SWITCHING + b"raw bytes")
            self.assertTrue(down.heard().startswith(b"HTTP/1.1 502 "))
            self.assertEqual(up.ended, "aborted")
            self.check_end(stage)

    def test_in_http_1_0(self) -> None:
        """Nor does a downstream of HTTP/1.0."""
        stage, down, up = self.asked(asking(start=b"GET /chat HTTP/1.0"))
        self.assertNotIn(b"upgrade", up.heard().lower())
        up.says(SWITCHING + b"raw bytes")
        self.check_closed(stage, down, BAD_GATEWAY)

    def test_after_a_body_began(self) -> None:
        """A 101 to a request with a body is 502, however it asks."""
        for line in (b"Content-Length: 5", b"Transfer-Encoding: chunked"):
            stage, down, up = self.asked(asking(line, start=b"PUT /chat HTTP/1.1"))
            self.assertNotIn(b"Upgrade", up.heard())
            up.says(SWITCHING)
            self.assertTrue(down.heard().startswith(b"HTTP/1.1 502 "))
            self.check_end(stage)


class AnswerTests(RefusalCase):
    """The upstream answers the request instead."""

    def test_answered(self) -> None:
        """Any other status is an ordinary response, framed as such, and the last one."""
        for status in (b"200 OK", b"401 Unauthorized", b"404 Not Found", b"426 Upgrade Required"):
            for said in ([asking() + SMUGGLED], [asking(), SMUGGLED], [asking()]):
                stage, down, up = self.asked(*said)
                up.heard()
                up.says(OK.replace(b"200 OK", status))
                self.assertEqual(up.heard(), b"")
                self.check_closed(stage, down, LAST_OK.replace(b"200 OK", status))
                self.check_record(stage, status=int(status[:3]))
                self.check_end(stage)

    def test_connection_goes_back(self) -> None:
        """The upstream has seen nothing but a request: its connection is used again."""
        stage, _, up = self.asked(asking() + SMUGGLED)
        up.says(OK)
        self.assertEqual(stage.pool.idle, 1)
        up.heard()
        other = stage.downstream()
        other.says(GET)
        self.assertTrue(up.heard().startswith(b"GET / HTTP/1.1\r\n"))

    def test_upgrade_fields_of_a_200(self) -> None:
        """A 200 that says Upgrade is a 200, and does not say so on."""
        stage, down, up = self.asked(asking() + SMUGGLED)
        up.heard()
        fields = b"200 OK\r\nConnection: Upgrade\r\nUpgrade: websocket"
        up.says(OK.replace(b"200 OK", fields))
        self.assertEqual(up.heard(), b"")
        self.check_closed(stage, down, LAST_OK)

    def test_chunked(self) -> None:
        """A body without a length is chunked, and ends before the connection does."""
        stage, down, up = self.asked(asking() + SMUGGLED)
        head = b"HTTP/1.1 200 OK\r\n" + DATE_LINE + b"Transfer-Encoding: chunked\r\n"
        up.says(head + b"\r\n5\r\nhello\r\n", b"0\r\n\r\n")
        answer = head + b"Connection: close\r\n\r\n5\r\nhello\r\n0\r\n\r\n"
        self.check_closed(stage, down, answer)

    def test_long_response(self) -> None:
        """While the response comes, what the client goes on to say is not read without end."""
        stage, down, up = self.asked()
        up.says(OK[:-1])
        down.says(*[b"x" * 20_000] * 10)
        self.assertFalse(down.reading)
        up.says(OK[-1:])
        self.check_closed(stage, down, LAST_OK)

    def test_switch_behind_a_response(self) -> None:
        """A 101 behind the response is nobody's."""
        stage, down, up = self.asked(asking() + SMUGGLED)
        up.says(OK + SWITCHING)
        self.assertIsNotNone(up.ended)
        self.check_closed(stage, down, LAST_OK)


class OwnAnswerTests(RefusalCase):
    """The proxy answers by itself."""

    def check(self, answer: bytes, *said: bytes, **how: object) -> None:
        stage = self.stage(**how)
        down = stage.downstream()
        down.says(*(said or (asking() + SMUGGLED,)))
        self.check_closed(stage, down, answer)
        self.check_end(stage)

    def test_no_site(self) -> None:
        """A host without a site is 404, and the connection ends."""
        self.check(own(b"404 Not Found", close=True), asking(host=b"x.test") + SMUGGLED)

    def test_plain_port(self) -> None:
        """On the plain port it is led to the TLS port as any request is."""
        stage = self.stage(secure=False)
        down = stage.downstream()
        down.says(asking() + SMUGGLED)
        heard = down.heard()
        self.assertIn(b"HTTP/1.1 301 Moved Permanently\r\n", heard)
        self.assertIn(b"\r\nConnection: close\r\n", heard)
        self.check_closed(stage, down, b"")

    def test_limited(self) -> None:
        """At the rate limit it is 429, and the connection ends."""
        stage = self.stage(burst=1)
        down = stage.downstream()
        down.says(GET.replace(b"a.test", b"x.test"))
        self.assertEqual(down.heard(), own(b"404 Not Found"))
        down.says(asking() + SMUGGLED)
        heard = down.heard()
        self.assertTrue(heard.startswith(b"HTTP/1.1 429 "))
        self.assertIn(b"\r\nConnection: close\r\n", heard)
        self.check_closed(stage, down, b"", begun=2)

    def test_no_upstream(self) -> None:
        """An upstream that cannot be connected to is 502, and the connection ends."""
        stage = self.stage()
        down = stage.downstream()
        down.says(asking() + SMUGGLED)
        stage.attempts.pop().fail(ConnectionRefusedError())
        self.check_closed(stage, down, BAD_GATEWAY)

    def test_upstream_in_time(self) -> None:
        """One that does not answer in time is 504."""
        stage, down, up = self.asked(asking() + SMUGGLED)
        stage.wait(63)
        self.assertEqual(up.ended, "aborted")
        self.check_closed(stage, down, own(b"504 Gateway Timeout", close=True))

    def test_connect(self) -> None:
        """A CONNECT of HTTP/1.1 is 405, though an upgrade stands beside it."""
        more = b"Allow: GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS\r\n"
        answer = own(b"405 Method Not Allowed", close=True, more=more)
        for start in (b"CONNECT a.test:443 HTTP/1.1", b"CONNECT /chat HTTP/1.1"):
            stage = self.stage()
            down = stage.downstream()
            down.says(asking(start=start) + SMUGGLED)
            self.check_closed(stage, down, answer)


class StrippedTests(RefusalCase):
    """A request that asks for something else is served as if it did not."""

    def check(self, request: bytes, *, last: bool, **how: object) -> None:
        stage, down, up = self.asked(request, **how)
        heard = up.heard()
        self.assertNotIn(b"upgrade", heard.lower())
        self.assertNotIn(b"http2-settings", heard.lower())
        up.says(OK)
        self.assertEqual(down.heard(), LAST_OK if last else OK)
        self.check_end(stage)

    def test_other_protocols(self) -> None:
        """A protocol that the site does not allow is not passed on."""
        for protocol in (b"h2c", b"TLS/1.0", b"HTTP/2.0", b"websocket/13", b"chat, h2c", b","):
            lines = (b"Connection: Upgrade, HTTP2-Settings", b"Upgrade: " + protocol)
            self.check(asking(b"HTTP2-Settings: AAMA", lines=lines), last=True)

    def test_site_without_upgrades(self) -> None:
        """Where `upgrades` is empty nothing is, not even a WebSocket."""
        self.check(asking(), last=True, upgrades=frozenset())

    def test_other_methods(self) -> None:
        """A WebSocket begins with GET; other methods are served as such."""
        for method in (b"POST", b"DELETE", b"OPTIONS"):
            self.check(asking(start=method + b" /chat HTTP/1.1"), last=True)

    def test_no_connection(self) -> None:
        """Without Connection: upgrade nothing is asked for, and the connection stays."""
        self.check(asking(lines=ASKING[1:]), last=False)
        self.check(asking(b"Connection: keep-alive", lines=ASKING[1:]), last=False)

    def test_pipelined(self) -> None:
        """What came behind one that was not asked for in order is the next request."""
        stage, down, up = self.asked(asking(lines=ASKING[1:]) + GET)
        up.says(OK)
        up.says(OK)
        self.assertEqual(down.heard(), OK * 2)
        self.assertEqual(stage.log.statuses, [200, 200])

    def test_body(self) -> None:
        """A body beside it is the request's body; behind it the next request is one."""
        request = asking(b"Content-Length: 5", start=b"POST /chat HTTP/1.1")
        stage, down, up = self.asked(request + b"helloGET")
        heard = up.heard()
        self.assertNotIn(b"Upgrade", heard)
        self.assertTrue(heard.endswith(b"\r\n\r\nhello"))
        up.says(OK)
        down.says(GET[3:])
        up.says(OK)
        self.assertEqual(down.heard(), OK * 2)
        self.assertEqual(stage.log.statuses, [200, 200])


class DeadUpstreamTests(RefusalCase):
    """The upstream ends before it has said anything."""

    def test_retried(self) -> None:
        """On a connection that was used before it is asked again, once, and nothing is lost."""
        stage = self.stage()
        down = stage.downstream()
        down.says(GET)
        old = stage.upstream()
        old.says(OK)
        down.heard()
        down.says(asking() + b"behind")
        old.closes()
        new = stage.upstream()
        self.assertNotIn(b"behind", new.heard())
        new.says(SWITCHING)
        self.assertEqual((down.heard(), new.heard()), (PASSED_ON, b"behind"))

    def test_not_retried(self) -> None:
        """On a new connection, or in the middle of a head, it is 502."""
        for begun in (b"", SWITCHING[:20]):
            for end in ("closes", "resets"):
                stage, down, up = self.asked(asking() + SMUGGLED)
                up.says(begun)
                getattr(up, end)()
                self.check_closed(stage, down, BAD_GATEWAY)
                self.check_record(stage, status=502)

    def test_downstream_lost(self) -> None:
        """A downstream that goes before the answer takes the upstream connection with it."""
        stage, down, up = self.asked(asking() + b"behind")
        down.resets()
        self.assertEqual(up.ended, "aborted")
        self.check_record(stage, status=499, cut="downstream")
