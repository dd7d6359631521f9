"""The conversations and the fuzzing of HTTP/2, ten thousand of each."""

from __future__ import annotations

from hypothesis import HealthCheck, given, settings
from tests.support.h2_fuzz import CUTS, FRAMES, feed
from tests.support.h2_oracle import ACTIONS, Action, Oracle
from tests.support.h2_wire import OPENING
from twisted.trial.unittest import SynchronousTestCase

LONG = settings(deadline=None, max_examples=10_000, suppress_health_check=list(HealthCheck))


class LongTests(SynchronousTestCase):
    """Other examples each time."""

    @LONG
    @given(ACTIONS)
    def test_conversations(self, actions: list[Action]) -> None:
        """One client, two servers."""
        Oracle().play(actions)

    @LONG
    @given(FRAMES, CUTS)
    def test_frames(self, received: bytes, cuts: list[int]) -> None:
        """Any frames."""
        feed(OPENING + received, cuts)
