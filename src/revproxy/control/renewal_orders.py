"""What is done in a turn for one automatic certificate: orders, and a look at the CA's suggestion.

Owns what an attempt comes to, what is kept of it and when the next one may be made. Refuses to
know the loop (``renewal.py``), and how an order goes.
"""

from __future__ import annotations

from collections.abc import Coroutine
from contextlib import suppress
from typing import Any

from attrs import evolve
from cryptography import x509
from twisted.internet.defer import CancelledError, Deferred
from twisted.logger import Logger
from twisted.python.failure import Failure as Failed

from revproxy.control.order_errors import (
    EXPECTED,
    VALIDATION_CODES,
    code_of,
    names_of,
    passes,
    retry_after_of,
)
from revproxy.control.renewal_reports import Reports
from revproxy.control.renewal_tools import Attempt, Tools, told_moment
from revproxy.policy.renewal import (
    Failure,
    failure_of,
    lateness,
    moment_in_window,
    next_attempt,
    next_check,
    renewal_moment,
)
from revproxy.tls.acme.issue import CHALLENGES
from revproxy.tls.acme.issued import Certificate
from revproxy.tls.acme.problem import AcmeProblem, CannotReach
from revproxy.tls.acme.record import Record
from revproxy.tls.acme.session import Session
from revproxy.tls.acme.store import Entry, Store
from revproxy.tls.acme.wanted import Wanted

ORDER_SECS = 900.0
"""For an order in all."""

_log = Logger()


class RenewalOrders:
    """See the module.

    Args:
        wanted: the certificate.
        session: with its authority.
        store: where it is kept.
        tools: shared.
        dry_run: whether it is for show.

    Attributes:
        wanted: as given.
        entry: what the store has; its record has what is known.
    """

    def __init__(
        self, wanted: Wanted, session: Session, store: Store, tools: Tools, *, dry_run: bool
    ) -> None:
        self.wanted = wanted
        self.entry = Entry(wanted.id, Record(wanted.names, wanted.authority.directory))
        self._session = session
        self._store = store
        self._tools = tools
        self._unsaved: Record | None = None
        self._lost = False
        self._reports = reports = Reports(tools.log, tools.wall, wanted.names[0], dry_run=dry_run)
        self._record, self._tell_skew = reports.record, reports.skew

    async def _load(self) -> None:
        names, directory = self.wanted.names, self.wanted.authority.directory
        found = await self._tools.in_thread(lambda: self._store.load(names, directory))
        # What was taken away is not there any more: it has to be ordered anew.
        self.entry = found or Entry(self.wanted.id, Record(names, directory))
        if self._unsaved is not None:
            # What the disk has is older: going by it, the authority would be asked at once.
            self.entry = evolve(self.entry, record=self._unsaved)

    async def _look_at_suggestion(self, certificate: Certificate) -> None:
        """Ask the authority when to renew (RFC 9773 4.2); no answer is none."""
        window = None
        try:
            client = await self._session.client()
            (leaf, *_) = x509.load_pem_x509_certificates(certificate.chain_pem)
            window = await client.renewal_window(leaf)
        except (AcmeProblem, CannotReach, OSError, ValueError) as error:
            self._record("debug", "suggestion", ("error", str(error)))
        now, record = self._tools.wall(), self.entry.record
        retry_after = None if window is None else window.retry_after
        record = evolve(record, check_at=next_check(now, retry_after))
        if window is not None and (window.start, window.end) != record.window:
            moment = moment_in_window(window.start, window.end, now, self._tools.random())
            record = evolve(record, window=(window.start, window.end), renew_at=moment)
            self._record("info", "suggestion", ("renew_at", told_moment(moment)))
        await self._save(record)

    async def _attempt(self) -> Attempt:
        """Order all names; where some of them stand in the way of the others, these alone."""
        try:
            return await self._order(self.wanted.names)
        except CancelledError:
            raise
        except Exception as error:
            first = error
        bad = names_of(first, self.wanted.names)
        rest = tuple(name for name in self.wanted.names if name not in bad)
        alone = not passes(first) and not self._good_for(bad)
        if rest and rest != self.wanted.names and alone and not self._serves(rest):
            try:
                await self._order(rest)
            except CancelledError:
                raise
            except Exception as error:
                self._record("warn", "failed", ("for", ",".join(rest)), ("error", str(error)))
        return await self._failed(first)

    def _good_for(self, names: frozenset[str]) -> bool:
        """Whether the certificate has one of ``names``, which the next one would be without, and
        some life left to wait for a better day.
        """
        certificate = self.entry.certificate
        if certificate is None or not certificate.names & names:
            return False
        validity = certificate.not_before, certificate.not_after
        return lateness(*validity, self._tools.wall()) != "error"

    def _serves(self, names: tuple[str, ...]) -> bool:
        """Whether the certificate covers ``names`` and is not due."""
        certificate = self.entry.certificate
        if certificate is None or not certificate.names.issuperset(names):
            return False
        renew = renewal_moment(
            certificate.not_before, certificate.not_after, self.entry.record.renew_at
        )
        return renew > self._tools.wall()

    async def _order(self, names: tuple[str, ...]) -> Attempt:
        began = self._tools.reactor.seconds()
        challenge = self._challenge()
        issue = await self._tools.issue(self.wanted, self._session, self._store, names, challenge)
        self._tell_skew(issue.client.clock_skew)
        record = evolve(self.entry.record, profile=self.wanted.profile)
        try:
            entry = await self._in_time(issue.run(record, self.entry.order_key_pem))
        except CancelledError:
            raise
        except Exception:
            await self._recall_order()
            raise
        self.entry, self._unsaved = entry, None
        certificate = self.entry.certificate
        assert certificate is not None
        await self._tools.serve()
        self._record(
            "info",
            "issued",
            ("for", ",".join(names)),
            ("not_after", told_moment(certificate.not_after)),
            ("challenge", challenge),
            ("secs", round(self._tools.reactor.seconds() - began, 1)),
        )
        return Attempt(not_after=certificate.not_after)

    def _in_time(self, running: Coroutine[Any, Any, Entry]) -> Deferred[Entry]:
        """Give an order up that takes too long: others wait for its slot."""

        def too_long(_: Entry | Failed, secs: float) -> Entry:
            raise CannotReach(self.wanted.authority.directory, f"no certificate in {secs:.0f} s")

        order = Deferred.fromCoroutine(running)
        return order.addTimeout(ORDER_SECS, self._tools.reactor, too_long)

    async def _recall_order(self) -> None:
        """After a failure: an order may be open by now, to be gone on with, or none any more."""
        profile = self.entry.record.profile
        with suppress(OSError):
            await self._load()
        if not self.entry.record.order_url:
            self.entry = evolve(self.entry, record=evolve(self.entry.record, profile=profile))

    def _challenge(self) -> str:
        """The one that is configured; after every other failed validation the other one."""
        other = next(kind for kind in CHALLENGES if kind != self.wanted.challenge)
        record = self.entry.record
        failed = record.last_failure in VALIDATION_CODES and record.failures % 2
        swap = self.wanted.both_challenges and failed
        return other if swap else self.wanted.challenge

    async def _failed(self, error: Exception) -> Attempt:
        """Say what has failed, and when the next attempt is made; also to a later process."""
        code, retry_after = code_of(error), retry_after_of(error)
        failure = failure_of(code)
        if not isinstance(error, EXPECTED):
            _log.failure("while a certificate was ordered", Failed(error))
        if failure is Failure.ACCOUNT_MISSING:
            await self._session.forget_account()
        now, record, certificate = self._tools.wall(), self.entry.record, self.entry.certificate
        moment = next_attempt(
            failure,
            record.failures + 1,
            now,
            self._tools.random(),
            retry_after=retry_after,
            validity=None
            if certificate is None
            else (certificate.not_before, certificate.not_after),
            repeated=record.last_failure == code,
        )
        told = str(error) or type(error).__name__
        level = "error" if failure.loud else "warn"
        more = (("error", told), ("next_attempt", told_moment(moment)))
        self._record(level, "failed", ("failures", record.failures + 1), *more)
        await self._save(
            evolve(
                record,
                failures=record.failures + 1,
                last_failure=code,
                last_error=told,
                next_attempt=moment,
            )
        )
        return Attempt(error=told)

    async def _save(self, record: Record) -> None:
        """Keep ``record``; where the disk does not take it, at least for this process."""
        self.entry = evolve(self.entry, record=record)
        self._unsaved = record
        try:
            await self._tools.in_thread(lambda: self._store.save_record(record))
            self._unsaved = None
        except (OSError, ValueError) as error:
            self._record("error", "store", ("error", str(error)))
