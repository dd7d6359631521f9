"""The proxy as a service: what is bound, how it begins and ends, and what it says if it cannot."""

from __future__ import annotations

import errno
import gc
import os
import sys
from io import StringIO
from pathlib import Path
from typing import Any

from attrs import evolve
from twisted.internet.error import CannotListenError
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from revproxy.control import listening as control_listening
from revproxy.control.listening import BindError
from revproxy.control.process import obey_signals, or_exit
from revproxy.control.proxy import Proxy, check
from revproxy.errors import ConfigError, ConfigErrors
from revproxy.model.configuration import Configuration, Limits, Logging
from tests.support.models import configuration, listener, pair, site
from tests.support.tls_peers import NOW


class FakeListening:
    """A port that listens nowhere."""

    def __init__(self, where: tuple[str, int], factory: Any) -> None:
        self.where = where
        self.factory = factory
        self.socket = self
        self.stopped = False
        self.transport: Any = None

    def setsockopt(self, *_: object) -> None:
        """Options have no effect."""

    def doRead(self) -> None:
        """Nothing is in the backlog."""

    def stopListening(self) -> None:
        """Accept no more."""
        self.stopped = True


class FakeReactor(Clock):
    """Binds everything but what is ``taken``."""

    def __init__(self) -> None:
        super().__init__()
        self.taken: dict[int, OSError] = {}
        self.ports: list[FakeListening] = []
        self.running = False
        self.when_running: list[Any] = []
        self.stops = 0

    def listen(
        self, reactor: Any, port: int, factory: Any, interface: str, **_: object
    ) -> FakeListening:
        if port in self.taken:
            raise CannotListenError(interface, port, self.taken[port])
        self.ports.append(FakeListening((interface, port), factory))
        return self.ports[-1]

    def callWhenRunning(self, call: Any, *arguments: object) -> None:
        self.when_running.append(call)

    def getThreadPool(self) -> FakeReactor:
        return self

    def callInThreadWithCallback(self, done: Any, call: Any) -> None:
        """What is to be done in a thread is done at once."""
        done(True, call())

    def callFromThread(self, call: Any, *arguments: object) -> None:
        call(*arguments)

    def stop(self) -> None:
        self.stops += 1


class ProxyCase(SynchronousTestCase):
    """A proxy whose log goes into a file."""

    def setUp(self) -> None:
        self.reactor = FakeReactor()
        self.patch(control_listening, "listen", self.reactor.listen)
        self.log_path = Path(self.mktemp())
        self.addCleanup(gc.unfreeze)
        self.printed_path = self.redirect_standard_output()

    def redirect_standard_output(self) -> Path:
        """Let descriptor 1 be a file for the time of the test; returns its path."""
        path = Path(self.mktemp())
        assert sys.__stdout__ is not None
        sys.__stdout__.flush()
        kept = os.dup(1)
        self.addCleanup(os.close, kept)
        self.addCleanup(os.dup2, kept, 1)
        with path.open("wb") as file:
            os.dup2(file.fileno(), 1)
        return path

    def configuration(self, **fields: Any) -> Configuration:
        """One listener, two sites of which one has no certificate."""
        sites = site("a.test"), site("b.test")
        one = evolve(listener(*sites, pairs=(pair("a.test"),)), http_port=8080, https_port=8443)
        fields.setdefault("logging", Logging(log_file_path=str(self.log_path)))
        fields = {"health_check_port": 0, "admin_socket_path": "", **fields}
        return configuration(one, **fields)

    def proxy(self, **fields: Any) -> Proxy:
        return Proxy(self.configuration(**fields), self.reactor, lambda: NOW)


class BindTests(ProxyCase):
    def test_ports(self) -> None:
        """Both ports of a listener are bound before anything is served."""
        proxy = self.proxy()
        self.assertEqual(self.reactor.ports, [])
        proxy.privilegedStartService()
        where = {port.where for port in self.reactor.ports}
        self.assertEqual(where, {("127.0.0.1", 8080), ("127.0.0.1", 8443)})
        self.assertEqual(self.reactor.getDelayedCalls(), [])

    def test_no_plain_port(self) -> None:
        """http_port 0 is off."""
        whole = self.configuration()
        one = evolve(whole.listeners[0], http_port=0)
        proxy = Proxy(evolve(whole, listeners=(one,)), self.reactor, lambda: NOW)
        proxy.privilegedStartService()
        self.assertEqual([port.where[1] for port in self.reactor.ports], [8443])

    def test_taken(self) -> None:
        """A port that is taken fails the start with its address and the reason."""
        self.reactor.taken[8080] = OSError(errno.EADDRINUSE, "Address already in use")
        proxy = self.proxy()
        error = self.assertRaises(BindError, proxy.privilegedStartService)
        self.assertEqual(str(error), "cannot bind 127.0.0.1:8080: Address already in use")

    def test_reason_without_number(self) -> None:
        """A reason that is no system error is shown as it is, an IPv6 address in brackets."""
        whole = self.configuration()
        one = evolve(whole.listeners[0], bind_addr="::1")
        self.reactor.taken[8443] = ValueError("no such thing")  # type: ignore[assignment]
        proxy = Proxy(evolve(whole, listeners=(one,)), self.reactor, lambda: NOW)
        error = self.assertRaises(BindError, proxy.privilegedStartService)
        self.assertEqual(str(error), "cannot bind [::1]:8443: no such thing")


class LifeTests(ProxyCase):
    def test_start_and_stop(self) -> None:
        """A start and a stop are records, ports and timers are gone at the end."""
        proxy = self.proxy(limits=Limits(max_connections=77))
        proxy.privilegedStartService()
        proxy.startService()
        self.assertNotEqual(self.reactor.getDelayedCalls(), [])
        self.successResultOf(proxy.stopService())
        self.assertTrue(all(port.stopped for port in self.reactor.ports))
        self.assertEqual(self.reactor.getDelayedCalls(), [])
        proxy.writer.close()
        log = self.log_path.read_text()
        self.assertIn("INFO START listeners=1 sites=2 max_connections=77", log)
        self.assertIn("WARN TLS_CERTIFICATE", log)
        self.assertTrue(log.rstrip().endswith("INFO STOP"))
        self.assertEqual(self.printed_path.read_text(), log)

    def test_json(self) -> None:
        """The log has the format that was asked for."""
        proxy = self.proxy(logging=Logging(format="json", log_file_path=str(self.log_path)))
        proxy.privilegedStartService()
        proxy.startService()
        self.successResultOf(proxy.stopService())
        proxy.writer.close()
        self.assertTrue(self.log_path.read_text().startswith("{"))

    def test_unusable_log(self) -> None:
        """A log file that cannot be opened fails the start before anything is bound."""
        with self.assertRaises(ConfigErrors):
            self.proxy(logging=Logging(log_file_path="/nowhere/at/all.log"))
        self.assertEqual(self.reactor.ports, [])

    def test_unusable_certificate(self) -> None:
        """A certificate that cannot be used fails the start before anything is bound."""
        whole = self.configuration()
        tls = evolve(whole.listeners[0].tls, pairs=(evolve(pair("a.test"), key_path="/none"),))
        one = evolve(whole.listeners[0], tls=tls)
        with self.assertRaises(ConfigErrors):
            Proxy(evolve(whole, listeners=(one,)), self.reactor, lambda: NOW)
        self.assertEqual(self.reactor.ports, [])

    def test_check(self) -> None:
        """--validate counts what would be served, and warns of sites without a certificate."""
        verdict, warnings = check(self.configuration(), NOW)
        self.assertEqual(verdict, "configuration ok: 1 listeners, 2 sites")
        self.assertEqual(len(warnings), 1)
        self.assertIn("b.test", warnings[0])


class SignalledProxy:
    """As much of a proxy as signals reach."""

    def __init__(self) -> None:
        self.writer = self

    def reopen(self) -> None:
        """Never called here."""


class ProcessTests(SynchronousTestCase):
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

    def test_signals_wait_for_the_reactor(self) -> None:
        """Signal actions are installed once the reactor runs, after its own."""
        reactor = FakeReactor()
        obey_signals(SignalledProxy(), reactor)  # type: ignore[arg-type]
        self.assertEqual(len(reactor.when_running), 1)
