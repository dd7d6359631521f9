"""Whether ports accept: the pauses, their ends, and how often they are on record."""

from __future__ import annotations

from typing import Any

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from revproxy.net.gate import EXHAUSTED_SECS, HELD_SECS, QUIET_SECS, Gate
from revproxy.policy.connection_limit import ConnectionLimit
from tests.support.doubles import Door


class GateCase(SynchronousTestCase):
    def setUp(self) -> None:
        self.reactor = Clock()
        self.connections: ConnectionLimit[Any] = ConnectionLimit()
        self.gate = Gate(self.connections, self.reactor)
        self.door = Door()

    def open(self, count: int, most: int) -> None:
        """There are ``count`` connections, and may be ``most``."""
        self.connections.configure(most, 0)
        for number in range(count):
            self.connections.enter(1, number)

    def leave(self) -> None:
        """One connection ends."""
        self.connections.leave(1, self.connections.all()[0])
        self.gate.left()


class FullTests(GateCase):
    def test_full(self) -> None:
        """A port that would accept one too many pauses until one has ended."""
        self.open(4, most=4)
        self.gate.hold(self.door)
        self.assertEqual((self.door.accepting, self.gate.closed), (False, True))
        self.leave()
        self.assertEqual((self.door.accepting, self.gate.closed), (True, False))

    def test_asked_again(self) -> None:
        """A port that pauses looks again in a second: somebody may be idle by then."""
        self.open(4, most=4)
        for _ in range(3):
            self.gate.hold(self.door)
            self.gate.hold(Door())
            self.assertEqual(len(self.reactor.getDelayedCalls()), 1)
            self.reactor.advance(HELD_SECS - 0.1)
            self.assertFalse(self.door.accepting)
            self.reactor.advance(0.1)
            self.assertEqual((self.door.accepting, self.gate.closed), (True, False))
        self.assertEqual(self.reactor.getDelayedCalls(), [])

    def test_every_port(self) -> None:
        """All ports that pause go on together; those that have not asked are left alone."""
        doors = [Door() for _ in range(3)]
        self.open(1, most=1)
        for door in doors:
            self.gate.hold(door)
        self.leave()
        self.assertEqual([door.accepting for door in doors], [True] * 3)

    def test_hysteresis(self) -> None:
        """Of many connections a few have to end first: to go on for each costs too much."""
        for most, few in ((1, 1), (63, 1), (128, 2), (640, 10)):
            self.setUp()
            self.open(most, most)
            self.gate.hold(self.door)
            for _ in range(few - 1):
                self.leave()
            self.assertFalse(self.door.accepting, most)
            self.leave()
            self.assertTrue(self.door.accepting, most)

    def test_higher_limit(self) -> None:
        """A limit that was raised is room, without anybody having left."""
        self.open(4, most=4)
        self.gate.hold(self.door)
        self.gate.left()
        self.assertFalse(self.door.accepting)
        self.connections.configure(5, 0)
        self.gate.left()
        self.assertTrue(self.door.accepting)

    def test_lower_limit(self) -> None:
        """With a limit that was lowered, enough have to end."""
        self.open(4, most=4)
        self.gate.hold(self.door)
        self.connections.configure(2, 0)
        for expected in (False, False, True):
            self.leave()
            self.assertEqual(self.door.accepting, expected)

    def test_limit_that_is_gone(self) -> None:
        """Without a limit any more, everybody goes on."""
        self.open(4, most=4)
        self.gate.hold(self.door)
        self.connections.configure(0, 0)
        self.gate.left()
        self.assertTrue(self.door.accepting)


class ExhaustedTests(GateCase):
    def test_tries_again(self) -> None:
        """A port without a descriptor for a connection tries again after a second."""
        self.gate.exhausted(self.door)
        self.assertFalse(self.door.accepting)
        self.reactor.advance(EXHAUSTED_SECS - 0.1)
        self.assertFalse(self.door.accepting)
        self.reactor.advance(0.1)
        self.assertTrue(self.door.accepting)
        self.assertEqual(self.reactor.getDelayedCalls(), [])

    def test_closed(self) -> None:
        """That is a pause as any other, for whoever asks whether ports accept."""
        self.gate.exhausted(self.door)
        self.reactor.advance(EXHAUSTED_SECS / 2)
        self.gate.exhausted(Door())
        self.assertTrue(self.gate.closed)
        self.reactor.advance(EXHAUSTED_SECS / 2)
        self.assertTrue(self.gate.closed)
        self.reactor.advance(EXHAUSTED_SECS / 2)
        self.assertFalse(self.gate.closed)

    def test_one_port(self) -> None:
        """Others may still have one."""
        other = Door()
        self.gate.exhausted(self.door)
        self.assertTrue(other.accepting)


class EmptiedTests(GateCase):
    def test_last_one(self) -> None:
        """Whoever waits for the last connection is told when it has ended, each time."""
        told: list[int] = []
        self.gate.emptied = lambda: told.append(self.connections.total)
        for _ in range(2):
            self.open(2, most=0)
            self.leave()
            self.assertEqual(told, [0] * len(told))
            before = len(told)
            self.leave()
            self.assertEqual(len(told), before + 1)

    def test_nobody_waits(self) -> None:
        """Nobody has to wait for it."""
        self.open(1, most=0)
        self.leave()


class DueTests(GateCase):
    def test_one_in_a_while(self) -> None:
        """One cause is on record once in a while, however often it comes up."""
        due = []
        for _ in range(3):
            due += [self.gate.due("a") for _ in range(3)]
            self.reactor.advance(QUIET_SECS / 2)
        self.assertEqual(due, [True, False, False, False, False, False, True, False, False])

    def test_causes_are_apart(self) -> None:
        """One cause does not silence another."""
        self.assertEqual([self.gate.due(cause) for cause in "abab"], [True, True, False, False])
