"""The memory tests with bodies of 1 GiB.

This folder is no package, so that ``make test`` does not come by; ``make soak`` does.
"""

from __future__ import annotations

from tests.integration import test_real_memory


class LargeBodyTests(test_real_memory.MemoryTests):
    """Bodies of 1 GiB."""

    MEBIBYTES = 1024
    SLOW = "128M"


class LargeBodyOverTlsTests(test_real_memory.MemoryOverTlsTests):
    """The same with an upstream that speaks TLS."""

    MEBIBYTES = 1024
    SLOW = "128M"
