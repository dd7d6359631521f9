"""Request bodies over HTTP/2 whose upstreams take nothing: windows, and whose time it is."""

from __future__ import annotations

from attrs import evolve

from revproxy.model.configuration import Limits
from revproxy.wire.h2.frames import CANCEL, RST_STREAM, rst_stream
from tests.support.h2_playbook import H2Case, H2Client
from tests.support.h2_wire import sent_frames
from tests.support.playbook import OK, UPSTREAM, Peer, Stage


class FullUpstreamTests(H2Case):
    def begun(self, count: int = 1, size: int = 70_000) -> tuple[Stage, H2Client, list[Peer]]:
        """Uploads whose upstreams take nothing, the client having sent all it may."""
        pool = evolve(UPSTREAM, buffered_bytes=size, request_secs=1000)
        limits = Limits(buffered_bytes=size)
        stage, client = self.connect(limits=limits, settings=pool, body_limit=10**9)
        ups = []
        for number in range(count):
            client.post()
            ups.append(stage.upstream())
            ups[-1].stalls()
            self.fill(client, 2 * number + 1)
        return stage, client, ups

    def fill(self, client: H2Client, stream: int) -> int:
        """Send as much as may be sent, in frames, each read by itself."""
        sent = 0
        while room := min(client.room(stream), 16384):
            client.say(stream, b"x" * room)
            sent += room
        return sent

    def test_no_window_is_given_back(self) -> None:
        """An upstream that takes nothing makes the client wait, until it takes."""
        stage, client, (up,) = self.begun()
        self.assertEqual(client.room(1), 0)
        self.assertLess(up.connection.unsent, 4 * 70_000)
        before = sum(client.updates[1])
        stage.wait(10)
        client.talk()
        self.assertEqual(sum(client.updates[1]), before)
        up.takes()
        client.talk()
        self.assertGreater(sum(client.updates[1]), before)
        self.assertGreater(client.room(1), 16384)
        client.say(1, b"", end=True)
        up.says(OK)
        client.talk()
        self.assertTrue(client.replies[1].whole)

    def test_other_streams_go_on(self) -> None:
        """An upstream that takes nothing holds up its own stream alone."""
        stage, client, _ = self.begun(2)
        second = client.post()
        up = stage.upstream()
        client.say(5, b"body", end=True)
        up.says(OK)
        client.talk()
        self.assertTrue(second.whole)

    def test_another_upload_goes_on(self) -> None:
        """Held uploads that leave some of the connection's window leave it to others."""
        stage, client, _ = self.begun(3, 262_144)
        reply = client.post()
        up = stage.upstream()
        stream = 7
        sent = 0
        while sent < 3_000_000:
            more = min(client.room(stream), 16384)
            self.assertGreater(more, 0, f"stuck after {sent}")
            client.say(stream, b"x" * more)
            sent += more
        client.say(stream, b"", end=True)
        up.says(OK)
        client.talk()
        self.assertTrue(reply.whole)

    def test_clock_stands(self) -> None:
        """While the upstream takes nothing no time of the request body counts."""
        stage, client, (up,) = self.begun()
        stage.wait(300)
        client.talk()
        self.assertEqual(client.replies[1].status, 0)
        up.takes()
        stage.wait(35)
        client.talk()
        self.assertEqual(client.replies[1].status, 408)

    def test_clock_stands_for_others(self) -> None:
        """Nor of one that cannot come because others fill the connection's window."""
        stage, client, ups = self.begun(40)
        self.assertLess(client.h2.outbound_flow_control_window, 16384)
        waiting = client.post()
        stage.upstream()
        stage.wait(100)
        client.talk()
        self.assertEqual(waiting.status, 0)
        for up in ups:
            up.takes()
        stage.wait(5)
        client.talk()
        self.assertEqual(waiting.status, 0)
        self.assertGreater(client.room(81), 0)
        stage.wait(35)
        client.talk()
        self.assertEqual(waiting.status, 408)

    def test_cancelled(self) -> None:
        """What a cancelled stream held of the connection's window is given back."""
        _, client, (up,) = self.begun()
        client.cancel(1)
        self.assertEqual(up.ended, "aborted")
        for _ in range(40):
            stream = client.h2.get_next_available_stream_id()
            client.post(body=b"x" * 16384)
            client.cancel(stream)
        self.assertGreater(client.h2.outbound_flow_control_window, 400_000)

    def test_no_upstream_yet(self) -> None:
        """A body that comes before there is a connection is held to a limit, then let go."""
        stage, client = self.connect(limits=Limits(buffered_bytes=70_000), body_limit=10**9)
        client.post()
        self.fill(client, 1)
        self.assertEqual(client.room(1), 0)
        up = stage.upstream()
        client.talk()
        self.assertGreater(client.room(1), 16384)
        self.assertGreater(len(up.heard()), 70_000)

    def test_reset_while_held(self) -> None:
        """A reset in the same read as the last part of a body leaves nothing."""
        stage, client, (up,) = self.begun()
        client.peer.says(rst_stream(1, CANCEL))
        self.assertEqual((up.ended, stage.log.statuses), ("aborted", [499]))
        self.assertNotIn(RST_STREAM, [one.kind for one in sent_frames(client.peer.heard())])
