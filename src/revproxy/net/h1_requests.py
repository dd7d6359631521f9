"""The requests of one HTTP/1.x connection: what is in its bytes becomes exchanges, in order.

Owns the reading half of the downstream side: heads and bodies, pipelining within bounds, and
turns, so that no connection keeps the others waiting. The answering half, the transport and the
end are in ``h1_front.py``, which builds on this. Refuses to know TLS, routing and upstreams.
"""

from __future__ import annotations

from enum import Enum

from revproxy.errors import BadRequest
from revproxy.model.http import Field, RequestHead, ResponseHead
from revproxy.model.tls import Identity
from revproxy.net.deadlines import NEVER
from revproxy.net.exchange import Exchange
from revproxy.net.h1_request_body import RequestBody
from revproxy.net.h1_response import ResponseWriter
from revproxy.net.intake import Intake
from revproxy.net.plan import ListenerPort, Plan
from revproxy.net.stall import Stall
from revproxy.net.transport import READ_BYTES
from revproxy.net.tunnel import Tunnel
from revproxy.policy.forwarded import Client, settle_peer
from revproxy.wire.request_heads import RequestHeads


class State(Enum):
    """Where a connection is."""

    HEAD = "between requests, or within a head"
    BODY = "within a request body"
    TUNNEL = "another protocol is spoken, after a 101"
    RESPONDING = "the request is complete, its response is not"
    LEAVING = "closing, or gone"


class H1Requests:
    """The reading half of a connection; a ``Front`` with what ``H1Front`` adds.

    Args:
        port: the port it came in by.
        peer: its peer's address.
        identity: the certificate that was presented; None on a plain port.
    """

    __slots__ = ("_advancing", "_body", "_buffer", "_deadlines", "_exchange", "_head_begun",
                 "_heads", "_idle", "_intake", "_peer_address", "_plan", "_stall", "_state",
                 "deadline", "identity", "paused", "peer", "port", "writer")  # fmt: skip

    def __init__(self, port: ListenerPort, peer: str, identity: Identity | None) -> None:
        self.port = port
        self.identity = identity
        self.writer = ResponseWriter()
        self.paused = False
        self.deadline = NEVER
        self._deadlines = port.deadlines
        self._buffer = b""
        self._state = State.HEAD
        self._head_begun = False
        self._body: RequestBody | None = None
        self._exchange: Exchange | None = None
        self._advancing = False
        self._idle = False
        self._intake = Intake(None)
        self._stall = Stall()
        self._peer_address = peer
        self._adopt(port.router.plan)

    def _adopt(self, plan: Plan) -> None:
        """Take what depends on the generation from ``plan``."""
        self._plan = plan
        self._heads = RequestHeads(plan.limits)
        scheme = b"https" if self.port.secure else b"http"
        self.peer: Client = settle_peer(self._peer_address, scheme, plan.trusted)

    def _advance(self) -> None:
        """Get on with what is in the buffer, and say what comes of it as one write."""
        if self._advancing:
            return
        self._advancing = True
        try:
            more = self._read_buffer()
        finally:
            self._advancing = False
        if self._intake.closed and not more:
            self._read_all()
        if self._buffer or self._intake.ahead:
            self._read_ahead()
        exchange = self._exchange
        if exchange is not None and exchange.head.content_length:
            exchange.flush()
        if self.writer.said:
            self.flush()

    def _read_buffer(self) -> bool:
        """A loop, however many requests are pipelined; returns whether a later turn goes on.

        That is when others have had theirs, or the downstream has taken what there is for it.
        """
        requests = 0
        while self._buffer:
            state = self._state
            if state is State.HEAD:
                if self.paused:
                    return True
                if requests == self._plan.limits.pipelined_requests:
                    self._deadlines.soon(self._advance)
                    return True
                requests += 1
                if not self._read_head():
                    return False
            elif state is State.BODY:
                if not self._read_body():
                    self._deadlines.soon(self._advance)
                    return True
            elif state is State.TUNNEL:
                data, self._buffer = self._buffer, b""
                if self._exchange is not None:
                    self._exchange.body(data)
                    self._exchange.flush()
            else:
                return False
        return False

    def _read_all(self) -> None:
        """The downstream has sent its last, and what there is of it cannot be got on with."""
        if self._state is State.HEAD:
            self._no_more_requests()
        elif self._state is State.BODY:
            self._lose_exchange()
            self.reset()
        elif self._state is State.TUNNEL and self._exchange is not None:
            self._exchange.end()
        elif self._state is State.RESPONDING and not self._buffer:
            self.writer.closing = True

    def _read_head(self) -> bool:
        """Read a request head and begin its exchange; returns whether there was one."""
        plan = self.port.router.plan
        if plan is not self._plan:
            self._adopt(plan)
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
        plan = self._plan
        self._head_begun = self._idle = False
        # What is answered before the request is complete is the last answer.
        # An upgrade that is not agreed to ends the connection: more may have come behind it.
        keep_alive = head.keep_alive and not head.content_length and not head.protocol
        self.writer.expect(head.minor, keep_alive=keep_alive)
        self._exchange = exchange = Exchange(self, plan, head)
        if head.content_length:
            self._state = State.BODY
            now = self._deadlines.now
            self.deadline = now
            self._body = RequestBody(head.content_length, plan.body_limit, plan.limits, now)
        else:
            self._state = State.RESPONDING
            self.deadline = self._stall.until
        exchange.begin()

    def _read_body(self) -> bool:
        """Read of the request body what one turn allows; returns whether that was all there is."""
        body = self._body
        assert body is not None
        exchange = self._exchange
        try:
            content = body.feed(self._buffer, self._deadlines.now)
        except BadRequest as error:
            self._buffer = b""
            self._refuse_body(error)
            return True
        self._buffer = body.rest
        if content and exchange is not None:
            exchange.body(content)
        if not body.done or self._state is not State.BODY:
            return not self._buffer
        self._body = None
        if self._exchange is not None:
            self._state = State.RESPONDING
            self.deadline = self._stall.until
            if self._exchange.head.keep_alive:
                self.writer.may_go_on()
            self._exchange.end()
        else:
            self._next()
        return True

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
        """Stop reading while enough requests, or the rest of a body, wait for their turn."""
        limits = self._plan.limits
        buffer = self._buffer
        self._intake.set(
            ahead=(self._state is State.BODY and bool(buffer))
            or len(buffer) > limits.request_head_bytes
            or buffer.count(b"\r\n\r\n") >= limits.pipelined_requests
        )

    def hold(self, held: bool) -> None:
        """Stop reading the request body, or go on (from the exchange)."""
        if self._body is not None or not held or self._state is State.TUNNEL:
            self.wait(held)
            self._intake.set(held=held)

    def wait(self, waiting: bool) -> None:
        """Let the clocks of the request body stand still, or run (from the exchange)."""
        if self._body is not None and waiting:
            self._body.stop(self._deadlines.now)
        elif self._body is not None:
            self._body.go_on(self._deadlines.now)

    @property
    def read_bytes(self) -> int:
        """How much is read of an upstream at once."""
        return READ_BYTES

    # What the answering half does

    def answer(
        self, status: int, fields: list[Field], *, close: bool, body: bytes | None = None
    ) -> None:
        """A whole response of the proxy's own."""
        raise NotImplementedError

    def switch(self, head: ResponseHead, protocol: bytes, tunnel: Tunnel) -> int:
        """Pass a 101 on."""
        raise NotImplementedError

    def finish(self, trailers: list[Field]) -> None:
        """The response is complete."""
        raise NotImplementedError

    def reset(self) -> None:
        """The response is cut."""
        raise NotImplementedError

    def flush(self) -> None:
        """Send what was said."""
        raise NotImplementedError

    def _bad_head(self, error: BadRequest) -> None:
        """Answer a head that is none, and close."""
        raise NotImplementedError

    def _no_more_requests(self) -> None:
        """There is nothing to answer any more."""
        raise NotImplementedError

    def _leave_lingering(self) -> None:
        """Close, but let the downstream read the answer."""
        raise NotImplementedError

    def _lose_exchange(self, by: str = "downstream") -> None:
        """The exchange has no downstream any more; ``by`` says who has ended it."""
        raise NotImplementedError

    def _next(self) -> None:
        """The next request."""
        raise NotImplementedError
