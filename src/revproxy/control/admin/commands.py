"""The admin commands: what each does and replies.

Owns the names and the shape of the replies; keys may be added to one, never taken away. Refuses
to know how a command came in.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping

from revproxy.control.admin.protocol import Reply, failed
from revproxy.control.reload import Outcome, Reload, ReloadRefusedError, in_one_line
from revproxy.control.renewal_tools import Attempt, told_moment
from revproxy.control.renewals import Renewals
from revproxy.control.status import MOST_ENTRIES, Status, listed
from revproxy.errors import ConfigErrors
from revproxy.model.seams import AccessLog

Command = Callable[[int], Awaitable[Reply]]
Renew = Callable[[str], Awaitable[Attempt | None]]


class Commands:
    """See the module.

    Args:
        status: answers what only asks.
        reload: serves another configuration.
        renewals: of automatic certificates.
        reopen: opens the log files again; gives a sentence for each that cannot be.
        stop: begins the orderly end of the process.
        log: told of every command that changes something, and who gave it.
    """

    def __init__(
        self,
        status: Status,
        reload: Reload,
        renewals: Renewals,
        reopen: Callable[[], Awaitable[list[str]]],
        stop: Callable[[], None],
        log: AccessLog,
    ) -> None:
        self._status = status
        self._reload = reload
        self._renewals = renewals
        self._reopen = reopen
        self._stop = stop
        self._log = log
        self._commands: Mapping[str, Command] = {
            "reload": self._reloaded,
            "reload --diff": self._previewed,
            "status": self._told_status,
            "sites": self._told_sites,
            "certs": self._told_certificates,
            "connections": self._told_connections,
            "reopen-logs": self._reopened,
            "drain": self._drained,
        }

    async def answer(self, command: str, user: int) -> Reply:
        """Carry ``command`` out for ``user`` and make the reply."""
        words = command.split()
        carry_out = self._commands.get(" ".join(words))
        if carry_out is not None:
            return await carry_out(user)
        if words[:3] == ["certs", "renew", "--dry-run"] and len(words) == 4:
            return await self._renewed(words[3], user, self._renewals.rehearse)
        if words[:2] == ["certs", "renew"] and len(words) == 3:
            return await self._renewed(words[2], user, self._renewals.renew)
        return failed(f"unknown command: {command}")

    async def _reloaded(self, user: int) -> Reply:
        self._tell("reload", user)
        return await self._outcome(self._reload.request())

    async def _previewed(self, user: int) -> Reply:
        return await self._outcome(self._reload.preview())

    async def _outcome(self, reloading: Awaitable[Outcome]) -> Reply:
        try:
            outcome = await reloading
        except ConfigErrors as errors:
            mistakes = [
                {"path": error.path, "message": error.message}
                for error in errors.errors[:MOST_ENTRIES]
            ]
            refused = failed(in_one_line(errors))
            return {**refused, "errors": mistakes, "generation": self._status.generation}
        except ReloadRefusedError as refusal:
            return failed(str(refusal))
        return {
            "status": "ok",
            "changed": outcome.changed,
            "generation": outcome.generation,
            "sites": outcome.sites,
            "restart_required": list(outcome.restart_required),
            "warnings": list(outcome.warnings[:MOST_ENTRIES]),
            "changes": list(outcome.changes),
        }

    async def _told_status(self, user: int) -> Reply:
        return {"status": "ok", **self._status.summary()}

    async def _told_sites(self, user: int) -> Reply:
        return {"status": "ok", **listed("sites", self._status.sites())}

    async def _told_certificates(self, user: int) -> Reply:
        return {"status": "ok", **listed("certificates", self._status.certificates())}

    async def _renewed(self, name: str, user: int, renew: Renew) -> Reply:
        """An order may take longer than anybody waits; it goes on then."""
        self._tell(f"certs renew {name}", user)
        attempt = await renew(name.lower())
        if attempt is None:
            return failed(f"no automatic certificate is for {name}")
        if attempt.error:
            return failed(attempt.error)
        return {"status": "ok", "name": name, "not_after": told_moment(attempt.not_after)}

    async def _told_connections(self, user: int) -> Reply:
        return {"status": "ok", **listed("connections", self._status.open_connections())}

    async def _reopened(self, user: int) -> Reply:
        self._tell("reopen-logs", user)
        failures = await self._reopen()
        if failures:
            return failed(f"still written to as they were: {'; '.join(failures[:MOST_ENTRIES])}")
        return {"status": "ok"}

    async def _drained(self, user: int) -> Reply:
        self._tell("drain", user)
        self._stop()
        return {"status": "ok", "connections": self._status.open}

    def _tell(self, command: str, user: int) -> None:
        self._log.record("info", "ADMIN", (("command", command), ("uid", user)))
