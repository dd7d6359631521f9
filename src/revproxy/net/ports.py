"""What accepted connections become: a TLS layer with a front on it, or a plain front.

Owns the two protocol factories. Refuses to know where they listen and how certificates are
chosen.
"""

from __future__ import annotations

from collections.abc import Sequence
from ipaddress import ip_address
from typing import Any

from twisted.internet.protocol import Factory

from revproxy.model.configuration import IPNetwork
from revproxy.model.seams import ChooseIdentity
from revproxy.net.gate import Accepting
from revproxy.net.h1_front import H1Front
from revproxy.net.h2_front import H2Front
from revproxy.net.plan import ListenerPort
from revproxy.net.proxy_intake import ProxyIntake
from revproxy.net.relay import Backend, Relay
from revproxy.net.tls_downstream import ServerTls
from revproxy.policy.connection_limit import UNLIMITED, Admission
from revproxy.policy.forwarded import connection_key, is_trusted
from revproxy.policy.sni_routes import SniRoutes


class _Port(Factory):
    """Admits connections within the limits, and counts them.

    Attributes:
        senders: networks that send a PROXY header first; assigned anew by a reload.
    """

    noisy = False

    def __init__(self, port: ListenerPort) -> None:
        self._port = port
        self.senders: tuple[IPNetwork, ...] = ()

    def full(self) -> bool:
        """Whether there are as many connections as there may be."""
        return self._port.connections.full

    def crowded(self, listening: Accepting) -> None:
        """Somebody waits at ``listening``, which is told when there is room."""
        gate = self._port.gate
        gate.hold(listening)
        self._say("max_connections", (("open", self._port.connections.total),))
        self._make_room(gate.room)

    def exhausted(self, listening: Accepting) -> None:
        """There is no descriptor for what ``listening`` would accept."""
        self._port.gate.exhausted(listening)
        self._say("descriptors", (("open", self._port.connections.total),))

    def buildProtocol(self, addr: Any) -> Any:
        """The protocol of an accepted connection; None closes it at once."""
        if self.senders and is_trusted(ip_address(addr.host), self.senders):
            secs = self._port.router.plan.timeouts.proxy_header_secs
            return ProxyIntake(
                self._port.deadlines,
                secs,
                self._settled,
                self._no_header,
                secure=self._port.secure,
            )
        key = connection_key(addr.host, self._port.router.plan.trusted)
        if self._port.connections.next(key) is not Admission.REFUSED:
            return self._protocol(addr.host)
        self._say_refused(addr.host)
        return None

    def _settled(self, transport: Any) -> Any:
        """The protocol of a connection whose PROXY header has come; None closes it at once.

        From now on it counts as its client's, not as its sender's.
        """
        host = transport.client[0]
        key = connection_key(host, self._port.router.plan.trusted)
        connections = self._port.connections
        connections.leave(transport.limit_key, transport)
        admission = connections.next(key)
        transport.limit_key = key
        if connections.enter(key, transport) is Admission.WAITING:
            transport.pauseProducing()
        if admission is not Admission.REFUSED:
            return self._protocol(host)
        self._say_refused(host)
        return None

    def _no_header(self, transport: Any, reason: str) -> None:
        record = (("client_ip", transport.client[0]), ("error", reason))
        self._port.router.plan.log.record("info", "PROXY_REFUSED", record)

    def connected(self, transport: Any) -> None:
        """A connection has its protocol: count it, and perhaps let it wait unread.

        It waits no longer than for its first bytes: that time limit of its protocol runs. The
        oldest of the client's connections that are idle gives way to it.
        """
        plan = self._port.router.plan
        transport.high_water = plan.limits.buffered_bytes
        # Kept, as another plan may trust others by the time it leaves.
        key = connection_key(transport.client[0], plan.trusted)
        if isinstance(transport.protocol, ProxyIntake):
            key = UNLIMITED  # its sender speaks for many clients
        transport.limit_key = key
        connections = self._port.connections
        if connections.enter(key, transport) is Admission.WAITING:
            transport.pauseProducing()
            for other in connections.served(key):
                if other.protocol.give_way():
                    break

    def disconnected(self, transport: Any) -> None:
        """A connection is gone."""
        following = self._port.connections.leave(transport.limit_key, transport)
        if following is not None:
            following.resumeProducing()
        self._port.gate.left()

    def _make_room(self, wanted: int) -> None:
        """Close ``wanted`` connections that are idle, for which others would have to wait."""
        for transport in self._port.connections.all():
            if not wanted:
                return
            wanted -= transport.protocol.give_way()

    def _say_refused(self, peer: str) -> None:
        fields = (("client_ip", peer), ("open", self._port.connections.total))
        self._say("max_connections_per_ip", fields)

    def _say(self, limit: str, fields: Sequence[tuple[str, object]]) -> None:
        """Log that a limit has been reached, at most once in a while."""
        if self._port.gate.due(limit):
            record = (*fields, ("limit", limit))
            self._port.router.plan.log.record("warn", "CONNECTION_LIMIT", record)

    def _protocol(self, peer: str) -> Any:
        raise NotImplementedError


_INTERNAL_ERROR = b"\x15\x03\x03\x00\x02\x02\x50"
"""A TLS alert: there is nobody to answer the ClientHello (RFC 8446 6)."""


class PlainPort(_Port):
    """Connections to a listener's plain HTTP port."""

    def _protocol(self, peer: str) -> H1Front:
        return H1Front(self._port, peer, None)


class TlsPort(_Port):
    """Connections to a listener's TLS port.

    Attributes:
        choose: decides which certificate is served; assigned anew by a reload.
        passed: decides what is passed through; likewise.
    """

    def __init__(self, port: ListenerPort, choose: ChooseIdentity) -> None:
        super().__init__(port)
        self.choose = choose
        self.passed: SniRoutes[Backend] = SniRoutes(())

    def _protocol(self, peer: str) -> ServerTls:
        plan = self._port.router.plan
        return ServerTls(
            self.choose,
            self._accept,
            self._refused,
            self._passed,
            self._port.deadlines,
            plan.timeouts,
            plan.limits.client_hello_bytes,
        )

    def _accept(self, tls: ServerTls) -> H1Front | H2Front | None:
        if tls.identity is not None and tls.identity.validates:
            fields = (
                ("client_ip", tls.transport.getPeer().host),
                ("server_name", tls.hello.server_name),
                ("challenge", "tls-alpn-01"),
            )
            self._port.router.plan.log.record("info", "ACME_VALIDATION", fields)
            return None
        front = H2Front if tls.alpn_protocol == "h2" else H1Front
        return front(self._port, tls.transport.getPeer().host, tls.identity)

    def _passed(self, tls: ServerTls) -> Relay | None:
        hello = tls.hello
        backend = self.passed.find(hello.server_name)
        if backend is None:
            return None
        return Relay(
            self._port,
            backend,
            server_name=hello.server_name,
            alpn=hello.alpn[0] if len(hello.alpn) == 1 else b"",
            unreachable=_INTERNAL_ERROR,
        )

    def _refused(self, tls: ServerTls, level: str, reason: str) -> None:
        peer = tls.transport.getPeer().host
        if tls.transport in self._port.connections.waiting.get(tls.transport.limit_key, ()):
            self._say_refused(peer)
            return
        record = (
            ("client_ip", peer),
            ("server_name", tls.hello.server_name),
            ("error", reason),
        )
        self._port.router.plan.log.record(level, "TLS_REFUSED", record)


class StreamPort(_Port):
    """Connections to the port of a TCP service, all of which are passed through.

    Args:
        port: the port.
        backend: where they go.
    """

    def __init__(self, port: ListenerPort, backend: Backend) -> None:
        super().__init__(port)
        self.backend = backend

    def _protocol(self, peer: str) -> Relay:
        return Relay(self._port, self.backend)
