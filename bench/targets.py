"""The targets of the project, and whether a run met them. A verdict is a report, no more."""

from __future__ import annotations

from attrs import frozen

from bench.results import Key, Measure, Results, Spread
from bench.scenarios import (
    bodies,
    handshakes,
    idle,
    limiter,
    multiplexed,
    passthrough,
    reload,
    sites,
    small,
    steady,
)

OURS = "revproxy"


@frozen
class Target:
    """``subject`` is at most (or at least) ``limit``, times ``peer`` unless that is empty."""

    key: Key
    limit: float
    peer: str = ""
    subject: str = OURS

    def __str__(self) -> str:
        sign = "≤" if self.key.measure.less_is_better else "≥"
        unit = f"x {self.peer}" if self.peer else self.key.measure.unit
        variant = f" ({self.key.variant})" if self.key.variant else ""
        return f"{self.key.measure.name}{variant} {sign} {self.limit:g} {unit}"


@frozen
class Verdict:
    """What was measured against a target; ``measured`` is None when nothing was."""

    target: Target
    measured: Spread | None

    @property
    def met(self) -> bool | None:
        """Whether the median meets the limit; None when it was not measured."""
        if self.measured is None:
            return None
        if self.target.key.measure.less_is_better:
            return self.measured.middle <= self.target.limit
        return self.measured.middle >= self.target.limit


def _each(key: Key, **limits: float) -> list[Target]:
    return [Target(key, limit, peer) for peer, limit in limits.items()]


def _targets() -> list[Target]:
    targets = _each(Key("P1", "", small.CPU_PER_REQUEST), Caddy=0.5, Envoy=0.75, nginx=2.2)
    targets += _each(Key("P2", "", small.CPU_PER_REQUEST), Caddy=0.6, nginx=2.5)
    targets += _each(Key("P3", "", multiplexed.PER_CPU_SECOND), Caddy=1.3, Envoy=0.5)
    for transfer in bodies.TRANSFERS:
        key = Key("P4", transfer.name, bodies.PER_CPU_SECOND)
        targets += _each(key, nginx=1.0, Caddy=1.0)
        if transfer.large:
            targets.append(Target(Key("P4", transfer.name, bodies.GROWTH), bodies.FLAT_MIB))
    for resume, peer in ((False, "Caddy"), (True, "nginx")):
        for version in ("1.3", "1.2"):
            name = handshakes.variant(version, resume=resume)
            targets.append(Target(Key("P5", name, handshakes.CPU_PER_CONNECTION), 1.25, peer))
    targets += _each(Key("P6", "", steady.P99), Caddy=1.0)
    targets += _each(Key("P7", "", idle.PER_CONNECTION), Caddy=1.0)
    for measure, limit in ((reload.DURATION, 2.0), (reload.PAUSE, 50.0)):
        targets += [
            Target(Key("P8 reload", variant, measure), limit) for variant in reload.VARIANTS
        ]
    targets.append(Target(Key("P8", "", small.CPU_PER_REQUEST), 1.05, sites.ONE, sites.MANY))
    targets += _limiter(limiter.MEMORY, "", 64.0)
    targets += _limiter(limiter.DECISION, limiter.NEW, 2.0)
    targets += _limiter(limiter.DECISION, limiter.KNOWN, 2.0)
    targets.append(Target(Key("P10", "", bodies.PER_CPU_SECOND), 1.0, passthrough.NGINX))
    return targets


def _limiter(measure: Measure, variant: str, limit: float) -> list[Target]:
    return [Target(Key("P9", variant, measure), limit, subject=limiter.TABLE)]


def judge(results: Results) -> list[Verdict]:
    """Every target of the scenarios that were run."""
    run = set(results.scenarios())
    verdicts = []
    for target in _targets():
        if target.key.scenario in run:
            measured = (
                results.ratio(target.key, target.subject, target.peer)
                if target.peer
                else results.spread(target.key, target.subject)
            )
            verdicts.append(Verdict(target, measured))
    return verdicts
