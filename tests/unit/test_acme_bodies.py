"""Bodies of requests and responses: written at once, and bounded."""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import CancelledError
from twisted.internet.error import ConnectionDone, ConnectionLost
from twisted.internet.testing import StringTransport
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase
from twisted.web.client import ResponseDone, ResponseFailed
from twisted.web.http import PotentialDataLoss

from revproxy.tls.acme.bodies import MOST_REPLY_BYTES, Received, Sent, Unwanted
from revproxy.tls.acme.problem import CannotReach

URL = "https://ca.test/x"


class SentTests(SynchronousTestCase):
    def test_written(self) -> None:
        """The content is written as soon as it is wanted, and its length is known before."""
        sent, transport = Sent(b"content"), StringTransport()
        self.assertEqual(sent.length, 7)
        self.successResultOf(sent.startProducing(transport))
        self.assertEqual(transport.value(), b"content")
        for call in (sent.pauseProducing, sent.resumeProducing, sent.stopProducing):
            call()
        self.assertEqual(transport.value(), b"content")

    def test_empty(self) -> None:
        """No content has a length too."""
        self.assertEqual(Sent(b"").length, 0)


class ReceivedTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.received = Received(URL)
        self.transport: Any = StringTransport()
        self.received.makeConnection(self.transport)

    def end(self, reason: Exception) -> None:
        self.received.connectionLost(Failure(reason))

    def test_whole(self) -> None:
        """Its pieces are put together, and it is there at its end and not before."""
        self.received.dataReceived(b"one ")
        self.received.dataReceived(b"two")
        self.assertNoResult(self.received.whole)
        self.end(ResponseDone())
        self.assertEqual(self.successResultOf(self.received.whole), b"one two")

    def test_until_close(self) -> None:
        """A body without a length lasts until the connection is closed."""
        self.received.dataReceived(b"all")
        self.end(PotentialDataLoss())
        self.assertEqual(self.successResultOf(self.received.whole), b"all")

    def test_cut_off(self) -> None:
        """One that is cut off is a failure, whatever came of it."""
        for reason in (ConnectionLost(), ConnectionDone(), ResponseFailed([])):
            self.setUp()
            self.received.dataReceived(b"half")
            self.end(reason)
            self.failureResultOf(self.received.whole, type(reason))

    def test_most(self) -> None:
        """As much as the limit is taken."""
        self.received.dataReceived(b"x" * MOST_REPLY_BYTES)
        self.assertFalse(self.transport.disconnecting)
        self.end(ResponseDone())
        self.assertEqual(len(self.successResultOf(self.received.whole)), MOST_REPLY_BYTES)

    def test_too_much(self) -> None:
        """With one byte more it fails at once, in words, and the connection is closed."""
        self.received.dataReceived(b"x" * MOST_REPLY_BYTES)
        self.received.dataReceived(b"x")
        failure = self.failureResultOf(self.received.whole, CannotReach)
        self.assertEqual(str(failure.value), f"{URL}: answers with more than 1048576 bytes")
        self.assertTrue(self.transport.disconnecting)

    def test_after_too_much(self) -> None:
        """What still comes then, and the end, change nothing and are not kept."""
        self.received.dataReceived(b"x" * (MOST_REPLY_BYTES + 1))
        self.failureResultOf(self.received.whole, CannotReach)
        for _ in range(10):
            self.received.dataReceived(b"x" * 1000)
        self.assertLessEqual(len(self.received._content), MOST_REPLY_BYTES + 1)
        self.end(ConnectionDone())

    def test_cancelled(self) -> None:
        """Cancelled, it closes the connection; its end then changes nothing."""
        self.received.dataReceived(b"half")
        self.received.whole.cancel()
        self.failureResultOf(self.received.whole, CancelledError)
        self.assertTrue(self.transport.disconnecting)
        self.end(ConnectionDone())

    def test_cancelled_before_it_begins(self) -> None:
        """It may be cancelled before there is a connection."""
        received = Received(URL)
        received.whole.cancel()
        self.failureResultOf(received.whole, CancelledError)


class UnwantedTests(SynchronousTestCase):
    def test_closed(self) -> None:
        """The connection is closed before anything is read."""
        transport: Any = StringTransport()
        Unwanted().makeConnection(transport)
        self.assertTrue(transport.disconnecting)
