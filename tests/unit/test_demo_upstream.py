"""The demonstration's upstream, asked over its real socket."""

from __future__ import annotations

import os
import stat
from typing import Any

from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.internet.endpoints import UNIXClientEndpoint, connectProtocol
from twisted.internet.protocol import Protocol, connectionDone
from twisted.python.failure import Failure
from twisted.trial.unittest import TestCase

from revproxy.control.demo_upstream import MIB, demo_upstream


class Asking(Protocol):
    """Sends one request and keeps what comes back until the connection ends."""

    def __init__(self, request: bytes) -> None:
        self.request = request
        self.received = bytearray()
        self.ended: Deferred[bytes] = Deferred()

    def connectionMade(self) -> None:
        self.transport.write(self.request)

    def dataReceived(self, data: bytes) -> None:
        self.received += data

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self.ended.callback(bytes(self.received))


class DemoUpstreamTests(TestCase):
    """What it answers."""

    timeout = 10

    def setUp(self) -> None:
        self.path = os.path.relpath(self.mktemp())
        self.service = demo_upstream(reactor, self.path)
        self.service.startService()
        self.addCleanup(self.service.stopService)

    async def ask(self, target: str, more: str = "", body: str = "", method: str = "GET") -> Any:
        """Head and body of the answer to one request."""
        head = f"{method} {target} HTTP/1.1\r\nHost: app.localhost\r\nConnection: close\r\n{more}"
        asking = Asking(f"{head}\r\n{body}".encode())
        await connectProtocol(UNIXClientEndpoint(reactor, self.path), asking)
        head_bytes, _, content = (await asking.ended).partition(b"\r\n\r\n")
        return head_bytes, content

    async def test_says_what_it_received(self) -> None:
        """The answer holds the request line, the fields, the body's length and the address."""
        fields = "X-Real-IP: 192.0.2.1\r\nContent-Length: 3\r\n"
        head, content = await self.ask("/a?b", fields, "abc", "POST")
        self.assertIn(b"200 OK", head)
        for part in (
            b"POST /a?b HTTP/1.1\n",
            b"Host: app.localhost\n",
            b"body: 3 bytes\n",
            b"client address: 192.0.2.1\n",
        ):
            self.assertIn(part, content)

    async def test_head(self) -> None:
        """HEAD gets the length that GET would have had, and no body."""
        head, content = await self.ask("/", method="HEAD")
        self.assertRegex(head.lower(), rb"content-length: [1-9]")
        self.assertEqual(content, b"")

    async def test_big(self) -> None:
        """``/big?N`` is N MiB long and says so first."""
        head, content = await self.ask("/big?3")
        self.assertIn(b"content-length: %d" % (3 * MIB), head.lower())
        self.assertEqual(content, bytes(3 * MIB))

    async def test_slow(self) -> None:
        """``/slow`` ends with its last line."""
        _, content = await self.ask("/slow")
        self.assertIn(b"line 1 of 5\n", content)
        self.assertIn(b"line 5 of 5\n", content)

    def test_socket_is_private(self) -> None:
        """Nobody but this user may connect."""
        self.assertEqual(stat.S_IMODE(os.stat(self.path).st_mode), 0o600)
