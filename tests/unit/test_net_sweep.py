"""The sweep over deadlines, where what is told changes what is watched."""

from __future__ import annotations

from collections.abc import Callable

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from revproxy.net.deadlines import NEVER, SWEEP_SECS, Deadlines


class ActingWatched:
    """Something that records when it was told, and then does something."""

    def __init__(self, deadline: float, then: Callable[[], None]) -> None:
        self.deadline = deadline
        self.told: list[float] = []
        self._then = then

    def expired(self, now: float) -> None:
        self.told.append(now)
        self._then()


class SweepTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.clock.advance(100.0)
        self.deadlines = Deadlines(self.clock)
        self.deadlines.start()

    def sweep(self, times: int = 1) -> None:
        self.clock.pump([SWEEP_SECS] * times)

    def watch(self, deadline: float, then: Callable[[], None] = lambda: None) -> ActingWatched:
        watched = ActingWatched(deadline, then)
        self.deadlines.watch(watched)
        return watched

    def test_moved_in_the_same_sweep(self) -> None:
        """What gets a new deadline from another one's end is not told."""
        pair: list[ActingWatched] = []

        def move() -> None:
            for one in pair:
                one.deadline = NEVER

        pair += [self.watch(100.0, move), self.watch(100.0, move)]
        self.sweep(4)
        self.assertEqual(sorted(len(one.told) for one in pair), [0, 1])

    def test_watched_in_a_sweep(self) -> None:
        """What begins to be watched in a sweep is told at the next one."""
        new: list[ActingWatched] = []
        watched = self.watch(100.0, lambda: new.append(self.watch(100.0)))
        self.sweep()
        watched.deadline = NEVER
        self.assertEqual([one.told for one in new], [[]])
        self.sweep()
        self.assertEqual([len(one.told) for one in new], [1])

    def test_after(self) -> None:
        """A deadline is never early and at most two sweeps late, whenever it is set."""
        for offset in (0.0, 0.1, 0.25, 0.49):
            self.clock.advance(offset)
            set_at = self.clock.seconds()
            watched = self.watch(self.deadlines.after(3.0))
            while not watched.told:
                self.clock.advance(0.01)
            waited = watched.told[0] - set_at
            self.assertTrue(3.0 <= waited <= 3.0 + 2 * SWEEP_SECS + 0.02, waited)
            self.deadlines.forget(watched)

    def test_now(self) -> None:
        """The time that is free to read is that of the last sweep."""
        self.clock.advance(SWEEP_SECS * 0.9)
        self.assertEqual(self.deadlines.now, 100.0)
        self.clock.advance(SWEEP_SECS * 0.1)
        self.assertEqual(self.deadlines.now, self.clock.seconds())

    def test_stopped_in_a_sweep(self) -> None:
        """The sweep may be stopped by what it tells, and leaves nothing in the reactor."""
        self.watch(100.0, self.deadlines.stop)
        self.sweep()
        self.assertEqual(self.clock.getDelayedCalls(), [])
