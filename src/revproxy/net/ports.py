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


class PlainPort(Factory):
    """Connections to a listener's plain HTTP port."""

    noisy = False

    def __init__(self, port: ListenerPort) -> None:
        self._port = port

    def buildProtocol(self, addr: Any) -> Any:
        """A front that speaks without TLS."""
        return H1Front(self._port, addr.host, None)


class TlsPort(Factory):
    """Connections to a listener's TLS port.

    Attributes:
        choose: decides which certificate is served; assigned anew by a reload.
    """

    noisy = False

    def __init__(self, port: ListenerPort, choose: ChooseIdentity) -> None:
        self._port = port
        self.choose = choose

    def buildProtocol(self, addr: Any) -> Any:
        """A TLS layer that makes a front when its handshake is done."""
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
