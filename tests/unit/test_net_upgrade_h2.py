"""Extended CONNECT of HTTP/2 (RFC 8441) bridged to an upgrade of HTTP/1.1."""

from __future__ import annotations

from base64 import b64encode
from hashlib import sha1

from attrs import evolve

from revproxy.model.configuration import Limits, Timeouts
from revproxy.model.http import Field
from revproxy.wire.h2.frames import CANCEL, NO_ERROR
from tests.support.h2_playbook import H2Case, H2Client, Reply
from tests.support.playbook import DATE, GET, OK, UPSTREAM, Peer, Stage
from tests.support.upgrades import switching

VERSION = (b"sec-websocket-version", b"13")
GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"


def answer(request: bytes, *lines: bytes) -> bytes:
    """The 101 that a server gives to the key in ``request``."""
    key = request.partition(b"\r\nSec-WebSocket-Key: ")[2].partition(b"\r\n")[0]
    digest = b64encode(sha1(key + GUID, usedforsecurity=False).digest())
    return switching(b"Sec-WebSocket-Accept: " + digest, *lines)


class ConnectCase(H2Case):
    """A client that asks for a WebSocket on stream 1."""

    def ask(
        self, client: H2Client, *fields: Field, protocol: bytes = b"websocket", end: bool = False
    ) -> Reply:
        """An extended CONNECT."""
        asked = ((b":protocol", protocol), VERSION, *fields)
        return client.request(b"/chat", *asked, method=b"CONNECT", end=end)

    def asked(self, *fields: Field, **how: object) -> tuple[Stage, H2Client, Reply, Peer]:
        """One that has reached the upstream."""
        stage, client = self.connect(**how)  # type: ignore[arg-type]
        reply = self.ask(client, *fields)
        return stage, client, reply, stage.upstream()

    def tunnel(self, **how: object) -> tuple[Stage, H2Client, Reply, Peer]:
        """One that has been agreed to."""
        stage, client, reply, up = self.asked(**how)
        up.says(answer(up.heard()))
        client.talk()
        self.assertEqual((reply.status, reply.ended), (200, False))
        return stage, client, reply, up

    def check_record(self, stage: Stage, **fields: object) -> None:
        """The last record says at least this."""
        record = stage.log.requests[-1]
        self.assertEqual({name: record.get(name) for name in fields}, fields)


class SwitchTests(ConnectCase):
    """How it is agreed to."""

    def test_request(self) -> None:
        """The upstream is asked by GET, with a key, and is told nothing of what comes behind."""
        _, client, reply, up = self.asked((b"sec-websocket-protocol", b"chat"), (b"origin", b"x"))
        heard = up.heard()
        self.assertTrue(heard.startswith(b"GET /chat HTTP/1.1\r\nHost: a.test\r\n"))
        self.assertIn(b"\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n", heard)
        self.assertEqual(heard.count(b"\r\nSec-WebSocket-Key: "), 1)
        self.assertIn(b"\r\nsec-websocket-version: 13\r\nsec-websocket-protocol: chat\r\n", heard)
        for name in (b"transfer-encoding", b"content-length", b":protocol", b"expect"):
            self.assertNotIn(name, heard.lower())
        client.say(1, b"early")
        self.assertEqual((up.heard(), reply.status), (b"", 0))

    def test_answer(self) -> None:
        """The 101 is a 200 without the answer to our key, and without fields of HTTP/1.1."""
        _, client, reply, up = self.asked()
        up.says(answer(up.heard(), b"Sec-WebSocket-Protocol: chat", b"X-A: 1"))
        client.talk()
        expected = [(b"sec-websocket-protocol", b"chat"), (b"x-a", b"1"), (b"date", DATE)]
        self.assertEqual((reply.status, reply.fields, reply.ended), (200, expected, False))

    def test_both_ways(self) -> None:
        """DATA passes both ways, what came early first; END_STREAM is a FIN, both ways."""
        stage, client, reply, up = self.asked()
        client.say(1, b"early")
        request = up.heard()
        up.says(answer(request) + b"hello")
        client.talk()
        self.assertEqual((up.heard(), bytes(reply.body)), (b"early", b"hello"))
        client.say(1, b" late")
        up.says(b" world")
        client.talk()
        self.assertEqual((up.heard(), bytes(reply.body)), (b" late", b"hello world"))
        client.say(1, b"", end=True)
        self.assertTrue(up.half_closed)
        up.says(b"!")
        up.closes()
        client.talk()
        self.assertEqual((bytes(reply.body), reply.ended), (b"hello world!", True))
        self.assertIsNone(reply.reset)
        self.check_record(stage, method="CONNECT", status=200, bytes_in=10, bytes_out=12, cut=None)

    def test_wrong_answer(self) -> None:
        """An upstream that does not know our key is no WebSocket: 502, and nothing is passed."""
        for lines in ((), (b"Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=",)):
            _, client, reply, up = self.asked()
            client.say(1, b"early")
            up.heard()
            up.says(switching(*lines) + b"raw bytes")
            client.talk()
            self.assertEqual(reply.brief, (502, b"Bad Gateway"))
            self.assertEqual((up.heard(), up.ended), (b"", "aborted"))

    def test_key_of_the_client(self) -> None:
        """A key that the client sends all the same is not passed on beside ours."""
        _, client, reply, up = self.asked((b"sec-websocket-key", b"dGhlIHNhbXBsZSBub25jZQ=="))
        heard = up.heard()
        self.assertEqual(heard.lower().count(b"sec-websocket-key"), 1)
        self.assertNotIn(b"dGhlIHNhbXBsZSBub25jZQ==", heard)
        up.says(answer(heard))
        client.talk()
        self.assertEqual(reply.status, 200)

    def test_other_protocol(self) -> None:
        """Another protocol of the site is bridged alike, without a key."""
        stage, client = self.connect(upgrades=frozenset((b"chat",)))
        reply = self.ask(client, protocol=b"chat")
        up = stage.upstream()
        heard = up.heard()
        self.assertIn(b"\r\nUpgrade: chat\r\n", heard)
        self.assertNotIn(b"Sec-WebSocket-Key", heard)
        up.says(switching(protocol=b"chat") + b"x")
        client.talk()
        self.assertEqual(reply.brief, (200, b"x"))

    def test_expectation(self) -> None:
        """100-continue has nothing to wait for: what comes is held until the 101 as ever."""
        _, client, reply, up = self.asked((b"expect", b"100-continue"))
        client.say(1, b"early")
        heard = up.heard()
        self.assertNotIn(b"xpect", heard)
        up.says(answer(heard))
        client.talk()
        self.assertEqual((reply.interim, reply.status, up.heard()), ([], 200, b"early"))

    def test_complete_request(self) -> None:
        """A CONNECT that ends with its head is a tunnel whose client says nothing."""
        stage, client = self.connect()
        reply = self.ask(client, end=True)
        up = stage.upstream()
        up.says(answer(up.heard()) + b"hello")
        self.assertTrue(up.half_closed)
        up.closes()
        client.talk()
        self.assertEqual((reply.brief, reply.whole), ((200, b"hello"), True))

    def test_other_streams(self) -> None:
        """Beside it the connection carries requests, and other tunnels."""
        stage, client, reply, up = self.tunnel()
        other = self.ask(client)
        second = stage.upstream()
        second.says(answer(second.heard()) + b"2")
        get = client.request()
        stage.upstream().says(OK)
        client.talk()
        self.assertEqual((get.brief, other.brief), ((200, b"ok"), (200, b"2")))
        self.assertEqual((client.front.upgraded, client.front.busy), (2, True))
        up.says(b"1")
        client.talk()
        self.assertEqual(bytes(reply.body), b"1")
        second.closes()
        self.assertEqual(client.front.upgraded, 1)


class RefusedTests(ConnectCase):
    """How it is not."""

    def check_answer(self, status: bytes, expected: int) -> None:
        _, client, reply, up = self.asked()
        client.say(1, b"early")
        up.heard()
        up.says(OK.replace(b"200 OK", status))
        client.talk()
        self.assertEqual((reply.status, up.heard()), (expected, b""))
        self.assertTrue(reply.whole)

    def test_refused(self) -> None:
        """What the upstream answers instead of a 101 is the answer, and the stream ends."""
        for status in (
            b"401 Unauthorized",
            b"404 Not Found",
            b"302 Found",
            b"426 Upgrade Required",
        ):
            self.check_answer(status, int(status[:3]))

    def test_success_is_no_agreement(self) -> None:
        """A 2xx of the upstream would be a 200 to the client, who took it for a tunnel: 502."""
        for status in (b"200 OK", b"204 No Content", b"299 Odd"):
            self.check_answer(status, 502)

    def test_site_without_it(self) -> None:
        """A protocol that the site does not allow is 501, and nothing goes upstream."""
        for protocol, upgrades in ((b"websocket", ()), (b"connect-udp", (b"websocket",))):
            stage, client = self.connect(upgrades=frozenset(upgrades))
            reply = self.ask(client, protocol=protocol)
            self.assertEqual(reply.brief, (501, b"Not Implemented"))
            self.assertEqual(stage.attempts, [])

    def test_retried(self) -> None:
        """A connection used before that dies before the 101 is replaced, as for a GET."""
        stage, client = self.connect()
        client.request()
        old = stage.upstream()
        old.says(OK)
        reply = self.ask(client)
        client.say(3, b"early")
        old.closes()
        new = stage.upstream()
        new.says(answer(new.heard()) + b"hello")
        client.talk()
        self.assertEqual((reply.brief, new.heard()), ((200, b"hello"), b"early"))

    def test_dead_upstream(self) -> None:
        """A new connection that dies before the 101 is 502."""
        _, client, reply, up = self.asked()
        up.closes()
        client.talk()
        self.assertEqual(reply.brief, (502, b"Bad Gateway"))

    def test_cancelled(self) -> None:
        """A client that cancels before the 101 is 499, and the upstream connection ends."""
        stage, client, _, up = self.asked()
        client.cancel(1)
        self.assertEqual(up.ended, "aborted")
        self.check_record(stage, status=499, cut="downstream")


class EndTests(ConnectCase):
    """How it ends; RFC 8441 5 says what stands for FIN and RST."""

    def test_end_of_the_upstream(self) -> None:
        """The upstream's FIN is END_STREAM after the last byte; the rest is not wanted."""
        stage, client, reply, up = self.tunnel()
        up.says(b"last words")
        up.closes()
        client.talk()
        self.assertEqual((reply.brief, reply.ended), ((200, b"last words"), True))
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


class Http1Tests(ConnectCase):
    def test_plain_connect(self) -> None:
        """A CONNECT without :protocol is 405, on either version."""
        stage, client = self.connect()
        stream = client.h2.get_next_available_stream_id()
        client.replies[stream] = reply = Reply()
        head = [(b":method", b"CONNECT"), (b":authority", b"a.test:443")]
        client.h2.send_headers(stream, head)
        client.talk()
        self.assertEqual(reply.brief, (405, b"Method Not Allowed"))
        down = stage.downstream()
        down.says(GET.replace(b"GET /", b"CONNECT a.test:443"))
        self.assertTrue(down.heard().startswith(b"HTTP/1.1 405 "))
