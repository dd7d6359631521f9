"""Serving a configuration that has changed, or certificates that have.

Owns the order (read everything, build everything, swap), that nothing is done twice at once, and
what is said about it. Refuses to know who asked, and how a generation is built.

Reading and building happen in a thread. Both keep Python busy for a while, and the reactor's
thread has to ask for the interpreter after every system call. While they go on, the interpreter
is given up to whoever asks ten times sooner than usual, and collections, which stop everybody,
are put off (docs/architecture/decisions/0015).
"""

from __future__ import annotations

import gc
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import islice
from typing import Any

from attrs import frozen
from twisted.internet.defer import Deferred, DeferredLock
from twisted.python.failure import Failure

from revproxy.control.changes import differences, reloadable
from revproxy.control.generation import Generation, Generations
from revproxy.control.log_sink import open_log_files
from revproxy.control.systemd import Notifier
from revproxy.control.threads import InThread
from revproxy.errors import ConfigError, ConfigErrors
from revproxy.model.configuration import Configuration
from revproxy.model.seams import AccessLog

MOST_LINES = 1000
"""Of the differences, and of the mistakes, that are told."""

SWITCH_SECS = 0.0005
"""How long a thread may keep the interpreter from the reactor's."""


class ReloadRefusedError(Exception):
    """Nothing can be reloaded now; says why."""


@frozen
class Outcome:
    """What has come of a reload.

    Attributes:
        changed: whether there was anything to change.
        generation: the number of what is served now.
        sites: how many are.
        restart_required: places in the file whose change has no effect before a restart.
        warnings: sentences about what is served now.
        changes: every difference, in words.
    """

    changed: bool
    generation: int
    sites: int
    restart_required: tuple[str, ...]
    warnings: tuple[str, ...]
    changes: tuple[str, ...]


class Reload:
    """See the module.

    Args:
        read: reads the configuration anew; None where it came from no file.
        generations: what is served.
        in_thread: calls something in a thread.
        log: told of every reload.
        notifier: likewise.

    Attributes:
        restart_required: of the last reload.
    """

    def __init__(
        self,
        read: Callable[[], Configuration] | None,
        generations: Generations,
        in_thread: InThread,
        log: AccessLog,
        notifier: Notifier,
    ) -> None:
        self._read = read
        self._generations = generations
        self._in_thread = in_thread
        self._log = log
        self._notifier = notifier
        self._lock = DeferredLock()
        self._waiting: list[Deferred[Outcome]] = []
        self.restart_required: tuple[str, ...] = ()

    def request(self) -> Deferred[Outcome]:
        """Reload.

        Whoever asks before a reload that has been asked for has begun shares its outcome, so that
        however many ask, at most one more is made, and it reads the last file.

        Returns:
            fails with ConfigErrors when the configuration cannot be served, and with
            ReloadRefusedError; everything is as it was then.
        """
        asked: Deferred[Outcome] = Deferred()
        self._waiting.append(asked)
        if len(self._waiting) == 1:
            Deferred.fromCoroutine(self._serve_waiting())
        return asked

    async def preview(self) -> Outcome:
        """What a reload would come to; nothing changes.

        Raises:
            ConfigErrors: the configuration could not be served.
            ReloadRefusedError: nothing can be reloaded now.
        """
        await self._lock.acquire()
        try:
            outcome: Outcome = (await self._in_thread(self._prepare))[1]
            return outcome
        finally:
            self._lock.release()

    async def certificates(self) -> None:
        """Read the certificates anew; a pair that cannot be used stays as it is, and is told."""
        await self._lock.acquire()
        try:
            generations = self._generations
            loaded = await self._in_thread(_gently(generations.reload_certificates))
            fresh = loaded.renewed(generations.current.certificates)
            former = generations.current.certificates
            generations.adopt_certificates(loaded)
        finally:
            self._lock.release()
        known = {str(failure) for failure in former.failures}
        for failure in loaded.failures:
            if str(failure) not in known:
                error = f"{failure}; the last good one is served"
                record = (("status", "error"), ("error", error))
                self._log.record("error", "CERTIFICATE_RELOAD", record)
        for identity in {*fresh, *loaded.recovered(former)}:
            fields = (("status", "success"), ("name", identity.name), ("file", identity.source))
            self._log.record("info", "CERTIFICATE_RELOAD", fields)

    async def _serve_waiting(self) -> None:
        await self._lock.acquire()
        waiting, self._waiting = self._waiting, []
        try:
            outcome = await self._reload()
        except Exception:
            failure = Failure()
            self._lock.release()
            for asked in waiting:
                asked.errback(failure)
        else:
            self._lock.release()
            for asked in waiting:
                asked.callback(outcome)

    async def _reload(self) -> Outcome:
        try:
            self._refuse_if_impossible()
            outcome = await self._read_and_serve()
        except ConfigErrors as errors:
            self._tell_failed(in_one_line(errors))
            raise
        except ReloadRefusedError as refusal:
            self._tell_failed(str(refusal))
            raise
        except Exception:
            self._tell_failed("internal error")  # whoever asked has the traceback
            raise
        self._tell(outcome)
        return outcome

    async def _read_and_serve(self) -> Outcome:
        self._notifier.reloading()
        status = "the last reload failed"
        prepared: tuple[Generation, Outcome]
        try:
            prepared = await self._in_thread(self._prepare)
            generation, outcome = prepared
            self._refuse_if_impossible()  # the end may have begun meanwhile
            if outcome.changed:
                await self._swap(generation)
            status = f"{outcome.sites} sites, generation {outcome.generation}"
        finally:
            if not self._generations.router.draining:
                self._notifier.ready(status)
        return outcome

    async def _swap(self, generation: Generation) -> None:
        opened: dict[str, int] = {}
        if paths := self._generations.unopened(generation):
            try:
                opened = await self._in_thread(lambda: open_log_files(paths))
            except ConfigError as error:
                raise ConfigErrors([error]) from None
        self._generations.adopt(generation, opened)

    def _refuse_if_impossible(self) -> None:
        if self._read is None:
            raise ReloadRefusedError("there is no configuration file to read again")
        if self._generations.router.draining:
            raise ReloadRefusedError("the process is about to end")

    def _prepare(self) -> tuple[Generation, Outcome]:
        """Read and build, in a thread."""
        self._refuse_if_impossible()
        assert self._read is not None
        with _gentle():
            return self._built(self._read())

    def _built(self, wanted: Configuration) -> tuple[Generation, Outcome]:
        current = self._generations.current
        found = reloadable(current.configuration, wanted)
        last_good = None
        if found.restart_required:
            # What waits for a restart must be fit for it, and mistakes be told by their place.
            self._generations.check(wanted)
            # A listener that is gone from the file serves on, though its files may be gone too.
            last_good = current.certificates.served
        generation = self._generations.build(found.configuration, last_good=last_good)
        renewed = generation.certificates.renewed(current.certificates)
        changed = bool(renewed) or found.configuration != current.configuration
        changes = list(islice(differences(current.configuration, wanted), MOST_LINES))
        changes += [f"certificate {one.name}: renewed" for one in renewed[:MOST_LINES]]
        return generation, Outcome(
            changed,
            generation.number if changed else current.number,
            len(found.configuration.all_sites()),
            found.restart_required,
            tuple(generation.certificates.warnings),
            tuple(changes),
        )

    def _tell_failed(self, error: str) -> None:
        self._log.record("error", "CONFIG_RELOAD", (("status", "error"), ("error", error)))

    def _tell(self, outcome: Outcome) -> None:
        fields = (
            ("status", "success"),
            ("sites", outcome.sites),
            ("generation", outcome.generation),
            ("changed", outcome.changed),
        )
        self._log.record("info", "CONFIG_RELOAD", fields)
        if outcome.restart_required not in ((), self.restart_required):
            places = ", ".join(outcome.restart_required)
            message = (("message", f"restart required: {places}"),)
            self._log.record("warn", "RESTART_REQUIRED", message)
        self.restart_required = outcome.restart_required
        if outcome.changed:
            for warning in outcome.warnings:
                self._log.record("warn", "TLS_CERTIFICATE", (("error", warning),))


def in_one_line(errors: ConfigErrors) -> str:
    """Every mistake, as far as there is room for them, as the admin socket and the log have it."""
    told = [str(error) for error in errors.errors[:MOST_LINES]]
    if len(errors.errors) > MOST_LINES:
        told.append(f"and {len(errors.errors) - MOST_LINES} more")
    return f"config validation failed: {'; '.join(told)}"


def _gently(call: Callable[[], Any]) -> Callable[[], Any]:
    def gently() -> Any:
        with _gentle():
            return call()

    return gently


@contextmanager
def _gentle() -> Iterator[None]:
    """Let the reactor's thread interrupt this one soon, and nobody stop both to collect."""
    interval, collecting = sys.getswitchinterval(), gc.isenabled()
    sys.setswitchinterval(SWITCH_SECS)
    gc.disable()
    try:
        yield
    finally:
        sys.setswitchinterval(interval)
        if collecting:
            gc.enable()
