"""P8: what a request costs among 10 000 sites over 100 certificates, and with one site."""

from __future__ import annotations

import tempfile
from pathlib import Path

from bench.certificates import write_certificate
from bench.load import run_wrks
from bench.process import NotReadyError
from bench.proxies import Proxy, RevProxy, Setup
from bench.results import Key
from bench.scenarios.small import CPU_PER_REQUEST
from bench.stage import Stage

ONE = "one site"
MANY = "10 000 sites"

_CERTIFICATES = 100
_SITES_EACH = 100
_GENERATORS = 8
_CONNECTIONS_EACH = 4
_WARM_UP_SECS = 1


def many_hosts() -> list[tuple[str, ...]]:
    """10 000 host names in 100 groups."""
    return [
        tuple(f"site{site}.zone{zone}.example.test" for site in range(_SITES_EACH))
        for zone in range(_CERTIFICATES)
    ]


def many_sites(stage: Stage, groups: list[tuple[str, ...]]) -> Setup:
    """Sites for all of ``groups``, with a new certificate for each group."""
    folder = Path(tempfile.mkdtemp(dir=stage.folder))
    certificates = tuple(
        write_certificate(folder, f"zone{zone}", hosts) for zone, hosts in enumerate(groups)
    )
    hosts = tuple(host for group in groups for host in group)
    return Setup(stage.upstreams.small_port, certificates, hosts)


def run(stage: Stage) -> None:
    """P8, of this project's proxy only."""
    if not stage.has_revproxy:
        stage.results.remark("P8: skipped, revproxy does not run here")
        return
    port = stage.upstreams.small_port
    groups = many_hosts()
    stage.say("P8: starting with 10 000 sites")
    many = many_sites(stage, groups)
    one = Setup(port, many.certificates[:1], groups[0][:1])
    try:
        with stage.start(RevProxy, one) as alone, stage.start(RevProxy, many) as among:
            _measure(stage, alone, among, groups)
    except NotReadyError as error:
        stage.results.remark(f"P8: {error}")


def _measure(stage: Stage, alone: Proxy, among: Proxy, groups: list[tuple[str, ...]]) -> None:
    """The same load on both: as many generators, each with one SNI name and 1 000 requests."""
    chosen = groups[:: _CERTIFICATES // _GENERATORS][:_GENERATORS]
    only = groups[0][0]
    subjects = {
        alone: (ONE, [(only, only)] * _GENERATORS),
        among: (MANY, [(hosts[0], ",".join(hosts)) for hosts in chosen]),
    }

    def load(proxy: Proxy, seconds: int) -> float:
        name, works = subjects[proxy]
        before = proxy.cpu_seconds()
        done = run_wrks(
            proxy.port,
            [(sni, ["heads", hosts]) for sni, hosts in works],
            seconds=seconds,
            connections=_CONNECTIONS_EACH,
        )
        if done.errors:
            stage.results.remark(f"P8: {name}: {done.errors} requests failed")
        return (proxy.cpu_seconds() - before) / done.requests * 1e6

    def measure(proxy: Proxy) -> None:
        sample = load(proxy, stage.effort.seconds)
        stage.results.add(Key("P8", "", CPU_PER_REQUEST), subjects[proxy][0], sample)

    for proxy in subjects:
        load(proxy, _WARM_UP_SECS)
    stage.rounds("P8", list(subjects), measure)
