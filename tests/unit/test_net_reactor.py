"""The epoll reactor's own loop over what is ready."""

from __future__ import annotations

import socket
import time
from typing import Any

from twisted.internet.error import ConnectionDone
from twisted.internet.main import CONNECTION_DONE
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from revproxy.net.reactor import LeanEPollReactor


class Ready:
    """A selectable over one end of a socket pair; ``answer`` is what its ``doRead`` does."""

    def __init__(self, answer: Any = None) -> None:
        self.ours, self.theirs = socket.socketpair()
        self.answer = answer
        self.reads = 0
        self.lost: list[Failure] = []

    def fileno(self) -> int:
        return self.ours.fileno()

    def logPrefix(self) -> str:
        return "ready"

    def doRead(self) -> Any:
        self.reads += 1
        self.ours.recv(1)
        return self.answer() if callable(self.answer) else self.answer

    def connectionLost(self, reason: Failure) -> None:
        self.lost.append(reason)

    def close(self) -> None:
        self.ours.close()
        self.theirs.close()


class LeanEPollReactorTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.reactor = LeanEPollReactor()
        self.addCleanup(self.reactor._poller.close)
        self.addCleanup(self.reactor._uninstallHandler)

    def ready(self, answer: Any = None) -> Ready:
        """A selectable that has a byte to read."""
        made = Ready(answer)
        self.addCleanup(made.close)
        self.reactor.addReader(made)
        made.theirs.send(b"x")
        return made

    def test_reads(self) -> None:
        """Whatever is ready is read once a poll, and goes on being watched."""
        one, two = self.ready(), self.ready()
        self.reactor.doPoll(0)
        self.assertEqual((one.reads, two.reads), (1, 1))
        one.theirs.send(b"x")
        self.reactor.doPoll(0)
        self.assertEqual((one.reads, two.reads), (2, 1))

    def test_end(self) -> None:
        """What doRead returns ends the connection, with that reason."""
        made = self.ready(CONNECTION_DONE)
        self.reactor.doPoll(0)
        self.assertIsNotNone(made.lost[0].check(ConnectionDone))
        self.assertNotIn(made, self.reactor.getReaders())

    def test_exception(self) -> None:
        """An exception is logged and ends that connection; the others are read."""
        broken = self.ready(lambda: 1 // 0)
        sound = self.ready()
        self.reactor.doPoll(0)
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)
        self.assertEqual((len(broken.lost), sound.reads, sound.lost), (1, 1, []))

    def test_hang_up(self) -> None:
        """A peer that is gone, with nothing to read, ends the connection, too."""
        made = Ready()
        self.addCleanup(made.close)
        self.reactor.addReader(made)
        made.theirs.close()
        self.reactor.doPoll(0)
        self.assertTrue(made.reads or made.lost)

    def test_clock(self) -> None:
        """Its time is monotonic: nobody who sets the system's clock moves a time limit."""
        before = time.monotonic()
        self.assertLessEqual(before, self.reactor.seconds())
        self.assertLessEqual(self.reactor.seconds(), time.monotonic())
        call = self.reactor.callLater(3, lambda: None)
        self.assertLess(abs(call.getTime() - time.monotonic() - 3), 1)
        call.cancel()
