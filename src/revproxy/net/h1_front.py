"""The downstream side of HTTP/1.x: requests in, responses out, in order.

Owns the framing of both, pipelining, keep-alive, the downstream's time limits and the close.
Requests become exchanges one at a time; what comes meanwhile is read ahead within bounds. Refuses
to know TLS, routing and upstreams.
"""

from __future__ import annotations

from enum import Enum
from typing import Any

from twisted.internet.interfaces import IHalfCloseableProtocol, IPushProducer
from twisted.python.failure import Failure
from zope.interface import implementer

from revproxy.errors import BadRequest, ProxyError
from revproxy.model.http import Field, RequestHead, ResponseHead
from revproxy.model.tls import Identity
from revproxy.net.deadlines import NEVER
from revproxy.net.exchange import Exchange
from revproxy.net.h1_leaving import Leaving
from revproxy.net.h1_request_body import RequestBody
from revproxy.net.h1_response import ResponseWriter
from revproxy.net.intake import Intake
from revproxy.net.plan import ListenerPort, Plan
from revproxy.net.stall import Stall
from revproxy.policy.forwarded import Client, settle_peer
from revproxy.policy.outcome import can_discard
from revproxy.wire.request_heads import RequestHeads


class _State(Enum):
    HEAD = "between requests, or within a head"
    BODY = "within a request body"
    RESPONDING = "the request is complete, its response is not"
    LEAVING = "closing, or gone"


@implementer(IHalfCloseableProtocol, IPushProducer)
class H1Front:
    """A downstream connection that speaks HTTP/1.0 or 1.1.

    Args:
        port: the port it came in by.
        peer: its peer's address.
        identity: the certificate that was presented; None on a plain port.
    """

    __slots__ = ("_advancing", "_body", "_buffer", "_deadlines", "_exchange", "_head_begun",
                 "_heads", "_identity", "_intake", "_leaving", "_peer_address", "_plan",
                 "_stall", "_state", "_writer", "deadline", "paused", "peer", "port",
                 "transport")  # fmt: skip

    def __init__(self, port: ListenerPort, peer: str, identity: Identity | None) -> None:
        self.port = port
        self._deadlines = port.deadlines
        self._identity = identity
        self._buffer = b""
        self._state = _State.HEAD
        self._head_begun = False
        self._body: RequestBody | None = None
        self._exchange: Exchange | None = None
        self._advancing = False
        self._writer = ResponseWriter()
        self._leaving: Leaving | None = None
        self._intake = Intake(None)
        self._stall = Stall()
        self.paused = False
        self.deadline = NEVER
        self._peer_address = peer
        self.transport: Any = None
        self._adopt(port.router.plan)

    def _adopt(self, plan: Plan) -> None:
        """Take what depends on the generation from ``plan``."""
        self._plan = plan
        self._heads = RequestHeads(plan.limits)
        scheme = b"https" if self.port.secure else b"http"
        self.peer: Client = settle_peer(self._peer_address, scheme, plan.trusted)

    # From the transport

    def makeConnection(self, transport: Any) -> None:
        """Connected; over TLS, the handshake is done."""
        self.transport = transport
        self._intake = Intake(transport)
        transport.registerProducer(self, True)
        self.deadline = self._deadlines.after(self._plan.timeouts.request_head_secs)
        self._deadlines.watch(self)

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
        self._state = _State.LEAVING
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
            if self._state is not _State.BODY:
                self.deadline = until
            if self._exchange is not None:
                self._exchange.pause()

    def resumeProducing(self) -> None:
        """The downstream has taken everything."""
        if self.paused:
            self.paused = False
            self._stall.end()
            if self._state is _State.RESPONDING:
                self.deadline = NEVER
            if self._exchange is not None:
                self._exchange.resume()
            elif self._state is _State.HEAD:
                self._await_head()
                self._advance()

    def stopProducing(self) -> None:
        """The connection is lost; :meth:`connectionLost` follows."""

    def expired(self, now: float) -> None:
        """A time limit has passed; which one depends on the state."""
        if self._stall.over(now, self.transport.taken, self._plan.timeouts.response_write_secs):
            self._lose_exchange()
            self._leave().abort()
        elif self._state is _State.BODY:
            self._check_body(now)
        elif self._state is _State.RESPONDING or self.paused:
            self.deadline = self._stall.until
        elif self._head_begun:
            self._bad_head(BadRequest(408, "request head timeout"))
        else:
            self._leave().close()

    # Requests

    def _advance(self) -> None:
        """Get on with what is in the buffer: a loop, however many requests are pipelined."""
        if self._advancing:
            return
        self._advancing = True
        requests = 0
        body = False
        more = False
        while self._buffer:
            state = self._state
            if state is _State.HEAD:
                more = self.paused or requests == self._plan.limits.pipelined_requests
                if more:
                    # When the downstream has taken what there is, or had others have their turn.
                    if not self.paused:
                        self._deadlines.soon(self._advance)
                    break
                requests += 1
                if not self._read_head():
                    break
            elif state is _State.BODY:
                body = True
                self._read_body()
            else:
                break
        self._advancing = False
        if self._intake.closed and not more:
            self._read_all()
        if self._buffer or self._intake.ahead:
            self._read_ahead()
        if body and self._exchange is not None:
            self._exchange.flush()
        self.flush()

    def _read_all(self) -> None:
        """The downstream has sent its last, and what there is of it cannot be got on with."""
        if self._state is _State.HEAD:
            self._leave().close()
        elif self._state is _State.BODY:
            self._lose_exchange()
            self.reset()
        elif self._state is _State.RESPONDING and not self._buffer:
            self._writer.closing = True

    def _read_head(self) -> bool:
        """Read a request head and begin its exchange; returns whether there was one."""
        heads = self._heads
        try:
            head = heads.read(self._buffer)
        except BadRequest as error:
            self._bad_head(error)
            return False
        self._buffer = heads.rest
        if head is not None:
            self._begin(head)
            return True
        if heads.begun and not self._head_begun:
            self._head_begun = True
            self.deadline = self._deadlines.after(self._plan.timeouts.request_head_secs)
        return False

    def _begin(self, head: RequestHead) -> None:
        plan = self.port.router.plan
        if plan is not self._plan:
            self._adopt(plan)
        self._head_begun = False
        self._writer.expect(head.minor, keep_alive=head.keep_alive)
        self._exchange = exchange = Exchange(self, plan, head)
        if head.content_length:
            self._state = _State.BODY
            now = self._deadlines.now
            self.deadline = now
            self._body = RequestBody(head.content_length, plan.body_limit, plan.limits, now)
        else:
            self._state = _State.RESPONDING
            self.deadline = self._stall.until
        exchange.begin()

    def _read_body(self) -> None:
        body = self._body
        assert body is not None
        data, self._buffer = self._buffer, b""
        exchange = self._exchange
        try:
            content = body.feed(data, self._deadlines.now)
        except BadRequest as error:
            self._refuse_body(error)
            return
        if content and exchange is not None:
            exchange.body(content)
        if body.done and self._state is _State.BODY:
            self._buffer = body.rest
            self._body = None
            if self._exchange is not None:
                self._state = _State.RESPONDING
                self.deadline = self._stall.until
                self._exchange.end()
            else:
                self._next()

    def _refuse_body(self, error: BadRequest) -> None:
        if self._exchange is not None:
            self._exchange.refused(error)
        else:
            self._leave_lingering()

    def _check_body(self, now: float) -> None:
        assert self._body is not None
        error = self._body.late(now, self._plan.timeouts.request_body_secs)
        if error is not None:
            self._refuse_body(error)
            self.flush()

    def _read_ahead(self) -> None:
        """Stop reading while enough requests wait for their turn."""
        limits = self._plan.limits
        buffer = self._buffer
        waiting = self._state is _State.RESPONDING or self._state is _State.HEAD
        self._intake.set(
            ahead=waiting
            and (
                len(buffer) > limits.request_head_bytes
                or buffer.count(b"\r\n\r\n") >= limits.pipelined_requests
            )
        )

    def hold(self, held: bool) -> None:
        """Stop reading the request body, or go on (from the exchange)."""
        body = self._body
        if held and body is None:
            return
        if body is not None and held:
            body.stop(self._deadlines.now)
        elif body is not None:
            body.go_on(self._deadlines.now)
        self._intake.set(held=held)

    # Responses

    def serves(self, host: str) -> bool:
        """Whether the certificate of this connection covers ``host``."""
        return self._identity is None or self._identity.covers(host)

    def send_interim(self, head: ResponseHead) -> None:
        """A 1xx."""
        self._writer.interim(head)

    def send_head(self, head: ResponseHead) -> None:
        """A final response head; when it comes before the request is complete, it is the last."""
        if self._state is _State.BODY:
            self._writer.closing = True
        self._writer.head(head)

    def send_data(self, content: bytes) -> None:
        """A part of the response body."""
        self._writer.data(content)

    def finish(self, trailers: list[Field]) -> None:
        """The response is complete."""
        self._writer.end(trailers)
        self._over()

    def answer(self, status: int, fields: list[Field], *, close: bool) -> None:
        """A whole response of the proxy's own."""
        assert self._exchange is not None
        request = self._exchange.head
        if self._state is _State.BODY and self._body is not None:
            discard = can_discard(self._body.left, expect_continue=request.expect_continue)
            close = close or not discard
        self._writer.closing = self._writer.closing or close
        self._say(status, fields, with_body=request.method != b"HEAD")
        if self._state is _State.BODY and not self._writer.closing:
            # What is left of the request body is read and thrown away.
            self._exchange = None
            self.hold(False)
        else:
            self._over()

    def reset(self) -> None:
        """The response is cut: what is there still leaves, but nothing marks its end."""
        self._exchange = None
        if self._writer.ends_by_close:
            self._leave().abort()
        else:
            self._leave().close()

    def flush(self) -> None:
        """Send what was said, as one write."""
        said = self._writer.take()
        if said:
            self.transport.write(said)

    def _say(self, status: int, fields: list[Field], *, with_body: bool) -> None:
        date = (b"Date", self._plan.date())
        self._writer.own(status, [date, *fields], with_body=with_body)

    def _bad_head(self, error: ProxyError) -> None:
        """Answer a head that is none, and close."""
        reason = ("error", error.reason)
        self._plan.log.request(self.peer.address, "", "", "", error.status, "", 0, (reason,))
        self._writer.expect(1, keep_alive=False)
        self._say(error.status, [], with_body=True)
        self._leave_lingering()

    # The end of an exchange, and of the connection

    def _over(self) -> None:
        """The exchange has ended: the next request, or the end."""
        self._exchange = None
        if self._state is _State.BODY:
            self._leave_lingering()
        elif self._writer.closing:
            last = self._writer.take()
            self._leave().close(last)
        else:
            self._next()

    def _lose_exchange(self) -> None:
        exchange, self._exchange = self._exchange, None
        if exchange is not None:
            exchange.lost()

    def _next(self) -> None:
        self._state = _State.HEAD
        self._await_head()
        intake = self._intake
        if self._buffer or intake.ahead or intake.held or intake.closed:
            intake.set(held=False)
            self._advance()

    def _await_head(self) -> None:
        """Set the time limit between requests; it begins when the last response is taken."""
        timeouts = self._plan.timeouts
        secs = timeouts.request_head_secs if self._head_begun else timeouts.keepalive_secs
        self.deadline = self._stall.until if self.paused else self._deadlines.after(secs)

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
        self._state = _State.LEAVING
        self._buffer = b""
        self._body = None
        self.deadline = NEVER
        self._deadlines.forget(self)
        self.transport.unregisterProducer()
        self._leaving = Leaving(
            self.transport, self._deadlines, self._plan.timeouts.response_write_secs
        )
        return self._leaving
