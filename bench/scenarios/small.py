"""P1 and P2: small responses over 32 keep-alive TLS connections."""

from __future__ import annotations

import re

from bench.load import run_wrk
from bench.process import fetch_over_tls
from bench.proxies import Proxy
from bench.results import Key, Measure
from bench.stage import Stage

CPU_PER_REQUEST = Measure("CPU per request", "µs")
RATE = Measure("Requests per second", "/s", less_is_better=False)
P99 = Measure("p99 latency at full load", "ms")

_WORK = ["heads", ""]
_WARM_UP_SECS = 1
_FORWARDED = re.compile(rb"127\.0\.0\.1 [0-9.]+ https")


def run(stage: Stage) -> None:
    """P1: the access log off in all."""
    _run(stage, "P1", access_log=False)


def run_logged(stage: Stage) -> None:
    """P2: the access log in a file in all."""
    _run(stage, "P2", access_log=True)


def _run(stage: Stage, scenario: str, *, access_log: bool) -> None:
    def measure(proxy: Proxy) -> None:
        before = proxy.cpu_seconds()
        load = run_wrk(proxy.port, _WORK, seconds=stage.effort.seconds)
        used = proxy.cpu_seconds() - before
        if load.errors:
            stage.results.remark(f"{scenario}: {proxy.name} failed {load.errors} requests")
        for kind, sample in (
            (CPU_PER_REQUEST, used / load.requests * 1e6),
            (RATE, load.requests / load.seconds),
            (P99, load.p99_ms),
        ):
            stage.results.add(Key(scenario, "", kind), proxy.name, sample)

    setup = stage.setup(stage.upstreams.small_port, access_log=access_log)
    with stage.running(setup) as proxies:
        for proxy in proxies:
            check_forwarding(stage, proxy)
            stage.guarded(scenario, proxy, _warm_up)
        stage.rounds(scenario, proxies, measure)
        for proxy in proxies:
            if access_log and not proxy.access_log.stat().st_size:
                stage.results.remark(f"{scenario}: {proxy.name} wrote no access log")


def _warm_up(proxy: Proxy) -> None:
    run_wrk(proxy.port, _WORK, seconds=_WARM_UP_SECS)


def check_forwarding(stage: Stage, proxy: Proxy) -> None:
    """Work is only equal when the forwarding headers reach the upstream.

    Envoy puts the machine's own address into X-Forwarded-For where the client is on loopback.
    """
    status, body = fetch_over_tls(proxy.port, "localhost", "/forwarded")
    if status != 200 or not _FORWARDED.search(body):
        stage.results.remark(f"{proxy.name} forwards {body!r}, not the three header fields")
