"""What one generation of the configuration comes to on the hot path.

Owns the compiled form: everything a request needs is a field here, computed once. Refuses to know
where it was compiled (``control/workshop.py``) and when it is replaced.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from attrs import define, field, frozen

from revproxy.model.configuration import IPNetwork, Limits, Timeouts
from revproxy.model.seams import AccessLog, AnswerChallenge, Clock, Limiter
from revproxy.net.deadlines import Deadlines
from revproxy.net.gate import Gate
from revproxy.net.pool import Pool
from revproxy.policy.connection_limit import ConnectionLimit
from revproxy.policy.routing import HostRoutes


@frozen(eq=False)
class Route:
    """Where the requests of one site go.

    Attributes:
        pool: connections to its upstream.
        upstream: the upstream's address, for the log.
        listeners: bind addresses of the listeners that serve it; None = all.
        log_file: gets the site's REQUEST records too.
        upgrades: what its connections may become, in lower case.
        send_proxy: the PROXY header that upstream connections begin with, or ``off``.
        passed: its TLS is not ended here: there is nothing to serve behind ours.
        plain: requests on a plain port are proxied, and not redirected.
    """

    pool: Pool
    upstream: str
    listeners: frozenset[str] | None = None
    log_file: str | None = None
    upgrades: frozenset[bytes] = frozenset()
    send_proxy: str = "off"
    passed: bool = False
    plain: bool = False


@frozen(eq=False)
class Plan:
    """One generation, compiled.

    Attributes:
        routes: by host name.
        limiter: of requests per client address.
        limit_fields: makes the rate limit's header fields from what the limiter said; None when
            they are off.
        body_limit: bytes of a request body.
        trusted: networks whose forwarding fields are believed.
        log: where records go.
        records_requests: whether the log keeps REQUEST records.
        clock: monotonic seconds.
        date: the current ``Date`` field value.
        challenge: answers an authority's validations on the plain ports; None when there is none
            to come.
        responses: how many requests were answered, by the first digit of the status; all
            generations count in the same list.
    """

    routes: HostRoutes[Route]
    limiter: Limiter
    limit_fields: Callable[[float], list[tuple[bytes, bytes]]] | None
    body_limit: int
    trusted: tuple[IPNetwork, ...]
    timeouts: Timeouts
    limits: Limits
    log: AccessLog = field(repr=False)
    records_requests: bool
    clock: Clock = field(repr=False)
    date: Callable[[], bytes] = field(repr=False)
    responses: list[int] = field(repr=False)
    challenge: AnswerChallenge | None = field(default=None, repr=False)


@define(eq=False)
class ResourceRouter:
    """What every listener shares: the plan that new exchanges begin with.

    Assigning :attr:`plan` is the whole swap of a reload; an exchange reads it once.

    Attributes:
        plan: the present one.
        draining: whether the process is about to end: every answer is its connection's last.
    """

    plan: Plan
    draining: bool = False


@frozen(eq=False)
class ListenerPort:
    """What the connections to one port have in common.

    Attributes:
        router: has the plan.
        deadlines: of the connections.
        connections: the open ones of all ports.
        gate: of all ports, closed while there are too many.
        secure: whether TLS is spoken on this port.
        bind_addr: of the listener.
        https_port: where a plain port redirects to.
    """

    router: ResourceRouter
    deadlines: Deadlines
    connections: ConnectionLimit[Any]
    gate: Gate
    secure: bool
    bind_addr: str
    https_port: int
