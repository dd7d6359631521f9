"""Tunnels of one HTTP/2 connection and everything that may happen to them, in any order."""

from __future__ import annotations

from attrs import define, evolve, field
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from revproxy.model.configuration import Limits, Timeouts
from tests.support.h2_playbook import H2Client
from tests.support.h2_upgrades import ConnectCase, answer
from tests.support.playbook import OK, UPSTREAM, Peer, Stage

Event = tuple[str, int, int]
NAMES = ("ask", "ask", "get", "connect", "connect", "agree", "agree", "refuse", "client", "client",
         "upstream", "upstream", "end", "cancel", "close", "reset", "stall", "take", "stop giving",
         "give", "wait", "drain")  # fmt: skip
EVENTS = st.lists(
    st.tuples(st.sampled_from(NAMES), st.integers(0, 3), st.sampled_from([1, 700, 5000])),
    max_size=40,
)


@define(eq=False)
class Play:
    """One connection, and how far it has come.

    Attributes:
        ups: the upstreams that are there.
        asked: the streams.
        cancelled: those of them that the client has reset.
        agreed: which of the upstreams have become tunnels.
    """

    stage: Stage
    client: H2Client
    ups: list[Peer] = field(factory=list)
    asked: list[int] = field(factory=list)
    cancelled: set[int] = field(factory=set)
    agreed: set[int] = field(factory=set)


class AnyOrderTests(ConnectCase):
    @settings(
        max_examples=150,
        deadline=None,
        derandomize=True,
        suppress_health_check=list(HealthCheck),
    )
    @given(EVENTS)
    def test_any_order(self, script: list[Event]) -> None:
        """Nothing raises, nothing is left, and no tunnel gets a byte of another's."""
        limits = Limits(buffered_bytes=3000)
        pool = evolve(UPSTREAM, buffered_bytes=3000)
        timeouts = Timeouts(upgraded_idle_secs=50)
        stage, client = self.connect(limits=limits, settings=pool, timeouts=timeouts, window=9000)
        play = Play(stage, client)
        for event in script:
            if client.peer.ended:
                break
            self.play(play, *event)
            self.check(play)
        self.check_end(stage)

    def play(self, play: Play, name: str, number: int, size: int) -> None:
        """One event."""
        stage, client = play.stage, play.client
        if name in ("ask", "get"):
            if client.goaways or len(play.asked) > 20:
                return
            play.asked.append(client.h2.get_next_available_stream_id())
            if name == "ask":
                self.ask(client)
            else:
                client.request()
        elif name == "connect":
            stage.attempts[:] = [one for one in stage.attempts if one.state == "connecting"]
            if stage.attempts:
                play.ups.append(stage.upstream())
        elif name in ("client", "end", "cancel"):
            self.of_client(play, name, number, size)
        elif name == "wait":
            stage.wait([1, 5, 30, 70][number])
            client.talk()
        elif name == "drain":
            client.front.drain()
            client.talk()
        elif name in ("give", "stop giving"):
            client.gives = name == "give"
            if client.gives:
                client.give(20_000, 0)
        else:
            self.of_upstream(play, name, number, size)
        client.talk()

    def of_client(self, play: Play, name: str, number: int, size: int) -> None:
        """What the client does to one of its streams."""
        client = play.client
        live = [
            one
            for one in play.asked
            if one not in play.cancelled
            and client.replies[one].reset is None
            and not client.replies[one].ended
        ]
        if not live:
            return
        stream = live[number % len(live)]
        if name == "cancel":
            play.cancelled.add(stream)
            client.cancel(stream)
        elif client.h2.streams[stream].state_machine.state.name != "OPEN":
            return
        elif name == "end":
            client.say(stream, b"", end=True)
        elif size <= client.room(stream):
            client.say(stream, _letter(stream) * size)

    def of_upstream(self, play: Play, name: str, number: int, size: int) -> None:
        """What an upstream does."""
        live = [index for index, peer in enumerate(play.ups) if not peer.ended]
        if not live:
            return
        index = live[number % len(live)]
        up = play.ups[index]
        if name == "close":
            up.closes()
        elif name == "reset":
            up.resets()
        elif name == "stall":
            up.stalls(size)
        elif name == "take":
            up.takes()
        elif not up.has_closed and name == "upstream" and index in play.agreed:
            up.says(_letter(index) * size)
        elif not up.has_closed and name in ("agree", "refuse") and index not in play.agreed:
            request = bytes(up.wire.sent)
            if b"\r\n\r\n" not in request:
                return
            if name == "agree" and b"Upgrade" in request:
                up.wire.sent.clear()
                play.agreed.add(index)
                up.says(answer(request))
            elif name == "refuse":
                up.wire.sent.clear()
                up.says(OK.replace(b"200 OK", b"404 Not Found"))

    def check(self, play: Play) -> None:
        """Each tunnel has heard of one stream only, and each stream of one tunnel."""
        for index in play.agreed:
            self.assertLessEqual(len(set(play.ups[index].wire.sent)), 1)
        for stream in play.asked:
            reply = play.client.replies[stream]
            if reply.status == 200:
                self.assertLessEqual(len(set(reply.body)), 1)


def _letter(number: int) -> bytes:
    return b"%c" % (65 + number)
