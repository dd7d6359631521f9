"""CPU time and resident memory of a process and everything it started, read from /proc.

``/proc/PID/stat`` counts in ticks of 10 ms, which is coarse for a second of load. The scheduler
knows the same sum to the nanosecond, thread by thread, so that is read where the kernel offers it.
"""

from __future__ import annotations

import os
from pathlib import Path

from attrs import frozen

_TICKS_PER_SECOND = os.sysconf("SC_CLK_TCK")


@frozen
class Stat:
    """The fields of ``/proc/PID/stat`` that matter here (proc(5)), CPU times in seconds.

    Attributes:
        parent: the PID of its parent.
        own: user and system time of all its threads, ended ones too.
        reaped: the same of the children it has waited for.
    """

    parent: int
    own: float
    reaped: float


def parse_stat(line: str) -> Stat:
    """Read one ``/proc/PID/stat``; the name in parentheses may hold spaces and parentheses."""
    fields = line.rpartition(")")[2].split()
    user, system, child_user, child_system = (int(field) for field in fields[11:15])
    return Stat(
        parent=int(fields[1]),
        own=(user + system) / _TICKS_PER_SECOND,
        reaped=(child_user + child_system) / _TICKS_PER_SECOND,
    )


def parse_resident(rollup: str) -> int:
    """The bytes of the ``Rss:`` line of ``/proc/PID/smaps_rollup``."""
    for line in rollup.splitlines():
        if line.startswith("Rss:"):
            return int(line.split()[1]) * 1024
    return 0


def process_tree(root: int) -> dict[int, Stat]:
    """``root`` and its living descendants."""
    stats: dict[int, Stat] = {}
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit():
            try:
                stats[int(folder.name)] = parse_stat((folder / "stat").read_text())
            except (FileNotFoundError, ProcessLookupError):
                continue
    tree: dict[int, Stat] = {}
    pending = [root]
    while pending:
        pid = pending.pop()
        if pid in stats:
            tree[pid] = stats[pid]
            pending += [child for child, stat in stats.items() if stat.parent == pid]
    return tree


def cpu_seconds(root: int) -> float:
    """User and system time that ``root`` and its descendants have used so far."""
    total = 0.0
    for pid, stat in process_tree(root).items():
        exact = scheduled_seconds(pid)
        total += stat.reaped + (stat.own if exact is None else exact)
    return total


def scheduled_seconds(pid: int) -> float | None:
    """The same time of the living threads of ``pid`` as the scheduler counted it, if it does."""
    try:
        threads = list(Path(f"/proc/{pid}/task").iterdir())
        nanoseconds = sum(int((t / "schedstat").read_text().split()[0]) for t in threads)
    except (FileNotFoundError, ProcessLookupError):
        return None
    return nanoseconds / 1e9


def resident_bytes(root: int) -> int:
    """Resident memory of ``root`` and its descendants (pages they share count once each)."""
    total = 0
    for pid in process_tree(root):
        try:
            total += parse_resident(Path(f"/proc/{pid}/smaps_rollup").read_text())
        except (FileNotFoundError, ProcessLookupError, PermissionError):
            continue
    return total
