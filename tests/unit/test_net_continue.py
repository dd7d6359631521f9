"""``Expect: 100-continue`` between a downstream and an upstream, and what is held meanwhile."""

from __future__ import annotations

from revproxy.model.address import UpstreamAddress
from revproxy.model.configuration import Limits
from revproxy.net.exchange import PIECE_BYTES
from revproxy.net.pool import PoolSettings
from tests.support.playbook import OK, PlaybookCase, post

EXPECT = b"Expect: 100-continue"
CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"


class ContinueTests(PlaybookCase):
    def test_continue_of_upstream(self) -> None:
        """The body waits for the upstream's 100, which is passed on before the answer."""
        stage = self.stage()
        down = stage.downstream()
        down.says(post(4, EXPECT))
        up = stage.upstream()
        self.assertIn(b"\r\nExpect: 100-continue\r\n", up.heard())
        self.assertEqual(down.heard(), b"")
        up.says(CONTINUE)
        self.assertEqual(down.heard(), CONTINUE)
        down.says(b"body")
        self.assertEqual(up.heard(), b"body")
        up.says(OK)
        self.assertEqual(down.heard(), OK)
        self.assertEqual(stage.log.statuses, [200])
        self.assertEqual(stage.pool.idle, 1)

    def test_body_before_continue(self) -> None:
        """A body that did not wait is held until the upstream's 100."""
        stage = self.stage()
        down = stage.downstream()
        down.says(post(4, EXPECT) + b"bo")
        up = stage.upstream()
        up.heard()
        down.says(b"dy")
        self.assertEqual(up.heard(), b"")
        up.says(CONTINUE)
        self.assertEqual(up.heard(), b"body")
        up.says(OK)
        self.assertEqual(down.heard(), CONTINUE + OK)
        self.assertEqual(stage.pool.idle, 1)

    def test_silent_upstream(self) -> None:
        """After a second without the upstream's 100 the proxy says it itself, once."""
        stage = self.stage()
        down = stage.downstream()
        down.says(post(4, EXPECT))
        up = stage.upstream()
        up.heard()
        stage.wait(1)
        self.assertEqual(down.heard(), b"")
        stage.wait(1.5)
        self.assertEqual(down.heard(), CONTINUE)
        up.says(CONTINUE)
        self.assertEqual(down.heard(), b"")
        down.says(b"body")
        self.assertEqual(up.heard(), b"body")
        up.says(OK)
        self.assertEqual(down.heard(), OK)

    def test_final_answer_first(self) -> None:
        """A final answer instead of a 100 ends both connections: the body may come or not."""
        stage = self.stage()
        down = stage.downstream()
        down.says(post(4, EXPECT))
        up = stage.upstream()
        up.heard()
        up.says(OK)
        self.assertTrue(down.heard().endswith(b"Connection: close\r\n\r\nok"))
        self.assertTrue(down.half_closed)
        self.assertEqual(up.ended, "closed")
        self.assertEqual(stage.pool.idle, 0)

    def test_final_answer_while_body_is_held(self) -> None:
        """No hole in the body: what was held when the final answer began goes up first."""
        stage = self.stage()
        down = stage.downstream()
        down.says(post(8, EXPECT) + b"held")
        up = stage.upstream()
        up.heard()
        up.says(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\no")
        down.says(b"rest")
        self.assertEqual(up.heard(), b"heldrest")
        up.says(b"k")
        self.assertEqual(stage.pool.idle, 1)

    def test_retried_before_continue(self) -> None:
        """An idempotent request whose reused connection dies is asked again, body held still."""
        stage = self.stage()
        down = stage.downstream()
        down.says(b"GET / HTTP/1.1\r\nHost: a.test\r\n\r\n")
        old = stage.upstream()
        old.says(OK)
        down.says(post(4, EXPECT).replace(b"POST", b"PUT") + b"body")
        old.closes()
        new = stage.upstream()
        self.assertIn(b"PUT / HTTP/1.1", new.heard())
        new.says(CONTINUE)
        self.assertEqual(new.heard(), b"body")
        new.says(OK)
        self.assertEqual(stage.log.statuses, [200, 200])

    def test_downstream_lost_while_waiting(self) -> None:
        """A downstream that leaves before the 100 takes the upstream connection with it."""
        stage = self.stage()
        down = stage.downstream()
        down.says(post(4, EXPECT))
        up = stage.upstream()
        down.resets()
        self.assertEqual(up.ended, "aborted")
        self.assertEqual(stage.log.statuses, [499])


class HeldBodyTests(PlaybookCase):
    LIMITS = Limits(buffered_bytes=1000)
    SETTINGS = PoolSettings(UpstreamAddress.parse("10.0.0.1:80"), buffered_bytes=1000)

    def test_bound_while_connecting(self) -> None:
        """While there is no connection, a body is read up to buffered_bytes and no further."""
        stage = self.stage(limits=self.LIMITS, settings=self.SETTINGS)
        down = stage.downstream()
        size = 1000 - 2 * PIECE_BYTES
        down.says(post(3000), b"x" * (size - 1))
        self.assertTrue(down.reading)
        down.says(b"x")
        self.assertFalse(down.reading)
        up = stage.upstream()
        self.assertTrue(up.heard().endswith(b"\r\n\r\n" + b"x" * size))
        self.assertTrue(down.reading)

    def test_reading_goes_on_when_part_is_queued(self) -> None:
        """A queue towards the upstream that is not full does not keep the downstream paused."""
        stage = self.stage(limits=self.LIMITS, settings=self.SETTINGS)
        down = stage.downstream()
        down.says(post(3000, EXPECT) + b"x" * 1500)
        self.assertFalse(down.reading)
        up = stage.upstream()
        up.heard()
        up.stalls(600)
        up.says(CONTINUE)
        self.assertTrue(down.reading)
        up.takes()
        self.assertTrue(down.reading)
        down.says(b"y" * 1500)
        self.assertEqual(up.heard(), b"x" * 1500 + b"y" * 1500)

    def test_full_queue_keeps_downstream_paused(self) -> None:
        """A queue towards the upstream over its limit pauses the downstream until it is taken."""
        stage = self.stage(limits=self.LIMITS, settings=self.SETTINGS)
        down = stage.downstream()
        down.says(post(3000, EXPECT) + b"x" * 1500)
        up = stage.upstream()
        up.heard()
        up.stalls()
        up.says(CONTINUE)
        self.assertFalse(down.reading)
        up.takes()
        self.assertTrue(down.reading)
