"""The time limits of both sides, in every state."""

from __future__ import annotations

from attrs import evolve

from revproxy.model.configuration import Timeouts
from tests.support.playbook import (
    CHUNKED_POST,
    GET,
    OK,
    UPSTREAM,
    Peer,
    PlaybookCase,
    Stage,
    own,
    post,
)

REQUEST_TIMEOUT = own(b"408 Request Timeout", close=True)
GATEWAY_TIMEOUT = own(b"504 Gateway Timeout")
LATE = 1.5
"""How late a limit may fire: two sweeps, and a step of the clock."""


class DownstreamLimitTests(PlaybookCase):
    def test_silence(self) -> None:
        """A downstream that says nothing is closed without an answer or a record."""
        stage = self.stage()
        down = stage.downstream()
        stage.wait(10)
        self.assertIsNone(down.ended)
        stage.wait(LATE)
        self.assertEqual((down.ended, down.heard()), ("closed", b""))
        self.assertEqual(stage.log.requests, [])

    def test_head(self) -> None:
        """A head that is not complete in time is 408, counted from its first byte."""
        stage = self.stage()
        down = stage.downstream()
        stage.wait(9)
        for byte in GET[:10]:
            down.says(bytes((byte,)))
            stage.wait(1)
        self.assertIsNone(down.ended)
        stage.wait(LATE)
        self.assertEqual(down.heard(), REQUEST_TIMEOUT)
        self.assertTrue(down.half_closed)
        self.assertEqual(stage.log.statuses, [408])

    def test_keepalive(self) -> None:
        """An idle connection is closed without an answer."""
        stage = self.stage(timeouts=Timeouts(keepalive_secs=20))
        down = stage.downstream()
        down.says(GET)
        stage.upstream().says(OK)
        down.heard()
        stage.wait(20)
        self.assertIsNone(down.ended)
        stage.wait(LATE)
        self.assertEqual((down.ended, down.heard()), ("closed", b""))

    def test_head_after_keepalive(self) -> None:
        """A second head has its own time, from its first byte."""
        stage = self.stage()
        down = stage.downstream()
        down.says(GET)
        stage.upstream().says(OK)
        down.heard()
        stage.wait(40)
        down.says(GET[:5])
        stage.wait(9)
        self.assertEqual(down.heard(), b"")
        stage.wait(1 + LATE)
        self.assertEqual(down.heard(), REQUEST_TIMEOUT)

    def test_body_idle(self) -> None:
        """A body of which nothing comes for request_body_secs is 408."""
        for request in (post(100_000) + b"x" * 50_000, CHUNKED_POST + b"c350\r\n" + b"x" * 50_000):
            stage = self.stage()
            down = stage.downstream()
            down.says(request)
            up = stage.upstream()
            stage.wait(29)
            self.assertEqual(down.heard(), b"")
            stage.wait(1 + LATE)
            self.assertEqual(down.heard(), REQUEST_TIMEOUT)
            self.assertEqual(up.ended, "aborted")
            self.assertEqual(stage.log.requests[0]["error"], "request body idle")

    def test_body_too_slow(self) -> None:
        """A body slower than min_body_bytes_per_sec is 408 after its grace."""
        stage = self.stage()
        down = stage.downstream()
        down.says(post(100_000))
        stage.upstream()
        for _ in range(10):
            stage.wait(1)
            down.says(b"x" * 100)
        self.assertEqual(down.heard(), b"")
        for _ in range(8):
            stage.wait(1)
            down.says(b"x" * 100)
        self.assertEqual(down.heard(), REQUEST_TIMEOUT)
        self.assertEqual(stage.log.requests[0]["error"], "request body too slow")

    def test_clock_stands_while_paused(self) -> None:
        """While the proxy itself does not read the body, no time of it counts."""
        stage = self.stage(settings=evolve(UPSTREAM, buffered_bytes=1000, request_secs=1000))
        down = stage.downstream()
        down.says(post(100_000))
        up = stage.upstream()
        up.stalls()
        down.says(b"x" * 2000)
        self.assertFalse(down.reading)
        stage.wait(300)
        up.takes()
        stage.wait(15)
        self.assertEqual((down.heard(), down.ended), (b"", None))
        stage.wait(5)
        self.assertEqual(down.heard(), REQUEST_TIMEOUT)
        self.assertEqual(stage.log.requests[0]["error"], "request body too slow")

    def test_discarded_body_idle(self) -> None:
        """A refused body has to come in time too; its answer has been given."""
        stage = self.stage()
        down = stage.downstream()
        down.says(post(5000).replace(b"a.test", b"x.test") + b"x" * 4900)
        self.assertEqual(down.heard(), own(b"404 Not Found"))
        stage.wait(30 + LATE)
        self.assertEqual(down.heard(), b"")
        self.assertTrue(down.half_closed)
        self.assertEqual(stage.log.statuses, [404])

    def test_response_not_taken(self) -> None:
        """A downstream that takes nothing for response_write_secs is cut, and its upstream."""
        stage = self.stage(settings=evolve(UPSTREAM, request_secs=5))
        down = stage.downstream()
        down.says(GET)
        up = stage.upstream()
        down.stalls()
        up.says(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n" + b"x" * 100_000)
        stage.wait(59)
        self.assertIsNone(down.ended)
        stage.wait(1 + LATE)
        self.assertEqual((down.ended, up.ended), ("aborted", "aborted"))
        self.assertEqual(stage.log.statuses, [200])

    def test_response_slowly_taken(self) -> None:
        """A byte taken now and then is progress."""
        stage = self.stage()
        down = stage.downstream()
        down.says(GET)
        up = stage.upstream()
        down.stalls()
        up.says(b"HTTP/1.1 200 OK\r\nContent-Length: 200000\r\n\r\n" + b"x" * 100_000)
        for _ in range(5):
            stage.wait(45)
            down.takes(1)
        self.assertIsNone(down.ended)
        down.takes()
        up.says(b"x" * 100_000)
        self.assertTrue(down.heard().endswith(b"x" * 200_000))

    def test_closing_response_not_taken(self) -> None:
        """A response that is followed by a close does not wait for ever to be taken."""
        stage = self.stage()
        down = stage.downstream()
        down.says(GET.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n"))
        up = stage.upstream()
        down.stalls()
        up.says(OK)
        stage.wait(59)
        self.assertIsNone(down.ended)
        stage.wait(1 + LATE)
        self.assertEqual(down.ended, "aborted")


class LingerTests(PlaybookCase):
    def refused(self) -> tuple[Stage, Peer]:
        """A connection that was answered before its request was complete."""
        stage = self.stage(body_limit=100)
        down = stage.downstream()
        down.says(post(10_000_000))
        self.assertEqual(down.heard(), own(b"413 Content Too Large", close=True))
        self.assertTrue(down.half_closed)
        return stage, down

    def test_time(self) -> None:
        """What comes is thrown away for two seconds, then the connection is closed."""
        stage, down = self.refused()
        for _ in range(4):
            down.says(b"x" * 1000)
            stage.wait(0.5)
        self.assertIsNone(down.ended)
        stage.wait(LATE)
        self.assertEqual(down.ended, "closed")

    def test_bytes(self) -> None:
        """At most a mebibyte is thrown away; then nothing is read until the two seconds end."""
        stage, down = self.refused()
        down.says(*[b"x" * 65536] * 16)
        self.assertTrue(down.reading)
        down.says(b"x")
        self.assertEqual((down.reading, down.ended), (False, None))
        stage.wait(2 + LATE)
        self.assertEqual(down.ended, "closed")

    def test_end_of_downstream(self) -> None:
        """When the downstream has sent everything, it is over."""
        stage, down = self.refused()
        down.says(b"x" * 1000)
        down.closes()
        self.assertEqual(down.ended, "closed")
        self.assertEqual(stage.log.statuses, [413])


class UpstreamLimitTests(PlaybookCase):
    SETTINGS = evolve(UPSTREAM, request_secs=5, connect_secs=3)

    def test_connect(self) -> None:
        """No connection in time is 504, and the attempt is given up."""
        stage = self.stage(settings=self.SETTINGS)
        down = stage.downstream()
        down.says(GET)
        stage.wait(3)
        self.assertEqual(down.heard(), b"")
        stage.wait(LATE)
        self.assertEqual(down.heard(), GATEWAY_TIMEOUT)
        self.assertEqual(stage.attempts[0].state, "disconnected")
        self.assertEqual(stage.log.upstream_errors, ["connect timeout"])

    def test_response_head(self) -> None:
        """No response in time is 504 and the end of the upstream connection."""
        for request in (GET, post(4) + b"body", CHUNKED_POST + b"0\r\n\r\n"):
            stage = self.stage(settings=self.SETTINGS)
            down = stage.downstream()
            down.says(request)
            up = stage.upstream()
            stage.wait(5)
            self.assertEqual(down.heard(), b"")
            stage.wait(LATE + 0.5)
            self.assertEqual(down.heard(), GATEWAY_TIMEOUT)
            self.assertEqual(up.ended, "aborted")

    def test_counts_from_end_of_request(self) -> None:
        """While the request body is still coming, the upstream's time does not run."""
        stage = self.stage(settings=self.SETTINGS)
        down = stage.downstream()
        down.says(post(60_000))
        up = stage.upstream()
        for _ in range(6):
            stage.wait(4)
            down.says(b"x" * 10_000)
        stage.wait(5)
        self.assertEqual(down.heard(), b"")
        up.says(OK)
        self.assertEqual(down.heard(), OK)

    def test_between_reads(self) -> None:
        """A response that stops is cut; one that goes on slowly is not."""
        stage = self.stage(settings=self.SETTINGS)
        down = stage.downstream()
        down.says(GET)
        up = stage.upstream()
        up.says(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n")
        for _ in range(5):
            stage.wait(4)
            up.says(b"x")
        self.assertIsNone(down.ended)
        stage.wait(5 + LATE + 0.5)
        self.assertEqual((down.ended, up.ended), ("closed", "aborted"))
        self.assertEqual(stage.log.requests[0]["cut"], "upstream")

    def test_takes_nothing(self) -> None:
        """An upstream that takes nothing of the request body is 504 in the end."""
        stage = self.stage(settings=self.SETTINGS)
        down = stage.downstream()
        down.says(post(500_000))
        up = stage.upstream()
        up.stalls()
        down.says(*[b"x" * 65536] * 5)
        stage.wait(5)
        self.assertEqual(down.heard(), b"")
        stage.wait(8)
        self.assertEqual(up.ended, "aborted")
        self.assertEqual(down.heard(), own(b"504 Gateway Timeout", close=True))

    def test_takes_slowly(self) -> None:
        """A byte that an upstream takes now and then is progress."""
        stage = self.stage(settings=self.SETTINGS)
        down = stage.downstream()
        down.says(post(500_000))
        up = stage.upstream()
        up.stalls()
        down.says(*[b"x" * 65536] * 5)
        for _ in range(10):
            stage.wait(4)
            up.takes(1)
        self.assertEqual((down.heard(), up.ended), (b"", None))

    def test_stands_while_downstream_is_full(self) -> None:
        """While the downstream takes nothing, the upstream is not to blame."""
        stage = self.stage(settings=self.SETTINGS)
        down = stage.downstream()
        down.says(GET)
        up = stage.upstream()
        down.stalls()
        up.says(b"HTTP/1.1 200 OK\r\nContent-Length: 200000\r\n\r\n" + b"x" * 100_000)
        stage.wait(40)
        down.takes()
        stage.wait(4)
        up.says(b"x" * 100_000)
        self.assertTrue(down.heard().endswith(b"x" * 200_000))
        self.assertEqual(stage.pool.idle, 1)

    def test_idle(self) -> None:
        """An idle connection is closed after idle_secs."""
        stage = self.stage()
        down = stage.downstream()
        down.says(GET)
        up = stage.upstream()
        up.says(OK)
        stage.wait(3)
        self.assertEqual((up.ended, stage.pool.idle), (None, 1))
        stage.wait(1 + LATE)
        self.assertEqual((up.ended, stage.pool.idle), ("closed", 0))
