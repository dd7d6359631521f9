"""What the log is told of one automatic certificate.

Owns the records, and how often those come that would be repeated. Refuses to know what is done
about any of it.
"""

from __future__ import annotations

from collections.abc import Callable

from revproxy.control.renewal_tools import told_moment
from revproxy.model.seams import AccessLog
from revproxy.policy.renewal import DAY, lateness
from revproxy.tls.acme.issued import Certificate

SKEW_SECS = 300.0
"""How much the authority's clock may differ from ours before that is told."""


class Reports:
    """See the module.

    Args:
        log: told.
        wall: seconds since 1970.
        name: of the certificate.
        dry_run: whether it is for show: every record says so.
    """

    def __init__(
        self, log: AccessLog, wall: Callable[[], float], name: str, *, dry_run: bool = False
    ) -> None:
        self._log = log
        self._wall = wall
        self._name = name
        self._marks = (("dry_run", "true"),) if dry_run else ()
        self._told_late: float | None = None
        self._told_skew: float | None = None

    def record(self, level: str, event: str, *fields: tuple[str, object]) -> None:
        """One record."""
        name = (("event", event), ("name", self._name))
        self._log.record(level, "ACME", (*name, *fields, *self._marks))

    def late(self, certificate: Certificate | None) -> None:
        """Say, once a day, that a renewal is late."""
        now = self._wall()
        if certificate is None or not _is_due(self._told_late, now):
            return
        level = lateness(certificate.not_before, certificate.not_after, now)
        if level is not None:
            self._told_late = now
            verb = "expires" if certificate.not_after > now else "expired"
            error = f"{verb} on {told_moment(certificate.not_after)}, and is not renewed yet"
            self.record(level, "late", ("error", error))

    def skew(self, seconds: float | None) -> None:
        """Say, once a day, that the authority's clock differs from ours by ``seconds``."""
        now = self._wall()
        if seconds is not None and abs(seconds) > SKEW_SECS and _is_due(self._told_skew, now):
            self._told_skew = now
            error = f"the authority's clock differs from ours by {seconds:.0f} s"
            self.record("warn", "clock", ("error", error))


def _is_due(told: float | None, now: float) -> bool:
    """Whether it is a day ago that something was told; or the clock was set back since."""
    return told is None or not 0 <= now - told < DAY
