"""What an exchange says by itself: the proxy's own answers, and the records of the log.

Owns their wording and fields. Refuses to know when they are due, upstreams, and bytes on the wire.
"""

from __future__ import annotations

from collections.abc import Sequence

from revproxy.errors import ProxyError, Side
from revproxy.model.http import Field, RequestHead
from revproxy.model.seams import AnswerChallenge
from revproxy.net.front import Front
from revproxy.net.plan import Plan, Route
from revproxy.policy.rate_limit import retry_after

_SAFE_METHODS = frozenset((b"GET", b"HEAD"))
_OCTETS = [(b"Content-Type", b"application/octet-stream")]


class OwnAnswers:
    """The answering half of an :class:`~revproxy.net.exchange.Exchange`, which builds on it.

    Args:
        front: where answers go.
        plan: the generation that the exchange begins with.
        head: of the request.
    """

    __slots__ = ("_client", "_fields", "_plan", "_route", "_started", "_status", "front", "head")

    def __init__(self, front: Front, plan: Plan, head: RequestHead) -> None:
        self.front = front
        self.head = head
        self._plan = plan
        self._client = front.peer
        self._route: Route | None = None
        self._started = plan.clock()
        self._status = 0
        self._fields: list[Field] | None = None

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
