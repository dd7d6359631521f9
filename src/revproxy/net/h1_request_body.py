"""The body of one HTTP/1.x request as it comes in.

Owns its end (by length or by chunks) and its limit. Time is a number passed in. Refuses to know
what becomes of the content.
"""

from __future__ import annotations

from revproxy.errors import BadRequest
from revproxy.model.configuration import Limits
from revproxy.model.http import CHUNKED
from revproxy.net.body_pace import BodyPace
from revproxy.wire.chunked import ChunkedDecoder, ChunkedError


class RequestBody(BodyPace):
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

    __slots__ = ("_decoder", "_left", "_limit", "done", "rest")

    def __init__(self, length: int, limit: int, limits: Limits, now: float) -> None:
        super().__init__(limits.min_body_bytes_per_sec, now)
        self._decoder = (
            ChunkedDecoder(limits.chunk_line_bytes, limits.trailer_bytes)
            if length == CHUNKED
            else None
        )
        self._left = length
        self._limit = limit
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
        self.last = now
        decoder = self._decoder
        if decoder is not None:
            return self._feed_chunked(decoder, received)
        if len(received) > self._left:
            received, self.rest = received[: self._left], received[self._left :]
        self._left -= len(received)
        self.received += len(received)
        self.done = not self._left
        return received

    def _feed_chunked(self, decoder: ChunkedDecoder, received: bytes) -> bytes:
        try:
            content = decoder.feed(received)
        except ChunkedError as error:
            raise BadRequest(400, str(error)) from None
        self.received += len(content)
        if self.received > self._limit:
            raise BadRequest(413, "request body too large")
        self.done, self.rest = decoder.done, decoder.rest
        return content
