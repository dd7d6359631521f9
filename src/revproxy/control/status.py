"""What is told about the running process, as plain values.

Owns the figures and lists behind the admin commands and the readiness check. Refuses to know who
asks and how an answer is shown.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from itertools import islice
from typing import Any

import revproxy
from revproxy.control.drain import Drain
from revproxy.control.generation import Generations
from revproxy.control.listening import PortService
from revproxy.control.log_writer import LogWriter
from revproxy.control.reload import Reload
from revproxy.control.renewals import Renewals
from revproxy.model.configuration import Configuration, Site
from revproxy.model.tls import ClientHello, Identity
from revproxy.net.deadlines import Deadlines
from revproxy.net.pool import Pool

MOST_ENTRIES = 1000
"""Of a list; how many there are in all is said beside it."""

LONGEST_TEXT = 256
"""Characters of a method or a path that are told; both may be as long as a request head."""

DEAD_SECS = 30.0
"""For how long an upstream counts as dead that could not be connected to, nor could be since."""

Values = dict[str, Any]


class Status:
    """See the module.

    Args:
        generations: what is served, and to how many.
        reload: what has come of the last one.
        drain: the end, once it has begun.
        deadlines: for the monotonic clock.
        writer: of the log.
        ports: of the data path.
        renewals: of automatic certificates.
        wall: seconds since 1970.
        config_path: where the configuration came from; ``""`` = from no file.
    """

    def __init__(
        self,
        generations: Generations,
        reload: Reload,
        drain: Drain,
        deadlines: Deadlines,
        writer: LogWriter,
        ports: list[PortService],
        renewals: Renewals,
        wall: Callable[[], float],
        config_path: str = "",
    ) -> None:
        self._generations = generations
        self._reload = reload
        self._drain = drain
        self._clock = deadlines.clock
        self._writer = writer
        self._ports = ports
        self._renewals = renewals
        self._wall = wall
        self._config_path = config_path
        self._started = deadlines.clock()

    @property
    def configuration(self) -> Configuration:
        """What is served."""
        return self._generations.current.configuration

    @property
    def generation(self) -> int:
        """The number of what is served."""
        return self._generations.current.number

    @property
    def open(self) -> int:
        """How many connections are open."""
        return self._generations.connections.total

    def summary(self) -> Values:
        """The process as a whole."""
        left = self._drain.left
        return {
            "uptime_secs": int(self._clock() - self._started),
            "sites": len(self.configuration.all_sites()),
            "version": revproxy.__version__,
            "pid": os.getpid(),
            "config": self._config_path,
            "generation": self.generation,
            "draining": self._generations.router.draining,
            "drain_left_secs": None if left is None else round(left, 1),
            "restart_required": list(self._reload.restart_required),
            "listeners": [
                f"{port.address} port {port.port}" for port in self._ports if port.bound
            ],
            "connections": self._connection_figures(),
            "requests": self._request_figures(),
            "log_lines_lost": self._writer.lost,
            "log_failures": self._writer.failures,
            **listed(
                "upstreams", [self._upstream(pool) for pool in self._generations.workshop.pools]
            ),
            **listed("certificates", self.certificates()),
        }

    def sites(self) -> list[Values]:
        """Every site, in file order."""
        uncovered = set(self._generations.current.certificates.uncovered)
        return [
            {
                "host": site.host,
                "upstream": str(site.upstream),
                "upstream_scheme": site.upstream_scheme,
                "listeners": addresses,
                "certificate": site.host not in uncovered,
            }
            for site, addresses in self._sites()
        ]

    def _sites(self) -> Iterator[tuple[Site, list[str]]]:
        """Every site, and the addresses that it is served on."""
        listeners = self.configuration.listeners
        for listener in listeners:
            for site in listener.sites:
                yield site, [listener.bind_addr]
        everywhere = tuple(dict.fromkeys(listener.bind_addr for listener in listeners))
        for site in self.configuration.sites:
            yield site, list(everywhere if site.listeners is None else site.listeners)

    def certificates(self) -> list[Values]:
        """Every certificate in use, those that end first coming first."""
        certificates = self._generations.current.certificates
        failures = {error.path: str(error) for error in certificates.failures}
        renewals = {one.wanted.pair.cert_path: one for one in self._renewals.kept()}
        entries = []
        for (pair, _), identity in certificates.served.items():
            days = (identity.not_after - self._wall()) / 86400
            error = failures.get(pair.cert_path) or failures.get(pair.key_path)
            renewal = renewals.get(pair.cert_path)
            if renewal is not None:
                error = renewal.entry.record.last_error or error
            entries.append(
                {
                    "name": identity.name,
                    "names": identity.names,
                    "issuer": identity.issuer,
                    "not_after": _moment(identity.not_after),
                    "days_left": round(days, 1) + 0.0,  # never -0.0
                    "source": pair.cert_path,
                    "kind": _kind(identity),
                    "next_attempt": renewal and _moment(renewal.order_at or self._wall()),
                    "error": error or ("has expired" if days < 0 else None),
                }
            )
        return sorted(entries, key=lambda entry: str(entry["not_after"]))

    def open_connections(self) -> list[Values]:
        """The connections that are open, the oldest first."""
        now = self._clock()
        waiting = {
            one for group in self._generations.connections.waiting.values() for one in group
        }
        entries = []
        for transport in self._generations.connections.all():
            summary = transport.protocol.summary()
            entries.append(
                {
                    "client_ip": summary.client,
                    "tls": summary.secure,
                    "server_name": summary.server_name,
                    "state": "waiting" if transport in waiting else summary.state,
                    "age_secs": round(max(0.0, now - summary.opened), 1),
                    "host": summary.host,
                    "method": summary.method[:LONGEST_TEXT],
                    "path": summary.path[:LONGEST_TEXT],
                }
            )
        return sorted(entries, key=lambda entry: -float(entry["age_secs"]))

    def missing(self) -> list[str]:
        """What keeps the process from being ready, in words."""
        return list(islice(self._missing(), MOST_ENTRIES))

    def _missing(self) -> Iterator[str]:
        if self._generations.router.draining:
            yield "draining: the process is about to end"
        for port in self._ports:
            if not port.bound:
                yield f"{port.address} port {port.port} is not bound"
        uncovered = set(self._generations.current.certificates.uncovered)
        unfit = self._unfit_hosts()
        dead = {pool for pool in self._generations.workshop.pools if self._is_dead(pool)}
        if not (uncovered or unfit or dead):
            return  # without a look at each of what may be ten thousand sites
        routes = self._generations.router.plan.routes
        for site in self.configuration.all_sites():
            if site.host in uncovered:
                yield f"site {site.host}: no certificate covers it"
            elif site.host in unfit:
                yield f"site {site.host}: {unfit[site.host]}"
            route = routes.find(site.host)
            if route is not None and route.pool in dead:
                yield f"site {site.host}: its upstream {route.upstream} cannot be connected to"

    def _unfit_hosts(self) -> dict[str, str]:
        """The sites to which a listener of theirs presents a certificate that no client accepts,
        and why none does.
        """
        configuration = self.configuration
        certificates = self._generations.current.certificates
        unfit: dict[str, str] = {}
        if not any(map(self._unfit, certificates.served.values())):
            return unfit
        for listener in configuration.listeners:
            choose = certificates.selections[listener.bind_addr, listener.https_port]
            for site in (*listener.sites, *configuration.sites):
                if site.listeners is None or listener.bind_addr in site.listeners:
                    presented = choose(ClientHello(site.host))
                    why = self._unfit(presented) if isinstance(presented, Identity) else ""
                    if why:
                        unfit[site.host] = why
        return unfit

    def _unfit(self, identity: Identity) -> str:
        if identity.placeholder:
            return "its certificate has not been issued yet"
        return "its certificate has expired" if identity.not_after < self._wall() else ""

    def _is_dead(self, pool: Pool) -> bool:
        failed = pool.failed_at
        return failed is not None and self._clock() - failed < DEAD_SECS

    def _connection_figures(self) -> Values:
        connections = self._generations.connections
        return {
            "open": connections.total,
            "in_flight": sum(one.protocol.busy for one in connections.all()),
            "upgraded": sum(one.protocol.upgraded for one in connections.all()),
            "waiting": sum(map(len, connections.waiting.values())),
            "limit": connections.most,
            "accepting": not self._generations.gate.closed,
        }

    def _request_figures(self) -> Values:
        responses = self._generations.router.plan.responses
        classes = {f"{digit}xx": responses[digit] for digit in range(2, 6)}
        return {"total": sum(responses), **classes}

    def _upstream(self, pool: Pool) -> Values:
        return {
            "upstream": str(pool.settings.address),
            "scheme": "https" if pool.settings.tls else "http",
            "open": pool.open,
            "idle": pool.idle,
            "made": pool.made,
            "failures": pool.failures,
            "dead": self._is_dead(pool),
        }


def listed(name: str, entries: list[Values]) -> Values:
    """A list of bounded length; where entries are left out, their number in all beside it."""
    if len(entries) <= MOST_ENTRIES:
        return {name: entries}
    return {name: entries[:MOST_ENTRIES], f"{name}_total": len(entries)}


def _kind(identity: Identity) -> str:
    """Where a certificate comes from."""
    if identity.placeholder:
        return "placeholder"
    return "acme" if identity.automatic else "manual"


def _moment(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
