"""A TLS client on memory buffers: records cut anywhere, and half-close with close_notify.

Owns its socket and handshake. Refuses to know HTTP; ``raw_client.py`` is for that.
"""

from __future__ import annotations

import socket
import ssl
from collections.abc import Callable
from typing import TypeVar

from tests.support.raw_client import client_context

T = TypeVar("T")


def first_flight(name: str) -> bytes:
    """What a client that asks for ``name`` sends first."""
    outgoing = ssl.MemoryBIO()
    tls = client_context().wrap_bio(ssl.MemoryBIO(), outgoing, server_hostname=name)
    try:
        tls.do_handshake()
    except ssl.SSLWantReadError:
        pass
    return outgoing.read()


class TlsClient:
    """A connection with its handshake done, everything sent in pieces of ``size`` bytes."""

    def __init__(self, port: int, name: str, size: int = 65536) -> None:
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._tls = client_context().wrap_bio(self._incoming, self._outgoing, server_hostname=name)
        self._size = size
        self._sock = socket.create_connection(("127.0.0.1", port), 10)
        self._sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        try:
            self._complete(self._tls.do_handshake)
        except BaseException:
            self.close()
            raise

    def send(self, raw: bytes) -> None:
        """Encrypt and send."""
        self._tls.write(raw)
        self._flush()

    def half_close(self) -> None:
        """Send close_notify and FIN, and go on reading."""
        try:
            self._tls.unwrap()
        except ssl.SSLWantReadError:
            pass
        self._flush()
        self._sock.shutdown(socket.SHUT_WR)

    def read(self) -> bytes:
        """The next plaintext; empty at the end."""
        try:
            return self._complete(lambda: self._tls.read(65536))
        except (ssl.SSLZeroReturnError, ssl.SSLEOFError):
            return b""

    def read_until_close(self) -> bytes:
        """All plaintext until the end."""
        return b"".join(iter(self.read, b""))

    def close(self) -> None:
        """Close the socket."""
        self._sock.close()

    def _flush(self) -> None:
        pending = self._outgoing.read()
        for at in range(0, len(pending), self._size):
            self._sock.sendall(pending[at : at + self._size])

    def _complete(self, step: Callable[[], T]) -> T:
        while True:
            try:
                result = step()
                self._flush()
                return result
            except ssl.SSLWantReadError:
                self._flush()
                received = self._sock.recv(65536)
                if received:
                    self._incoming.write(received)
                else:
                    self._incoming.write_eof()
