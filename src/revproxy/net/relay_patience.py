"""How long a relay waits for its ends.

Owns three limits: how long either end may take nothing of what is queued for it, and how long
nothing may come or be taken at all. Refuses to know what is done when one is over.
"""

from __future__ import annotations

from revproxy.model.configuration import Timeouts
from revproxy.net.deadlines import NEVER, SLACK_SECS, Deadlines
from revproxy.net.relay_ends import End


class Patience:
    """See the module.

    Args:
        deadlines: for the time.
        timeouts: the limits.
        ends: the two connections.
    """

    __slots__ = ("_deadlines", "_ends", "_idle_secs", "_idle_until", "_stall_secs", "_taken")

    def __init__(self, deadlines: Deadlines, timeouts: Timeouts, *ends: End) -> None:
        self._deadlines = deadlines
        self._idle_secs = timeouts.upgraded_idle_secs + SLACK_SECS
        self._stall_secs = timeouts.response_write_secs
        self._ends = ends
        self._idle_until = NEVER
        self._taken = 0

    def touch(self) -> None:
        """Something has come. (:attr:`until` is asked for when it is over, not at every byte.)"""
        self._taken = self._taken_by_both()
        self._idle_until = self._deadlines.now + self._idle_secs

    def full(self, end: End) -> None:
        """``end`` takes nothing for now."""
        end.stall.begin(end.transport.taken, self.secs_from_now())

    def drained(self, end: End) -> None:
        """``end`` has taken everything."""
        end.stall.end()
        self.touch()

    def secs_from_now(self) -> float:
        """When to look whether an end takes what is queued for it from now on."""
        return self._deadlines.after(self._stall_secs)

    @property
    def until(self) -> float:
        """When to look next."""
        return min(self._idle_until, *(end.stall.until for end in self._ends))

    def over(self, now: float) -> str:
        """What has taken too long: ``downstream``, ``upstream``, ``idle``; ``""`` = nothing."""
        for end in self._ends:
            if end.stalled(now, self._stall_secs):
                return end.name
        if now < self._idle_until:
            return ""
        taken, self._taken = self._taken, self._taken_by_both()
        if taken == self._taken:
            return "idle"
        self._idle_until = now + self._idle_secs
        return ""

    def _taken_by_both(self) -> int:
        return sum(end.taken for end in self._ends)
