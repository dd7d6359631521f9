"""Automatic certificates as a service: one renewal for each that the configuration wants.

Owns which there are, what they share, and their beginning and end. Refuses to know when one is
due, and how an order goes.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection, Iterable
from pathlib import Path
from random import SystemRandom
from typing import Any

from attrs import evolve
from twisted.application.service import Service
from twisted.internet.defer import CancelledError, Deferred, DeferredList, DeferredSemaphore
from twisted.internet.task import deferLater
from twisted.logger import Logger
from twisted.python.failure import Failure

from revproxy.control.lock_wait import NAMES_SECS, take
from revproxy.control.renewal import Renewal
from revproxy.control.renewal_tools import Attempt, Tools
from revproxy.control.threads import InThread
from revproxy.model.seams import AccessLog
from revproxy.tls.acme.answering import Answering
from revproxy.tls.acme.issue import Issue
from revproxy.tls.acme.name_lock import NameLock
from revproxy.tls.acme.requests import Requests
from revproxy.tls.acme.session import Session
from revproxy.tls.acme.store import Store
from revproxy.tls.acme.wanted import DIRECTORIES, Authority, Wanted, cache_dirs

MOST_ORDERS = 4
"""Under way at once."""

STALE_SECS = 3600.0
"""After which what an order has left behind, whose process has died, is removed at start."""

_log = Logger()


class Renewals(Service):
    """See the module.

    Args:
        reactor: for the time.
        wall: seconds since 1970.
        wanted: gives what the configuration that is served wants.
        serve: loads the certificates anew and serves them.
        in_thread: calls what blocks.
        log: told of what happens.
        answering: answers validations.
        make_requests: makes what the client of an authority speaks through.
    """

    def __init__(
        self,
        reactor: Any,
        wall: Callable[[], float],
        wanted: Callable[[], list[Wanted]],
        serve: Callable[[], Awaitable[None]],
        in_thread: InThread,
        log: AccessLog,
        answering: Answering,
        make_requests: Callable[[Authority], Requests],
    ) -> None:
        self._wanted = wanted
        self._log = log
        self._wall = wall
        self._answering = answering
        self._make_requests = make_requests
        self._in_thread = in_thread
        self._serve = serve
        self._reactor = reactor
        self._slots = DeferredSemaphore(MOST_ORDERS)
        self._swept: set[Path] = set()
        self._sessions: dict[Authority, Session] = {}
        self._running: dict[Wanted, tuple[Renewal, Deferred[None]]] = {}

    def startService(self) -> None:
        """Begin, once validations can be answered."""
        super().startService()
        self.refresh()

    async def stop(self) -> None:
        """Give up what is under way: challenges do not stay, connections are closed."""
        running, self._running = list(self._running.values()), {}
        for _, keeping in running:
            keeping.cancel()
        await DeferredList([keeping for _, keeping in running])
        sessions, self._sessions = list(self._sessions.values()), {}
        for session in sessions:
            await session.close()

    def stopService(self) -> Deferred[None]:
        """As :meth:`stop`."""
        super().stopService()
        return Deferred.fromCoroutine(self.stop())

    def refresh(self) -> None:
        """Keep what is wanted now; what is not wanted any more stays on disk."""
        if not self.running:
            return
        wanted = self._wanted()
        for one in self._running.keys() - set(wanted):
            self._running.pop(one)[1].cancel()
        for cache_dir in cache_dirs(wanted) - self._swept:
            self._swept.add(cache_dir)
            self._begin(self._sweep(cache_dir))
        for authority in self._sessions.keys() - {one.authority for one in wanted}:
            self._begin(self._sessions.pop(authority).close())
        for one in wanted:
            if one not in self._running:
                tools = self._tools(one.authority.cache_dir, self._serve)
                renewal = Renewal(one, self._session(one.authority), self._store(one), tools)
                self._running[one] = renewal, self._begin(renewal.run())

    def look(self, paths: Collection[str]) -> None:
        """See what has become of the certificates in ``paths``, which cannot be used."""
        for renewal in self.kept():
            if renewal.wanted.pair.cert_path in paths:
                renewal.look()

    def kept(self) -> Iterable[Renewal]:
        """Those that are running."""
        return [renewal for renewal, _ in self._running.values()]

    async def renew(self, name: str) -> Attempt | None:
        """Renew the certificate for ``name`` now; None where there is none."""
        for renewal in self.kept():
            if name in renewal.wanted.names:
                return await renewal.renew()
        return None

    async def rehearse(self, name: str) -> Attempt | None:
        """Get a certificate for ``name`` that is not served; None where none is kept.

        From Let's Encrypt's staging, where production is configured, else from the same
        authority. Account and certificate are kept apart from those that matter.
        """
        for renewal in self.kept():
            if name in renewal.wanted.names:
                return await self._rehearse(renewal.wanted)
        return None

    async def _rehearse(self, wanted: Wanted) -> Attempt:
        authority = wanted.authority
        production = authority.directory == DIRECTORIES["production"]
        trial = evolve(
            authority,
            cache_dir=authority.cache_dir / "dry-run",
            directory=DIRECTORIES["staging"] if production else authority.directory,
        )
        rehearsed = evolve(wanted, authority=trial)
        tools = self._tools(authority.cache_dir, _nothing)
        session = Session(trial, self._make_requests, self._in_thread, self._report)
        names = NameLock(authority.cache_dir, wanted.names)
        try:
            if not await self._take(names):
                return Attempt("another order for some of the names is under way")
            store = self._store(rehearsed)
            return await Renewal(rehearsed, session, store, tools, dry_run=True).once()
        except OSError as error:
            return Attempt(str(error))
        finally:
            names.close()
            await session.close()

    async def _take(self, names: NameLock) -> bool:
        async def pause(seconds: float) -> None:
            await deferLater(self._reactor, seconds)

        return await take(
            names, self._reactor, self._in_thread, pause, lambda seconds: seconds < NAMES_SECS
        )

    def _tools(self, cache_dir: Path, serve: Callable[[], Awaitable[None]]) -> Tools:
        """What a renewal needs; its challenges are answered from ``cache_dir``."""

        async def issue(
            wanted: Wanted, session: Session, store: Store, names: tuple[str, ...], challenge: str
        ) -> Issue:
            return Issue(
                await session.client(),
                store,
                self._answering.pending(cache_dir),
                self._answering,
                self._in_thread,
                self._wall,
                names,
                challenge,
                wanted.profile,
            )

        return Tools(
            self._reactor,
            self._wall,
            SystemRandom().random,
            self._in_thread,
            self._log,
            self._slots,
            serve,
            issue,
        )

    def _session(self, authority: Authority) -> Session:
        session = self._sessions.get(authority)
        if session is None:
            session = Session(authority, self._make_requests, self._in_thread, self._report)
            self._sessions[authority] = session
        return session

    def _store(self, wanted: Wanted) -> Store:
        return Store(wanted.authority.cache_dir, self._report)

    async def _sweep(self, cache_dir: Path) -> None:
        """Remove what processes have left behind that died in the middle of an order."""
        pending = self._answering.pending(cache_dir)
        stale = self._wall() - STALE_SECS
        await self._in_thread(pending.prepare)
        await self._in_thread(lambda: pending.sweep(stale))
        await self._in_thread(lambda: Store(cache_dir, self._report).sweep(stale))

    def _begin(self, keeping: Any) -> Deferred[None]:
        """Run a coroutine until it is cancelled; what else ends it is told."""
        begun = Deferred.fromCoroutine(keeping)
        begun.addErrback(_tell_end)
        return begun

    def _report(self, sentence: str) -> None:
        self._log.record("error", "ACME", (("event", "store"), ("error", sentence)))


async def _nothing() -> None:
    """Serve nothing: it was a rehearsal."""


def _tell_end(failure: Failure) -> None:
    if not failure.check(CancelledError):
        _log.failure("while certificates were kept", failure)
