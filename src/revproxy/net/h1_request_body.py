"""The body of one HTTP/1.x request as it comes in.

Owns its end (by length or by chunks), its limit, and whether it comes fast enough. Time is a
number passed in. Refuses to know what becomes of the content.
"""

from __future__ import annotations

from revproxy.errors import BadRequest
from revproxy.model.configuration import Limits
from revproxy.model.http import CHUNKED
from revproxy.policy.outcome import too_slow
from revproxy.wire.chunked import ChunkedDecoder, ChunkedError

GRACE_SECS = 10.0
"""How long a body may come at any speed before the minimum rate counts."""


class RequestBody:
    """See the module.

    Args:
        length: bytes, or CHUNKED.
        limit: bytes above which a chunked body is refused (a length is refused before).
        limits: of chunk lines, trailers and speed.
        now: when it begins.

    Attributes:
        done: it is complete.
        rest: once done, what came after it; before, what is to be fed again in a later turn.
    """

    __slots__ = ("_active_since", "_decoder", "_last", "_left", "_limit", "_min_rate", "_received",
                 "_stopped", "done", "rest")  # fmt: skip

    def __init__(self, length: int, limit: int, limits: Limits, now: float) -> None:
        self._decoder = (
            ChunkedDecoder(limits.chunk_line_bytes, limits.trailer_bytes)
            if length == CHUNKED
            else None
        )
        self._left = length
        self._limit = limit
        self._min_rate = limits.min_body_bytes_per_sec
        self._received = 0
        self._active_since = self._last = now
        self._stopped: float | None = None
        self.done = False
        self.rest = b""

    @property
    def left(self) -> int:
        """Bytes still to come; -1 when not known."""
        return self._left

    def feed(self, received: bytes, now: float) -> bytes:
        """Take bytes from the connection; returns the content among them.

        Raises:
            BadRequest: 400 for an invalid chunk, 413 for too much.
        """
        self._last = now
        decoder = self._decoder
        if decoder is not None:
            return self._feed_chunked(decoder, received)
        if len(received) > self._left:
            received, self.rest = received[: self._left], received[self._left :]
        self._left -= len(received)
        self._received += len(received)
        self.done = not self._left
        return received

    def _feed_chunked(self, decoder: ChunkedDecoder, received: bytes) -> bytes:
        try:
            content = decoder.feed(received)
        except ChunkedError as error:
            raise BadRequest(400, str(error)) from None
        self._received += len(content)
        if self._received > self._limit:
            raise BadRequest(413, "request body too large")
        self.done, self.rest = decoder.done, decoder.rest
        return content

    def stop(self, now: float) -> None:
        """The downstream is paused by the proxy itself: its clocks stand still."""
        if self._stopped is None:
            self._stopped = now

    def go_on(self, now: float) -> None:
        """The downstream may send again."""
        if self._stopped is not None:
            self._active_since += now - self._stopped
            self._last = now
            self._stopped = None

    def late(self, now: float, idle_secs: float) -> BadRequest | None:
        """The 408 that it deserves by now, if it does."""
        if self._stopped is not None:
            return None
        if now - self._last > idle_secs:
            return BadRequest(408, "request body idle")
        if too_slow(self._received, now - self._active_since, self._min_rate, GRACE_SECS):
            return BadRequest(408, "request body too slow")
        return None
