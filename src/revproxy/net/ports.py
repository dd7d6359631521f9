"""What accepted connections become: a TLS layer with a front on it, or a plain front.

Owns the two protocol factories. Refuses to know where they listen and how certificates are
chosen.
"""

from __future__ import annotations

from typing import Any

from twisted.internet.protocol import Factory

from revproxy.model.seams import ChooseIdentity
from revproxy.net.h1_front import H1Front
from revproxy.net.plan import ListenerPort
from revproxy.net.tls_downstream import ServerTls
from revproxy.policy.forwarded import connection_key


class _Port(Factory):
    """Admits connections within the limits, and counts them."""

    noisy = False

    def __init__(self, port: ListenerPort) -> None:
        self._port = port

    def buildProtocol(self, addr: Any) -> Any:
        """The protocol of an accepted connection; None closes it at once."""
        port = self._port
        if port.counts.enter(connection_key(addr.host)):
            return self._protocol(addr.host)
        port.router.plan.log.record(
            "debug", "CONNECTION_LIMIT", (("client_ip", addr.host), ("open", port.counts.total))
        )
        return None

    def disconnected(self, address: str) -> None:
        """A connection from ``address`` is gone."""
        self._port.counts.leave(connection_key(address))

    def _protocol(self, peer: str) -> Any:
        raise NotImplementedError


class PlainPort(_Port):
    """Connections to a listener's plain HTTP port."""

    def _protocol(self, peer: str) -> H1Front:
        return H1Front(self._port, peer, None)


class TlsPort(_Port):
    """Connections to a listener's TLS port.

    Attributes:
        choose: decides which certificate is served; assigned anew by a reload.
    """

    def __init__(self, port: ListenerPort, choose: ChooseIdentity) -> None:
        super().__init__(port)
        self.choose = choose

    def _protocol(self, peer: str) -> ServerTls:
        plan = self._port.router.plan
        return ServerTls(
            self.choose,
            self._accept,
            self._refused,
            self._port.deadlines,
            plan.timeouts,
            plan.limits.client_hello_bytes,
        )

    def _accept(self, tls: ServerTls) -> H1Front:
        return H1Front(self._port, tls.transport.getPeer().host, tls.identity)

    def _refused(self, tls: ServerTls, level: str, reason: str) -> None:
        record = (
            ("client_ip", tls.transport.getPeer().host),
            ("server_name", tls.hello.server_name),
            ("error", reason),
        )
        self._port.router.plan.log.record(level, "TLS_REFUSED", record)
