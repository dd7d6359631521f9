"""One request and its response, from the head to the record in the log.

Owns the order of things: limits, routing, the upstream connection, retry, what is answered when
something fails, and the record that is written whatever happened. Front and upstream connection
call it directly (docs/architecture/proxy.md has the seam); neither knows the other. Refuses to
know HTTP versions and bytes on the wire beyond the request head it sends.
"""

from __future__ import annotations

from ipaddress import ip_address
from typing import TYPE_CHECKING

from revproxy.errors import BadResponse, ProxyError
from revproxy.model.http import CHUNKED, Field, RequestHead, ResponseHead
from revproxy.net.front import Front
from revproxy.net.own_answers import OwnAnswers
from revproxy.net.plan import Plan, Route
from revproxy.net.tunnel import Tunnel
from revproxy.net.upstream import UpstreamConnection
from revproxy.policy.forwarded import settle_forwarded
from revproxy.policy.outcome import CLIENT_CLOSED, may_retry
from revproxy.policy.upgrade import Upgrade, upgrade_of
from revproxy.policy.upstream_request import upstream_request_head
from revproxy.wire.proxy_protocol import Endpoints, proxy_header_v1, proxy_header_v2

if TYPE_CHECKING:
    from revproxy.net.attempt import Attempt


class Exchange(OwnAnswers):
    """See the module. ``front`` calls :meth:`begin`, :meth:`body`, :meth:`end`, :meth:`lost`.

    Attributes:
        holding: the request body waits for the upstream's 100.
        trailers: of the response.
    """

    __slots__ = ("_attempt", "_body_sent", "_connection", "_held", "_held_bytes", "_request_done",
                 "_response_begun", "_retried", "_upgrade", "holding", "trailers")  # fmt: skip

    def __init__(self, front: Front, plan: Plan, head: RequestHead) -> None:
        super().__init__(front, plan, head)
        self.holding = False
        self.trailers: list[Field] = []
        self._connection: UpstreamConnection | None = None
        self._attempt: Attempt | None = None
        self._held: list[bytes] = []
        self._held_bytes = 0
        self._body_sent = False
        self._request_done = False
        self._response_begun = False
        self._retried = False
        self._upgrade: Upgrade | None = None

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
        elif not self.front.port.secure and not route.plain:
            self._redirect()
        elif self.front.identity is not None and (
            route.passed or not self.front.identity.covers(head.host)
        ):
            self._answer(421, error="the certificate does not cover this host")
        elif head.content_length > plan.body_limit:
            self._answer(413, close=True, error="request body too large")
        elif head.protocol and not self._may_upgrade(route):
            self._answer(501, error="protocol not allowed")
        else:
            self._route = route
            if head.expect_continue and head.content_length and not self._upgrade:
                self.holding = True
                self.front.wait(True)
            self._attempt = route.pool.acquire(self, first=self._first_bytes(route))

    def body(self, content: bytes) -> None:
        """A part of the request body."""
        connection = self._connection
        if connection is None or self.holding or self._upgrade:
            self._held.append(content)
            self._held_bytes += len(content) + PIECE_BYTES
            if self._held_bytes >= self._plan.limits.buffered_bytes:
                self.front.hold(True)
        else:
            self._body_sent = True
            connection.send_body(content)

    @property
    def body_waits(self) -> bool:
        """Whether what has come of the request body has not gone on."""
        return bool(self._held)

    def end(self) -> None:
        """The request is complete."""
        self._request_done = True
        if self._connection is not None and not self.holding and not self._upgrade:
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
        upgrade = self._upgrade
        has_body = self.head.content_length != 0 and not upgrade
        connection.begin(
            self,
            upstream_request_head(self.head, self._client, expect=self.holding, upgrade=upgrade),
            self.head.method,
            has_body=has_body,
            chunked=self.head.content_length == CHUNKED and has_body,
            protocol=upgrade.protocol if upgrade else b"",
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
        connection, upgrade = self._connection, self._upgrade
        assert connection is not None and upgrade is not None
        if not upgrade.is_answered_by(head.fields):
            raise BadResponse("invalid sec-websocket-accept")
        self._response_begun = True
        self._connection = None
        self._complete_fields(head)
        front, plan = self.front, self._plan
        idle_secs = plan.timeouts.upgraded_idle_secs
        tunnel = Tunnel(
            front, self.head, connection, front.port.deadlines, idle_secs, self._record
        )
        connection.become(tunnel)
        self._status = front.switch(head, upgrade.protocol, tunnel)
        held, self._held = self._held, []
        if held:
            tunnel.body(b"".join(held))
            front.hold(False)
            tunnel.flush()
        if self._request_done or (self._is_connect and not self.head.content_length):
            tunnel.end()

    def response(self, head: ResponseHead) -> None:
        """The final response head.

        Raises:
            BadResponse: the downstream would take it for an upgrade that has not been agreed to.
        """
        if self._upgrade is not None and self._is_connect and head.status < 300:
            raise BadResponse("no upgrade")
        self._response_begun = True
        self._status = head.status
        if self.holding:
            # What more comes of the body is sent on at once, and must not overtake what is held.
            self.release_body(told=True)
        self._complete_fields(head)
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
            b"GET" if self._is_connect else self.head.method,
            reused=connection is not None and connection.reused,
            response_begun=False,
            body_sent=self._body_sent,
            retried=self._retried,
        ):
            self._retried = True
            route = self._route
            assert route is not None
            first = self._first_bytes(route)
            self._attempt = route.pool.acquire(self, fresh=True, first=first)
        else:
            self._upstream_error(error)
            self._answer(error.status, error=error.reason)

    def upstream_full(self) -> None:
        """The upstream takes nothing."""
        self.front.hold(True)

    def upstream_drained(self) -> None:
        """The upstream takes bytes again."""
        self.front.hold(False)

    # Upstream

    @property
    def _is_connect(self) -> bool:
        """Whether it is an extended CONNECT, which its upstream gets as a GET."""
        return self.head.method == b"CONNECT"

    def _may_upgrade(self, route: Route) -> bool:
        """Choose what the connection may become.

        A request of HTTP/1.1 that asks for something else is served as if it did not; an extended
        CONNECT asks for nothing else.
        """
        self._upgrade = upgrade_of(self.head, route.upgrades)
        return self._upgrade is not None or not self._is_connect

    def _complete_fields(self, head: ResponseHead) -> None:
        """Add what the proxy itself says in every response."""
        if not head.has_date:
            head.fields.append((b"Date", self._plan.date()))
        if self._fields is not None:
            mine = {name.lower() for name, _ in self._fields}
            head.fields = [field for field in head.fields if field[0].lower() not in mine]
            head.fields += self._fields

    def _first_bytes(self, route: Route) -> bytes:
        """What tells the upstream by a PROXY header who the client is; its port is not known."""
        if route.send_proxy == "off":
            return b""
        port = self.front.port
        client, here = ip_address(self._client.address), ip_address(port.bind_addr)
        endpoints = Endpoints(client, 0, here, port.https_port)
        write = proxy_header_v1 if route.send_proxy == "v1" else proxy_header_v2
        return write(endpoints)

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


PIECE_BYTES = 64
"""What a piece of a held body takes besides its bytes."""

_SPECIAL_METHODS = frozenset((b"CONNECT", b"TRACE", b"OPTIONS"))


def _continue() -> ResponseHead:
    head = ResponseHead()
    head.status, head.reason, head.fields = 100, b"Continue", []
    return head
