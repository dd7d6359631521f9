"""Events of both sides in any order: nothing raises, nothing is left, all is recorded once."""

from __future__ import annotations

from attrs import evolve
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from twisted.internet.error import ConnectionRefusedError

from revproxy.model.configuration import Limits, Timeouts
from tests.support.playbook import CHUNKED_POST, GET, OK, UPSTREAM, Peer, PlaybookCase, Stage, post
from tests.support.upgrades import SWITCHING, asking

CLOSING_GET = GET.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n")
EXPECTING_POST = post(9, b"Expect: 100-continue")
requests = st.sampled_from(
    [
        GET,
        GET * 5,
        GET[:20],
        GET[20:],
        CLOSING_GET,
        GET.replace(b"a.test", b"x.test"),
        GET.replace(b"1.1", b"1.0"),
        GET.replace(b"GET", b"HEAD"),
        post(9),
        b"some body",
        post(9) + b"some body",
        EXPECTING_POST,
        EXPECTING_POST + b"some",
        post(3000) + b"x" * 2000,
        b"x" * 1000,
        post(10**9),
        asking(),
        asking() + b"behind",
        CHUNKED_POST,
        CHUNKED_POST + b"9\r\nsome body\r\n",
        b"7d0\r\n" + b"x" * 2000 + b"\r\n",
        b"0\r\n\r\n",
        b"nonsense\r\n\r\n",
    ]
)
responses = st.sampled_from(
    [
        OK,
        OK[:10],
        OK[10:],
        OK + b"more",
        OK.replace(b"200 OK", b"204 No Content").removesuffix(b"ok"),
        OK.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n"),
        b"HTTP/1.1 100 Continue\r\n\r\n",
        b"HTTP/1.1 103 Early Hints\r\n\r\n",
        b"HTTP/1.1 200 OK\r\n\r\nuntil close",
        b"HTTP/1.1 200 OK\r\nContent-Length: 5000\r\n\r\n" + b"x" * 4000,
        b"x" * 1000,
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
        b"5\r\nhello\r\n",
        b"0\r\n\r\n",
        SWITCHING,
        SWITCHING + b"behind",
        b"nonsense\r\n\r\n",
    ]
)
which = st.integers(min_value=0, max_value=3)
events = st.one_of(
    st.tuples(st.just("request"), which, requests),
    st.tuples(st.just("request"), which, requests),
    st.tuples(st.just("response"), which, responses),
    st.tuples(st.just("response"), which, responses),
    st.tuples(st.sampled_from(["connect", "refuse", "downstream"]), which, st.none()),
    st.tuples(st.sampled_from(["close", "reset", "stall", "take"]), which, st.none()),
    st.tuples(st.just("room"), which, st.integers(min_value=1, max_value=500)),
    st.tuples(st.just("wait"), st.sampled_from([1, 5, 40]), st.none()),
)


class AnyOrderTests(PlaybookCase):
    @settings(
        max_examples=250,
        deadline=None,
        derandomize=True,
        suppress_health_check=list(HealthCheck),
    )
    @given(st.lists(events, max_size=30))
    def test_any_order(self, script: list[tuple[str, int, object]]) -> None:
        """Whatever happens in whatever order ends without a trace but its records."""
        limits = Limits(buffered_bytes=1000, pipelined_requests=3)
        pool = evolve(UPSTREAM, buffered_bytes=1000, keepalive=2)
        stage = self.stage(limits=limits, settings=pool, body_limit=5000)
        for down in (stage.downstream(), stage.downstream()):
            down.connection.high_water = 1000
        for name, number, argument in script:
            self.play(stage, name, number, argument)
        self.check_end(stage)

    @settings(
        max_examples=150,
        deadline=None,
        derandomize=True,
        suppress_health_check=list(HealthCheck),
    )
    @given(st.lists(events, max_size=20))
    def test_any_order_with_tunnels(self, script: list[tuple[str, int, object]]) -> None:
        """So it does where two connections are tunnels, or are about to be."""
        limits = Limits(buffered_bytes=1000)
        pool = evolve(UPSTREAM, buffered_bytes=1000, keepalive=2)
        timeouts = Timeouts(upgraded_idle_secs=30)
        stage = self.stage(limits=limits, settings=pool, timeouts=timeouts)
        for answer in (SWITCHING, b""):
            down = stage.downstream()
            down.connection.high_water = 1000
            down.says(asking())
            stage.upstream().says(answer)
        for name, number, argument in script:
            self.play(stage, name, number, argument)
        self.check_end(stage)

    def play(self, stage: Stage, name: str, number: int, argument: object) -> None:
        """One event, for the peer or attempt that ``number`` comes to."""
        if name == "wait":
            stage.wait(number)
        elif name == "downstream":
            stage.downstream()
        elif name in ("connect", "refuse"):
            pending = [one for one in stage.attempts if one.state == "connecting"]
            stage.attempts[:] = pending
            if pending and name == "connect":
                stage.upstream()
            elif pending:
                pending[0].fail(ConnectionRefusedError())
        else:
            self.to_peer(stage, name, number, argument)

    def to_peer(self, stage: Stage, name: str, number: int, argument: object) -> None:
        peers = [peer for peer in stage.peers if not peer.ended]
        if name in ("request", "response"):
            peers = [peer for peer in peers if peer.is_downstream == (name == "request")]
        if not peers:
            return
        peer = peers[number % len(peers)]
        actions = {"close": Peer.closes, "reset": Peer.resets, "stall": Peer.stalls}
        if isinstance(argument, bytes):
            if not peer.has_closed:
                peer.says(argument)
        elif name in actions:
            actions[name](peer)
        else:
            peer.takes(argument)  # type: ignore[arg-type]
