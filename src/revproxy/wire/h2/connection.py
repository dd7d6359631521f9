"""The server's side of one HTTP/2 connection (RFC 9113): bytes in, calls out, bytes out.

Owns the preface, how frames are found in bytes that come split anywhere, and frames that concern
the whole connection; ``receiving.py`` and ``sending.py`` are its halves. Refuses to know
transports, clocks, and what requests are for.
"""

from __future__ import annotations

from typing import Final

from revproxy.wire.h2.errors import H2ConnectionError
from revproxy.wire.h2.floods import IGNORED, PINGS, SETTINGS_FRAMES
from revproxy.wire.h2.flow import widened
from revproxy.wire.h2.frames import (
    ACK,
    CONTINUATION,
    DATA,
    DEFAULT_WINDOW,
    ENABLE_CONNECT_PROTOCOL,
    ENABLE_PUSH,
    FLOW_CONTROL_ERROR,
    FRAME_SIZE_ERROR,
    HEADER_BYTES,
    INITIAL_WINDOW_SIZE,
    MAX_CONCURRENT_STREAMS,
    MAX_FRAME,
    MAX_FRAME_SIZE,
    MAX_HEADER_LIST_SIZE,
    MAX_WINDOW,
    NO_ERROR,
    PREFACE,
    PROTOCOL_ERROR,
    SETTINGS,
    SETTINGS_ACK,
    goaway,
    ping,
    read_header,
    read_settings,
    read_word,
    settings,
    window_update,
)
from revproxy.wire.h2.limits import H2Limits
from revproxy.wire.h2.receiving import Receiving
from revproxy.wire.h2.sending import CONNECTION_WINDOW
from revproxy.wire.h2.stream import Receiver

FRAMES_AT_ONCE: Final = 256
"""Frames that one ``receive`` reads: a read full of tiny ones would hold up everybody else.

Of all but DATA every 64 bytes count as a frame more: a header block can take a microsecond for
each of its bytes.
"""

_DRAIN_PING: Final = b"draining"
"""What our PING holds; by its answer the client has read the GOAWAY before it."""


class H2Connection(Receiving):
    """One connection; see :class:`~revproxy.wire.h2.stream.Receiver` for what it tells.

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
        behind: there are frames that :meth:`receive` has not come to: call it again, with
            ``b""``, in a later turn, and read nothing from the transport until it is over.
    """

    __slots__ = ("_closed", "_drain_step", "_expect", "_rest", "behind")

    def __init__(self, receiver: Receiver, limits: H2Limits) -> None:
        super().__init__(receiver, limits)
        self._rest = b""
        self.behind = False
        self._closed = False
        self._drain_step = 0
        self._expect = self._read_preface
        values = {
            MAX_CONCURRENT_STREAMS: limits.max_streams,
            INITIAL_WINDOW_SIZE: limits.window_bytes,
            MAX_HEADER_LIST_SIZE: limits.header_list_bytes,
        }
        if limits.connect_protocol:
            values[ENABLE_CONNECT_PROTOCOL] = 1
        self._out += settings(values), window_update(0, CONNECTION_WINDOW - DEFAULT_WINDOW)

    @property
    def finished(self) -> bool:
        """A drain has come to its end: once :meth:`take` has been written, close."""
        return self._drain_step == 2 and not self.streams

    @property
    def last_stream(self) -> int:
        """The latest stream that the client has opened; 0 before the first."""
        return self._last

    @property
    def sent_bytes(self) -> int:
        """Bytes of response bodies that have left so far; a peer that takes none is stalled."""
        return self._granted - self._window

    @property
    def choked(self) -> bool:
        """Whether request bodies that have not gone on leave no window to any other."""
        return self._window_in.left < MAX_FRAME

    @property
    def gathered(self) -> int:
        """How many bytes wait for :meth:`take`, held bodies not counted.

        While the transport takes nothing, a front that finds many here stops reading: a client
        may ask and ask and never listen.
        """
        return sum(map(len, self._out))

    def receive(self, received: bytes, now: float) -> None:
        """Take the next bytes of the connection.

        Args:
            received: as they came, split anywhere.
            now: any clock in seconds that never goes back, for the limits of frames.

        Raises:
            H2ConnectionError: the connection is over: write what :meth:`take` still has (our
                GOAWAY), then close it. Open streams are not told one by one.
        """
        if self._closed:
            return
        self._floods.at(now)
        if self._rest:
            received = self._rest + received
        try:
            read = self._expect(received)
        except H2ConnectionError as error:
            self.close(error.code)
            raise
        self._rest = b"" if self._closed else received[read:]

    def drain(self) -> None:
        """Say that the connection is to end (RFC 9113 6.8); open streams go on.

        The client hears of it first, and again with the number of the last stream that is
        served: at its answer to our PING, or when this is called once more.
        """
        if self._closed or self._drain_step == 2:
            return
        self._drain_step += 1
        if self._drain_step == 1:
            self._out += goaway(MAX_WINDOW, NO_ERROR), ping(_DRAIN_PING, ack=False)
        else:
            self._refusing = True
            self._out.append(goaway(self._last, NO_ERROR))

    def close(self, code: int) -> None:
        """Say GOAWAY with ``code`` at once, and take nothing more; what is held stays here."""
        if not self._closed:
            self._closed = True
            self._rest = b""
            self.held = True
            self._out.append(goaway(self._last, code))

    def forget(self) -> None:
        """Let go of the receiver, to which nothing may be told any more, and of all streams."""
        self.close(NO_ERROR)
        self.streams.clear()
        self._held_bytes = 0
        del self._receiver

    # Bytes to frames

    def _read_preface(self, received: bytes) -> int:
        """What a connection begins with, then the frames; returns how much has been read."""
        size = len(PREFACE)
        if received[:size] != PREFACE[: len(received)]:
            raise H2ConnectionError(PROTOCOL_ERROR, "no http/2 preface")
        if len(received) < size:
            return 0
        self._expect = self._read_first_frame
        return self._read_first_frame(received, size)

    def _read_first_frame(self, received: bytes, at: int = 0) -> int:
        """The preface ends with SETTINGS (RFC 9113 3.4)."""
        if len(received) - at < HEADER_BYTES:
            return at
        _, _, kind, flags, _ = read_header(received, at)
        if kind != SETTINGS or flags & ACK:
            raise H2ConnectionError(PROTOCOL_ERROR, "the first frame is not settings")
        after = self._read_frames(received, at)
        if after > at:
            self._expect = self._read_frames
        return after

    def _read_frames(self, received: bytes, at: int = 0) -> int:
        """Every whole frame from ``at`` on; returns where the first incomplete one begins."""
        size = len(received)
        left = FRAMES_AT_ONCE
        self.behind = False
        while size - at >= HEADER_BYTES and not self._closed:
            high, low, kind, flags, identifier = read_header(received, at)
            length = high << 8 | low
            if length > MAX_FRAME:
                raise H2ConnectionError(FRAME_SIZE_ERROR, "frame too large")
            start = at + HEADER_BYTES
            end = start + length
            if end > size:
                break
            if left <= 0:
                self.behind = True
                break
            left -= 1 + (length >> 6 if kind != DATA else 0)
            at = end
            identifier &= MAX_WINDOW
            if self._block_stream and (kind != CONTINUATION or identifier != self._block_stream):
                raise H2ConnectionError(PROTOCOL_ERROR, "a header block is interrupted")
            if kind < _KINDS:
                _FRAMES[kind](self, flags, identifier, received[start:end])
            else:
                self._on_other()
        return at

    # Frames of the connection

    def _on_settings(self, flags: int, identifier: int, payload: bytes) -> None:
        _check_connection(identifier, "settings")
        self._floods.count(SETTINGS_FRAMES)
        if flags & ACK:
            if payload:
                raise H2ConnectionError(FRAME_SIZE_ERROR, "settings ack with a payload")
            return
        if len(payload) % 6:
            raise H2ConnectionError(FRAME_SIZE_ERROR, "settings of a wrong length")
        window = self._initial_window
        for setting, value in read_settings(payload):
            if setting == INITIAL_WINDOW_SIZE:
                if value > MAX_WINDOW:
                    raise H2ConnectionError(FLOW_CONTROL_ERROR, "initial window too large")
                window = value
            elif setting == MAX_FRAME_SIZE:
                if not MAX_FRAME <= value < 2**24:
                    raise H2ConnectionError(PROTOCOL_ERROR, "invalid frame size in settings")
            elif setting in _FLAG_SETTINGS and value > 1:
                raise H2ConnectionError(PROTOCOL_ERROR, "invalid flag in settings")
        if window != self._initial_window:
            self._change_windows(window)
        self._out.append(SETTINGS_ACK)

    def _change_windows(self, initial: int) -> None:
        """RFC 9113 6.9.2: streams that are open get the difference, into the negative too."""
        difference = initial - self._initial_window
        self._initial_window = initial
        for stream in self.streams.values():
            try:
                stream.window = widened(stream.window, difference)
            except OverflowError as error:
                raise H2ConnectionError(FLOW_CONTROL_ERROR, str(error)) from None
            self._schedule(stream)

    def _on_ping(self, flags: int, identifier: int, payload: bytes) -> None:
        _check_connection(identifier, "ping")
        if len(payload) != 8:
            raise H2ConnectionError(FRAME_SIZE_ERROR, "ping of a wrong length")
        self._floods.count(PINGS)
        if not flags & ACK:
            self._out.append(ping(payload, ack=True))
        elif payload == _DRAIN_PING and self._drain_step == 1:
            self.drain()

    def _on_goaway(self, flags: int, identifier: int, payload: bytes) -> None:
        _check_connection(identifier, "goaway")
        if len(payload) < 8:
            raise H2ConnectionError(FRAME_SIZE_ERROR, "goaway too short")
        self._floods.count(PINGS)
        self._receiver.goaway(read_word(payload, 4)[0])

    def _on_priority(self, flags: int, identifier: int, payload: bytes) -> None:
        if not identifier:
            raise H2ConnectionError(PROTOCOL_ERROR, "priority of the connection")
        if len(payload) != 5:
            raise H2ConnectionError(FRAME_SIZE_ERROR, "priority of a wrong length")
        self._on_other()

    def _on_push_promise(self, flags: int, identifier: int, payload: bytes) -> None:
        raise H2ConnectionError(PROTOCOL_ERROR, "push_promise from a client")

    def _on_other(self) -> None:
        """PRIORITY, PRIORITY_UPDATE and unknown frames (RFC 9113 4.1, 5.5)."""
        self._floods.count(IGNORED)


_FLAG_SETTINGS = frozenset((ENABLE_PUSH, ENABLE_CONNECT_PROTOCOL))

_FRAMES = (
    H2Connection._on_data,
    H2Connection._on_headers,
    H2Connection._on_priority,
    H2Connection._on_rst_stream,
    H2Connection._on_settings,
    H2Connection._on_push_promise,
    H2Connection._on_ping,
    H2Connection._on_goaway,
    H2Connection._on_window_update,
    H2Connection._on_continuation,
)
"""By type."""

_KINDS = len(_FRAMES)


def _check_connection(identifier: int, what: str) -> None:
    if identifier:
        raise H2ConnectionError(PROTOCOL_ERROR, f"{what} on a stream")
