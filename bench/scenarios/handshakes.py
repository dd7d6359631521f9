"""P5: what a new TLS connection costs the proxy, full and resumed."""

from __future__ import annotations

from bench.handshakes import VERSIONS, run_handshakes
from bench.proxies import Proxy
from bench.results import Key, Measure
from bench.stage import Stage

CPU_PER_CONNECTION = Measure("CPU per connection", "µs")


def variant(version: str, *, resume: bool) -> str:
    """How the report names it."""
    return f"TLS {version} {'resumed' if resume else 'full'}"


def run(stage: Stage) -> None:
    """P5."""
    with stage.running(stage.setup(stage.upstreams.small_port)) as proxies:
        for resume in (False, True):
            for version in sorted(VERSIONS, reverse=True):
                _measure(stage, proxies, version, resume=resume)


def _measure(stage: Stage, proxies: list[Proxy], version: str, *, resume: bool) -> None:
    name = variant(version, resume=resume)

    def measure(proxy: Proxy) -> None:
        before = proxy.cpu_seconds()
        done = run_handshakes(proxy.port, version, resume=resume, seconds=stage.effort.short)
        used = proxy.cpu_seconds() - before
        if resume and done.resumed < 0.95 * done.connections:
            stage.results.remark(
                f"P5 {name}: {proxy.name} resumed {done.resumed} of {done.connections}"
            )
        key = Key("P5", name, CPU_PER_CONNECTION)
        stage.results.add(key, proxy.name, used / done.connections * 1e6)

    stage.rounds(f"P5 {name}", proxies, measure)
