"""Back-pressure, both ways, and the bounds on what is queued."""

from __future__ import annotations

from attrs import evolve

from revproxy.model.configuration import Limits
from tests.support.playbook import GET, OK, UPSTREAM, PlaybookCase, own, post

LONG_HEAD = b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n"
NOBODY = b"GET / HTTP/1.1\r\nHost: x.test\r\n\r\n"


class DownstreamFullTests(PlaybookCase):
    def test_upstream_is_paused(self) -> None:
        """While the downstream takes nothing, the upstream is not read; then it is again."""
        stage = self.stage()
        down = stage.downstream()
        down.says(GET)
        up = stage.upstream()
        down.stalls()
        up.says(LONG_HEAD, *[b"x" * 50000] * 4)
        self.assertFalse(up.reading)
        self.assertLess(down.connection.unsent, 120_000)
        down.takes()
        self.assertTrue(up.reading)
        up.says(b"x" * 800_000)
        self.assertTrue(down.heard().endswith(b"\r\n\r\n" + b"x" * 1_000_000))
        self.assertEqual(stage.log.statuses, [200])
        self.assertEqual(stage.pool.idle, 1)

    def test_complete_response_gives_connection_back(self) -> None:
        """A complete response gives its connection back though the downstream is full."""
        stage = self.stage()
        down = stage.downstream()
        down.says(GET)
        up = stage.upstream()
        down.stalls()
        up.says(b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n" + b"x" * 100_000)
        self.assertEqual(stage.pool.idle, 1)
        self.assertTrue(up.reading)
        other = stage.downstream()
        other.says(GET)
        up.says(OK)
        self.assertEqual(other.heard(), OK)
        down.takes()
        self.assertTrue(down.heard().endswith(b"x" * 100_000))

    def test_next_requests_wait(self) -> None:
        """While the downstream takes nothing, one pipelined request is under way at the most."""
        stage = self.stage()
        down = stage.downstream()
        down.says(GET + NOBODY + GET + NOBODY)
        up = stage.upstream()
        up.heard()
        down.stalls()
        up.says(b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n" + b"x" * 100_000)
        self.assertEqual(stage.begun, 3)
        up.says(OK)
        self.assertFalse(up.reading)
        down.takes()
        not_found = own(b"404 Not Found")
        self.assertTrue(down.heard().endswith(b"x" + not_found + OK + not_found))

    def test_own_answers_are_bounded(self) -> None:
        """A downstream that only ever asks and never takes an answer fills no memory."""
        stage = self.stage(burst=20_000)
        down = stage.downstream()
        down.stalls()
        for _ in range(20):
            down.says(NOBODY * 1000)
        self.assertLess(down.connection.unsent, 200_000)
        self.assertFalse(down.reading)
        down.takes()
        self.assertTrue(down.reading)
        self.assertEqual(down.heard().count(own(b"404 Not Found")), 20_000)

    def test_never_taken_response(self) -> None:
        """A response that is complete but not taken for response_write_secs is cut off."""
        stage = self.stage()
        down = stage.downstream()
        down.says(GET)
        up = stage.upstream()
        down.stalls()
        up.says(b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n" + b"x" * 100_000)
        stage.wait(59)
        self.assertIsNone(down.ended)
        stage.wait(3)
        self.assertEqual(down.ended, "aborted")
        self.assertEqual(stage.log.statuses, [200])

    def test_slowly_taken_response(self) -> None:
        """A downstream that takes a little now and then keeps its connection."""
        stage = self.stage()
        down = stage.downstream()
        down.says(GET)
        up = stage.upstream()
        down.stalls()
        up.says(b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n" + b"x" * 100_000)
        for _ in range(4):
            stage.wait(50)
            down.takes(10)
        self.assertIsNone(down.ended)
        down.takes()
        self.assertTrue(down.heard().endswith(b"x" * 100_000))
        stage.wait(70)
        self.assertIsNone(down.ended)
        stage.wait(8)
        self.assertEqual(down.ended, "closed")


class UpstreamFullTests(PlaybookCase):
    def test_downstream_is_paused(self) -> None:
        """While the upstream takes nothing, the request body is not read; then it is again."""
        stage = self.stage(settings=evolve(UPSTREAM, buffered_bytes=1000))
        down = stage.downstream()
        down.says(post(5000))
        up = stage.upstream()
        up.heard()
        up.stalls()
        down.says(b"x" * 900)
        self.assertTrue(down.reading)
        down.says(b"x" * 900)
        self.assertFalse(down.reading)
        up.takes()
        self.assertTrue(down.reading)
        down.says(b"x" * 3200)
        self.assertEqual(up.heard(), b"x" * 5000)
        up.says(OK)
        self.assertEqual(down.heard(), OK)

    def test_last_part_queued(self) -> None:
        """A body whose last part is queued lets the downstream be read again when it is done."""
        stage = self.stage(settings=evolve(UPSTREAM, buffered_bytes=1000))
        down = stage.downstream()
        down.says(post(5000))
        up = stage.upstream()
        up.stalls()
        down.says(b"x" * 2000)
        self.assertFalse(down.reading)
        up.takes()
        down.says(b"x" * 3000)
        self.assertTrue(down.reading)
        up.says(OK)
        down.heard()
        down.says(GET)
        self.assertIn(b"GET / HTTP/1.1", up.heard())
        up.says(OK)
        self.assertEqual(down.heard(), OK)

    def test_upstream_that_answers_and_takes_no_more(self) -> None:
        """An upstream that answers early and leaves the body in our queue is cut off."""
        stage = self.stage()
        down = stage.downstream()
        down.says(post(5000))
        up = stage.upstream()
        up.stalls()
        down.says(b"x" * 1000)
        up.says(OK)
        self.assertEqual(up.ended, "aborted")
        self.assertIn(b"Connection: close\r\n", down.heard())


class ReadAheadTests(PlaybookCase):
    def test_requests_read_ahead(self) -> None:
        """Reading stops once limits.pipelined_requests wait for their turn."""
        stage = self.stage(limits=Limits(pipelined_requests=3))
        down = stage.downstream()
        down.says(GET)
        up = stage.upstream()
        down.says(GET * 2)
        self.assertTrue(down.reading)
        down.says(GET)
        self.assertFalse(down.reading)
        up.says(OK)
        self.assertTrue(down.reading)
        for _ in range(3):
            up.says(OK)
        self.assertEqual(down.heard(), OK * 4)

    def test_bytes_read_ahead(self) -> None:
        """Reading stops once more than a head's worth of bytes waits."""
        stage = self.stage(limits=Limits(request_head_bytes=1000))
        down = stage.downstream()
        down.says(GET)
        up = stage.upstream()
        down.says(post(2000) + b"x" * 1100)
        self.assertFalse(down.reading)
        up.says(OK)
        self.assertTrue(down.reading)
        down.says(b"x" * 900)
        self.assertTrue(up.heard().endswith(b"x" * 2000))
        up.says(OK)
        self.assertEqual(down.heard(), OK * 2)
