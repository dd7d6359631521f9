"""One automatic certificate, from its first order on: when the next attempt is made.

Owns the loop, its locks and who asks for an attempt; what is done in a turn is in
``renewal_orders.py``. Refuses to know other certificates.
"""

from __future__ import annotations

from collections.abc import Callable

from twisted.internet.defer import CancelledError, Deferred
from twisted.logger import Logger

from revproxy.control.lock_wait import ANSWER_SECS, NAMES_SECS, TOLD_SECS, Takeable, take
from revproxy.control.renewal_orders import RenewalOrders
from revproxy.control.renewal_tools import Attempt, Tools
from revproxy.policy.renewal import (
    MOST_CHECK,
    MOST_WAIT,
    believed,
    renewal_moment,
    soonest,
)
from revproxy.tls.acme.name_lock import NameLock
from revproxy.tls.acme.session import Session
from revproxy.tls.acme.store import Store
from revproxy.tls.acme.wanted import Wanted

LOOK_SECS = 3600.0
"""The longest that is waited without a look at the clock, which may be set at any time."""

_log = Logger()


class Renewal(RenewalOrders):
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
        super().__init__(wanted, session, store, tools, dry_run=dry_run)
        self._asked: list[Deferred[Attempt]] = []
        self._sleeping: Deferred[None] | None = None

    # For others

    @property
    def next_moment(self) -> float:
        """When there is something to do, in seconds since 1970; 0 for at once."""
        if self._asked or self._lost:
            return 0.0
        if self.entry.certificate is None:
            return self.order_at
        check_at = believed(self.entry.record.check_at, self._tools.wall(), MOST_CHECK)
        return min(self.order_at, check_at)

    @property
    def order_at(self) -> float:
        """When the next order is made, in seconds since 1970; 0 for at once."""
        record, certificate, now = self.entry.record, self.entry.certificate, self._tools.wall()
        put_off = believed(record.next_attempt, now, MOST_WAIT)
        unlike = record.order_url or record.profile != self.wanted.profile
        if certificate is None or self.entry.left_out or unlike:
            return put_off
        validity = certificate.not_before, certificate.not_after
        return max(
            renewal_moment(*validity, record.renew_at),
            soonest(*validity, believed(record.issued_at, now, 0.0)),
            put_off,
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
