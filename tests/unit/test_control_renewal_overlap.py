"""Orders that have a name in common, in one process or in several."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import permutations
from pathlib import Path
from typing import Any

from attrs import evolve
from twisted.trial.unittest import SynchronousTestCase

from revproxy.control.lock_wait import NAMES_SECS
from revproxy.tls.acme.name_lock import NameLock
from revproxy.tls.acme.reply import Reply
from tests.unit.test_control_renewal import NAMES, RenewalCase

OTHERS = ("a.test", "c.test")


class OverlapTests(RenewalCase):
    def setUp(self) -> None:
        super().setUp()
        self.validate = self.authority._chall
        self.asked: list[tuple[str, Any]] = []
        self.authority._chall = self.wait  # type: ignore[method-assign]

    def wait(self, which: str, payload: Any) -> Reply:
        """The authority takes its time to validate."""
        self.asked.append((which, payload))
        return Reply(200, b"{}")

    def validated(self) -> None:
        """It has validated all that it was asked for, and takes no time any more."""
        self.authority._chall = self.validate  # type: ignore[method-assign]
        for which, payload in self.asked:
            self.validate(which, payload)

    def ordered(self) -> list[list[str]]:
        """The names of all orders so far."""

        def names(order: Mapping[str, Any]) -> list[str]:
            return [one["value"] for one in order["identifiers"]]

        return [names(order) for order in self.authority.orders]

    def test_one_after_the_other(self) -> None:
        """The second waits until the first is over; the challenge of each is its own."""
        self.first()
        pending = self.answering.pending(self.wanted.authority.cache_dir)
        challenge = pending.tls("a.test")
        self.assertIsNotNone(challenge)
        self.wanted = evolve(self.wanted, names=OTHERS)
        self.first()
        self.assertEqual(self.ordered(), [list(NAMES)])
        self.assertEqual(pending.tls("a.test"), challenge)
        self.validated()
        self.later(20, step=0.5)
        self.assertEqual(self.ordered(), [list(NAMES), list(OTHERS)])
        self.assertEqual(len(self.told("issued")), 2)
        self.assertEqual(self.told("failed"), [])

    def test_other_names(self) -> None:
        """Orders with no name in common do not wait."""
        self.first()
        self.wanted = evolve(self.wanted, names=("c.test", "d.test"))
        self.first()
        self.assertEqual(len(self.ordered()), 2)

    def test_bounded(self) -> None:
        """A process that has been stopped in the middle of an order keeps no other from its."""
        lock = NameLock(self.wanted.authority.cache_dir, OTHERS)
        self.assertTrue(lock.try_acquire())
        self.validated()
        self.first()
        self.assertEqual(self.ordered(), [])
        self.later(NAMES_SECS, step=1)
        self.settle()
        self.assertEqual(self.ordered(), [list(NAMES)])
        self.assertEqual(len(self.told("issued")), 1)


class NameLockTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.folder = Path(self.mktemp()).absolute()

    def lock(self, *names: str) -> NameLock:
        """That of an order for ``names``."""
        return NameLock(self.folder, names)

    def test_common_name(self) -> None:
        """Of two that have a name in common one is held; others are in nobody's way."""
        one, two, other = self.lock("a.test", "b.test"), self.lock("b.test"), self.lock("c.test")
        self.assertTrue(one.try_acquire())
        self.assertTrue(one.try_acquire())
        self.assertFalse(two.try_acquire())
        self.assertTrue(other.try_acquire())
        one.close()
        self.assertTrue(two.try_acquire())

    def test_no_deadlock(self) -> None:
        """However many want overlapping sets at once, all get theirs in the end."""
        names = [f"{letter}.test" for letter in "abcde"]
        waiting = [self.lock(*some) for some in permutations(names, 3)]
        while waiting:
            taken = [lock for lock in waiting if lock.try_acquire()]
            self.assertEqual(len(taken), 1)
            for lock in taken:
                lock.close()
                waiting.remove(lock)
