"""One stream of an HTTP/2 connection as the front of its exchange.

Owns the request body's flow (what is given back to the client's window, and when), its limit and
its pace, and how the exchange's response is said. Refuses to know frames, and other streams.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

from revproxy.errors import BadRequest
from revproxy.model.http import UNTIL_CLOSE, Field, RequestHead, ResponseHead
from revproxy.model.tls import Identity
from revproxy.net.body_pace import BodyPace
from revproxy.net.deadlines import NEVER
from revproxy.net.exchange import Exchange
from revproxy.net.plan import ListenerPort, Plan
from revproxy.net.transport import READ_BYTES
from revproxy.net.tunnel import Tunnel
from revproxy.policy.forwarded import Client
from revproxy.policy.rate_limit import retry_after
from revproxy.wire.h2.connection import H2Connection
from revproxy.wire.h2.frames import CANCEL, INTERNAL_ERROR
from revproxy.wire.h2.response import own_response
from revproxy.wire.h2.stream import Stream

LEAST_READ_BYTES = 16384
"""The least that is read of an upstream at once."""

if TYPE_CHECKING:
    from revproxy.net.h2_requests import H2Requests


class H2Stream:
    """A ``Front`` and its ``Response``, see ``net/front.py``.

    Args:
        front: the connection's.
        h2: its layer.
        stream: the stream.
        plan: the generation that the exchange begins with.

    Attributes:
        deadline: of the request body; see ``Deadlines``.
    """

    __slots__ = ("_front", "_h2", "_held", "_owed", "_pace", "_plan", "_seen", "_stream",
                 "_unmoved_since", "deadline", "exchange", "identity", "paused", "peer",
                 "port")  # fmt: skip

    def __init__(self, front: H2Requests, h2: H2Connection, stream: Stream, plan: Plan) -> None:
        self.port: ListenerPort = front.port
        self.peer: Client = front.peer
        self.identity: Identity | None = front.identity
        self.paused = False
        self.exchange: Exchange | None = None
        self.deadline = NEVER
        self._front = front
        self._h2 = h2
        self._stream = stream
        self._plan = plan
        self._pace: BodyPace | None = None
        self._held = False
        self._owed = 0
        self._seen = 0
        self._unmoved_since = 0.0

    # From the connection

    def begin(self, head: RequestHead) -> None:
        """The request has begun."""
        self.exchange = exchange = Exchange(self, self._plan, head)
        if head.content_length and not head.protocol:
            self.deadline = now = self.port.deadlines.now
            self._pace = BodyPace(self._plan.limits.min_body_bytes_per_sec, now)
            self.port.deadlines.watch(self)
        exchange.begin()

    def refuse(self, error: BadRequest) -> None:
        """Answer a request that is none.

        As the connection goes on, it counts for the rate limit like any other.
        """
        plan, peer = self._plan, self.peer
        fields = [(b"Date", plan.date())]
        if not peer.trusted:
            left = plan.limiter.take(peer.key, plan.clock())
            if left < 0:
                error = BadRequest(429, "too many requests")
                fields.append((b"Retry-After", b"%d" % retry_after(left)))
        plan.responses[error.status // 100] += 1
        reason = ("error", error.reason)
        plan.log.request(peer.address, "", "", "", error.status, "", 0, (reason,))
        method = b"HEAD" if self._stream.head_only else b""
        head, content = own_response(error.status, fields, None, method)
        self._h2.send_head(self._stream, head)
        self._h2.send_data(self._stream, content)

    def body(self, content: bytes) -> None:
        """A part of the request body."""
        exchange, pace = self.exchange, self._pace
        size = len(content)
        if exchange is None:
            self._h2.consumed(self._stream, size)
            return
        if pace is not None:
            pace.received += size
            pace.last = self.port.deadlines.now
            if pace.received > self._plan.body_limit:
                exchange.refused(BadRequest(413, "request body too large"))
                return
        exchange.body(content)
        self._owed += size
        if not exchange.body_waits:
            self._give_back()

    def end(self) -> None:
        """The request is complete."""
        self._forget_body()
        exchange = self.exchange
        if exchange is not None and exchange.head.content_length:
            exchange.end()

    def flush_body(self) -> None:
        """Everything of this turn has been handed over."""
        if self.exchange is not None:
            self.exchange.flush()

    def lost(self, by: str = "downstream") -> None:
        """The stream is gone."""
        exchange = self.exchange
        self._over()
        if exchange is not None:
            exchange.lost(by)

    def pause(self) -> None:
        """Enough is held of the response."""
        self.paused = True
        if self.exchange is not None:
            self.exchange.pause()

    def resume(self) -> None:
        """What was held has left."""
        self.paused = False
        if self.exchange is not None:
            self.exchange.resume()

    def check_stall(self, now: float, secs: float, *, excused: bool) -> None:
        """Give the stream up, if for ``secs`` the client has taken nothing of what is held.

        Unless it is ``excused``: what it waits for is not its own window.
        """
        stream = self._stream
        seen = stream.queued
        if excused or not stream.queued or seen != self._seen:
            self._seen = seen
            self._unmoved_since = now
        elif now - self._unmoved_since > secs:
            self._reset(CANCEL)
            self.lost()

    def expired(self, now: float) -> None:
        """A sweep: whether the request body comes fast enough."""
        exchange, pace = self.exchange, self._pace
        if exchange is None or pace is None:
            self._forget_body()
            return
        if not self._held and not exchange.holding:
            self.wait(self._h2.choked)
        error = pace.late(now, self._plan.timeouts.request_body_secs)
        if error is not None:
            exchange.refused(error)
            self.flush()

    @property
    def upgraded(self) -> bool:
        """Whether it has become a tunnel."""
        return isinstance(self.exchange, Tunnel)

    # From the exchange

    @property
    def read_bytes(self) -> int:
        """How much is read of an upstream at once: less when many streams may have to hold it."""
        return max(LEAST_READ_BYTES, READ_BYTES // (len(self._h2.streams) or 1))

    @property
    def writer(self) -> H2Stream:
        """Where the response goes: here."""
        return self

    def interim(self, head: ResponseHead) -> None:
        """Pass a 1xx on."""
        self._h2.send_interim(self._stream, head)

    def head(self, head: ResponseHead) -> None:
        """Begin the final response."""
        self._h2.send_head(self._stream, head)

    def data(self, content: bytes) -> None:
        """A part of its body."""
        self._h2.send_data(self._stream, content)

    def switch(self, head: ResponseHead, protocol: bytes, tunnel: Tunnel) -> int:
        """Pass a 101 on, which is a 200 here (RFC 8441 5); the stream goes on as a tunnel."""
        head.status = 200
        head.fields = [one for one in head.fields if one[0].lower() != b"sec-websocket-accept"]
        head.body_length = UNTIL_CLOSE
        head.content_length = -1
        self._h2.send_head(self._stream, head)
        self.exchange = cast("Exchange", tunnel)  # which it stands in for
        return 200

    def finish(self, trailers: list[Field]) -> None:
        """The response is complete."""
        self._over()
        self._h2.finish(self._stream, trailers)

    def answer(
        self, status: int, fields: list[Field], *, close: bool, body: bytes | None = None
    ) -> None:
        """A whole response of the proxy's own; the connection goes on in any case."""
        assert self.exchange is not None
        method = self.exchange.head.method
        self._over()
        date = (b"Date", self._plan.date())
        head, content = own_response(status, [date, *fields], body, method)
        self._h2.send_head(self._stream, head)
        self._h2.send_data(self._stream, content)

    def reset(self) -> None:
        """The response is cut; of a tunnel that is as a reset of TCP is (RFC 8441 5)."""
        code = CANCEL if self.upgraded else INTERNAL_ERROR
        self._over()
        self._reset(code)

    def hold(self, held: bool) -> None:
        """Stop giving the request body's window back, or go on."""
        if held is not self._held:
            self._held = held
            self.wait(held)
        if self._owed and not held:
            self._give_back()
            self.flush()

    def wait(self, waiting: bool) -> None:
        """Let the clocks of the request body stand still, or run."""
        if self._pace is not None:
            now = self.port.deadlines.now
            if waiting:
                self._pace.stop(now)
            else:
                self._pace.go_on(now)

    def flush(self) -> None:
        """Send what has been said on the connection."""
        self._front.flush()

    def _reset(self, code: int) -> None:
        self._h2.reset(self._stream, code)
        self._stream.owner = None

    def _give_back(self) -> None:
        if not self._held:
            owed, self._owed = self._owed, 0
            self._h2.consumed(self._stream, owed)

    def _forget_body(self) -> None:
        if self._pace is not None:
            self._pace = None
            self.port.deadlines.forget(self)

    def _over(self) -> None:
        """The exchange has ended."""
        if self.exchange is not None:
            self.exchange = None
            self.port.gate.leave_stream(self._front.key)
        self._held = False
        self._give_back()
        self._forget_body()
