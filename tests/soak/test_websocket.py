"""A thousand WebSockets that say something for half a minute."""

from __future__ import annotations

from tests.integration import test_real_websocket


class GreatCrowdTests(test_real_websocket.CrowdTests):
    """As many as a busy chat has."""

    CONNECTIONS = 1000
    SECONDS = 30.0
