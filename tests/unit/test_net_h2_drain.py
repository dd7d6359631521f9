"""Ends of HTTP/2 connections that the process brings about: drain, give way, cut."""

from __future__ import annotations

from revproxy.net.downstream import FIRST_REQUEST_SECS
from revproxy.policy.forwarded import connection_key
from revproxy.wire.h2.frames import (
    GOAWAY,
    MAX_WINDOW,
    NO_ERROR,
    PING,
    REFUSED_STREAM,
)
from tests.support.fake_sockets import FakeConnection
from tests.support.h2_playbook import H2Case, H2Client
from tests.support.h2_wire import sent_frames
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


class LastResponseTests(DrainCase):
    """The client takes the last response, and goes on to say something while it does."""

    def last(self) -> Peer:
        """A connection that has sent its last response, of which the kernel still has much."""
        stage, client, (up,) = self.begun()
        self.stage_played = stage
        self.patch(FakeConnection, "in_flight", 100_000)
        self.drain(stage)
        client.talk()
        up.says(OK)
        client.peer.heard()
        self.assertTrue(client.peer.half_closed)
        return client.peer

    def test_slowly_taken(self) -> None:
        """As long as it is being taken what the client says is read and thrown away."""
        peer = self.last()
        for left in range(100_000, 0, -10_000):
            FakeConnection.in_flight = left  # type: ignore[method-assign, assignment]
            self.stage_played.wait(20)
            peer.says(b"x" * 13)
            self.assertIsNone(peer.ended)
        FakeConnection.in_flight = 0  # type: ignore[method-assign, assignment]
        self.stage_played.wait(3)
        self.assertEqual(peer.ended, "closed")

    def test_stalled(self) -> None:
        """When nothing of it is taken any more for response_write_secs it is over."""
        peer = self.last()
        self.stage_played.wait(55)
        self.assertIsNone(peer.ended)
        self.stage_played.wait(12)
        self.assertEqual(peer.ended, "closed")

    def test_idle(self) -> None:
        """The same where the connection gives way while its last response is being taken."""
        _, client, (up,) = self.begun()
        up.says(OK)
        client.talk()
        self.patch(FakeConnection, "in_flight", 1)
        self.assertTrue(client.front.give_way())
        client.hear()
        self.assertTrue(client.peer.half_closed)
        client.talk()
        self.assertEqual(client.peer.ended, "closed")


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
