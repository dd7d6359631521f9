"""The machine a run happens on: which core does what, and how a report names it."""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
import sys
import time
from pathlib import Path

from attrs import frozen


@frozen
class Cores:
    """Who is pinned where. With two cores the load generator shares its core with the upstream."""

    proxy: int
    load: int
    upstream: int


def choose_cores(usable: set[int]) -> Cores:
    """Give the proxy a core of its own where there are two, the upstream where there are three."""
    ordered = sorted(usable)
    load = ordered[min(1, len(ordered) - 1)]
    return Cores(proxy=ordered[0], load=load, upstream=ordered[2] if len(ordered) > 2 else load)


CORES = choose_cores(os.sched_getaffinity(0))


def pinned(core: int, command: list[str]) -> list[str]:
    """``command`` as it is run on ``core`` alone (``taskset`` replaces itself: same PID)."""
    return ["taskset", "-c", str(core), *command]


def find_program(name: str) -> str | None:
    """Where ``name`` is: beside this interpreter (wheels), on PATH, or in the sbin folders."""
    folders = [str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath)]
    return shutil.which(name, path=os.pathsep.join([*folders, "/usr/sbin", "/sbin"]))


def describe() -> dict[str, str]:
    """What a figure must be read with: the machine, its software, and when it was."""
    return {
        "date": time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime()),
        "processor": f"{_processor()}, {len(os.sched_getaffinity(0))} cores",
        "kernel": f"{platform.system()} {platform.release()}",
        "python": platform.python_version(),
        "commit": _commit(),
    }


def _commit() -> str:
    folder = str(Path(__file__).parent)
    shown = subprocess.run(
        ["git", "-C", folder, "describe", "--always", "--dirty"],
        capture_output=True,
        text=True,
        check=False,
    )
    return shown.stdout.strip() or "unknown"


def _processor() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()
