"""How tunnels of HTTP/2 end, and what one side does not take."""

from __future__ import annotations

from attrs import evolve

from revproxy.model.configuration import Limits, Timeouts
from revproxy.wire.h2.frames import CANCEL, NO_ERROR
from tests.support.h2_playbook import H2Client
from tests.support.h2_upgrades import ConnectCase, answer
from tests.support.playbook import OK, UPSTREAM


class EndTests(ConnectCase):
    """How it ends; RFC 8441 5 says what stands for FIN and RST."""

    def test_end_of_the_upstream(self) -> None:
        """The upstream's FIN is END_STREAM after the last byte; the rest is not wanted."""
        stage, client, reply, up = self.tunnel()
        up.says(b"last words")
        up.closes()
        client.talk()
        self.assertEqual((reply.brief, reply.ended), ((200, b"last words"), True))
        stage.wait(12)
        client.talk()
        self.assertEqual(reply.reset, NO_ERROR)
        self.check_record(stage, status=200, bytes_out=10, cut=None)
        again = client.request()
        stage.upstream().says(OK)
        client.talk()
        self.assertEqual(again.brief, (200, b"ok"))

    def test_reset_of_the_upstream(self) -> None:
        """A reset of the upstream's connection is RST_STREAM with CANCEL."""
        stage, client, reply, up = self.tunnel()
        up.resets()
        client.talk()
        self.assertEqual((reply.ended, reply.reset), (False, CANCEL))
        self.check_record(stage, status=200, cut="upstream")

    def test_reset_of_the_client(self) -> None:
        """A stream that the client resets is a reset of the upstream's connection."""
        stage, client, _, up = self.tunnel()
        client.say(1, b"hello")
        client.cancel(1)
        self.assertEqual(up.ended, "aborted")
        self.check_record(stage, status=200, cut="downstream", bytes_in=5)

    def test_lost_connection(self) -> None:
        """The connection that is lost takes its tunnels with it."""
        stage, client, _, up = self.tunnel()
        client.peer.resets()
        self.assertEqual(up.ended, "aborted")
        self.check_record(stage, status=200, cut="downstream")

    def test_silence(self) -> None:
        """After upgraded_idle_secs of silence the stream is reset; the connection stays."""
        timeouts = Timeouts(upgraded_idle_secs=20, request_body_secs=2, keepalive_secs=500)
        stage, client, reply, up = self.tunnel(timeouts=timeouts)
        stage.wait(19)
        client.say(1, b"x")
        stage.wait(19)
        client.talk()
        self.assertIsNone(reply.reset)
        stage.wait(4)
        client.talk()
        self.assertEqual((reply.reset, up.ended, client.peer.ended), (CANCEL, "aborted", None))
        self.check_record(stage, status=200, cut="idle", bytes_in=1)

    def test_drain(self) -> None:
        """At a drain a tunnel stays until the time is up."""
        stage, client, reply, up = self.tunnel()
        stage.port.router.draining = True
        client.front.drain()
        client.talk()
        stage.wait(10)
        up.says(b"still there")
        client.talk()
        self.assertEqual(bytes(reply.body), b"still there")
        client.front.cut()
        stage.reactor.run()
        self.assertEqual(up.ended, "aborted")
        self.check_record(stage, status=200, cut="shutdown")

    def test_end_during_a_drain(self) -> None:
        """When the last tunnel has ended meanwhile, so has the connection."""
        stage, client, reply, up = self.tunnel()
        stage.port.router.draining = True
        client.front.drain()
        client.say(1, b"", end=True)
        up.closes()
        client.talk()
        self.assertTrue(reply.whole)
        stage.wait(3)
        self.assertEqual(client.peer.ended, "closed")
        self.check_record(stage, status=200, cut=None)


class PressureTests(ConnectCase):
    """Windows are the back-pressure of a tunnel."""

    def test_client_full(self) -> None:
        """While the client's window is closed the upstream is not read; nothing is lost."""
        limits = Limits(buffered_bytes=50_000)
        _, client, reply, up = self.tunnel(limits=limits, window=1000)
        client.gives = False
        up.says(*[b"x" * 20_000] * 20)
        client.talk()
        self.assertFalse(up.reading)
        self.assertEqual(len(reply.body), 1000)
        client.say(1, b"the other way is free")
        self.assertEqual(up.heard(), b"the other way is free")
        client.gives = True
        client.give(2**20, 1)
        client.give(2**20, 0)
        self.assertTrue(up.reading)
        self.assertEqual(len(reply.body), 400_000)

    def test_upstream_full(self) -> None:
        """An upstream that takes nothing closes the window; nothing is lost."""
        pool = evolve(UPSTREAM, buffered_bytes=50_000)
        _, client, _, up = self.tunnel(settings=pool)
        up.stalls()
        sent = self.fill(client)
        self.assertLess(sent, 2**20)
        up.takes()
        client.talk()
        sent += self.fill(client)
        self.assertEqual(len(up.heard()), sent)

    def test_before_the_switch(self) -> None:
        """What comes before the 101 is held up to buffered_bytes, then the window stays shut."""
        limits = Limits(buffered_bytes=50_000)
        _, client, _, up = self.asked(limits=limits)
        sent = self.fill(client)
        self.assertEqual(client.room(1), 0)
        request = up.heard()
        up.says(answer(request))
        client.talk()
        self.assertEqual(len(up.heard()), sent)
        self.assertGreater(client.room(1), 0)

    def fill(self, client: H2Client) -> int:
        """Send as much as may be sent, up to two MiB."""
        sent = 0
        while (room := min(client.room(1), 16384)) and sent < 2**21:
            client.say(1, b"x" * room)
            sent += room
        return sent
