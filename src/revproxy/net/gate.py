"""Whether the ports accept connections at all.

Owns the pause: of all ports while there are as many connections as there may be, and of one port
for a second when no descriptor is left. What comes meanwhile waits in the kernel's backlog, and
costs neither a descriptor nor a turn of the reactor. Refuses to know who is admitted
(``policy/connection_limit``), and protocols.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

from revproxy.policy.connection_limit import UNLIMITED, ConnectionLimit

EXHAUSTED_SECS = 1.0
"""For how long a port does not try again when there was no descriptor for a connection."""

HELD_SECS = 1.0
"""For how long a port does not look again whether there is room."""

QUIET_SECS = 10.0
"""One cause makes one record in this time."""


FEWEST_STREAMS = 128
"""So many requests of HTTP/2 at once each client may have."""


class Accepting(Protocol):
    """A listening port."""

    def stop_accepting(self) -> None:
        """Leave connections in the backlog."""

    def go_on_accepting(self) -> None:
        """Accept again, unless the port has been closed."""


class Gate:
    """See the module.

    Args:
        connections: the open ones of all ports.
        reactor: for the time.

    Attributes:
        emptied: called whenever the last connection has gone.
        streams: requests of HTTP/2 under way.
    """

    def __init__(self, connections: ConnectionLimit[Any], reactor: Any) -> None:
        self._connections = connections
        self._reactor = reactor
        self._held: set[Accepting] = set()
        self._exhausted = 0
        self._asking = False
        self._quiet: dict[str, float] = {}
        self._streams: dict[int, int] = {}
        self.streams = 0
        self.emptied: Callable[[], None] = lambda: None

    @property
    def closed(self) -> bool:
        """Whether a port waits: for a connection to end, or to try again."""
        return bool(self._held or self._exhausted)

    def hold(self, port: Accepting) -> None:
        """Pause ``port`` until some connections have ended, and ask it again in a while."""
        port.stop_accepting()
        self._held.add(port)
        if not self._asking:
            self._asking = True
            self._reactor.callLater(HELD_SECS, self._ask_again)

    def _ask_again(self) -> None:
        """Connections may be idle now that were not when the ports were paused."""
        self._asking = False
        self._go_on()

    def _go_on(self) -> None:
        held, self._held = self._held, set()
        for port in held:
            port.go_on_accepting()

    def exhausted(self, port: Accepting) -> None:
        """No descriptor is left for what ``port`` would accept: it tries again in a while."""
        port.stop_accepting()
        self._exhausted += 1
        self._reactor.callLater(EXHAUSTED_SECS, self._try_again, port)

    def _try_again(self, port: Accepting) -> None:
        self._exhausted -= 1
        port.go_on_accepting()

    def left(self) -> None:
        """A connection has ended, or there may be more of them."""
        if not self._connections.total:
            self.emptied()
        if self._held and self._has_room():
            self._go_on()

    @property
    def room(self) -> int:
        """How many have to end before ports go on: to go on for each one would cost two calls."""
        return max(1, self._connections.most // 64)

    def _has_room(self) -> bool:
        most = self._connections.most
        return not most or self._connections.total <= most - self.room

    def enter_stream(self, key: int) -> bool:
        """Count one more request of HTTP/2 under way; returns whether there may be one more.

        A connection has many, and each may need a descriptor towards an upstream: of those that
        there are for all, half may be taken so, and an eighth by one client.

        Args:
            key: of the client's address.
        """
        most = self._connections.most
        mine = self._streams.get(key, 0)
        if most:
            for_one = max(FEWEST_STREAMS, most // 8)
            if self.streams >= most // 2 or (mine >= for_one and key != UNLIMITED):
                return False
        self._streams[key] = mine + 1
        self.streams += 1
        return True

    def leave_stream(self, key: int) -> None:
        """One that has been counted has ended."""
        self.streams -= 1
        left = self._streams.pop(key) - 1
        if left:
            self._streams[key] = left

    def due(self, cause: str) -> bool:
        """Whether a record of ``cause`` may be written now."""
        now = self._reactor.seconds()
        if now < self._quiet.get(cause, now):
            return False
        self._quiet[cause] = now + QUIET_SECS
        return True
