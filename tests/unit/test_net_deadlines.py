"""The sweep over time limits, and the two small things that are watched by it."""

from __future__ import annotations

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from revproxy.net.deadlines import NEVER, SWEEP_SECS, Deadlines
from revproxy.net.intake import Intake
from revproxy.net.stall import Stall


class RecordingWatched:
    """Keeps when it expired; ``forgets`` is forgotten then."""

    def __init__(self, deadlines: Deadlines, deadline: float) -> None:
        self.deadlines = deadlines
        self.deadline = deadline
        self.expirations: list[float] = []
        self.forgets: RecordingWatched | None = None
        deadlines.watch(self)

    def expired(self, now: float) -> None:
        self.expirations.append(now)
        if self.forgets is not None:
            self.deadlines.forget(self.forgets)


class DeadlinesTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.deadlines = Deadlines(self.clock)
        self.deadlines.start()

    def wait(self, seconds: float) -> None:
        self.clock.pump([0.25] * int(seconds * 4))

    def test_never_early(self) -> None:
        """A limit set by after() fires when it has passed, two sweeps late at the most."""
        for quarter in range(8):
            self.clock.advance(0.25)
            watched = RecordingWatched(self.deadlines, self.deadlines.after(3))
            due = self.clock.seconds() + 3
            self.wait(3 + 2 * SWEEP_SECS)
            first = watched.expirations[0]
            self.assertTrue(due <= first <= due + 2 * SWEEP_SECS, (quarter, due, first))
            self.deadlines.forget(watched)

    def test_repeats(self) -> None:
        """What neither moves its deadline nor is forgotten expires at every sweep."""
        watched = RecordingWatched(self.deadlines, 0.0)
        self.wait(2)
        self.assertEqual(watched.expirations, [0.5, 1.0, 1.5, 2.0])
        watched.deadline = NEVER
        self.wait(2)
        self.assertEqual(len(watched.expirations), 4)

    def test_forgotten_in_the_same_sweep(self) -> None:
        """What is forgotten because another expired does not expire any more."""
        one = RecordingWatched(self.deadlines, 0.0)
        two = RecordingWatched(self.deadlines, 0.0)
        one.forgets, two.forgets = two, one
        self.wait(0.5)
        self.assertEqual(len(one.expirations) + len(two.expirations), 1)

    def test_late_start(self) -> None:
        """Time that passes between making it and starting it counts against nobody."""
        clock = Clock()
        deadlines = Deadlines(clock)
        clock.advance(100)
        deadlines.start()
        watched = RecordingWatched(deadlines, deadlines.after(5))
        clock.pump([0.25] * 19)
        self.assertEqual(watched.expirations, [])
        deadlines.stop()

    def test_stop(self) -> None:
        """After stop() nothing expires and no timer is left; twice is harmless."""
        watched = RecordingWatched(self.deadlines, 0.0)
        self.deadlines.stop()
        self.deadlines.stop()
        self.wait(2)
        self.assertEqual(watched.expirations, [])
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_forget_unknown(self) -> None:
        """To forget what is not watched is harmless."""
        watched = RecordingWatched(self.deadlines, 0.0)
        self.deadlines.forget(watched)
        self.deadlines.forget(watched)

    def test_failing(self) -> None:
        """One that fails at its time limit is logged and forgotten; the others are told."""

        class Failing(RecordingWatched):
            def expired(self, now: float) -> None:
                super().expired(now)
                raise ZeroDivisionError

        failing = [Failing(self.deadlines, 0.0) for _ in range(2)]
        sound = [RecordingWatched(self.deadlines, 0.0) for _ in range(4)]
        self.wait(1.0)
        self.assertEqual([len(one.expirations) for one in failing], [1, 1])
        self.assertEqual([len(one.expirations) for one in sound], [2] * 4)
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 2)

    def test_soon(self) -> None:
        """What is to be called soon is called in the next turn and not within soon()."""
        called: list[int] = []
        self.deadlines.soon(lambda: called.append(1))
        self.assertEqual(called, [])
        self.clock.advance(0)
        self.assertEqual(called, [1])


class StallTests(SynchronousTestCase):
    def test_nothing_queued(self) -> None:
        """Without anything queued there is nothing to look at."""
        stall = Stall()
        self.assertEqual(stall.until, NEVER)
        self.assertFalse(stall.over(1e9, 0, 60))

    def test_nothing_taken(self) -> None:
        """It is over when nothing was taken until then, and not before."""
        stall = Stall()
        stall.begin(100, 60)
        self.assertFalse(stall.over(59, 100, 60))
        self.assertTrue(stall.over(60, 100, 60))

    def test_something_taken(self) -> None:
        """A byte taken begins the time anew."""
        stall = Stall()
        stall.begin(100, 60)
        self.assertFalse(stall.over(60, 101, 60))
        self.assertEqual(stall.until, 120)
        self.assertTrue(stall.over(120, 101, 60))

    def test_end(self) -> None:
        """When everything has been taken it is never over."""
        stall = Stall()
        stall.begin(100, 60)
        stall.end()
        self.assertFalse(stall.over(60, 100, 60))


class RecordingTransport:
    """Keeps how it was paused and resumed."""

    def __init__(self) -> None:
        self.events: list[str] = []

    def pauseProducing(self) -> None:
        self.events.append("pause")

    def resumeProducing(self) -> None:
        self.events.append("resume")


class IntakeTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.transport = RecordingTransport()
        self.intake = Intake(self.transport)

    def test_two_reasons(self) -> None:
        """Reading goes on when the last of the two reasons not to is gone."""
        self.intake.set(held=True)
        self.intake.set(ahead=True)
        self.intake.set(held=False)
        self.assertEqual(self.transport.events, ["pause"])
        self.intake.set(ahead=False)
        self.assertEqual(self.transport.events, ["pause", "resume"])

    def test_no_change(self) -> None:
        """To say the same again does nothing."""
        self.intake.set(held=False)
        self.intake.set(held=True)
        self.intake.set(held=True)
        self.assertEqual(self.transport.events, ["pause"])

    def test_closed(self) -> None:
        """What has ended is never read again: its end would be found over and over."""
        self.intake.set(held=True)
        self.intake.closed = True
        self.intake.set(held=False)
        self.assertEqual(self.transport.events, ["pause"])
