"""Events of an HTTP/2 downstream and of its upstreams in any order: nothing is lost or made up."""

from __future__ import annotations

from attrs import evolve
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from revproxy.model.configuration import Limits
from revproxy.net.upstream_h1 import UpstreamH1
from tests.support.h2_events import EVENTS, MOST_STREAMS, REQUESTS, Event, Play, stream_of
from tests.support.h2_playbook import H2Case, H2Client, Reply
from tests.support.playbook import UPSTREAM, Stage

LIMITS = Limits(buffered_bytes=1000, h2_max_streams=MOST_STREAMS)
POOL = evolve(UPSTREAM, buffered_bytes=1000, keepalive=2)
BODY_LIMIT = 30_000


class AnyOrderTests(H2Case):
    @settings(
        max_examples=200,
        deadline=None,
        derandomize=True,
        suppress_health_check=list(HealthCheck),
    )
    @given(
        st.sampled_from([0, 500, 65_535]),
        st.booleans(),
        st.lists(REQUESTS, min_size=1, max_size=4),
        st.lists(EVENTS, max_size=50),
    )
    def test_any_order(
        self, window: int, settled: bool, asked: list[Event], events: list[Event]
    ) -> None:
        """Whatever happens: what is delivered is a part of what was said, all is recorded once."""
        stage, client = self.connect(
            window=window, limits=LIMITS, settings=POOL, body_limit=BODY_LIMIT
        )
        client.gives = False
        client.peer.connection.high_water = 1000
        play = Play(stage, client)
        for name, first, second in [*asked, *events]:
            play.play(name, first, second)
            self.check_bounds(stage, client)
        if settled and play.may_speak:
            play.settle()
            if play.may_speak:
                self.assertEqual(play.unanswered, [])
                self.assertFalse(client.front._h2.streams)
        for stream, reply in client.replies.items():
            self.check_reply(reply, play.paths[stream])
        self.check_end(stage)

    def check_reply(self, reply: Reply, path: bytes) -> None:
        """What has come is the beginning of what the upstream said to this request."""
        if reply.status == 200:
            self.assertEqual(bytes(reply.body), stream_of(path, len(reply.body)))
        elif reply.status:
            self.assertIn(reply.status, (404, 408, 413, 502, 504))

    def check_bounds(self, stage: Stage, client: H2Client) -> None:
        """Nothing holds more than it may."""
        front = client.front
        self.assertLessEqual(len(front._h2.streams), MOST_STREAMS)
        held = sum(stream.queued for stream in front._h2.streams.values())
        self.assertEqual(held, front._h2._held_bytes)
        self.assertLess(held, MOST_STREAMS * 7000)
        watched = [one for one in stage.deadlines.watching if isinstance(one, UpstreamH1)]
        self.assertLessEqual(len(watched), stage.pool.open)
