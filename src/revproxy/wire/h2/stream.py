"""One stream, and who is told what happens on it.

Owns the handle that the connection and its receiver share. Refuses to know frames.
"""

from __future__ import annotations

from typing import Any, Protocol

from revproxy.errors import BadRequest
from revproxy.model.http import Field, RequestHead


class Stream:
    """One request and its response.

    Attributes:
        id: the stream's identifier.
        owner: the receiver's own object; the layer never looks at it.
        receiving: the request is not complete.
        sending: the response is not complete: nothing is taken for it once it is, and nothing
            at all once the stream is closed.
        full: more is held of the response than the windows let out: no more, please, until
            :meth:`Receiver.drained`.
    """

    __slots__ = ("full", "id", "owner", "receiving", "sending")

    def __init__(self, identifier: int) -> None:
        self.id = identifier
        self.owner: Any = None
        self.receiving = True
        self.sending = True
        self.full = False


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

        Only for streams that :meth:`request` or :meth:`bad_request` has told of, and neither
        after a response that is complete nor after ``H2Connection.reset``.
        """

    def full(self, stream: Stream) -> None:
        """What is held of the response has reached the limit: pause its source."""

    def drained(self, stream: Stream) -> None:
        """What was held has left: the source may go on."""

    def goaway(self, code: int) -> None:
        """The client opens no more streams (RFC 9113 6.8). Those that are open go on."""
