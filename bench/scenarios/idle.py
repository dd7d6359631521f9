"""P7: the memory that an idle TLS connection keeps."""

from __future__ import annotations

from bench.crowd import Crowd
from bench.load import LoadError
from bench.process import NotReadyError
from bench.results import Key, Measure
from bench.stage import Stage

PER_CONNECTION = Measure("Resident memory per connection", "KiB")

_CONNECTIONS = 5000
_ROUNDS = 2


def run(stage: Stage) -> None:
    """P7. Every sample is of a fresh process: memory once taken is not always returned."""
    setup = stage.setup(stage.upstreams.small_port)
    for number in range(_ROUNDS):
        stage.say(f"P7: round {number + 1} of {_ROUNDS}")
        for kind in stage.proxies:
            try:
                with stage.start(kind, setup) as proxy:
                    before = proxy.resident_bytes()
                    with Crowd(proxy.port, _CONNECTIONS):
                        grown = proxy.resident_bytes() - before
            except (LoadError, NotReadyError) as error:
                stage.results.remark(f"P7: {kind.name}: {error}")
                continue
            sample = grown / _CONNECTIONS / 1024
            stage.results.add(Key("P7", "", PER_CONNECTION), kind.name, sample)
