"""Connections to an authority: what cuts them, and how their failures are put in words."""

from __future__ import annotations

import ssl
from typing import Any

from OpenSSL import SSL
from twisted.internet import reactor
from twisted.internet.defer import Deferred, succeed
from twisted.internet.error import (
    ConnectingCancelledError,
    ConnectionDone,
    ConnectionLost,
    ConnectionRefusedError,
    DNSLookupError,
    TimeoutError,
)
from twisted.internet.protocol import Factory, Protocol, connectionDone
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase
from twisted.web.client import (
    URI,
    BrowserLikePolicyForHTTPS,
    ResponseFailed,
    ResponseNeverReceived,
)
from twisted.web.error import SchemeNotSupported

from revproxy.tls.acme.connections import (
    END_SECS,
    MOST_ANSWER_BYTES,
    AnswersTooMuch,
    BoundedEndpoint,
    HttpsEndpoints,
    in_words,
)


class Wire(StringTransport):
    """A transport that can be cut; the other side does nothing by itself.

    Attributes:
        cut: whether it was.
    """

    cut = False

    def abortConnection(self) -> None:
        """Note it."""
        self.cut = True


class Keeping(Protocol):
    """Keeps what it receives, and why it ended."""

    def __init__(self) -> None:
        self.received: list[bytes] = []
        self.ended: list[Failure] = []

    def dataReceived(self, data: bytes) -> None:
        self.received.append(data)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self.ended.append(reason)


class Endpoint:
    """An endpoint that connects at once, to ``wire``."""

    def __init__(self, wire: Wire) -> None:
        self._wire = wire
        self.outer: Any = None

    def connect(self, factory: Any) -> Deferred[Any]:
        """As of an endpoint."""
        self.outer = factory.buildProtocol(None)
        self.outer.makeConnection(self._wire)
        return succeed(self.outer)


class BoundedCase(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock: Any = Clock()
        self.wire = Wire()
        endpoint = Endpoint(self.wire)
        bounded = BoundedEndpoint(endpoint, self.clock)
        inner: Any = self.successResultOf(bounded.connect(Factory.forProtocol(Keeping)))
        self.inner: Keeping = inner
        self.outer = endpoint.outer

    @property
    def received(self) -> int:
        return sum(map(len, self.inner.received))

    def end(self, reason: Exception) -> Failure:
        """Let the connection end; gives what is told of it."""
        self.outer.connectionLost(Failure(reason))
        (ended,) = self.inner.ended
        return ended


class AmountTests(BoundedCase):
    def test_within(self) -> None:
        """What the caller gets is the protocol that it asked for, and what comes is passed on."""
        self.assertIsInstance(self.inner, Keeping)
        transport: Any = self.inner.transport
        transport.write(b"request")
        transport.writeSequence([b" ", b"end"])
        self.assertEqual(self.wire.value(), b"request end")
        self.outer.dataReceived(b"answer")
        self.assertEqual(self.inner.received, [b"answer"])
        self.assertIs(self.end(ConnectionDone()).type, ConnectionDone)

    def test_most(self) -> None:
        """As much as the limit is an answer."""
        for _ in range(MOST_ANSWER_BYTES // 65536):
            self.outer.dataReceived(b"x" * 65536)
        self.assertFalse(self.wire.cut)
        self.assertEqual(self.received, MOST_ANSWER_BYTES)

    def test_too_much(self) -> None:
        """With one byte more the connection is cut, and that is why it has ended."""
        self.test_most()
        self.outer.dataReceived(b"x")
        self.assertTrue(self.wire.cut)
        self.assertEqual(self.received, MOST_ANSWER_BYTES)
        self.assertIs(self.end(ConnectionLost()).type, AnswersTooMuch)

    def test_for_each_request(self) -> None:
        """With each request it is counted anew."""
        transport: Any = self.inner.transport
        for write in (transport.write, lambda data: transport.writeSequence([data])):
            self.outer.dataReceived(b"x" * MOST_ANSWER_BYTES)
            write(b"request")
        self.outer.dataReceived(b"x" * MOST_ANSWER_BYTES)
        self.assertFalse(self.wire.cut)


class EndTests(BoundedCase):
    def close(self) -> None:
        transport: Any = self.inner.transport
        transport.loseConnection()

    def test_cut(self) -> None:
        """A closed connection that the other side does not close too is cut after a while."""
        self.close()
        self.assertTrue(self.wire.disconnecting)
        self.clock.advance(END_SECS - 0.1)
        self.assertFalse(self.wire.cut)
        self.clock.advance(0.1)
        self.assertTrue(self.wire.cut)
        self.end(ConnectionLost())

    def test_closed_in_time(self) -> None:
        """One that ends in time is not cut, and leaves no timer."""
        self.close()
        self.end(ConnectionDone())
        self.assertEqual(self.clock.getDelayedCalls(), [])
        self.assertFalse(self.wire.cut)

    def test_twice(self) -> None:
        """To close it again does not give the other side more time."""
        self.close()
        self.clock.advance(END_SECS / 2)
        self.close()
        self.clock.advance(END_SECS / 2)
        self.assertTrue(self.wire.cut)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_what_comes_after(self) -> None:
        """What comes after it was closed is for nobody, and has an end too."""
        self.close()
        self.outer.dataReceived(b"late")
        self.assertEqual(self.inner.received, [])
        self.outer.dataReceived(b"x" * MOST_ANSWER_BYTES)
        self.assertTrue(self.wire.cut)


class SchemeTests(SynchronousTestCase):
    def test_https(self) -> None:
        """There are endpoints for https and for nothing else."""
        endpoints = HttpsEndpoints(reactor, BrowserLikePolicyForHTTPS())
        self.assertIsInstance(
            endpoints.endpointForURI(URI.fromBytes(b"https://ca.test/")), BoundedEndpoint
        )
        for uri in (b"http://ca.test/", b"ftp://ca.test/", b"file:///etc/passwd"):
            with self.assertRaises(SchemeNotSupported):
                endpoints.endpointForURI(URI.fromBytes(uri, 1))


class WordsTests(SynchronousTestCase):
    def test_words(self) -> None:
        """What goes wrong with connections is told in words."""
        for error, words in (
            (DNSLookupError("no results for hostname lookup: ca.test"), "cannot be resolved"),
            (ConnectingCancelledError(None), "no connection in time"),
            (ConnectionLost(), "the connection was lost"),
            (ConnectionDone(), "the connection was closed before the end of the answer"),
            (ConnectionRefusedError(), "Connection was refused by other side"),
            (TimeoutError(), "User timeout caused connection failure"),
            (AnswersTooMuch(), "answers with more than 2097152 bytes"),
        ):
            self.assertIn(words, in_words(error))

    def test_wrapped(self) -> None:
        """As Twisted's HTTP client wraps it, what is told is the first of the reasons."""
        for wrapper in (ResponseFailed, ResponseNeverReceived):
            error = wrapper([Failure(ConnectionLost()), Failure(ValueError())])
            self.assertEqual(in_words(error), "the connection was lost")
        self.assertEqual(in_words(ResponseFailed([])), "ResponseFailed: []")

    def test_tls(self) -> None:
        """OpenSSL's reason is told without its library and function."""
        reasons = [("SSL routines", "", "certificate verify failed"), ("x", "y", "z")]
        self.assertEqual(in_words(SSL.Error(reasons)), "TLS: certificate verify failed")
        self.assertEqual(in_words(SSL.Error([("", "", "")])), "TLS: the handshake failed")
        for strange in (SSL.Error(), SSL.Error([]), SSL.Error("x"), ssl.SSLError("x")):
            self.assertTrue(in_words(strange))

    def test_strange(self) -> None:
        """Anything else is told by its kind, without controls and not at length."""
        told = in_words(ValueError("a\x1b[2J\n" + "x" * 9999))
        self.assertTrue(told.startswith("ValueError: a"))
        self.assertTrue(told.isprintable())
        self.assertEqual(len(told), 200)
        self.assertEqual(in_words(KeyError()), "KeyError")
