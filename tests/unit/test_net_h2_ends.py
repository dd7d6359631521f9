"""Ends of HTTP/2 connections that the client brings about, by order or by error; reload."""

from __future__ import annotations

from revproxy.policy.routing import HostRoutes
from revproxy.wire.h2.frames import (
    COMPRESSION_ERROR,
    GOAWAY,
    NO_ERROR,
    PING,
    PROTOCOL_ERROR,
    goaway,
    read_word,
)
from tests.support.h2_playbook import H2Case, H2Client, raw_downstream
from tests.support.h2_wire import POST, Frame, body, frame, headers, sent_frames
from tests.support.playbook import DATE_LINE, OK, Peer, Stage

HALF = b"HTTP/1.1 200 OK\r\n" + DATE_LINE + b"Content-Length: 4\r\n\r\nab"


class EndCase(H2Case):
    def begun(self, count: int = 1) -> tuple[Stage, H2Client, list[Peer]]:
        """Requests under way."""
        stage, client = self.connect()
        for _ in range(count):
            client.request()
        return stage, client, [stage.upstream() for _ in range(count)]


class ReloadTests(EndCase):
    def test_between_requests(self) -> None:
        """The next request of a connection is served by the new plan, one under way by the old."""
        stage, client, (up,) = self.begun()
        stage.port.router.plan = stage.plan(routes=HostRoutes([]))
        self.assertEqual(client.request().status, 404)
        up.says(OK)
        client.talk()
        self.assertEqual(client.replies[1].brief, (200, b"ok"))
        stage.port.router.plan = stage.plan()
        last = client.request()
        up.says(OK)
        client.talk()
        self.assertEqual(last.brief, (200, b"ok"))

    def test_body_limit(self) -> None:
        """A body is judged by the plan that it began with."""
        stage, client, _ = self.begun()
        client.post(body=b"x" * 100)
        stage.upstream()
        stage.port.router.plan = stage.plan(body_limit=10)
        client.say(3, b"x" * 100)
        self.assertEqual(client.replies[3].status, 0)
        self.assertEqual(client.post(body=b"x" * 11).status, 413)


class ClientEndTests(EndCase):
    def test_goaway(self) -> None:
        """After the client's GOAWAY its streams end, and then the connection."""
        stage, client, (up,) = self.begun()
        client.peer.says(goaway(0, NO_ERROR))
        self.assertIsNone(client.peer.ended)
        up.says(OK)
        client.talk()
        self.assertEqual((client.replies[1].brief, client.peer.ended), ((200, b"ok"), "closed"))
        self.assertEqual(stage.log.statuses, [200])

    def test_goaway_when_idle(self) -> None:
        """With nothing under way it is over at once."""
        _, client = self.connect()
        client.peer.says(goaway(0, NO_ERROR))
        client.talk()
        self.assertEqual(client.peer.ended, "closed")

    def test_half_close(self) -> None:
        """A client that says no more gets its answers."""
        stage, client, (first, second) = self.begun(2)
        client.peer.closes()
        first.says(OK)
        second.says(HALF)
        client.talk()
        self.assertIsNone(client.peer.ended)
        second.says(b"cd")
        client.talk()
        self.assertTrue(client.replies[1].whole and client.replies[3].whole)
        self.assertEqual(client.peer.ended, "closed")
        self.assertEqual(stage.log.statuses, [200, 200])

    def test_half_close_within_a_body(self) -> None:
        """A request that will never be complete is cut; the others are answered."""
        stage, client, (up,) = self.begun()
        client.post(body=b"some")
        cut = stage.upstream()
        client.peer.closes()
        self.assertEqual(cut.ended, "aborted")
        self.assertFalse(cut.heard().endswith(b"0\r\n\r\n"))
        up.says(OK)
        client.talk()
        self.assertEqual((client.replies[1].brief, client.peer.ended), ((200, b"ok"), "closed"))
        self.assertEqual(stage.log.statuses, [499, 200])

    def test_half_close_when_idle(self) -> None:
        """With nothing under way it is over."""
        _, client = self.connect()
        client.peer.closes()
        self.assertEqual(client.peer.ended, "closed")


class ErrorTests(EndCase):
    def refused(self, client: H2Client, *said: bytes) -> Frame:
        """The last frame that the client gets for ``said``: a GOAWAY."""
        client.peer.says(*said)
        last = sent_frames(client.peer.heard())[-1]
        self.assertEqual(last.kind, GOAWAY)
        return last

    def test_connection_error(self) -> None:
        """GOAWAY with the code, a record, and everything that was under way is lost."""
        stage, client, (up,) = self.begun()
        client.post(body=b"some")
        other = stage.upstream()
        last = self.refused(client, frame(4, 0, 1))
        self.assertEqual([read_word(last.payload, at)[0] for at in (0, 4)], [3, PROTOCOL_ERROR])
        self.assertEqual((up.ended, other.ended), ("aborted", "aborted"))
        self.assertEqual(stage.log.statuses, [499, 499])
        record = {"client_ip": "192.0.2.1", "error": "settings on a stream"}
        self.assertEqual(stage.log.records, [("info", "H2_REFUSED", record)])

    def test_lingers(self) -> None:
        """The client can still read the GOAWAY: what it says meanwhile is thrown away."""
        stage, client = self.connect()
        self.refused(client, frame(4, 0, 1))
        self.assertTrue(client.peer.half_closed)
        client.peer.says(b"x" * 1000)
        stage.wait(4)
        self.assertEqual(client.peer.ended, "closed")

    def test_flood(self) -> None:
        """A flood is logged as a warning."""
        stage, client = self.connect()
        self.refused(client, frame(PING, 0, 0, b"x" * 8) * 200)
        self.assertEqual([one[:2] for one in stage.log.records], [("warn", "H2_REFUSED")])

    def test_no_http_2(self) -> None:
        """What is no HTTP/2 is answered with GOAWAY."""
        stage = self.stage()
        peer = raw_downstream(stage)
        peer.says(b"GET / HTTP/1.1\r\nHost: a.test\r\n\r\n")
        self.assertEqual(sent_frames(peer.heard())[-1].kind, GOAWAY)
        self.assertEqual(stage.log.records[-1][2]["error"], "no http/2 preface")

    def test_bad_compression(self) -> None:
        """A header block that cannot be decoded ends the connection."""
        _, client = self.connect()
        last = self.refused(client, b"\0\0\x01\x01\x05\0\0\0\x01\x80")
        self.assertEqual(read_word(last.payload, 4)[0], COMPRESSION_ERROR)

    def test_bodies_of_the_same_read(self) -> None:
        """An error after parts of bodies in one read leaves nothing of them behind."""
        stage, client = self.connect()
        said = headers(1, POST, end=False) + body(1, b"some") + frame(4, 0, 1)
        self.refused(client, said)
        self.assertEqual(stage.log.statuses, [499])
