"""Replies of the admin socket as people see them."""

from __future__ import annotations

import json
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from revproxy.cli import _ADMIN_COMMANDS
from revproxy.control.admin.text import harmless, shown

COMMANDS = (*_ADMIN_COMMANDS, "reload --diff")

RELOADED: dict[str, Any] = {
    "status": "ok",
    "changed": True,
    "generation": 7,
    "sites": 2,
    "restart_required": [],
    "warnings": [],
    "changes": ["site c.test: added"],
}

STATUS: dict[str, Any] = {
    "status": "ok",
    "uptime_secs": 93784,
    "sites": 2,
    "version": "1.2",
    "pid": 4711,
    "config": "/etc/a.toml",
    "generation": 3,
    "draining": False,
    "drain_left_secs": None,
    "restart_required": [],
    "listeners": ["192.0.2.1 port 443", "192.0.2.1 port 80"],
    "connections": {
        "open": 9,
        "in_flight": 4,
        "upgraded": 2,
        "waiting": 1,
        "limit": 100,
        "accepting": True,
    },
    "requests": {"total": 15, "2xx": 1, "3xx": 2, "4xx": 3, "5xx": 4},
    "log_lines_lost": 0,
    "log_failures": {},
    "upstreams": [],
    "certificates": [],
}

UPSTREAM = {
    "upstream": "127.0.0.1:3000",
    "scheme": "http",
    "open": 12,
    "idle": 0,
    "made": 345,
    "failures": 6,
    "dead": True,
}

CERTIFICATE = {
    "name": "a.test",
    "kind": "acme",
    "next_attempt": "2026-12-03T03:04:05Z",
    "not_after": "2027-01-02T03:04:05Z",
    "days_left": 89.5,
    "source": "/etc/a.pem",
    "error": None,
}

CONNECTION = {
    "client_ip": "203.0.113.5",
    "state": "response",
    "age_secs": 1.5,
    "server_name": "",
    "host": "a.test",
    "method": "GET",
    "path": "/x",
}

ESCAPE = "\x1b]0;owned\x07\x9b31m\r\n\u202eeman\ud800"

anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3)
    ),
    max_leaves=5,
)
"""Any value that JSON may hold."""


class ReloadTextTests(SynchronousTestCase):
    def test_reloaded(self) -> None:
        """A reload is a sentence, and so is one that changed nothing."""
        self.assertEqual(shown("reload", RELOADED), "reloaded: 2 sites, generation 7")
        reply = {**RELOADED, "changed": False, "sites": 1}
        self.assertEqual(shown("reload", reply), "nothing has changed: 1 site, generation 7")

    def test_remarks(self) -> None:
        """What waits for a restart and what is doubtful come after it, a line each."""
        remarks = {"restart_required": ["logging.level", "b"], "warnings": ["no certificate"]}
        lines = [
            "restart required: logging.level",
            "restart required: b",
            "warning: no certificate",
        ]
        self.assertEqual(shown("reload", {**RELOADED, **remarks}).split("\n")[1:], lines)
        self.assertEqual(shown("reload --diff", {**RELOADED, **remarks}).split("\n")[1:], lines)

    def test_restart_alone(self) -> None:
        """Where everything that differs waits for a restart, that is said."""
        remarks = {"changed": False, "restart_required": ["a"], "changes": ["a: 1 -> 2"]}
        reply = {**RELOADED, **remarks}
        text = "nothing applies: 2 sites, generation 7\nrestart required: a"
        self.assertEqual(shown("reload", reply), text)
        text = "a: 1 -> 2\nnothing of this would apply\nrestart required: a"
        self.assertEqual(shown("reload --diff", reply), text)

    def test_preview(self) -> None:
        """A preview is a line for every change, or says that there is none."""
        reply = {**RELOADED, "changes": ["one", "two"]}
        self.assertEqual(shown("reload --diff", reply), "one\ntwo")
        reply = {**RELOADED, "changes": []}
        self.assertEqual(shown("reload --diff", reply), "nothing would change")


class StatusTextTests(SynchronousTestCase):
    def lines(self, **changes: Any) -> list[str]:
        return shown("status", {**STATUS, **changes}).split("\n")

    def test_status(self) -> None:
        """The figures come first, then a table of upstreams and one of certificates."""
        self.assertEqual(
            self.lines(upstreams=[UPSTREAM], certificates=[CERTIFICATE]),
            [
                "serving 2 sites for 1 d 2 h",
                "version 1.2, pid 4711, generation 3",
                "configuration: /etc/a.toml",
                "listening on 192.0.2.1 port 443, 192.0.2.1 port 80",
                "connections: 9 open, 4 in flight, 2 upgraded, 1 waiting; at most 100",
                "requests: 15, 1 with 2xx, 2 with 3xx, 3 with 4xx, 4 with 5xx",
                "",
                "UPSTREAM        SCHEME  OPEN  IDLE  MADE  FAILURES  DEAD",
                "127.0.0.1:3000  http    12    0     345   6         yes",
                "",
                "NAME    KIND  NOT_AFTER             DAYS_LEFT  SOURCE      "
                "NEXT_ATTEMPT          ERROR",
                "a.test  acme  2027-01-02T03:04:05Z  89.5       /etc/a.pem  "
                "2026-12-03T03:04:05Z  -",
            ],
        )

    def test_draining(self) -> None:
        """A process that is about to end says so, and how long it may take."""
        line = self.lines(draining=True, drain_left_secs=12.4)[1]
        self.assertEqual(line, "draining: what is left is cut in 12 s")

    def test_nothing_bound(self) -> None:
        """A process that listens nowhere says that, and one that has read no file."""
        lines = self.lines(listeners=[], config="")
        self.assertEqual(lines[2:4], ["configuration: of no file", "listening on nothing"])

    def test_limits(self) -> None:
        """No limit is called that; that nothing is accepted is said, too."""
        connections = {**STATUS["connections"], "limit": 0, "accepting": False}
        line = self.lines(connections=connections)[4]
        self.assertIn("at most no limit (none is accepted until some have ended)", line)

    def test_trouble(self) -> None:
        """Trouble with the log and what waits for a restart are lines of their own."""
        failures = {"stdout": "No space left on device"}
        lines = self.lines(log_lines_lost=5, log_failures=failures, restart_required=["listeners"])
        self.assertEqual(
            lines[6:10],
            [
                "log lines lost: 5",
                "log stdout: No space left on device",
                "restart required: listeners",
                "",
            ],
        )

    def test_durations(self) -> None:
        """A time is told in its two largest units."""
        for seconds, text in (
            (0, "0 s"),
            (59, "59 s"),
            (60, "1 min"),
            (3599, "59 min 59 s"),
            (3600, "1 h"),
            (3601, "1 h 1 s"),
            (86399, "23 h 59 min"),
            (86400 * 100 + 60, "100 d 1 min"),
        ):
            self.assertEqual(self.lines(uptime_secs=seconds)[0], f"serving 2 sites for {text}")


class TableTests(SynchronousTestCase):
    def test_sites(self) -> None:
        """Columns are as wide as their widest cell; yes and no stand for true and false."""
        addresses = [["192.0.2.1", "::1"], []]
        sites = [
            {"host": "a.test", "upstream": "x", "upstream_scheme": "http", "certificate": True},
            {"host": "b", "upstream": "y", "upstream_scheme": "https", "certificate": False},
        ]
        sites = [{**one, "listeners": where} for one, where in zip(sites, addresses, strict=True)]
        self.assertEqual(
            shown("sites", {"status": "ok", "sites": sites}).split("\n"),
            [
                "HOST    UPSTREAM  UPSTREAM_SCHEME  LISTENERS      CERTIFICATE",
                "a.test  x         http             192.0.2.1,::1  yes",
                "b       y         https            -              no",
            ],
        )

    def test_certificates(self) -> None:
        """``certs`` is the table that ``status`` ends with."""
        reply = {**STATUS, "certificates": [CERTIFICATE]}
        self.assertTrue(shown("status", reply).endswith("\n\n" + shown("certs", reply)))

    def test_connections(self) -> None:
        """What is not known is a dash."""
        reply = {"status": "ok", "connections": [CONNECTION]}
        self.assertEqual(
            shown("connections", reply).split("\n"),
            [
                "CLIENT_IP    STATE     AGE_SECS  SERVER_NAME  HOST    METHOD  PATH",
                "203.0.113.5  response  1.5       -            a.test  GET     /x",
            ],
        )

    def test_empty(self) -> None:
        """An empty table is its first line alone."""
        text = shown("connections", {"status": "ok", "connections": []})
        self.assertEqual(text, "CLIENT_IP  STATE  AGE_SECS  SERVER_NAME  HOST  METHOD  PATH")

    def test_escaped_cell(self) -> None:
        """A cell is as wide as it is once it is escaped."""
        row = {**CONNECTION, "method": "\x1b"}
        text = shown("connections", {"status": "ok", "connections": [row]})
        head, line = text.split("\n")
        self.assertEqual(head.index("PATH"), line.index("/x"))

    def test_left_out(self) -> None:
        """How many entries were left out is said below the table."""
        for total, more in ((1001, ["... and 1000 more"]), (2, ["... and 1 more"]), (1, [])):
            reply = {"status": "ok", "connections": [CONNECTION], "connections_total": total}
            self.assertEqual(shown("connections", reply).split("\n")[2:], more)


class OtherTextTests(SynchronousTestCase):
    def test_reopen_logs(self) -> None:
        """What was done is said."""
        text = shown("reopen-logs", {"status": "ok"})
        self.assertEqual(text, "the log files have been opened again")

    def test_drain(self) -> None:
        """How many connections are waited for is said."""
        text = shown("drain", {"status": "ok", "connections": 1})
        self.assertEqual(text, "draining: 1 connection to end")
        text = shown("drain", {"status": "ok", "connections": 0})
        self.assertEqual(text, "draining: 0 connections to end")

    def test_errors(self) -> None:
        """A failure is its message; mistakes in a file are a line each, with their place."""
        reply = {"status": "error", "message": "not permitted"}
        for command in COMMANDS:
            self.assertEqual(shown(command, reply), "not permitted")
        mistakes = [{"path": "a.b", "message": "wrong"}, {"path": "", "message": "no listener"}]
        text = shown("reload", {**reply, "errors": mistakes})
        self.assertEqual(text, "a.b: wrong\nno listener")
        text = shown("reload", {**reply, "errors": mistakes[:1], "generation": 4})
        self.assertEqual(text, "refused; generation 4 goes on being served:\na.b: wrong")
        self.assertEqual(shown("reload", {**reply, "errors": []}), "not permitted")


class HostileTests(SynchronousTestCase):
    def test_harmless(self) -> None:
        """Printable ASCII stays as it is, and everything else is escaped."""
        printable = "".join(map(chr, range(0x20, 0x7F)))
        self.assertEqual(harmless(printable), printable)
        self.assertEqual(harmless("\x00\n\x1b\x7f\x9b"), "\\x00\\n\\x1b\\x7f\\x9b")
        self.assertEqual(harmless("\u202e\U0001f600\ud800"), "\\u202e\\U0001f600\\ud800")

    def test_everywhere(self) -> None:
        """No string of a reply, wherever it stands, reaches the terminal as it is."""
        row = {key: ESCAPE for one in (UPSTREAM, CERTIFICATE, CONNECTION) for key in one}
        row |= dict.fromkeys(("upstream_scheme", "certificate", "path", "message"), ESCAPE)
        lists = ("upstreams", "certificates", "sites", "connections")
        texts = ("restart_required", "warnings", "changes")
        reply = {**RELOADED, **STATUS, "version": ESCAPE, "pid": ESCAPE, "generation": ESCAPE}
        reply |= {key: [ESCAPE, [ESCAPE + "a", "a" + ESCAPE]] for key in texts}
        reply["listeners"] = [ESCAPE]
        tables = {key: [row] for key in lists}
        for command in COMMANDS:
            for more in ({}, tables, {"status": "error", "message": ESCAPE, "errors": [row]}):
                text = shown(command, {**reply, **more})
                self.assertTrue(text.replace("\n", "").isprintable() and text.isascii(), text)

    def test_other_version(self) -> None:
        """A reply that lacks something, or has it otherwise, is shown as it is."""
        for command in set(COMMANDS) - {"reopen-logs"}:
            self.assertEqual(shown(command, {"status": "ok"}), '{"status": "ok"}')
        for reply in (
            {"status": "error"},
            {"status": "error", "message": "x", "errors": ["wrong"]},
            {"status": "error", "message": "x", "errors": [{"path": "a"}]},
        ):
            self.assertEqual(shown("reload", reply), json.dumps(reply))
        reply = {**STATUS, "connections": 5}
        self.assertEqual(shown("status", reply), json.dumps(reply))
        self.assertEqual(shown("nonsense", reply), json.dumps(reply))

    @settings(max_examples=300, deadline=None)
    @given(st.sampled_from(COMMANDS), st.dictionaries(st.sampled_from([*STATUS]), anything))
    def test_any_reply(self, command: str, changes: dict[str, Any]) -> None:
        """Any reply is shown in some way, in printable ASCII."""
        text = shown(command, {**RELOADED, **STATUS, **changes})
        self.assertTrue(text.replace("\n", "").isprintable() and text.isascii())
