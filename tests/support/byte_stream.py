"""Buffered, bounded reading from a blocking socket, for both ends of a test.

Owns how bytes are awaited and how a connection's end is told apart (clean, reset, timed out).
Refuses to know HTTP.
"""

from __future__ import annotations

import socket
import ssl
import time


class StreamEndedError(Exception):
    """The peer ended the connection before what was awaited had arrived."""


class ByteStream:
    """What arrives on a socket, in order, with one deadline for every wait.

    Attributes:
        seen: every byte that has arrived so far.
        ended: ``""`` while open, then ``"clean"`` (FIN, on TLS after close_notify),
            ``"ragged"`` (FIN without close_notify) or ``"reset"``.
    """

    def __init__(self, sock: socket.socket, timeout: float = 10.0, chunk: int = 65536) -> None:
        self._sock = sock
        self._chunk = chunk
        self._buffer = bytearray()
        self.timeout = timeout
        self.seen = bytearray()
        self.ended = ""

    def fill(self, deadline: float) -> bool:
        """Wait for more bytes until ``deadline`` (monotonic); False at the end.

        Raises:
            TimeoutError: nothing came in time.
        """
        if self.ended:
            return False
        self._sock.settimeout(max(0.001, deadline - time.monotonic()))
        try:
            received = self._sock.recv(self._chunk)
        except ssl.SSLZeroReturnError:
            received, self.ended = b"", "clean"
        except ssl.SSLEOFError:
            received, self.ended = b"", "ragged"
        except TimeoutError:
            raise
        except OSError:
            received, self.ended = b"", "reset"
        if not received:
            self.ended = self.ended or "clean"
            return False
        self.seen += received
        self._buffer += received
        return True

    def until(self, mark: bytes, limit: int = 1 << 24) -> bytes:
        """The bytes up to and including ``mark``."""
        deadline = time.monotonic() + self.timeout
        start = 0
        while (found := self._buffer.find(mark, start)) < 0:
            start = max(0, len(self._buffer) - len(mark))
            if len(self._buffer) > limit:
                raise StreamEndedError(f"no {mark!r} within {limit} bytes")
            if not self.fill(deadline):
                raise StreamEndedError(
                    f"{self.ended} end before {mark!r}: {bytes(self._buffer)!r}"
                )
        return self._take(found + len(mark))

    def exactly(self, count: int) -> bytes:
        """The next ``count`` bytes; fewer only when the stream ended before."""
        deadline = time.monotonic() + self.timeout
        while len(self._buffer) < count and self.fill(deadline):
            pass
        return self._take(count)

    def rest(self) -> bytes:
        """Everything up to the end of the connection."""
        deadline = time.monotonic() + self.timeout
        while self.fill(deadline):
            pass
        return self._take(len(self._buffer))

    def waiting(self) -> bytes:
        """What has arrived and was not taken yet."""
        return bytes(self._buffer)

    def _take(self, count: int) -> bytes:
        taken = bytes(self._buffer[:count])
        del self._buffer[:count]
        return taken
