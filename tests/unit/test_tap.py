"""``twistd revproxy``: its options, its verdicts, and the service that it makes."""

from __future__ import annotations

import os
import signal

from twisted.application.service import IServiceMaker
from twisted.plugin import IPlugin, getPlugins
from twisted.python.usage import UsageError

import revproxy
from revproxy import tap
from revproxy.settings import fields
from revproxy.tap import Options, makeService, twisted_log
from tests.support.commands import CommandCase


class OptionsTests(CommandCase):
    def validate(self, *more: str) -> object:
        return self.exit_status(
            Options().parseOptions, ["--config", str(self.path), "--validate", *more]
        )

    def test_configuration(self) -> None:
        """The options hold the configuration that they name."""
        options = Options()
        options.parseOptions(["-c", str(self.path)])
        self.assertEqual(options.configuration.listeners[0].sites[0].host, "a.test")

    def test_signals(self) -> None:
        """Signals that would end a process during its start wait from the options on."""
        self.assertEqual(self.held(), set())
        Options().parseOptions(["-c", str(self.path)])
        self.assertEqual(self.held(), {signal.SIGHUP, signal.SIGUSR1})

    def test_validate(self) -> None:
        """--validate prints what would be served and exits 0."""
        self.assertEqual(self.validate(), 0)
        self.assertEqual(self.printed.getvalue(), "configuration ok: 1 listeners, 1 sites\n")
        self.assertEqual(self.errors.getvalue(), "")

    def test_validate_warns(self) -> None:
        """Warnings go to standard error, and the verdict stays."""
        self.path.write_text(self.text.replace('"a.test"', '"b.test"'))
        self.assertEqual(self.validate(), 0)
        self.assertIn("configuration ok", self.printed.getvalue())
        self.assertTrue(self.errors.getvalue().startswith("warning: "))

    def test_invalid(self) -> None:
        """Every mistake goes to standard error, and the exit status is 1."""
        self.break_configuration()
        for options in (["-c", str(self.path)], ["-c", str(self.path), "--validate"]):
            self.errors.truncate(0)
            self.assertEqual(self.exit_status(Options().parseOptions, options), 1)
            self.assertEqual(self.errors.getvalue().strip("\0").count("\n"), 2)
        self.assertEqual(self.printed.getvalue(), "")

    def test_unusable_certificate(self) -> None:
        """--validate loads the certificates."""
        self.path.write_text(self.text.replace(".pem", ".nowhere"))
        self.assertEqual(self.validate(), 1)
        self.assertIn("listeners[0].tls", self.errors.getvalue())

    def test_wildcard(self) -> None:
        """--allow-wildcard-bind does what the key does."""
        self.path.write_text(self.text.replace('"127.0.0.1"', '"0.0.0.0"'))
        self.assertEqual(self.validate(), 1)
        self.assertEqual(self.validate("--allow-wildcard-bind"), 0)

    def test_missing_file(self) -> None:
        """A file that does not exist is an error in one line."""
        self.path.unlink()
        self.assertEqual(self.validate(), 1)
        self.assertIn(str(self.path), self.errors.getvalue())

    def test_version(self) -> None:
        """--version prints ours and not Twisted's."""
        self.assertEqual(self.exit_status(Options().parseOptions, ["--version"]), 0)
        self.assertEqual(self.printed.getvalue(), f"revproxy {revproxy.__version__}\n")

    def test_unknown_option(self) -> None:
        """An unknown option is a usage error."""
        self.assertRaises(UsageError, Options().parseOptions, ["--nonsense"])

    def test_logger_of_twistd(self) -> None:
        """Under twistd its own log is sent into ours, unless the user named another."""
        for named, expected in ((None, "revproxy.tap.twisted_log"), ("other.log", "other.log")):
            options = Options()
            options.parent = {"logger": named}
            options.parseOptions(["-c", str(self.path)])
            self.assertEqual(options.parent["logger"], expected)


class ReaderTests(CommandCase):
    def test_read_again(self) -> None:
        """Read again, the file says what it said at first, wherever the process has gone."""
        folder = self.path.absolute().parent
        (folder / "sub").mkdir()
        named = folder / "sub" / ".." / self.path.name
        self.path.write_text(self.text.replace('socket_path = ""', 'socket_path = "a.sock"'))
        self.addCleanup(os.chdir, os.getcwd())
        self.patch(fields, "LONGEST_SOCKET_PATH", 1000)
        for word in (str(named), os.path.join("sub", "..", self.path.name)):
            os.chdir(folder)
            options = Options()
            options.parseOptions(["-c", word])
            read = tap.reader(options)
            os.chdir("/")
            self.assertEqual(read(), options.configuration)

    def test_options(self) -> None:
        """It is read with the same options."""
        self.path.write_text(self.text.replace('"127.0.0.1"', '"0.0.0.0"'))
        options = Options()
        options.parseOptions(["-c", str(self.path), "--allow-wildcard-bind"])
        self.assertEqual(tap.reader(options)(), options.configuration)


class ServiceTests(CommandCase):
    def test_make_service(self) -> None:
        """The service is the proxy that the options configure, and nothing is bound yet."""
        options = Options()
        twistd = {"nodaemon": True, "pidfile": "/run/some.pid", "uid": 65534, "gid": None}
        options.parent = {"logger": None, **twistd}
        options.parseOptions(["-c", str(self.path)])
        self.patch(twisted_log(), "observer", None)
        obedient: list[object] = []
        self.patch(tap, "obey_signals", lambda *told: obedient.append(told))
        self.patch(tap, "prepare", lambda *told: obedient.append(told))
        proxy = makeService(options)
        self.assertIs(proxy.configuration, options.configuration)
        self.assertEqual(proxy.pid_file, "/run/some.pid")
        self.assertEqual(proxy.config_path, str(self.path.absolute()))
        self.assertEqual(proxy.owner, (65534, -1))
        self.assertIsNotNone(twisted_log().observer)
        self.assertFalse(proxy.running)
        self.assertEqual(obedient, [(proxy, proxy.reactor)] * 2)

    def test_early_events(self) -> None:
        """What Twisted says before there is a log is dropped, and handed on from then on."""
        observer = twisted_log()
        self.patch(observer, "observer", None)
        observer({"log_format": "early"})
        seen: list[object] = []
        observer.observer = seen.append
        observer({"log_format": "late"})
        self.assertEqual(seen, [{"log_format": "late"}])

    def test_plugin(self) -> None:
        """twistd finds the plugin under its name."""
        makers = [maker for maker in getPlugins(IServiceMaker) if maker.tapname == "revproxy"]
        self.assertEqual([maker.module for maker in makers], ["revproxy.tap"])
        self.assertTrue(IPlugin.providedBy(makers[0]))
