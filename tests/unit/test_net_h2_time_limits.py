"""Time limits of HTTP/2: first request, request bodies, idle connections."""

from __future__ import annotations

from attrs import evolve

from revproxy.model.configuration import Timeouts
from revproxy.wire.h2.frames import NO_ERROR, PREFACE, settings
from tests.support.h2_playbook import H2Case, H2Client, raw_downstream
from tests.support.h2_wire import GET, headers, literal_block
from tests.support.playbook import OK, UPSTREAM, Peer, Stage

LATE = 1.5
IDLE_LATE = 2.5


class FirstRequestTests(H2Case):
    def silent(self, *said: bytes) -> tuple[Stage, Peer]:
        """A connection that says ``said`` and no more."""
        stage = self.stage()
        peer = raw_downstream(stage)
        peer.says(*filter(None, said))
        return stage, peer

    def test_silence(self) -> None:
        """Without a request in request_head_secs the connection is closed, whatever came."""
        opening = PREFACE + settings({})
        part = headers(1)[:-3]
        unfinished = b"\0\0\x05\x01\x01\0\0\0\x01" + literal_block(GET)[:5]
        for said in (b"", PREFACE[:5], PREFACE, opening, opening + part, opening + unfinished):
            stage, peer = self.silent(said)
            stage.wait(10)
            self.assertIsNone(peer.ended)
            stage.wait(LATE)
            self.assertEqual(peer.ended, "closed")
            self.assertEqual(stage.log.requests, [])

    def test_pings_are_no_request(self) -> None:
        """Frames that ask for nothing do not put it off."""
        stage, client = self.connect()
        for _ in range(23):
            stage.wait(0.5)
            if not client.peer.ended:
                client.h2.ping(b"12345678")
                client.talk()
        client.talk()
        self.assertEqual((client.peer.ended, client.goaways[-1]), ("closed", (0, NO_ERROR)))


class IdleTests(H2Case):
    def test_keepalive(self) -> None:
        """An idle connection is closed after keepalive_secs, with GOAWAY and the last stream."""
        stage, client = self.connect(timeouts=Timeouts(keepalive_secs=20))
        client.request(host=b"x.test")
        stage.wait(19)
        self.assertIsNone(client.peer.ended)
        stage.wait(1 + IDLE_LATE)
        client.talk()
        self.assertEqual(client.peer.ended, "closed")
        self.assertEqual(client.goaways[-1], (1, NO_ERROR))

    def test_pings_keep_nothing_alive(self) -> None:
        """It is requests that count, not frames."""
        stage, client = self.connect(timeouts=Timeouts(keepalive_secs=20))
        client.request(host=b"x.test")
        for _ in range(10):
            stage.wait(2)
            client.h2.ping(b"12345678")
            client.talk()
        stage.wait(IDLE_LATE)
        self.assertEqual(client.peer.ended, "closed")

    def test_requests_do(self) -> None:
        """Each request begins the time anew."""
        stage, client = self.connect(timeouts=Timeouts(keepalive_secs=20))
        for _ in range(5):
            client.request(host=b"x.test")
            stage.wait(15)
        self.assertIsNone(client.peer.ended)

    def test_long_response(self) -> None:
        """A connection with a stream under way is not idle, however little comes."""
        pool = evolve(UPSTREAM, request_secs=1000)
        stage, client = self.connect(timeouts=Timeouts(keepalive_secs=20), settings=pool)
        reply = client.request()
        up = stage.upstream()
        stage.wait(200)
        up.says(OK)
        client.talk()
        self.assertTrue(reply.whole)
        stage.wait(20 + IDLE_LATE)
        self.assertEqual(client.peer.ended, "closed")


class BodyTests(H2Case):
    def test_idle(self) -> None:
        """A body of which nothing comes for request_body_secs is 408; the connection goes on."""
        stage, client = self.connect()
        reply = client.post(body=b"x" * 50_000)
        up = stage.upstream()
        stage.wait(29)
        client.talk()
        self.assertEqual(reply.status, 0)
        stage.wait(1 + LATE)
        client.talk()
        self.assertEqual(reply.brief, (408, b"Request Timeout"))
        self.assertEqual((up.ended, client.peer.ended), ("aborted", None))
        self.assertEqual(stage.log.requests[0]["error"], "request body idle")
        self.assertEqual(client.request(host=b"x.test").status, 404)

    def test_too_slow(self) -> None:
        """A body slower than min_body_bytes_per_sec is 408 after its grace."""
        stage, client = self.connect()
        reply = client.post((b"content-length", b"100000"))
        stage.upstream()
        for _ in range(10):
            stage.wait(1)
            client.say(1, b"x" * 100)
        self.assertEqual(reply.status, 0)
        for _ in range(8):
            stage.wait(1)
            if not reply.status:
                client.say(1, b"x" * 100)
        self.assertEqual(reply.status, 408)
        self.assertEqual(stage.log.requests[0]["error"], "request body too slow")

    def test_empty_frames_are_no_progress(self) -> None:
        """Frames without content do not put it off."""
        stage, client = self.connect()
        reply = client.post(body=b"x" * 50_000)
        stage.upstream()
        for _ in range(35):
            stage.wait(1)
            if not reply.status:
                client.say(1, b"")
        self.assertEqual(reply.status, 408)

    def test_waiting_for_the_continue(self) -> None:
        """While the body waits for the upstream's 100 no time of it counts."""
        stage, client = self.connect(settings=evolve(UPSTREAM, connect_secs=40))
        reply = client.post((b"expect", b"100-continue"), (b"content-length", b"4"))
        stage.wait(35)
        client.talk()
        self.assertEqual((reply.status, client.peer.ended), (0, None))
        stage.upstream().says(b"HTTP/1.1 100 Continue\r\n\r\n")
        client.talk()
        self.assertEqual(reply.interim, [(100, [])])
        stage.wait(35)
        client.talk()
        self.assertEqual(reply.status, 408)

    def test_each_by_itself(self) -> None:
        """Of two bodies the one that comes is not late for the other's sake."""
        stage, client = self.connect(settings=evolve(UPSTREAM, request_secs=1000))
        slow, quick = client.post(), client.post()
        for _ in range(2):
            stage.upstream()
        for _ in range(16):
            stage.wait(2)
            client.say(3, b"x" * 1000)
        self.assertEqual((slow.status, quick.status), (408, 0))

    def test_upstream_too_slow(self) -> None:
        """No response in time is 504, for its stream alone."""
        stage, client = self.connect(settings=evolve(UPSTREAM, request_secs=5))
        reply = client.request()
        up = stage.upstream()
        stage.wait(5 + 2 * LATE)
        client.talk()
        self.assertEqual((reply.brief, up.ended), ((504, b"Gateway Timeout"), "aborted"))

    def test_no_connection_in_time(self) -> None:
        """No connection in time is 504, sent at once."""
        stage = self.stage(settings=evolve(UPSTREAM, connect_secs=3))
        client = H2Client(stage)
        reply = client.request()
        stage.wait(3 + LATE)
        client.talk()
        self.assertEqual(reply.brief, (504, b"Gateway Timeout"))
