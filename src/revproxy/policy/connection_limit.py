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


UNLIMITED = 0
"""The key of those that only the limit of all together counts for."""


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
        most: of all keys together; 0 = no limit.
    """

    __slots__ = ("_most_per_key", "_served", "most", "total", "waiting")

    def __init__(self) -> None:
        self._served: dict[int, dict[T, None]] = {}
        self.most = 0
        self._most_per_key = 0
        self.waiting: dict[int, dict[T, None]] = {}
        self.total = 0

    def configure(self, most: int, most_per_key: int) -> list[T]:
        """Set the limits, 0 = none; connections that are open stay open.

        Returns:
            the connections that have waited until now and are served from now on.
        """
        self.most = most
        self._most_per_key = most_per_key
        promoted = []
        for key in list(self.waiting):
            while (connection := self._promoted(key)) is not None:
                promoted.append(connection)
        return promoted

    @property
    def full(self) -> bool:
        """Whether there are as many as there may be, of all keys together."""
        return 0 < self.most <= self.total

    def next(self, key: int) -> Admission:
        """What would become of another connection of ``key``."""
        return Admission.REFUSED if self.full else self._of_its_key(key)

    def _of_its_key(self, key: int) -> Admission:
        if self._has_room(key):
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

    def move(self, key: int, connection: T, to: int) -> Admission:
        """Count ``connection``, which is served, under the key ``to``.

        If that is too many, it stays where it is. All together are as many as before.
        """
        admission = self._of_its_key(to)
        if admission is not Admission.REFUSED:
            _remove(self._served, key, connection)
            entered = self._served if admission is Admission.SERVED else self.waiting
            entered.setdefault(to, {})[connection] = None
        return admission

    def waits(self, key: int, connection: T) -> bool:
        """Whether ``connection`` has yet to be served."""
        return connection in self.waiting.get(key, ())

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
        return self._promoted(key)

    def served(self, key: int) -> list[T]:
        """The connections of ``key`` that are served, the oldest first."""
        return list(self._served.get(key, ()))

    def all(self) -> list[T]:
        """Every connection, those that wait last."""
        keys = (*self._served.values(), *self.waiting.values())
        return [connection for connections in keys for connection in connections]

    def _has_room(self, key: int) -> bool:
        served = self._served.get(key, ())
        return not self._most_per_key or key == UNLIMITED or len(served) < self._most_per_key

    def _promoted(self, key: int) -> T | None:
        """Serve the connection of ``key`` that has waited longest, if there is room for it."""
        if key not in self.waiting or not self._has_room(key):
            return None
        longest = next(iter(self.waiting[key]))
        _remove(self.waiting, key, longest)
        self._served.setdefault(key, {})[longest] = None
        return longest


def _remove(where: dict[int, dict[T, None]], key: int, connection: T) -> None:
    del where[key][connection]
    if not where[key]:
        del where[key]
