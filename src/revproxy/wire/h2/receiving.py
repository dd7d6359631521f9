"""What a connection receives on its streams: request heads, bodies, resets, windows.

Owns the states of streams (RFC 9113 5.1) and what answers an offence on one of them. Refuses to
know how frames are found, and frames that concern the connection alone.
"""

from __future__ import annotations

from revproxy.errors import BadRequest
from revproxy.wire.h2.errors import H2ConnectionError, H2StreamError
from revproxy.wire.h2.floods import EMPTY_FRAMES, RESETS, WINDOW_UPDATES, Floods
from revproxy.wire.h2.flow import ReceiveWindow, widened
from revproxy.wire.h2.frames import (
    COMPRESSION_ERROR,
    DEFAULT_WINDOW,
    END_HEADERS,
    END_STREAM,
    ENHANCE_YOUR_CALM,
    FLOW_CONTROL_ERROR,
    FRAME_SIZE_ERROR,
    HAS_PRIORITY,
    MAX_WINDOW,
    PADDED,
    PROTOCOL_ERROR,
    REFUSED_STREAM,
    STREAM_CLOSED,
    read_word,
)
from revproxy.wire.h2.hpack import Decoder, HpackError, Line
from revproxy.wire.h2.limits import H2Limits
from revproxy.wire.h2.request import STATIC_LINES, read_trailers, request_line
from revproxy.wire.h2.request_heads import RequestHeads
from revproxy.wire.h2.sending import Sending
from revproxy.wire.h2.stream import Receiver, Stream

_HEAD = b":method", b"HEAD"


class Receiving(Sending):
    """The receiving half; see :class:`~revproxy.wire.h2.connection.H2Connection`."""

    __slots__ = ("_block", "_block_end", "_block_frames", "_block_stream", "_decoder", "_floods",
                 "_heads", "_initial_window", "_last", "_refusing")  # fmt: skip

    def __init__(self, receiver: Receiver, limits: H2Limits) -> None:
        super().__init__(receiver, limits)
        self._decoder = Decoder(request_line, STATIC_LINES)
        self._floods = Floods(limits)
        self._heads = RequestHeads(limits)
        self._initial_window = DEFAULT_WINDOW
        self._last = 0
        self._refusing = False
        self._block: list[bytes] = []
        self._block_stream = 0  # of the header block that is not complete
        self._block_end = False
        self._block_frames = 0

    # HEADERS and CONTINUATION

    def _on_headers(self, flags: int, identifier: int, payload: bytes) -> None:
        if not identifier & 1:
            raise H2ConnectionError(PROTOCOL_ERROR, "headers on a stream that is not a client's")
        if flags & PADDED:
            payload = _without_padding(payload)
        if flags & HAS_PRIORITY:
            if len(payload) < 5:
                raise H2ConnectionError(FRAME_SIZE_ERROR, "headers frame too short")
            payload = payload[5:]
        end = flags & END_STREAM != 0
        if flags & END_HEADERS:
            self._on_block(identifier, payload, end=end)
        else:
            self._block_stream = identifier
            self._block_end = end
            self._block = [payload]
            self._block_frames = 0

    def _on_continuation(self, flags: int, identifier: int, payload: bytes) -> None:
        if not self._block_stream:
            raise H2ConnectionError(PROTOCOL_ERROR, "continuation without headers")
        self._block_frames += 1
        if self._block_frames > self._limits.continuations:
            raise H2ConnectionError(ENHANCE_YOUR_CALM, "too many continuation frames")
        self._block.append(payload)
        if sum(map(len, self._block)) > self._limits.header_list_bytes:
            raise H2ConnectionError(ENHANCE_YOUR_CALM, "header block too large")
        if flags & END_HEADERS:
            block, self._block = b"".join(self._block), []
            self._block_stream = 0
            self._on_block(identifier, block, end=self._block_end)

    def _on_block(self, identifier: int, block: bytes, *, end: bool) -> None:
        if len(block) > self._limits.header_list_bytes:
            raise H2ConnectionError(ENHANCE_YOUR_CALM, "header block too large")
        try:
            lines = self._decoder.decode(block)
        except HpackError as error:
            raise H2ConnectionError(COMPRESSION_ERROR, f"hpack: {error}") from None
        if identifier > self._last:
            self._last = identifier
            if self._refusing:
                self._say_reset(identifier, REFUSED_STREAM)
            elif len(self.streams) >= self._limits.max_streams:
                self._offence(identifier, REFUSED_STREAM)
            else:
                self._begin(identifier, lines, len(block), end=end)
            return
        stream = self.streams.get(identifier)
        if stream is not None:
            self._on_trailers(stream, lines, end=end)
        elif identifier in self._unfinished:
            self._end_unfinished(identifier, end=end)
        elif identifier in self._reset_lately:
            self._floods.count(RESETS)
        else:
            raise H2ConnectionError(STREAM_CLOSED, "headers on a closed stream")

    def _end_unfinished(self, identifier: int, *, end: bool) -> None:
        """More has come of a request that has had its response; it may be the last of it."""
        if end:
            del self._unfinished[identifier]
            self._remember_reset(identifier)

    def _begin(self, identifier: int, lines: list[Line], size: int, *, end: bool) -> None:
        stream = Stream(identifier, self._initial_window)
        try:
            head = self._heads.read(lines, size, end=end)
        except H2StreamError as error:
            self._offence(identifier, error.code)
            return
        except BadRequest as error:
            self.streams[identifier] = stream
            stream.receiving = not end
            stream.discarding = True
            stream.head_only = any(line[1] == _HEAD for line in lines)
            self._receiver.bad_request(stream, error)
            return
        self.streams[identifier] = stream
        if end:
            stream.receiving = False
        else:
            stream.expected = head.content_length
        self._receiver.request(stream, head, end=end)

    def _on_trailers(self, stream: Stream, lines: list[Line], *, end: bool) -> None:
        if not stream.receiving:
            self._offence(stream.id, STREAM_CLOSED)
            return
        try:
            if not end or stream.expected > 0:
                raise H2StreamError(PROTOCOL_ERROR, "the request does not end as it said")
            trailers = read_trailers(lines, self._limits)
        except H2StreamError as error:
            self._offence(stream.id, error.code)
            return
        stream.receiving = False
        if not stream.discarding:
            self._receiver.end(stream, trailers)

    # DATA

    def _on_data(self, flags: int, identifier: int, payload: bytes) -> None:
        size = len(payload)
        if not self._window_in.take(size):
            raise H2ConnectionError(FLOW_CONTROL_ERROR, "more than the connection's window")
        stream = self.streams.get(identifier)
        if flags & PADDED:
            payload = _without_padding(payload)
        if not payload and not flags & END_STREAM:
            self._floods.count(EMPTY_FRAMES)
        if stream is None:
            self._check_not_idle(identifier, "data")
            if identifier in self._unfinished:
                self._end_unfinished(identifier, end=flags & END_STREAM != 0)
            elif identifier not in self._reset_lately:
                raise H2ConnectionError(STREAM_CLOSED, "data on a closed stream")
            self._give_connection(size)
        elif not stream.receiving:
            self._give_connection(size)
            self._offence(identifier, STREAM_CLOSED)
        else:
            self._on_body(stream, payload, size, end=flags & END_STREAM != 0)

    def _on_body(self, stream: Stream, content: bytes, size: int, *, end: bool) -> None:
        """DATA on a stream that is open; ``size`` counts the padding, too."""
        window = stream.receive_window
        if window is None:
            window = stream.receive_window = ReceiveWindow(self._limits.window_bytes)
        stream.unconsumed += size
        if not window.take(size):
            self._offence(stream.id, FLOW_CONTROL_ERROR)
            return
        taken = len(content)
        if stream.expected >= 0:
            stream.expected -= taken
            if stream.expected < 0 or (end and stream.expected):
                self._offence(stream.id, PROTOCOL_ERROR)
                return
        if end:
            stream.receiving = False
        if stream.discarding:
            self.consumed(stream, size)
            return
        if taken != size:
            self.consumed(stream, size - taken)
        if taken:
            self._receiver.body(stream, content)
        if end and stream.open:
            self._receiver.end(stream, [])

    # RST_STREAM and WINDOW_UPDATE

    def _on_rst_stream(self, flags: int, identifier: int, payload: bytes) -> None:
        if len(payload) != 4:
            raise H2ConnectionError(FRAME_SIZE_ERROR, "rst_stream of a wrong length")
        self._check_not_idle(identifier, "rst_stream")
        self._floods.count(RESETS)
        stream = self.streams.get(identifier)
        self._unfinished.pop(identifier, None)
        if stream is not None:
            self._close(stream)
            self._receiver.reset(stream, read_word(payload)[0])

    def _on_window_update(self, flags: int, identifier: int, payload: bytes) -> None:
        if len(payload) != 4:
            raise H2ConnectionError(FRAME_SIZE_ERROR, "window_update of a wrong length")
        floods = self._floods
        if self._data_frames:
            floods.explain_updates(self._data_frames)
            self._data_frames = 0
        floods.count(WINDOW_UPDATES)
        increment = read_word(payload)[0] & MAX_WINDOW
        if identifier:
            self._check_not_idle(identifier, "window_update")
            stream = self.streams.get(identifier)
            if stream is not None:
                self._widen(stream, increment)
            return
        if not increment:
            raise H2ConnectionError(PROTOCOL_ERROR, "window_update of nothing")
        try:
            self._window = widened(self._window, increment)
        except OverflowError as error:
            raise H2ConnectionError(FLOW_CONTROL_ERROR, str(error)) from None
        self._granted += increment

    def _widen(self, stream: Stream, increment: int) -> None:
        if not increment:
            self._offence(stream.id, PROTOCOL_ERROR)
            return
        try:
            stream.window = widened(stream.window, increment)
        except OverflowError:
            self._offence(stream.id, FLOW_CONTROL_ERROR)
        else:
            self._schedule(stream)

    # What they share

    def _check_not_idle(self, identifier: int, what: str) -> None:
        """RFC 9113 5.1: nothing but HEADERS and PRIORITY comes on a stream that is idle."""
        if identifier > self._last or not identifier & 1:
            raise H2ConnectionError(PROTOCOL_ERROR, f"{what} on an idle stream")

    def _offence(self, identifier: int, code: int) -> None:
        """Reset a stream for what the client did; too often, and the connection ends."""
        self._floods.count(RESETS)
        stream = self.streams.get(identifier)
        if stream is None:
            self._say_reset(identifier, code)
        else:
            self._fail(stream, code)


def _without_padding(payload: bytes) -> bytes:
    """RFC 9113 6.1: the padding's length comes first, the padding last."""
    if not payload:
        raise H2ConnectionError(FRAME_SIZE_ERROR, "padded frame without a padding length")
    padding = payload[0]
    if padding >= len(payload):
        raise H2ConnectionError(PROTOCOL_ERROR, "padding longer than its frame")
    return payload[1 : len(payload) - padding]
