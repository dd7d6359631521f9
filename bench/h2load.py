"""h2load on the load core: HTTP/2, or HTTP/1.1 at a fixed rate.

Its requests differ in path and query as those of ``load.lua`` do; the other fields of a browser
are the same in all, as it can send no others.
"""

from __future__ import annotations

import re
import subprocess
from math import ceil
from pathlib import Path

from attrs import frozen

from bench.load import ENVIRONMENT, Load, LoadError
from bench.machine import CORES, find_program, pinned

PATHS = 1000
"""How many targets differ."""

SETTLING_SECS = 0.5
"""Of a timed load so much at its beginning, with the handshakes, has no part in the latencies."""

_FIELDS = {
    "user-agent": "Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101 Firefox/128.0",
    "accept": "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8",
    "accept-language": "en-US,en;q=0.5",
    "accept-encoding": "gzip, deflate, br, zstd",
    "referer": "https://localhost/items/",
    "cookie": "session=5f3c0a1b5f3c0a1b000003e8; theme=dark",
}
_FINISHED = re.compile(r"^finished in ([0-9.]+)(us|ms|s),", re.MULTILINE)
_REQUESTS = re.compile(r"^requests: .* ([0-9]+) done, .* ([0-9]+) failed,", re.MULTILINE)
_STATUS = re.compile(r"^status codes: [0-9]+ 2xx, ([0-9]+) 3xx, ([0-9]+) 4xx, ([0-9]+) 5xx", re.M)
_BYTES = re.compile(r"^traffic: [^(]*\(([0-9]+)\) total", re.MULTILINE)
_PROTOCOL = re.compile(r"^Application protocol: (\S+)", re.MULTILINE)
_SECONDS = {"us": 1e-6, "ms": 1e-3, "s": 1.0}


@frozen
class H2Load:
    """How one h2load loads: ``connections`` with ``streams`` requests at once on each.

    Attributes:
        folder: where it keeps what it reads and writes.
        protocol: ``h2`` or ``http/1.1``.
        connections: kept alive.
        streams: at once, of each connection.
    """

    folder: Path
    protocol: str
    connections: int
    streams: int

    def run(self, port: int, *, seconds: int, rate: int = 0) -> Load:
        """Load 127.0.0.1:``port`` as fast as it goes, or at ``rate`` requests per second.

        Only a fixed rate has latencies: to write each of them down costs the load core.

        Raises:
            LoadError: it failed, or spoke another protocol.
        """
        log = self.folder / "h2load.log"
        log.unlink(missing_ok=True)
        command = [find_program("h2load") or "h2load", f"-D{seconds}", f"-c{self.connections}"]
        command += [f"-m{self.streams}", f"--npn-list={self.protocol}", "-i", str(self._targets())]
        command += ["-B", f"https://localhost:{port}/", f"--connect-to=127.0.0.1:{port}"]
        for field in _FIELDS.items():
            command += ["-H", ": ".join(field)]
        if rate:
            command += [f"--rps={rate / self.connections:.3f}", f"--log-file={log}"]
        shown = subprocess.run(
            pinned(CORES.load, command),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            env=ENVIRONMENT,
            check=False,
        )
        latencies = parse_log(log.read_text()) if rate and log.exists() else []
        return parse_h2load(shown.stdout, self.protocol, latencies)

    def _targets(self) -> Path:
        path = self.folder / "h2load-targets"
        if not path.exists():
            targets = (
                f"/items/{number * 7919 % 100000}/view?page={number % 50}&sort=name\n"
                for number in range(1, PATHS + 1)
            )
            path.write_text("".join(targets))
        return path


def parse_h2load(output: str, protocol: str, latencies: list[float]) -> Load:
    """Read what h2load prints at its end; ``latencies`` are those of :func:`parse_log`.

    Raises:
        LoadError: that is not there, nothing was answered, or ``protocol`` was not spoken.
    """
    finished, requests = _FINISHED.search(output), _REQUESTS.search(output)
    statuses, received = _STATUS.search(output), _BYTES.search(output)
    spoken = _PROTOCOL.search(output)
    if not (finished and requests and statuses and received and int(requests[1])):
        raise LoadError(output.strip()[-500:] or "h2load said nothing")
    if spoken is None or spoken[1] != protocol:
        raise LoadError(f"{spoken[1] if spoken else 'nothing'} was spoken, not {protocol}")
    return Load(
        requests=int(requests[1]),
        seconds=float(finished[1]) * _SECONDS[finished[2]],
        bytes=int(received[1]),
        p99_ms=p99(latencies),
        errors=int(requests[2]) + sum(map(int, statuses.groups())),
    )


def parse_log(log: str) -> list[float]:
    """The latencies in ms of all requests but those at the beginning (see SETTLING_SECS).

    Each line is the request's start in microseconds, its status, and how many it took.
    """
    rows = [line.split() for line in log.splitlines()]
    if not rows:
        return []
    settled = min(int(row[0]) for row in rows) + SETTLING_SECS * 1e6
    return [int(row[2]) / 1e3 for row in rows if int(row[0]) >= settled]


def p99(latencies: list[float]) -> float:
    """What 99 % of them do not exceed; 0 of none."""
    return sorted(latencies)[ceil(len(latencies) * 0.99) - 1] if latencies else 0.0
