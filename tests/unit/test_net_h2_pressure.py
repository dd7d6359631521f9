"""Back-pressure over HTTP/2: clients whose windows are closed or whose transport is full."""

from __future__ import annotations

from attrs import evolve

from revproxy.model.configuration import Limits, Timeouts
from revproxy.net.h2_front import CHECK_SECS
from revproxy.net.transport import READ_BYTES
from revproxy.wire.h2.frames import CANCEL, INTERNAL_ERROR
from tests.support.h2_playbook import H2Case, H2Client
from tests.support.h2_wire import headers, sent_frames
from tests.support.playbook import DATE_LINE, OK, UPSTREAM, Peer, Stage

SMALL = Limits(buffered_bytes=70_000)
LATE = CHECK_SECS + 1.5


def big(size: int) -> bytes:
    """A response of ``size`` bytes."""
    return b"HTTP/1.1 200 OK\r\n%bContent-Length: %d\r\n\r\n" % (DATE_LINE, size) + b"x" * size


class ClosedWindowTests(H2Case):
    def begun(self, size: int, window: int = 0) -> tuple[Stage, H2Client, Peer]:
        """A response of ``size`` bytes to a client that takes ``window`` of them."""
        stage, client = self.connect(window=window, limits=SMALL)
        client.gives = False
        client.request()
        up = stage.upstream()
        up.says(*[big(size)[at : at + 16384] for at in range(0, size + 200, 16384)])
        client.talk()
        return stage, client, up

    def test_upstream_waits(self) -> None:
        """With the window closed the upstream is read no further than a buffer's worth."""
        _, client, up = self.begun(300_000)
        reply = client.replies[1]
        self.assertEqual((reply.brief, up.reading), ((200, b""), False))
        left = sum(map(len, up.wire.incoming))
        self.assertGreaterEqual(left, 300_000 - 70_000 - 16384)
        client.give(20_000, 1)
        self.assertEqual((len(reply.body), up.reading), (20_000, False))
        client.give(300_000, 1)
        client.give(300_000, 0)
        self.assertTrue(reply.whole)
        self.assertEqual(bytes(reply.body), b"x" * 300_000)
        self.assertEqual(up.wire.incoming, type(up.wire.incoming)())

    def test_small_window(self) -> None:
        """A client that gives back what it has taken gets all, window by window."""
        _, client, _ = self.begun(5_000, window=100)
        reply = client.replies[1]
        for got in range(100, 5_000, 100):
            self.assertEqual(len(reply.body), got)
            client.give(100, 1)
        self.assertTrue(reply.whole)

    def test_connection_window(self) -> None:
        """The connection's window holds all streams, and lets them go in turns."""
        stage = self.stage(limits=SMALL)
        other = H2Client(stage, window=65_535)
        other.gives = False
        replies = [other.request(), other.request()]
        for _ in replies:
            stage.upstream().says(big(60_000))
        other.talk()
        self.assertEqual(sum(len(reply.body) for reply in replies), 65_535)
        other.give(40_000, 0)
        self.assertTrue(all(len(reply.body) > 20_000 for reply in replies))
        other.give(40_000, 0)
        self.assertTrue(all(reply.whole for reply in replies))

    def test_others_go_on(self) -> None:
        """One stream that is not taken holds up no other."""
        stage, client, _ = self.begun(300_000, window=10)
        second = client.request()
        stage.upstream().says(OK)
        client.talk()
        self.assertTrue(second.whole)

    def test_cancelled_while_held(self) -> None:
        """What was held is dropped with its stream, and its upstream."""
        stage, client, up = self.begun(300_000)
        client.cancel(1)
        self.assertEqual(up.ended, "aborted")
        self.assertEqual(client.front._h2._held_bytes, 0)
        self.assertEqual(stage.log.requests[0]["cut"], "downstream")

    def test_cut_while_held(self) -> None:
        """A response that is cut while a part of it is held is never whole."""
        stage, client = self.connect(window=10, limits=SMALL)
        reply = client.request()
        up = stage.upstream()
        up.says(big(60_000)[:30_000])
        up.resets()
        client.talk()
        self.assertEqual((bytes(reply.body), reply.reset), (b"x" * 10, INTERNAL_ERROR))

    def test_finished_while_held(self) -> None:
        """A response that waits for the window is recorded, and its upstream free."""
        stage, client, _ = self.begun(60_000)
        self.assertEqual(stage.log.statuses, [200])
        self.assertEqual(stage.pool.idle, 1)
        self.assertTrue(client.front.busy)
        client.give(60_000, 1)
        self.assertTrue(client.replies[1].whole)
        self.assertFalse(client.front.busy)

    def test_trailers_wait_for_their_body(self) -> None:
        """Trailers come after all of it."""
        stage, client = self.connect(window=0)
        reply = client.request(b"/", (b"te", b"trailers"))
        chunked = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
        stage.upstream().says(chunked + b"3\r\nabc\r\n0\r\nX: y\r\n\r\n")
        client.talk()
        self.assertEqual((reply.body, reply.trailers), (b"", []))
        client.give(3, 1)
        self.assertEqual((reply.body, reply.trailers, reply.whole), (b"abc", [(b"x", b"y")], True))


class StallTests(H2Case):
    def begun(self, count: int = 1) -> tuple[Stage, H2Client, list[Peer]]:
        """Responses of which the client takes nothing."""
        stage, client = self.connect(window=0, settings=evolve(UPSTREAM, request_secs=1000))
        client.gives = False
        ups = []
        for _ in range(count):
            client.request()
            ups.append(stage.upstream())
            ups[-1].says(big(1_000_000)[:300_000])
        client.talk()
        return stage, client, ups

    def test_stream(self) -> None:
        """A stream of which nothing is taken for response_write_secs is given up, alone."""
        stage, client, (up,) = self.begun()
        stage.wait(58)
        client.talk()
        self.assertIsNone(client.replies[1].reset)
        stage.wait(2 + 2 * LATE)
        client.talk()
        self.assertEqual(client.replies[1].reset, CANCEL)
        self.assertEqual((up.ended, client.peer.ended), ("aborted", None))
        self.assertEqual((stage.log.statuses, stage.log.requests[0]["cut"]), ([200], "downstream"))
        self.assertEqual(client.request(host=b"x.test").status, 404)

    def test_slowly_taken(self) -> None:
        """A byte taken now and then is progress."""
        stage, client, _ = self.begun()
        for _ in range(5):
            stage.wait(45)
            client.give(1, 1)
        self.assertEqual((len(client.replies[1].body), client.replies[1].reset), (5, None))

    def test_finished_stream(self) -> None:
        """One whose upstream has long finished is given up likewise."""
        stage, client = self.connect(window=0)
        reply = client.request()
        stage.upstream().says(OK)
        stage.wait(60 + 2 * LATE)
        client.talk()
        self.assertEqual(reply.reset, CANCEL)
        self.assertEqual(stage.log.statuses, [200])

    def test_one_of_two(self) -> None:
        """A stream that is not taken goes; another one of the connection, that is, stays."""
        stage, client, _ = self.begun(2)
        for _ in range(16):
            stage.wait(5)
            client.give(1, 3)
        self.assertEqual([client.replies[one].reset for one in (1, 3)], [CANCEL, None])

    def test_many_on_a_slow_connection(self) -> None:
        """Streams that wait for their turn on a slow connection are not given up."""
        stage = self.stage(settings=evolve(UPSTREAM, request_secs=1000))
        other = H2Client(stage, window=65_535)
        other.gives = False
        replies = [other.request() for _ in range(10)]
        for _ in replies:
            stage.upstream().says(big(30_000))
        other.talk()
        for _ in range(15):
            stage.wait(20)
            other.give(16384, 0)
        self.assertEqual([reply.reset for reply in replies], [None] * 10)
        self.assertTrue(all(reply.whole for reply in replies))

    def test_connection_window(self) -> None:
        """When nothing of any stream is taken, all are given up."""
        stage = self.stage(settings=evolve(UPSTREAM, request_secs=1000))
        other = H2Client(stage, window=65_535)
        other.gives = False
        replies = [other.request() for _ in range(3)]
        for _ in replies:
            stage.upstream().says(big(100_000))
        stage.wait(60 + 2 * LATE)
        other.talk()
        self.assertEqual([reply.reset for reply in replies], [CANCEL] * 3)


class FullTransportTests(H2Case):
    def begun(self, **how: object) -> tuple[Stage, H2Client, Peer]:
        """A client whose transport takes nothing, with a response under way."""
        how.setdefault("limits", SMALL)
        stage, client = self.connect(**how)  # type: ignore[arg-type]
        client.peer.connection.high_water = 70_000
        client.request()
        up = stage.upstream()
        client.peer.stalls()
        up.says(big(1_000_000)[:400_000])
        return stage, client, up

    def test_upstream_waits(self) -> None:
        """A transport that is full stops the upstream, and its emptiness lets it go on."""
        _, client, up = self.begun()
        self.assertTrue(client.front.paused)
        self.assertFalse(up.reading)
        self.assertLess(client.peer.connection.unsent, 70_000 + READ_BYTES)
        up.says(big(1_000_000)[400_000:])
        client.peer.takes()
        client.talk()
        self.assertEqual(len(client.replies[1].body), 1_000_000)
        self.assertTrue(client.replies[1].whole)

    def test_reading_pauses_when_output_gathers(self) -> None:
        """A client that asks and asks and never listens is read no more, until it has."""
        _, client, _ = self.begun()
        many = [headers(number, _ELSEWHERE) for number in range(3, 2003, 2)]
        client.peer.says(*[b"".join(many[at : at + 100]) for at in range(0, len(many), 100)])
        self.assertFalse(client.peer.reading)
        self.assertLess(client.front._h2.gathered, 2 * 32768)
        client.peer.takes()
        said = b""
        while more := client.peer.heard():
            said += more
        self.assertTrue(client.peer.reading)
        answered = {one.stream for one in sent_frames(said) if one.kind == 1}
        self.assertGreaterEqual(len(answered), 1000)

    def test_stalled(self) -> None:
        """A transport that takes nothing for response_write_secs ends everything."""
        stage, client, up = self.begun(settings=evolve(UPSTREAM, request_secs=1000))
        stage.wait(59)
        self.assertIsNone(client.peer.ended)
        stage.wait(1 + LATE)
        self.assertEqual((client.peer.ended, up.ended), ("aborted", "aborted"))
        self.assertEqual(stage.log.requests[0]["cut"], "downstream")

    def test_slowly_taken(self) -> None:
        """A transport that takes a little now and then is not stalled, nor are its streams."""
        stage, client, up = self.begun(settings=evolve(UPSTREAM, request_secs=1000))
        for _ in range(10):
            stage.wait(30)
            client.peer.takes(1000)
        up.says(big(1_000_000)[400_000:])
        client.peer.takes()
        client.talk()
        self.assertTrue(client.replies[1].whole)

    def test_idle_with_a_slow_client(self) -> None:
        """A client that takes its last response slowly gets it whole."""
        stage, client = self.connect(timeouts=Timeouts(keepalive_secs=20))
        reply = client.request()
        up = stage.upstream()
        client.peer.stalls()
        up.says(big(100_000))
        for _ in range(10):
            stage.wait(10)
            client.peer.takes(5000)
        client.peer.takes()
        client.talk()
        self.assertTrue(reply.whole)

    def test_lost(self) -> None:
        """Lost while all are waiting: nothing is left."""
        stage, client, up = self.begun()
        client.peer.resets()
        self.assertEqual(up.ended, "aborted")
        self.assertEqual(stage.log.requests[0]["cut"], "downstream")


_ELSEWHERE = [
    (b":method", b"HEAD"),
    (b":scheme", b"https"),
    (b":authority", b"x.test"),
    (b":path", b"/"),
]
