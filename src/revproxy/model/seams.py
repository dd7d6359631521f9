"""The protocols through which packages that may not import each other meet.

Owns the shapes only. Every piece of state that several workers or machines may one day share
(limits, bans, certificates, logs) is reached through one of these.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from revproxy.model.tls import Alert, ClientHello, Identity


class Limiter(Protocol):
    """A rate limit over many keys (``policy/rate_limit.py`` is the one in this process)."""

    def take(self, key: int, now: float) -> float:
        """Take one token for ``key`` at ``now`` (seconds of a monotonic clock).

        Returns:
            the whole and fractional tokens left after this one, >= 0; negative when there was
            none to take: minus the seconds until there is one.
        """

    @property
    def rate(self) -> float:
        """Tokens that flow in per second."""

    @property
    def burst(self) -> int:
        """The most tokens a key can hold."""


class ChooseIdentity(Protocol):
    """Decides from a ClientHello with which certificate a handshake goes on, if at all."""

    def __call__(self, hello: ClientHello) -> Identity | Alert:
        """The identity to serve, or the alert to refuse with."""


class RecordLog(Protocol):
    """Where records go. Never blocks and never raises."""

    def write(self, level: str, message: str) -> None:
        """Write one record: ``level`` of behaviour's five, ``message`` already escaped."""

    def enabled(self, level: str) -> bool:
        """Whether records of ``level`` are kept at all."""


class RequestRecord(Protocol):
    """What the access log needs to know of one exchange that has ended."""

    client_ip: str
    host: str
    method: bytes
    path: bytes
    status: int
    upstream: str
    duration_ms: int


Clock = Callable[[], float]
"""Seconds of a monotonic clock."""
