"""A raw HTTP/2 downstream over a real connection: sends exactly the frames it is told to.

Owns the socket, the frames that came back, and responses put together from them. Refuses to keep
any rule of the protocol by itself, but for the preface and the windows it gives.
"""

from __future__ import annotations

import ssl
import time
from collections.abc import Callable
from dataclasses import dataclass, field

import hpack

from revproxy.model.http import Field
from revproxy.wire.h2 import frames
from tests.support.byte_stream import StreamEndedError
from tests.support.certificates import authority
from tests.support.h2_wire import Frame, headers, sent_frames
from tests.support.raw_client import RawClient

WIDE = frames.settings({frames.INITIAL_WINDOW_SIZE: frames.MAX_WINDOW}) + frames.window_update(
    0, frames.MAX_WINDOW - frames.DEFAULT_WINDOW
)
"""A client that takes everything."""


@dataclass
class Answer:
    """What has come on one stream; ``reset`` is the code of an RST_STREAM."""

    status: int = 0
    fields: list[Field] = field(default_factory=list)
    body: bytes = b""
    trailers: list[Field] = field(default_factory=list)
    interim: list[int] = field(default_factory=list)
    ended: bool = False
    reset: int | None = None

    @property
    def over(self) -> bool:
        """Whether nothing more can come."""
        return self.ended or self.reset is not None


class RawH2:
    """One connection to the proxy.

    Attributes:
        answers: by stream.
        goaway: the code of the last GOAWAY; None without one.
        others: PING, SETTINGS and WINDOW_UPDATE frames that have come.
    """

    def __init__(
        self,
        port: int,
        name: str,
        *,
        window: bytes = WIDE,
        source: str = "",
        receive_buffer: int = 0,
    ) -> None:
        context = ssl.create_default_context(cafile=authority().ca_path)
        context.set_alpn_protocols(["h2"])
        self.client = RawClient.tls(
            port, name, context=context, source=source, receive_buffer=receive_buffer
        )
        assert self.client.tls_sock.selected_alpn_protocol() == "h2"
        self.name = name.encode()
        self.answers: dict[int, Answer] = {}
        self.goaway: int | None = None
        self.others: list[Frame] = []
        self._decoder = hpack.Decoder()
        opening = frames.settings({}) if not window.startswith(b"\0\0\6\4") else b""
        self.client.send(frames.PREFACE + opening + window)

    def fields(
        self,
        path: bytes = b"/",
        *more: Field,
        method: bytes = b"GET",
        host: bytes | None = None,
    ) -> list[Field]:
        """A request's fields."""
        start = [(b":method", method), (b":scheme", b"https")]
        return [*start, (b":authority", host or self.name), (b":path", path), *more]

    def send(self, *raw: bytes) -> RawH2:
        """Send bytes; a proxy that has already gone is no error."""
        self.client.send(*raw)
        return self

    def get(self, stream: int, path: bytes = b"/", *more: Field, **how: bytes) -> Answer:
        """GET on a stream, and its whole answer."""
        self.send(headers(stream, self.fields(path, *more, **how)))
        return self.answer(stream)

    def answer(self, stream: int, timeout: float = 10.0) -> Answer:
        """What comes on ``stream`` until it is over, or the connection is."""
        self.read(lambda: self.answers.get(stream, Answer()).over, timeout)
        return self.answers.get(stream, Answer())

    def read(self, until: Callable[[], bool] = lambda: False, timeout: float = 10.0) -> None:
        """Take frames until ``until()`` or the end of the connection."""
        self.client.stream.timeout = timeout
        while not until():
            head = self.client.stream.exactly(frames.HEADER_BYTES)
            if len(head) < frames.HEADER_BYTES:
                return
            high, low = frames.read_header(head, 0)[:2]
            self._take(sent_frames(head + self.client.stream.exactly(high << 8 | low))[0])

    def ping(self, timeout: float = 10.0) -> None:
        """Wait until the proxy has read everything that was sent.

        Raises:
            StreamEndedError: it has ended the connection instead.
        """
        before = len(self.others)
        self.send(frames.ping(b"are you?", ack=False))

        def answered() -> bool:
            return any(one.payload == b"are you?" for one in self.others[before:])

        self.read(answered, timeout)
        if not answered():
            raise StreamEndedError("no answer to a ping")

    def ends_with(self, code: int) -> bool:
        """Whether the proxy says GOAWAY with ``code`` and ends the connection in time."""
        started = time.monotonic()
        self.read()
        return self.goaway == code and time.monotonic() - started < 5

    def close(self) -> None:
        """Close at once."""
        self.client.close()

    def _take(self, one: Frame) -> None:
        if one.kind == frames.GOAWAY:
            self.goaway = frames.read_word(one.payload, 4)[0]
        elif not one.stream:
            self.others.append(one)
        else:
            self._on_stream(one, self.answers.setdefault(one.stream, Answer()))

    def _on_stream(self, one: Frame, answer: Answer) -> None:
        if one.kind == frames.HEADERS:
            assert one.flags & frames.END_HEADERS, "a head in several frames"
            fields = self._decoder.decode(one.payload, raw=True)
            self._on_head([(bytes(name), bytes(value)) for name, value in fields], answer)
        elif one.kind == frames.DATA:
            answer.body += one.payload
        elif one.kind == frames.RST_STREAM:
            answer.reset = frames.read_word(one.payload)[0]
        if one.kind in (frames.HEADERS, frames.DATA) and one.flags & frames.END_STREAM:
            answer.ended = True

    def _on_head(self, fields: list[Field], answer: Answer) -> None:
        if answer.status:
            answer.trailers = fields
        elif (status := int(fields[0][1])) < 200:
            answer.interim.append(status)
        else:
            answer.status, answer.fields = status, fields[1:]
