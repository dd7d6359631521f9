"""The server's side of one HTTP/2 connection (RFC 9113): bytes in, calls out, bytes out.

Owns the order of frames, the states of streams and what answers an offence. Refuses to know
transports, clocks, and what requests are for.
"""

from __future__ import annotations

from revproxy.model.http import Field, ResponseHead
from revproxy.wire.h2.limits import H2Limits
from revproxy.wire.h2.stream import Receiver, Stream


class H2Connection:
    """One connection; see :class:`Receiver` for what it tells.

    What it has to say gathers and leaves with :meth:`take`, beginning with our SETTINGS, which
    are there from the start. Methods that send do nothing on a stream that is closed or whose
    response is complete, so that nobody has to ask first.

    Args:
        receiver: who serves the requests.
        limits: what the client may ask for.

    Attributes:
        streams: every stream that is open, by its identifier. A stream is open until both sides
            have ended it or one has reset it.
        held: set by the front while its transport takes nothing: response bodies wait in their
            streams, and fill them.
        finished: a drain has come to its end: once :meth:`take` has been written, close.
    """

    streams: dict[int, Stream]
    held: bool
    finished: bool

    def __init__(self, receiver: Receiver, limits: H2Limits) -> None:
        raise NotImplementedError

    def receive(self, received: bytes, now: float) -> None:
        """Take the next bytes of the connection.

        Args:
            received: as they came, split anywhere.
            now: any clock in seconds that never goes back, for the limits of frames.

        Raises:
            H2ConnectionError: the connection is over: write what :meth:`take` still has (our
                GOAWAY), then close it. Open streams are not told one by one.
        """
        raise NotImplementedError

    def take(self) -> bytes:
        """What is to be written now, ``b""`` for nothing.

        Bodies that waited for a window leave in turns, a limited number of bytes at a time: call
        it until it has nothing, unless the transport takes nothing.
        """
        raise NotImplementedError

    def send_interim(self, stream: Stream, head: ResponseHead) -> None:
        """Send a 1xx."""
        raise NotImplementedError

    def send_head(self, stream: Stream, head: ResponseHead) -> None:
        """Begin the response. With a ``head.body_length`` of 0 it is complete.

        ``content-length`` is added from ``head.content_length``, but not to a 204. When
        ``head.body_length`` is above 0 the stream ends with the last of these bytes.
        """
        raise NotImplementedError

    def send_data(self, stream: Stream, content: bytes) -> None:
        """A part of the response body; what the windows do not let out is held.

        Check ``stream.full`` or wait to be told by ``Receiver.full``: one part may go over.
        """
        raise NotImplementedError

    def finish(self, stream: Stream, trailers: list[Field]) -> None:
        """The response is complete; nothing happens when it has been already.

        A request that is not complete by then is cancelled with NO_ERROR (RFC 9113 8.1).
        """
        raise NotImplementedError

    def reset(self, stream: Stream, code: int) -> None:
        """End the stream at once (RST_STREAM), dropping what is held. The receiver is not told."""
        raise NotImplementedError

    def consumed(self, stream: Stream, size: int) -> None:
        """``size`` bytes of the request body have gone on: the client may send as many more.

        What has not been given back when the stream closes is given back to the connection.
        """
        raise NotImplementedError

    def drain(self) -> None:
        """Say that the connection is to end (RFC 9113 6.8); open streams go on.

        The client hears of it first, and again with the number of the last stream that is
        served: at its answer to our PING, or when this is called once more.
        """
        raise NotImplementedError

    def close(self, code: int) -> None:
        """Say GOAWAY with ``code`` at once, and take nothing more."""
        raise NotImplementedError
