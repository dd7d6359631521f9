"""Flow control (RFC 9113 5.2, 6.9): how much may come, and how large a window may become.

Owns the receiving windows and the arithmetic of the sending ones, which are plain numbers where
they are used. Refuses to know frames.
"""

from __future__ import annotations

from revproxy.wire.h2.frames import MAX_WINDOW


class ReceiveWindow:
    """What the peer may still send, of a stream or of the whole connection.

    Room that is given back is announced when it has come to half of the window: one WINDOW_UPDATE
    for many frames, and none for a body that is smaller than that. But while others hold most of
    the window it is announced at once: that half may never come.

    Args:
        size: bytes.
    """

    __slots__ = ("_left", "_owed", "_size")

    def __init__(self, size: int) -> None:
        self._size = size
        self._left = size
        self._owed = 0

    def take(self, size: int) -> bool:
        """``size`` bytes have come; returns whether they were allowed to."""
        self._left -= size
        return self._left >= 0

    @property
    def left(self) -> int:
        """How much the peer may still send, as far as it has been told."""
        return self._left

    def give(self, size: int) -> int:
        """``size`` bytes are done with; returns the increment to announce now, or 0."""
        self._owed = owed = self._owed + size
        if owed * 2 < self._size and self._left * 4 > self._size:
            return 0
        self._owed = 0
        self._left += owed
        return owed


def widened(window: int, increment: int) -> int:
    """A sending window after an increment, which may be negative (RFC 9113 6.9.2).

    Raises:
        OverflowError: it would exceed 2^31-1.
    """
    window += increment
    if window > MAX_WINDOW:
        raise OverflowError("flow-control window too large")
    return window
