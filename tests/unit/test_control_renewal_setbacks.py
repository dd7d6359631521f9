"""What goes wrong at an authority, on a disk or with a clock must not end a certificate's life."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

from twisted.internet.defer import Deferred

from revproxy.tls.acme.problem import CannotReach
from revproxy.tls.acme.reply import Reply
from tests.support.fake_ca import BASE, problem
from tests.support.tls_peers import NOW
from tests.unit.test_control_renewal import DAY, MINUTE, RenewalCase


class OneNameTests(RenewalCase):
    """One name of several cannot be validated when the certificate is renewed."""

    def test_kept(self) -> None:
        """It keeps the certificate that it has; the next attempts are for all names."""
        self.first()
        self.later(59 * DAY)
        self.authority.denied["b.test"] = problem("dns", "SERVFAIL")
        self.later(3 * DAY)
        assert self.renewal.entry.certificate is not None
        self.assertEqual(self.renewal.entry.certificate.names, {"a.test", "b.test"})
        self.authority.denied.clear()
        self.later(1.2 * DAY)
        self.settle()
        self.assertGreater(self.renewal.entry.certificate.not_after, NOW + 100 * DAY)
        self.assertEqual(self.renewal.entry.certificate.names, {"a.test", "b.test"})

    def test_late(self) -> None:
        """When little life is left the others are renewed without it."""
        self.first()
        self.later(59 * DAY)
        self.authority.denied["b.test"] = problem("dns", "SERVFAIL")
        self.later(22 * DAY)
        assert self.renewal.entry.certificate is not None
        self.assertEqual(self.renewal.entry.certificate.names, {"a.test"})

    def test_asked_to_wait(self) -> None:
        """A rate limit that names it is obeyed: nothing is ordered for the others either."""
        self.first()
        self.later(59 * DAY)
        told = problem("rateLimited", 'too many failed authorizations for "b.test"')
        self.authority.refuse("order", 429, told, str(3 * 86400))
        self.later(1.5 * DAY)
        self.settle()
        self.assertEqual(len(self.authority.orders), 1)


class OrderTests(RenewalCase):
    """An order that goes wrong in the middle."""

    def disturb(self, where: str, times: int, disturbed: Any) -> None:
        """Let ``disturbed`` answer the next requests whose URL has ``where`` in it."""
        plain = self.authority.request
        left = [times]

        async def request(method: str, url: str, body: Any = None, kind: str = "") -> Reply:
            if where in url and left[0] > 0:
                left[0] -= 1
                answer: Reply = await disturbed(url)
                return answer
            return await plain(method, url, body, kind)

        self.patch(self.authority, "request", request)

    async def busy(self, url: str) -> Reply:
        """503, of no ACME."""
        nonce = (await self.authority.request("HEAD", f"{BASE}/nonce")).nonce
        return Reply(503, b"<html>busy</html>", nonce=nonce)

    async def gone(self, url: str) -> Reply:
        """No answer."""
        raise CannotReach(url, "the connection was lost")

    async def nonsense(self, url: str) -> Reply:
        """Something else than was asked for."""
        nonce = (await self.authority.request("HEAD", f"{BASE}/nonce")).nonce
        return Reply(200, b"<html>", nonce=nonce)

    async def never(self, url: str) -> Reply:
        """Still waiting."""
        return await Deferred()

    def test_download(self) -> None:
        """What is issued is downloaded later, and nothing is ordered twice."""
        for disturbed in (self.busy, self.gone):
            self.setUp()
            self.disturb("/cert/", 2, disturbed)
            self.first()
            self.later(30 * MINUTE, step=MINUTE)
            self.settle()
            self.assertEqual(len(self.authority.orders), 1)
            self.assertEqual(len(self.told("issued")), 1)
            self.end()

    def test_hopeless(self) -> None:
        """An open order whose host is gone, or that is nonsense, is given up for a new one."""
        for disturbed in (self.gone, self.nonsense):
            self.setUp()
            self.disturb("/cert/", 1, self.never)
            self.first()
            (record,) = (self.wanted.authority.cache_dir / "certs").glob("*.json")
            url = json.loads(record.read_bytes())["order_url"]
            self.end()
            self.disturb(url, 1000, disturbed)
            self.begin()
            self.later(DAY / 2, step=MINUTE)
            self.settle()
            self.assertEqual(len(self.told("issued")), 1)
            self.end()

    def test_expired_meanwhile(self) -> None:
        """What an order has come to may have expired while no process ran: it is ordered anew."""
        self.authority.life = DAY
        self.disturb("/cert/", 1, self.never)
        self.first()
        self.end()
        self.jump = 2 * DAY
        self.begin()
        self.later(DAY / 2, step=MINUTE)
        self.settle()
        self.assertEqual(len(self.told("issued")), 1)

    def test_endless(self) -> None:
        """An order that takes longer than a quarter of an hour is given up."""
        self.disturb("/order", 1, self.never)
        self.first()
        self.later(16 * MINUTE, step=MINUTE)
        self.settle()
        self.assertIn("no certificate in 900 s", str(self.told("failed")[0]["error"]))

    def test_replaces_refused(self) -> None:
        """An authority that does not want to know what is replaced is not told."""
        self.first()
        plain = self.authority._order

        def order(which: str, payload: Any) -> Reply:
            if not which and payload.get("replaces"):
                return Reply(403, problem("unauthorized", "requester did not request it"))
            return plain(which, payload)

        self.patch(self.authority, "_order", order)
        self.later(62 * DAY)
        self.settle()
        self.assertEqual(len(self.told("issued")), 2)

    def test_no_life(self) -> None:
        """A certificate that is valid for a second does not replace a good one."""
        self.first()
        self.later(59 * DAY)
        self.authority.life = 1.0
        self.later(2 * DAY)
        self.assertIn("valid for 1 s only", str(self.told("failed")[0]["error"]))
        self.assertLess(len(self.authority.orders), 6)


class ClockTests(RenewalCase):
    def test_ahead(self) -> None:
        """What was noted while the clock was years ahead does not put renewals off."""
        self.first()
        self.later(58 * DAY)
        self.jump = 5 * 365 * DAY
        self.authority.refuse("order", 500, b"down")
        self.later(DAY / 12)
        self.assertTrue(self.told("failed"))
        self.jump = 0.0
        self.later(4 * DAY)
        self.settle()
        self.assertEqual(len(self.told("issued")), 2)


class SuggestionTests(RenewalCase):
    def suggest(self, start: str, end: str) -> None:
        """Let the authority suggest this, and some days pass."""
        self.authority.window = (0.0, 1.0)
        window = {"suggestedWindow": {"start": start, "end": end}}
        self.patch(self.authority, "_ari", lambda *_: self.authority._json(window))
        self.first()
        self.later(70 * DAY)
        self.settle()
        self.assertEqual(len(self.told("issued")), 2)
        self.assertEqual(self.told("failed"), [])

    def test_far(self) -> None:
        """A suggestion to renew in the year 9999 does not keep from it."""
        self.suggest("2090-01-01T00:00:00Z", "9999-12-31T23:59:59Z")

    def test_before_all_times(self) -> None:
        """One that begins in the year 1 counts as none."""
        end = datetime.fromtimestamp(NOW + 40 * DAY, UTC).isoformat()
        self.suggest("0001-01-01T00:00:00Z", end)
