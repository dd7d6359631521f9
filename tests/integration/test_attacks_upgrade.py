"""Upgrades as a way past the proxy: tunnels that nobody agreed to, and h2c (RFC 9110 7.8)."""

from __future__ import annotations

from tests.support.cases import ProxyCase
from tests.support.h2_socket import H2Socket
from tests.support.proxy import Sites
from tests.support.raw_client import RawClient, Response
from tests.support.recording_upstream import OK, Answer, Conversation, RecordingUpstream

CONNECTION = b"Connection: Upgrade"
WEBSOCKET = b"Upgrade: websocket"
REST = (b"Sec-WebSocket-Version: 13", b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==")
ASKING = (CONNECTION, WEBSOCKET, *REST)
SMUGGLED = b"GET /smuggled HTTP/1.1\r\nHost: site.test\r\nX-Real-IP: 127.0.0.1\r\n\r\n"
PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes(3) + b"\4" + bytes(5)
SETTINGS = b"HTTP2-Settings: AAMAAABkAAQAAP__"
SWITCHING = b"HTTP/1.1 101 Switching Protocols\r\n"
AGREED = SWITCHING + b"Connection: Upgrade\r\nUpgrade: websocket\r\n\r\n"
CLOSED = "closed.test"


def framed(status: bytes, *lines: bytes) -> bytes:
    """A whole response."""
    head = [b"HTTP/1.1 " + status, *lines, b"Content-Length: 2", b"", b"no"]
    return b"\r\n".join(head)


NOT_AGREED = [
    framed(b"200 OK"),
    framed(b"200 OK", CONNECTION, WEBSOCKET),
    framed(b"201 Created"),
    framed(b"302 Found", b"Location: /"),
    framed(b"400 Bad Request"),
    framed(b"401 Unauthorized", b"WWW-Authenticate: Basic"),
    framed(b"403 Forbidden", CONNECTION, WEBSOCKET),
    framed(b"404 Not Found"),
    framed(b"426 Upgrade Required", CONNECTION, WEBSOCKET, b"Sec-WebSocket-Version: 13"),
    framed(b"500 Internal Server Error"),
    b"HTTP/1.1 204 No Content\r\n\r\n",
    b"HTTP/1.1 100 Continue\r\n\r\n" + framed(b"404 Not Found"),
    b"HTTP/1.1 103 Early Hints\r\n\r\n" + framed(b"404 Not Found"),
    b"HTTP/1.1 102 Processing\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n" + OK,
]
"""Answers that agree to nothing."""

BAD_SWITCHES = [
    SWITCHING + b"\r\n",
    SWITCHING + b"Connection: Upgrade\r\n\r\n",
    SWITCHING + b"Upgrade: websocket\r\n\r\n",
    SWITCHING + b"Connection: keep-alive\r\nUpgrade: websocket\r\n\r\n",
    SWITCHING + b"Connection: Upgrade\r\nUpgrade: h2c\r\n\r\n",
    SWITCHING + b"Connection: Upgrade\r\nUpgrade: websocket, h2c\r\n\r\n",
    SWITCHING + b"Connection: Upgrade\r\nUpgrade: websocket\r\nUpgrade: h2c\r\n\r\n",
    SWITCHING + b"Connection: Upgrade\r\nUpgrade: websocket\x00\r\n\r\n",
    SWITCHING + b"Connection: Upgrade\r\nUpgrade : websocket\r\n\r\n",
    SWITCHING.replace(b"101", b"0101") + b"Connection: Upgrade\r\nUpgrade: websocket\r\n\r\n",
]
"""Switches to something else, or to nothing."""


class UpgradeCase(ProxyCase):
    @classmethod
    def sites(cls, upstream: RecordingUpstream) -> Sites:
        """One that allows WebSocket, and one that allows nothing."""
        closed = {"upstream": upstream.address, "upgrades": []}
        return {cls.HOST: upstream.address, CLOSED: closed}

    def ways(self, request: bytes, behind: bytes) -> list[tuple[bytes, ...]]:
        """How two things may come one behind the other."""
        half = len(behind) // 2
        return [(request + behind,), (request, behind), (request + behind[:half], behind[half:])]

    def check_end(self, client: RawClient, response: Response) -> None:
        """The connection has ended with ``response``, and the upstream saw one request."""
        self.assertEqual(response.value(b"Connection"), b"close")
        self.assertTrue(client.is_closed_by_proxy(), "not closed, or more than one answer")
        (request,) = self.upstream.requests
        self.assertEqual(self.upstream.received, request.head)
        client.close()


class SmugglingTests(UpgradeCase):
    """What stands behind a request for an upgrade is nobody's, unless there is a 101."""

    def test_agreed(self) -> None:
        """After a true 101 it is the new protocol's, and the upstream gets it byte for byte."""
        self.upstream.answers[b"/up"] = Answer((AGREED,), then="hold")
        request = self.request(b"/up", *ASKING)
        for pieces in self.ways(request, SMUGGLED):
            with self.client() as client:
                client.send(*pieces)
                self.assertEqual(client.read_head().status, 101)
                self.check_tunnelled()
            self.upstream.forget()
            self.upstream.answers[b"/up"] = Answer((AGREED,), then="hold")

    def check_tunnelled(self) -> None:
        """What stood behind the one request has reached the upstream, behind it."""
        self.upstream.wait_until(lambda: self.upstream.received.endswith(SMUGGLED))
        (request,) = self.upstream.requests
        self.assertEqual(self.upstream.received, request.head + SMUGGLED)

    def test_nothing_before_the_answer(self) -> None:
        """As long as the upstream has not answered, it gets nothing but the request."""
        seen: list[bytes] = []

        def wait(conversation: Conversation) -> None:
            conversation.pause(0.2)
            seen.append(self.upstream.received)
            conversation.send(AGREED)
            conversation.hold()

        for pieces in self.ways(self.request(b"/up", *ASKING), SMUGGLED):
            self.upstream.forget()
            self.upstream.answers[b"/up"] = wait
            with self.client() as client:
                client.send(*pieces)
                self.assertEqual(client.read_head().status, 101)
                self.check_tunnelled()
            (request,) = self.upstream.requests
            self.assertEqual(seen.pop(), request.head)

    def test_not_agreed(self) -> None:
        """Any other answer is an ordinary response, and the last one."""

        def check(answer: bytes) -> None:
            for pieces in self.ways(self.request(b"/up", *ASKING), SMUGGLED):
                self.upstream.forget()
                self.upstream.answers[b"/up"] = answer
                client = self.client().send(*pieces)
                self.check_end(client, client.read_response())

        self.each(NOT_AGREED, check)

    def test_bad_switch(self) -> None:
        """A 101 that is not the one that was asked for is 502, and nothing is passed on."""

        def check(answer: bytes) -> None:
            self.upstream.forget()
            self.upstream.answers[b"/up"] = Answer((answer + b"raw bytes",), then="hold")
            client = self.client().send(self.request(b"/up", *ASKING) + SMUGGLED)
            response = client.read_response()
            self.assertEqual((response.status, response.body), (502, b"Bad Gateway"))
            self.check_end(client, response)

        self.each(BAD_SWITCHES, check)

    def test_wrong_version(self) -> None:
        """The classic one: an upstream that answers 426 to a version it does not know."""
        answer = framed(b"426 Upgrade Required", b"Sec-WebSocket-Version: 13")
        self.upstream.answers[b"/up"] = answer
        lines = (CONNECTION, WEBSOCKET, b"Sec-WebSocket-Version: 1337", REST[1])
        client = self.client().send(self.request(b"/up", *lines) + SMUGGLED)
        self.check_end(client, client.read_response())

    def test_dead_upstream(self) -> None:
        """An upstream that ends instead of answering is 502."""
        for then in ("close", "reset"):
            self.upstream.forget()
            self.upstream.answers[b"/up"] = Answer((), then=then)
            client = self.client().send(self.request(b"/up", *ASKING) + SMUGGLED)
            response = client.read_response()
            self.assertEqual(response.status, 502)
            self.assertTrue(client.is_closed_by_proxy())
            self.assertEqual([one.target for one in self.upstream.requests], [b"/up"])

    def test_answers_of_the_proxy(self) -> None:
        """When the proxy itself refuses, what stands behind is no request either."""
        for raw in (
            self.request(b"/up", *ASKING, host=b"nobody.test"),
            self.request(b"/up", *ASKING, method=b"TRACE"),
            self.request(b"*", *ASKING, method=b"OPTIONS"),
            self.request(b"site.test:443", *ASKING, method=b"CONNECT"),
            self.request(b"/up", *ASKING, method=b"CONNECT"),
        ):
            client = self.client().send(raw + SMUGGLED)
            response = client.read_response()
            self.assertEqual(response.value(b"Connection"), b"close")
            self.assertTrue(client.is_closed_by_proxy())
        self.assert_nothing_forwarded()

    def test_after_the_tunnel(self) -> None:
        """When the upstream ends a tunnel, what the client says on is no request."""
        self.upstream.answers[b"/up"] = Answer((AGREED + b"bye",), then="close")
        client = self.client().send(self.request(b"/up", *ASKING))
        self.assertEqual(client.read_head().status, 101)
        self.assertEqual(client.stream.exactly(3), b"bye")
        client.send(SMUGGLED)
        self.assertEqual(client.read_until_close(), b"")
        self.assertEqual([one.target for one in self.upstream.requests], [b"/up"])

    def test_body(self) -> None:
        """With a body nothing is upgraded, not even by an upstream that says 101."""
        length = b"Content-Length: %d" % len(SMUGGLED)
        self.upstream.answers[b"/up"] = Answer((AGREED,), then="hold")
        client = self.client().send(self.request(b"/up", *ASKING, length, body=SMUGGLED))
        self.assertEqual(client.read_response().status, 502)
        request = self.only_request()
        self.assertEqual(request.names() & {b"upgrade", b"connection"}, set())


class OtherProtocolTests(UpgradeCase):
    """Upgrades to what the site does not allow."""

    def check_stripped(self, raw: bytes, **how: object) -> None:
        """``raw`` is served as if it did not ask; what stands behind is not the upstream's."""
        self.upstream.forget()
        self.upstream.default = OK
        client = self.client(**how).send(raw)  # type: ignore[arg-type]
        response = client.read_response()
        self.assertEqual(response.status, 200)
        request = self.upstream.requests[0]
        self.assertEqual(request.names() & {b"upgrade", b"http2-settings", b"connection"}, set())
        self.check_end(client, response)

    def test_h2c(self) -> None:
        """HTTP/2 in the clear never passes, in any spelling, with its preface behind."""

        def check(*lines: bytes) -> None:
            self.check_stripped(self.request(b"/up", *lines) + PREFACE)

        rows = [
            (b"Connection: Upgrade, HTTP2-Settings", b"Upgrade: h2c", SETTINGS),
            (b"Connection: Upgrade", b"Upgrade: h2c", SETTINGS),
            (b"Connection: upgrade,http2-settings", b"Upgrade: H2C", SETTINGS),
            (b"Connection: Upgrade, HTTP2-Settings", b"Upgrade: h2c, h2", SETTINGS),
            (b"Connection: Upgrade", b"Connection: HTTP2-Settings", b"Upgrade: h2c", SETTINGS),
            (b"Connection: Upgrade", b"Upgrade: h2c;q=websocket", SETTINGS),
            (b"Connection: Upgrade", b"Upgrade: HTTP/2.0"),
            (b"Connection: Upgrade", b"Upgrade: TLS/1.0, HTTP/1.1"),
            (b"Connection: Upgrade", b"Upgrade: h2c websocket"),
            (b"Connection: Upgrade", b"Upgrade: websocket/h2c"),
        ]
        self.each(rows, check)

    def test_h2c_beside_websocket(self) -> None:
        """Beside WebSocket it is left out, and a 101 to it is 502."""
        lines = (b"Connection: Upgrade, HTTP2-Settings", b"Upgrade: h2c, websocket", SETTINGS)
        answer = SWITCHING + b"Connection: Upgrade\r\nUpgrade: h2c\r\n\r\n"
        self.upstream.answers[b"/up"] = Answer((answer,), then="hold")
        client = self.client().send(self.request(b"/up", *lines, *REST) + PREFACE)
        response = client.read_response()
        self.assertEqual(response.status, 502)
        request = self.only_request()
        self.assertEqual(request.value(b"Upgrade"), b"websocket")
        self.assertEqual(request.value(b"Connection"), b"Upgrade")
        self.assertIsNone(request.value(b"HTTP2-Settings"))
        self.check_end(client, response)

    def test_h2c_preface(self) -> None:
        """Without an upgrade (prior knowledge) it is refused."""
        client = self.client().send(PREFACE)
        self.assertIn(client.read_response().status, (400, 505))
        self.assert_nothing_forwarded()

    def test_agreed_all_the_same(self) -> None:
        """An upstream that says 101 to what it was not asked for is 502."""
        for protocol in (b"h2c", b"websocket"):
            self.upstream.forget()
            answer = SWITCHING + b"Connection: Upgrade\r\nUpgrade: " + protocol + b"\r\n\r\n"
            self.upstream.answers[b"/up"] = Answer((answer,), then="hold")
            lines = (b"Connection: Upgrade, HTTP2-Settings", b"Upgrade: h2c", SETTINGS)
            client = self.client().send(self.request(b"/up", *lines) + PREFACE)
            response = client.read_response()
            self.assertEqual(response.status, 502)
            self.check_end(client, response)

    def test_site_without_upgrades(self) -> None:
        """A site whose `upgrades` is empty allows no WebSocket."""
        raw = self.request(b"/up", *ASKING, host=CLOSED.encode())
        self.check_stripped(raw + SMUGGLED, name=CLOSED)

    def test_malformed(self) -> None:
        """What is no valid field is 400, as everywhere."""

        def check(*lines: bytes) -> None:
            self.assert_refused(self.client(), self.request(b"/up", *lines) + SMUGGLED)

        rows = [
            (CONNECTION, b"Upgrade : websocket"),
            (CONNECTION, b"Upgrade: websocket\x00"),
            (CONNECTION, b" Upgrade: websocket"),
            (CONNECTION, b"Upgrade: websocket\r"),
            (CONNECTION, WEBSOCKET, b"Content-Length: 5", b"Transfer-Encoding: chunked"),
        ]
        self.each(rows, check)
        self.assert_nothing_forwarded()

    def test_old_version(self) -> None:
        """In HTTP/1.0 nothing is upgraded."""
        client = self.client()
        client.send(self.request(b"/up", *ASKING, version=b"HTTP/1.0") + SMUGGLED)
        self.check_end(client, client.read_response())


class ExtendedConnectTests(UpgradeCase):
    """Over HTTP/2 a 200 means that the tunnel is there: nobody gets one without consent."""

    def ask(self, host: str = "") -> H2Socket:
        """A client that has been answered, and has sent something before it was."""
        asked = H2Socket(self.proxy.https_port, host or self.HOST, early=SMUGGLED)
        self.addCleanup(asked.close)
        return asked

    def test_not_agreed(self) -> None:
        """A 2xx of the upstream is 502; any other answer passes; nothing is tunnelled."""

        def check(answer: bytes) -> None:
            self.upstream.forget()
            self.upstream.answers[b"/chat"] = answer
            asked = self.ask()
            final = int(answer.rpartition(b"HTTP/1.1 ")[2][:3])
            self.assertEqual(asked.status, 502 if final < 300 else final)
            asked.wait_for_end()
            (request,) = self.upstream.requests
            self.assertEqual(self.upstream.received, request.head)

        self.each(NOT_AGREED, check)

    def test_bad_switch(self) -> None:
        """A 101 to something else is 502, and so is one that does not answer to our key."""

        def check(answer: bytes) -> None:
            self.upstream.forget()
            self.upstream.answers[b"/chat"] = Answer((answer + b"raw bytes",), then="hold")
            asked = self.ask()
            self.assertEqual(asked.status, 502)
            asked.wait_for_end()
            (request,) = self.upstream.requests
            self.assertEqual(self.upstream.received, request.head)

        accept = b"Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n"
        self.each([*BAD_SWITCHES, AGREED, AGREED[:-2] + accept], check)

    def test_site_without_upgrades(self) -> None:
        """A site that allows none answers 501, and its upstream hears nothing."""
        asked = self.ask(CLOSED)
        self.assertEqual(asked.status, 501)
        asked.wait_for_end()
        self.assert_nothing_forwarded()
