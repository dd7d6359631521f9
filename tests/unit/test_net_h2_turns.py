"""Much at once over HTTP/2 is read in turns, and what is over leaves nothing behind."""

from __future__ import annotations

import gc
import weakref
from typing import Any

from revproxy.net import h2_front, h2_requests, h2_stream
from revproxy.net.h2_stream import H2Stream
from revproxy.wire.h2.connection import FRAMES_AT_ONCE
from revproxy.wire.h2.frames import CANCEL, HEADERS, PING, RST_STREAM, ping, rst_stream
from tests.support import h2_playbook
from tests.support.h2_playbook import H2Case, H2Client, raw_downstream
from tests.support.h2_wire import GET, OPENING, POST, body, headers, sent_frames
from tests.support.playbook import OK, Peer, Stage

ELSEWHERE = [(name, b"x.test" if name == b":authority" else value) for name, value in GET]
MANY = 3 * FRAMES_AT_ONCE


def asked(count: int, fields: list[tuple[bytes, bytes]] = ELSEWHERE) -> bytes:
    """So many requests, one after the other."""
    return b"".join(headers(2 * number + 1, fields) for number in range(count))


class TurnsTests(H2Case):
    def opened(self) -> tuple[Stage, Peer]:
        """A connection past its opening."""
        stage = self.stage()
        peer = raw_downstream(stage)
        peer.says(OPENING)
        peer.heard()
        return stage, peer

    def read(self, peer: Peer, said: bytes) -> None:
        """The front reads all of this at once; no turn of the reactor comes after it yet."""
        peer.protocol.dataReceived(said)

    def answers(self, peer: Peer) -> int:
        """How many responses have been sent, as far as the reactor has turned."""
        sent, peer.wire.sent[:] = bytes(peer.wire.sent), b""
        return sum(one.kind == HEADERS for one in sent_frames(sent))

    def test_requests(self) -> None:
        """Many requests of one read are answered in turns, and none is read meanwhile."""
        _, peer = self.opened()
        self.read(peer, asked(MANY))
        self.assertEqual(self.answers(peer), FRAMES_AT_ONCE)
        self.assertFalse(peer.reading)
        peer.reactor.run()
        self.assertEqual(self.answers(peer), MANY - FRAMES_AT_ONCE)
        self.assertTrue(peer.reading)

    def test_one_write_a_turn(self) -> None:
        """What a turn answers leaves as one write."""
        _, peer = self.opened()
        peer.wire.sends.clear()
        self.read(peer, asked(FRAMES_AT_ONCE))
        self.assertEqual(len(peer.wire.sends), 1)

    def test_last_frame_alone(self) -> None:
        """One frame more than a turn takes is not forgotten."""
        _, peer = self.opened()
        self.read(peer, asked(FRAMES_AT_ONCE + 1))
        peer.reactor.run()
        self.assertEqual(self.answers(peer), FRAMES_AT_ONCE + 1)

    def test_more_comes_meanwhile(self) -> None:
        """What is delivered before the next turn is read after what waits."""
        _, peer = self.opened()
        said = asked(MANY)
        cut = len(said) // 2 + 5
        self.read(peer, said[:cut])
        self.read(peer, said[cut:])
        peer.reactor.run()
        self.assertEqual(self.answers(peer), MANY)

    def test_body(self) -> None:
        """A body of many small frames reaches the upstream whole and in order."""
        stage, peer = self.opened()
        parts = b"".join(body(1, b"%d," % number) for number in range(MANY))
        self.read(peer, headers(1, POST, end=False) + parts + body(1, b"", end=True))
        up = stage.upstream()
        content = b"".join(up.heard().split(b"\r\n\r\n", 1)[1].split(b"\r\n")[1::2])
        self.assertEqual(content, b"".join(b"%d," % number for number in range(MANY)))
        up.says(OK)
        self.assertEqual(stage.log.statuses, [200])

    def test_half_close(self) -> None:
        """Requests that wait for their turn when the client closes its side are answered."""
        stage, peer = self.opened()
        last = 2 * MANY + 1
        self.read(peer, asked(MANY) + headers(last, POST, end=False) + body(last, b"x"))
        peer.protocol.readConnectionLost()
        peer.reactor.run()
        self.assertEqual(self.answers(peer), MANY)
        self.assertEqual(peer.ended, "closed")
        self.assertEqual(stage.log.statuses, [404] * MANY + [499])

    def test_lost(self) -> None:
        """A connection that is lost between two turns begins nothing more."""
        stage, peer = self.opened()
        self.read(peer, asked(MANY, GET))
        self.assertEqual(len(stage.attempts), 128)
        begun = stage.begun
        peer.resets()
        stage.wait(1)
        self.assertEqual((stage.begun, peer.ended), (begun, "closed"))

    def test_cut(self) -> None:
        """Nor does one that is cut."""
        stage, peer = self.opened()
        self.read(peer, asked(MANY))
        begun = stage.begun
        peer.protocol.cut()
        stage.wait(1)
        self.assertEqual((stage.begun, peer.ended), (begun, "aborted"))

    def test_error_in_a_later_turn(self) -> None:
        """What is wrong in a later turn ends the connection as in the first."""
        stage, peer = self.opened()
        self.read(peer, asked(MANY) + b"\0\0\0\x04\0\0\0\0\1")
        peer.reactor.run()
        self.assertTrue(peer.half_closed)
        self.assertEqual(stage.log.records[-1][1], "H2_REFUSED")

    def test_drained(self) -> None:
        """Of requests that wait for their turn when the end is announced none is lost unseen."""
        stage, peer = self.opened()
        self.read(peer, asked(MANY))
        stage.port.router.draining = True
        self.assertFalse(peer.protocol.give_way())
        peer.protocol.drain()
        peer.reactor.run()
        said = sent_frames(bytes(peer.wire.sent))
        self.assertEqual(sum(one.kind == HEADERS for one in said), MANY)
        self.assertIn(PING, [one.kind for one in said])
        peer.wire.sent.clear()
        peer.says(ping(b"draining", ack=True))
        self.assertTrue(peer.half_closed)

    def test_several_streams_one_write(self) -> None:
        """What the upstreams of several streams say in one turn leaves as one write."""
        stage, client = self.connect()
        for _ in range(3):
            client.request()
        ups = [stage.upstream() for _ in range(3)]
        client.peer.wire.sends.clear()
        for up in ups:
            up.wire.incoming.append(OK)
        client.talk()
        self.assertEqual(len(client.peer.wire.sends), 1)
        self.assertTrue(all(reply.whole for reply in client.replies.values()))

    def test_lost_before_the_write(self) -> None:
        """A connection lost before what was said has left is over, and watched no more."""
        stage, client = self.connect()
        client.request()
        client.request()
        first, second = stage.upstream(), stage.upstream()
        stage.port.router.draining = True
        client.front.drain()
        for up in (first, second):
            up.protocol.dataReceived(OK)
        client.front.connectionLost(None)  # type: ignore[arg-type]
        stage.wait(1)
        self.assertEqual(stage.log.statuses, [200, 200])
        self.assertNotIn(client.front, stage.deadlines.watching)
        client.peer.connection.protocol = _Nobody()

    def test_one_connection_upstream_each(self) -> None:
        """Streams under way have upstream connections of their own, which are kept."""
        stage, client = self.connect()
        for _ in range(3):
            client.request()
        for up in [stage.upstream() for _ in range(3)]:
            up.says(OK)
        client.talk()
        self.assertEqual(stage.pool.idle, 3)
        client.request()
        self.assertEqual((stage.pool.idle, stage.attempts), (2, []))


class _Nobody:
    """What is left of a protocol that has been told of its end."""

    def __getattr__(self, name: str) -> Any:
        return lambda *_: None


class CycleTests(H2Case):
    """What is over is freed at once: the cyclic collector costs other clients' time."""

    def watched(self) -> tuple[Stage, H2Client, list[weakref.ref[H2Stream]]]:
        """A connection whose streams are watched, without the cyclic collector."""
        made: list[weakref.ref[H2Stream]] = []

        class Noted(H2Stream):
            __slots__ = ("__weakref__",)

            def begin(self, head: Any) -> None:
                made.append(weakref.ref(self))
                super().begin(head)

        self.patch(h2_stream, "H2Stream", Noted)
        self.patch(h2_requests, "H2Stream", Noted)
        stage, client = self.connect()
        gc.collect()
        gc.disable()
        self.addCleanup(gc.enable)
        return stage, client, made

    def check(self, made: list[weakref.ref[H2Stream]], count: int) -> None:
        """All are gone."""
        self.assertEqual(len(made), count)
        self.assertEqual([one() for one in made], [None] * count)

    def test_responses(self) -> None:
        """A stream that has been answered."""
        stage, client, made = self.watched()
        client.request()
        up = stage.upstream()
        up.says(OK)
        client.request(host=b"x.test")
        client.request(method=b"HEAD")
        up.says(OK[:-2])
        client.post(body=b"body", end=True)
        up.says(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nx\r\n0\r\n\r\n")
        client.talk()
        self.check(made, 4)

    def test_cut_ones(self) -> None:
        """A stream that has been reset, by whomever."""
        stage, client, made = self.watched()
        client.request()
        up = stage.upstream()
        up.says(OK[:-1])
        up.resets()
        client.request()
        stage.upstream()
        client.cancel(3)
        client.post(body=b"x")
        up = stage.upstream()
        stage.wait(35)
        client.talk()
        del up
        self.check(made, 3)

    def test_held_one(self) -> None:
        """A stream whose response has waited for the window."""
        _, _, made = self.watched()
        stage = self._stages[0]
        client = H2Client(stage, window=0)
        reply = client.request()
        stage.upstream().says(OK)
        client.give(2, 1)
        self.assertTrue(reply.whole)
        self.check(made, 1)

    def test_connection(self) -> None:
        """A connection that is gone, with what was under way on it."""

        class Noted(h2_front.H2Front):
            __slots__ = ("__weakref__",)

        self.patch(h2_playbook, "H2Front", Noted)
        stage, client, made = self.watched()
        client.request()
        stage.upstream().says(OK)
        client.request()
        front = weakref.ref(client.front)
        client.peer.resets()
        stage.wait(1)
        stage.peers.remove(client.peer)
        client.peer.protocol = client.peer.connection = None  # type: ignore[assignment]
        self.assertIsNone(front())
        self.check(made, 2)

    def test_forbidden(self) -> None:
        """A reset in the same read as the request."""
        stage, client, made = self.watched()
        client.peer.says(headers(1) + rst_stream(1, CANCEL))
        self.assertEqual(stage.log.statuses, [499])
        self.assertNotIn(RST_STREAM, [one.kind for one in sent_frames(client.peer.heard())])
        self.check(made, 1)
