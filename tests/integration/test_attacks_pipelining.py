"""Many requests on one connection, and requests hidden behind others."""

from __future__ import annotations

import threading

from tests.support.cases import ProxyCase
from tests.support.recording_upstream import OK, Answer, Conversation, RecordingUpstream
from tests.support.tls_client import TlsClient

UPGRADE = (b"Connection: Upgrade", b"Upgrade: websocket", b"Sec-WebSocket-Version: 13")
KEY = b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ=="
SMUGGLED = b"GET /smuggled HTTP/1.1\r\nHost: site.test\r\n\r\n"


def echo_target(conversation: Conversation) -> None:
    """Answer with the request's own target."""
    body = conversation.request.target
    conversation.read_body()
    conversation.send(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body))


class PipeliningTests(ProxyCase):
    """Requests of one connection are answered in order, each by its own answer."""

    @classmethod
    def start_upstream(cls) -> RecordingUpstream:
        """An upstream that says what it was asked for."""
        return RecordingUpstream(echo_target)

    def test_thousands_at_once(self) -> None:
        """2 520 requests in one write are all answered, in order."""
        count = 2520
        raw = b"".join(self.request(b"/%d" % number) for number in range(count))
        client = self.client(timeout=30)
        writer = threading.Thread(target=client.send, args=(raw,))
        writer.start()
        bodies = [client.read_response().body for _ in range(count)]
        writer.join()
        self.assertEqual(bodies, [b"/%d" % number for number in range(count)])

    def test_thousands_on_the_plain_port(self) -> None:
        """The plain port answers as many in order."""
        count = 2520
        raw = b"".join(self.request(b"/%d" % number) for number in range(count))
        client = self.plain_client(timeout=30)
        writer = threading.Thread(target=client.send, args=(raw,))
        writer.start()
        ends = [(client.read_response().value(b"Location") or b"")[-6:] for _ in range(count)]
        writer.join()
        self.assertEqual([e.rpartition(b"/")[2] for e in ends], [b"%d" % n for n in range(count)])

    def test_read_ahead_is_bounded(self) -> None:
        """While the first answer is awaited, few of the requests behind it go upstream."""
        release = threading.Event()
        self.addCleanup(release.set)

        def wait(conversation: Conversation) -> None:
            release.wait(10)
            echo_target(conversation)

        self.upstream.answers[b"/first"] = wait
        raw = self.request(b"/first") + self.request(b"/later") * 1000
        client = self.client(timeout=20)
        writer = threading.Thread(target=client.send, args=(raw,))
        writer.start()
        self.upstream.wait_for_requests(1)
        self.assertEqual(self.get(b"/other").status, 200)
        self.assertLessEqual(len(self.upstream.requests), 17)
        release.set()
        bodies = [client.read_response().body for _ in range(1001)]
        writer.join()
        self.assertEqual(bodies, [b"/first"] + [b"/later"] * 1000)

    def test_slow_answers_stay_in_order(self) -> None:
        """A slow answer is not overtaken by the quick one behind it."""
        slow = b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\n"
        self.upstream.answers[b"/slow"] = Answer((slow + b"sl", b"ow"), gap=0.3)
        client = self.client().send(self.request(b"/slow") + self.request(b"/quick"))
        self.assertEqual([client.read_response().body for _ in "ab"], [b"slow", b"/quick"])

    def test_nothing_runs_after_a_bad_request(self) -> None:
        """A bad request between good ones is answered in its turn; nothing behind it runs."""
        bad = b"GET / HTTP/1.1\r\nHost: site.test\r\nX : y\r\n\r\n"
        client = self.client()
        client.send(self.request(b"/a") + bad + self.request(b"/b"))
        self.assertEqual(client.read_response().body, b"/a")
        self.assertEqual(client.read_response().status, 400)
        self.assertTrue(client.is_closed_by_proxy())
        self.assertEqual(self.get(b"/sentinel").status, 200)
        self.assertEqual([r.target for r in self.upstream.requests], [b"/a", b"/sentinel"])

    def test_nothing_runs_after_connection_close(self) -> None:
        """What follows a request with Connection: close is never read as a request."""
        client = self.client()
        client.send(self.request(b"/a", b"Connection: close") + self.request(b"/b"))
        response = client.read_response()
        self.assertEqual((response.body, response.value(b"Connection")), (b"/a", b"close"))
        self.assertTrue(client.is_closed_by_proxy())
        self.assertEqual(self.only_request().target, b"/a")

    def test_one_failure_is_one_answer(self) -> None:
        """A request whose upstream fails does not disturb the one behind it."""
        self.upstream.answers[b"/bad"] = b"garbage\r\n\r\n"
        client = self.client().send(self.request(b"/bad") + self.request(b"/good"))
        self.assertEqual(client.read_response().status, 502)
        self.assertEqual(client.read_response().body, b"/good")

    def test_head_then_get(self) -> None:
        """A HEAD answer's Content-Length frames nothing; the GET behind it has its own body."""
        self.upstream.answers[b"/h"] = b"HTTP/1.1 200 OK\r\nContent-Length: 999\r\n\r\n"
        client = self.client()
        client.send(self.request(b"/h", method=b"HEAD") + self.request(b"/g"))
        response = client.read_response(b"HEAD")
        self.assertEqual(response.value(b"Content-Length"), b"999")
        self.assertEqual(client.read_response().body, b"/g")

    def test_half_close_on_the_plain_port(self) -> None:
        """A client that sends FIN after 200 requests still gets every answer."""
        raw = b"".join(self.request(b"/%d" % number) for number in range(200))
        client = self.plain_client().send(raw).half_close()
        ends = [(client.read_response().value(b"Location") or b"")[-4:] for _ in range(200)]
        self.assertEqual([e.rpartition(b"/")[2] for e in ends], [b"%d" % n for n in range(200)])
        self.assertTrue(client.is_closed_by_proxy())

    def test_half_close_on_the_tls_port(self) -> None:
        """A client that sends close_notify and FIN after its requests gets every answer."""
        self.upstream.answers[b"/0"] = Answer((OK[:10], OK[10:]), gap=0.2)
        client = TlsClient(self.proxy.https_port, self.HOST)
        self.addCleanup(client.close)
        client.send(b"".join(self.request(b"/%d" % number) for number in range(5)))
        client.half_close()
        self.assertEqual(client.read_until_close().count(b"HTTP/1.1 200 "), 5)

    def test_upgrade_with_a_body(self) -> None:
        """The body of a request with Upgrade is its body, never a second request."""
        chunked = b"%x\r\n%s\r\n0\r\n\r\n" % (len(SMUGGLED), SMUGGLED)

        def check(line: bytes, body: bytes) -> None:
            self.upstream.forget()
            raw = self.request(b"/up", *UPGRADE, KEY, line, method=b"POST", body=body)
            client = self.client().send(raw)
            response = client.read_response()
            self.assertEqual((response.status, response.body), (200, b"/up"))
            if response.value(b"Connection") != b"close":
                self.assertEqual(client.ask(self.request(b"/next")).body, b"/next")
            request = self.upstream.requests[0]
            self.assertEqual((request.target, request.body), (b"/up", SMUGGLED))
            self.assertNotIn(b"/smuggled", [r.target for r in self.upstream.requests])

        length = b"Content-Length: %d" % len(SMUGGLED)
        self.each([(length, SMUGGLED), (b"Transfer-Encoding: chunked", chunked)], check)

    def test_upgrade_with_bytes_behind(self) -> None:
        """Without a body, what follows an untaken upgrade is the next request or nothing."""
        client = self.client().send(self.request(b"/up", *UPGRADE, KEY) + self.request(b"/b"))
        self.assertEqual(client.read_response().body, b"/up")
        rest = client.half_close().read_until_close()
        targets = [request.target for request in self.upstream.requests]
        self.assertIn(targets, [[b"/up"], [b"/up", b"/b"]])
        self.assertEqual(rest.count(b"HTTP/1.1 200"), len(targets) - 1)

    def test_upgrade_is_not_taken(self) -> None:
        """An upgrade that the site does not offer is an ordinary request without it."""

        def check(protocol: bytes) -> None:
            self.upstream.forget()
            fields = (b"Connection: Upgrade, HTTP2-Settings", b"Upgrade: " + protocol)
            settings = b"HTTP2-Settings: AAMAAABkAAQAAP__"
            self.assertEqual(self.get(b"/up", *fields, settings).status, 200)
            names = self.only_request().names()
            self.assertEqual(names & {b"upgrade", b"http2-settings"}, set())

        self.each([b"h2c", b"TLS/1.0", b"foo/2", b"HTTP/2.0"], check)
