"""What a connection sends: response heads and bodies, held while the windows are closed.

Owns the bytes that gather for the next write, the sending windows, and whose turn it is when
several streams have waited. Refuses to know what comes in.
"""

from __future__ import annotations

from collections import deque
from typing import Final

from revproxy.model.http import Field, ResponseHead
from revproxy.wire.h2.flow import ReceiveWindow
from revproxy.wire.h2.frames import (
    DATA,
    DEFAULT_WINDOW,
    END_STREAM,
    INTERNAL_ERROR,
    MAX_FRAME,
    NO_ERROR,
    frame_header,
    headers_frames,
    rst_stream,
    window_update,
)
from revproxy.wire.h2.hpack import NO_TABLE
from revproxy.wire.h2.limits import H2Limits
from revproxy.wire.h2.response import fields_block, interim_block, response_block
from revproxy.wire.h2.stream import Receiver, Stream

BYTES_AT_ONCE: Final = 262144
"""Held bytes that leave with one ``take``."""

FRAME_COST: Final = 1024
"""What a frame of a held body counts for besides its bytes, as many small ones take their time."""

SMALL: Final = 4096
"""Pieces of a held body below this are joined."""

FULL_STREAMS: Final = 4
"""What all streams of a connection hold is as much as so many of them may; then every stream is
full that holds anything, so that many streams cost little more than a few."""

CONNECTION_WINDOW: Final = 1048576
"""Bytes of request bodies that a connection holds at the most, over all its streams."""

REMEMBERED_RESETS: Final = 512
"""Streams that we have reset lately: what the client had sent before it knew is ignored."""


class Sending:
    """The sending half; see :class:`~revproxy.wire.h2.connection.H2Connection`."""

    __slots__ = ("_block_prefix", "_data_frames", "_granted", "_held_bytes", "_limits", "_out",
                 "_receiver", "_reset_lately", "_turns", "_unfinished", "_window", "_window_in",
                 "held", "streams")  # fmt: skip

    def __init__(self, receiver: Receiver, limits: H2Limits) -> None:
        self.streams: dict[int, Stream] = {}
        self.held = False
        self._receiver = receiver
        self._limits = limits
        self._out: list[bytes | memoryview] = []
        self._block_prefix = NO_TABLE
        self._window = self._granted = DEFAULT_WINDOW
        self._window_in = ReceiveWindow(CONNECTION_WINDOW)
        self._turns: deque[Stream] = deque()
        self._reset_lately: dict[int, None] = {}
        self._unfinished: dict[int, bool] = {}
        self._data_frames = 0
        self._held_bytes = 0

    def take(self) -> bytes:
        """What is to be written now, ``b""`` for nothing.

        Bodies that waited for a window leave in turns, a limited number of bytes at a time: call
        it until it has nothing, unless the transport takes nothing.
        """
        if self._turns and self._window > 0 and not self.held:
            self._send_held()
        out = self._out
        if not out:
            return b""
        self._out = []
        return b"".join(out)

    def send_interim(self, stream: Stream, head: ResponseHead) -> None:
        """Send a 1xx; it is left out while the transport takes nothing."""
        if stream.sending and not self.held:
            self._send_block(stream, interim_block(head), end=False)

    def send_head(self, stream: Stream, head: ResponseHead) -> None:
        """Begin the response. With a ``head.body_length`` of 0 it is complete.

        ``content-length`` is added from ``head.content_length``, but not to a 204. When
        ``head.body_length`` is above 0 the stream ends with the last of these bytes.
        """
        if not stream.sending:
            return
        length = head.body_length
        self._send_block(stream, response_block(head), end=length == 0)
        if length == 0:
            self._complete(stream)
        elif length > 0:
            stream.left = length

    def send_data(self, stream: Stream, content: bytes) -> None:
        """A part of the response body; what the windows do not let out is held.

        Check ``stream.full`` or wait to be told by ``Receiver.full``: one part may go over.
        """
        size = len(content)
        if not stream.sending or not size:
            return
        ending = False
        if stream.left >= 0:
            if size > stream.left:
                self._fail(stream, INTERNAL_ERROR)
                return
            stream.left -= size
            ending = not stream.left
        if (
            size > self._window
            or size > stream.window
            or self._turns
            or stream.queued
            or self.held
        ):
            self._hold(stream, content, ending=ending)
        elif size <= MAX_FRAME:
            self._send_frame(stream, content, size, END_STREAM if ending else 0)
            if ending:
                self._complete(stream)
        else:
            self._send_frames(stream, content, ending=ending)

    def finish(self, stream: Stream, trailers: list[Field]) -> None:
        """The response is complete; nothing happens when it has been already.

        What more comes of a request that is not complete by then is thrown away, until it is
        cancelled with NO_ERROR (RFC 9113 8.1); see :meth:`give_up_unfinished`.
        """
        if not stream.sending:
            return
        if stream.left > 0:
            self._fail(stream, INTERNAL_ERROR)
        elif stream.queued:
            stream.sending = False
            stream.ending = True
            stream.trailers = trailers
        else:
            self._send_end(stream, trailers)

    def reset(self, stream: Stream, code: int) -> None:
        """End the stream at once (RST_STREAM), dropping what is held. The receiver is not told."""
        if stream.open:
            self._close(stream)
            self._say_reset(stream.id, code)

    def consumed(self, stream: Stream, size: int) -> None:
        """``size`` bytes of the request body have gone on: the client may send as many more.

        What has not been given back when the stream closes is given back to the connection.
        """
        size = min(size, stream.unconsumed)
        if size <= 0:
            return
        stream.unconsumed -= size
        self._give_connection(size)
        if stream.receiving and stream.receive_window is not None:
            increment = stream.receive_window.give(size)
            if increment:
                self._out.append(window_update(stream.id, increment))

    # Closing

    def _complete(self, stream: Stream) -> None:
        """END_STREAM has been said: nothing is told of the stream any more."""
        self._close(stream)
        stream.owner = None
        if stream.receiving:
            self._unfinished[stream.id] = False
            if len(self._unfinished) > REMEMBERED_RESETS:
                self._give_up(next(iter(self._unfinished)))

    @property
    def more(self) -> bool:
        """Whether another :meth:`take` would have something of what is held."""
        return bool(self._turns) and self._window > 0 and not self.held

    def give_up_unfinished(self) -> None:
        """Cancel requests that have had their response since the last time but one.

        To be called every few seconds while there are :attr:`unfinished` ones. A client that meets
        the response and the reset in one read may make nothing of the response: curl does.
        """
        for identifier, seen in list(self._unfinished.items()):
            if seen:
                self._give_up(identifier)
            else:
                self._unfinished[identifier] = True

    @property
    def unfinished(self) -> bool:
        """Whether a request has had its response and has not ended."""
        return bool(self._unfinished)

    def _give_up(self, identifier: int) -> None:
        del self._unfinished[identifier]
        self._say_reset(identifier, NO_ERROR)

    def _close(self, stream: Stream) -> None:
        """Nothing more comes or goes on ``stream``; what it has of the connection's is freed."""
        del self.streams[stream.id]
        stream.open = stream.sending = stream.full = False
        stream.queue = None
        self._held_bytes -= stream.queued
        stream.queued = 0
        size, stream.unconsumed = stream.unconsumed, 0
        if size:
            self._give_connection(size)

    def _fail(self, stream: Stream, code: int) -> None:
        """Reset a stream of which the receiver knows, and tell it."""
        self.reset(stream, code)
        self._receiver.reset(stream, code)

    def _say_reset(self, identifier: int, code: int) -> None:
        self._out.append(rst_stream(identifier, code))
        self._remember_reset(identifier)

    def _remember_reset(self, identifier: int) -> None:
        """What may still come on a stream that is over is ignored, for so many streams."""
        lately = self._reset_lately
        lately[identifier] = None
        if len(lately) > REMEMBERED_RESETS:
            del lately[next(iter(lately))]

    def _give_connection(self, size: int) -> None:
        increment = self._window_in.give(size)
        if increment:
            self._out.append(window_update(0, increment))

    # Frames

    def _send_block(self, stream: Stream, block: bytes, *, end: bool) -> None:
        if self._block_prefix:
            block = self._block_prefix + block
            self._block_prefix = b""
        self._out.append(headers_frames(stream.id, block, end=end))

    def _send_frame(
        self, stream: Stream, content: bytes | memoryview, size: int, flags: int
    ) -> None:
        self._window -= size
        stream.window -= size
        self._data_frames += 1
        self._out += frame_header(size, DATA, flags, stream.id), content

    def _send_frames(self, stream: Stream, content: bytes, *, ending: bool) -> None:
        """More than one frame's worth, which the windows let out."""
        view = memoryview(content)
        total = len(content)
        for start in range(0, total, MAX_FRAME):
            part = view[start : start + MAX_FRAME]
            last = ending and start + MAX_FRAME >= total
            self._send_frame(stream, part, len(part), END_STREAM if last else 0)
        if ending:
            self._complete(stream)

    def _send_end(self, stream: Stream, trailers: list[Field]) -> None:
        if trailers:
            self._send_block(stream, fields_block(trailers), end=True)
        else:
            self._out.append(frame_header(0, DATA, END_STREAM, stream.id))
        self._complete(stream)

    # Held bodies

    def _hold(self, stream: Stream, content: bytes, *, ending: bool) -> None:
        if stream.queue is None:
            stream.queue = deque()
        size = len(content)
        if stream.queue and size < SMALL and len(stream.queue[-1]) < SMALL:
            stream.queue[-1] = b"".join((stream.queue[-1], content))
        else:
            stream.queue.append(content)
        stream.queued += size
        self._held_bytes += size
        if ending:
            stream.sending = False
            stream.ending = True
        self._schedule(stream)
        limit = self._limits.buffered_bytes
        if not stream.full and (
            stream.queued >= limit or self._held_bytes >= FULL_STREAMS * limit
        ):
            stream.full = True
            self._receiver.full(stream)

    def _schedule(self, stream: Stream) -> None:
        if not stream.scheduled and stream.queued and stream.window > 0:
            stream.scheduled = True
            self._turns.append(stream)

    def _send_held(self) -> None:
        """One frame of each stream in turn, as far as the connection's window goes."""
        turns = self._turns
        budget = BYTES_AT_ONCE
        while turns and budget > 0 and self._window > 0:
            stream = turns.popleft()
            stream.scheduled = False
            if stream.queued and stream.window > 0:
                budget -= self._send_turn(stream) + FRAME_COST
                self._schedule(stream)

    def _send_turn(self, stream: Stream) -> int:
        """One frame of what ``stream`` holds; returns its size."""
        queue = stream.queue
        assert queue
        content = queue[0]
        size = min(len(content), MAX_FRAME, stream.window, self._window)
        if size == len(content):
            queue.popleft()
        else:
            view = memoryview(content)
            content, rest = view[:size], view[size:]
            # A part keeps the whole alive: what is left is copied before that is twice as much.
            queue[0] = bytes(rest) if 2 * len(rest) < len(view.obj) else rest  # type: ignore[arg-type]
        stream.queued -= size
        self._held_bytes -= size
        last = not queue and stream.ending
        self._send_frame(stream, content, size, END_STREAM if last and not stream.trailers else 0)
        if last:
            if stream.trailers:
                self._send_end(stream, stream.trailers)
            else:
                self._complete(stream)
        elif stream.full and stream.queued <= self._limits.buffered_bytes // 4:
            stream.full = False
            self._receiver.drained(stream)
        return size
