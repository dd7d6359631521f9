"""What an exchange becomes after a 101: bytes both ways, until either side ends.

Owns the idle limit, the count of bytes and the end of both sides. It stands in the exchange's
place towards the front and the upstream connection, which call it as they would the exchange.
Refuses to know what the bytes mean.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from revproxy.errors import ProxyError
from revproxy.model.http import Field, RequestHead
from revproxy.net.deadlines import SLACK_SECS, Deadlines
from revproxy.net.front import Front
from revproxy.net.upstream import UpstreamConnection

Record = Callable[[Sequence[tuple[str, object]]], None]


class Tunnel:
    """See the module.

    Args:
        front: the downstream's side.
        head: of the request that asked for it.
        connection: the upstream's side.
        deadlines: for the idle limit.
        idle_secs: how long nothing may come from either side.
        record: writes the exchange's record, given what more there is to say.

    Attributes:
        deadline: see ``Deadlines``.
        holding: never: for who asks an exchange.
        body_waits: likewise.
        trailers: likewise none.
    """

    __slots__ = ("_bytes_in", "_bytes_out", "_connection", "_deadlines", "_idle_secs", "_record",
                 "body_waits", "deadline", "front", "head", "holding", "trailers")  # fmt: skip

    def __init__(
        self,
        front: Front,
        head: RequestHead,
        connection: UpstreamConnection,
        deadlines: Deadlines,
        idle_secs: float,
        record: Record,
    ) -> None:
        self.front = front
        self.head = head
        self.holding = False
        self.body_waits = False
        self.trailers: list[Field] = []
        self._connection: UpstreamConnection | None = connection
        self._deadlines = deadlines
        self._idle_secs = idle_secs + SLACK_SECS
        self._record = record
        self._bytes_in = 0
        self._bytes_out = 0
        self.deadline = 0.0
        self._touch()
        deadlines.watch(self)

    # From the front

    def body(self, content: bytes) -> None:
        """Bytes of the downstream."""
        if self._connection is not None:
            self._touch()
            self._bytes_in += len(content)
            self._connection.send_body(content)

    def end(self) -> None:
        """The downstream sends no more; the upstream may still."""
        if self._connection is not None:
            self._connection.flush()
            self._connection.close_write()

    def lost(self, by: str = "downstream") -> None:
        """The downstream is gone; ``by`` says who has ended its connection."""
        self._end((("cut", by),))

    def refused(self, error: ProxyError) -> None:
        """Nothing of a tunnel is refused."""

    def pause(self) -> None:
        """The downstream takes nothing."""
        if self._connection is not None:
            self._connection.pause()

    def resume(self) -> None:
        """The downstream takes bytes again."""
        if self._connection is not None:
            self._connection.resume()

    def flush(self) -> None:
        """Send what has been handed over."""
        if self._connection is not None:
            self._connection.flush()

    # From the upstream connection

    def data(self, content: bytes) -> None:
        """Bytes of the upstream."""
        self._touch()
        self._bytes_out += len(content)
        self.front.writer.data(content)

    def done(self) -> None:
        """The upstream has ended in order, and closed itself."""
        self._connection = None
        self._end(())
        self.front.finish([])

    def cut(self, error: ProxyError) -> None:
        """The upstream connection died."""
        self._connection = None
        self._end((("cut", "upstream"),))
        self.front.reset()

    def upstream_full(self) -> None:
        """The upstream takes nothing."""
        self.front.hold(True)

    def upstream_drained(self) -> None:
        """The upstream takes bytes again."""
        self.front.hold(False)

    # Time

    def expired(self, now: float) -> None:
        """Nothing has come for too long, unless that is because one side is slow to take.

        Whether a downstream takes what is queued for it is the front's to watch.
        """
        slow = self._connection is not None and self._connection.is_taking()
        if slow or self.front.paused:
            self.deadline = now + self._idle_secs
            return
        self._end((("cut", "idle"),))
        self.front.reset()
        self.front.flush()

    def _touch(self) -> None:
        self.deadline = self._deadlines.now + self._idle_secs

    def _end(self, more: Sequence[tuple[str, object]]) -> None:
        self._deadlines.forget(self)
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.abandon()
        counted = (("bytes_in", self._bytes_in), ("bytes_out", self._bytes_out))
        self._record((*counted, *more))
