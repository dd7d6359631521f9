"""The load generators, pinned to the load core: wrk, and curl for bodies of 100 MB."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

from attrs import frozen

from bench.machine import CORES, find_program, pinned

_SCRIPT = Path(__file__).with_name("load.lua")
_MARK = "RESULT "

ENVIRONMENT = {**os.environ, "OPENSSL_CONF": str(Path(__file__).with_name("openssl.cnf"))}
"""In which every load generator runs: one TLS suite for all."""


class LoadError(Exception):
    """A load generator failed; the message is what it said."""


@frozen
class Load:
    """What a load generator did: ``bytes`` are those it received, ``errors`` what went wrong."""

    requests: int
    seconds: float
    bytes: int
    p99_ms: float
    errors: int


def parse_wrk(output: str) -> Load:
    """Read the line that ``load.lua`` ends with.

    Raises:
        LoadError: there is none.
    """
    for line in output.splitlines():
        if line.startswith(_MARK):
            return Load(**json.loads(line.removeprefix(_MARK)))
    raise LoadError(output.strip() or "wrk said nothing")


def start_wrk(
    port: int, work: list[str], *, seconds: int, connections: int, host: str = "localhost"
) -> subprocess.Popen[str]:
    """Start one wrk on keep-alive TLS connections; ``work`` is what ``load.lua`` takes."""
    command = [find_program("wrk") or "wrk", "-t1", f"-c{connections}", f"-d{seconds}s"]
    command += ["--timeout", "10s", "-s", str(_SCRIPT), f"https://{host}:{port}/", "--", *work]
    return subprocess.Popen(
        pinned(CORES.load, command),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env=ENVIRONMENT,
    )


def run_wrk(port: int, work: list[str], *, seconds: int, connections: int = 32) -> Load:
    """One wrk, from its start to its result."""
    process = start_wrk(port, work, seconds=seconds, connections=connections)
    return parse_wrk(process.communicate()[0])


def run_wrks(
    port: int, works: list[tuple[str, list[str]]], *, seconds: int, connections: int
) -> Load:
    """One wrk per SNI name and work of ``works`` at once, each with ``connections``; their sum."""
    processes = [
        start_wrk(port, work, seconds=seconds, connections=connections, host=host)
        for host, work in works
    ]
    loads = [parse_wrk(process.communicate()[0]) for process in processes]
    return Load(
        requests=sum(load.requests for load in loads),
        seconds=max(load.seconds for load in loads),
        bytes=sum(load.bytes for load in loads),
        p99_ms=max(load.p99_ms for load in loads),
        errors=sum(load.errors for load in loads),
    )


def run_curls(url: str, *, upload: Path | None, at_once: int, each: int) -> float:
    """Move one file ``each`` times over each of ``at_once`` connections.

    Returns:
        the seconds it took.

    Raises:
        LoadError: a transfer failed or was not answered with 200.
    """
    transfer = ["--upload-file", str(upload)] if upload else []
    command = [find_program("curl") or "curl", "--insecure", "--silent", "--show-error", "--fail"]
    command += ["--http1.1", "--header", "Expect:"]
    command += ["--write-out", "%{time_total}\n"]
    for _ in range(each):
        command += [*transfer, "--output", "/dev/null", url]
    processes = [
        subprocess.Popen(
            pinned(CORES.load, command),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=ENVIRONMENT,
        )
        for _ in range(at_once)
    ]
    slowest = 0.0
    for process in processes:
        output, complaint = process.communicate()
        if process.returncode:
            raise LoadError(complaint.strip())
        slowest = max(slowest, sum(float(line) for line in output.split()))
    return slowest
