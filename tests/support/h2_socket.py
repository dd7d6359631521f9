"""A WebSocket over HTTP/2: the ``h2`` package for the stream, ``websockets`` for its frames.

Owns the connection and its one stream. Refuses to know what is asserted.
"""

from __future__ import annotations

import socket
from typing import Any

import h2.config
import h2.connection
import h2.events
from websockets.frames import Frame, Opcode
from websockets.streams import StreamReader

from revproxy.wire.h2.frames import GOAWAY
from tests.support.raw_client import client_context


class H2Socket:
    """Extended CONNECT (RFC 8441) on the first stream of a connection.

    Args:
        port: of the proxy's TLS.
        host: the site's.
        fields: more of the request.
        early: sent before there is an answer.

    Attributes:
        status: of the response.
        fields: of the response.
        ended: whether the server has ended the stream.
        reset: the code of its RST_STREAM.
        offered: whether it offers extended CONNECT.
    """

    def __init__(
        self, port: int, host: str, *fields: tuple[bytes, bytes], early: bytes = b""
    ) -> None:
        plain = socket.create_connection(("127.0.0.1", port), 10)
        plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._sock = client_context(alpn=("h2",)).wrap_socket(plain, server_hostname=host)
        assert self._sock.selected_alpn_protocol() == "h2"
        self.status = 0
        self.fields: dict[bytes, bytes] = {}
        self.ended = False
        self.reset: int | None = None
        self.offered = False
        self._rest = b""
        self._received = StreamReader()
        config = h2.config.H2Configuration(client_side=True, header_encoding=None)
        self._h2 = h2.connection.H2Connection(config)
        self._h2.initiate_connection()
        self._flush()
        while not self.offered:
            self._wait()
        head = [(b":method", b"CONNECT"), (b":protocol", b"websocket"), (b":scheme", b"https"),
                (b":authority", host.encode()), (b":path", b"/chat"),
                (b"sec-websocket-version", b"13"), *fields]  # fmt: skip
        self._h2.send_headers(1, head)
        if early:
            self._h2.send_data(1, early)
        self._flush()
        while not self.status:
            self._wait()

    def send(self, message: bytes | str) -> None:
        """Send one message, in as many DATA frames as the windows want."""
        binary = isinstance(message, bytes)
        content = message if isinstance(message, bytes) else message.encode()
        frame = Frame(Opcode.BINARY if binary else Opcode.TEXT, content)
        self._send(frame.serialize(mask=True))

    def send_close(self) -> None:
        """Send a close frame."""
        self._send(Frame(Opcode.CLOSE, b"\x03\xe8").serialize(mask=True))

    def end(self) -> None:
        """END_STREAM."""
        self._h2.end_stream(1)
        self._flush()

    def read(self) -> Frame:
        """The next frame."""
        parser = Frame.parse(
            self._received.read_exact, mask=False, max_size=1 << 25, extensions=None
        )
        try:
            while True:
                next(parser)
                self._wait()
        except StopIteration as stop:
            frame: Frame = stop.value
            return frame

    def wait_for_end(self) -> None:
        """Read until the stream has ended."""
        while not self.ended and self.reset is None:
            self._wait()

    def close(self) -> None:
        """Close the connection."""
        self._sock.close()

    def _send(self, content: bytes) -> None:
        at = 0
        while at < len(content):
            room = min(self._h2.local_flow_control_window(1), self._h2.max_outbound_frame_size)
            if room:
                self._h2.send_data(1, content[at : at + room])
                at += room
                self._flush()
            else:
                self._wait()

    def _wait(self) -> None:
        """Read once. A GOAWAY is kept from the package, for which it would be the end of all."""
        raw = self._sock.recv(65536)
        if not raw:
            raise ConnectionError("the connection has ended")
        self._rest += raw
        while len(self._rest) >= 9:
            end = 9 + int.from_bytes(self._rest[:3], "big")
            if len(self._rest) < end:
                break
            frame, self._rest = self._rest[:end], self._rest[end:]
            if frame[3] != GOAWAY:
                for event in self._h2.receive_data(frame):
                    self._note(event)
        self._flush()

    def _note(self, event: Any) -> None:
        if isinstance(event, h2.events.RemoteSettingsChanged):
            connect = event.changed_settings.get(8)
            self.offered = connect is not None and connect.new_value == 1
        elif isinstance(event, h2.events.ResponseReceived):
            self.fields = dict(event.headers)  # type: ignore[arg-type]
            self.status = int(self.fields.pop(b":status"))
        elif isinstance(event, h2.events.DataReceived):
            self._received.feed_data(event.data or b"")
            if event.flow_controlled_length:
                self._h2.acknowledge_received_data(event.flow_controlled_length, 1)
        elif isinstance(event, h2.events.StreamEnded):
            self.ended = True
        elif isinstance(event, h2.events.StreamReset):
            self.reset = int(event.error_code)

    def _flush(self) -> None:
        self._sock.sendall(self._h2.data_to_send())
