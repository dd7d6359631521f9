"""What accepted connections become: a TLS layer with a front on it, or a plain front.

Owns the two protocol factories. Refuses to know where they listen and how certificates are
chosen.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from twisted.internet.protocol import Factory

from revproxy.model.configuration import IPNetwork
from revproxy.model.seams import ChooseIdentity
from revproxy.net.backend import Backend
from revproxy.net.gate import Accepting
from revproxy.net.h1_front import H1Front
from revproxy.net.h2_front import H2Front
from revproxy.net.plan import ListenerPort
from revproxy.net.proxy_intake import ProxyIntake
from revproxy.net.relay import Relay
from revproxy.net.tls_downstream import ServerTls
from revproxy.policy.connection_limit import UNLIMITED, Admission
from revproxy.policy.forwarded import connection_key, is_trusted, normal_address
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
        port = self._port
        if self.senders and is_trusted(normal_address(addr.host), self.senders):
            if port.connections.next(UNLIMITED) is not Admission.REFUSED:
                secs = port.router.plan.timeouts.proxy_header_secs
                return ProxyIntake(
                    port.deadlines, secs, self._settled, self._no_header, secure=port.secure
                )
        elif port.connections.next(self._key(addr.host)) is not Admission.REFUSED:
            return self._protocol(addr.host)
        self._say_refused(addr.host)
        return None

    def _settled(self, transport: Any, rest: bytes, *, relayed: bool) -> bool:
        """Go on with a connection whose PROXY header has come; False if it is one too many.

        If it is relayed for a client it counts as that one's from now on, and may have to wait
        like any other: so does the ``rest`` that has been read of it.
        """
        host = transport.client[0]
        admission = Admission.SERVED
        if relayed:
            key = self._key(host)
            admission = self._port.connections.move(transport.limit_key, transport, key)
            if admission is Admission.REFUSED:
                self._say_refused(host)
                return False
            transport.limit_key = key
        transport.protocol = following = self._protocol(host)
        if admission is Admission.WAITING:
            self._let_wait(transport)
        following.makeConnection(transport)
        if rest and admission is Admission.WAITING:
            transport.at_admission += (lambda: following.dataReceived(rest),)
        elif rest:
            following.dataReceived(rest)
        return True

    def _no_header(self, transport: Any, reason: str) -> None:
        record = (("client_ip", transport.client[0]), ("error", reason))
        self._port.router.plan.log.record("info", "PROXY_REFUSED", record)

    def connected(self, transport: Any) -> None:
        """A connection has its protocol: count it, and perhaps let it wait unread.

        It waits no longer than for its first bytes: that time limit of its protocol runs. The
        oldest of the client's connections that are idle gives way to it.
        """
        transport.high_water = self._port.router.plan.limits.buffered_bytes
        # A sender of PROXY headers speaks for many clients. The key is kept, as another plan may
        # trust others by the time it leaves.
        sends = isinstance(transport.protocol, ProxyIntake)
        transport.limit_key = key = UNLIMITED if sends else self._key(transport.client[0])
        if self._port.connections.enter(key, transport) is Admission.WAITING:
            self._let_wait(transport)

    def _key(self, host: str) -> int:
        return connection_key(host, self._port.router.plan.trusted)

    def _let_wait(self, transport: Any) -> None:
        transport.pauseProducing()
        for other in self._port.connections.served(transport.limit_key):
            if other.protocol.give_way():
                break

    def disconnected(self, transport: Any) -> None:
        """A connection is gone."""
        following = self._port.connections.leave(transport.limit_key, transport)
        if following is not None:
            following.admit()
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
        if self._port.connections.waits(tls.transport.limit_key, tls.transport):
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
