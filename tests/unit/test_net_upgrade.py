"""Upgrades that are agreed to: from the request to bytes both ways, and the bounds on these."""

from __future__ import annotations

from attrs import evolve

from tests.support.playbook import GET, OK, UPSTREAM
from tests.support.upgrades import PASSED_ON, SWITCHING, UpgradeCase, asking, switching


class SwitchTests(UpgradeCase):
    """How a tunnel begins."""

    def test_request(self) -> None:
        """The upstream is asked for it with the client's key, in one head and nothing behind."""
        stage, down, up = self.asked()
        heard = up.heard()
        self.assertTrue(heard.startswith(b"GET /chat HTTP/1.1\r\nHost: a.test\r\n"))
        self.assertIn(b"\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n", heard)
        self.assertIn(b"\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n", heard)
        self.assertEqual(heard.count(b"Upgrade"), 2)
        self.assertEqual(down.heard(), b"")
        down.resets()
        self.check_record(stage, status=499)

    def test_both_ways(self) -> None:
        """After the 101 bytes pass both ways as they are, whatever they look like."""
        stage, down, up = self.tunnel()
        for said in (b"\x81\x85mask", GET, b"\r\n\r\n", OK, b"0\r\n\r\n"):
            down.says(said)
            self.assertEqual((up.heard(), down.heard()), (said, b""))
            up.says(said)
            self.assertEqual((up.heard(), down.heard()), (b"", said))
        self.assertEqual(stage.log.requests, [])

    def test_held_until_the_switch(self) -> None:
        """What came behind the request waits for the 101, and goes up after it, in order."""
        stage = self.stage()
        down = stage.downstream()
        down.says(asking() + b"one", b"two")
        up = stage.upstream()
        down.says(b"three")
        self.assertTrue(up.heard().endswith(b"\r\n\r\n"))
        up.says(SWITCHING)
        down.says(b"four")
        self.assertEqual(up.heard(), b"onetwothreefour")
        self.assertEqual(down.heard(), PASSED_ON)

    def test_request_behind(self) -> None:
        """A request behind it is no request, neither before the 101 nor after."""
        smuggled = b"GET /smuggled HTTP/1.1\r\nHost: a.test\r\n\r\n"
        stage, _, up = self.asked(asking() + smuggled)
        self.assertNotIn(b"smuggled", up.heard())
        up.says(SWITCHING)
        self.assertEqual(up.heard(), smuggled)
        self.assertEqual((stage.begun, stage.attempts), (1, []))

    def test_behind_the_switch(self) -> None:
        """Bytes behind the 101 in the same read reach the client in the same write."""
        _, down, up = self.asked()
        up.says(SWITCHING + b"hello")
        self.assertEqual(down.wire.sends, [len(PASSED_ON) + 5])
        self.assertEqual(down.heard(), PASSED_ON + b"hello")

    def test_switch_in_pieces(self) -> None:
        """A 101 may come byte by byte."""
        _, down, up = self.asked()
        up.says(*(SWITCHING[at : at + 1] for at in range(len(SWITCHING))), b"x")
        self.assertEqual(down.heard(), PASSED_ON + b"x")

    def test_interim_before(self) -> None:
        """Other 1xx may come before it, and are passed on."""
        _, down, up = self.asked()
        early = b"HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n"
        up.says(early + SWITCHING + b"x")
        self.assertEqual(down.heard(), early + PASSED_ON + b"x")

    def test_case_of_the_protocol(self) -> None:
        """Names of protocols are compared without case; ours is said in lower case."""
        _, down, up = self.asked(asking(lines=(b"Connection: UPGRADE", b"Upgrade: WebSocket")))
        self.assertIn(b"\r\nUpgrade: websocket\r\n", up.heard())
        up.says(switching(protocol=b"WEBSOCKET"))
        self.assertIn(b"\r\nUpgrade: websocket\r\n", down.heard())

    def test_several_protocols(self) -> None:
        """Of several the first that the site allows is asked for, and no other."""
        upgrades = frozenset((b"chat/2", b"websocket"))
        lines = (b"Connection: Upgrade, HTTP2-Settings", b"Upgrade: h2c, chat/2, websocket")
        request = asking(b"HTTP2-Settings: AAMA", lines=lines, start=b"POST /x HTTP/1.1")
        stage, down, up = self.asked(request, upgrades=upgrades)
        heard = up.heard()
        self.assertIn(b"\r\nContent-Length: 0\r\n", heard)
        self.assertIn(b"\r\nConnection: Upgrade\r\nUpgrade: chat/2\r\n", heard)
        self.assertNotIn(b"h2c", heard.lower())
        self.assertNotIn(b"http2-settings", heard.lower())
        up.says(switching(protocol=b"chat/2") + b"x")
        self.assertTrue(down.heard().endswith(b"\r\nUpgrade: chat/2\r\n\r\nx"))
        up.closes()
        self.check_record(stage, status=101, method="POST")

    def test_after_other_requests(self) -> None:
        """It may be the second request of a connection, on an upstream connection used before."""
        stage = self.stage()
        down = stage.downstream()
        down.says(GET + asking() + b"x")
        up = stage.upstream()
        up.says(OK)
        self.assertEqual(down.heard(), OK)
        up.says(SWITCHING)
        self.assertEqual(down.heard(), PASSED_ON)
        self.assertTrue(up.heard().endswith(b"\r\n\r\nx"))
        self.assertEqual(stage.pool.idle, 0)

    def test_limit_fields(self) -> None:
        """A 101 carries the fields of the rate limit as any response does."""

        def fields(left: float) -> list[tuple[bytes, bytes]]:
            return [(b"RateLimit-Remaining", b"%d" % left)]

        _, down, up = self.asked(limit_fields=fields)
        up.says(switching(b"ratelimit-remaining: 1"))
        self.assertIn(b"\r\nRateLimit-Remaining: 999\r\n", down.heard())

    def test_expectation(self) -> None:
        """100-continue has nothing to wait for, and is not passed on."""
        _, down, up = self.asked(asking(b"Expect: 100-continue"))
        self.assertNotIn(b"Expect", up.heard())
        up.says(SWITCHING)
        self.assertEqual(down.heard(), PASSED_ON)

    def test_never_pooled(self) -> None:
        """A connection that was a tunnel serves nothing else, and is counted while it lasts."""
        stage, _, up = self.tunnel()
        self.assertEqual((stage.pool.open, stage.pool.idle), (1, 0))
        other = stage.downstream()
        other.says(GET)
        stage.upstream().says(OK)
        self.assertEqual(other.heard(), OK)
        up.closes()
        self.assertEqual((stage.pool.open, stage.pool.idle), (1, 1))

    def test_summary(self) -> None:
        """The connection is told as upgraded, under way, and counted."""
        _, down, up = self.asked()
        self.assertEqual(down.protocol.upgraded, 0)
        up.says(SWITCHING)
        summary = down.protocol.summary()
        told = (summary.state, summary.host, summary.method, summary.path)
        self.assertEqual(told, ("upgraded", "a.test", "GET", "/chat"))
        self.assertEqual((down.protocol.busy, down.protocol.upgraded), (True, 1))
        self.assertFalse(down.protocol.give_way())
        up.closes()
        self.assertEqual((down.protocol.busy, down.protocol.upgraded), (False, 0))


class PressureTests(UpgradeCase):
    """What one side does not take stops the other, and little is held."""

    SETTINGS = evolve(UPSTREAM, buffered_bytes=100_000)

    def test_downstream_full(self) -> None:
        """While the downstream takes nothing the upstream is not read; nothing is lost."""
        _, down, up = self.tunnel()
        down.stalls()
        up.says(*[b"x" * 50_000] * 20)
        self.assertFalse(up.reading)
        self.assertLess(down.connection.unsent, 150_000)
        down.says(b"the other way is free")
        self.assertEqual(up.heard(), b"the other way is free")
        down.takes()
        self.assertTrue(up.reading)
        self.assertEqual(down.heard(), b"x" * 1_000_000)

    def test_upstream_full(self) -> None:
        """While the upstream takes nothing the downstream is not read; nothing is lost."""
        _, down, up = self.tunnel(settings=self.SETTINGS)
        up.stalls()
        down.says(*[b"x" * 50_000] * 20)
        self.assertFalse(down.reading)
        self.assertLess(up.connection.unsent, 200_000)
        up.says(b"the other way is free")
        self.assertEqual(down.heard(), b"the other way is free")
        up.takes()
        self.assertTrue(down.reading)
        self.assertEqual(up.heard(), b"x" * 1_000_000)

    def test_before_the_switch(self) -> None:
        """Before the 101 little is read of what comes behind the request."""
        stage = self.stage()
        down = stage.downstream()
        down.says(asking(), *[b"x" * 20_000] * 20)
        self.assertFalse(down.reading)
        up = stage.upstream()
        up.says(SWITCHING)
        self.assertTrue(down.reading)
        self.assertTrue(up.heard().endswith(b"\r\n\r\n" + b"x" * 400_000))

    def test_downstream_full_at_the_switch(self) -> None:
        """A downstream that has not taken the response before holds the upstream up."""
        stage = self.stage()
        down = stage.downstream()
        down.says(GET)
        up = stage.upstream()
        down.stalls()
        up.says(b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n" + b"x" * 100_000)
        down.says(asking())
        down.takes()
        up.says(SWITCHING, b"hello")
        self.assertTrue(down.heard().endswith(PASSED_ON + b"hello"))

    def test_both_full(self) -> None:
        """Both sides may be full at once, and go on in any order."""
        _, down, up = self.tunnel(settings=self.SETTINGS)
        down.stalls()
        up.stalls()
        down.says(*[b"a" * 50_000] * 10)
        up.says(*[b"b" * 50_000] * 10)
        self.assertEqual((down.reading, up.reading), (False, False))
        down.takes()
        self.assertEqual((down.reading, up.reading), (False, True))
        up.takes()
        self.assertEqual((down.reading, up.reading), (True, True))
        self.assertEqual(up.heard(), b"a" * 500_000)
        self.assertEqual(down.heard(), b"b" * 500_000)

    def test_stalled_downstream(self) -> None:
        """One that takes nothing of what is queued for response_write_secs is cut."""
        stage, down, up = self.tunnel()
        down.stalls()
        up.says(b"x" * 500_000)
        stage.wait(58)
        self.assertIsNone(down.ended)
        stage.wait(5)
        self.assertEqual((down.ended, up.ended), ("aborted", "aborted"))
        self.check_record(stage, status=101, cut="downstream", bytes_out=262_144)
