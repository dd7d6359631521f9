"""Bodies of requests and responses.

Owns how much is received of one, and that a connection is closed whose response is not taken to
its end. Refuses to know what is in them.
"""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import Deferred, succeed
from twisted.internet.protocol import Protocol, connectionDone
from twisted.python.failure import Failure
from twisted.web.client import ResponseDone
from twisted.web.http import PotentialDataLoss
from twisted.web.iweb import IBodyProducer
from zope.interface import implementer

from revproxy.tls.acme.problem import CannotReach

MOST_REPLY_BYTES = 1024 * 1024


@implementer(IBodyProducer)
class Sent:
    """A request's body, which is small, written at once."""

    def __init__(self, content: bytes) -> None:
        self._content = content
        self.length = len(content)

    def startProducing(self, consumer: Any) -> Deferred[None]:
        """As of a body producer."""
        consumer.write(self._content)
        return succeed(None)

    def pauseProducing(self) -> None:
        """It has been written already."""

    resumeProducing = stopProducing = pauseProducing


class Received(Protocol):
    """A response's body.

    Attributes:
        whole: fires with it; cancelled, it closes the connection.
    """

    def __init__(self, url: str) -> None:
        self._url = url
        self._content = bytearray()
        self.whole: Deferred[bytes] = Deferred(lambda _: self._close())

    def dataReceived(self, data: bytes) -> None:
        """A piece; beyond the limit the connection is closed."""
        if self.whole.called:  # more may come until it is closed
            return
        self._content += data
        if len(self._content) > MOST_REPLY_BYTES:
            reason = f"answers with more than {MOST_REPLY_BYTES} bytes"
            self.whole.errback(CannotReach(self._url, reason))
            self._close()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """It has ended."""
        if self.whole.called:
            return
        # PotentialDataLoss is the end of a body without a length, which lasts until the close.
        if reason.check(ResponseDone, PotentialDataLoss):
            self.whole.callback(bytes(self._content))
        else:
            self.whole.errback(reason)

    def _close(self) -> None:
        transport: Any = self.transport
        if transport is not None:
            transport.loseConnection()


class Unwanted(Protocol):
    """In place of a response's body: closes the connection."""

    def connectionMade(self) -> None:
        """Close."""
        transport: Any = self.transport
        transport.loseConnection()
