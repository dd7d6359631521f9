"""One automatic certificate, from its first order on: when the next attempt is made, and what it
comes to.

Owns the loop, and what is done in its turns. Refuses to know other certificates, and how an
order goes.
"""

from __future__ import annotations

from collections.abc import Callable

from attrs import evolve
from cryptography import x509
from twisted.internet.defer import CancelledError, Deferred
from twisted.logger import Logger
from twisted.python.failure import Failure as Failed

from revproxy.control.lock_wait import ANSWER_SECS, NAMES_SECS, TOLD_SECS, Takeable, take
from revproxy.control.order_errors import EXPECTED, code_of, names_of, retry_after_of
from revproxy.control.renewal_reports import Reports
from revproxy.control.renewal_tools import Attempt, Tools, told_moment
from revproxy.policy.renewal import (
    Failure,
    failure_of,
    moment_in_window,
    next_attempt,
    next_check,
    renewal_moment,
    soonest,
)
from revproxy.tls.acme.issue import CHALLENGES
from revproxy.tls.acme.issued import Certificate
from revproxy.tls.acme.name_lock import NameLock
from revproxy.tls.acme.problem import AcmeProblem, CannotReach
from revproxy.tls.acme.record import Record
from revproxy.tls.acme.session import Session
from revproxy.tls.acme.store import Entry, Store
from revproxy.tls.acme.wanted import Wanted

LOOK_SECS = 3600.0
"""The longest that is waited without a look at the clock, which may be set at any time."""

_log = Logger()


class Renewal:
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
        self,
        wanted: Wanted,
        session: Session,
        store: Store,
        tools: Tools,
        *,
        dry_run: bool = False,
    ) -> None:
        self.wanted = wanted
        self.entry = Entry(wanted.id, Record(wanted.names, wanted.authority.directory))
        self._session = session
        self._store = store
        self._tools = tools
        self._asked: list[Deferred[Attempt]] = []
        self._sleeping: Deferred[None] | None = None
        self._unsaved: Record | None = None
        self._lost = False
        self._reports = reports = Reports(tools.log, tools.wall, wanted.names[0], dry_run=dry_run)
        self._record, self._tell_skew = reports.record, reports.skew

    # For others

    @property
    def next_moment(self) -> float:
        """When there is something to do, in seconds since 1970; 0 for at once."""
        if self._asked or self._lost:
            return 0.0
        if self.entry.certificate is None:
            return self.order_at
        return min(self.order_at, self.entry.record.check_at or 0.0)

    @property
    def order_at(self) -> float:
        """When the next order is made, in seconds since 1970; 0 for at once."""
        record, certificate = self.entry.record, self.entry.certificate
        if certificate is None or self.entry.left_out or record.profile != self.wanted.profile:
            return record.next_attempt or 0.0
        validity = certificate.not_before, certificate.not_after
        return max(
            renewal_moment(*validity, record.renew_at),
            soonest(*validity, record.issued_at or 0.0),
            record.next_attempt or 0.0,
        )

    def renew(self) -> Deferred[Attempt]:
        """Make an attempt now, whatever is due; gives what has come of it."""
        asked: Deferred[Attempt] = Deferred()
        self._asked.append(asked)
        self._wake()
        return asked

    def look(self) -> None:
        """See whether the certificate is still there, and order another one if it is not."""
        self._lost = True
        self._wake()

    async def once(self) -> Attempt:
        """Make one attempt, and no other."""
        await self._tools.slots.acquire()
        try:
            await self._load()
            return await self._attempt()
        finally:
            self._tools.slots.release()

    async def run(self) -> None:
        """Keep the certificate, until cancelled."""
        try:
            await self._load()
            while True:
                self._reports.late(self.entry.certificate)
                wait = self.next_moment - self._tools.wall()
                if wait > 0:
                    await self._sleep(min(wait, LOOK_SECS))
                else:
                    await self._guarded()
        finally:
            self._answer(Attempt("it is not kept any more"))

    # The loop

    async def _load(self) -> None:
        names, directory = self.wanted.names, self.wanted.authority.directory
        found = await self._tools.in_thread(lambda: self._store.load(names, directory))
        # What was taken away is not there any more: it has to be ordered anew.
        self.entry = found or Entry(self.wanted.id, Record(names, directory))
        if self._unsaved is not None:
            # What the disk has is older: going by it, the authority would be asked at once.
            self.entry = evolve(self.entry, record=self._unsaved)

    async def _sleep(self, seconds: float) -> None:
        self._sleeping = sleeping = Deferred[None]()
        call = self._tools.reactor.callLater(seconds, self._wake)
        try:
            await sleeping
        finally:
            self._sleeping = None
            if call.active():
                call.cancel()

    def _wake(self) -> None:
        sleeping, self._sleeping = self._sleeping, None
        if sleeping is not None:
            sleeping.callback(None)

    async def _guarded(self) -> None:
        """One turn; a fault of the program is told, and does not end the renewals for good."""
        try:
            await self._locked()
        except CancelledError:
            raise
        except Exception:
            _log.failure("while a certificate was kept")
            await self._sleep(LOOK_SECS)

    async def _locked(self) -> None:
        """One turn, while no other process works on the same certificate."""
        self._lost = False
        lock = self._store.lock(self.wanted.names, self.wanted.authority.directory)
        names = NameLock(self.wanted.authority.cache_dir, self.wanted.names)
        try:
            await self._take(lock, self._tell_held(f"another process holds {lock.path}"))
            held = self.entry.certificate
            await self._load()
            if self.entry.certificate != held:
                await self._tools.serve()  # another process has got it
            order = bool(self._asked) or self.order_at <= self._tools.wall()
            if order:
                # Without them after that time: nobody waits for a stopped process for good.
                await self._take(names, lambda seconds: seconds < NAMES_SECS)
            await self._in_slot(order)
        except OSError as error:
            self._answer(await self._failed(error))
        finally:
            names.close()
            lock.close()

    async def _take(self, lock: Takeable, held: Callable[[float], bool]) -> None:
        await take(lock, self._tools.reactor, self._tools.in_thread, self._sleep, held)

    def _tell_held(self, error: str) -> Callable[[float], bool]:
        """What tells the log, and those who have asked, that a lock is held."""
        told = False

        def held(seconds: float) -> bool:
            nonlocal told
            self._reports.late(self.entry.certificate)
            if seconds >= ANSWER_SECS:
                self._answer(Attempt(error))
            if seconds >= TOLD_SECS and not told:
                told = True
                self._record("warn", "waiting", ("error", error))
            return True

        return held

    async def _in_slot(self, order: bool) -> None:
        """One turn, of few at once; who waits for another process holds no slot."""
        await self._tools.slots.acquire()
        try:
            await self._turn(order)
        finally:
            self._tools.slots.release()

    async def _turn(self, order: bool) -> None:
        if order:
            asked, self._asked = self._asked, []
            attempt = Attempt("the process is about to end")
            try:
                attempt = await self._attempt()
            finally:
                self._answer(attempt, asked)
        elif self.entry.certificate is not None and self.next_moment <= self._tools.wall():
            await self._look_at_suggestion(self.entry.certificate)

    def _answer(self, attempt: Attempt, asked: list[Deferred[Attempt]] | None = None) -> None:
        """Tell those who have asked, by default all, what has come of it."""
        if asked is None:
            asked, self._asked = self._asked, []
        for one in asked:
            one.callback(attempt)

    # What is done in a turn

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
        """Order all names; where some of them stand in the way of the others, those alone."""
        try:
            return await self._order(self.wanted.names)
        except CancelledError:
            raise
        except Exception as error:
            first = error
        bad = names_of(first, self.wanted.names)
        rest = tuple(name for name in self.wanted.names if name not in bad)
        if rest and rest != self.wanted.names and not self._serves(rest):
            try:
                await self._order(rest)
            except CancelledError:
                raise
            except Exception as error:
                self._record("warn", "failed", ("for", ",".join(rest)), ("error", str(error)))
        return await self._failed(first)

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
        self.entry = await issue.run(record, self.entry.order_key_pem)
        self._unsaved = None
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

    def _challenge(self) -> str:
        """The one that is configured, and after every other failure the other one."""
        other = next(kind for kind in CHALLENGES if kind != self.wanted.challenge)
        swap = self.wanted.both_challenges and self.entry.record.failures % 2
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
        except OSError as error:
            self._record("error", "store", ("error", f"{error.filename}: {error.strerror}"))
