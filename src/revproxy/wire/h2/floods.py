"""Frames that cost us more than they cost the client, counted (RFC 9113 10.5).

Owns the counts of one connection in windows of 10 s and what is too many. Refuses to know what
the frames say, and the clock: the time is a number passed in.
"""

from __future__ import annotations

from typing import Final

from revproxy.wire.h2.errors import H2ConnectionError
from revproxy.wire.h2.frames import ENHANCE_YOUR_CALM
from revproxy.wire.h2.limits import H2Limits

WINDOW_SECS: Final = 10.0
"""How long a window lasts."""

UPDATES_PER_FRAME: Final = 2
"""WINDOW_UPDATE frames that one DATA frame of ours explains: its stream's and the connection's."""

# What is counted
RESETS: Final = 0
SETTINGS_FRAMES: Final = 1
PINGS: Final = 2
IGNORED: Final = 3
EMPTY_FRAMES: Final = 4
WINDOW_UPDATES: Final = 5

_REASONS = (
    "too many resets",
    "too many settings frames",
    "too many pings",
    "too many priority or unknown frames",
    "too many empty frames",
    "too many window updates",
)


class Floods:
    """The counts of one connection.

    Args:
        limits: how many frames of each kind a window may hold.
    """

    __slots__ = ("_counts", "_limits", "_until")

    def __init__(self, limits: H2Limits) -> None:
        self._limits = [
            limits.resets,
            limits.settings,
            limits.pings,
            limits.priorities,
            limits.empty_frames,
            limits.window_updates,
        ]
        self._counts = [0] * len(self._limits)
        self._until = 0.0

    def at(self, now: float) -> None:
        """The time of all that is counted until the next call."""
        if now >= self._until:
            self._until = now + WINDOW_SECS
            self._counts = [0] * len(self._limits)

    def count(self, what: int) -> None:
        """One more.

        Raises:
            H2ConnectionError: one too many, with ENHANCE_YOUR_CALM.
        """
        counts = self._counts
        counts[what] += 1
        if counts[what] > self._limits[what]:
            raise H2ConnectionError(ENHANCE_YOUR_CALM, _REASONS[what])

    def explain_updates(self, frames: int) -> None:
        """``frames`` DATA frames have been sent, which the client answers by WINDOW_UPDATE."""
        self._counts[WINDOW_UPDATES] -= UPDATES_PER_FRAME * frames
