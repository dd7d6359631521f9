"""The HTTP/2 layer against the h2 package, in conversations of every kind."""

from __future__ import annotations

from hypothesis import HealthCheck, given, settings
from twisted.trial.unittest import SynchronousTestCase

from tests.support.h2_oracle import ACTIONS, Action, Oracle


class OracleTests(SynchronousTestCase):
    """One client, two servers."""

    @settings(
        deadline=None, derandomize=True, max_examples=200, suppress_health_check=list(HealthCheck)
    )
    @given(ACTIONS)
    def test_conversations(self, actions: list[Action]) -> None:
        """Both servers hear the same, and the client accepts every byte of our answers."""
        Oracle().play(actions)
