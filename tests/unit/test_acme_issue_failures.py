"""One order that fails: what is told, what is kept, and that nothing stays pending."""

from __future__ import annotations

import json
from typing import Any

from attrs import evolve
from twisted.internet.defer import CancelledError

from revproxy.tls.acme.issue import ISSUE_SECS, VALIDATION_SECS, NotIssuedError
from revproxy.tls.acme.pending import Challenge, PendingChallenges
from revproxy.tls.acme.problem import AcmeProblem, CannotReach, Problem
from revproxy.tls.acme.reply import Reply
from tests.support.fake_ca import BASE, problem
from tests.support.issuing import NAMES, IssueCase


class FailureTests(IssueCase):
    def test_denied(self) -> None:
        """A name that cannot be validated is told with the authority's words, and no other."""
        self.there.denied["b.test"] = problem("dns", "no such name")
        error = self.failed(NotIssuedError)
        self.assertEqual(error.names, {"b.test"})
        self.assertEqual((error.code, str(error)), ("dns", "b.test: no such name (dns)"))
        self.assertEqual(self.entry().record.order_url, "")
        self.cleared()

    def test_all_denied(self) -> None:
        """Every name that is denied is told."""
        for name in NAMES:
            self.there.denied[name] = problem("connection", "refused")
        self.assertEqual(self.failed(NotIssuedError).names, set(NAMES))
        self.cleared()

    def test_no_challenge(self) -> None:
        """A name for which nothing is offered that is answered here is told with what is."""
        document = {
            "status": "pending",
            "identifier": {"type": "dns", "value": "a.test"},
            "challenges": [{"type": "dns-01", "url": f"{BASE}/c", "status": "pending"}],
        }
        reply = Reply(200, json.dumps(document).encode())
        self.there.refusals["authz"].append(reply)
        error = self.failed(NotIssuedError)
        self.assertEqual(error.names, {"a.test"})
        self.assertIn("no challenge that is answered here, but dns-01", str(error))

    def test_deadline(self) -> None:
        """Validations that do not end are given up, all of them together in their time."""
        self.there.stuck.update(NAMES)
        running = self.begin()
        self.settle(VALIDATION_SECS - 2)
        self.assertNoResult(running)
        self.settle(4)
        error = self.failureResultOf(running, NotIssuedError).value
        self.assertEqual(error.names, set(NAMES))
        self.assertIn("the authorization is pending", str(error))
        self.cleared()

    def test_deadline_of_the_certificate(self) -> None:
        """Nor is an order waited for that is processed for ever."""
        real = self.there._finalize

        def processing(which: str, payload: Any) -> Any:
            real(which, payload)
            self.there._orders[which]["status"] = "processing"
            return self.there._json(self.there._orders[which])

        self.patch(self.there, "_finalize", processing)
        error = self.failed(NotIssuedError, ISSUE_SECS + 20)
        self.assertEqual(error.names, frozenset())
        self.assertIn("the order is processing", str(error))
        self.cleared()

    def test_failed_order(self) -> None:
        """What has made an order invalid after its validations is told."""
        told = {"type": "urn:ietf:params:acme:error:caa", "detail": "CAA forbids it"}

        def failing(which: str, payload: Any) -> Any:
            self.there._orders[which] |= {"status": "invalid", "error": told}
            return self.there._json(self.there._orders[which])

        self.patch(self.there, "_finalize", failing)
        self.assertEqual(str(self.failed(NotIssuedError)), "CAA forbids it (caa)")
        self.cleared()

    def test_not_issued(self) -> None:
        """The exception tells each name with its problem."""
        error = NotIssuedError({"a.test": Problem("", "one"), "": Problem("", "two")})
        self.assertEqual((str(error), error.names), ("a.test: one; two", {"a.test"}))


class UnusableTests(IssueCase):
    """What an authority has issued that cannot be used: the next attempt is another order."""

    def bad(self, content: bytes) -> None:
        self.there.refusals["cert"].append(Reply(200, content))
        self.failed(ValueError)
        self.assertIsNone(self.entry().certificate)
        self.cleared()
        self.assertIsNotNone(self.done().certificate)
        self.assertEqual(len(self.there.orders), 2)

    def test_nonsense(self) -> None:
        """No certificate at all."""
        self.bad(b"<html>")

    def test_other_key(self) -> None:
        """Somebody else's certificate."""
        other = self.done().certificate
        assert other is not None
        self.setUp()
        self.bad(other.chain_pem)

    def test_bad_token(self) -> None:
        """Nor is an order gone on with whose challenge cannot be answered."""
        document = {
            "status": "pending",
            "identifier": {"type": "dns", "value": "a.test"},
            "challenges": [{"type": "http-01", "url": f"{BASE}/c", "status": "pending"}],
        }
        reply = Reply(200, json.dumps(document).encode())
        self.there.refusals["authz"].append(reply)  # without a token
        self.failed(ValueError)
        self.assertIsNotNone(self.done().certificate)
        self.assertEqual(len(self.there.orders), 2)


class EndTests(IssueCase):
    """Challenges end with the attempt, in whatever way that ends."""

    def test_refused(self) -> None:
        """Refused in the middle."""
        self.there.stuck.update(NAMES)
        running = self.begin()
        self.there.refuse("authz", 403, problem("unauthorized"))
        self.settle()
        self.failureResultOf(running, AcmeProblem)
        self.cleared()

    def test_no_answer(self) -> None:
        """The authority cannot be asked any more; the order stays open, for the next attempt."""
        self.there.stuck.update(NAMES)
        running = self.begin()
        self.there.refusals["authz"].append(Reply(200, b"nonsense"))
        self.settle()
        self.failureResultOf(running, CannotReach)
        self.assertTrue(self.entry().record.order_url)
        self.cleared()

    def test_cancelled(self) -> None:
        """Cancelled while it waits for the authority; the order stays open."""
        self.there.stuck.update(NAMES)
        running = self.begin()
        self.settle()
        self.assertTrue(self.pending.tls("b.test"))
        running.cancel()
        self.failureResultOf(running, CancelledError)
        self.assertTrue(self.entry().record.order_url)
        self.cleared()

    def test_cancelled_while_it_is_written(self) -> None:
        """Cancelled while a thread writes the challenge, which nothing can stop."""
        self.slow = []
        running = self.begin()
        while not any(path.startswith("authz") for path in self.there.asked):
            self.slow.pop(0)()  # the order is stored
        (write,) = self.slow
        running.cancel()
        self.failureResultOf(running, CancelledError)
        self.slow = None
        write()
        self.cleared()

    def test_full_disk(self) -> None:
        """Where a challenge cannot be stored none is told, and the earlier ones end."""
        real = PendingChallenges.add

        def full(pending: PendingChallenges, challenge: Challenge) -> None:
            if challenge.name == "b.test":
                raise OSError(28, "No space left on device")
            real(pending, challenge)

        self.patch(PendingChallenges, "add", full)
        self.failed(OSError)
        self.cleared()
        self.assertTrue(self.entry().record.order_url)

    def test_record_is_kept(self) -> None:
        """A failure leaves the certificate that there was."""
        found = self.done().certificate
        self.there.denied["a.test"] = problem("dns")
        self.failed(NotIssuedError)
        self.assertEqual(self.entry().certificate, found)
        self.assertEqual(evolve(self.entry().record, order_url=""), self.entry().record)
