"""One request and its response, from the head to the record in the log.

Owns the order of things: limits, routing, the upstream connection, retry, what is answered when
something fails, and the record that is written whatever happened. Front and upstream connection
call it directly (docs/architecture/proxy.md has the seam); neither knows the other. Refuses to
know HTTP versions and bytes on the wire beyond the request head it sends.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from revproxy.errors import BadResponse, ProxyError, Side
from revproxy.model.http import CHUNKED, Field, RequestHead, ResponseHead
from revproxy.model.seams import AnswerChallenge
from revproxy.net.front import Front
from revproxy.net.plan import Plan, Route
from revproxy.net.tunnel import Tunnel
from revproxy.net.upstream import UpstreamConnection
from revproxy.policy.forwarded import settle_forwarded
from revproxy.policy.outcome import CLIENT_CLOSED, may_retry
from revproxy.policy.rate_limit import retry_after
from revproxy.policy.upgrade import WEBSOCKET, accepts_key, chosen_protocol, websocket_key
from revproxy.policy.upstream_request import upstream_request_head

if TYPE_CHECKING:
    from revproxy.net.pool import Attempt


class Exchange:
    """See the module. ``front`` calls :meth:`begin`, :meth:`body`, :meth:`end`, :meth:`lost`.

    Attributes:
        holding: the request body waits for the upstream's 100.
        trailers: of the response.
    """

    __slots__ = ("_attempt", "_body_sent", "_client", "_connection", "_fields", "_held",
                 "_held_bytes", "_key", "_plan", "_protocol", "_request_done", "_response_begun",
                 "_retried", "_route",
                 "_started", "_status", "front", "head", "holding", "trailers")  # fmt: skip

    def __init__(self, front: Front, plan: Plan, head: RequestHead) -> None:
        self.front = front
        self.head = head
        self.holding = False
        self.trailers: list[Field] = []
        self._plan = plan
        self._client = front.peer
        self._route: Route | None = None
        self._connection: UpstreamConnection | None = None
        self._attempt: Attempt | None = None
        self._started = plan.clock()
        self._status = 0
        self._fields: list[Field] | None = None
        self._held: list[bytes] = []
        self._held_bytes = 0
        self._body_sent = False
        self._request_done = False
        self._response_begun = False
        self._retried = False
        self._protocol = b""
        self._key = b""

    # From the front

    def begin(self) -> None:
        """Settle the client, apply the limits, find the route, ask for a connection."""
        plan = self._plan
        head = self.head
        if plan.challenge is not None and self._validated(plan.challenge):
            return
        client = self._client
        if client.trusted:
            scheme = b"https" if self.front.port.secure else b"http"
            self._client = client = settle_forwarded(
                client, head.forwarded_for, scheme, plan.trusted
            )
        left = plan.limiter.take(client.key, self._started)
        if plan.limit_fields is not None:
            self._fields = plan.limit_fields(left)
        if left < 0:
            self._limited(left)
            return
        route = plan.routes.find(head.host)
        if head.method in _SPECIAL_METHODS and self._special_method():
            return
        if route is None or (
            route.listeners is not None and self.front.port.bind_addr not in route.listeners
        ):
            self._answer(404, error="no site has this host")
        elif not self.front.port.secure:
            self._redirect()
        elif self.front.identity is not None and not self.front.identity.covers(head.host):
            self._answer(421, error="the certificate does not cover this host")
        elif head.content_length > plan.body_limit:
            self._answer(413, close=True, error="request body too large")
        elif head.protocol and not self._may_upgrade(route):
            self._answer(501, error="protocol not allowed")
        else:
            self._route = route
            if head.expect_continue and head.content_length and not self._protocol:
                self.holding = True
                self.front.wait(True)
            self._attempt = route.pool.acquire(self)

    def body(self, content: bytes) -> None:
        """A part of the request body."""
        connection = self._connection
        if connection is None or self.holding or self._protocol:
            self._held.append(content)
            self._held_bytes += len(content)
            if self._held_bytes >= self._plan.limits.buffered_bytes:
                self.front.hold(True)
        else:
            self._body_sent = True
            connection.send_body(content)

    def end(self) -> None:
        """The request is complete."""
        self._request_done = True
        if self._connection is not None and not self.holding and not self._protocol:
            self._connection.end()

    def lost(self, by: str = "downstream") -> None:
        """The downstream is gone; ``by`` says who has ended its connection."""
        if not self._response_begun:
            self._status = CLIENT_CLOSED
        self._drop_upstream()
        self._record((("cut", by),))

    def refused(self, error: ProxyError) -> None:
        """The front cannot go on with the request body: invalid, too large, too slow."""
        self._drop_upstream()
        if self._response_begun:
            self._record((("cut", "downstream"), ("error", error.reason)))
            self.front.reset()
        else:
            self._answer(error.status, close=True, error=error.reason)

    def pause(self) -> None:
        """The downstream takes nothing."""
        if self._connection is not None:
            self._connection.pause()

    def resume(self) -> None:
        """The downstream takes bytes again."""
        if self._connection is not None:
            self._connection.resume()

    def flush(self) -> None:
        """The front has handed over all it had: send it upstream in one piece."""
        if self._connection is not None:
            self._connection.flush()

    # From the pool

    def attached(self, connection: UpstreamConnection) -> None:
        """A connection is there: send the request as far as it has come."""
        self._attempt = None
        self._connection = connection
        if self._protocol:
            self._ask_upgrade(connection)
            return
        has_body = self.head.content_length != 0
        connection.begin(
            self,
            upstream_request_head(self.head, self._client, expect=self.holding),
            self.head.method,
            has_body=has_body,
            chunked=self.head.content_length == CHUNKED,
        )
        if self.front.paused:
            connection.pause()
        if has_body:
            if self.holding:
                connection.flush()
                connection.wait_for_continue()
            else:
                self._send_held(connection)

    def failed(self, error: ProxyError) -> None:
        """There is no connection to be had."""
        self._attempt = None
        self._upstream_error(error)
        self._answer(error.status, error=error.reason)
        self.front.flush()

    # From the upstream connection

    def interim(self, head: ResponseHead) -> None:
        """A 1xx other than 101."""
        if self.holding and head.status == 100:
            self.release_body(told=True)
            self.front.writer.interim(head)
        elif head.status != 100:
            self.front.writer.interim(head)

    def release_body(self, *, told: bool) -> None:
        """Let the request body go: the upstream said 100, or a second has passed."""
        self.holding = False
        self.front.wait(False)
        if not told:
            self.front.writer.interim(_continue())
            self.front.flush()
        if self._connection is not None:
            self._send_held(self._connection)

    def switched(self, head: ResponseHead) -> None:
        """The upstream agrees to the protocol that was asked for: a tunnel takes over.

        Raises:
            BadResponse: it only seems to.
        """
        connection = self._connection
        assert connection is not None
        if self._key and not accepts_key(head.fields, self._key):
            raise BadResponse("invalid sec-websocket-accept")
        self._response_begun = True
        self._connection = None
        front, plan = self.front, self._plan
        idle_secs = plan.timeouts.upgraded_idle_secs
        tunnel = Tunnel(
            front, self.head, connection, front.port.deadlines, idle_secs, self._record
        )
        connection.become(tunnel)
        self._status = front.switch(head, self._protocol, tunnel)
        held, self._held = self._held, []
        if held:
            tunnel.body(b"".join(held))
            front.hold(False)
            tunnel.flush()
        if self._request_done:
            tunnel.end()

    def response(self, head: ResponseHead) -> None:
        """The final response head."""
        self._response_begun = True
        self._status = head.status
        if self.holding:
            # What more comes of the body is sent on at once, and must not overtake what is held.
            self.release_body(told=True)
        if not head.has_date:
            head.fields.append((b"Date", self._plan.date()))
        if self._fields is not None:
            mine = {name.lower() for name, _ in self._fields}
            head.fields = [field for field in head.fields if field[0].lower() not in mine]
            head.fields += self._fields
        self.front.writer.head(head)

    def data(self, content: bytes) -> None:
        """A part of the response body."""
        self.front.writer.data(content)

    def done(self) -> None:
        """The response is complete, and the connection back where it belongs."""
        self._connection = None
        self._record()
        self.front.finish(self.trailers if self.head.wants_trailers else [])

    def cut(self, error: ProxyError) -> None:
        """The connection died or is of no use; it has closed itself."""
        connection, self._connection = self._connection, None
        if self._response_begun:
            self._upstream_error(error)
            self._record((("cut", "upstream"),))
            self.front.reset()
        elif error.retry and may_retry(
            self.head.method,
            reused=connection is not None and connection.reused,
            response_begun=False,
            body_sent=self._body_sent,
            retried=self._retried,
        ):
            self._retried = True
            assert self._route is not None
            self._attempt = self._route.pool.acquire(self, fresh=True)
        else:
            self._upstream_error(error)
            self._answer(error.status, error=error.reason)

    def upstream_full(self) -> None:
        """The upstream takes nothing."""
        self.front.hold(True)

    def upstream_drained(self) -> None:
        """The upstream takes bytes again."""
        self.front.hold(False)

    # The proxy's own answers

    def _special_method(self) -> bool:
        """CONNECT, TRACE and what an OPTIONS asks of us; returns whether it was answered."""
        head = self.head
        if head.method == b"CONNECT" and head.protocol:
            return False
        if head.method != b"OPTIONS":
            allow = b"GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS"
            refused = "method not allowed"
            self._answer(405, [(b"Allow", allow)], close=head.method == b"CONNECT", error=refused)
            return True
        if head.target == b"*" or head.max_forwards == 0:
            self._answer(204)
            return True
        return False

    def _validated(self, challenge: AnswerChallenge) -> bool:
        """Whether this was an authority's HTTP-01 validation, which comes before everything."""
        if self.front.port.secure or self.head.method not in _SAFE_METHODS:
            return False
        authorization = challenge(self.head.path)
        if authorization is not None:
            self._answer(200, _OCTETS, body=authorization)
        return authorization is not None

    def _redirect(self) -> None:
        """From the plain port to the TLS port of the same listener; only to known hosts."""
        port = self.front.port.https_port
        host = self.head.host.encode()
        where = host if port == 443 else b"%b:%d" % (host, port)
        self._answer(301, [(b"Location", b"https://%b%b" % (where, self.head.target))])

    def _limited(self, left: float) -> None:
        record = (
            ("client_ip", self._client.address),
            ("host", self.head.host),
            ("path", self.head.path.decode("latin-1")),
            ("status", 429),
        )
        self._plan.log.record("warn", "RATE_LIMIT", record)
        self._answer(429, [(b"Retry-After", b"%d" % retry_after(left))])

    def _answer(
        self,
        status: int,
        fields: Sequence[Field] = (),
        *,
        close: bool = False,
        error: str | None = None,
        body: bytes | None = None,
    ) -> None:
        self._status = status
        self._record((("error", error),) if error else ())
        self.front.answer(status, [*fields, *(self._fields or ())], close=close, body=body)

    # Upstream

    def _may_upgrade(self, route: Route) -> bool:
        """Choose what the connection may become.

        In HTTP/1.1 a request that asks for something else is served as if it did not; an extended
        CONNECT asks for nothing else.
        """
        head = self.head
        self._protocol = chosen_protocol(head.protocol, route.upgrades, head.method)
        if head.method != b"CONNECT":
            return True
        if self._protocol == WEBSOCKET:
            self._key = websocket_key()
        return bool(self._protocol)

    def _ask_upgrade(self, connection: UpstreamConnection) -> None:
        protocol = self._protocol
        head = upstream_request_head(
            self.head, self._client, expect=False, protocol=protocol, key=self._key
        )
        connection.begin(self, head, b"", has_body=False, chunked=False, protocol=protocol)
        if self.front.paused:
            connection.pause()

    def _send_held(self, connection: UpstreamConnection) -> None:
        held, self._held = self._held, []
        if held:
            self._held_bytes = 0
            self._body_sent = True
            connection.send_body(b"".join(held))
        if self._request_done:
            connection.end()
        self.front.hold(False)
        connection.flush()  # holds again if that is too much

    def _drop_upstream(self) -> None:
        attempt, self._attempt = self._attempt, None
        connection, self._connection = self._connection, None
        if attempt is not None:
            attempt.cancel()
        if connection is not None:
            connection.abandon()

    # The log

    def _upstream_error(self, error: ProxyError) -> None:
        if error.side is not Side.UPSTREAM or self._route is None:
            return
        record = (
            ("host", self.head.host),
            ("upstream", self._route.upstream),
            ("error", error.reason),
        )
        self._plan.log.record("warn", "UPSTREAM_ERROR", record)

    def _record(self, more: Sequence[tuple[str, object]] = ()) -> None:
        plan = self._plan
        plan.responses[self._status // 100] += 1
        if not plan.records_requests:
            return
        head = self.head
        route = self._route
        plan.log.request(
            self._client.address,
            head.host,
            head.method.decode("latin-1"),
            head.path.decode("latin-1"),
            self._status,
            "" if route is None else route.upstream,
            int((plan.clock() - self._started) * 1000),
            more,
            None if route is None else route.log_file,
        )


_SPECIAL_METHODS = frozenset((b"CONNECT", b"TRACE", b"OPTIONS"))
_SAFE_METHODS = frozenset((b"GET", b"HEAD"))
_OCTETS = [(b"Content-Type", b"application/octet-stream")]


def _continue() -> ResponseHead:
    head = ResponseHead()
    head.status, head.reason, head.fields = 100, b"Continue", []
    return head
