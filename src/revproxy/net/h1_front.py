"""The downstream side of HTTP/1.x: requests in, responses out, in order.

Owns the framing of both, pipelining, keep-alive, the downstream's time limits and the close.
Requests become exchanges one at a time; what comes meanwhile is read ahead within bounds. Refuses
to know TLS, routing and upstreams.
"""

from __future__ import annotations

from enum import Enum
from typing import Any

from attrs import frozen
from twisted.internet.interfaces import IHalfCloseableProtocol, IPushProducer
from twisted.python.failure import Failure
from zope.interface import implementer

from revproxy.errors import BadRequest, ProxyError
from revproxy.model.http import Field, RequestHead, ResponseHead
from revproxy.model.tls import Identity
from revproxy.net.deadlines import NEVER, Deadlines
from revproxy.net.exchange import Exchange
from revproxy.net.h1_request_body import RequestBody
from revproxy.net.plan import Plan, ResourceRouter
from revproxy.policy.forwarded import Client, settle_peer
from revproxy.policy.outcome import can_discard
from revproxy.wire.chunked import chunk, last_chunk
from revproxy.wire.fields import has_bare_line_feed
from revproxy.wire.head_bytes import REASONS, response_head_bytes
from revproxy.wire.request_head import RequestHeadReader
from revproxy.wire.request_line import may_begin_request

LINGER_SECS = 2.0
"""How long the rest of a request is read and thrown away after an answer that closes."""

LINGER_BYTES = 1024 * 1024
"""How much of it at the most."""

MAX_EMPTY_LINES = 2
"""Empty lines before a request line that are forgiven (RFC 9112 2.2)."""


class _State(Enum):
    HEAD = "between requests, or within a head"
    BODY = "within a request body"
    RESPONDING = "the request is complete, its response is not"
    LINGERING = "our side is closed, the rest of the request is thrown away"
    CLOSED = "closing, or gone"


@frozen(eq=False)
class ListenerPort:
    """What the connections to one port have in common.

    Attributes:
        router: has the plan.
        deadlines: of the connections.
        secure: whether TLS is spoken on this port.
        bind_addr: of the listener.
        https_port: where a plain port redirects to.
    """

    router: ResourceRouter
    deadlines: Deadlines
    secure: bool
    bind_addr: str
    https_port: int


@implementer(IHalfCloseableProtocol, IPushProducer)
class H1Front:
    """A downstream connection that speaks HTTP/1.0 or 1.1.

    Args:
        port: the port it came in by.
        peer: its peer's address.
        identity: the certificate that was presented; None on a plain port.
    """

    __slots__ = (
        "_advancing",
        "_ahead",
        "_body",
        "_buffer",
        "_chunked_out",
        "_close_after",
        "_deadlines",
        "_delimited_by_close",
        "_port",
        "_empty_lines",
        "_exchange",
        "_head_begun",
        "_held",
        "_identity",
        "_lingered",
        "_out",
        "_plan",
        "_read_closed",
        "_reader",
        "_state",
        "_taken",
        "bind_addr",
        "deadline",
        "https_port",
        "paused",
        "peer",
        "peer_address",
        "secure",
        "transport",
    )

    def __init__(self, port: ListenerPort, peer: str, identity: Identity | None) -> None:
        self._port = port
        self._deadlines = port.deadlines
        self._identity = identity
        self._buffer = b""
        self._out: list[bytes] = []
        self._state = _State.HEAD
        self._head_begun = False
        self._empty_lines = 0
        self._body: RequestBody | None = None
        self._exchange: Exchange | None = None
        self._advancing = False
        self._close_after = False
        self._chunked_out = False
        self._delimited_by_close = False
        self._lingered = 0
        self._held = False
        self._ahead = False
        self._read_closed = False
        self._taken = 0
        self.paused = False
        self.deadline = NEVER
        self.secure = port.secure
        self.bind_addr = port.bind_addr
        self.https_port = port.https_port
        self.peer_address = peer
        self.transport: Any = None
        self._adopt(port.router.plan)

    def _adopt(self, plan: Plan) -> None:
        """Take what depends on the generation from ``plan``."""
        limits = plan.limits
        self._plan = plan
        self._reader = RequestHeadReader(limits.request_target_bytes, limits.request_headers)
        scheme = b"https" if self.secure else b"http"
        self.peer: Client = settle_peer(self.peer_address, scheme, plan.trusted)

    # From the transport

    def makeConnection(self, transport: Any) -> None:
        """Connected; over TLS, the handshake is done."""
        self.transport = transport
        transport.registerProducer(self, True)
        self.deadline = self._deadlines.after(self._plan.timeouts.request_head_secs)
        self._deadlines.watch(self)

    def dataReceived(self, data: bytes) -> None:
        """Bytes of requests."""
        self._buffer = self._buffer + data if self._buffer else data
        self._advance()

    def readConnectionLost(self) -> None:
        """The downstream sends no more: what is complete is still answered (RFC 9112 9.6)."""
        self._read_closed = True
        if self._state is _State.RESPONDING:
            self._close_after = True
            self._buffer = b"" if self._ahead else self._buffer
        elif self._state is _State.BODY and self._exchange is not None:
            exchange, self._exchange = self._exchange, None
            exchange.lost()
            self._abort()
        else:
            self._close()

    def writeConnectionLost(self) -> None:
        """Our FIN has left."""

    def connectionLost(self, reason: Failure) -> None:
        """The connection is gone."""
        self._state = _State.CLOSED
        self._deadlines.forget(self)
        exchange, self._exchange = self._exchange, None
        if exchange is not None:
            exchange.lost()

    def pauseProducing(self) -> None:
        """The downstream takes nothing: the upstream has to wait."""
        if not self.paused:
            self.paused = True
            self._taken = self.transport.taken
            if self._state is _State.RESPONDING:
                self.deadline = self._deadlines.after(self._plan.timeouts.response_write_secs)
            if self._exchange is not None:
                self._exchange.pause()

    def resumeProducing(self) -> None:
        """The downstream has taken everything."""
        if self.paused:
            self.paused = False
            if self._state is _State.RESPONDING:
                self.deadline = NEVER
            if self._exchange is not None:
                self._exchange.resume()

    def stopProducing(self) -> None:
        """The connection is lost; :meth:`connectionLost` follows."""

    def expired(self, now: float) -> None:
        """A time limit has passed; which one depends on the state."""
        timeouts = self._plan.timeouts
        if self._state is _State.HEAD:
            if self._head_begun:
                self._bad_head(BadRequest(408, "request head timeout"))
            else:
                self._close()
        elif self._state is _State.LINGERING:
            self._abort()
        elif self.transport.taken != self._taken:
            self._taken = self.transport.taken
            self.deadline = now + timeouts.response_write_secs
        elif self._state is _State.BODY:
            self._check_body(now, timeouts.request_body_secs)
        else:
            self._abort()

    # Requests

    def _advance(self) -> None:
        """Get on with what is in the buffer, as far as the state allows: a loop, whatever the
        number of pipelined requests."""
        if self._advancing:
            return
        self._advancing = True
        requests = 0
        while self._buffer:
            state = self._state
            if state is _State.HEAD:
                if requests == self._plan.limits.pipelined_requests:
                    self._deadlines.soon(self._advance)
                    break
                requests += 1
                if not self._read_head():
                    break
            elif state is _State.BODY:
                self._read_body()
            elif state is _State.RESPONDING:
                break
            else:
                self._linger()
        self._advancing = False
        self._read_ahead()
        if self._exchange is not None:
            self._exchange.flush()
        self.flush()

    def _read_head(self) -> bool:
        """Read a request head and begin its exchange; returns whether there was one."""
        buffer = self._buffer
        if buffer[0] == 0x0D and buffer[:2] == b"\r\n":
            self._empty_lines += 1
            self._buffer = buffer[2:]
            if self._empty_lines > MAX_EMPTY_LINES:
                self._bad_head(BadRequest(400, "empty lines before the request line"))
                return False
            return True
        end = buffer.find(b"\r\n\r\n") + 4
        try:
            if end < 4:
                self._incomplete_head(buffer)
                return False
            if end > self._plan.limits.request_head_bytes:
                raise BadRequest(431, "request head too large")
            self._buffer = buffer[end:]
            head = self._reader.read(buffer[:end])
        except BadRequest as error:
            self._bad_head(error)
            return False
        self._begin(head)
        return True

    def _incomplete_head(self, part: bytes) -> None:
        """Refuse what can no longer become a head, and start its clock."""
        limits = self._plan.limits
        if len(part) > limits.request_target_bytes and b"\r\n" not in part:
            raise BadRequest(414, "target too long")
        if len(part) >= limits.request_head_bytes:
            raise BadRequest(431, "request head too large")
        if has_bare_line_feed(part) or not may_begin_request(part):
            raise BadRequest(400, "invalid request line")
        if not self._head_begun:
            self._head_begun = True
            self.deadline = self._deadlines.after(self._plan.timeouts.request_head_secs)

    def _begin(self, head: RequestHead) -> None:
        plan = self._port.router.plan
        if plan is not self._plan:
            self._adopt(plan)
        self._head_begun = False
        self._empty_lines = 0
        self._close_after = not head.keep_alive
        self._delimited_by_close = False
        self._exchange = exchange = Exchange(self, plan, head)
        if head.content_length:
            self._state = _State.BODY
            now = self._deadlines.now
            self.deadline = now
            self._body = RequestBody(head.content_length, plan.body_limit, plan.limits, now)
        else:
            self._state = _State.RESPONDING
            self.deadline = NEVER
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
                self.deadline = NEVER
                self._exchange.end()
            else:
                self._next()

    def _refuse_body(self, error: BadRequest) -> None:
        if self._exchange is not None:
            self._exchange.refused(error)
        else:
            self._linger_after_close()

    def _check_body(self, now: float, idle_secs: float) -> None:
        assert self._body is not None
        error = self._body.late(now, idle_secs)
        if error is not None:
            self._refuse_body(error)
            self.flush()

    def _read_ahead(self) -> None:
        """Stop reading while enough requests wait for their turn."""
        limits = self._plan.limits
        buffer = self._buffer
        ahead = bool(buffer) and self._state in (_State.RESPONDING, _State.HEAD) and (
            len(buffer) > limits.request_head_bytes
            or buffer.count(b"\r\n\r\n") >= limits.pipelined_requests
        )
        if ahead != self._ahead:
            self._ahead = ahead
            self._apply_reading()

    def hold(self, held: bool) -> None:
        """Stop reading the request body, or go on (from the exchange)."""
        if held != self._held and (self._body is not None or not held):
            self._held = held
            if self._body is not None:
                if held:
                    self._body.stop(self._deadlines.now)
                else:
                    self._body.go_on(self._deadlines.now)
            self._apply_reading()

    def _apply_reading(self) -> None:
        if self._held or self._ahead:
            self.transport.pauseProducing()
        elif not self._read_closed:
            self.transport.resumeProducing()

    # Responses

    def serves(self, host: str) -> bool:
        """Whether the certificate of this connection covers ``host``."""
        return self._identity is None or self._identity.covers(host)

    def send_interim(self, head: ResponseHead) -> None:
        """A 1xx; HTTP/1.0 knows none (RFC 9110 15.2)."""
        if self._exchange is not None and self._exchange.head.minor:
            self._out.append(response_head_bytes(head.status, head.reason, head.fields, b""))

    def send_head(self, head: ResponseHead) -> None:
        """A final response head, framed for this connection."""
        assert self._exchange is not None
        minor = self._exchange.head.minor
        self._chunked_out = False
        framing = b""
        if head.body_length < 0:
            if minor:
                self._chunked_out = True
                framing = b"Transfer-Encoding: chunked\r\n"
            else:
                self._delimited_by_close = self._close_after = True
        elif head.content_length >= 0 and head.status != 204:
            framing = b"Content-Length: %d\r\n" % head.content_length
        if self._state is _State.BODY:
            self._close_after = True
        framing += self._persistence(minor)
        self._out.append(response_head_bytes(head.status, head.reason, head.fields, framing))

    def send_data(self, content: bytes) -> None:
        """A part of the response body."""
        self._out.append(chunk(content) if self._chunked_out else content)

    def finish(self, trailers: list[Field]) -> None:
        """The response is complete."""
        if self._chunked_out:
            self._out.append(last_chunk(trailers))
        self._over()

    def answer(self, status: int, fields: list[Field], *, close: bool) -> None:
        """A whole response of the proxy's own."""
        assert self._exchange is not None
        request = self._exchange.head
        if self._state is _State.BODY and self._body is not None:
            discard = can_discard(self._body.left, expect_continue=request.expect_continue)
            close = close or not discard
        self._close_after = self._close_after or close
        self._say(status, fields, request.minor, with_body=request.method != b"HEAD")
        if self._state is _State.BODY and not self._close_after:
            # What is left of the request body is read and thrown away.
            self._exchange = None
            self.hold(False)
        else:
            self._over()

    def reset(self) -> None:
        """The response is cut: what is there still leaves, but nothing marks its end."""
        self._exchange = None
        self.flush()
        if self._delimited_by_close:
            self._abort()
        else:
            self._close()

    def flush(self) -> None:
        """Send what was said, as one write."""
        out = self._out
        if out:
            self._out = []
            self.transport.write(out[0] if len(out) == 1 else b"".join(out))

    def _persistence(self, minor: int) -> bytes:
        if self._close_after:
            return b"Connection: close\r\n"
        return b"" if minor else b"Connection: keep-alive\r\n"

    def _say(self, status: int, fields: list[Field], minor: int, *, with_body: bool) -> None:
        reason = REASONS[status]
        head = [(b"Date", self._plan.date()), *fields]
        framing = self._persistence(minor)
        if status != 204:
            head.append((b"Content-Type", b"text/plain; charset=utf-8"))
            framing = b"Content-Length: %d\r\n%b" % (len(reason), framing)
        self._out.append(response_head_bytes(status, reason, head, framing))
        if with_body and status != 204:
            self._out.append(reason)

    def _bad_head(self, error: ProxyError) -> None:
        """Answer a head that is none, and close."""
        reason = ("error", error.reason)
        self._plan.log.request(self.peer.address, "", "", "", error.status, "", 0, (reason,))
        self._close_after = True
        self._say(error.status, [], 1, with_body=True)
        self._linger_after_close()

    # The end of an exchange, and of the connection

    def _over(self) -> None:
        """The exchange has ended: the next request, or the end."""
        self._exchange = None
        if self._state is _State.BODY:
            self._linger_after_close()
        elif self._close_after:
            self._close()
        else:
            self._next()

    def _next(self) -> None:
        self._state = _State.HEAD
        self.deadline = self._deadlines.now + self._plan.timeouts.keepalive_secs + 1.0
        if self._buffer or self._ahead or self._held:
            self._held = False
            self._advance()

    def _linger_after_close(self) -> None:
        """Close our side, but let the downstream read the answer before it meets a reset."""
        self.flush()
        self._state = _State.LINGERING
        self._body = None
        self._held = self._ahead = False
        self.deadline = self._deadlines.after(LINGER_SECS)
        self.transport.unregisterProducer()
        self.transport.loseWriteConnection()
        if self._read_closed:
            self._close()
        else:
            self.transport.resumeProducing()

    def _linger(self) -> None:
        self._lingered += len(self._buffer)
        self._buffer = b""
        if self._lingered > LINGER_BYTES:
            self._close()

    def _close(self) -> None:
        """Close after the last byte; a downstream that does not take it is cut in the end."""
        self.flush()
        self._state = _State.CLOSED
        self._buffer = b""
        self._taken = self.transport.taken
        self.deadline = self._deadlines.after(self._plan.timeouts.response_write_secs)
        self.transport.unregisterProducer()
        self.transport.loseConnection()

    def _abort(self) -> None:
        self._state = _State.CLOSED
        self._buffer = b""
        self.transport.unregisterProducer()
        self.transport.abortConnection()
