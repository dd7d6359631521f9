"""Frames that no honest client sends, and a receiver that answers whatever it gets."""

from __future__ import annotations

from itertools import chain

from hypothesis import strategies as st

from revproxy.errors import BadRequest
from revproxy.model.http import CHUNKED, Field, RequestHead
from revproxy.wire.h2 import frames
from revproxy.wire.h2.connection import H2Connection
from revproxy.wire.h2.errors import H2ConnectionError
from revproxy.wire.h2.limits import H2Limits
from revproxy.wire.h2.sending import CONNECTION_WINDOW
from revproxy.wire.h2.stream import Stream
from tests.support.h2_wire import GET, POST, frame, literal_block, response, sent_frames

LIMITS = H2Limits(
    max_streams=4, resets=20, settings=20, pings=20, priorities=20, empty_frames=20,
    window_updates=40, continuations=5, header_list_bytes=20000, trailer_bytes=1000,
    connect_protocol=True,
)  # fmt: skip

_BLOCKS = [
    literal_block(GET),
    literal_block(POST),
    literal_block([*POST, (b"content-length", b"5")]),
    literal_block([(b"x", b"y")]),
    literal_block([*GET, (b"connection", b"close")]),
    literal_block([*GET[:3], (b":path", b"/" * 9000)]),
    b"\x82\x87\x84\x41\x01a\x40\x01x\x01y",
    b"\x82\x87\x84\xbe",
]
_payloads = (
    st.sampled_from(_BLOCKS)
    | st.binary(max_size=12)
    | st.sampled_from([b"", b"\0\0\0\1", b"\x7f\xff\xff\xff", b"12345678", b"x" * 5, b"x" * 16384])
    | st.lists(st.tuples(st.integers(0, 9), st.integers(0, 2**32 - 1)), max_size=3).map(
        lambda pairs: frames.settings(dict(pairs))[9:]
    )
)
_kinds = st.sampled_from([0, 0, 1, 1, 1, 1, 9, 3, 4, 8]) | st.integers(0, 20)
_flags = st.sampled_from([0, 1, 4, 4, 5, 5, 5, 8, 0x2D]) | st.integers(0, 255)
_streams = st.sampled_from([0, 1, 1, 3, 3, 5, 7, 9, 11]) | st.integers(0, 2**32 - 1)

_wild = st.tuples(_kinds, _flags, _streams, _payloads)
_odd = st.sampled_from([1, 3, 5, 7, 9, 11, 13])
_likely = st.one_of(
    st.tuples(st.just(1), st.sampled_from([4, 5]), _odd, st.sampled_from(_BLOCKS)),
    st.tuples(st.just(0), st.sampled_from([0, 0, 1]), _odd, st.sampled_from([b"", b"x" * 5])),
    st.tuples(st.just(3), st.just(0), st.sampled_from([1, 3]), st.just(b"\0\0\0\x08")),
    st.tuples(st.just(8), st.just(0), st.sampled_from([0, 1, 3]), st.sampled_from([b"\0\1\0\0"])),
    st.tuples(
        st.just(4),
        st.just(0),
        st.just(0),
        st.sampled_from([0, 1, 60_000, 2**20]).map(lambda size: frames.settings({4: size})[9:]),
    ),
    st.tuples(st.sampled_from([2, 16, 99]), st.just(0), _odd, st.just(b"12345")),
    st.tuples(st.just(6), st.sampled_from([0, 1]), st.just(0), st.just(b"draining")),
    st.tuples(st.just(7), st.just(0), st.just(0), st.just(b"\0" * 8)),
)
_begun = st.lists(st.sampled_from(_BLOCKS[:3]), max_size=4).map(
    lambda blocks: [(1, 4, 2 * at + 1, block) for at, block in enumerate(blocks)]
)
FRAMES = st.tuples(
    _begun, st.lists(_likely, max_size=30), st.one_of(st.just([]), st.lists(_wild, max_size=5))
).map(lambda parts: b"".join([frame(kind, *more) for kind, *more in chain(*parts)]))
CUTS = st.lists(st.integers(1, 300), max_size=20)


class Answering:
    """Answers each request in another way, by its stream's number, from within the call."""

    connection: H2Connection

    def __init__(self) -> None:
        self.known: set[int] = set()

    def request(self, stream: Stream, head: RequestHead, *, end: bool) -> None:
        assert stream.id not in self.known
        self.known.add(stream.id)
        assert head.content_length == 0 or not end
        turn = stream.id // 2 % 5
        if turn == 0:
            self.connection.send_head(stream, response(length=0))
        elif turn == 1:
            self.connection.send_head(stream, response(length=CHUNKED))
            self.connection.send_data(stream, b"x" * 200_000)
        elif turn == 2:
            self.connection.reset(stream, 2)

    def bad_request(self, stream: Stream, error: BadRequest) -> None:
        self.known.add(stream.id)
        self.connection.send_head(stream, response(status=error.status, length=2))
        self.connection.send_data(stream, b"no")

    def body(self, stream: Stream, content: bytes) -> None:
        assert content and stream.open and stream.id in self.known
        self.connection.consumed(stream, len(content))
        if stream.id % 4 == 1:
            self.connection.send_data(stream, content)

    def end(self, stream: Stream, trailers: list[Field]) -> None:
        assert stream.open and stream.id in self.known
        self.connection.finish(stream, [(b"x", b"y")] if stream.id % 3 else [])

    def reset(self, stream: Stream, code: int) -> None:
        assert not stream.open and stream.id in self.known
        self.known.remove(stream.id)

    def full(self, stream: Stream) -> None:
        assert stream.queued >= LIMITS.buffered_bytes

    def drained(self, stream: Stream) -> None:
        assert stream.open
        self.connection.send_data(stream, b"more")

    def goaway(self, code: int) -> None:
        self.connection.drain()


def feed(received: bytes, cuts: list[int]) -> str:
    """Give ``received`` to a connection in pieces; why it ended the connection, or ``""``.

    Raises:
        AssertionError: it holds more than it may, or its receiver was told what cannot be.
    """
    receiver = Answering()
    connection = receiver.connection = H2Connection(receiver, LIMITS)
    pieces = []
    for cut in cuts:
        pieces.append(received[:cut])
        received = received[cut:]
    for piece in [*pieces, received]:
        try:
            connection.receive(piece, 0.0)
            while connection.behind:
                connection.receive(b"", 0.0)
        except H2ConnectionError as error:
            sent = sent_frames(connection.take())
            assert sent[-1].kind == frames.GOAWAY
            return error.reason
        check(connection, receiver)
        sent_frames(connection.take())
    return ""


def check(connection: H2Connection, receiver: Answering) -> None:
    """What must hold between any two reads."""
    streams = connection.streams
    assert len(streams) <= LIMITS.max_streams
    assert streams.keys() <= receiver.known
    assert sum(stream.unconsumed for stream in streams.values()) <= CONNECTION_WINDOW
    assert all(stream.open for stream in streams.values())
    assert all(
        stream.queued == sum(map(len, stream.queue or ())) <= LIMITS.buffered_bytes + 200_004
        for stream in streams.values()
    )
    assert len(connection._rest) < frames.MAX_FRAME + frames.HEADER_BYTES
    assert sum(map(len, connection._block)) <= LIMITS.header_list_bytes
