"""Orders of one process at an authority in memory, with a store of its own.

Owns the parts that an order needs, and that time passes only when a test says so. Refuses to know
what is asserted about it.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from revproxy.tls.acme.answering import Answering
from revproxy.tls.acme.client import Client
from revproxy.tls.acme.issue import Issue
from revproxy.tls.acme.jws import AccountKey
from revproxy.tls.acme.pending import Challenge, PendingChallenges
from revproxy.tls.acme.record import Record
from revproxy.tls.acme.requests import Requests
from revproxy.tls.acme.store import Entry, Store
from tests.support.fake_ca import BASE, DIRECTORY, FakeAuthority
from tests.support.tls_peers import NOW

NAMES = ("a.test", "b.test")


class IssueCase(SynchronousTestCase):
    """See the module.

    Attributes:
        there: the authority.
        added: every challenge that was pending.
        slow: where it is a list, what is to be done in threads waits there.
    """

    def setUp(self) -> None:
        self.clock: Any = Clock()
        self.there = FakeAuthority(self.wall)
        self.folder = Path(self.mktemp()).absolute()
        self.reports: list[str] = []
        self.store = Store(self.folder, self.reports.append)
        self.answering = Answering(self.wall)
        self.pending = self.answering.pending(self.folder)
        self.key = AccountKey.generate()
        self.slow: list[Callable[[], None]] | None = None
        self.added: list[Challenge] = []
        add = PendingChallenges.add
        self.patch(
            PendingChallenges,
            "add",
            lambda pending, challenge: (self.added.append(challenge), add(pending, challenge)),
        )

    def wall(self) -> float:
        return NOW + float(self.clock.seconds())

    async def in_thread(self, call: Callable[[], Any]) -> Any:
        if self.slow is None:
            return call()
        ended: Deferred[Any] = Deferred()  # cancelled, it ends, and the thread goes on

        def run() -> None:
            result = call()
            if not ended.called:
                ended.callback(result)

        self.slow.append(run)
        return await ended

    def issue(self, names: tuple[str, ...] = NAMES, challenge: str = "tls-alpn-01") -> Issue:
        """One attempt."""
        channel: Any = self.there
        requests = Requests(channel, self.clock, self.wall, lambda: 0.5)
        client = Client(requests, DIRECTORY, self.key, f"{BASE}/account/1")
        return Issue(
            client, self.store, self.pending, self.answering, self.in_thread, self.wall, names,
            challenge,
        )  # fmt: skip

    def entry(self) -> Entry:
        """What the store has, as a process finds it that has just been started."""
        found = self.store.load(NAMES, DIRECTORY)
        return found or Entry("", Record(NAMES, DIRECTORY))

    def begin(self, **more: Any) -> Deferred[Entry]:
        """An attempt with what the store has."""
        entry = self.entry()
        return Deferred.fromCoroutine(self.issue(**more).run(entry.record, entry.order_key_pem))

    def settle(self, seconds: float = 20) -> None:
        for _ in range(int(seconds)):
            self.clock.advance(1)

    def done(self, **more: Any) -> Entry:
        running = self.begin(**more)
        self.settle()
        return self.successResultOf(running)

    def failed(self, kind: type[Exception], seconds: float = 20, **more: Any) -> Any:
        running = self.begin(**more)
        self.settle(seconds)
        return self.failureResultOf(running, kind).value

    def cleared(self) -> None:
        """Nothing is pending, in memory or on disk, though something was, and no timer runs."""
        self.assertTrue(self.added)
        for challenge in self.added:
            self.assertIsNone(self.pending.http(challenge.token.encode()))
            self.assertIsNone(self.pending.tls(challenge.key))
        self.assertEqual(list((self.folder / "pending").iterdir()), [])
        self.assertEqual(self.pending._own, {})
        self.assertEqual(self.clock.getDelayedCalls(), [])
