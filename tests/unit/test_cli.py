"""The ``revproxy`` command: what it accepts, prints and exits with."""

from __future__ import annotations

import revproxy
from revproxy import cli
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
