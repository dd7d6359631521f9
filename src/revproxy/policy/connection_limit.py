"""How many downstream connections there may be, in all and per client address.

Owns the counts, over all listeners, and whose turn it is. A client that opens more connections
than it may have is not turned away at once: as many again wait until one of its own ends, so that
a burst (a browser with many tabs, a mirror with many downloads) is slowed and not broken. Refuses
to know sockets, how long anybody waits, and what becomes of a connection that is refused.
"""

from __future__ import annotations

from enum import Enum
from typing import Generic, TypeVar

T = TypeVar("T")


class Admission(Enum):
    """What becomes of a new connection."""

    SERVED = "it is served"
    WAITING = "it waits for another of the same client to end"
    REFUSED = "it is too many"


class ConnectionLimit(Generic[T]):
    """The open connections, by the key of their client's address.

    Attributes:
        total: of all keys together, those that wait included.
    """

    __slots__ = ("_most", "_most_per_key", "_served", "_waiting", "total")

    def __init__(self) -> None:
        self._served: dict[int, int] = {}
        self._waiting: dict[int, dict[T, None]] = {}
        self._most = 0
        self._most_per_key = 0
        self.total = 0

    def configure(self, most: int, most_per_key: int) -> None:
        """Set the limits, 0 = none; connections that are open stay open."""
        self._most = most
        self._most_per_key = most_per_key

    def next(self, key: int) -> Admission:
        """What would become of another connection of ``key``."""
        if self._most and self.total >= self._most:
            return Admission.REFUSED
        if not self._most_per_key or self._served.get(key, 0) < self._most_per_key:
            return Admission.SERVED
        if len(self._waiting.get(key, ())) < self._most_per_key:
            return Admission.WAITING
        return Admission.REFUSED

    def enter(self, key: int, connection: T) -> Admission:
        """Count ``connection`` in, unless that is too many."""
        admission = self.next(key)
        if admission is Admission.SERVED:
            self._served[key] = self._served.get(key, 0) + 1
            self.total += 1
        elif admission is Admission.WAITING:
            self._waiting.setdefault(key, {})[connection] = None
            self.total += 1
        return admission

    def leave(self, key: int, connection: T) -> T | None:
        """Count ``connection`` out, which was counted in.

        Returns:
            the connection that has waited longest and is served from now on, if there is one.
        """
        self.total -= 1
        waiting = self._waiting.get(key, {})
        if connection in waiting:
            self._end_waiting(key, connection)
            return None
        if waiting and self._served[key] <= self._most_per_key:
            longest = next(iter(waiting))
            self._end_waiting(key, longest)
            return longest
        self._served[key] -= 1
        if not self._served[key]:
            del self._served[key]
        return None

    def _end_waiting(self, key: int, connection: T) -> None:
        waiting = self._waiting[key]
        del waiting[connection]
        if not waiting:
            del self._waiting[key]
