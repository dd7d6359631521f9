"""A relay and everything that may happen to it, in any order."""

from __future__ import annotations

from attrs import define
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from twisted.internet import error

from revproxy.model.configuration import Limits, Timeouts
from tests.support.playbook import Peer
from tests.support.relays import RelayCase

NAMES = ("connect", "connect", "refuse", "down says", "down says", "up says", "up says",
         "down ends", "up ends", "down resets", "up resets", "down stalls", "up stalls",
         "down takes", "up takes", "wait", "wait long", "drain", "cut")  # fmt: skip
EVENTS = st.lists(st.tuples(st.sampled_from(NAMES), st.sampled_from([1, 700, 5000])), max_size=30)
LIMITS = Limits(buffered_bytes=3000)
TIMEOUTS = Timeouts(upgraded_idle_secs=50, response_write_secs=20)


@define(eq=False)
class Side:
    """One side's bytes: what it has said, and what it has heard."""

    said: bytes = b""
    heard: bytes = b""

    def next(self, size: int) -> bytes:
        """The next ``size`` bytes to say, which tell where they belong."""
        start = len(self.said)
        said = bytes((start + n) % 251 for n in range(size))
        self.said += said
        return said


class AnyOrderTests(RelayCase):
    @settings(
        max_examples=400,
        deadline=None,
        derandomize=True,
        suppress_health_check=list(HealthCheck),
    )
    @given(EVENTS, st.sampled_from(["off", "v1"]))
    def test_any_order(self, script: list[tuple[str, int]], send_proxy: str) -> None:
        """Nothing raises, nothing is left, and what arrives is what was said, from the start.

        Where both have ended in order and taken everything, nothing of it is missing.
        """
        port = self.stream_port(send_proxy, limits=LIMITS, timeouts=TIMEOUTS)
        stage = self.relay_stage
        down = self.accept(port)
        sides = {"down": (down, Side())}
        for name, size in script:
            self.happen(sides, name, size)
            self.look(sides)
        for peer, _ in list(sides.values()):
            peer.takes()
            if not peer.ended:
                peer.closes()
        self.look(sides)
        if "up" in sides and down.ended and self.cuts() == [None]:
            (_, one), (peer, other) = sides["down"], sides["up"]
            header = b"PROXY TCP4 192.0.2.1 192.0.2.9 50000 443\r\n" if send_proxy == "v1" else b""
            self.assertEqual(one.heard, other.said[: len(one.heard)])
            if not peer.wire.send_error:
                self.assertEqual(other.heard, header + one.said)
        self.check_end(stage)

    def happen(self, sides: dict[str, tuple[Peer, Side]], name: str, size: int) -> None:
        """One event, if it can happen now."""
        stage = self.relay_stage
        who, _, what = name.partition(" ")
        if name in ("connect", "refuse"):
            if stage.attempts and stage.attempts[0].state == "connecting":
                if name == "connect":
                    sides["up"] = stage.upstream(), Side()
                else:
                    stage.attempts.pop(0).fail(error.ConnectionRefusedError())
        elif who == "wait":
            stage.wait(30 if what else 3)
        elif name in ("drain", "cut"):
            if not sides["down"][0].ended:
                getattr(sides["down"][0].protocol, name)()
        elif who in sides and not sides[who][0].ended:
            self.act(*sides[who], what, size)

    def act(self, peer: Peer, side: Side, what: str, size: int) -> None:
        """One side does something."""
        if what == "says" and not peer.has_closed:
            peer.says(side.next(size))
        elif what == "ends":
            peer.closes()
        elif what == "resets":
            peer.has_closed = True
            peer.resets()
        elif what == "stalls":
            peer.stalls(size // 2)
        elif what == "takes":
            peer.takes()

    def look(self, sides: dict[str, tuple[Peer, Side]]) -> None:
        """What has arrived is what was said; what is queued is bounded."""
        for peer, side in sides.values():
            side.heard += peer.heard()
            self.assertLessEqual(peer.connection.unsent, 3000 + 5000 + 50)
        if "up" in sides:
            one, other = sides["down"][1], sides["up"][1]
            self.assertTrue(other.said.startswith(one.heard))
            start = other.heard.find(b"\n") + 1 if other.heard[:5] == b"PROXY" else 0
            self.assertTrue(one.said.startswith(other.heard[start:]))
