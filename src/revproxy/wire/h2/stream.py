"""One stream, and who is told what happens on it.

Owns the handle that the connection and its receiver share. Refuses to know frames.
"""

from __future__ import annotations

from collections import deque
from typing import Any, Protocol

from revproxy.errors import BadRequest
from revproxy.model.http import Field, RequestHead
from revproxy.wire.h2.flow import ReceiveWindow


class Stream:
    """One request and its response.

    Attributes:
        id: the stream's identifier.
        owner: the receiver's own object; the layer never looks at it, and drops it when the
            response is complete.
        open: whether it is among ``H2Connection.streams``.
        receiving: the request is not complete.
        sending: the response is not complete: nothing is taken for it once it is, and nothing
            at all once the stream is closed.
        full: more is held of the response than the windows let out: no more, please, until
            :meth:`Receiver.drained`.
        queued: how many bytes of the response are held.
        head_only: of a refused request, whether it was HEAD: its answer has no content.

    The others are the layer's own: ``discarding`` (the request is thrown away), ``expected``
    (bytes of the request that its content-length still announces, or -1), ``unconsumed`` (bytes
    that were handed over and not given back), ``receive_window``; ``left`` (bytes of the response
    that its head still announces, or -1), ``window`` (the sending one), ``queue``, ``scheduled``
    (waits for its turn), ``ending`` (END_STREAM follows the queue), ``trailers``.
    """

    __slots__ = ("discarding", "ending", "expected", "full", "head_only", "id", "left", "open",
                 "owner", "queue", "queued", "receive_window", "receiving", "scheduled", "sending",
                 "trailers", "unconsumed", "window")  # fmt: skip

    def __init__(self, identifier: int, window: int) -> None:
        self.id = identifier
        self.owner: Any = None
        self.open = True
        self.receiving = True
        self.sending = True
        self.full = False
        self.discarding = False
        self.head_only = False
        self.expected = -1
        self.unconsumed = 0
        self.receive_window: ReceiveWindow | None = None
        self.left = -1
        self.window = window
        self.queue: deque[bytes | memoryview] | None = None
        self.queued = 0
        self.scheduled = False
        self.ending = False
        self.trailers: list[Field] = []


class Receiver(Protocol):
    """Who serves the requests; called from within ``H2Connection.receive`` and ``take``.

    It may call any method of the connection but these two at once, for any stream.
    """

    def request(self, stream: Stream, head: RequestHead, *, end: bool) -> None:
        """A request has begun. With ``end`` it is complete, and ``end()`` is not called.

        ``head.content_length`` is :data:`~revproxy.model.http.CHUNKED` for a body of a length
        that is not told.
        """

    def bad_request(self, stream: Stream, error: BadRequest) -> None:
        """A request is refused with a status, which is to be sent on ``stream``.

        Its body is thrown away.
        """

    def body(self, stream: Stream, content: bytes) -> None:
        """A part of the request body, never empty.

        Its bytes are to be given back with ``H2Connection.consumed`` once they have gone on.
        """

    def end(self, stream: Stream, trailers: list[Field]) -> None:
        """The request is complete; its length is what its head has said."""

    def reset(self, stream: Stream, code: int) -> None:
        """The stream is gone: reset by the client, or by us for an error of the client's.

        Only for streams that :meth:`request` or :meth:`bad_request` has told of; not after
        ``H2Connection.reset``, and after ``finish`` only when a part that was held is lost.
        """

    def full(self, stream: Stream) -> None:
        """What is held of the response has reached the limit: pause its source."""

    def drained(self, stream: Stream) -> None:
        """What was held has left: the source may go on."""

    def goaway(self, code: int) -> None:
        """The client opens no more streams (RFC 9113 6.8). Those that are open go on."""
