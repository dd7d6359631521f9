"""Certificates while they are served: renewed files, ticket keys, and the date of their end.

Owns when certificates are read again, and how often an operator is told that one is about to
expire. Refuses to know how they are loaded and swapped.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime
from typing import Any

from twisted.application.service import Service
from twisted.internet.defer import Deferred
from twisted.logger import Logger

from revproxy.control.certificates import Certificates
from revproxy.control.threads import InThread
from revproxy.model.seams import AccessLog
from revproxy.model.tls import Identity
from revproxy.tls.certificates import ticket_period
from revproxy.tls.pem import Version, file_version

LOOK_SECS = 2.0
"""Between two looks at the files."""

RETRY_SECS = 60.0
"""After which files that could not be used are read again though they have not changed."""

SOON_DAYS = 14
"""A certificate that is valid for less than this is about to expire."""

DAY_SECS = 86400.0

_log = Logger()


class CertificateWatch(Service):
    """See the module.

    Files are looked at by their status and not by a notification of the kernel's: that sees what
    is behind symbolic links (certbot swaps those), and works on every file system. A change is
    acted on when two looks have found it alike, so that a pair is not read between the writing
    of its two files. The looking is done in a thread: a file system may hang.

    Args:
        reactor: for the time.
        current: gives the certificates that are served.
        load: reads them anew and serves them.
        in_thread: calls something in a thread.
        log: told of those that expire.
        wall: seconds since 1970.
    """

    def __init__(
        self,
        reactor: Any,
        current: Callable[[], Certificates],
        load: Callable[[], Any],
        in_thread: InThread,
        log: AccessLog,
        wall: Callable[[], float],
    ) -> None:
        self._reactor = reactor
        self._current = current
        self._load = load
        self._in_thread = in_thread
        self._record = log.record
        self._wall = wall
        self._call: Any = None
        self._period = 0
        self._loaded_at = 0.0
        self._unsettled: Mapping[str, Version] = {}
        self._told: dict[tuple[object, ...], float] = {}

    def startService(self) -> None:
        """Begin to look."""
        super().startService()
        self._period = ticket_period(self._wall())
        self._begin_look()

    def stopService(self) -> None:
        """Look no more."""
        super().stopService()
        if self._call is not None:
            self._call.cancel()
            self._call = None

    def _begin_look(self) -> None:
        self._call = None
        looking = Deferred.fromCoroutine(self._look())
        looking.addErrback(lambda failure: _log.failure("while watching certificates", failure))
        looking.addCallback(lambda _: self._again())

    def _again(self) -> None:
        if self.running:
            self._call = self._reactor.callLater(LOOK_SECS, self._begin_look)

    async def _look(self) -> None:
        certificates = self._current()
        self._tell_ends(certificates.served.values())
        paths = certificates.versions
        found = await self._in_thread(lambda: {path: file_version(path) for path in paths})
        if not self.running:
            return
        changed = found != certificates.versions
        settled = found == self._unsettled
        self._unsettled = found
        former, self._period = self._period, ticket_period(self._wall())
        now = self._reactor.seconds()
        again = bool(certificates.failures) and now - self._loaded_at >= RETRY_SECS
        if (changed and settled) or again or self._period != former:
            self._loaded_at = now
            await self._load()

    def _tell_ends(self, served: Iterable[Identity]) -> None:
        """Say which are about to expire or have, each once a day."""
        now = self._wall()
        self._told = {key: when for key, when in self._told.items() if now - when < DAY_SECS}
        for identity in served:
            if identity.automatic:
                continue  # those who renew it know when it is late
            days = (identity.not_after - now) / DAY_SECS
            key = (identity.name, identity.not_after, days > 0)
            if days >= SOON_DAYS or key in self._told:
                continue
            self._told[key] = now
            end = datetime.fromtimestamp(identity.not_after, UTC).strftime("%Y-%m-%d %H:%M UTC")
            text = f"expires in {days:.1f} days, on {end}" if days > 0 else f"expired on {end}"
            fields = (("name", identity.name), ("file", identity.source), ("error", text))
            self._record("warn" if days > 0 else "error", "TLS_CERTIFICATE", fields)
