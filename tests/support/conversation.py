"""Scripts of an upstream: what it answers to a request, and how.

Owns one request's reading and answering, leniently. Refuses to know connections but its own.
"""

from __future__ import annotations

import select
import socket
import ssl
import struct
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from tests.support.byte_stream import ByteStream, StreamEndedError

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


@dataclass
class ReceivedRequest:
    """One request as it arrived; ``complete`` is False when its body was cut."""

    method: bytes
    target: bytes
    version: bytes
    fields: list[tuple[bytes, bytes]]
    head: bytes
    connection: int
    body: bytes = b""
    trailers: list[tuple[bytes, bytes]] = field(default_factory=list)
    complete: bool = False

    def values(self, name: bytes) -> list[bytes]:
        """Every value of a header field, in order."""
        return [value for key, value in self.fields if key.lower() == name.lower()]

    def value(self, name: bytes) -> bytes | None:
        """The only value of a header field; None without one."""
        found = self.values(name)
        assert len(found) < 2, f"{name!r} is repeated: {found!r}"
        return found[0] if found else None

    def names(self) -> set[bytes]:
        """The names of all header fields, in lower case."""
        return {name.lower() for name, _ in self.fields}


@dataclass(frozen=True)
class Answer:
    """Bytes to answer with, piece by piece.

    Attributes:
        pieces: written one after the other, ``gap`` seconds apart.
        then: ``keep`` the connection, ``close`` it, ``reset`` it, or ``hold`` it silently until
            the proxy closes.
        early: answer before reading the request's body, which is then not read unless ``keep``.
    """

    pieces: tuple[bytes, ...]
    then: str = "keep"
    gap: float = 0.0
    early: bool = False


class Conversation:
    """What a script gets: the request's head, and the connection to answer on."""

    def __init__(
        self,
        request: ReceivedRequest,
        stream: ByteStream,
        sock: socket.socket,
        stopping: threading.Event,
    ) -> None:
        self.request = request
        self._stream = stream
        self._sock = sock
        self._stopping = stopping
        self._body_read = False
        self.open = True

    def send(self, *pieces: bytes, gap: float = 0.0) -> None:
        """Write each piece by itself."""
        for number, piece in enumerate(pieces):
            if number and gap:
                self.pause(gap)
            self._sock.settimeout(20)
            self._sock.sendall(piece)

    def pause(self, seconds: float) -> None:
        """Wait; a test's own pacing, cut short when the upstream stops."""
        self._stopping.wait(seconds)

    def read_body(self) -> bytes:
        """Read the request's body by its Content-Length or chunks, as far as it comes."""
        if not self._body_read:
            self._body_read = True
            try:
                self._read_framed()
            except (StreamEndedError, ValueError):
                self.open = False
        return self.request.body

    def read_some(self) -> bool:
        """Wait until there are unread bytes from the proxy; False when it has closed."""
        return bool(self._stream.waiting()) or self._stream.fill(
            time.monotonic() + self._stream.timeout
        )

    def is_cut(self, seconds: float) -> bool:
        """Whether the proxy cuts the connection in time, without a byte being read here."""
        poll = select.poll()
        poll.register(self._sock, select.POLLHUP | select.POLLERR)
        return bool(poll.poll(int(seconds * 1000)))

    def hold(self) -> None:
        """Say nothing until the proxy closes this connection."""
        try:
            self._stream.rest()
        except TimeoutError:
            pass
        self.open = False

    def close(self) -> None:
        """End the connection with FIN (after close_notify), reading what still comes."""
        self.open = False
        try:
            if isinstance(self._sock, ssl.SSLSocket):
                self._sock.settimeout(1)
                self._sock.unwrap()
            self._sock.shutdown(socket.SHUT_WR)
            self._stream.timeout = 2.0
            self._stream.rest()
        except (OSError, ValueError):
            pass

    def reset(self) -> None:
        """End the connection with RST."""
        self.open = False
        if self._sock.family != socket.AF_UNIX:
            linger = struct.pack("ii", 1, 0)
            self._sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
        self._sock.close()

    def _read_framed(self) -> None:
        request = self.request
        if any(b"chunked" in value.lower() for value in request.values(b"Transfer-Encoding")):
            while size := int(self._stream.until(b"\r\n").split(b";")[0], 16):
                request.body += self._stream.exactly(size)
                self._stream.until(b"\r\n")
            while (line := self._stream.until(b"\r\n")) != b"\r\n":
                name, _, value = line.partition(b":")
                request.trailers.append((name, value.strip()))
        elif lengths := request.values(b"Content-Length"):
            request.body = self._stream.exactly(int(lengths[0]))
            if len(request.body) < int(lengths[0]):
                raise StreamEndedError
        request.complete = True


Script = bytes | Answer | Callable[[Conversation], None]


def perform(script: Script, conversation: Conversation) -> None:
    """Answer one request as ``script`` says."""
    if callable(script):
        script(conversation)
        return
    answer = Answer((script,)) if isinstance(script, bytes) else script
    if not answer.early:
        conversation.read_body()
    conversation.send(*answer.pieces, gap=answer.gap)
    if answer.then == "hold":
        conversation.hold()
    elif answer.then == "close":
        conversation.close()
    elif answer.then == "reset":
        conversation.reset()
    else:
        conversation.read_body()
