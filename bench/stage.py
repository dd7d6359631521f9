"""What every scenario stands on: upstreams, certificates, the proxies that run, the results."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from attrs import define, field, frozen

from bench.certificates import CertificateFiles
from bench.load import LoadError
from bench.process import NotReadyError
from bench.proxies import Proxy, RevProxy, Setup
from bench.results import Results
from bench.upstream import Upstreams


@frozen
class Effort:
    """How long a run takes: interleaved rounds, and seconds of load in each (wrk takes whole)."""

    rounds: int
    seconds: int

    @property
    def short(self) -> int:
        """The seconds where a scenario has many variants."""
        return max(1, self.seconds // 2)


@define
class Stage:
    """One run's surroundings, handed to every scenario."""

    folder: Path
    upstreams: Upstreams
    certificate: CertificateFiles
    proxies: list[type[Proxy]]
    effort: Effort
    results: Results = field(factory=Results)
    _setups: int = 0

    def say(self, text: str) -> None:
        """Progress, on standard error."""
        print(text, file=sys.stderr, flush=True)

    def setup(self, upstream_port: int, *, access_log: bool = False, http2: bool = False) -> Setup:
        """One site behind the run's one certificate."""
        return Setup(upstream_port, (self.certificate,), access_log=access_log, http2=http2)

    def start(self, kind: type[Proxy], setup: Setup) -> Proxy:
        """Start one proxy in a folder of its own; it is a context manager that stops it.

        Raises:
            NotReadyError: it ended, or does not answer.
        """
        self._setups += 1
        return kind(setup, self.folder / f"{self._setups}-{kind.name.replace(' ', '-')}")

    @contextmanager
    def running(
        self, setup: Setup, kinds: list[type[Proxy]] | None = None
    ) -> Iterator[list[Proxy]]:
        """All proxies, or ``kinds``, started alike; what does not start is left out, remarked."""
        with ExitStack() as stack:
            started = []
            for kind in self.proxies if kinds is None else kinds:
                try:
                    started.append(stack.enter_context(self.start(kind, setup)))
                except NotReadyError as error:
                    self.results.remark(f"{kind.name} did not start: {error}")
            yield started

    def rounds(
        self, scenario: str, proxies: list[Proxy], measure: Callable[[Proxy], None]
    ) -> None:
        """Call ``measure`` for each proxy in turn, round after round.

        The order is turned round by round, so that none always follows the same one. A load
        that fails is a remark, and that proxy's sample is missing.
        """
        for number in range(self.effort.rounds):
            self.say(f"{scenario}: round {number + 1} of {self.effort.rounds}")
            turn = number % len(proxies) if proxies else 0
            for proxy in proxies[turn:] + proxies[:turn]:
                self.guarded(scenario, proxy, measure)

    def guarded(self, scenario: str, proxy: Proxy, measure: Callable[[Proxy], None]) -> None:
        """Call ``measure(proxy)``; a load that fails is a remark."""
        try:
            measure(proxy)
        except LoadError as error:
            self.results.remark(f"{scenario}: the load on {proxy.name} failed: {error}")

    @property
    def has_revproxy(self) -> bool:
        """Whether this project's own proxy is among those that run."""
        return RevProxy in self.proxies
