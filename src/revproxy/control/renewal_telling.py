"""What is said about one automatic certificate: records, and warnings once a day.

Owns the wording and how often. Refuses to know why.
"""

from __future__ import annotations

from collections.abc import Callable

from revproxy.control.renewal_tools import told_moment
from revproxy.model.seams import AccessLog
from revproxy.policy.renewal import DAY, lateness
from revproxy.tls.acme.issued import Certificate

SKEW_SECS = 300.0
"""How much the authority's clock may differ from ours before that is told."""


class Telling:
    """See the module.

    Args:
        name: the first that the certificate is for.
        log: where the records go.
        wall: seconds since 1970.
    """

    __slots__ = ("_late", "_log", "_name", "_skew", "_wall")

    def __init__(self, name: str, log: AccessLog, wall: Callable[[], float]) -> None:
        self._name = name
        self._log = log
        self._wall = wall
        self._late: float | None = None
        self._skew: float | None = None

    def record(self, level: str, event: str, *fields: tuple[str, object]) -> None:
        """Write an ``ACME`` record about ``event``."""
        self._log.record(level, "ACME", (("event", event), ("name", self._name), *fields))

    def late(self, certificate: Certificate | None) -> None:
        """Say, once a day, that a renewal is late."""
        now = self._wall()
        if certificate is None or not _is_due(self._late, now):
            return
        level = lateness(certificate.not_before, certificate.not_after, now)
        if level is not None:
            self._late = now
            verb = "expires" if certificate.not_after > now else "expired"
            error = f"{verb} on {told_moment(certificate.not_after)}, and is not renewed yet"
            self.record(level, "late", ("error", error))

    def skew(self, seconds: float | None) -> None:
        """Say, once a day, that the authority's clock differs from ours by so much."""
        now = self._wall()
        if seconds is not None and abs(seconds) > SKEW_SECS and _is_due(self._skew, now):
            self._skew = now
            error = f"the authority's clock differs from ours by {seconds:.0f} s"
            self.record("warn", "clock", ("error", error))


def _is_due(told: float | None, now: float) -> bool:
    """Whether it is a day ago that something was told; or the clock was set back since."""
    return told is None or not 0 <= now - told < DAY
