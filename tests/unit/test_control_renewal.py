"""One automatic certificate over its life: orders, renewals, refusals, waits."""

from __future__ import annotations

from datetime import datetime
from email.utils import formatdate
from itertools import pairwise
from pathlib import Path
from typing import Any

from attrs import evolve
from cryptography import x509
from twisted.internet.defer import Deferred, DeferredSemaphore
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from revproxy.control.renewal import LOOK_SECS, Renewal
from revproxy.control.renewal_tools import Attempt, Tools
from revproxy.tls.acme.answering import Answering
from revproxy.tls.acme.issue import Issue
from revproxy.tls.acme.jws import certificate_id
from revproxy.tls.acme.requests import Requests
from revproxy.tls.acme.session import Session
from revproxy.tls.acme.store import Store
from revproxy.tls.acme.wanted import Authority, Wanted
from tests.support.doubles import RecordingLog
from tests.support.fake_ca import DIRECTORY, FakeAuthority, problem
from tests.support.tls_peers import NOW

DAY = 86400.0
MINUTE = 60.0
NAMES = ("a.test", "b.test")


class RenewalCase(SynchronousTestCase):
    """A renewal in a process whose disk is quick, and whose chance is always the middle."""

    def setUp(self) -> None:
        self.clock: Any = Clock()
        self.jump = 0.0
        self.authority = FakeAuthority(self.wall)
        self.log = RecordingLog()
        self.served = 0
        self.answering = Answering(self.wall)
        authority = Authority(Path(self.mktemp()).absolute(), DIRECTORY, "mailto:a@b.test")
        self.wanted = Wanted(NAMES, authority)

    def wall(self) -> float:
        return NOW + float(self.clock.seconds()) + self.jump

    async def in_thread(self, call: Any) -> Any:
        return call()

    async def serve(self) -> None:
        self.served += 1

    async def issue(
        self, wanted: Wanted, session: Session, store: Store, names: tuple[str, ...], kind: str
    ) -> Issue:
        """As the service does."""
        pending = self.answering.pending(wanted.authority.cache_dir)
        client = await session.client()
        return Issue(
            client, store, pending, self.answering, self.in_thread, self.wall, names, kind,
            wanted.profile,
        )  # fmt: skip

    def begin(self) -> None:
        """Begin, as a process does that has just been started."""
        channel: Any = self.authority

        def requests(authority: Authority) -> Requests:
            return Requests(channel, self.clock, self.wall, lambda: 0.5)

        reports: list[str] = []
        self.session = Session(self.wanted.authority, requests, self.in_thread, reports.append)
        tools = Tools(
            self.clock, self.wall, lambda: 0.5, self.in_thread, self.log, DeferredSemaphore(4),
            self.serve, self.issue,
        )  # fmt: skip
        self.store = Store(self.wanted.authority.cache_dir, reports.append)
        self.renewal = Renewal(self.wanted, self.session, self.store, tools)
        self.keeping = Deferred.fromCoroutine(self.renewal.run())
        self.addCleanup(self.end)

    def end(self) -> None:
        """The process ends."""
        self.keeping.addErrback(lambda failure: None)
        self.keeping.cancel()

    def later(self, seconds: float, step: float = LOOK_SECS) -> None:
        """Let time pass."""
        while seconds > 0:
            self.clock.advance(min(step, seconds))
            seconds -= step

    def first(self) -> None:
        """The first process, once it has done what it can."""
        self.begin()
        self.settle()

    def settle(self) -> None:
        """Let polling come to its end."""
        for _ in range(20):
            self.clock.advance(0.5)

    def told(self, event: str) -> list[dict[str, object]]:
        """The records of ``event``, with their levels."""
        return [
            {"level": level, **fields}
            for level, name, fields in self.log.records
            if name == "ACME" and fields["event"] == event
        ]

    def leaf(self) -> x509.Certificate:
        assert self.renewal.entry.certificate is not None
        return x509.load_pem_x509_certificate(self.renewal.entry.certificate.chain_pem)


class LifeTests(RenewalCase):
    def test_first(self) -> None:
        """The first certificate is ordered at once, stored, served and told."""
        self.first()
        self.assertEqual(self.served, 1)
        (record,) = self.told("issued")
        self.assertEqual(record["for"], "a.test,b.test")
        self.assertEqual(record["challenge"], "tls-alpn-01")
        assert self.renewal.entry.certificate is not None
        self.assertEqual(self.renewal.entry.certificate.names, set(NAMES))

    def test_renewal(self) -> None:
        """With a third of its life left the next one is ordered, and no sooner."""
        self.first()
        self.later(59 * DAY)
        self.assertEqual(len(self.authority.orders), 1)
        self.later(1.1 * DAY)
        self.settle()
        self.assertEqual(len(self.authority.orders), 2)
        self.assertEqual(self.served, 2)

    def test_restart(self) -> None:
        """The next process finds it, and orders nothing; the account is the same."""
        self.first()
        self.end()
        self.begin()
        self.settle()
        self.assertEqual(len(self.authority.orders), 1)
        self.assertEqual(self.authority.asked.count("account"), 1)
        self.later(61 * DAY)
        self.settle()
        self.assertEqual(len(self.authority.orders), 2)
        self.assertEqual(self.authority.asked.count("account"), 1)

    def test_clock_that_jumps(self) -> None:
        """A clock that is set is seen within an hour."""
        self.first()
        self.jump = 70 * DAY
        self.later(LOOK_SECS)
        self.settle()
        self.assertEqual(len(self.authority.orders), 2)

    def test_clock_of_the_authority(self) -> None:
        """An authority whose certificates have all but ended is not asked again and again."""
        self.authority.early = 80 * DAY
        self.begin()
        self.settle()
        self.assertEqual(len(self.authority.orders), 1)
        self.later(LOOK_SECS)
        self.settle()
        self.assertEqual(len(self.authority.orders), 2)

    def test_profile(self) -> None:
        """Another profile is another certificate, at once."""
        self.authority.profiles = ("short",)
        self.first()
        self.end()
        self.wanted = evolve(self.wanted, profile="short")
        self.begin()
        self.settle()
        self.assertEqual(
            [order.get("profile") for order in self.authority.orders], [None, "short"]
        )

    def test_unknown_profile(self) -> None:
        """A profile that the authority does not have is told with those that it has."""
        self.wanted = evolve(self.wanted, profile="long")
        self.authority.profiles = ("classic", "short")
        self.begin()
        self.settle()
        self.assertIn("has no profile long, but classic, short", str(self.told("failed")[0]))


class SuggestionTests(RenewalCase):
    def setUp(self) -> None:
        super().setUp()
        self.authority.window = (NOW + 50 * DAY, NOW + 52 * DAY)

    def test_within_the_window(self) -> None:
        """The authority is asked when to renew, and a moment in its window is kept."""
        self.first()
        self.later(50.9 * DAY)
        self.assertEqual(len(self.authority.orders), 1)
        self.later(0.3 * DAY)
        self.settle()
        self.assertEqual(len(self.authority.orders), 2)
        self.assertGreaterEqual(sum(path.startswith("ari/") for path in self.authority.asked), 100)

    def test_moved_to_the_past(self) -> None:
        """A window that has moved to the past renews at once, and says what is replaced."""
        self.first()
        replaced = certificate_id(self.leaf())
        self.later(2 * DAY)
        self.assertEqual(len(self.authority.orders), 1)
        self.authority.window = (NOW, NOW + DAY)
        self.later(7 * 3600)
        self.settle()
        self.assertEqual(len(self.authority.orders), 2)
        self.assertEqual(self.authority.orders[1]["replaces"], replaced)
        self.assertNotIn("replaces", self.authority.orders[0])

    def test_replaced_already(self) -> None:
        """Where the authority holds it for replaced already, it is ordered without saying so."""
        self.first()
        self.authority.window = (NOW - 2 * DAY, NOW - DAY)
        self.authority.refuse("order", 409, problem("alreadyReplaced"))
        self.later(7 * 3600)
        self.settle()
        self.assertEqual(len(self.told("issued")), 2, self.told("failed"))
        self.assertNotIn("replaces", self.authority.orders[-1])

    def test_nonsense(self) -> None:
        """A suggestion that is none counts for nothing."""
        self.first()
        self.authority.window = (NOW + DAY, NOW)
        self.later(10 * DAY)
        self.assertEqual(len(self.authority.orders), 1)


class RefusalTests(RenewalCase):
    def waits(self) -> float:
        """How long until the next attempt."""
        return self.renewal.order_at - self.wall()

    def test_ladder(self) -> None:
        """Attempts that fail are made after a minute, ten, a hundred, then daily."""
        found = []
        for _ in range(5):
            self.authority.refuse("order", 500, b"down")
        self.clock.advance(0)
        self.first()
        for _ in range(5):
            found.append(self.renewal.entry.record.failures)
            self.later(self.waits() + 1, step=MINUTE)
            self.settle()
        self.assertEqual(found, [1, 2, 3, 4, 5])
        times = [self.seconds(record["next_attempt"]) for record in self.told("failed")]
        gaps = [later - sooner for sooner, later in pairwise(times)]
        waits = (10 * MINUTE, 100 * MINUTE, DAY, DAY)
        for gap, wait in zip(gaps, waits, strict=True):
            self.assertLess(abs(gap - wait), wait * 0.2 + 15)
        self.assertEqual(len(self.told("issued")), 1)

    def seconds(self, moment: object) -> float:
        assert isinstance(moment, str)
        return datetime.fromisoformat(moment).timestamp()

    def test_restart_does_not_reset(self) -> None:
        """However often the process is started, the next attempt is made when it is due."""
        self.authority.refuse("order", 500, b"down")
        self.begin()
        self.settle()
        asked = len(self.authority.asked)
        for _ in range(5):
            self.end()
            self.begin()
            self.clock.advance(1)
        self.assertEqual(len(self.authority.asked), asked)
        self.assertEqual(self.renewal.entry.record.failures, 1)

    def refused(self, status: int, content: bytes, retry_after: str = "") -> dict[str, object]:
        """What is told of an order that was refused so."""
        self.authority.refuse("order", status, content, retry_after)
        self.begin()
        self.settle()
        (record,) = self.told("failed")
        return record

    def test_rate_limit(self) -> None:
        """A wait that the authority asks for is kept, given as seconds or as a date."""
        detail = "too many certificates: see https://ca.test/limits"
        for given in ("7200", formatdate(NOW + 7200, usegmt=True)):
            self.setUp()
            record = self.refused(429, problem("rateLimited", detail), given)
            self.assertIn(detail, str(record["error"]))
            self.assertGreaterEqual(self.waits(), 7100)
            self.assertLess(self.waits(), 2.5 * 3600)

    def test_overloaded(self) -> None:
        """A page of HTML is a failure like another, and its words are told."""
        page = b"<html>\r\n<h1>Service busy\x1b</h1></html>"
        record = self.refused(503, page, "600")
        self.assertIn("<h1>Service busy\N{REPLACEMENT CHARACTER}</h1>", str(record["error"]))
        self.assertIn("HTTP 503", str(record["error"]))
        self.assertGreaterEqual(self.waits(), 580)

    def test_refused_name(self) -> None:
        """A name that is refused is an error, once a day, and the others get theirs."""
        subproblem = {
            "type": "urn:ietf:params:acme:error:rejectedIdentifier",
            "detail": "forbidden by policy",
            "identifier": {"type": "dns", "value": "b.test"},
        }
        several = problem("rejectedIdentifier", "refused", subproblems=[subproblem])
        record = self.refused(400, several)
        self.assertEqual(record["level"], "error")
        self.assertIn("b.test: forbidden by policy", str(record["error"]))
        self.assertLess(abs(self.waits() - DAY), 0.11 * DAY)
        (issued,) = self.told("issued")
        self.assertEqual(issued["for"], "a.test")
        self.assertEqual(self.renewal.entry.left_out, ["b.test"])

    def test_failed_validation(self) -> None:
        """A name that cannot be validated is told in the authority's words; others get theirs."""
        self.authority.denied["b.test"] = problem("dns", "no such name")
        self.begin()
        self.settle()
        (record,) = self.told("failed")
        self.assertIn("b.test: no such name (dns)", str(record["error"]))
        self.assertEqual(record["level"], "warn")
        (issued,) = self.told("issued")
        self.assertEqual(issued["for"], "a.test")
        self.authority.denied.clear()
        self.later(2 * MINUTE, step=MINUTE)
        self.settle()
        self.assertEqual(self.renewal.entry.left_out, [])

    def test_other_challenge(self) -> None:
        """After a failure the other challenge is tried, and then the first again."""
        for name in NAMES:
            self.authority.denied[name] = problem("connection", "refused")
        self.begin()
        self.settle()
        self.authority.denied.clear()
        self.later(2 * MINUTE, step=MINUTE)
        self.settle()
        (issued,) = self.told("issued")
        self.assertEqual(issued["challenge"], "http-01")

    def test_lost_account(self) -> None:
        """An account that the authority has lost is made anew, and the order follows at once."""
        self.authority.refuse("order", 400, problem("accountDoesNotExist"))
        self.begin()
        self.settle()
        self.assertEqual(len(self.told("issued")), 1)
        self.assertEqual(self.authority.asked.count("account"), 2)

    def test_late(self) -> None:
        """A renewal that does not come is told once a day: a warning, then an error."""
        self.first()
        for _ in range(40):
            self.authority.refuse("order", 500, b"down")
        self.later(70 * DAY)
        levels = [record["level"] for record in self.told("late")]
        self.assertLess(levels.count("warn"), 10)
        self.assertIn("warn", levels)
        self.later(12 * DAY)
        self.assertIn("error", [record["level"] for record in self.told("late")])


class FaultTests(RenewalCase):
    """What must not become a loop of orders, nor the end of all renewals."""

    def test_full_disk(self) -> None:
        """Where nothing can be stored the waits are kept all the same, in this process."""

        def full(*arguments: object, **more: object) -> None:
            raise OSError(28, "No space left on device", "certs/x")

        self.patch(Store, "save_record", full)
        self.patch(Store, "begin_order", full)
        self.first()
        self.assertEqual(len(self.authority.orders), 1)
        self.later(30, step=1)
        self.assertEqual(len(self.authority.orders), 1)
        self.later(60, step=10)
        self.assertEqual(len(self.authority.orders), 2)
        self.assertIn("No space left", str(self.told("failed")[0]))

    def test_full_disk_after_the_first(self) -> None:
        """The same with an older record on the disk, which is not gone by."""
        self.first()

        def full(*arguments: object, **more: object) -> None:
            raise OSError(28, "No space left on device", "certs/x")

        self.patch(Store, "save_record", full)
        self.patch(Store, "begin_order", full)
        self.later(60.5 * DAY)
        orders = len(self.authority.orders)
        self.later(1000 * MINUTE, step=MINUTE)
        self.assertLessEqual(len(self.authority.orders) - orders, 3)

    def test_fault_of_the_program(self) -> None:
        """It is told, and an hour later the renewals go on."""
        self.first()

        async def broken(session: object) -> None:
            raise ZeroDivisionError

        patched = self.patch(Session, "client", broken)
        self.later(7 * 3600)
        self.assertTrue(self.flushLoggedErrors(ZeroDivisionError))
        patched.restore()
        self.later(60 * DAY)
        self.settle()
        self.assertEqual(len(self.told("issued")), 2)

    def test_slots_while_another_process_works(self) -> None:
        """Who waits for the lock of another process keeps no other certificate from its order."""
        lock = self.store_of().lock(self.wanted.names, DIRECTORY)
        self.assertTrue(lock.try_acquire())
        self.first()
        self.assertEqual(self.authority.orders, [])
        self.assertEqual(self.renewal._tools.slots.tokens, 4)
        lock.release()
        self.settle()
        self.assertEqual(len(self.authority.orders), 1)

    def store_of(self) -> Store:
        return Store(self.wanted.authority.cache_dir, lambda sentence: None)


class AskedTests(RenewalCase):
    def test_renewed_on_request(self) -> None:
        """Who asks for it gets a new one now, and hears until when it is valid."""
        self.first()
        asked = self.renewal.renew()
        self.settle()
        attempt = self.successResultOf(asked)
        self.assertEqual(attempt, Attempt(not_after=attempt.not_after))
        self.assertEqual(len(self.authority.orders), 2)

    def test_failure(self) -> None:
        """Who asks hears why there is none."""
        self.first()
        for _ in ("with what it replaces", "without"):
            self.authority.refuse("order", 400, problem("malformed", "what is this"))
        asked = self.renewal.renew()
        self.settle()
        self.assertIn("what is this", self.successResultOf(asked).error)

    def test_end(self) -> None:
        """The end of the process leaves nobody waiting, and no challenge pending."""
        self.first()
        self.authority.refuse("authz", 500, b"")
        asked = self.renewal.renew()
        self.end()
        self.assertTrue(self.successResultOf(asked).error)
        folder = self.wanted.authority.cache_dir / "pending"
        self.assertEqual(list(folder.iterdir()), [])
