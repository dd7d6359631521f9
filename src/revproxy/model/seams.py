"""The protocols through which packages that may not import each other meet.

Owns the shapes only. Every piece of state that several workers or machines may one day share
(limits, bans, certificates, logs) is reached through one of these.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
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


AnswerChallenge = Callable[[bytes], bytes | None]
"""The body that answers an HTTP-01 validation for a request's path (RFC 8555 8.3); None when
nothing of the sort is pending for it."""


class AccessLog(Protocol):
    """Where records go. Never blocks. Values are escaped there, so they are passed as they are.

    Levels are ``error``, ``warn``, ``info``, ``debug`` and ``trace``. A value is a string (what
    came from the wire decoded as Latin-1, a character a byte), a number, a bool, or None where
    there is none; keys and events are names of our own.
    """

    def request(
        self,
        client_ip: str,
        host: str,
        method: str,
        path: str,
        status: int,
        upstream: str,
        duration_ms: int,
        more: Sequence[tuple[str, object]] = (),
        also: str | None = None,
    ) -> None:
        """Write the ``REQUEST`` record of an exchange that has ended (level ``info``).

        Args:
            client_ip: the client's settled address; ``""`` where unknown, as with all strings.
            host: the request's host.
            method: its method.
            path: its path without the query.
            status: what the downstream was answered.
            upstream: who answered, as configured; ``""`` or ``"-"`` when nobody was asked.
            duration_ms: from the whole request head to the response's last byte.
            more: further fields, shown after these.
            also: the site's own log file, which gets the record too.
        """

    def record(self, level: str, event: str, fields: Sequence[tuple[str, object]]) -> None:
        """Write one record: ``("warn", "RATE_LIMIT", (("client_ip", ...), ...))``."""

    def enabled(self, level: str) -> bool:
        """Whether records of ``level`` are kept at all."""


Clock = Callable[[], float]
"""Seconds of a monotonic clock."""
