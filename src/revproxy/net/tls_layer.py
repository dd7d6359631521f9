"""TLS between a TCP transport and what speaks through it, on ``ssl.MemoryBIO``.

Owns what both sides of a handshake have in common: records in, records out, orderly close.
Towards the TCP transport a layer is a Twisted protocol; towards its upper protocol it is the
transport. ``tls_downstream.py`` and ``tls_upstream.py`` say how a handshake begins. Refuses to
know certificates and HTTP.

About 2 µs a request, against 14-20 µs through pyOpenSSL (docs/architecture/decisions/0003).
"""

from __future__ import annotations

from ssl import MemoryBIO, SSLError, SSLObject, SSLWantReadError, SSLZeroReturnError
from typing import Any, Protocol

from twisted.internet.interfaces import IHalfCloseableProtocol
from twisted.python.failure import Failure
from zope.interface import implementer

from revproxy.model.tls import TlsContext

RECORD_BYTES = 16384
"""The most plaintext one record holds (RFC 8446 5.1)."""

WRITE_BYTES = 65536
"""Plaintext is encrypted in pieces of this size, which bounds the buffer OpenSSL keeps."""


class Upper(Protocol):
    """What speaks through a TLS layer (or directly through a TCP transport)."""

    def makeConnection(self, transport: Any) -> None:
        """Writing is possible."""

    def dataReceived(self, data: bytes) -> None:
        """Plaintext has come."""

    def readConnectionLost(self) -> None:
        """The peer will send no more; ``transport.read_cut`` says if that may be a cut."""

    def connectionLost(self, reason: Failure) -> None:
        """The connection is gone, both ways."""


@implementer(IHalfCloseableProtocol)
class TlsLayer:
    """What the two sides have in common, from the first handshake byte on."""

    upper: Upper | None = None
    read_cut = False
    """Whether the peer's sending side ended without a close_notify."""

    def __init__(self) -> None:
        self.transport: Any = None
        self._tls: SSLObject | None = None
        self._established = False
        self._flowing = False
        self._read_closed = False
        self._write_closed = False

    def makeConnection(self, transport: Any) -> None:
        """The TCP connection is there."""
        self.transport = transport

    def _begin(self, context: TlsContext, *, server: bool, name: str | None = None) -> None:
        self._incoming = MemoryBIO()
        self._outgoing = MemoryBIO()
        self._tls = context.wrap_bio(
            self._incoming, self._outgoing, server_side=server, server_hostname=name
        )

    @property
    def alpn_protocol(self) -> str | None:
        """What the handshake has negotiated (RFC 7301); None for nothing."""
        return None if self._tls is None else self._tls.selected_alpn_protocol()

    # The TCP transport's protocol

    def dataReceived(self, data: bytes) -> None:
        """Take records from the peer."""
        if self._flowing:
            self._incoming.write(data)
            self._decrypt()
        else:
            self._not_flowing(data)

    def _not_flowing(self, data: bytes) -> None:
        """Bytes of the handshake, or after one side has closed."""
        if self._write_closed and self.upper is not None:
            # Only lingering: the upper protocol counts what it throws away.
            self.upper.dataReceived(data)
        elif not self._read_closed:
            # (OpenSSL reads nothing after a close_notify: there it would only pile up.)
            self._incoming.write(data)
            if self._handshake():
                self._decrypt()

    def _decrypt(self) -> None:
        try:
            self._deliver()
        except SSLZeroReturnError:
            # How OpenSSL says what it else says with an empty read, once we have closed our side.
            self._peer_closed()
        except SSLError as error:
            self._flush()
            self._failed(error)
        else:
            if self._outgoing.pending:
                self._flush()

    def _handshake(self) -> bool:
        """Go on with the handshake; returns whether it is complete and data may come."""
        assert self._tls is not None
        try:
            self._tls.do_handshake()
        except SSLWantReadError:
            self._flush()
            return False
        except (SSLError, OSError) as error:
            self._flush()
            self._failed(error)
            return False
        self._established = self._flowing = True
        self._handshake_done()
        return self._flowing

    def _deliver(self) -> None:
        """Hand all plaintext there is to the upper protocol, in one piece.

        The loop avoids the exception by which OpenSSL says that a record is incomplete: after
        a whole record nothing is pending.
        """
        read = self._tls.read  # type: ignore[union-attr]
        incoming = self._incoming
        if not incoming.pending:
            return
        upper = self.upper
        assert upper is not None
        try:
            plain = read(RECORD_BYTES)
            if plain and incoming.pending:
                pieces = [plain]
                try:
                    while incoming.pending:
                        plain = read(RECORD_BYTES)
                        if not plain:
                            break
                        pieces.append(plain)
                finally:
                    upper.dataReceived(b"".join(pieces))
            elif plain:
                upper.dataReceived(plain)
        except SSLWantReadError:
            return
        if not plain:
            self._peer_closed()

    def _peer_closed(self) -> None:
        if not self._read_closed:
            self._read_closed = True
            self._flowing = False
            if self.upper is not None and self._established:
                self.upper.readConnectionLost()

    def readConnectionLost(self) -> None:
        """The peer's FIN. Before the end of the handshake there is nothing to go on with."""
        if not self._established:
            self._failed(None)
        elif not self._read_closed:
            self.read_cut = True
            self._peer_closed()

    def writeConnectionLost(self) -> None:
        """Our own FIN has been sent."""

    def connectionLost(self, reason: Failure) -> None:
        """The TCP connection is gone."""
        upper, self.upper = self.upper, None
        self._tls = None
        if upper is not None and self._established:
            upper.connectionLost(reason)

    # The upper protocol's transport

    def write(self, data: bytes) -> None:
        """Encrypt and send."""
        tls = self._tls
        if tls is None or self._write_closed:
            return
        try:
            if len(data) <= WRITE_BYTES:
                tls.write(data)
                self.transport.write(self._outgoing.read())
                return
            view = memoryview(data)
            for at in range(0, len(data), WRITE_BYTES):
                tls.write(view[at : at + WRITE_BYTES])
                self.transport.write(self._outgoing.read())
        except SSLError:
            self.transport.abortConnection()

    def writeLast(self, data: bytes) -> None:
        """Send ``data`` and close in order; what fits leaves together with the close_notify."""
        if self._tls is not None and not self._write_closed and len(data) <= WRITE_BYTES:
            try:
                self._tls.write(data)
            except SSLError:
                self.transport.abortConnection()
                return
        else:
            self.write(data)
        self.loseConnection()

    def loseConnection(self) -> None:
        """Close in order: close_notify, then FIN once everything is sent."""
        self._send_close_notify()
        self.transport.loseConnection()

    def loseWriteConnection(self) -> None:
        """Close our sending side only."""
        self._send_close_notify()
        self.transport.loseWriteConnection()

    def abortConnection(self) -> None:
        """Close at once, without close_notify: the peer sees a cut."""
        self.transport.abortConnection()

    def pauseProducing(self) -> None:
        """Stop reading."""
        self.transport.pauseProducing()

    def resumeProducing(self) -> None:
        """Read again, if the peer may still send."""
        if not self._read_closed:
            self.transport.resumeProducing()

    def registerProducer(self, producer: Any, streaming: bool) -> None:
        """``producer`` is paused when the TCP transport's queue is full."""
        self.transport.registerProducer(producer, streaming)

    def unregisterProducer(self) -> None:
        """Nobody is paused any more."""
        self.transport.unregisterProducer()

    @property
    def taken(self) -> int:
        """As of the TCP transport."""
        taken: int = self.transport.taken
        return taken

    @property
    def unsent(self) -> int:
        """As of the TCP transport."""
        unsent: int = self.transport.unsent
        return unsent

    @property
    def in_flight(self) -> int:
        """As of the TCP transport."""
        in_flight: int = self.transport.in_flight
        return in_flight

    def _send_close_notify(self) -> None:
        if self._tls is None or self._write_closed:
            return
        self._write_closed = True
        self._flowing = False
        if self._established:
            try:
                self._tls.unwrap()
            except (SSLError, OSError):
                pass
        self._flush()

    def _flush(self) -> None:
        if self._outgoing.pending:
            self.transport.write(self._outgoing.read())

    def _handshake_done(self) -> None:
        raise NotImplementedError

    def _failed(self, error: Exception | None) -> None:
        raise NotImplementedError


def tls_reason(error: Exception | None) -> str:
    """What went wrong in a handshake, in words for the log, without bytes of the peer."""
    if error is None:
        return "closed in the handshake"
    verify = getattr(error, "verify_message", None)
    if verify:
        return f"certificate verification failed: {verify}"
    reason = getattr(error, "reason", None) or type(error).__name__
    return f"tls: {str(reason).lower().replace('_', ' ')}"
