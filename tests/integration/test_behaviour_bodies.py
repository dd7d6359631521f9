"""Bodies of requests and responses, and how each side frames them."""

from __future__ import annotations

import hashlib
import threading

from tests.support.cases import ProxyCase
from tests.support.recording_upstream import Answer, Conversation

START = b"HTTP/1.1 200 OK\r\n"
CHUNKED = b"Transfer-Encoding: chunked\r\n"
CHUNKS = b"3\r\nhel\r\n2\r\nlo\r\n0\r\n\r\n"
KEEP = b"Connection: keep-alive"


class ResponseFramingTests(ProxyCase):
    """A response body reaches each kind of client whole."""

    def test_content_length(self) -> None:
        """A Content-Length stays a Content-Length."""
        self.upstream.answers[b"/b"] = START + b"Content-Length: 5\r\n\r\nhello"
        response = self.get(b"/b")
        self.assertEqual((response.framing, response.body), ("length", b"hello"))

    def test_empty(self) -> None:
        """A Content-Length of 0 stays one, and the connection lives on."""
        self.upstream.answers[b"/b"] = START + b"Content-Length: 0\r\n\r\n"
        client = self.client()
        self.assertEqual(client.ask(self.request(b"/b")).value(b"Content-Length"), b"0")
        self.assertEqual(client.ask(self.request(b"/n")).status, 200)

    def test_chunked(self) -> None:
        """A chunked body goes out chunked."""
        self.upstream.answers[b"/b"] = START + CHUNKED + b"\r\n" + CHUNKS
        client = self.client()
        response = client.ask(self.request(b"/b"))
        self.assertEqual((response.framing, response.body), ("chunked", b"hello"))
        self.assertEqual(client.ask(self.request(b"/n")).status, 200)

    def test_until_close(self) -> None:
        """A body that ends with the upstream's connection goes out chunked, and whole."""
        self.upstream.answers[b"/b"] = Answer((START + b"\r\nhel", b"lo"), then="close", gap=0.05)
        client = self.client()
        response = client.ask(self.request(b"/b"))
        self.assertEqual((response.framing, response.body), ("chunked", b"hello"))
        self.assertEqual(client.ask(self.request(b"/n")).status, 200)

    def test_http_1_0(self) -> None:
        """HTTP/1.0 gets no chunked coding: a Content-Length, or an end with the connection."""

        def check(raw: bytes, framing: str, then: str) -> None:
            self.upstream.answers[b"/b"] = Answer((raw,), then=then)
            client = self.client()
            response = client.ask(self.request(b"/b", KEEP, version=b"HTTP/1.0"))
            self.assertEqual((response.framing, response.body), (framing, b"hello"))
            self.assertTrue(response.complete)
            self.assertEqual(response.values(b"Transfer-Encoding"), [])
            if framing == "length":
                self.assertEqual(client.ask(self.request(b"/n")).status, 200)

        self.each(
            [
                (START + b"Content-Length: 5\r\n\r\nhello", "length", "keep"),
                (START + CHUNKED + b"\r\n" + CHUNKS, "close", "keep"),
                (START + b"\r\nhello", "close", "close"),
            ],
            check,
        )

    def test_bodiless(self) -> None:
        """HEAD, 204 and 304 have no body, and the connection lives on."""

        def check(head: bytes, method: bytes, status: int) -> None:
            self.upstream.answers[b"/b"] = head
            client = self.client()
            response = client.ask(self.request(b"/b", method=method), method)
            self.assertEqual((response.status, response.body), (status, b""))
            self.assertEqual(client.ask(self.request(b"/n")).body, b"ok")

        self.each(
            [
                (START + b"Content-Length: 5\r\n\r\n", b"HEAD", 200),
                (START + CHUNKED + b"\r\n", b"HEAD", 200),
                (START + b"\r\n", b"HEAD", 200),
                (b"HTTP/1.1 204 No Content\r\n\r\n", b"GET", 204),
                (b"HTTP/1.1 304 Not Modified\r\nContent-Length: 5\r\n\r\n", b"GET", 304),
                (b"HTTP/1.1 304 Not Modified\r\nETag: x\r\n\r\n", b"GET", 304),
            ],
            check,
        )

    def test_head_keeps_content_length(self) -> None:
        """The Content-Length of a HEAD answer is the upstream's."""
        self.upstream.answers[b"/b"] = START + b"Content-Length: 12345\r\n\r\n"
        response = self.client().ask(self.request(b"/b", method=b"HEAD"), b"HEAD")
        self.assertEqual(response.value(b"Content-Length"), b"12345")

    def test_trailers(self) -> None:
        """Response trailers pass to a client that said ``TE: trailers``, to no other."""
        raw = START + CHUNKED + b"Trailer: X-Sum\r\n\r\n2\r\nok\r\n0\r\nX-Sum: 7\r\n\r\n"
        self.upstream.answers[b"/b"] = raw
        response = self.get(b"/b", b"TE: trailers", b"Connection: TE")
        self.assertEqual((response.body, response.trailers), (b"ok", [(b"X-Sum", b"7")]))
        response = self.get(b"/b")
        self.assertEqual((response.body, response.trailers), (b"ok", []))

    def test_streamed(self) -> None:
        """A part of a body reaches the client before the rest has been sent."""
        go_on = threading.Event()
        self.addCleanup(go_on.set)

        def script(conversation: Conversation) -> None:
            conversation.send(START + b"Content-Length: 10\r\n\r\nfirst")
            go_on.wait(10)
            conversation.send(b"later")

        self.upstream.answers[b"/b"] = script
        client = self.client().send(self.request(b"/b"))
        self.assertEqual(client.read_head().status, 200)
        self.assertEqual(client.stream.exactly(5), b"first")
        go_on.set()
        self.assertEqual(client.stream.exactly(5), b"later")

    def test_large_download(self) -> None:
        """Thirty megabytes arrive as they were sent, by length, chunked and until close."""
        block = bytes(range(256)) * 256
        count = 480
        digest = hashlib.sha256(block * count).hexdigest()

        def check(head: bytes, wrap: bool, then: str) -> None:
            piece = b"%x\r\n%s\r\n" % (len(block), block) if wrap else block
            end = b"0\r\n\r\n" if wrap else b""
            self.upstream.answers[b"/b"] = Answer((head, *[piece] * count, end), then=then)
            response = self.get(b"/b")
            self.assertTrue(response.complete)
            self.assertEqual(hashlib.sha256(response.body).hexdigest(), digest)

        length = b"Content-Length: %d\r\n\r\n" % (len(block) * count)
        self.each(
            [
                (START + length, False, "keep"),
                (START + CHUNKED + b"\r\n", True, "keep"),
                (START + b"\r\n", False, "close"),
            ],
            check,
        )


class RequestFramingTests(ProxyCase):
    """A request body reaches the upstream whole, or not as a whole one."""

    def test_content_length_and_chunked(self) -> None:
        """Each framing goes on as it came."""
        length = self.request(b"/l", b"Content-Length: 5", method=b"PUT", body=b"hello")
        chunked = self.request(b"/c", CHUNKED[:-2], method=b"PUT", body=CHUNKS)
        client = self.client()
        self.assertEqual([client.ask(raw).status for raw in (length, chunked)], [200, 200])
        first, second = self.upstream.requests
        self.assertEqual((first.body, second.body), (b"hello", b"hello"))
        self.assertEqual(first.value(b"Content-Length"), b"5")
        self.assertEqual(second.value(b"Transfer-Encoding"), b"chunked")

    def test_no_body(self) -> None:
        """A GET without a body gets no framing field; POST with length 0 keeps its own."""
        client = self.client()
        client.ask(self.request(b"/g"))
        client.ask(self.request(b"/p", b"Content-Length: 0", method=b"POST"))
        first, second = self.upstream.requests
        self.assertEqual(first.names() & {b"content-length", b"transfer-encoding"}, set())
        self.assertEqual(second.value(b"Content-Length"), b"0")

    def test_streamed(self) -> None:
        """The upstream gets the first part of a body while the client still has the rest."""
        arrived = threading.Event()

        def script(conversation: Conversation) -> None:
            conversation.read_some()
            arrived.set()
            conversation.read_body()
            conversation.send(START + b"Content-Length: 0\r\n\r\n")

        self.upstream.answers[b"/s"] = script
        client = self.client()
        client.send(self.request(b"/s", b"Content-Length: 10", method=b"PUT"), b"first")
        self.assertTrue(arrived.wait(5))
        client.send(b"later")
        self.assertEqual(client.read_response().status, 200)
        self.assertEqual(self.only_request().body, b"firstlater")

    def test_large_upload(self) -> None:
        """Thirty megabytes arrive as they were sent."""
        block = bytes(range(256)) * 256
        count = 480
        digest = hashlib.sha256(block * count).hexdigest()
        for line, piece, end in (
            (b"Content-Length: %d" % (len(block) * count), block, b""),
            (CHUNKED[:-2], b"%x\r\n%s\r\n" % (len(block), block), b"0\r\n\r\n"),
        ):
            self.upstream.forget()
            client = self.client(timeout=30)
            client.send(self.request(b"/u", line, method=b"PUT"), *[piece] * count, end)
            self.assertEqual(client.read_response().status, 200)
            body = self.only_request().body
            self.assertEqual(hashlib.sha256(body).hexdigest(), digest)

    def test_upstream_that_does_not_read(self) -> None:
        """An upstream that takes nothing pauses the client; what is held stays bounded."""
        release = threading.Event()
        self.addCleanup(release.set)

        def script(conversation: Conversation) -> None:
            release.wait(10)
            conversation.read_body()
            conversation.send(START + b"Content-Length: 0\r\n\r\n")

        self.upstream.answers[b"/u"] = script
        client = self.client(timeout=1)
        client.send(self.request(b"/u", b"Content-Length: 500000000", method=b"PUT"))
        sent = 0
        with self.assertRaises(TimeoutError):
            while sent < 500_000_000:
                client.sock.send(bytes(50_000))
                sent += 50_000
        # The kernel's buffers of both connections may hold tens of megabytes of it.
        self.assertLess(sent, 200_000_000)
        client.close()


class InterimTests(ProxyCase):
    """1xx responses of an upstream."""

    HINTS = b"HTTP/1.1 103 Early Hints\r\nLink: </a.css>; rel=preload\r\n\r\n"
    FINAL = START + b"Content-Length: 2\r\n\r\nok"

    def test_passed_on(self) -> None:
        """103, and any other but 100 and 101, is passed on before the response."""
        processing = b"HTTP/1.1 102 Processing\r\n\r\n"
        self.upstream.answers[b"/i"] = Answer((self.HINTS, processing, self.FINAL), gap=0.05)
        response = self.get(b"/i")
        self.assertEqual([interim.status for interim in response.interim], [103, 102])
        self.assertEqual(response.interim[0].value(b"Link"), b"</a.css>; rel=preload")
        self.assertEqual((response.status, response.body), (200, b"ok"))

    def test_at_once(self) -> None:
        """A 103 reaches the client while the final response is still awaited."""
        self.upstream.answers[b"/i"] = Answer((self.HINTS,), then="hold")
        client = self.client().send(self.request(b"/i"))
        self.assertEqual(client.read_head().status, 103)

    def test_not_to_http_1_0(self) -> None:
        """HTTP/1.0 gets no 1xx."""
        self.upstream.answers[b"/i"] = self.HINTS + self.FINAL
        response = self.get(b"/i", version=b"HTTP/1.0")
        self.assertEqual((response.status, response.interim), (200, []))

    def test_too_many(self) -> None:
        """Ten are passed on; more are an invalid response: 502."""
        self.upstream.answers[b"/i"] = self.HINTS * 10 + self.FINAL
        self.assertEqual(len(self.get(b"/i").interim), 10)
        self.upstream.answers[b"/i"] = self.HINTS * 11 + self.FINAL
        self.assertEqual(self.get(b"/i").status, 502)

    def test_connection_lives_on(self) -> None:
        """After interim responses both connections are used again."""
        self.upstream.answers[b"/i"] = self.HINTS + self.FINAL
        client = self.client()
        for _ in range(3):
            self.assertEqual(client.ask(self.request(b"/i")).body, b"ok")
        self.assertEqual(len({r.connection for r in self.upstream.requests}), 1)
