"""The end of a downstream connection: close, linger, or cut.

Owns what happens between the decision to close and the loss of the connection, and its time
limits. Refuses to know why it closes.
"""

from __future__ import annotations

from typing import Any

from revproxy.net.deadlines import Deadlines
from revproxy.net.stall import Stall

LINGER_SECS = 2.0
"""How long the rest of a request is read and thrown away after an answer that closes."""

LINGER_BYTES = 1024 * 1024
"""How much of it at the most."""


class Leaving:
    """A connection that is being closed. It is made when everything has been written.

    Args:
        transport: of the connection, without a producer.
        deadlines: for its time limits.
        write_secs: how long the downstream may take nothing of what is still queued.

    Attributes:
        deadline: see ``Deadlines``.
    """

    __slots__ = ("_deadlines", "_lingered", "_lingering", "_sent", "_stall", "_transport",
                 "_until_taken", "_write_secs", "deadline")  # fmt: skip

    def __init__(self, transport: Any, deadlines: Deadlines, write_secs: float) -> None:
        self._transport = transport
        self._deadlines = deadlines
        self._write_secs = write_secs
        self._stall = Stall()
        self._lingering = self._until_taken = False
        self._lingered = 0
        self._sent = False
        self.deadline = deadlines.after(write_secs)
        self._stall.begin(transport.taken, self.deadline)
        deadlines.watch(self)

    def close(self, last: bytes = b"") -> None:
        """Send ``last`` and close; a downstream that does not take it is cut in the end."""
        self._lingering = False
        self._transport.writeLast(last)

    def linger(self, *, until_taken: bool = False) -> None:
        """Close our side only, and read on for a while.

        To close both at once with unread bytes in the kernel makes it send a reset, which can
        overtake the answer.

        Args:
            until_taken: the downstream goes on to say something while it takes the last bytes:
                read on for as long as its kernel takes some of them.
        """
        self._lingering = True
        self._until_taken = until_taken
        self._sent = not self._transport.unsent
        self.deadline = self._deadlines.after(LINGER_SECS if self._sent else 0.0)
        self._transport.loseWriteConnection()
        self._transport.resumeProducing()
        if until_taken and self._sent:
            until = self._deadlines.after(self._write_secs)
            self._stall.begin(self._acknowledged(), until)

    def abort(self) -> None:
        """Cut."""
        self._transport.abortConnection()

    def received(self, count: int) -> None:
        """Bytes have come and been thrown away.

        A downstream that will not stop is not read any more, but has the rest of its time: to
        close now would make the kernel send a reset, which can overtake the answer.
        """
        self._lingered += count
        if self._lingering and self._lingered > LINGER_BYTES:
            self._transport.pauseProducing()

    def gone(self) -> None:
        """The connection is lost."""
        self._deadlines.forget(self)

    def expired(self, now: float) -> None:
        """Enough waited, unless what is queued is still being taken.

        The time to linger begins when the last byte has been taken: until then this looks at
        every sweep.
        """
        if not self._transport.unsent and self._lingering and not self._sent:
            self._sent = True
            self.deadline = now + LINGER_SECS
            if self._until_taken:
                self._stall.begin(self._acknowledged(), now + self._write_secs)
        elif self._until_taken and self._sent and self._is_taking(now):
            self.deadline = now + LINGER_SECS
        elif self._sent:
            # A plain close: what the kernel still has for a slow reader goes on being sent.
            self._transport.loseConnection()
        elif self._stall.over(now, self._transport.taken, self._write_secs):
            self._transport.abortConnection()
        elif not self._lingering:
            self.deadline = self._stall.until

    def _is_taking(self, now: float) -> bool:
        """Whether the kernel still has something, and the downstream is not stalled."""
        if not self._transport.in_flight:
            return False
        return not self._stall.over(now, self._acknowledged(), self._write_secs)

    def _acknowledged(self) -> int:
        taken: int = self._transport.taken - self._transport.in_flight
        return taken
