"""The process around the proxy: signals, exit statuses, and the order of a start."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable
from io import StringIO
from pathlib import Path
from typing import Any

from twisted.internet.defer import Deferred
from twisted.trial.unittest import SynchronousTestCase

from revproxy.control import process
from revproxy.control.early_signals import hold_signals
from revproxy.control.listening import BindError
from revproxy.control.process import obey_signals, or_exit, prepare, run
from revproxy.control.reload import ReloadRefusedError
from revproxy.control.resolution import Resolver
from revproxy.errors import ConfigError, ConfigErrors
from tests.support.doubles import RecordingLog
from tests.support.whole_proxy import FakeReactor

TERM, INT, HUP, USR1 = signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGUSR1


class RecordingProxy:
    """As much of a proxy as its process reaches; keeps what it was told, in order."""

    def __init__(self) -> None:
        self.told: list[str] = []
        self.log = RecordingLog()
        self.writer = self.reload = self.drain = self
        self.ending = False
        self.reloads: list[Deferred[None]] = []
        self.bind_error: BindError | None = None

    def privilegedStartService(self) -> None:
        self.told.append("bind")
        if self.bind_error is not None:
            raise self.bind_error

    def startService(self) -> None:
        self.told.append("serve")

    def stopService(self) -> None:
        self.told.append("stop")

    def end(self) -> None:
        self.told.append("end")
        self.ending = True

    def cut(self) -> None:
        self.told.append("cut")

    def request(self) -> Deferred[None]:
        self.told.append("reload")
        self.reloads.append(Deferred())
        return self.reloads[-1]

    def reopen(self) -> None:
        self.told.append("reopen")

    def close(self) -> None:
        self.told.append("close the log")


class ForegroundReactor(FakeReactor):
    """Runs until what a test has it do is done, as far as a process reaches it."""

    def __init__(self, told: list[str]) -> None:
        super().__init__()
        self.told = told
        self.triggers: list[tuple[str, str, Callable[[], object]]] = []
        self.resolver: object = None

    def installNameResolver(self, resolver: object) -> None:
        self.resolver = resolver

    def addSystemEventTrigger(self, phase: str, event: str, call: Callable[[], object]) -> None:
        self.triggers.append((phase, event, call))

    def run(self) -> None:
        """Run, and be stopped at once."""
        self.told.append("run")
        for call in self.when_running:
            call()
        for wanted in ("before", "after"):
            for phase, event, call in self.triggers:
                if (phase, event) == (wanted, "shutdown"):
                    call()


class SignalCase(SynchronousTestCase):
    """Signals that are delivered by hand."""

    def setUp(self) -> None:
        self.actions: dict[int, Callable[..., object]] = {}
        self.patch(signal, "signal", self.actions.__setitem__)
        self.proxy: Any = RecordingProxy()
        self.reactor = FakeReactor()

    def obey(self, **how: bool) -> None:
        """The reactor runs, and the proxy obeys."""
        obey_signals(self.proxy, self.reactor, **how)
        (install,) = self.reactor.when_running
        install()

    def signals(self, *numbers: int) -> list[str]:
        """What the proxy is told by signals ``numbers``."""
        self.proxy.told.clear()
        for number in numbers:
            self.actions[number](number, None)
        told: list[str] = self.proxy.told
        return told


class SignalTests(SignalCase):
    def test_wait_for_the_reactor(self) -> None:
        """Signal actions are installed once the reactor runs, after its own."""
        obey_signals(self.proxy, self.reactor)
        self.assertEqual(self.actions, {})
        self.reactor.when_running[0]()
        self.assertEqual(set(self.actions), {TERM, INT, HUP, USR1})

    def test_first_ends_and_second_cuts(self) -> None:
        """The first SIGTERM or SIGINT begins the end, each further one cuts what is left."""
        for numbers in ((TERM, TERM, TERM), (INT, TERM, INT)):
            self.proxy = RecordingProxy()
            self.reactor = FakeReactor()
            self.obey()
            self.assertEqual(self.signals(*numbers), ["end", "cut", "cut"])

    def test_first_after_a_command(self) -> None:
        """Where the end has been begun otherwise, the first signal cuts nothing yet."""
        self.obey()
        self.proxy.end()
        self.assertEqual(self.signals(TERM, TERM), ["end", "cut"])

    def test_in_the_reactor(self) -> None:
        """A signal is acted on in the reactor's turn, not where it interrupts."""
        later: list[Callable[[], None]] = []
        self.reactor.callFromThread = later.append  # type: ignore[method-assign,assignment]
        self.obey()
        self.assertEqual(self.signals(TERM), [])
        later[0]()
        self.assertEqual(self.proxy.told, ["end"])

    def test_log_files(self) -> None:
        """SIGUSR1 opens the log files again."""
        self.obey()
        self.assertEqual(self.signals(USR1), ["reopen"])

    def test_hangup_reloads(self) -> None:
        """SIGHUP reloads, each time, and ends nothing."""
        self.obey()
        self.assertEqual(self.signals(HUP, HUP), ["reload", "reload"])

    def test_hangup_of_a_terminal(self) -> None:
        """Where a terminal is what hangs up, SIGHUP ends the process as SIGTERM does."""
        self.obey(hangup_ends=True)
        self.assertEqual(self.signals(HUP, HUP), ["end", "cut"])

    def test_reload_that_fails(self) -> None:
        """What a reload by signal fails with is in the log already, and is told no second time."""
        self.obey()
        for failure in (ConfigErrors([ConfigError("a", "wrong")]), ReloadRefusedError("no")):
            self.signals(HUP)
            self.proxy.reloads[-1].errback(failure)
            self.successResultOf(self.proxy.reloads[-1])

    def test_mistake_of_our_own(self) -> None:
        """An unexpected failure of a reload by signal is logged at once, with its traceback."""
        self.obey()
        self.signals(HUP)
        self.proxy.reloads[-1].errback(KeyError("mistake"))
        self.successResultOf(self.proxy.reloads[-1])
        self.assertEqual(len(self.flushLoggedErrors(KeyError)), 1)


class HeldSignalTests(SynchronousTestCase):
    """Signals that are really sent, before anybody can act on them."""

    def setUp(self) -> None:
        for number in (TERM, INT, HUP, USR1):
            self.addCleanup(signal.signal, number, signal.getsignal(number))
        self.addCleanup(signal.pthread_sigmask, signal.SIG_UNBLOCK, {HUP, USR1})

    def test_start(self) -> None:
        """SIGHUP and SIGUSR1 during the start end nothing, and are acted on after it."""
        proxy: Any = RecordingProxy()
        reactor = FakeReactor()
        hold_signals()
        for number in (HUP, USR1, HUP):
            os.kill(os.getpid(), number)
        obey_signals(proxy, reactor)
        self.assertEqual((proxy.told, signal.sigpending()), ([], {HUP, USR1}))
        reactor.when_running[0]()
        self.assertEqual(proxy.told, ["reload", "reopen"])


class RunTests(SignalCase):
    def setUp(self) -> None:
        super().setUp()
        self.reactor: ForegroundReactor = ForegroundReactor(self.proxy.told)
        self.observers: list[object] = []
        self.patch(process, "globalLogBeginner", self)

    def beginLoggingTo(self, observers: list[object], *, redirectStandardIO: bool) -> None:
        """Twisted's own log begins."""
        self.assertFalse(redirectStandardIO)
        self.observers += observers
        self.proxy.told.append("log")

    def test_order(self) -> None:
        """Everything is bound and served before the loop runs, and the log is closed last."""
        run(self.proxy, self.reactor, lambda: self.proxy.told.append("started"))
        self.assertEqual(
            self.proxy.told,
            ["log", "bind", "serve", "run", "started", "stop", "close the log"],
        )
        self.assertIsInstance(self.reactor.resolver, Resolver)
        self.assertEqual(set(self.actions), {TERM, INT, HUP, USR1})
        self.assertEqual(self.signals(HUP), ["reload"])

    def test_hangup(self) -> None:
        """What SIGHUP means is as the caller says."""
        run(self.proxy, self.reactor, hangup_ends=True)
        self.assertEqual(self.signals(HUP), ["end"])

    def test_bind_error(self) -> None:
        """What cannot be bound ends the process before anything is served."""
        self.patch(sys, "__stderr__", StringIO())
        self.proxy.bind_error = BindError("cannot bind 127.0.0.1:80: Permission denied")
        exited = self.assertRaises(SystemExit, run, self.proxy, self.reactor)
        self.assertEqual((exited.code, self.proxy.told), (1, ["log", "bind"]))

    def test_log_of_twisted(self) -> None:
        """What Twisted has to say becomes records of the proxy's log."""
        run(self.proxy, self.reactor)
        (observe,) = self.observers
        observe({"log_format": "hello"})  # type: ignore[operator]
        self.assertEqual([event for _, event, _ in self.proxy.log.records], ["TWISTED"])

    def test_log_is_closed_after_everything(self) -> None:
        """The log is closed when the reactor has shut down, not while it does."""
        prepare(self.proxy, self.reactor)
        ((phase, event, close),) = self.reactor.triggers
        self.assertEqual((phase, event), ("after", "shutdown"))
        close()
        self.assertEqual(self.proxy.told, ["close the log"])


class ExitTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.errors = StringIO()
        self.patch(sys, "__stderr__", self.errors)

    def test_result(self) -> None:
        """What was made is handed on."""
        self.assertEqual(or_exit(lambda: 7), 7)

    def test_errors(self) -> None:
        """What cannot be made is plain words on standard error and exit status 1."""
        for failure in (
            BindError("cannot bind 127.0.0.1:80: Permission denied"),
            ConfigErrors([ConfigError("a", "wrong"), ConfigError("b", "wrong too")]),
        ):

            def fail(failure: Exception = failure) -> None:
                raise failure

            exited = self.assertRaises(SystemExit, or_exit, fail)
            self.assertEqual(exited.code, 1)
        self.assertEqual(
            self.errors.getvalue(),
            "cannot bind 127.0.0.1:80: Permission denied\na: wrong\nb: wrong too\n",
        )

    def test_pid_file(self) -> None:
        """The pid file that twistd has written already is taken away; none is no error."""

        def fail() -> None:
            raise BindError("no")

        path = Path(self.mktemp())
        path.write_text("1")
        self.assertRaises(SystemExit, or_exit, fail, str(path))
        self.assertFalse(path.exists())
        self.assertRaises(SystemExit, or_exit, fail, str(path))

    def test_other_errors(self) -> None:
        """A mistake of our own is not hidden."""

        def fail() -> None:
            raise KeyError("mistake")

        self.assertRaises(KeyError, or_exit, fail)
