"""P6: latency at a fixed rate of requests, the same for every proxy."""

from __future__ import annotations

from bench.h2load import H2Load
from bench.machine import find_program
from bench.proxies import Caddy, Proxy, RevProxy
from bench.results import Key, Measure
from bench.scenarios.small import CPU_PER_REQUEST
from bench.stage import Stage

P99 = Measure("p99 latency at a fixed rate", "ms")

_CONNECTIONS = 32
_PEAK_ROUNDS = 2
_COMPARED = (RevProxy.name, Caddy.name)


def run(stage: Stage) -> None:
    """P6, at half of what the slower one of revproxy and Caddy can do."""
    if not find_program("h2load"):
        stage.results.remark("P6: skipped, h2load is not installed")
        return
    load = H2Load(stage.folder, "http/1.1", _CONNECTIONS, 1)
    with stage.running(stage.setup(stage.upstreams.small_port)) as proxies:
        rate = _half_of_the_lower_peak(stage, load, proxies)
        if not rate:
            stage.results.remark("P6: skipped, no peak could be measured")
            return
        stage.results.remark(f"P6: at {rate} requests per second")

        def measure(proxy: Proxy) -> None:
            before = proxy.cpu_seconds()
            done = load.run(proxy.port, seconds=stage.effort.seconds, rate=rate)
            used = proxy.cpu_seconds() - before
            if done.errors or done.requests < 0.95 * rate * done.seconds:
                stage.results.remark(
                    f"P6: {proxy.name} answered {done.requests} requests, {done.errors} failed"
                )
            stage.results.add(Key("P6", "", P99), proxy.name, done.p99_ms)
            cpu = used / done.requests * 1e6
            stage.results.add(Key("P6", "", CPU_PER_REQUEST), proxy.name, cpu)

        stage.rounds("P6", proxies, measure)


def _half_of_the_lower_peak(stage: Stage, load: H2Load, proxies: list[Proxy]) -> int:
    """Each is loaded as fast as it goes, more than once: the first time also warms it up."""
    peaks: dict[str, float] = {}

    def find_peak(proxy: Proxy) -> None:
        done = load.run(proxy.port, seconds=stage.effort.short)
        peaks[proxy.name] = max(peaks.get(proxy.name, 0.0), done.requests / done.seconds)

    stage.say("P6: peaks")
    for proxy in proxies * _PEAK_ROUNDS:
        stage.guarded("P6", proxy, find_peak)
    compared = [peak for name, peak in peaks.items() if name in _COMPARED] or [*peaks.values()]
    return int(min(compared, default=0.0) / 2)
