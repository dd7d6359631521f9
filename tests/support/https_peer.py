"""An HTTPS server that answers with whatever bytes a test wants, for as long as it wants.

Owns the port, its certificate and what was asked. Refuses to know ACME.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twisted.internet import reactor as the_reactor
from twisted.internet.defer import Deferred
from twisted.internet.endpoints import SSL4ServerEndpoint
from twisted.internet.protocol import Factory, Protocol, connectionDone
from twisted.internet.ssl import DefaultOpenSSLContextFactory
from twisted.python.failure import Failure

from tests.support.certificates import authority

PIECE = b"x" * 16384


class Answering(Protocol):
    """One connection: answers each request's head with what ``peer.answer`` gives.

    Attributes:
        lost: fires once the connection has ended.
    """

    def __init__(self, peer: HttpsPeer) -> None:
        self._peer = peer
        self._received = b""
        self.lost: Deferred[None] = Deferred()

    def dataReceived(self, data: bytes) -> None:
        self._received += data
        head, end, rest = self._received.partition(b"\r\n\r\n")
        if end:
            self._received = rest
            self._peer.heads.append(head)
            self._peer.answer(self.transport)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self.lost.callback(None)


class Endless:
    """A push producer that writes the same piece for ever, as fast as it is taken."""

    def __init__(self, transport: Any, piece: bytes = PIECE) -> None:
        self._transport = transport
        self._piece = piece
        self._running = False
        transport.registerProducer(self, True)
        self.resumeProducing()

    def resumeProducing(self) -> None:
        if not self._running:
            self._running = True
            self._write()

    def pauseProducing(self) -> None:
        self._running = False

    stopProducing = pauseProducing

    def _write(self) -> None:
        if self._running:
            self._transport.write(self._piece)
            the_reactor.callLater(0, self._write)  # type: ignore[attr-defined]


class HttpsPeer:
    """Listens on a port of 127.0.0.1 from :meth:`start` until :meth:`stop`.

    Attributes:
        answer: called with the transport for each request.
        heads: of all requests so far.
        connections: all so far.
    """

    def __init__(self, answer: Callable[[Any], object]) -> None:
        self.answer = answer
        self.heads: list[bytes] = []
        self.connections: list[Answering] = []

    async def start(self) -> None:
        """Listen."""
        pair = authority().pair("localhost", "127.0.0.1")
        options = DefaultOpenSSLContextFactory(pair.key_path, pair.cert_path)
        endpoint = SSL4ServerEndpoint(the_reactor, 0, options, interface="127.0.0.1")
        self._port = await endpoint.listen(Factory.forProtocol(self._connected))
        self.url = f"https://127.0.0.1:{self._port.getHost().port}/"

    def _connected(self) -> Answering:
        self.connections.append(Answering(self))
        return self.connections[-1]

    async def stop(self) -> None:
        """Listen no more, and end what is connected."""
        await self._port.stopListening()
        for one in self.connections:
            if not one.lost.called:
                one.transport.abortConnection()
            await one.lost
