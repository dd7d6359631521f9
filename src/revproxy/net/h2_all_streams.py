"""All streams of an HTTP/2 connection at once: what ends them, and which of them have stalled.

Owns the walk over them. Refuses to know the connection's transport, and what a stream serves.
"""

from __future__ import annotations

from revproxy.model.http import RequestHead
from revproxy.wire.h2.connection import H2Connection
from revproxy.wire.h2.frames import CANCEL


class AllStreams:
    """See the module.

    Args:
        h2: has the streams.
    """

    __slots__ = ("_h2", "_sent")

    def __init__(self, h2: H2Connection) -> None:
        self._h2 = h2
        self._sent = 0

    def lose(self, by: str = "downstream") -> None:
        """The connection is gone, or as good as; ``by`` says who has ended it."""
        for stream in list(self._h2.streams.values()):
            owner, stream.owner = stream.owner, None
            if owner is not None:
                owner.lost(by)

    def lose_receiving(self) -> None:
        """No request will be completed any more."""
        for stream in [one for one in self._h2.streams.values() if one.receiving]:
            stream.owner.lost()
            self._h2.reset(stream, CANCEL)
            stream.owner = None

    def check_stalls(self, now: float, secs: float, *, paused: bool) -> None:
        """Give up the streams of which nothing is taken for ``secs``.

        While the connection takes nothing (``paused``) its own stall counts, and while it takes
        something every stream is given its turn.
        """
        h2 = self._h2
        moving = h2.sent_bytes != self._sent
        self._sent = h2.sent_bytes
        for stream in list(h2.streams.values()):
            excused = paused or (moving and stream.window > 0)
            stream.owner.check_stall(now, secs, excused=excused)

    def first_head(self) -> RequestHead | None:
        """The oldest of the requests under way."""
        owners = [stream.owner for stream in self._h2.streams.values() if stream.owner]
        heads = (owner.exchange.head for owner in owners if owner.exchange is not None)
        return next(heads, None)
