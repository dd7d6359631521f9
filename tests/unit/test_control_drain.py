"""The orderly end: who is told, what may finish, and when it is over."""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from revproxy.control.drain import ABORT_SECS, MOST_AT_ONCE, Drain
from revproxy.net.downstream import FIRST_REQUEST_SECS
from revproxy.net.gate import Gate
from revproxy.net.ports import PlainPort
from revproxy.policy.connection_limit import ConnectionLimit
from tests.support.accepted import accept
from tests.support.doubles import RecordingLog
from tests.support.playbook import GET, OK, PlaybookCase, Stage

TIMEOUT = 30.0
LAST_OK = OK.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n")


class Open:
    """An open connection, which keeps what it is told."""

    def __init__(self, end: DrainCase) -> None:
        self.end = end
        self.protocol = self
        self.told: list[str] = []
        self.gone = False

    def drain(self) -> None:
        self.told.append("drain" if self.end.stage.port.router.draining else "too early")

    def cut(self) -> None:
        self.told.append("cut")
        self.end.stage.reactor.callLater(0, self.leave)

    def leave(self) -> None:
        """Be gone."""
        if not self.gone:
            self.gone = True
            self.end.connections.leave(1, self)
            self.end.gate.left()


class DrainCase(SynchronousTestCase):
    """Connections that only remember what they are told."""

    def setUp(self) -> None:
        self.stage = Stage()
        self.reactor = self.stage.reactor
        self.stage.deadlines.stop()
        self.log: RecordingLog = self.stage.log
        self.gate: Gate = self.stage.port.gate
        self.connections: ConnectionLimit[Any] = self.stage.port.connections
        self.drain = self.drain_by(TIMEOUT)

    def drain_by(self, timeout: float) -> Drain:
        router = self.stage.port.router
        return Drain(self.reactor, router, self.connections, self.gate, self.log, timeout)

    def open(self, count: int) -> list[Open]:
        """So many connections."""
        opened = [Open(self) for _ in range(count)]
        for one in opened:
            self.connections.enter(1, one)
        return opened

    def records(self) -> list[dict[str, object]]:
        return [{"level": level, **fields} for level, _, fields in self.log.records]


class DrainTests(DrainCase):
    def test_nobody(self) -> None:
        """Where there is no connection the end is at once, and leaves no timer."""
        self.assertFalse(self.stage.port.router.draining)
        self.successResultOf(self.drain.begin())
        self.assertTrue(self.stage.port.router.draining)
        self.assertEqual(self.reactor.getDelayedCalls(), [])

    def test_everybody_is_told(self) -> None:
        """Every connection is told once, those that wait too, after the plan says so."""
        self.connections.configure(0, 2)
        opened = self.open(4)
        self.assertNoResult(self.drain.begin())
        self.assertEqual([one.told for one in opened], [["drain"]] * 4)
        fields = {"level": "info", "connections": 4, "timeout_secs": TIMEOUT}
        self.assertEqual(self.records(), [fields])

    def test_many(self) -> None:
        """Of thousands each turn tells some, and then those too that have gone meanwhile."""
        opened = self.open(2 * MOST_AT_ONCE + 1)
        done = self.drain.begin()
        first, rest = opened[:MOST_AT_ONCE], opened[MOST_AT_ONCE:]
        self.assertTrue(all(one.told == ["drain"] for one in first))
        self.assertTrue(all(one.told == [] for one in rest))
        rest[0].leave()
        self.reactor.advance(0)
        self.assertTrue(all(one.told == ["drain"] for one in opened))
        self.assertNoResult(done)
        self.assertEqual(len(self.reactor.getDelayedCalls()), 1)

    def test_cut_while_many_are_told(self) -> None:
        """A cut reaches those too that have not been told yet, and they are not told any more."""
        opened = self.open(MOST_AT_ONCE + 1)
        done = self.drain.begin()
        self.drain.cut()
        self.reactor.advance(0)
        self.successResultOf(done)
        self.assertEqual((opened[0].told, opened[-1].told), (["drain", "cut"], ["cut"]))
        self.assertEqual(self.reactor.getDelayedCalls(), [])

    def test_last_one_has_gone(self) -> None:
        """The end is when the last connection has gone, and leaves no timer."""
        first, second = self.open(2)
        done = self.drain.begin()
        first.leave()
        self.assertNoResult(done)
        second.leave()
        self.successResultOf(done)
        self.assertEqual(self.reactor.getDelayedCalls(), [])

    def test_time_is_up(self) -> None:
        """What is left when the time is up is cut, which is on record, and the end comes."""
        first, second = self.open(2)
        done = self.drain.begin()
        first.leave()
        self.reactor.advance(TIMEOUT - 0.1)
        self.assertEqual(second.told, ["drain"])
        self.reactor.advance(0.1)
        self.assertEqual((first.told, second.told), (["drain"], ["drain", "cut"]))
        self.reactor.advance(0)
        self.successResultOf(done)
        self.assertEqual(self.records()[1:], [{"level": "warn", "cut": 1}])
        self.assertEqual(self.reactor.getDelayedCalls(), [])

    def test_no_time(self) -> None:
        """With no time to drain everything is cut at once."""
        (one,) = self.open(1)
        done = self.drain_by(0).begin()
        self.reactor.advance(0)
        self.reactor.advance(0)
        self.assertEqual(one.told, ["drain", "cut"])
        self.successResultOf(done)

    def test_cut_early(self) -> None:
        """What is under way can be cut before its time is up."""
        (one,) = self.open(1)
        done = self.drain.begin()
        self.drain.cut()
        self.assertEqual(one.told, ["drain", "cut"])
        self.reactor.advance(0)
        self.successResultOf(done)
        self.assertEqual(self.reactor.getDelayedCalls(), [])

    def test_cut_that_takes_no_effect(self) -> None:
        """Connections that are still there after a cut are not waited for."""
        (one,) = self.open(1)
        done = self.drain.begin()
        self.patch(one, "cut", lambda: None)
        self.drain.cut()
        self.reactor.advance(ABORT_SECS - 0.1)
        self.assertNoResult(done)
        self.reactor.advance(0.1)
        self.successResultOf(done)
        one.leave()
        self.assertEqual(self.reactor.getDelayedCalls(), [])

    def test_cut_afterwards(self) -> None:
        """After the end there is nothing to cut, and nothing to tell."""
        self.successResultOf(self.drain.begin())
        self.drain.cut()
        self.assertEqual(len(self.log.records), 1)
        self.assertEqual(self.reactor.getDelayedCalls(), [])

    def test_cut_before_it_begins(self) -> None:
        """Two signals at once cut: the second is not lost because nothing has ended yet."""
        (one,) = self.open(1)
        self.drain.cut()
        self.assertEqual((one.told, self.log.records), ([], []))
        done = self.drain.begin()
        self.reactor.advance(0)
        self.assertEqual(one.told, ["drain", "cut"])
        self.reactor.advance(0)
        self.successResultOf(done)


class ConversationTests(PlaybookCase):
    """The same with real connections."""

    def setUp(self) -> None:
        super().setUp()
        self.scene = self.stage()
        self.port = PlainPort(self.scene.port)

    def drain(self) -> tuple[Drain, Deferred[None]]:
        """The end begins."""
        port, log = self.scene.port, self.scene.log
        reactor: Clock = self.scene.reactor
        drain = Drain(reactor, port.router, port.connections, port.gate, log, TIMEOUT)
        done = drain.begin()
        self.scene.reactor.run()
        return drain, done

    def test_idle(self) -> None:
        """Connections between two requests are closed at once."""
        down = accept(self.scene, self.port)
        down.says(GET)
        self.scene.upstream().says(OK)
        self.assertIsNone(down.ended)
        _, done = self.drain()
        self.assertEqual(down.ended, "closed")
        self.successResultOf(done)

    def test_under_way(self) -> None:
        """What is under way ends as it should, and its connection with it."""
        down = accept(self.scene, self.port)
        down.says(GET)
        up = self.scene.upstream()
        _, done = self.drain()
        self.scene.wait(TIMEOUT - 5)
        self.assertNoResult(done)
        up.says(OK)
        self.assertEqual(down.heard(), LAST_OK)
        self.assertEqual(down.ended, "closed")
        self.successResultOf(done)

    def test_time_is_up(self) -> None:
        """What does not end in time is cut, and on record as any exchange is."""
        down = accept(self.scene, self.port)
        down.says(GET)
        up = self.scene.upstream()
        _, done = self.drain()
        self.scene.wait(TIMEOUT)
        self.assertEqual((down.ended, up.ended), ("aborted", "aborted"))
        self.successResultOf(done)
        self.assertEqual(self.scene.log.statuses, [499])

    def test_cut(self) -> None:
        """A cut ends a response in its middle, visibly."""
        down = accept(self.scene, self.port)
        down.says(GET)
        self.scene.upstream().says(OK[:-1])
        drain, done = self.drain()
        drain.cut()
        self.scene.reactor.run()
        self.assertEqual((down.ended, down.heard()), ("aborted", OK[:-1]))
        self.successResultOf(done)
        self.assertEqual(self.scene.log.requests[0]["cut"], "shutdown")

    def test_fresh(self) -> None:
        """A connection that has not said a word yet has a moment to do so."""
        silent, talkative = [accept(self.scene, self.port) for _ in range(2)]
        _, done = self.drain()
        self.scene.wait(FIRST_REQUEST_SECS - 0.5)
        talkative.says(GET)
        self.assertIsNone(silent.ended)
        self.scene.wait(2)
        self.assertEqual(silent.ended, "closed")
        self.assertNoResult(done)
        self.scene.upstream().says(OK)
        self.assertEqual(talkative.heard(), LAST_OK)
        self.successResultOf(done)

    def test_nothing_is_served_longer(self) -> None:
        """The end needs no longer than its time, whatever connections do."""
        self.scene.port.connections.configure(0, 2)
        idle, waiting, within = [accept(self.scene, self.port) for _ in range(3)]
        idle.says(GET)
        within.says(GET[:-1])
        _, done = self.drain()
        self.scene.wait(TIMEOUT + ABORT_SECS)
        self.successResultOf(done)
        self.assertEqual(self.scene.port.connections.total, 0)
        self.assertTrue(idle.ended and waiting.ended and within.ended)
