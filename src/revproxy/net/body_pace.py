"""Whether a request body comes fast enough, whatever HTTP version it comes in.

Owns the two limits: how long nothing may come, and the minimum rate. Time is a number passed in.
Refuses to know the content.
"""

from __future__ import annotations

from revproxy.errors import BadRequest
from revproxy.policy.outcome import too_slow

GRACE_SECS = 10.0
"""How long a body may come at any speed before the minimum rate counts."""


class BodyPace:
    """See the module.

    Args:
        min_rate: bytes a second; 0 for any.
        now: when the body begins.

    Attributes:
        received: bytes of content so far.
        last: when something came.
    """

    __slots__ = ("_active_since", "_min_rate", "_stopped", "last", "received")

    def __init__(self, min_rate: int, now: float) -> None:
        self._min_rate = min_rate
        self.received = 0
        self._active_since = self.last = now
        self._stopped: float | None = None

    def stop(self, now: float) -> None:
        """The downstream is paused by the proxy itself: its clocks stand still."""
        if self._stopped is None:
            self._stopped = now

    def go_on(self, now: float) -> None:
        """The downstream may send again."""
        if self._stopped is not None:
            self._active_since += now - self._stopped
            self.last = now
            self._stopped = None

    def late(self, now: float, idle_secs: float) -> BadRequest | None:
        """The 408 that it deserves by now, if it does."""
        if self._stopped is not None:
            return None
        if now - self.last > idle_secs:
            return BadRequest(408, "request body idle")
        if too_slow(self.received, now - self._active_since, self._min_rate, GRACE_SECS):
            return BadRequest(408, "request body too slow")
        return None
