"""The ``revproxy`` command: what it accepts, prints and exits with."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
from pathlib import Path
from threading import Thread
from typing import Any

import revproxy
from revproxy import cli
from revproxy.control.admin import client
from revproxy.control.admin.client import NoAnswerError
from tests.support.commands import CommandCase


class CliTests(CommandCase):
    def test_validate(self) -> None:
        """``validate`` and ``run --validate`` say the same as twistd's option."""
        for words in (["validate"], ["run", "--validate"]):
            self.printed.seek(0)
            self.printed.truncate()
            self.assertEqual(self.exit_status(cli.main, [*words, "-c", str(self.path)]), 0)
            self.assertEqual(self.printed.getvalue(), "configuration ok: 1 listeners, 1 sites\n")

    def test_invalid(self) -> None:
        """A mistake ends every command with its words and exit status 1."""
        self.break_configuration()
        for words in (["validate"], ["run"], ["run", "--validate"]):
            self.assertEqual(self.exit_status(cli.main, [*words, "-c", str(self.path)]), 1)
        self.assertIn("burst", self.errors.getvalue())

    def test_signals(self) -> None:
        """``run`` lets signals wait before it reads anything; commands that soon end do not."""
        words = ["-c", str(self.path / "none")]
        self.assertEqual(self.exit_status(cli.main, ["validate", *words]), 1)
        self.assertEqual(self.held(), set())
        self.assertEqual(self.exit_status(cli.main, ["run", *words]), 1)
        self.assertEqual(self.held(), {signal.SIGHUP, signal.SIGUSR1})

    def test_wildcard(self) -> None:
        """--allow-wildcard-bind is an option here too."""
        self.path.write_text(self.text.replace('"127.0.0.1"', '"0.0.0.0"'))
        words = ["validate", "-c", str(self.path)]
        self.assertEqual(self.exit_status(cli.main, words), 1)
        self.assertEqual(self.exit_status(cli.main, [*words, "--allow-wildcard-bind"]), 0)

    def test_version(self) -> None:
        """``version`` and ``--version`` print the same."""
        cli.main(["version"])
        self.assertEqual(self.exit_status(cli.main, ["--version"]), 0)
        self.assertEqual(self.printed.getvalue(), f"revproxy {revproxy.__version__}\n" * 2)

    def test_no_command(self) -> None:
        """Without a command the usage is shown, with exit status 2."""
        for words in ([], ["nonsense"]):
            self.assertEqual(self.exit_status(cli.main, words), 2)
        self.assertIn("usage: revproxy", self.errors.getvalue())


class AdminTests(CommandCase):
    """The commands that ask a running proxy, which is the test.

    Attributes:
        asked: where, and what.
        reply: the answer; an exception for none.
    """

    COMMANDS = ("reload", "status", "sites", "certs", "connections", "reopen-logs", "drain")

    def setUp(self) -> None:
        super().setUp()
        self.asked: list[tuple[str, str]] = []
        self.reply: Any = {"status": "ok", "connections": 2}
        self.patch(cli, "ask", self.ask)
        self.text = self.text.replace('socket_path = ""', 'socket_path = "/run/a.sock"')
        self.path.write_text(self.text)

    def ask(self, path: str, command: str) -> Any:
        self.asked.append((path, command))
        if isinstance(self.reply, Exception):
            raise self.reply
        return self.reply

    def command(self, *words: str) -> object:
        """Give a command for the file; returns its exit status."""
        for kept in (self.printed, self.errors):
            kept.seek(0)
            kept.truncate()
        return self.exit_status(cli.main, [*words, "-c", str(self.path)])

    def test_commands(self) -> None:
        """Every command goes to the socket of the file by its own name."""
        for command in self.COMMANDS:
            self.assertEqual(self.command(command), 0)
            self.assertEqual(self.asked.pop(), ("/run/a.sock", command))
            self.assertNotEqual(self.printed.getvalue(), "")
            self.assertEqual(self.errors.getvalue(), "")

    def test_text(self) -> None:
        """A reply is shown for people, with exit status 0."""
        self.assertEqual(self.command("drain"), 0)
        self.assertEqual(self.printed.getvalue(), "draining: 2 connections to end\n")

    def test_refusal(self) -> None:
        """A reply that says why not goes to standard error, with exit status 1."""
        self.reply = {"status": "error", "message": "not \x1b permitted"}
        for command in self.COMMANDS:
            self.assertEqual(self.command(command), 1)
            self.assertEqual(self.errors.getvalue(), "not \\x1b permitted\n")
            self.assertEqual(self.printed.getvalue(), "")

    def test_json(self) -> None:
        """--json prints the reply as it came, with the same exit status."""
        for reply, status in (
            ({"status": "ok", "x": ["\x1b", "\u00e4"]}, 0),
            ({"status": "error", "message": "no"}, 1),
            ({}, 1),
        ):
            self.reply = reply
            self.assertEqual(self.command("status", "--json"), status)
            printed = self.printed.getvalue()
            self.assertEqual(json.loads(printed), reply)
            self.assertTrue(printed.rstrip("\n").isprintable() and printed.isascii())
            self.assertEqual(self.errors.getvalue(), "")

    def test_diff(self) -> None:
        """``reload --diff`` asks for a preview, and no other command has that option."""
        self.command("reload", "--diff")
        self.assertEqual(self.asked.pop(), ("/run/a.sock", "reload --diff"))
        self.asked.clear()
        for command in set(self.COMMANDS) - {"reload"}:
            self.assertEqual(self.command(command, "--diff"), 2)
        self.assertEqual(self.asked, [])

    def test_socket(self) -> None:
        """--socket names another one, whatever the file says."""
        self.command("status", "--socket", "b.sock")
        self.path.write_text(self.text.replace("/run/a.sock", ""))
        self.command("status", "--socket", "b.sock")
        self.path.unlink()
        self.command("status", "--socket", "b.sock")
        self.assertEqual(self.asked, [("b.sock", "status")] * 3)

    def test_off(self) -> None:
        """A proxy without a socket cannot be asked."""
        self.path.write_text(self.text.replace("/run/a.sock", ""))
        for more in ((), ("--json",)):
            self.assertEqual(self.command("status", *more), 1)
            message = f"{self.path}: admin_socket_path is off\n"
            self.assertEqual(self.errors.getvalue(), message)
            self.assertEqual(self.printed.getvalue(), "")
        self.assertEqual(self.asked, [])

    def test_invalid_files(self) -> None:
        """Neither a mistake in the file matters, nor that it is no TOML."""
        self.path.write_text(self.text + "[nonsense]\n")
        self.command("reload")
        self.path.write_text(self.text + "[")
        self.command("reload")
        self.assertEqual(self.asked[1::2], [("/run/a.sock", "reload")] * 2)

    def test_another_proxy(self) -> None:
        """What does something reaches no proxy that serves another file, unless it is named."""
        for served in ("/etc/other.toml", ""):
            self.reply = {"status": "ok", "connections": 2, "config": served}
            for command in ("reload", "reopen-logs", "drain"):
                self.asked.clear()
                self.assertEqual(self.command(command), 1)
                self.assertEqual(self.asked, [("/run/a.sock", "status")])
                text = f"serves {served or 'no file'}, not {self.path}: nothing was done"
                self.assertIn(text, self.errors.getvalue())
                self.assertEqual(self.command(command, "--socket", "/run/a.sock"), 0)

    def test_same_file(self) -> None:
        """A file may be named in any way."""
        link = self.path.with_name("link")
        link.symlink_to(self.path.absolute())
        self.reply = {"status": "ok", "connections": 2, "config": str(link.absolute())}
        self.assertEqual(self.command("drain"), 0)
        self.assertEqual(self.asked[-1], ("/run/a.sock", "drain"))

    def test_missing_file(self) -> None:
        """A file that is not there is an error, unless the socket is named."""
        self.path.unlink()
        self.assertEqual(self.command("drain"), 1)
        self.assertIn(f"{self.path}: cannot be read: No such file", self.errors.getvalue())
        self.command("drain", "--socket", "/run/b.sock")
        self.assertEqual(self.asked, [("/run/b.sock", "drain")])

    def test_empty_socket(self) -> None:
        """``--socket "$UNSET"`` does not mean the socket of the default file."""
        self.patch(cli, "ask", client.ask)
        self.assertEqual(self.command("drain", "--socket", ""), 1)
        self.assertIn("(is revproxy running?)", self.errors.getvalue())

    def test_no_answer(self) -> None:
        """Where nobody answers, that is said on standard error, with exit status 1."""
        self.reply = NoAnswerError("/run/a.sock: Connection refused")
        for more in ((), ("--json",)):
            self.assertEqual(self.command("status", *more), 1)
            self.assertEqual(self.errors.getvalue(), "/run/a.sock: Connection refused\n")
            self.assertEqual(self.printed.getvalue(), "")

    def test_default_file(self) -> None:
        """Without a file it is the one of ``run``."""
        self.patch(cli, "admin_path", lambda file: f"socket of {file}")
        self.exit_status(cli.main, ["status"])
        self.assertEqual(self.asked, [(f"socket of {cli.DEFAULT_CONFIG}", "status")])

    def test_help(self) -> None:
        """The help names every command with what it does."""
        self.patch(os, "environ", {**os.environ, "COLUMNS": "200"})
        self.assertEqual(self.exit_status(cli.main, ["--help"]), 0)
        for command in self.COMMANDS:
            self.assertRegex(self.printed.getvalue(), rf"\n +{command}\s+\w+ .*\w+")

    def test_real_socket(self) -> None:
        """A command and its reply pass through a socket."""
        folder = tempfile.TemporaryDirectory(prefix="revproxy-")
        self.addCleanup(folder.cleanup)
        path = str(Path(folder.name) / "admin.sock")
        heard: list[bytes] = []
        with socket.socket(socket.AF_UNIX) as listening:
            listening.bind(path)
            listening.listen()

            def answer() -> None:
                channel, _ = listening.accept()
                with channel:
                    heard.append(channel.recv(100))
                    channel.sendall(b'{"status":"ok"}\n')

            thread = Thread(target=answer)
            thread.start()
            self.patch(cli, "ask", client.ask)
            self.assertEqual(self.command("reopen-logs", "--socket", path), 0)
            thread.join(20)
        self.assertEqual(heard, [b"reopen-logs\n"])
        self.assertEqual(self.printed.getvalue(), "the log files have been opened again\n")


class ImportTests(CommandCase):
    """What is imported before a command has been chosen; in a process of its own."""

    def test_light(self) -> None:
        """Whoever only asks a running proxy, or holds signals back, does not wait for Twisted."""
        code = "import sys; import revproxy.cli; sys.exit('twisted' in sys.modules)"
        done = subprocess.run([sys.executable, "-c", code], check=False, timeout=60)
        self.assertEqual(done.returncode, 0)
