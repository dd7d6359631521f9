"""P3: small responses over HTTP/2, 8 connections with 8 streams each."""

from __future__ import annotations

from bench.h2load import H2Load
from bench.machine import find_program
from bench.proxies import Proxy
from bench.results import Key, Measure
from bench.scenarios.small import CPU_PER_REQUEST, RATE, check_forwarding
from bench.stage import Stage

PER_CPU_SECOND = Measure("Requests per CPU second", "/s", less_is_better=False)

_CONNECTIONS = 8
_STREAMS = 8
_WARM_UP_SECS = 1


def run(stage: Stage) -> None:
    """P3. Requests per CPU second are those of a core that has nothing else to do."""
    if not find_program("h2load"):
        stage.results.remark("P3: skipped, h2load is not installed")
        return
    load = H2Load(stage.folder, "h2", _CONNECTIONS, _STREAMS)

    def measure(proxy: Proxy) -> None:
        before = proxy.cpu_seconds()
        done = load.run(proxy.port, seconds=stage.effort.seconds)
        used = proxy.cpu_seconds() - before
        if done.errors:
            stage.results.remark(f"P3: {proxy.name} failed {done.errors} requests")
        for kind, sample in (
            (PER_CPU_SECOND, done.requests / used),
            (CPU_PER_REQUEST, used / done.requests * 1e6),
            (RATE, done.requests / done.seconds),
        ):
            stage.results.add(Key("P3", "", kind), proxy.name, sample)

    def warm_up(proxy: Proxy) -> None:
        load.run(proxy.port, seconds=_WARM_UP_SECS)

    with stage.running(stage.setup(stage.upstreams.small_port, http2=True)) as proxies:
        for proxy in proxies:
            check_forwarding(stage, proxy)
            stage.guarded("P3", proxy, warm_up)
        stage.rounds("P3", proxies, measure)
