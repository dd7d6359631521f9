"""The end of HTTP/2 connections: drain, give way, cut, the client's own end, reload, errors."""

from __future__ import annotations

from revproxy.net.downstream import FIRST_REQUEST_SECS
from revproxy.policy.forwarded import connection_key
from revproxy.policy.routing import HostRoutes
from revproxy.wire.h2.frames import (
    COMPRESSION_ERROR,
    GOAWAY,
    MAX_WINDOW,
    NO_ERROR,
    PING,
    PROTOCOL_ERROR,
    REFUSED_STREAM,
    goaway,
    read_word,
)
from tests.support.h2_playbook import H2Case, H2Client, raw_downstream
from tests.support.h2_wire import POST, Frame, body, frame, headers, sent_frames
from tests.support.playbook import DATE_LINE, OK, Peer, Stage

HALF = b"HTTP/1.1 200 OK\r\n" + DATE_LINE + b"Content-Length: 4\r\n\r\nab"


class DrainCase(H2Case):
    def drain(self, stage: Stage) -> None:
        """The process is about to end; no client has heard of it yet."""
        stage.port.router.draining = True
        for peer in stage.peers:
            if peer.is_downstream and not peer.ended:
                peer.protocol.drain()

    def begun(self, count: int = 1) -> tuple[Stage, H2Client, list[Peer]]:
        """Requests under way."""
        stage, client = self.connect()
        for _ in range(count):
            client.request()
        return stage, client, [stage.upstream() for _ in range(count)]


class DrainTests(DrainCase):
    def test_streams_end(self) -> None:
        """GOAWAY comes in two steps, streams under way end, then the connection is closed."""
        stage, client, (first, second) = self.begun(2)
        self.drain(stage)
        self.assertEqual(client.goaways, [])
        client.talk()
        self.assertEqual(client.goaways, [(MAX_WINDOW, NO_ERROR), (3, NO_ERROR)])
        first.says(OK)
        client.talk()
        self.assertIsNone(client.peer.ended)
        second.says(HALF)
        second.says(b"cd")
        client.talk()
        self.assertTrue(client.replies[1].whole and client.replies[3].whole)
        self.assertEqual(client.peer.ended, "closed")
        self.assertEqual(client.goaways, [(MAX_WINDOW, NO_ERROR), (3, NO_ERROR)])

    def test_request_on_its_way(self) -> None:
        """A request that was sent before the GOAWAY was read is still served."""
        stage, client, (first,) = self.begun()
        self.drain(stage)
        late = client.request(talk=False)  # the client's answer to our PING comes after it
        client.talk()
        self.assertEqual(client.goaways[-1], (3, NO_ERROR))
        stage.upstream().says(OK)
        first.says(OK)
        client.talk()
        self.assertTrue(late.whole and client.replies[1].whole)
        self.assertEqual(client.peer.ended, "closed")

    def test_request_too_late(self) -> None:
        """One that comes after both is refused, to be asked anew elsewhere."""
        stage, client, (first,) = self.begun()
        self.drain(stage)
        client.talk()
        late = client.request()
        self.assertEqual((late.status, late.reset), (0, REFUSED_STREAM))
        first.says(OK)
        client.talk()
        self.assertEqual((client.replies[1].brief, client.peer.ended), ((200, b"ok"), "closed"))
        self.assertEqual(stage.log.statuses, [200])

    def test_idle(self) -> None:
        """An idle connection is closed at once, and told so."""
        stage, client = self.connect()
        client.request(host=b"x.test")
        self.drain(stage)
        client.talk()
        self.assertEqual((client.goaways[-1], client.peer.ended), ((1, NO_ERROR), "closed"))

    def test_fresh(self) -> None:
        """One that has asked nothing yet, and does not answer, has FIRST_REQUEST_SECS."""
        stage, client = self.connect()
        self.drain(stage)
        stage.wait(FIRST_REQUEST_SECS - 0.25)
        self.assertIsNone(client.peer.ended)
        stage.wait(1.75)
        self.assertEqual(client.peer.ended, "closed")

    def test_fresh_with_a_request(self) -> None:
        """A first request that was on its way is served."""
        stage, client = self.connect()
        self.drain(stage)
        reply = client.request(talk=False)
        client.talk()
        stage.upstream().says(OK)
        client.talk()
        self.assertEqual((reply.brief, client.peer.ended), ((200, b"ok"), "closed"))

    def test_made_afterwards(self) -> None:
        """A connection that is there only now is told at once."""
        stage = self.stage()
        self.drain(stage)
        client = H2Client(stage)
        self.assertEqual(client.goaways[0], (MAX_WINDOW, NO_ERROR))
        self.assertEqual(client.peer.ended, "closed")

    def test_no_answer_to_the_ping(self) -> None:
        """A client that does not answer our PING is not waited for when all is done."""
        stage, client, (up,) = self.begun()
        self.drain(stage)
        up.says(OK)
        said = sent_frames(client.peer.heard())
        self.assertEqual([one.kind for one in said[:2]], [GOAWAY, PING])
        self.assertIsNone(client.peer.ended)
        stage.wait(FIRST_REQUEST_SECS + 2)
        self.assertEqual(client.peer.ended, "closed")

    def test_twice(self) -> None:
        """To be told twice is to be told once."""
        stage, client, (up,) = self.begun()
        self.drain(stage)
        self.drain(stage)
        client.talk()
        up.says(OK)
        client.talk()
        self.assertEqual((client.replies[1].brief, client.peer.ended), ((200, b"ok"), "closed"))

    def test_held_response(self) -> None:
        """A response that waits for the client's window is delivered whole before the end."""
        stage, client = self.connect(window=0)
        reply = client.request()
        stage.upstream().says(OK)
        self.drain(stage)
        client.talk()
        self.assertIsNone(client.peer.ended)
        client.give(2, 1)
        self.assertEqual((reply.brief, client.peer.ended), ((200, b"ok"), "closed"))


class GiveWayTests(DrainCase):
    def test_states(self) -> None:
        """Only a connection that has asked before and asks nothing now gives way."""
        stage, client = self.connect()
        self.assertFalse(client.front.give_way())
        client.request()
        self.assertFalse(client.front.give_way())
        stage.upstream().says(OK)
        client.talk()
        self.assertTrue(client.front.give_way())
        client.talk()
        self.assertEqual((client.peer.ended, client.goaways[-1]), ("closed", (1, NO_ERROR)))
        self.assertFalse(client.front.give_way())

    def test_another_of_the_client_waits(self) -> None:
        """When the client's other connections wait, one ends with its last response."""
        stage, client, (up,) = self.begun()
        stage.port.connections.waiting[connection_key("192.0.2.1")] = {object(): None}
        up.says(OK)
        client.talk()
        self.assertEqual((client.replies[1].brief, client.peer.ended), ((200, b"ok"), "closed"))


class CutTests(DrainCase):
    def test_cut(self) -> None:
        """The time of the process is up: everything ends, and is recorded once."""
        stage, client, ups = self.begun(2)
        ups[0].says(HALF)
        client.front.cut()
        client.talk()
        self.assertEqual(client.peer.ended, "aborted")
        self.assertEqual([up.ended for up in ups], ["aborted"] * 2)
        self.assertEqual(stage.log.statuses, [200, 499])
        self.assertEqual([one["cut"] for one in stage.log.requests], ["shutdown"] * 2)

    def test_summary(self) -> None:
        """A connection says what it is doing."""
        _, client, (up,) = self.begun()
        now = client.front.summary()
        self.assertEqual((now.state, now.host, now.method), ("response", "a.test", "GET"))
        up.says(OK)
        client.talk()
        self.assertEqual((client.front.summary().state, client.front.summary().host), ("idle", ""))
        client.front.give_way()
        self.assertEqual(client.front.summary().state, "closing")


class ReloadTests(DrainCase):
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


class ClientEndTests(DrainCase):
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


class ErrorTests(DrainCase):
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
