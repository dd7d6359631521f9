"""One module per kind of measure; each offers ``run`` functions that take a ``Stage``."""

from __future__ import annotations

from collections.abc import Callable

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
from bench.stage import Stage

TITLES = {
    "P1": "HTTP/1.1 over TLS, keep-alive, 12-byte responses, access log off",
    "P2": "The same with the access log on",
    "P3": "HTTP/2 over TLS, 8 connections with 8 streams each, 12-byte responses",
    "P4": "TLS bodies of 1 MB and 100 MB",
    "P5": "New TLS connections, one request each (P-256)",
    "P6": "HTTP/1.1 over TLS at half of the lower peak of revproxy and Caddy",
    "P7": "5 000 idle TLS connections, each of which has carried one request",
    "P8": "10 000 sites over 100 certificates against one site",
    "P8 reload": "Reloads of 10 000 sites over 100 certificates, while requests come",
    "P9": "1 000 000 distinct addresses through the rate limiter",
    "P10": "1 MB bodies in TLS that is passed through by SNI",
}

RUN: dict[str, Callable[[Stage], None]] = {
    "P1": small.run,
    "P2": small.run_logged,
    "P3": multiplexed.run,
    "P4": bodies.run,
    "P5": handshakes.run,
    "P6": steady.run,
    "P7": idle.run,
    "P8": sites.run,
    "P8 reload": reload.run,
    "P9": limiter.run,
    "P10": passthrough.run,
}
