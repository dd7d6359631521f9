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
        waiting: those that wait, by their key, the longest first.
    """

    __slots__ = ("_most", "_most_per_key", "_served", "total", "waiting")

    def __init__(self) -> None:
        self._served: dict[int, dict[T, None]] = {}
        self._most = 0
        self._most_per_key = 0
        self.waiting: dict[int, dict[T, None]] = {}
        self.total = 0

    def configure(self, most: int, most_per_key: int) -> None:
        """Set the limits, 0 = none; connections that are open stay open."""
        self._most = most
        self._most_per_key = most_per_key

    def next(self, key: int) -> Admission:
        """What would become of another connection of ``key``."""
        if self._most and self.total >= self._most:
            return Admission.REFUSED
        if not self._most_per_key or len(self._served.get(key, ())) < self._most_per_key:
            return Admission.SERVED
        if len(self.waiting.get(key, ())) < self._most_per_key:
            return Admission.WAITING
        return Admission.REFUSED

    def enter(self, key: int, connection: T) -> Admission:
        """Count ``connection`` in, unless that is too many."""
        admission = self.next(key)
        if admission is not Admission.REFUSED:
            entered = self._served if admission is Admission.SERVED else self.waiting
            entered.setdefault(key, {})[connection] = None
            self.total += 1
        return admission

    def leave(self, key: int, connection: T) -> T | None:
        """Count ``connection`` out, which was counted in.

        Returns:
            the connection that has waited longest and is served from now on, if there is one.
        """
        self.total -= 1
        if connection in self.waiting.get(key, ()):
            _remove(self.waiting, key, connection)
            return None
        _remove(self._served, key, connection)
        if key in self.waiting and self.next(key) is Admission.SERVED:
            longest = next(iter(self.waiting[key]))
            _remove(self.waiting, key, longest)
            self._served.setdefault(key, {})[longest] = None
            return longest
        return None

    def served(self, key: int) -> list[T]:
        """The connections of ``key`` that are served, the oldest first."""
        return list(self._served.get(key, ()))


def _remove(where: dict[int, dict[T, None]], key: int, connection: T) -> None:
    del where[key][connection]
    if not where[key]:
        del where[key]
