"""The tests of what is passed on at length: a GiB, and ten thousand connections.

This folder is no package, so that ``make test`` does not come by; ``make soak`` does.
"""

from __future__ import annotations

from tests.integration import test_attacks_passthrough, test_real_passthrough


class LargeTests(test_real_passthrough.PassingTests):
    """A GiB each way."""

    MEBIBYTES = 1024


class GreatCrowdTests(test_attacks_passthrough.CrowdTests):
    """Ten thousand connections."""

    CONNECTIONS = 10_000
