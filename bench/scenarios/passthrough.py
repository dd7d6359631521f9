"""P10: bodies of 1 MB in TLS that is passed through by SNI."""

from __future__ import annotations

from bench.load import run_wrk
from bench.proxies import Proxy
from bench.proxies.passthrough import PASSING, NginxStream
from bench.results import Key, Measure
from bench.scenarios.bodies import PER_CPU_SECOND, PER_SECOND
from bench.stage import Stage

NGINX = NginxStream.name
CPU_PER_GB = Measure("CPU per GB", "s")

_WORK = ["get", "/bodies/1m"]
_CONNECTIONS = 4
_WARM_UP_SECS = 1


def run(stage: Stage) -> None:
    """P10. The TLS of both ends is the load core's: it bounds MB per second, not the proxies."""

    def measure(proxy: Proxy) -> None:
        before = proxy.cpu_seconds()
        load = run_wrk(proxy.port, _WORK, seconds=stage.effort.seconds, connections=_CONNECTIONS)
        used = proxy.cpu_seconds() - before
        if load.errors:
            stage.results.remark(f"P10: {proxy.name} failed {load.errors} requests")
        for kind, sample in (
            (PER_CPU_SECOND, load.bytes / used / 1e6),
            (PER_SECOND, load.bytes / load.seconds / 1e6),
            (CPU_PER_GB, used / load.bytes * 1e9),
        ):
            stage.results.add(Key("P10", "", kind), proxy.name, sample)

    def warm_up(proxy: Proxy) -> None:
        run_wrk(proxy.port, _WORK, seconds=_WARM_UP_SECS, connections=_CONNECTIONS)

    kinds = []
    for kind in (PASSING[kind] for kind in stage.proxies if kind in PASSING):
        if why := kind.missing():
            stage.results.remark(f"P10: {kind.name} is left out: {why}")
        else:
            kinds.append(kind)
    with stage.running(stage.setup(stage.upstreams.tls_port), kinds) as proxies:
        for proxy in proxies:
            stage.guarded("P10", proxy, warm_up)
        stage.rounds("P10", proxies, measure)
