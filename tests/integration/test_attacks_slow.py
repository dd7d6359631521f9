"""Clients that take their time, with every limit set to a second."""

from __future__ import annotations

import socket
import ssl
import threading
import time
from pathlib import Path

from tests.support.cases import ProxyCase
from tests.support.raw_client import RawClient, client_context
from tests.support.recording_upstream import Conversation

LATEST = 4.0


class SlowClientTests(ProxyCase):
    """Nobody holds a connection for longer than the configuration says."""

    OVERRIDES = {
        "timeouts": {
            "tls_handshake_secs": 1,
            "client_hello_secs": 1,
            "request_head_secs": 1,
            "request_body_secs": 1,
            "keepalive_secs": 1,
        }
    }

    def drip(self, client: RawClient, raw: bytes, pause: float = 0.2) -> None:
        """Send byte after byte until told otherwise, or until the proxy has gone."""
        stop = threading.Event()

        def run() -> None:
            for at in range(len(raw)):
                client.send(raw[at : at + 1])
                if stop.wait(pause):
                    return

        thread = threading.Thread(target=run, daemon=True)
        thread.start()
        self.addCleanup(thread.join, 5)
        self.addCleanup(stop.set)

    def test_slow_head(self) -> None:
        """A head that comes byte by byte is 408 and close, its time counted in total."""
        started = time.monotonic()
        clients = (self.client(), self.plain_client())
        for client in clients:
            self.drip(client, self.request(b"/slow", b"X: " + b"v" * 200))
        for client in clients:
            response = client.read_response()
            self.assert_quick(started, 0.9, LATEST)
            self.assertEqual((response.status, response.body), (408, b"Request Timeout"))
            self.assertEqual(response.value(b"Connection"), b"close")
            self.assertTrue(client.is_closed_by_proxy())
        self.assert_nothing_forwarded()

    def test_stalled_head(self) -> None:
        """A head that stops in the middle is 408 and close."""
        parts = (b"G", b"GET / HTTP/1.1\r\nHost: site.test\r\n", b"GET / HTTP/1.1\r\n\r")
        started = time.monotonic()
        for client in [self.client().send(part) for part in parts]:
            raw = client.read_until_close()
            self.assert_quick(started, 0.9, LATEST)
            self.assertTrue(raw.startswith(b"HTTP/1.1 408 "), raw)
        self.assert_nothing_forwarded()

    def test_nothing_sent(self) -> None:
        """A connection on which nothing is ever sent is closed without an answer."""
        started = time.monotonic()
        for client in (self.client(), self.plain_client(), self.client().send(b"\r\n")):
            self.assertEqual(client.read_until_close(), b"")
            self.assert_quick(started, 0.9, LATEST)

    def test_idle_after_a_response(self) -> None:
        """An idle kept-alive connection is closed without an answer."""
        client = self.client()
        self.assertEqual(client.ask(self.request()).status, 200)
        started = time.monotonic()
        self.assertEqual(client.read_until_close(), b"")
        self.assert_quick(started, 0.9, LATEST)

    def test_slow_second_head(self) -> None:
        """The second head of a connection has the same time as the first."""
        client = self.client()
        self.assertEqual(client.ask(self.request()).status, 200)
        started = time.monotonic()
        self.drip(client, self.request(b"/slow", b"X: " + b"v" * 200))
        self.assertEqual(client.read_response().status, 408)
        self.assert_quick(started, 0.9, LATEST)

    def test_stalled_body(self) -> None:
        """A body that stops is 408 and close, and the upstream never has it whole."""
        started = time.monotonic()
        clients = []
        for line, part in (
            (b"Content-Length: 100", b"some"),
            (b"Transfer-Encoding: chunked", b"4\r\nsome\r\n"),
            (b"Transfer-Encoding: chunked", b"4\r\nsome\r\n0\r\n"),
        ):
            raw = self.request(b"/slow", line, method=b"POST", body=part)
            clients.append(self.client().send(raw))
        for client in clients:
            response = client.read_response()
            self.assert_quick(started, 0.9, LATEST)
            self.assertEqual(response.status, 408)
            self.assertTrue(client.is_closed_by_proxy())
        self.upstream.wait_until(lambda: not self.upstream.open_connections)
        self.assertEqual([request.complete for request in self.upstream.requests], [False] * 3)

    def test_progressing_body(self) -> None:
        """A slow body that goes on is not cut, however long it takes in all."""
        raw = self.request(b"/slow", b"Content-Length: 6", method=b"POST")
        client = self.client().send(raw)
        self.drip(client, b"slowly"[:6], 0.4)
        self.assertEqual(client.read_response().status, 200)
        self.assertEqual(self.only_request().body, b"slowly")

    def raw_tls_port(self) -> RawClient:
        """A TCP connection to the TLS port."""
        client = RawClient(socket.create_connection(("127.0.0.1", self.proxy.https_port), 5))
        self.addCleanup(client.close)
        return client

    def client_hello(self) -> tuple[ssl.SSLObject, ssl.MemoryBIO, bytes]:
        """A ClientHello, and what would go on with its handshake."""
        incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        tls = client_context().wrap_bio(incoming, outgoing, server_hostname=self.HOST)
        with self.assertRaises(ssl.SSLWantReadError):
            tls.do_handshake()
        return tls, incoming, outgoing.read()

    def test_no_client_hello(self) -> None:
        """Without a ClientHello, or with a part of one, the connection is closed in time."""
        hello = self.client_hello()[2]
        started = time.monotonic()
        parts = (b"", hello[:3], hello[:100])
        for client in [self.raw_tls_port().send(part) for part in parts]:
            client.read_until_close()
            self.assert_quick(started, 0.9, LATEST)

    def test_slow_client_hello(self) -> None:
        """A ClientHello byte by byte has no more time than a whole one."""
        client = self.raw_tls_port()
        started = time.monotonic()
        self.drip(client, self.client_hello()[2])
        client.read_until_close()
        self.assert_quick(started, 0.9, LATEST)

    def test_stalled_handshake(self) -> None:
        """A handshake that stops after its ClientHello is closed in time."""
        client = self.raw_tls_port().send(self.client_hello()[2])
        started = time.monotonic()
        flight = client.read_until_close()
        self.assertTrue(flight.startswith(b"\x16\x03\x03"))
        self.assert_quick(started, 0.9, LATEST)

    def test_oversized_client_hello(self) -> None:
        """A ClientHello that announces more than its limit is refused."""
        record = b"\x16\x03\x01\x40\x00" + b"\x01\xff\xff\xff" + b"\x00" * (0x4000 - 4)
        client = self.raw_tls_port()
        started = time.monotonic()
        client.send(record, record, record)
        client.read_until_close()
        self.assert_quick(started, 0.0, LATEST)


class SlowReaderTests(ProxyCase):
    """``timeouts.response_write_secs``."""

    OVERRIDES = {"timeouts": {"response_write_secs": 1}}

    def test_client_that_reads_nothing(self) -> None:
        """A client that takes nothing is dropped, its upstream with it, and memory is bounded."""
        sent = []

        def endless(conversation: Conversation) -> None:
            conversation.send(b"HTTP/1.1 200 OK\r\nContent-Length: 900000000\r\n\r\n")
            while True:
                conversation.send(b"x" * 65536)
                sent.append(65536)

        self.upstream.answers[b"/endless"] = endless
        before = self.resident()
        client = self.client(receive_buffer=4096)
        client.send(self.request(b"/endless"))
        started = time.monotonic()
        self.upstream.wait_for_requests(1)
        self.upstream.wait_until(lambda: not self.upstream.open_connections)
        self.assert_quick(started, 0.8, LATEST + 2)
        self.assertLess(sum(sent), 32 << 20)
        self.assertLess(self.resident() - before, 8 << 20)
        client.close()

    def test_slow_reader_that_goes_on(self) -> None:
        """A client that reads slowly but steadily gets the whole body."""
        body = bytes(range(256)) * 4096
        head = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(body)
        self.upstream.answers[b"/big"] = head + body
        client = self.client(receive_buffer=16384)
        client.send(self.request(b"/big"))
        pause = threading.Event()
        for _ in range(3):
            pause.wait(0.5)
            client.stream.fill(time.monotonic() + 5)
        self.assertEqual(client.read_response().body, body)

    def resident(self) -> int:
        """The proxy's resident memory in bytes."""
        status = Path(f"/proc/{self.proxy.pid}/statm").read_text(encoding="ascii")
        return int(status.split()[1]) * 4096
