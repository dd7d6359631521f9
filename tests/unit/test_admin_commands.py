"""The admin commands: what each does, replies and leaves in the log."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from attrs import evolve
from twisted.internet.defer import Deferred

from revproxy.control import status as control_status
from revproxy.control.admin import commands as admin_commands
from revproxy.control.admin.commands import Commands
from revproxy.control.proxy import Proxy
from revproxy.errors import ConfigError, ConfigErrors
from revproxy.model.configuration import Configuration, RateLimit
from tests.support.doubles import RecordingLog
from tests.support.models import site
from tests.support.tls_peers import NOW
from tests.support.whole_proxy import ProxyCase

USER = 1042


class CommandCase(ProxyCase):
    """The commands over a whole proxy, which binds nothing."""

    def setUp(self) -> None:
        super().setUp()
        self.log = RecordingLog()
        self.served = self.configuration(health_check_port=9900)
        self.wanted: Configuration | ConfigErrors = self.served
        self.stops = self.reopened = 0
        self.stale: list[str] = []
        self.use(self.read)

    def use(self, read: Callable[[], Configuration] | None) -> None:
        """Make a proxy whose file ``read`` reads."""
        self.proxied = Proxy(
            self.served, self.reactor, lambda: NOW, read=read, threads=self.reactor
        )
        self.addCleanup(self.proxied.writer.close)
        self.commands = Commands(
            self.proxied.status,
            self.proxied.reload,
            self.proxied.renewals,
            self.reopen,
            self.stop,
            self.log,
        )

    def read(self) -> Configuration:
        if isinstance(self.wanted, ConfigErrors):
            raise self.wanted
        return self.wanted

    def stop(self) -> None:
        self.stops += 1

    async def reopen(self) -> list[str]:
        """As of the proxy."""
        self.reopened += 1
        return self.stale

    def reply(self, command: str) -> dict[str, Any]:
        """What ``command`` is replied to."""
        answering = Deferred.fromCoroutine(self.commands.answer(command, USER))
        reply: dict[str, Any] = self.successResultOf(answering)
        return reply

    def change(self, **fields: object) -> None:
        """Change the file."""
        assert isinstance(self.wanted, Configuration)
        self.wanted = evolve(self.wanted, **fields)


class QuestionTests(CommandCase):
    def test_status(self) -> None:
        """``status`` begins with what the contract names, in its order."""
        self.reactor.advance(1234.9)
        reply = self.reply("status")
        self.assertEqual(
            list(reply.items())[:3], [("status", "ok"), ("uptime_secs", 1234), ("sites", 2)]
        )
        self.assertEqual(reply.keys() - {"status"}, self.proxied.status.summary().keys())

    def test_sites(self) -> None:
        """``sites`` lists every site in file order."""
        reply = self.reply("sites")
        self.assertEqual((list(reply), reply["status"]), (["status", "sites"], "ok"))
        self.assertEqual([entry["host"] for entry in reply["sites"]], ["a.test", "b.test"])

    def test_certificates(self) -> None:
        """``certs`` lists every certificate."""
        reply = self.reply("certs")
        self.assertEqual((list(reply), reply["status"]), (["status", "certificates"], "ok"))
        self.assertEqual([entry["name"] for entry in reply["certificates"]], ["a.test"])

    def test_connections(self) -> None:
        """``connections`` lists the open ones."""
        self.assertEqual(self.reply("connections"), {"status": "ok", "connections": []})

    def test_bounds(self) -> None:
        """A list has so many entries; of a longer one the number in all is beside it."""
        self.patch(control_status, "MOST_ENTRIES", 1)
        reply = self.reply("sites")
        self.assertEqual(len(reply["sites"]), 1)
        self.assertEqual(reply["sites_total"], 2)

    def test_quiet(self) -> None:
        """What only asks leaves nothing in the log."""
        for command in ("status", "sites", "certs", "connections", "reload --diff", "nonsense"):
            self.reply(command)
        self.assertEqual(self.log.records, [])


class UnknownTests(CommandCase):
    def test_unknown(self) -> None:
        """Anything else is named in the reply, as it came."""
        for command in ("stop", "Status", "reload now", "reload  --force", "stätus", "-", "\x1b["):
            message = f"unknown command: {command}"
            self.assertEqual(self.reply(command), {"status": "error", "message": message})

    def test_spaces(self) -> None:
        """Words may stand apart by more than a space."""
        self.assertEqual(self.reply("reload \t --diff")["status"], "ok")


class ReloadTests(CommandCase):
    KEYS = (
        "status",
        "changed",
        "generation",
        "sites",
        "restart_required",
        "warnings",
        "changes",
    )

    def test_nothing_new(self) -> None:
        """A file that is as it was is served as it is."""
        reply = self.reply("reload")
        self.assertEqual(tuple(reply), self.KEYS)
        self.assertEqual(
            (reply["status"], reply["changed"], reply["generation"], reply["sites"]),
            ("ok", False, 1, 2),
        )
        self.assertEqual((reply["restart_required"], reply["changes"]), ([], []))
        self.assertIn("b.test", reply["warnings"][0])

    def test_change(self) -> None:
        """A changed file is served from now on, and the reply says what is different."""
        self.change(sites=(site("c.test"),), health_check_port=9901)
        reply = self.reply("reload")
        self.assertEqual((reply["changed"], reply["generation"], reply["sites"]), (True, 2, 3))
        self.assertEqual(reply["restart_required"], ["health_check_port"])
        self.assertEqual(len(reply["warnings"]), 2)
        self.assertIn("c.test", " ".join(reply["changes"]))
        self.assertEqual(self.reply("status")["sites"], 3)

    def test_told(self) -> None:
        """The log says who has asked for a reload, also for one that fails."""
        expected = ("info", "ADMIN", {"command": "reload", "uid": USER})
        self.reply("reload")
        self.wanted = ConfigErrors([ConfigError("a", "wrong")])
        self.reply("reload")
        self.assertEqual(self.log.records, [expected] * 2)

    def test_mistakes(self) -> None:
        """A file with mistakes is not served; the reply has each with its place."""
        self.wanted = ConfigErrors(
            [ConfigError("rate_limit.burst", "must be 1"), ConfigError("a.toml", "unreadable")]
        )
        expected = {
            "status": "error",
            "message": "config validation failed: rate_limit.burst: must be 1; a.toml: unreadable",
            "errors": [
                {"path": "rate_limit.burst", "message": "must be 1"},
                {"path": "a.toml", "message": "unreadable"},
            ],
            "generation": 1,
        }
        for command in ("reload", "reload --diff"):
            self.assertEqual(self.reply(command), expected)
        self.assertEqual(self.reply("status")["generation"], 1)

    def test_many_mistakes(self) -> None:
        """So many mistakes are listed and no more."""
        self.patch(admin_commands, "MOST_ENTRIES", 2)
        self.wanted = ConfigErrors([ConfigError("a", "wrong")] * 3)
        self.assertEqual(len(self.reply("reload")["errors"]), 2)

    def test_many_warnings(self) -> None:
        """So many warnings are listed and no more."""
        self.patch(admin_commands, "MOST_ENTRIES", 2)
        self.change(sites=tuple(site(f"{name}.test") for name in "cde"))
        self.assertEqual(len(self.reply("reload")["warnings"]), 2)

    def test_no_file(self) -> None:
        """What came from no file cannot be read again."""
        self.use(None)
        message = "there is no configuration file to read again"
        for command in ("reload", "reload --diff"):
            self.assertEqual(self.reply(command), {"status": "error", "message": message})

    def test_preview(self) -> None:
        """``reload --diff`` says what would change, and changes nothing."""
        self.change(rate_limit=RateLimit(1, 2))
        preview = self.reply("reload --diff")
        self.assertEqual(tuple(preview), self.KEYS)
        self.assertEqual((preview["changed"], preview["generation"]), (True, 2))
        self.assertNotEqual(preview["changes"], [])
        self.assertEqual(self.reply("status")["generation"], 1)
        self.assertEqual(self.reply("reload"), preview)


class OtherTests(CommandCase):
    def test_reopen_logs(self) -> None:
        """``reopen-logs`` opens the files again, and the log says who wanted it."""
        self.assertEqual(self.reply("reopen-logs"), {"status": "ok"})
        self.assertEqual(self.reopened, 1)
        told = {"command": "reopen-logs", "uid": USER}
        self.assertEqual(self.log.records, [("info", "ADMIN", told)])

    def test_logs_that_cannot_be_opened(self) -> None:
        """Where a file cannot be opened again, the reply names it and says why."""
        self.stale = ["/a: no such directory", "/b: permission denied"]
        message = "still written to as they were: /a: no such directory; /b: permission denied"
        self.assertEqual(self.reply("reopen-logs"), {"status": "error", "message": message})

    def test_drain(self) -> None:
        """``drain`` begins the end, tells how many connections it waits for, and is logged."""
        self.proxied.connections.enter(1, object())
        self.assertEqual(self.reply("drain"), {"status": "ok", "connections": 1})
        self.assertEqual(self.stops, 1)
        told = {"command": "drain", "uid": USER}
        self.assertEqual(self.log.records, [("info", "ADMIN", told)])
