"""A TLS server on 127.0.0.1 in the test's own process, which says what it is told to.

Owns its port, its connections and the requests that came. Refuses to know HTTP beyond where a
request ends.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from twisted.internet import reactor as _reactor
from twisted.internet.defer import Deferred, maybeDeferred
from twisted.internet.protocol import Factory, Protocol, connectionDone
from twisted.internet.ssl import DefaultOpenSSLContextFactory
from twisted.python.failure import Failure

from tests.support.certificates import Pair

reactor: Any = _reactor

Answer = bytes | Callable[["_Connection"], None]
"""What is written for a request; or what is done about it."""

_LENGTH = re.compile(rb"(?i)\r\ncontent-length: *([0-9]+)\r\n")


def ok(content: bytes = b"{}", *fields: bytes, status: bytes = b"200 OK") -> bytes:
    """A response."""
    length = b"Content-Length: %d" % len(content)
    return b"\r\n".join([b"HTTP/1.1 " + status, length, *fields, b"", content])


class HttpsPeer:
    """See the module.

    Args:
        pair: its certificate; None speaks no TLS.
        answers: to the first requests; after them it is silent.

    Attributes:
        requests: the requests so far, head and body.
        connections: how many were made.
    """

    def __init__(self, pair: Pair | None, *answers: Answer) -> None:
        self.answers = list(answers)
        self.requests: list[bytes] = []
        self.connections = 0
        self.open: set[Any] = set()
        self._waiting: list[tuple[Callable[[], bool], Deferred[None]]] = []
        factory = Factory()
        factory.protocol = lambda: _Connection(self)  # type: ignore[assignment]
        if pair is None:
            self._port = reactor.listenTCP(0, factory, interface="127.0.0.1")
        else:
            context = DefaultOpenSSLContextFactory(pair.key_path, pair.cert_path)
            self._port = reactor.listenSSL(0, factory, context, interface="127.0.0.1")
        self.url = f"https://127.0.0.1:{self._port.getHost().port}/dir"

    async def until(self, condition: Callable[[], bool]) -> None:
        """Wait until something has happened here that makes it true."""
        if not condition():
            waiting = Deferred[None]()
            self._waiting.append((condition, waiting))
            await waiting

    async def asked(self, count: int = 1) -> None:
        """Wait for so many requests."""
        await self.until(lambda: len(self.requests) >= count)

    async def left(self) -> None:
        """Wait until the other side has closed every connection."""
        await self.until(lambda: self.connections > 0 and not self.open)

    async def stop(self) -> None:
        """Close everything."""
        await maybeDeferred(self._port.stopListening)
        for connection in list(self.open):
            connection.transport.abortConnection()
        await self.until(lambda: not self.open)

    def happened(self) -> None:
        """Tell who waits."""
        ready = [each for each in self._waiting if each[0]()]
        self._waiting = [each for each in self._waiting if each not in ready]
        for _, waiting in ready:
            reactor.callLater(0, waiting.callback, None)


class _Connection(Protocol):
    """One connection."""

    transport: Any

    def __init__(self, peer: HttpsPeer) -> None:
        self._peer = peer
        self._received = b""

    def connectionMade(self) -> None:
        self._peer.connections += 1
        self._peer.open.add(self)
        self._peer.happened()

    def dataReceived(self, data: bytes) -> None:
        self._received += data
        head, end, body = self._received.partition(b"\r\n\r\n")
        length = _LENGTH.search(head + b"\r\n")
        if not end or len(body) < (int(length[1]) if length else 0):
            return
        self._peer.requests.append(self._received)
        self._received = b""
        answer = self._peer.answers.pop(0) if self._peer.answers else b""
        if callable(answer):
            answer(self)
        else:
            self.transport.write(answer)
        self._peer.happened()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self._peer.open.discard(self)
        self._peer.happened()
