"""HTTP/2 conversations through the proxy without a network: the h2 package is the downstream.

Owns the client and what it has got. Everything of ``playbook.py`` holds here, too. Refuses to
know what is asserted.
"""

from __future__ import annotations

from typing import Any

import h2.config
import h2.connection
import h2.events
import h2.settings
from attrs import define, field

from revproxy.model.http import Field
from revproxy.net.h2_front import H2Front
from revproxy.wire.h2 import frames
from tests.support.fake_sockets import FakeConnection
from tests.support.h2_wire import sent_frames
from tests.support.playbook import Peer, PlaybookCase, Stage

WIDE = 2**31 - 1
"""The window of a client that takes everything."""


@define(eq=False)
class Reply:
    """What has come on one stream.

    Attributes:
        interim: status and fields of each 1xx.
        reset: the code of an RST_STREAM.
    """

    interim: list[tuple[int, list[Field]]] = field(factory=list)
    status: int = 0
    fields: list[Field] = field(factory=list)
    body: bytearray = field(factory=bytearray)
    trailers: list[Field] = field(factory=list)
    ended: bool = False
    reset: int | None = None

    @property
    def whole(self) -> bool:
        """Whether the response has come to its end."""
        return self.ended and self.reset in (None, frames.NO_ERROR)

    @property
    def brief(self) -> tuple[int, bytes]:
        """Status and body."""
        return self.status, bytes(self.body)

    def value(self, name: bytes) -> bytes | None:
        """The value of a field."""
        return dict(self.fields).get(name)


def raw_downstream(stage: Stage, identity: Any = None) -> Peer:
    """A downstream that may say whatever it wants to an HTTP/2 front."""
    front = H2Front(stage.port, "192.0.2.1", identity)
    peer = Peer(stage.reactor, FakeConnection(stage.reactor, front))
    stage.peers.append(peer)
    return peer


class H2Client:
    """A downstream of ``stage`` that speaks HTTP/2, and breaks no rule unless told to.

    Args:
        stage: where it plays.
        window: of every stream and, where larger than the default, of the connection.
        identity: the certificate that it was shown.

    Attributes:
        gives: whether it gives back the window for what it has got.
        goaways: last stream and code of each GOAWAY.
        updates: the increments of the WINDOW_UPDATE frames that have come, by stream.
    """

    def __init__(self, stage: Stage, *, window: int = WIDE, identity: Any = None) -> None:
        self.stage = stage
        self.peer = raw_downstream(stage, identity)
        self.gives = True
        self.replies: dict[int, Reply] = {}
        self.goaways: list[tuple[int, int]] = []
        self.updates: dict[int, list[int]] = {}
        self._rest = b""
        config = h2.config.H2Configuration(client_side=True, header_encoding=None)
        self.h2 = h2.connection.H2Connection(config)
        self.h2.initiate_connection()
        setting = h2.settings.SettingCodes.INITIAL_WINDOW_SIZE
        self.h2.update_settings({setting: window})
        if window > frames.DEFAULT_WINDOW:
            self.h2.increment_flow_control_window(window - frames.DEFAULT_WINDOW)
        self.talk()

    @property
    def front(self) -> H2Front:
        """The proxy's side."""
        front: H2Front = self.peer.protocol
        return front

    def request(
        self,
        path: bytes = b"/",
        *fields: Field,
        method: bytes = b"GET",
        host: bytes = b"a.test",
        body: bytes | None = None,
        end: bool = True,
        talk: bool = True,
    ) -> Reply:
        """Ask; with a ``body``, or to be continued by :meth:`say` unless ``end``."""
        stream = self.h2.get_next_available_stream_id()
        self.replies[stream] = Reply()
        head = [(b":method", method), (b":scheme", b"https"), (b":authority", host),
                (b":path", path), *fields]  # fmt: skip
        self.h2.send_headers(stream, head, end_stream=end and body is None)
        if body is not None:
            self._send(stream, body, end=end)
        if talk:
            self.talk()
        return self.replies[stream]

    def post(self, *fields: Field, body: bytes | None = None, end: bool = False) -> Reply:
        """Begin a POST."""
        return self.request(b"/", *fields, method=b"POST", body=body, end=end)

    def say(self, stream: int, content: bytes, *, end: bool = False) -> None:
        """A part of a request body, which the windows must allow."""
        self._send(stream, content, end=end)
        self.talk()

    def _send(self, stream: int, content: bytes, *, end: bool) -> None:
        most = frames.MAX_FRAME
        while len(content) > most:
            self.h2.send_data(stream, content[:most])
            content = content[most:]
        self.h2.send_data(stream, content, end_stream=end)

    def room(self, stream: int) -> int:
        """How much of a request body may be sent now."""
        return self.h2.local_flow_control_window(stream)

    def cancel(self, stream: int) -> None:
        """Reset a stream."""
        self.h2.reset_stream(stream, frames.CANCEL)
        self.talk()

    def give(self, size: int, stream: int) -> None:
        """Let ``size`` more bytes come on ``stream``, or with 0 on the connection."""
        self.h2.increment_flow_control_window(size, stream or None)
        self.talk()

    def talk(self) -> None:
        """Carry frames both ways until nobody has any more to say."""
        while True:
            said = self.h2.data_to_send()
            if said and not self.peer.ended:
                self.peer.says(said)
            heard = self.peer.heard()
            if not heard:
                break
            self._hear(heard)
        if self.goaways and self.peer.half_closed and not self.peer.ended:
            self.peer.closes()

    def hear(self) -> None:
        """Take what has come, and say nothing."""
        self._hear(self.peer.heard())

    def _hear(self, heard: bytes) -> None:
        """GOAWAY is kept from the package, for which it would be the end of everything."""
        heard = self._rest + heard
        whole = 0
        while len(heard) - whole >= frames.HEADER_BYTES:
            high, low = frames.read_header(heard, whole)[:2]
            end = whole + frames.HEADER_BYTES + (high << 8 | low)
            if end > len(heard):
                break
            raw, whole = heard[whole:end], end
            one = sent_frames(raw)[0]
            if one.kind == frames.GOAWAY:
                last, code = (frames.read_word(one.payload, at)[0] for at in (0, 4))
                self.goaways.append((last, code))
                continue
            if one.kind == frames.HEADERS and self._has_reset(one.stream):
                continue  # the package knows no 1xx on a stream that it has reset
            if one.kind == frames.WINDOW_UPDATE:
                increment = frames.read_word(one.payload)[0]
                self.updates.setdefault(one.stream, []).append(increment)
            for event in self.h2.receive_data(raw):
                self._note(event)
        self._rest = heard[whole:]

    def _has_reset(self, stream: int) -> bool:
        return stream in self.replies and self.replies[stream].reset is not None

    def _note(self, event: Any) -> None:
        reply = self.replies.get(getattr(event, "stream_id", 0) or 0, Reply())
        if isinstance(event, h2.events.InformationalResponseReceived):
            status, *fields = event.headers
            reply.interim.append((int(status[1]), fields))  # type: ignore[arg-type]
        elif isinstance(event, h2.events.ResponseReceived):
            status, *reply.fields = event.headers  # type: ignore[assignment]
            reply.status = int(status[1])
        elif isinstance(event, h2.events.DataReceived):
            reply.body += event.data or b""
            if self.gives and event.flow_controlled_length:
                self.h2.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
        elif isinstance(event, h2.events.TrailersReceived):
            reply.trailers = list(event.headers)  # type: ignore[arg-type]
        elif isinstance(event, h2.events.StreamEnded):
            reply.ended = True
        elif isinstance(event, h2.events.StreamReset):
            reply.reset = int(event.error_code)


class H2Case(PlaybookCase):
    """A conversation a test, over HTTP/2."""

    def connect(self, *, window: int = WIDE, **how: Any) -> tuple[Stage, H2Client]:
        """A stage, ``how`` as for :class:`Stage`, with a client on it."""
        stage = self.stage(**how)
        return stage, H2Client(stage, window=window)
