"""Automatic certificates as a service: what is asked of it, and rehearsals."""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import Deferred

from revproxy.control.lock_wait import NAMES_SECS
from revproxy.control.renewals import MOST_ORDERS, Renewals
from revproxy.tls.acme.name_lock import NameLock
from revproxy.tls.acme.requests import Requests
from revproxy.tls.acme.wanted import Authority
from tests.support.fake_ca import problem
from tests.unit.test_control_renewal import DAY, RenewalCase


class ServiceCase(RenewalCase):
    """The service, with one certificate that has been issued."""

    def setUp(self) -> None:
        super().setUp()
        channel: Any = self.authority

        def requests(authority: Authority) -> Requests:
            return Requests(channel, self.clock, self.wall, lambda: 0.5)

        self.renewals = Renewals(
            self.clock,
            self.wall,
            lambda: [self.wanted],
            self.serve,
            self.in_thread,
            self.log,
            self.answering,
            requests,
        )
        self.renewals.startService()
        self.addCleanup(self.renewals.stopService)
        self.settle()
        self.log.records.clear()


class RehearsalTests(ServiceCase):
    def rehearse(self) -> Deferred[Any]:
        return Deferred.fromCoroutine(self.renewals.rehearse("a.test"))

    def test_success(self) -> None:
        """Its record says what it is; nothing is served of it."""
        served = self.served
        attempt = self.rehearse()
        self.settle()
        self.assertEqual(self.successResultOf(attempt).error, "")
        (record,) = self.told("issued")
        self.assertEqual(record["dry_run"], "true")
        self.assertEqual(self.served, served)

    def test_failure(self) -> None:
        """So does that of one that fails; the real one is no worse for it."""
        for _ in range(2):
            self.authority.refuse("order", 400, problem("malformed", "what is this"))
        attempt = self.rehearse()
        self.settle()
        self.assertIn("what is this", self.successResultOf(attempt).error)
        self.assertEqual({record.get("dry_run") for record in self.told("failed")}, {"true"})
        (renewal,) = self.renewals.kept()
        self.assertEqual(renewal.entry.record.failures, 0)

    def test_real_one(self) -> None:
        """A real order is not marked."""
        attempt = Deferred.fromCoroutine(self.renewals.renew("a.test"))
        self.settle()
        self.successResultOf(attempt)
        (record,) = self.told("issued")
        self.assertNotIn("dry_run", record)

    def test_slot(self) -> None:
        """It waits, as an order does, while so many are under way."""
        slots = self.renewals._slots
        for _ in range(MOST_ORDERS):
            slots.acquire()
        attempt = self.rehearse()
        self.settle()
        self.assertNoResult(attempt)
        slots.release()
        self.settle()
        self.assertEqual(self.successResultOf(attempt).error, "")
        self.assertEqual(slots.tokens, 1)

    def test_beside_an_order(self) -> None:
        """It waits for an order with a name in common, and gives up in the end."""
        lock = NameLock(self.wanted.authority.cache_dir, ["b.test"])
        self.assertTrue(lock.try_acquire())
        first, second = self.rehearse(), self.rehearse()
        self.later(NAMES_SECS, step=1)
        for attempt in (first, second):
            self.assertIn("another order", self.successResultOf(attempt).error)
        third = self.rehearse()
        lock.close()
        self.settle()
        self.assertEqual(self.successResultOf(third).error, "")


class AskedTests(ServiceCase):
    def test_lost_account(self) -> None:
        """Who asks for a renewal does not hear of an account that the authority has lost."""
        self.authority.refuse("order", 400, problem("accountDoesNotExist"))
        attempt = Deferred.fromCoroutine(self.renewals.renew("a.test"))
        self.settle()
        self.assertEqual(self.successResultOf(attempt).error, "")
        self.assertEqual(self.told("failed"), [])

    def test_look(self) -> None:
        """Those whose file cannot be used look for it; others do not."""
        path = self.wanted.pair.cert_path
        (renewal,) = self.renewals.kept()
        looked: list[object] = []
        self.patch(renewal, "look", lambda: looked.append(path))
        self.renewals.look({"elsewhere.pem"})
        self.assertEqual(looked, [])
        self.renewals.look({"elsewhere.pem", path})
        self.assertEqual(looked, [path])
        self.later(DAY)
