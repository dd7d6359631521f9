"""A configuration made ready to serve: one generation.

Owns the compilation of settings into the plan of the hot path and the certificates of every
listener. What outlives a generation (pools of unchanged upstreams, loaded certificates, the rate
limit's buckets) is held by the :class:`Workshop`. Refuses to know sockets and reloads.
"""

from __future__ import annotations

from collections.abc import Callable
from email.utils import formatdate
from typing import Any

from attrs import frozen

from revproxy.errors import ConfigError, ConfigErrors
from revproxy.model.configuration import Configuration, Limits, Listener, Site
from revproxy.model.seams import AccessLog
from revproxy.model.tls import Identity, TlsContext
from revproxy.net.deadlines import Deadlines
from revproxy.net.plan import Plan, Route
from revproxy.net.pool import Pool, PoolSettings
from revproxy.policy.rate_limit import TokenBuckets, rate_limit_fields
from revproxy.policy.routing import HostRoutes
from revproxy.tls.certificates import Identities
from revproxy.tls.selection import Selection, coverage_warnings
from revproxy.tls.trust import upstream_context


@frozen(eq=False)
class Certificates:
    """The certificates of a configuration.

    Attributes:
        selections: what each listener serves, by its bind address and TLS port.
        warnings: sentences about sites that no certificate covers.
    """

    selections: dict[tuple[str, int], Selection]
    warnings: list[str]


def load_certificates(
    configuration: Configuration, identities: Identities, now: float
) -> Certificates:
    """Load every listener's certificates.

    Args:
        configuration: says which.
        identities: shares what is loaded already.
        now: seconds since 1970.

    Raises:
        ConfigErrors: all pairs that cannot be used.
    """
    errors: list[ConfigError] = []
    selections: dict[tuple[str, int], Selection] = {}
    warnings: list[str] = []
    for index, listener in enumerate(configuration.listeners):
        loaded = _listener_identities(f"listeners[{index}].tls", listener, identities, now, errors)
        key = (listener.bind_addr, listener.https_port)
        default = configuration.default_site
        selections[key] = Selection(loaded, default)
        served = [*listener.sites, *_included_for(configuration, listener)]
        warnings += coverage_warnings(served, loaded)
    if errors:
        raise ConfigErrors(errors)
    return Certificates(selections, warnings)


def _listener_identities(
    path: str, listener: Listener, identities: Identities, now: float, errors: list[ConfigError]
) -> list[Identity]:
    loaded: list[Identity] = []
    for pair in listener.tls.pairs:
        try:
            loaded.append(
                identities.load(pair, now=now, session_tickets=listener.tls.session_tickets)
            )
        except ConfigError as error:
            errors.append(ConfigError(path, str(error)))
    return loaded


def _included_for(configuration: Configuration, listener: Listener) -> list[Site]:
    return [
        site
        for site in configuration.sites
        if site.listeners is None or listener.bind_addr in site.listeners
    ]


class Workshop:
    """Makes plans, and keeps what one generation hands on to the next.

    Args:
        reactor: for the pools.
        deadlines: for the pools.
        log: for the plans.
        wall: seconds since 1970.
    """

    def __init__(
        self, reactor: Any, deadlines: Deadlines, log: AccessLog, wall: Callable[[], float]
    ) -> None:
        self._reactor = reactor
        self._deadlines = deadlines
        self._log = log
        self._wall = wall
        self._limiter: TokenBuckets | None = None
        self._pools: dict[PoolSettings, Pool] = {}
        self._trust: TlsContext | None = None
        self._date_second = -1
        self._date = b""

    def plan(self, configuration: Configuration) -> Plan:
        """Compile ``configuration``; pools that it does not use any more are closed."""
        pools: dict[PoolSettings, Pool] = {}
        routes = HostRoutes(
            (site.host, self._route(site, configuration.limits, pools))
            for site in configuration.all_sites()
        )
        if any(settings.tls for settings in pools):
            self._upstream_trust()  # reads the system's roots, which takes 20 ms
        for settings, pool in self._pools.items():
            if settings not in pools:
                pool.close()
        self._pools = pools
        rate = configuration.rate_limit
        if self._limiter is None:
            self._limiter = TokenBuckets(rate.requests_per_second, rate.burst)
        else:
            self._limiter.configure(rate.requests_per_second, rate.burst)
        return Plan(
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
        )

    def close(self) -> None:
        """Close every pool."""
        for pool in self._pools.values():
            pool.close()

    def _route(self, site: Site, limits: Limits, pools: dict[PoolSettings, Pool]) -> Route:
        settings = PoolSettings(
            address=site.upstream,
            tls=site.upstream_scheme == "https",
            connect_secs=site.upstream_connect_timeout_secs,
            request_secs=site.upstream_request_timeout_secs,
            keepalive=site.upstream_keepalive,
            idle_secs=site.upstream_idle_secs,
            head_bytes=limits.upstream_head_bytes,
            interim=limits.interim_responses,
            chunk_line_bytes=limits.chunk_line_bytes,
            trailer_bytes=limits.trailer_bytes,
            buffered_bytes=limits.buffered_bytes,
        )
        pool = pools.get(settings) or self._pools.get(settings)
        if pool is None:
            pool = Pool(settings, self._reactor, self._deadlines, self._upstream_trust)
        pools[settings] = pool
        return Route(
            pool=pool,
            upstream=str(site.upstream),
            listeners=None if site.listeners is None else frozenset(site.listeners),
            log_file=site.log_file_path,
        )

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
