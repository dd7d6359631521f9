"""Whether a peer takes nothing of what is queued for it.

Owns the difference between slow and stalled: a slow peer still takes bytes between two looks.
Refuses to know what is done about either.
"""

from __future__ import annotations

from revproxy.net.deadlines import NEVER


class Stall:
    """One connection's sending side.

    Attributes:
        until: when to look next; never while nothing is queued.
    """

    __slots__ = ("_taken", "until")

    def __init__(self) -> None:
        self._taken = 0
        self.until = NEVER

    def begin(self, taken: int, until: float) -> None:
        """Something is queued, and ``taken`` bytes have been taken so far."""
        self._taken = taken
        self.until = until

    def end(self) -> None:
        """Everything has been taken."""
        self.until = NEVER

    def over(self, now: float, taken: int, secs: float) -> bool:
        """Whether nothing has been taken for ``secs``; if something has, they begin anew."""
        if now < self.until:
            return False
        if taken == self._taken:
            return True
        self.begin(taken, now + secs)
        return False
