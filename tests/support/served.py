"""Generations that are served without a port: everything real but sockets, threads and time.

Owns the stage on which configurations are reloaded, and the certificates on disk that a test
spoils. Refuses to know what is asserted.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from attrs import evolve
from twisted.internet.defer import Deferred, execute
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from revproxy.control import workshop as workshop_module
from revproxy.control.drain import Drain
from revproxy.control.generation import Generations
from revproxy.control.log_writer import LogWriter
from revproxy.control.record_log import TextRecords
from revproxy.control.reload import Outcome, Reload
from revproxy.control.workshop import Workshop
from revproxy.errors import ConfigError, ConfigErrors
from revproxy.model.configuration import CertificatePair, Configuration
from revproxy.net.deadlines import Deadlines
from revproxy.net.gate import Gate
from revproxy.net.plan import ListenerPort
from revproxy.net.ports import TlsPort
from revproxy.policy.connection_limit import ConnectionLimit
from revproxy.policy.rate_limit import TokenBuckets
from revproxy.tls.acme.answering import Answering
from revproxy.tls.self_signed import self_signed, write_pair
from tests.support.doubles import RecordingLog
from tests.support.models import ADDRESS, configuration, listener, site
from tests.support.tls_peers import NOW

DESCRIPTORS = 1000
"""Files that the process is said to be allowed."""


def mistaken(*messages: str) -> ConfigErrors:
    """What reading a file with mistakes in it raises."""
    return ConfigErrors([ConfigError(f"sites[{at}]", text) for at, text in enumerate(messages)])


class HeldThreads:
    """A thread pool: calls are made at once or, while they are held, when a test says so."""

    def __init__(self) -> None:
        self.held = False
        self.waiting: list[tuple[Callable[[], Any], Deferred[Any]]] = []
        self.made = 0

    def __call__(self, call: Callable[[], Any]) -> Deferred[Any]:
        """Call ``call`` in a thread."""
        if not self.held:
            self.made += 1
            return execute(call)
        done: Deferred[Any] = Deferred()
        self.waiting.append((call, done))
        return done

    def run(self) -> None:
        """Make the call that has waited longest, and tell what it returned or raised."""
        call, done = self.waiting.pop(0)
        self.made += 1
        execute(call).chainDeferred(done)


class RecordingNotifier:
    """A service manager's ear: keeps what it was told, in order."""

    watchdog_secs = 0.0

    def __init__(self) -> None:
        self.heard: list[str] = []

    def ready(self, status: str) -> None:
        """Served again."""
        self.heard.append(f"ready: {status}")

    def reloading(self) -> None:
        """A reload has begun."""
        self.heard.append("reloading")

    def stopping(self, status: str) -> None:
        """The end has begun."""
        self.heard.append(f"stopping: {status}")


class ConfigurationFile:
    """What is read at a reload; the test writes it.

    Attributes:
        now: the configuration that it holds, or what is raised instead.
        reads: how often it was read.
    """

    def __init__(self, holds: Configuration) -> None:
        self.now: Configuration | Exception = holds
        self.reads = 0

    def read(self) -> Configuration:
        """Read it."""
        self.reads += 1
        if isinstance(self.now, Exception):
            raise self.now
        return self.now


class ServedCase(SynchronousTestCase):
    """A folder of certificates, and what serves configurations that use them.

    Attributes:
        folder: where certificates and log files of the test are.
        wall: seconds since 1970, set by the test.
        writer: the real one, whose standard output is a file.
    """

    def setUp(self) -> None:
        # 48 MiB of buckets for each test would take longer than the test.
        self.patch(workshop_module, "TokenBuckets", lambda *limit: TokenBuckets(*limit, 1024))
        self.folder = Path(self.mktemp()).absolute()
        self.folder.mkdir()
        self.wall = NOW
        self.reactor: Any = Clock()
        self.log = RecordingLog()
        self.writer = self._writer()
        self.connections: ConnectionLimit[Any] = ConnectionLimit()

    def _writer(self) -> LogWriter:
        printed = os.open(self.folder / "stdout", os.O_WRONLY | os.O_CREAT, 0o600)
        self.addCleanup(os.close, printed)
        writer = LogWriter(TextRecords(lambda: self.wall), stdout=printed)
        self.addCleanup(writer.close)
        return writer

    def pair(self, name: str, days: int = 30) -> CertificatePair:
        """A pair for ``name``, made anew at its usual place."""
        return write_pair(self.folder / name, *self_signed([name], now=self.wall, days=days))

    def configuration(self, *hosts: str, **fields: Any) -> Configuration:
        """One listener with a site and a certificate for each of ``hosts``."""
        pairs = tuple(
            CertificatePair(
                str(self.folder / host / "fullchain.pem"), str(self.folder / host / "privkey.pem")
            )
            for host in hosts
        )
        one = listener(*map(site, hosts), pairs=pairs)
        return configuration(evolve(one, http_port=8080, https_port=8443), **fields)

    def serve(self, whole: Configuration, deadlines: Deadlines | None = None) -> Generations:
        """Serve ``whole`` as the first generation, by one TLS port."""
        deadlines = Deadlines(self.reactor) if deadlines is None else deadlines
        self.gate = Gate(self.connections, self.reactor)
        workshop = Workshop(self.reactor, deadlines, self.log, lambda: self.wall)
        self.generations = generations = Generations(
            whole,
            workshop,
            self.writer,
            self.connections,
            self.gate,
            DESCRIPTORS,
            lambda: self.wall,
            Answering(lambda: self.wall),
        )
        self.port = ListenerPort(
            generations.router, deadlines, self.connections, self.gate, True, ADDRESS, 8443
        )
        where = (ADDRESS, 8443)
        self.tls_port = TlsPort(self.port, generations.current.certificates.selections[where])
        generations.tls_ports[where] = self.tls_port
        return generations

    def told(self, event: str) -> list[dict[str, object]]:
        """The fields of every record of ``event`` so far, with its level."""
        return [
            {"level": level, **fields} for level, name, fields in self.log.records if name == event
        ]


class ReloadCase(ServedCase):
    """The site ``a.test`` is served, from a file that can be read again."""

    def setUp(self) -> None:
        super().setUp()
        self.pair("a.test")
        self.file = ConfigurationFile(self.configuration("a.test"))
        self.threads = HeldThreads()
        self.notifier = RecordingNotifier()
        self.serve(self.file.read())
        self.file.reads = 0
        self.reload = self.reload_by(self.file.read)

    def reload_by(self, read: Callable[[], Configuration] | None) -> Reload:
        """What reloads by ``read``."""
        notifier: Any = self.notifier
        return Reload(read, self.generations, self.threads, self.log, notifier)

    def reloaded(self) -> Outcome:
        """What has come of a reload, which has to succeed."""
        outcome: Outcome = self.successResultOf(self.reload.request())
        return outcome

    def drain(self) -> None:
        """The process is about to end."""
        router = self.generations.router
        Drain(self.reactor, router, self.connections, self.gate, self.log, 30).begin()

    def mistakes(self, asked: Deferred[Any]) -> list[str]:
        """Every mistake that ``asked`` has failed with, as the file's reader is told it."""
        failure = self.failureResultOf(asked, ConfigErrors)
        return [str(error) for error in failure.value.errors]

    def state(self) -> tuple[object, ...]:
        """Everything that a reload replaces, to see that one has not."""
        generations = self.generations
        plan = generations.router.plan
        pools = tuple(generations.workshop.pools)
        limits = (plan.limiter.rate, plan.limiter.burst, self.connections.most)
        return generations.current, plan, pools, self.tls_port.choose, limits
