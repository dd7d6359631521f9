"""How many downstream connections there may be, in all and per client address.

Owns the counts, over all listeners. Memory grows with open connections only. Refuses to know
sockets and what becomes of a connection that is not admitted.
"""

from __future__ import annotations


class ConnectionCounts:
    """The open connections.

    Attributes:
        total: of all addresses together.
    """

    __slots__ = ("_by_key", "_most", "_most_per_key", "total")

    def __init__(self) -> None:
        self._by_key: dict[int, int] = {}
        self._most = 0
        self._most_per_key = 0
        self.total = 0

    def configure(self, most: int, most_per_key: int) -> None:
        """Set the limits, 0 = none; connections that are open stay open."""
        self._most = most
        self._most_per_key = most_per_key

    def enter(self, key: int) -> bool:
        """Count a connection of ``key`` in, unless that is too many."""
        count = self._by_key.get(key, 0)
        if (self._most and self.total >= self._most) or (
            self._most_per_key and count >= self._most_per_key
        ):
            return False
        self._by_key[key] = count + 1
        self.total += 1
        return True

    def leave(self, key: int) -> None:
        """Count a connection out that was counted in."""
        self.total -= 1
        count = self._by_key[key] - 1
        if count:
            self._by_key[key] = count
        else:
            del self._by_key[key]
