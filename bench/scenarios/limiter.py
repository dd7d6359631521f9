"""P9: the rate limiter's table against a dictionary, 1 000 000 addresses each."""

from __future__ import annotations

import json
import os
import subprocess
import sys

from bench.limiter import LimiterFigures
from bench.machine import CORES, pinned
from bench.proxies.revproxy import SOURCE
from bench.results import Key, Measure
from bench.stage import Stage

MEMORY = Measure("memory", "MiB")
DECISION = Measure("time per decision", "µs")
HOLD_UP = Measure("longest hold-up", "ms")

TABLE = "the proxy's table"
DICT = "a dict"
NEW = "new addresses"
KNOWN = "known addresses"


def run(stage: Stage) -> None:
    """P9."""
    environment = {**os.environ, "PYTHONPATH": str(SOURCE)}
    for number in range(stage.effort.rounds):
        stage.say(f"P9: round {number + 1} of {stage.effort.rounds}")
        for argument, subject in (("table", TABLE), ("dict", DICT)):
            command = [sys.executable, "-m", "bench.limiter", argument]
            done = subprocess.run(
                pinned(CORES.proxy, command),
                capture_output=True,
                text=True,
                check=False,
                env=environment,
            )
            if done.returncode:
                stage.results.remark(f"P9: {subject}: {done.stderr.strip()[-200:]}")
                continue
            _add(stage, subject, LimiterFigures(**json.loads(done.stdout)))


def _add(stage: Stage, subject: str, figures: LimiterFigures) -> None:
    for variant, measure, sample in (
        ("", MEMORY, figures.bytes / (1 << 20)),
        ("", HOLD_UP, figures.longest_ms),
        (NEW, DECISION, figures.first_us),
        (KNOWN, DECISION, figures.again_us),
    ):
        stage.results.add(Key("P9", variant, measure), subject, sample)
