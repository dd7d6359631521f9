"""A connection that is passed through: bytes both ways, untouched.

Owns the two connections from the moment it is known where they lead: what is sent first, how the
ends and the pauses of either side reach the other, the time limits and the record. Refuses to
know what the bytes mean, and who decided (``tls_downstream.py``, a port).
"""

from __future__ import annotations

from typing import Any

from twisted.internet.interfaces import IHalfCloseableProtocol, IPushProducer
from twisted.python.failure import Failure
from zope.interface import implementer

from revproxy.errors import ProxyError
from revproxy.net.attempt import Attempt
from revproxy.net.backend import Backend
from revproxy.net.deadlines import NEVER
from revproxy.net.downstream import Summary
from revproxy.net.plan import ListenerPort
from revproxy.net.relay_ends import End, FarEnd
from revproxy.net.relay_patience import Patience


@implementer(IHalfCloseableProtocol, IPushProducer)
class Relay:
    """The downstream's connection; see the module.

    An end that has sent its last byte gets the other's to the last one, whatever becomes of the
    way back; one that is reset in the middle resets the other.

    Args:
        port: the port it came in by.
        backend: where it goes.
        server_name: what its ClientHello asked for; ``""`` = none.
        alpn: the only protocol that it offered; ``b""`` where there is no such.
        unreachable: written to the downstream when the backend cannot be reached.
    """

    upgraded = 0

    def __init__(
        self,
        port: ListenerPort,
        backend: Backend,
        *,
        server_name: str = "",
        alpn: bytes = b"",
        unreachable: bytes = b"",
    ) -> None:
        plan = port.router.plan  # not kept: it has every site of its time
        self.port = port
        self._log = plan.log
        self._wait_secs = plan.timeouts.client_hello_secs
        self._most_held = plan.limits.buffered_bytes
        self._clock = plan.clock
        self._backend = backend
        self._first = b""
        self._server_name = server_name
        self._alpn = alpn
        self._unreachable = unreachable
        self._attempt: Attempt | None = None
        self._near = End("downstream")
        self._far = End("upstream")
        self._opened = plan.clock()
        self._patience = Patience(port.deadlines, plan.timeouts, self._near, self._far)
        self._bytes_in = 0
        self._bytes_out = 0
        self._cut = self._error = ""
        self._over = False
        self.transport: Any = None
        self.deadline = NEVER

    # The downstream's side, from its transport

    def makeConnection(self, transport: Any) -> None:
        """Connected."""
        self.begin(transport, b"")

    def begin(self, transport: Any, first: bytes) -> None:
        """Take a connection over, of which ``first`` has been read."""
        self.transport = transport
        self._near.begin(transport)
        self._first = first
        deadlines = self.port.deadlines
        deadlines.watch(self)
        if self.port.connections.waits(transport.limit_key, transport):
            self.deadline = deadlines.after(self._wait_secs)
            transport.at_admission += (self._connect,)
        else:
            self._connect()

    def _connect(self) -> None:
        self.deadline = NEVER
        self._attempt = attempt = Attempt(self._backend.destination, self)
        attempt.begin()

    def dataReceived(self, data: bytes) -> None:
        """Bytes for the backend; until it is there, no more than may be queued for it."""
        if self._far.gone:
            self._first += data
            if len(self._first) >= self._most_held:
                self.transport.pauseProducing()
        else:
            self._bytes_in += len(data)
            self._far.transport.write(data)
            self._patience.touch()

    def readConnectionLost(self) -> None:
        """The downstream sends no more; the backend may still.

        Nobody shakes hands who has already ended: there is no use in connecting.
        """
        self._near.ended = True
        if not self._far.gone:
            self._ended(self._near, self._far)
        elif self.port.secure:
            self._abort("downstream")

    def writeConnectionLost(self) -> None:
        """Our FIN has left."""

    def connectionLost(self, reason: Failure) -> None:
        """Gone."""
        self._lost(self._near, self._far, reason)

    def pauseProducing(self) -> None:
        """The downstream takes nothing."""
        self._full(self._near)
        if not self._far.gone:
            self._far.transport.pauseProducing()

    def resumeProducing(self) -> None:
        """The downstream has taken everything."""
        self._patience.drained(self._near)
        if not (self._far.gone or self._far.ended):
            self._far.transport.resumeProducing()

    def stopProducing(self) -> None:
        """The connection is lost; :meth:`connectionLost` follows."""

    # The backend's side

    def attached(self, connection: FarEnd) -> None:
        """The backend is there: everything that has come goes on."""
        self._attempt = None
        connection.relay = self
        transport = connection.transport
        self._far.begin(transport)
        first, self._first = self._first, b""
        self._bytes_in += len(first)
        self.transport.registerProducer(self, True)
        transport.registerProducer(connection, True)
        header = self._backend.header(self.transport, self._server_name, self._alpn)
        if header or first:
            transport.write(header + first)
        self._patience.touch()
        self.deadline = self._patience.until
        if self._near.ended:
            self._ended(self._near, self._far)
        elif not transport.producerPaused:
            self.transport.resumeProducing()

    def failed(self, error: ProxyError) -> None:
        """The backend cannot be reached."""
        self._attempt = None
        fields = (
            ("host", self._server_name),
            ("upstream", self._backend.name),
            ("error", error.reason),
        )
        self._log.record("warn", "UPSTREAM_ERROR", fields)
        self._cut, self._error = self._far.name, error.reason
        if self._unreachable:
            self.transport.write(self._unreachable)
        self._last(self._near)

    def far_data(self, data: bytes) -> None:
        """Bytes of the backend."""
        self._bytes_out += len(data)
        self.transport.write(data)
        self._patience.touch()

    def far_full(self) -> None:
        """The backend takes nothing."""
        self._full(self._far)
        self.transport.pauseProducing()

    def far_drained(self) -> None:
        """The backend has taken everything; a connection that has ended is not read again."""
        self._patience.drained(self._far)
        if not self._near.ended:
            self.transport.resumeProducing()

    def far_ended(self) -> None:
        """The backend sends no more."""
        self._far.ended = True
        self._ended(self._far, self._near)

    def far_lost(self, reason: Failure) -> None:
        """The backend's connection is gone."""
        self._lost(self._far, self._near, reason)

    # The end

    def _ended(self, one: End, other: End) -> None:
        """``one`` sends no more: after its last byte ``other`` is told."""
        if other.ended:
            self._last(other)
            self._last(one)
        else:
            other.finish(self._patience.secs_from_now(), close=False)
            self.deadline = self._patience.until

    def _last(self, end: End) -> None:
        """Close ``end`` after what is queued for it."""
        end.finish(self._patience.secs_from_now(), close=True)
        self.deadline = self._patience.until

    def _lost(self, one: End, other: End, reason: Failure) -> None:
        """``one`` is gone; if it had sent its last byte, ``other`` still gets it.

        A backend that has ended owes nothing: what the downstream said since is not a loss.
        """
        one.gone = True
        if not (self._cut or one.is_done(reason) or (one is self._far and one.ended)):
            self._cut = one.name
        if other.gone:
            self._finish()
        elif one.ended:
            self._last(other)
        else:
            other.abort()

    def _abort(self, cut: str) -> None:
        """Reset what there is; its end is told in the reactor's next turn."""
        self._cut = self._cut or cut
        self.deadline = NEVER
        self._far.abort()
        self._near.abort()
        self._give_up()

    def _give_up(self) -> None:
        attempt, self._attempt = self._attempt, None
        if attempt is not None:
            attempt.cancel()

    def _finish(self) -> None:
        """Both are gone: write the record."""
        if self._over:
            return
        self._over = True
        self.port.deadlines.forget(self)
        self._give_up()
        more = (("cut", self._cut), ("error", self._error))
        record = (
            ("client_ip", self.transport.getPeer().host),
            ("sni", self._server_name),
            ("upstream", self._backend.name),
            ("bytes_in", self._bytes_in),
            ("bytes_out", self._bytes_out),
            ("duration_ms", int((self._clock() - self._opened) * 1000)),
            *((key, value) for key, value in more if value),
        )
        self._log.record("info", "STREAM", record)

    # Time

    def expired(self, now: float) -> None:
        """An end has taken nothing for too long, or nothing has come, or nobody has gone."""
        if self._far.gone and not self._near.closing:
            self._error = "max_connections_per_ip"
            self._abort("downstream")
            return
        if cut := self._patience.over(now):
            self._abort(cut)
        else:
            self.deadline = self._patience.until

    def _full(self, end: End) -> None:
        self._patience.full(end)
        self.deadline = self._patience.until

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
        self._abort("shutdown")

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
