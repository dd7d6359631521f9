"""The downstream side of HTTP/1.x: requests in (``h1_requests.py``), responses out, in order.

Owns the connection: its transport, its time limits, back-pressure, what ends an exchange, and the
decision to close. Refuses to know TLS, routing and upstreams.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

from twisted.internet.interfaces import IHalfCloseableProtocol, IPushProducer
from twisted.python.failure import Failure
from zope.interface import implementer

from revproxy.errors import BadRequest
from revproxy.model.http import Field, ResponseHead
from revproxy.model.tls import Identity
from revproxy.net.deadlines import NEVER
from revproxy.net.downstream import FIRST_REQUEST_SECS, Summary
from revproxy.net.h1_requests import H1Requests, State
from revproxy.net.intake import Intake
from revproxy.net.leaving import Leaving
from revproxy.net.plan import ListenerPort
from revproxy.net.tunnel import Tunnel
from revproxy.policy.forwarded import connection_key
from revproxy.policy.outcome import can_discard

if TYPE_CHECKING:
    from revproxy.net.exchange import Exchange

_STATE_NAMES = {
    State.BODY: "body",
    State.TUNNEL: "upgraded",
    State.RESPONDING: "response",
    State.LEAVING: "closing",
}


@implementer(IHalfCloseableProtocol, IPushProducer)
class H1Front(H1Requests):
    """A downstream connection that speaks HTTP/1.0 or 1.1.

    Args:
        port: the port it came in by.
        peer: its peer's address.
        identity: the certificate that was presented; None on a plain port.
    """

    __slots__ = ("_leaving", "_opened", "transport")

    def __init__(self, port: ListenerPort, peer: str, identity: Identity | None) -> None:
        super().__init__(port, peer, identity)
        self.transport: Any = None
        self._opened = self._deadlines.now
        self._leaving: Leaving | None = None

    # From the transport

    def makeConnection(self, transport: Any) -> None:
        """Connected; over TLS, the handshake is done."""
        self.transport = transport
        self._intake = Intake(transport)
        transport.registerProducer(self, True)
        self.deadline = self._deadlines.after(self._plan.timeouts.request_head_secs)
        self._deadlines.watch(self)
        if self.port.router.draining:
            self.drain()

    def dataReceived(self, data: bytes) -> None:
        """Bytes of requests."""
        if self._leaving is not None:
            self._leaving.received(len(data))
            return
        self._buffer = self._buffer + data if self._buffer else data
        self._advance()

    def readConnectionLost(self) -> None:
        """The downstream sends no more: what is complete is still answered (RFC 9112 9.6)."""
        self._intake.closed = True
        if self._leaving is not None:
            self._leaving.close()
        else:
            self._advance()

    def writeConnectionLost(self) -> None:
        """Our FIN has left."""

    def connectionLost(self, reason: Failure) -> None:
        """The connection is gone."""
        self._state = State.LEAVING
        self._deadlines.forget(self)
        if self._leaving is not None:
            self._leaving.gone()
        self._lose_exchange()

    def pauseProducing(self) -> None:
        """The downstream takes nothing: the upstream has to wait."""
        if not self.paused:
            self.paused = True
            until = self._deadlines.after(self._plan.timeouts.response_write_secs)
            self._stall.begin(self.transport.taken, until)
            if self._state is not State.BODY:
                self.deadline = until
            if self._exchange is not None:
                self._exchange.pause()

    def resumeProducing(self) -> None:
        """The downstream has taken everything."""
        if self.paused:
            self.paused = False
            self._stall.end()
            if self._state in (State.RESPONDING, State.TUNNEL):
                self.deadline = NEVER
            if self._exchange is not None:
                self._exchange.resume()
            elif self._state is State.HEAD:
                self._await_head()
                self._advance()

    def stopProducing(self) -> None:
        """The connection is lost; :meth:`connectionLost` follows."""

    def expired(self, now: float) -> None:
        """A time limit has passed; which one depends on the state."""
        if self._stall.over(now, self.transport.taken, self._plan.timeouts.response_write_secs):
            self._lose_exchange()
            self._leave().abort()
        elif self._state is State.BODY:
            self._check_body(now)
        elif self._state in (State.RESPONDING, State.TUNNEL) or self.paused:
            self.deadline = self._stall.until
        elif self._head_begun:
            self._bad_head(BadRequest(408, "request head timeout"))
        else:
            self._leave().close()

    # The answering half

    def finish(self, trailers: list[Field]) -> None:
        """The response is complete."""
        self.writer.end(trailers)
        self._over()

    def switch(self, head: ResponseHead, protocol: bytes, tunnel: Tunnel) -> int:
        """Pass a 101 on; what has come behind the request goes through the tunnel."""
        self.writer.switch(head, protocol)
        self._exchange = cast("Exchange", tunnel)  # which it stands in for
        self._state = State.TUNNEL
        if self._buffer or self._intake.closed:
            self._deadlines.soon(self._advance)
        self._intake.set(ahead=False)
        return 101

    def answer(
        self, status: int, fields: list[Field], *, close: bool, body: bytes | None = None
    ) -> None:
        """A whole response of the proxy's own."""
        assert self._exchange is not None
        request = self._exchange.head
        if self._state is State.BODY and self._body is not None:
            discard = can_discard(self._body.left, expect_continue=request.expect_continue)
            close = close or not discard
        # What has come behind a request for an upgrade may be of the other protocol.
        ends = not request.keep_alive or request.protocol != b""
        self.writer.closing = close or ends or self.writer.last
        self._say(status, fields, with_body=request.method != b"HEAD", body=body)
        if self._state is State.BODY and not self.writer.closing:
            # What is left of the request body is read and thrown away.
            self._exchange = None
            self.hold(False)
        else:
            self._over()

    def reset(self) -> None:
        """The response is cut: what is there still leaves, but nothing marks its end."""
        self._exchange = None
        if self.writer.ends_by_close:
            self._leave().abort()
        else:
            self._leave().close()

    def flush(self) -> None:
        """Send what was said, as one write."""
        said = self.writer.take()
        if said:
            self.transport.write(said)

    def _say(
        self, status: int, fields: list[Field], *, with_body: bool, body: bytes | None = None
    ) -> None:
        date = (b"Date", self._plan.date())
        self.writer.own(status, [date, *fields], with_body=with_body, body=body)

    def _bad_head(self, error: BadRequest) -> None:
        """Answer a head that is none, and close."""
        reason = ("error", error.reason)
        self._plan.responses[error.status // 100] += 1
        self._plan.log.request(self.peer.address, "", "", "", error.status, "", 0, (reason,))
        self.writer.expect(1, keep_alive=False)
        self._say(error.status, [], with_body=True)
        self._leave_lingering()

    # The end of an exchange, and of the connection

    def _over(self) -> None:
        """The exchange has ended: the next request, or the end."""
        self._exchange = None
        state = self._state
        unread = state is State.BODY or state is State.TUNNEL
        if unread or (self.writer.closing and self._buffer):
            self._leave_lingering()
        elif self.writer.closing:
            last = self.writer.take()
            self._leave().close(last)
        else:
            self._next()

    def _no_more_requests(self) -> None:
        self._leave().close()

    def _lose_exchange(self, by: str = "downstream") -> None:
        exchange, self._exchange = self._exchange, None
        if exchange is not None:
            exchange.lost(by)

    def _next(self) -> None:
        self._state = State.HEAD
        self._idle = True
        self._await_head()
        intake = self._intake
        if self._buffer or intake.ahead or intake.held or intake.closed:
            intake.set(held=False)
            self._advance()
        waiting = self.port.connections.waiting
        if self.writer.last or (waiting and connection_key(self._peer_address) in waiting):
            self.give_way()

    def _await_head(self) -> None:
        """Set the time limit between requests; it begins when the last response is taken."""
        timeouts = self._plan.timeouts
        secs = timeouts.request_head_secs if self._head_begun else timeouts.keepalive_secs
        self.deadline = self._stall.until if self.paused else self._deadlines.after(secs)

    def give_way(self) -> bool:
        """Close, if the connection is between requests: for another of the same client, or
        because the process is about to end.
        """
        if not self._idle or self._state is not State.HEAD or self._buffer:
            return False
        self._leave().close()
        return True

    @property
    def busy(self) -> bool:
        """Whether an exchange is under way."""
        return self._exchange is not None

    @property
    def upgraded(self) -> int:
        """Whether another protocol is spoken: 1 or 0."""
        return int(self._state is State.TUNNEL)

    def drain(self) -> None:
        """Close when idle; any answer from now on is the last one."""
        if self._state is State.LEAVING:
            return
        self.writer.last = self.writer.closing = True
        if self._state is State.HEAD and not self.give_way() and self._is_fresh():
            self.deadline = min(self.deadline, self._deadlines.after(FIRST_REQUEST_SECS))

    def _is_fresh(self) -> bool:
        """Whether nothing of a first request has come."""
        return not (self._idle or self._head_begun or self._buffer)

    def cut(self) -> None:
        """Cut the connection, and the exchange that is under way."""
        self._lose_exchange("shutdown")
        self.transport.abortConnection()

    def summary(self) -> Summary:
        """What the connection is doing."""
        exchange = self._exchange
        head = None if exchange is None else exchange.head
        return Summary(
            client=self._peer_address,
            secure=self.port.secure,
            server_name="",
            state=self._state_name(),
            opened=self._opened,
            host=head.host if head else "",
            method=head.method.decode("latin-1") if head else "",
            path=head.path.decode("latin-1") if head else "",
        )

    def _state_name(self) -> str:
        if self._state is State.HEAD:
            return "head" if self._head_begun else "idle"
        return _STATE_NAMES[self._state]

    def _leave_lingering(self) -> None:
        """Close, but let the downstream read the answer before it meets a reset."""
        leaving = self._leave()
        if self._intake.closed:
            leaving.close()
        else:
            leaving.linger()

    def _leave(self) -> Leaving:
        """Say the last, and let go of the connection."""
        self.flush()
        self._state = State.LEAVING
        self._buffer = b""
        self._body = None
        self.deadline = NEVER
        self._deadlines.forget(self)
        self.transport.unregisterProducer()
        self._leaving = Leaving(
            self.transport, self._deadlines, self._plan.timeouts.response_write_secs
        )
        return self._leaving
