"""What HTTP/2 tests share: frames, and a receiver that writes down what it is told."""

from __future__ import annotations

from typing import NamedTuple

import hpack

from revproxy.errors import BadRequest
from revproxy.model.http import CHUNKED, Field, RequestHead, ResponseHead
from revproxy.wire.h2 import frames
from revproxy.wire.h2.connection import H2Connection
from revproxy.wire.h2.errors import H2ConnectionError
from revproxy.wire.h2.limits import H2Limits
from revproxy.wire.h2.stream import Stream

GET: list[Field] = [
    (b":method", b"GET"),
    (b":scheme", b"https"),
    (b":authority", b"a.test"),
    (b":path", b"/"),
]
POST = [(b":method", b"POST"), *GET[1:]]

OPENING = frames.PREFACE + frames.settings({})
"""What a client says first."""


class Frame(NamedTuple):
    """One frame that was sent."""

    kind: int
    flags: int
    stream: int
    payload: bytes


def sent_frames(sent: bytes) -> list[Frame]:
    """Take apart what a connection has sent."""
    found = []
    while sent:
        high, low, kind, flags, stream = frames.read_header(sent, 0)
        end = 9 + (high << 8 | low)
        found.append(Frame(kind, flags, stream, sent[9:end]))
        sent = sent[end:]
    return found


def frame(kind: int, flags: int, stream: int, payload: bytes = b"") -> bytes:
    """Any frame at all."""
    return frames.frame_header(len(payload), kind, flags, stream) + payload


def literal_block(fields: list[Field]) -> bytes:
    """A header block that needs no table and accepts anything as a field."""
    encoder = hpack.Encoder()
    never = [hpack.NeverIndexedHeaderTuple(name, value) for name, value in fields]
    return encoder.encode(never, huffman=False)


def headers(stream: int, fields: list[Field] = GET, *, end: bool = True) -> bytes:
    """A request's head, or its trailers."""
    return frames.headers_frames(stream, literal_block(fields), end=end)


def body(stream: int, content: bytes, *, end: bool = False) -> bytes:
    """A DATA frame."""
    return frame(frames.DATA, frames.END_STREAM if end else 0, stream, content)


def response(
    fields: list[Field] | None = None, *, status: int = 200, length: int = CHUNKED
) -> ResponseHead:
    """A response head with a body of ``length``."""
    head = ResponseHead()
    head.status = status
    head.reason = b""
    head.fields = fields or []
    head.content_length = length
    head.body_length = length
    head.keep_alive = True
    head.has_date = False
    return head


class Recorder:
    """Writes down what it is told, as tuples that begin with what it was."""

    def __init__(self) -> None:
        self.told: list[tuple[object, ...]] = []
        self.heads: dict[int, RequestHead] = {}
        self.streams: dict[int, Stream] = {}

    def request(self, stream: Stream, head: RequestHead, *, end: bool) -> None:
        self.told.append(("request", stream.id, end))
        self.heads[stream.id] = head
        self.streams[stream.id] = stream

    def bad_request(self, stream: Stream, error: BadRequest) -> None:
        self.told.append(("bad_request", stream.id, error.status))
        self.streams[stream.id] = stream

    def body(self, stream: Stream, content: bytes) -> None:
        self.told.append(("body", stream.id, content))

    def end(self, stream: Stream, trailers: list[Field]) -> None:
        self.told.append(("end", stream.id, trailers))

    def reset(self, stream: Stream, code: int) -> None:
        self.told.append(("reset", stream.id, code))

    def full(self, stream: Stream) -> None:
        self.told.append(("full", stream.id))

    def drained(self, stream: Stream) -> None:
        self.told.append(("drained", stream.id))

    def goaway(self, code: int) -> None:
        self.told.append(("goaway", code))


class Server:
    """A connection with its recorder, past the opening.

    Args:
        limits: of the connection; the defaults without.
        opening: what the client has said already.
    """

    def __init__(self, limits: H2Limits | None = None, opening: bytes = OPENING) -> None:
        self.heard = Recorder()
        self.connection = H2Connection(self.heard, limits or H2Limits())
        self.now = 0.0
        if opening:
            self.receive(opening)
            self.connection.take()

    @property
    def told(self) -> list[tuple[object, ...]]:
        return self.heard.told

    def receive(self, *received: bytes) -> None:
        for part in received:
            self.connection.receive(part, self.now)
            while self.connection.behind:
                self.connection.receive(b"", self.now)

    def sent(self) -> list[Frame]:
        """The frames that have gathered."""
        sent = b""
        while part := self.connection.take():
            sent += part
        return sent_frames(sent)

    def stream(self, identifier: int) -> Stream:
        return self.heard.streams[identifier]

    def refusal(self, *received: bytes) -> tuple[int, str]:
        """The code and the reason that end the connection; its last frame must say the code."""
        try:
            self.receive(*received)
        except H2ConnectionError as error:
            last = self.sent()[-1]
            assert last.kind == frames.GOAWAY, last
            assert frames.read_word(last.payload, 4)[0] == error.code, last
            return error.code, error.reason
        return -1, "no refusal"

    def resets(self) -> dict[int, int]:
        """The codes of the RST_STREAM frames that have gathered, by stream."""
        return {
            frame.stream: frames.read_word(frame.payload)[0]
            for frame in self.sent()
            if frame.kind == frames.RST_STREAM
        }
