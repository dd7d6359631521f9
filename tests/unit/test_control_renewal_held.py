"""A certificate that another process works on, or that nothing can be stored of."""

from __future__ import annotations

from pathlib import Path
from threading import Event, Thread
from typing import Any

from twisted.internet.defer import Deferred
from twisted.trial.unittest import SynchronousTestCase

from revproxy.tls.acme import files
from revproxy.tls.acme.files import Lock
from tests.support.fake_ca import DIRECTORY
from tests.unit.test_control_renewal import DAY, MINUTE, RenewalCase


class HeldTests(RenewalCase):
    def setUp(self) -> None:
        super().setUp()
        self.first()
        self.lock = self.store.lock(self.wanted.names, DIRECTORY)
        self.assertTrue(self.lock.try_acquire())

    def test_told(self) -> None:
        """After five minutes it is told, once for as long as it lasts, by the file."""
        self.renewal.renew()
        self.later(4 * MINUTE, step=1)
        self.assertEqual(self.told("waiting"), [])
        self.later(3 * DAY)
        (record,) = self.told("waiting")
        self.assertEqual(record["level"], "warn")
        self.assertEqual(record["error"], f"another process holds {self.lock.path}")

    def test_late(self) -> None:
        """A renewal that is late by that is told as any other."""
        self.later(89 * DAY)
        self.assertIn("error", [record["level"] for record in self.told("late")])

    def test_asked(self) -> None:
        """Who asks for a renewal hears of it before long; the renewal goes on later."""
        asked = self.renewal.renew()
        self.later(20, step=1)
        self.assertNoResult(asked)
        self.later(15, step=1)
        self.assertIn("another process holds", self.successResultOf(asked).error)
        self.lock.release()
        self.later(60 * DAY)
        self.settle()
        self.assertEqual(len(self.told("issued")), 2)

    def test_cancelled_while_it_is_taken(self) -> None:
        """Who is cancelled while a thread takes the lock does not keep it."""
        self.end()
        self.lock.release()
        held: list[Any] = []

        def in_thread(call: Any) -> Any:
            if getattr(call, "__name__", "") == "try_acquire":
                held.append(call)
                return Deferred()
            return _done(call())

        self.patch(self, "in_thread", in_thread)
        self.begin()
        self.renewal.renew()
        self.settle()
        (call,) = held
        self.end()
        call()  # the thread was slow
        self.assertTrue(self.lock.try_acquire())


def _done(result: object) -> Deferred[object]:
    done: Deferred[object] = Deferred()
    done.callback(result)
    return done


class UnwritableTests(RenewalCase):
    def test_asked(self) -> None:
        """Where the lock cannot be taken, who asks hears why, and it is tried no more."""
        self.first()

        def full(lock: Lock) -> bool:
            raise PermissionError(13, "Permission denied", "certs/x.lock")

        self.patch(Lock, "try_acquire", full)
        asked = self.renewal.renew()
        self.settle()
        self.assertIn("Permission denied", self.successResultOf(asked).error)
        self.assertEqual(len(self.told("failed")), 1)


class LockTests(SynchronousTestCase):
    def test_closed_while_it_is_taken(self) -> None:
        """A lock that is closed while a thread is taking it is not taken."""
        path = Path(self.mktemp()).absolute()
        lock = Lock(path)
        locked, closed = Event(), Event()
        flock = files.fcntl.flock

        def slow(descriptor: int, how: int) -> None:
            flock(descriptor, how)
            locked.set()
            closed.wait(5)

        patched = self.patch(files.fcntl, "flock", slow)
        thread = Thread(target=lock.try_acquire)
        thread.start()
        locked.wait(5)
        lock.close()
        closed.set()
        thread.join(5)
        patched.restore()
        self.assertFalse(lock.held)
        self.assertFalse(lock.try_acquire())
        self.assertTrue(Lock(path).try_acquire())
