"""TLS towards an upstream: verified, or there is no connection.

Owns the beginning of the handshake and the report of its failure. Whatever an upstream sends
before the handshake is complete is part of the handshake or its end. Refuses to know where the
trust comes from.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twisted.python.failure import Failure

from revproxy.errors import ProxyError, Side
from revproxy.model.tls import TlsContext
from revproxy.net.tls_layer import TlsLayer, Upper, tls_reason


class ClientTls(TlsLayer):
    """The upstream side: verifies the upstream's certificate against ``name``.

    Args:
        upper: gets the connection once it is verified.
        context: a client context that verifies.
        name: sent as SNI and checked; an IP address is checked against IP SANs.
        failed: told instead of ``upper`` when the handshake fails.
        first: sent before the ClientHello.
    """

    def __init__(
        self,
        upper: Upper,
        context: TlsContext,
        name: str,
        failed: Callable[[ProxyError], None],
        first: bytes = b"",
    ) -> None:
        super().__init__()
        self.upper = upper
        self._context = context
        self._name = name
        self._report = failed
        self._first = first

    def makeConnection(self, transport: Any) -> None:
        """Send the ClientHello."""
        super().makeConnection(transport)
        if self._first:
            transport.write(self._first)
        self._begin(self._context, server=False, name=self._name)
        self._handshake()

    def loseWriteConnection(self) -> None:
        """Close our sending side only; what the upstream says after that is still read."""
        super().loseWriteConnection()
        self._flowing = self._established and not self._read_closed

    def _not_flowing(self, data: bytes) -> None:
        """Of the handshake; what comes after both ends is nobody's."""
        if not self._write_closed:
            super()._not_flowing(data)

    def _handshake_done(self) -> None:
        assert self.upper is not None
        self.upper.makeConnection(self)

    def _failed(self, error: Exception | None) -> None:
        self.transport.abortConnection()
        if not self._established:
            reason = tls_reason(error) if error else "connection closed in the tls handshake"
            self._report(ProxyError(Side.UPSTREAM, 502, reason))

    def connectionLost(self, reason: Failure) -> None:
        """The TCP connection is gone, perhaps before the handshake was done."""
        if not self._established and self._tls is not None:
            self._report(ProxyError(Side.UPSTREAM, 502, "connection lost in the tls handshake"))
        super().connectionLost(reason)
