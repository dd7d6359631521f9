"""How tunnels end: by either side, by silence, with the process; and what their records say."""

from __future__ import annotations

from attrs import evolve

from revproxy.model.configuration import Timeouts
from tests.support.playbook import UPSTREAM, Peer, Stage
from tests.support.upgrades import PASSED_ON, SWITCHING, UpgradeCase, asking

IDLE = Timeouts(upgraded_idle_secs=20, keepalive_secs=2, request_head_secs=2)


class DownstreamEndTests(UpgradeCase):
    """The client ends it."""

    def test_half_close(self) -> None:
        """A client that says no more is still told what the upstream says."""
        stage, down, up = self.tunnel()
        down.says(b"last words")
        down.closes()
        self.assertEqual(up.heard(), b"last words")
        self.assertTrue(up.half_closed)
        self.assertIsNone(down.ended)
        up.says(b"answer")
        self.assertEqual(down.heard(), b"answer")
        up.closes()
        self.assertEqual((down.ended, up.ended), ("closed", "closed"))
        self.check_record(stage, status=101, bytes_in=10, bytes_out=6, cut=None)

    def test_half_close_before_the_switch(self) -> None:
        """It may have said no more since before the 101: what it had said goes up, then a FIN."""
        for said in (b"", b"last words"):
            stage = self.stage()
            down = stage.downstream()
            down.says(asking() + said)
            down.closes()
            up = stage.upstream()
            self.assertFalse(up.half_closed)
            up.heard()
            up.says(SWITCHING + b"answer")
            self.assertEqual(up.heard(), said)
            self.assertTrue(up.half_closed)
            self.assertEqual(down.heard(), PASSED_ON + b"answer")
            up.closes()
            self.assertEqual(down.ended, "closed")
            self.check_record(stage, status=101, bytes_in=len(said), bytes_out=6)

    def test_half_close_of_a_full_upstream(self) -> None:
        """The FIN goes up behind what the upstream has not taken yet."""
        stage, down, up = self.tunnel()
        up.stalls()
        down.says(b"x" * 100_000)
        down.closes()
        self.assertFalse(up.half_closed)
        up.takes()
        self.assertEqual(up.heard(), b"x" * 100_000)
        self.assertTrue(up.half_closed)
        up.closes()
        self.check_record(stage, bytes_in=100_000, cut=None)

    def test_reset(self) -> None:
        """A client that vanishes takes the upstream connection with it."""
        stage, down, up = self.tunnel()
        down.says(b"hello")
        down.resets()
        self.assertEqual(up.ended, "aborted")
        self.check_record(stage, status=101, cut="downstream", bytes_in=5, bytes_out=0)

    def test_reset_with_bytes_held(self) -> None:
        """So it does when its bytes wait for the upstream."""
        stage, down, up = self.tunnel()
        up.stalls()
        down.says(*[b"x" * 100_000] * 5)
        down.resets()
        self.assertEqual(up.ended, "aborted")
        self.check_record(stage, cut="downstream", bytes_in=300_000)

    def test_reset_after_half_close(self) -> None:
        """And when it had said no more before."""
        stage, down, up = self.tunnel()
        down.closes()
        down.resets()
        up.says(b"x")
        self.assertEqual((down.ended, up.ended), ("closed", "aborted"))
        self.check_record(stage, cut="downstream")


class UpstreamEndTests(UpgradeCase):
    """The upstream ends it."""

    def test_end(self) -> None:
        """The client gets the last byte and then the end; what it says is thrown away."""
        stage, down, up = self.tunnel()
        down.says(b"hello")
        up.says(b"last words")
        up.closes()
        self.assertEqual(down.heard(), b"last words")
        self.assertEqual(up.ended, "closed")
        self.check_record(stage, status=101, bytes_in=5, bytes_out=10, cut=None)
        down.says(b"GET /smuggled HTTP/1.1\r\nHost: a.test\r\n\r\n")
        stage.wait(3)
        self.assertEqual((down.ended, down.heard(), stage.begun), ("closed", b"", 1))

    def test_no_reset_overtakes_the_end(self) -> None:
        """A client in the middle of a message reads the end before its connection closes."""
        _, down, up = self.tunnel()
        down.says(b"first half of a mess")
        up.says(b"last words")
        up.closes()
        self.assertTrue(down.half_closed)
        down.says(b"age")
        down.closes()
        self.assertEqual((down.heard(), down.ended), (b"last words", "closed"))

    def test_end_with_the_switch(self) -> None:
        """A 101, bytes and the end may come at once."""
        stage, down, up = self.asked(asking() + b"unheard")
        up.says(SWITCHING + b"x", b"")
        self.assertEqual(down.heard(), PASSED_ON + b"x")
        stage.wait(3)
        self.assertEqual((down.ended, up.ended), ("closed", "closed"))
        self.check_record(stage, status=101, bytes_out=1, cut=None)

    def test_end_for_a_full_downstream(self) -> None:
        """A client that is slow gets everything before the end."""
        stage, down, up = self.tunnel()
        down.stalls()
        up.says(*[b"x" * 100_000] * 3)
        up.closes()
        self.assertIsNone(down.ended)
        down.takes()
        self.assertEqual(down.heard(), b"x" * 300_000)
        stage.wait(3)
        self.assertEqual((down.ended, up.ended), ("closed", "closed"))
        self.check_record(stage, bytes_out=300_000, cut=None)

    def test_end_for_a_client_that_takes_nothing(self) -> None:
        """One that takes nothing of it is cut in its time."""
        stage, down, up = self.tunnel()
        down.stalls()
        up.says(b"x" * 60_000)
        up.closes()
        stage.wait(63)
        self.assertEqual(down.ended, "aborted")
        self.check_record(stage, bytes_out=60_000, cut=None)

    def test_reset(self) -> None:
        """An upstream that vanishes cuts the client's connection."""
        stage, down, up = self.tunnel()
        up.says(b"hello")
        up.resets()
        self.assertEqual((down.heard(), down.ended), (b"hello", "aborted"))
        self.check_record(stage, status=101, cut="upstream", bytes_in=0, bytes_out=5)


class IdleTests(UpgradeCase):
    """Nothing comes for upgraded_idle_secs."""

    def test_silence(self) -> None:
        """It is cut on both sides, in its time and not before; no other limit is due."""
        stage, down, up = self.tunnel(timeouts=IDLE)
        stage.wait(19.5)
        self.assertEqual((down.ended, up.ended), (None, None))
        stage.wait(3)
        self.assertEqual((down.ended, up.ended), ("aborted", "aborted"))
        self.check_record(stage, status=101, cut="idle", bytes_in=0, bytes_out=0)

    def test_either_side(self) -> None:
        """A byte of either side is a sign of life for both."""
        stage, down, up = self.tunnel(timeouts=IDLE)
        for says in (down.says, up.says, up.says, down.says):
            stage.wait(19)
            says(b"x")
        stage.wait(19.5)
        self.assertEqual((down.ended, up.ended), (None, None))
        stage.wait(3)
        self.assertEqual((down.ended, up.ended), ("aborted", "aborted"))
        self.check_record(stage, cut="idle", bytes_in=2, bytes_out=2)

    def test_request_limits(self) -> None:
        """The limits of requests and responses do not count in a tunnel."""
        stage, down, up = self.tunnel()
        stage.wait(200)
        self.assertEqual((down.ended, up.ended), (None, None))
        up.says(b"x")
        self.assertEqual(down.heard(), b"x")

    def test_half_closed(self) -> None:
        """One that the client has left half open ends by silence, too."""
        stage, down, up = self.tunnel(timeouts=IDLE)
        down.closes()
        stage.wait(23)
        self.assertEqual((down.ended, up.ended), ("aborted", "aborted"))
        self.check_record(stage, cut="idle")

    def test_slow_client(self) -> None:
        """While a client takes what is queued for it, that is not silence."""
        stage, down, up = self.tunnel(timeouts=IDLE)
        down.stalls()
        up.says(*[b"x" * 200_000] * 2)
        for _ in range(6):
            down.stalls(1000)
            down.reactor.run()
            stage.wait(15)
        self.assertEqual((down.ended, up.ended), (None, None))
        down.takes()
        self.assertEqual(len(down.heard()), 400_000)
        stage.wait(23)
        self.check_record(stage, cut="idle", bytes_out=400_000)

    def test_slow_upstream(self) -> None:
        """Nor is it while an upstream takes what is queued for it; one that does not is cut."""
        settings = evolve(UPSTREAM, buffered_bytes=100_000)
        stage, down, up = self.tunnel(timeouts=IDLE, settings=settings)
        up.stalls()
        down.says(*[b"x" * 200_000] * 2)
        for _ in range(6):
            up.stalls(1000)
            up.reactor.run()
            stage.wait(15)
        self.assertEqual((down.ended, up.ended), (None, None))
        stage.wait(45)
        self.assertEqual((down.ended, up.ended), ("aborted", "aborted"))
        self.check_record(stage, cut="idle", bytes_in=200_000)


class ProcessEndTests(UpgradeCase):
    """A drain, and a reload."""

    def drain(self, stage: Stage, *downs: Peer) -> None:
        stage.port.router.draining = True
        for down in downs:
            down.protocol.drain()

    def test_drain(self) -> None:
        """A tunnel stays until the time is up, and is then cut, which its record says."""
        stage, down, up = self.tunnel()
        self.drain(stage, down)
        stage.wait(5)
        down.says(b"still")
        up.says(b"there")
        self.assertEqual((down.heard(), up.heard()), (b"there", b"still"))
        down.protocol.cut()
        stage.reactor.run()
        self.assertEqual((down.ended, up.ended), ("aborted", "aborted"))
        self.check_record(stage, status=101, cut="shutdown", bytes_in=5, bytes_out=5)

    def test_end_during_a_drain(self) -> None:
        """One that ends by itself meanwhile has not been cut."""
        stage, down, up = self.tunnel()
        self.drain(stage, down)
        up.closes()
        stage.wait(3)
        self.assertEqual(down.ended, "closed")
        self.check_record(stage, cut=None)

    def test_switch_during_a_drain(self) -> None:
        """An upgrade that was asked for before may still be agreed to."""
        stage, down, up = self.asked()
        self.drain(stage, down)
        up.says(SWITCHING)
        down.says(b"x")
        self.assertEqual(down.heard(), PASSED_ON)
        self.assertTrue(up.heard().endswith(b"\r\n\r\nx"))

    def test_reload(self) -> None:
        """A tunnel outlives its configuration, the pool that it came from, and its site."""
        stage, down, up = self.tunnel()
        stage.port.router.plan = stage.plan(body_limit=1)
        stage.pool.close()
        stage.wait(10)
        down.says(b"still")
        up.says(b"there")
        self.assertEqual((down.heard(), up.heard()), (b"there", b"still"))
        up.closes()
        self.check_record(stage, status=101, bytes_in=5, bytes_out=5)

    def test_duration(self) -> None:
        """The record is written at the end, with how long it took, and counted as 1xx."""
        stage, _, up = self.tunnel()
        stage.wait(7)
        self.assertEqual((stage.log.requests, sum(stage.responses)), ([], 0))
        up.closes()
        self.check_record(stage, duration_ms=7000, path="/chat", host="a.test")
        self.assertEqual(stage.responses[1], 1)
