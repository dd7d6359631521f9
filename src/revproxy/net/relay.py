"""A connection that is passed through: bytes both ways, untouched.

Owns the two connections from the moment it is known where they lead: what is sent first, how the
ends and the pauses of either side reach the other, the time limits and the record. Refuses to
know what the bytes mean, and who decided (``tls_downstream.py``, a port).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from ipaddress import ip_address
from typing import Any

from attrs import frozen
from twisted.internet.interfaces import IHalfCloseableProtocol, IPushProducer
from twisted.python.failure import Failure
from zope.interface import implementer

from revproxy.errors import ProxyError
from revproxy.net.attempt import Attempt, Destination
from revproxy.net.deadlines import NEVER, SLACK_SECS
from revproxy.net.downstream import Summary
from revproxy.net.plan import ListenerPort
from revproxy.net.stall import Stall
from revproxy.wire.proxy_protocol import Endpoints, proxy_header_v1, proxy_header_v2


@frozen(eq=False)
class Backend:
    """Where connections are passed to, as one generation has it.

    Attributes:
        destination: its address, and what is known of reaching it.
        name: as configured, for the log.
        send_proxy: the PROXY header that goes first: ``v1``, ``v2`` or ``off``.
    """

    destination: Destination
    name: str
    send_proxy: str = "off"


class RelayDestination(Destination):
    """A destination of relays."""

    def protocol(self, ready: Callable[[Any], None]) -> Any:
        """The far end of a relay."""
        return _FarEnd(ready)


@implementer(IHalfCloseableProtocol, IPushProducer)
class Relay:
    """The downstream's connection; see the module.

    Args:
        port: the port it came in by.
        backend: where it goes.
        server_name: what its ClientHello asked for; ``""`` = none.
        alpn: the only protocol that it offered; ``b""`` where there is no such.
        unreachable: written to the downstream when the backend cannot be reached.
    """

    def __init__(
        self,
        port: ListenerPort,
        backend: Backend,
        *,
        server_name: str = "",
        alpn: bytes = b"",
        unreachable: bytes = b"",
    ) -> None:
        self.port = port
        self._plan = port.router.plan
        self._backend = backend
        self._first = b""
        self._server_name = server_name
        self._alpn = alpn
        self._unreachable = unreachable
        self._attempt: Attempt | None = None
        self._far: _FarEnd | None = None
        self._stall = Stall()
        self._opened = self._plan.clock()
        self._bytes_in = 0
        self._bytes_out = 0
        self._near_ended = self._far_ended = False
        self._over = False
        self.transport: Any = None
        self.deadline = NEVER

    # The downstream's side, from its transport

    def makeConnection(self, transport: Any) -> None:
        """Connected."""
        self.begin(transport, b"")

    def begin(self, transport: Any, first: bytes) -> None:
        """Take a connection over, of which ``first`` has been read.

        What more the downstream sends waits until the backend is there.
        """
        self.transport = transport
        self._first = first
        transport.pauseProducing()
        self.port.deadlines.watch(self)
        self._attempt = attempt = Attempt(self._backend.destination, self)
        attempt.begin()

    def dataReceived(self, data: bytes) -> None:
        """Bytes for the backend."""
        far = self._far
        if far is None:
            self._first += data
        else:
            self._touch()
            self._bytes_in += len(data)
            far.transport.write(data)

    def readConnectionLost(self) -> None:
        """The downstream sends no more; the backend may still."""
        self._near_ended = True
        if self._far is None:
            self._end("downstream")
            self.transport.loseConnection()
        elif self._far_ended:
            self._finish()
        else:
            self._far.transport.loseWriteConnection()

    def writeConnectionLost(self) -> None:
        """Our FIN has left."""

    def connectionLost(self, reason: Failure) -> None:
        """Gone."""
        self._end("downstream")

    def pauseProducing(self) -> None:
        """The downstream takes nothing."""
        until = self.port.deadlines.after(self._plan.timeouts.response_write_secs)
        self._stall.begin(self.transport.taken, until)
        self.deadline = until
        if self._far is not None:
            self._far.transport.pauseProducing()

    def resumeProducing(self) -> None:
        """The downstream has taken everything."""
        self._stall.end()
        self._touch()
        if self._far is not None and not self._far_ended:
            self._far.transport.resumeProducing()

    def stopProducing(self) -> None:
        """The connection is lost; :meth:`connectionLost` follows."""

    # The backend's side

    def attached(self, connection: _FarEnd) -> None:
        """The backend is there: everything that has come goes on."""
        self._attempt = None
        self._far = far = connection
        far.relay = self
        header = self._proxy_header()
        first, self._first = self._first, b""
        self._bytes_in += len(first)
        self.transport.registerProducer(self, True)
        far.transport.registerProducer(far, True)
        if header or first:
            far.transport.write(header + first)
        self._touch()
        if not far.transport.unsent:
            self.transport.resumeProducing()

    def _proxy_header(self) -> bytes:
        """What tells the backend who the client is, if it wants to know."""
        if self._backend.send_proxy == "off":
            return b""
        endpoints = endpoints_of(self.transport)
        if self._backend.send_proxy == "v1":
            return proxy_header_v1(endpoints)
        return proxy_header_v2(endpoints, alpn=self._alpn, authority=self._server_name)

    def failed(self, error: ProxyError) -> None:
        """The backend cannot be reached."""
        self._attempt = None
        self._plan.log.record(
            "warn",
            "UPSTREAM_ERROR",
            (
                ("host", self._server_name),
                ("upstream", self._backend.name),
                ("error", error.reason),
            ),
        )
        self._end("upstream", error.reason)
        self.transport.writeLast(self._unreachable)

    def far_data(self, data: bytes) -> None:
        """Bytes of the backend."""
        self._touch()
        self._bytes_out += len(data)
        self.transport.write(data)

    def far_drained(self) -> None:
        """The backend has taken everything; a connection that has ended is not read again."""
        if not self._near_ended:
            self.transport.resumeProducing()

    def far_ended(self) -> None:
        """The backend sends no more."""
        self._far_ended = True
        if self._near_ended:
            self._finish()
        else:
            self.transport.loseWriteConnection()

    def far_lost(self) -> None:
        """The backend's connection is gone."""
        self._far = None
        if not self._over:
            self._end("upstream")
            self.transport.abortConnection()

    # Time, and the end

    def expired(self, now: float) -> None:
        """Nothing has come, or nothing has been taken, for too long."""
        if self._stall.until is not NEVER and not self._stall.over(
            now, self.transport.taken, self._plan.timeouts.response_write_secs
        ):
            self.deadline = self._stall.until
            return
        self._end("idle" if self._stall.until is NEVER else "downstream")
        self.transport.abortConnection()

    def _touch(self) -> None:
        idle_secs = self._plan.timeouts.upgraded_idle_secs
        if self._stall.until is NEVER:
            self.deadline = self.port.deadlines.now + idle_secs + SLACK_SECS

    def _finish(self) -> None:
        """Both sides have ended in order; what is queued still leaves."""
        far, self._far = self._far, None
        self._end("")
        if far is not None:
            far.relay = None
            far.transport.unregisterProducer()
            far.transport.loseConnection()
        self.transport.unregisterProducer()
        self.transport.loseConnection()

    def _end(self, cut: str, error: str = "") -> None:
        """Write the record, once, and let go of the backend."""
        if self._over:
            return
        self._over = True
        self.deadline = NEVER
        self.port.deadlines.forget(self)
        attempt, self._attempt = self._attempt, None
        if attempt is not None:
            attempt.cancel()
        far, self._far = self._far, None
        if far is not None:
            far.relay = None
            far.transport.abortConnection()
        more: list[tuple[str, object]] = []
        if cut:
            more.append(("cut", cut))
        if error:
            more.append(("error", error))
        self._tell(more)

    def _tell(self, more: Sequence[tuple[str, object]]) -> None:
        record = (
            ("client_ip", self.transport.getPeer().host),
            ("sni", self._server_name),
            ("upstream", self._backend.name),
            ("bytes_in", self._bytes_in),
            ("bytes_out", self._bytes_out),
            ("duration_ms", int((self._plan.clock() - self._opened) * 1000)),
        )
        self._plan.log.record("info", "STREAM", (*record, *more))

    # For the control plane

    def give_way(self) -> bool:
        """Never idle, as far as can be known."""
        return False

    @property
    def busy(self) -> bool:
        """Until it has ended."""
        return not self._over

    def drain(self) -> None:
        """Go on: only its ends know when it is over."""

    def cut(self) -> None:
        """End at once."""
        self._end("shutdown")
        self.transport.abortConnection()

    def summary(self) -> Summary:
        """What it is doing."""
        return Summary(
            client=self.transport.getPeer().host,
            secure=self.port.secure,
            server_name=self._server_name,
            state="passing",
            opened=self._opened,
            host=self._server_name,
        )


@implementer(IHalfCloseableProtocol, IPushProducer)
class _FarEnd:
    """The connection to the backend."""

    def __init__(self, ready: Callable[[_FarEnd], None]) -> None:
        self._ready = ready
        self.relay: Relay | None = None
        self.transport: Any = None

    def makeConnection(self, transport: Any) -> None:
        self.transport = transport
        self._ready(self)
        if self.relay is None:
            transport.abortConnection()

    def close(self) -> None:
        """Nobody wants it any more."""
        self.transport.abortConnection()

    def dataReceived(self, data: bytes) -> None:
        if self.relay is not None:
            self.relay.far_data(data)

    def readConnectionLost(self) -> None:
        if self.relay is not None:
            self.relay.far_ended()

    def writeConnectionLost(self) -> None:
        """Our FIN has left."""

    def connectionLost(self, reason: Failure) -> None:
        relay, self.relay = self.relay, None
        if relay is not None:
            relay.far_lost()

    def pauseProducing(self) -> None:
        """The backend takes nothing."""
        if self.relay is not None:
            self.relay.transport.pauseProducing()

    def resumeProducing(self) -> None:
        """The backend has taken everything."""
        if self.relay is not None:
            self.relay.far_drained()

    def stopProducing(self) -> None:
        """The connection is lost; ``connectionLost`` follows."""


def endpoints_of(transport: Any) -> Endpoints:
    """The ends of a downstream connection, for a PROXY header."""
    peer, host = transport.getPeer(), transport.getHost()
    return Endpoints(ip_address(peer.host), peer.port, ip_address(host.host), host.port)
