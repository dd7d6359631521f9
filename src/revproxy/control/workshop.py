"""Settings compiled into the plan of the hot path.

Owns the compilation, and what one generation hands on to the next: pools of unchanged upstreams,
the rate limit's buckets, the counts of responses. Refuses to know certificates, and when a plan
is served.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from email.utils import formatdate
from typing import Any

from attrs import evolve, frozen

from revproxy.model.address import UpstreamAddress
from revproxy.model.configuration import (
    Configuration,
    Limits,
    Listener,
    Passthrough,
    RateLimit,
    Site,
    Stream,
)
from revproxy.model.seams import AccessLog, AnswerChallenge
from revproxy.model.tls import TlsContext
from revproxy.net.backend import Backend, RelayDestination
from revproxy.net.deadlines import Deadlines
from revproxy.net.plan import Plan, Route
from revproxy.net.pool import Pool, PoolSettings
from revproxy.net.transport import ALL_DESCRIPTORS
from revproxy.policy.rate_limit import TokenBuckets, rate_limit_fields
from revproxy.policy.routing import HostRoutes
from revproxy.policy.sni_routes import SniRoutes
from revproxy.tls.trust import upstream_context

STREAM_CONNECT_SECS = 5.0
"""How long the upstream of a TCP service may take to accept a connection."""

Pools = dict[PoolSettings, Pool]
Destinations = dict[tuple[UpstreamAddress, float, int], RelayDestination]


@frozen(eq=False)
class Compiled:
    """A configuration compiled.

    Attributes:
        plan: for the hot path.
        pools: those that the plan's routes use.
        rate_limit: what the buckets go by once the plan is served.
        passed: what each listener passes through, by address and https port.
        destinations: where that leads.
    """

    plan: Plan
    pools: Pools
    rate_limit: RateLimit
    passed: dict[tuple[str, int], SniRoutes[Backend]]
    destinations: Destinations


class Workshop:
    """Compiles configurations.

    Args:
        reactor: for the pools.
        deadlines: for the pools.
        log: for the plans.
        wall: seconds since 1970.
        most_descriptors: as of ``Pool``.
        challenge: answers validations where certificates are automatic.
    """

    def __init__(
        self,
        reactor: Any,
        deadlines: Deadlines,
        log: AccessLog,
        wall: Callable[[], float],
        most_descriptors: int = ALL_DESCRIPTORS,
        challenge: AnswerChallenge | None = None,
    ) -> None:
        self._reactor = reactor
        self._deadlines = deadlines
        self._log = log
        self._wall = wall
        self._most_descriptors = most_descriptors
        self._challenge = challenge
        self._limiter: TokenBuckets | None = None
        self._pools: Pools = {}
        self._destinations: Destinations = {}
        self._trust: TlsContext | None = None
        self._responses = [0] * 10
        self._date_second = -1
        self._date = b""

    def compile(self, configuration: Configuration) -> Compiled:
        """Compile ``configuration``. Nothing that is served changes, so a thread may do it."""
        pools: Pools = {}
        limits = configuration.limits
        destinations: Destinations = {}
        routes = HostRoutes(
            [
                *self._passed_routes(configuration, pools),
                *(
                    (site.host, self._route(site, limits, pools))
                    for site in configuration.all_sites()
                ),
            ]
        )
        passed = {
            (listener.bind_addr, listener.https_port): self._sni_routes(
                listener, configuration, destinations
            )
            for listener in configuration.listeners
        }
        if any(settings.tls for settings in pools):
            self._upstream_trust()  # reads the system's roots, which takes 20 ms
        rate = configuration.rate_limit
        if self._limiter is None:
            self._limiter = TokenBuckets(rate.requests_per_second, rate.burst)
        plan = Plan(
            routes=routes,
            limiter=self._limiter,
            limit_fields=self._limit_fields if rate.headers else None,
            body_limit=configuration.body.limit_bytes,
            trusted=configuration.trusted_proxies,
            timeouts=configuration.timeouts,
            limits=configuration.limits,
            log=self._log,
            records_requests=self._log.enabled("info"),
            clock=self._deadlines.clock,
            date=self._http_date,
            responses=self._responses,
            challenge=self._challenge if _is_automatic(configuration) else None,
        )
        return Compiled(plan, pools, rate, passed, destinations)

    def adopt(self, compiled: Compiled) -> None:
        """``compiled`` is served from now on; pools that it does not use are closed.

        A pool that is closed still serves the exchanges that began with it.
        """
        assert self._limiter is not None
        self._limiter.configure(compiled.rate_limit.requests_per_second, compiled.rate_limit.burst)
        self._destinations = compiled.destinations
        former, self._pools = self._pools, compiled.pools
        for settings, pool in former.items():
            if compiled.pools.get(settings) is not pool:
                pool.close()

    @property
    def pools(self) -> list[Pool]:
        """Those in use, in the order of their sites."""
        return list(self._pools.values())

    def close(self) -> None:
        """Close every pool."""
        for pool in self._pools.values():
            pool.close()

    def _route(self, site: Site, limits: Limits, pools: Pools) -> Route:
        settings = PoolSettings(
            address=site.upstream,
            tls=site.upstream_scheme == "https",
            connect_secs=site.upstream_connect_timeout_secs,
            request_secs=site.upstream_request_timeout_secs,
            keepalive=site.upstream_keepalive if site.send_proxy == "off" else 0,
            idle_secs=site.upstream_idle_secs,
            head_bytes=limits.upstream_head_bytes,
            interim=limits.interim_responses,
            chunk_line_bytes=limits.chunk_line_bytes,
            trailer_bytes=limits.trailer_bytes,
            buffered_bytes=limits.buffered_bytes,
        )
        pool = pools.get(settings) or self._pools.get(settings)
        if pool is None:
            pool = Pool(
                settings,
                self._reactor,
                self._deadlines,
                self._upstream_trust,
                self._most_descriptors,
            )
        pools[settings] = pool
        return Route(
            pool=pool,
            upstream=str(site.upstream),
            listeners=None if site.listeners is None else frozenset(site.listeners),
            log_file=site.log_file_path,
            upgrades=frozenset(protocol.encode() for protocol in site.upgrades),
            send_proxy=site.send_proxy,
        )

    def _passed_routes(
        self, configuration: Configuration, pools: Pools
    ) -> Iterator[tuple[str, Route]]:
        """The routes on the plain ports of hosts whose TLS is passed through."""
        for listener in configuration.listeners:
            for one in listener.passthrough:
                plain = one.http_upstream is not None
                stand_in = Site(
                    host="",
                    upstream=one.http_upstream or one.upstream,
                    upstream_connect_timeout_secs=one.connect_timeout_secs,
                )
                # A pool that only redirects stand before is none that anybody is told of.
                route = self._route(stand_in, configuration.limits, pools if plain else {})
                route = evolve(route, passed=True, plain=plain)
                for host in one.hosts:
                    yield host, route

    def _sni_routes(
        self, listener: Listener, configuration: Configuration, destinations: Destinations
    ) -> SniRoutes[Backend]:
        limits = configuration.limits
        fallback = listener.fallback()
        ended = [site.host for site in configuration.all_sites()]
        return SniRoutes(
            [
                (host, self._backend(one, limits, destinations))
                for one in listener.passthrough
                for host in one.hosts
            ],
            [*ended, *listener.tls.acme_domains],
            None if fallback is None else self._backend(fallback, limits, destinations),
            nameless_ended=configuration.default_site is not None,
        )

    def _backend(self, one: Passthrough, limits: Limits, destinations: Destinations) -> Backend:
        where = self._destination(
            one.upstream, one.connect_timeout_secs, limits.buffered_bytes, destinations
        )
        return Backend(where, str(one.upstream), one.send_proxy)

    def stream_backend(self, stream: Stream, limits: Limits) -> Backend:
        """Where a TCP service's connections go."""
        where = self._destination(stream.upstream, STREAM_CONNECT_SECS, limits.buffered_bytes, {})
        return Backend(where, str(stream.upstream), stream.send_proxy)

    def _destination(
        self, address: UpstreamAddress, secs: float, buffered: int, destinations: Destinations
    ) -> RelayDestination:
        """The destination that is used already, or a new one."""
        key = address, secs, buffered
        found = destinations.get(key) or self._destinations.get(key)
        if found is None:
            found = RelayDestination(
                address,
                self._reactor,
                self._deadlines,
                connect_secs=secs,
                buffered_bytes=buffered,
                most_descriptors=self._most_descriptors,
            )
        destinations[key] = found
        return found

    def _upstream_trust(self) -> TlsContext:
        """The one context for all TLS upstreams, made when the first of them is configured."""
        if self._trust is None:
            self._trust = upstream_context()
        return self._trust

    def _limit_fields(self, left: float) -> list[tuple[bytes, bytes]]:
        assert self._limiter is not None
        return rate_limit_fields(self._limiter.rate, self._limiter.burst, left, self._wall())

    def _http_date(self) -> bytes:
        second = int(self._wall())
        if second != self._date_second:
            self._date = formatdate(second, usegmt=True).encode()
            self._date_second = second
        return self._date


def _is_automatic(configuration: Configuration) -> bool:
    return any(listener.tls.mode == "acme" for listener in configuration.listeners)
