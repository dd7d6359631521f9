"""P4: bodies of 1 MB and 100 MB over TLS, down and up, and what they do to memory."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path
from types import TracebackType

from attrs import frozen

from bench.load import run_curls, run_wrk
from bench.proxies import Proxy
from bench.results import Key, Measure
from bench.stage import Stage
from bench.upstream import BODY_BYTES

PER_CPU_SECOND = Measure("MB per CPU second", "MB", less_is_better=False)
PER_SECOND = Measure("MB per second", "MB", less_is_better=False)
GROWTH = Measure("memory growth while streaming", "MiB")

FLAT_MIB = 16.0
"""Growth below which memory counts as flat: a sixth of one body, with two under way."""

_CONNECTIONS = 4
_CURLS = 2
_FILES = 3
_SAMPLE_SECS = 0.05


@frozen
class Transfer:
    """One direction and size.

    ``move`` takes the proxy's port, the seconds of load (where that is how much), and the file to
    upload; it returns the bytes moved and the seconds that took.
    """

    name: str
    upload: bool
    large: bool
    move: Callable[[int, int, Path], tuple[int, float]]


def _download_small(port: int, seconds: int, _: Path) -> tuple[int, float]:
    load = run_wrk(port, ["get", "/bodies/1m"], seconds=seconds, connections=_CONNECTIONS)
    return load.bytes, load.seconds


def _upload_small(port: int, seconds: int, _: Path) -> tuple[int, float]:
    size = BODY_BYTES["1m"]
    load = run_wrk(port, ["upload", str(size)], seconds=seconds, connections=_CONNECTIONS)
    return load.requests * size, load.seconds


def _download_large(port: int, _: int, __: Path) -> tuple[int, float]:
    url = f"https://localhost:{port}/bodies/100m"
    seconds = run_curls(url, upload=None, at_once=_CURLS, each=_FILES)
    return _CURLS * _FILES * BODY_BYTES["100m"], seconds


def _upload_large(port: int, _: int, body: Path) -> tuple[int, float]:
    url = f"https://localhost:{port}/upload"
    seconds = run_curls(url, upload=body, at_once=_CURLS, each=_FILES)
    return _CURLS * _FILES * BODY_BYTES["100m"], seconds


TRANSFERS = (
    Transfer("download 1 MB", False, False, _download_small),
    Transfer("download 100 MB", False, True, _download_large),
    Transfer("upload 1 MB", True, False, _upload_small),
    Transfer("upload 100 MB", True, True, _upload_large),
)


class MemoryWatch:
    """Samples a proxy's resident memory while it is entered; ``growth`` is in bytes."""

    def __init__(self, proxy: Proxy) -> None:
        self._proxy = proxy
        self._before = self._most = proxy.resident_bytes()
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._sample)

    def _sample(self) -> None:
        while not self._ended.wait(_SAMPLE_SECS):
            self._most = max(self._most, self._proxy.resident_bytes())

    @property
    def growth(self) -> int:
        """The most seen above what there was before."""
        return self._most - self._before

    def __enter__(self) -> MemoryWatch:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._ended.set()
        self._thread.join()


def run(stage: Stage) -> None:
    """P4. Memory is watched in a round of its own that also warms up; its speed is not kept."""
    for upload, port in (
        (False, stage.upstreams.small_port),
        (True, stage.upstreams.sink_port),
    ):
        with stage.running(stage.setup(port)) as proxies:
            for transfer in TRANSFERS:
                if transfer.upload == upload:
                    _measure(stage, transfer, proxies)


def _measure(stage: Stage, transfer: Transfer, proxies: list[Proxy]) -> None:
    body = stage.upstreams.large_body
    seconds = stage.effort.short
    growth: dict[str, int] = {}

    def watch(proxy: Proxy) -> None:
        with MemoryWatch(proxy) as memory:
            transfer.move(proxy.port, seconds, body)
        growth[proxy.name] = memory.growth

    def measure(proxy: Proxy) -> None:
        before = proxy.cpu_seconds()
        moved, elapsed = transfer.move(proxy.port, seconds, body)
        used = proxy.cpu_seconds() - before
        for kind, sample in (
            (PER_CPU_SECOND, moved / used / 1e6),
            (PER_SECOND, moved / elapsed / 1e6),
        ):
            stage.results.add(Key("P4", transfer.name, kind), proxy.name, sample)

    for proxy in proxies:
        stage.guarded("P4", proxy, watch)
    stage.rounds(f"P4 {transfer.name}", proxies, measure)
    for name, grown in growth.items():
        stage.results.add(Key("P4", transfer.name, GROWTH), name, grown / (1 << 20))
