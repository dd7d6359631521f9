"""The proxy as a Twisted service: everything a configuration asks for, bound and served.

Owns what there is of each part, and the order of start and stop. Refuses to know how the process
was started (``tap.py``, ``cli.py``) and how any part does its work.
"""

from __future__ import annotations

import gc
import os
import time
from collections.abc import Awaitable, Callable, MutableMapping
from functools import partial
from random import SystemRandom
from typing import Any

from twisted.application.service import MultiService, Service
from twisted.internet.defer import Deferred
from twisted.internet.threads import deferToThreadPool

import revproxy
from revproxy.control.admin.commands import Commands
from revproxy.control.admin.protocol import AdminPort
from revproxy.control.admin.socket import AdminSocket
from revproxy.control.certificate_watch import CertificateWatch
from revproxy.control.certificates import load_certificates
from revproxy.control.descriptors import SPARE, raise_descriptor_limit
from revproxy.control.drain import Drain
from revproxy.control.generation import Generations, check_log_files
from revproxy.control.health import HealthPort, health_site
from revproxy.control.inherited import InheritedSockets
from revproxy.control.listening import BindError, PortService
from revproxy.control.log_writer import LogWriter
from revproxy.control.record_log import JsonRecords, RecordLog, Records, TextRecords
from revproxy.control.reload import Reload
from revproxy.control.renewals import Renewals
from revproxy.control.status import Status
from revproxy.control.systemd import Notifier, Watchdog
from revproxy.control.threads import daemon_threads
from revproxy.control.workshop import Workshop
from revproxy.errors import ConfigError, ConfigErrors
from revproxy.model.configuration import Configuration
from revproxy.net.deadlines import Deadlines
from revproxy.net.gate import Gate
from revproxy.net.plan import ListenerPort
from revproxy.net.ports import PlainPort, StreamPort, TlsPort
from revproxy.policy.connection_limit import ConnectionLimit
from revproxy.tls.acme.answering import Answering
from revproxy.tls.acme.requests import authority_requests
from revproxy.tls.acme.wanted import all_wanted
from revproxy.tls.certificates import Identities

READING_THREADS = 2
"""One reload at a time, and a look at certificate files beside it."""


class Proxy(MultiService):
    """The whole proxy. Attributes are for those who control it and for tests.

    Args:
        configuration: valid.
        reactor: everything happens in it.
        wall: seconds since 1970.
        read: reads the configuration anew; None where it came from no file.
        environ: what a service manager has set for the process is taken out of it.
        threads: where files are read; of its own by default, as a file system may hang.
        config_path: where the configuration came from, for those who ask.
        owner: user and group that the process will run as, where these are not its own yet.

    Raises:
        ConfigErrors: a certificate or a log file cannot be used, or there are too few descriptors.
    """

    def __init__(
        self,
        configuration: Configuration,
        reactor: Any,
        wall: Callable[[], float] = time.time,
        *,
        read: Callable[[], Configuration] | None = None,
        environ: MutableMapping[str, str] | None = None,
        threads: Any = None,
        config_path: str = "",
        owner: tuple[int, int] | None = None,
    ) -> None:
        super().__init__()
        self._threads = threads or daemon_threads(READING_THREADS, "reading")
        environ = {} if environ is None else environ
        self.configuration = configuration
        self.config_path = config_path
        self.owner = owner
        self.reactor = reactor
        self.ending = False
        self.notifier = Notifier.from_environment(environ)
        self.inherited = InheritedSockets.from_environment(environ)
        self.writer, self.log = _open_log(configuration, wall)
        self.deadlines = Deadlines(reactor)
        self.connections: ConnectionLimit[Any] = ConnectionLimit()
        self.gate = Gate(self.connections, reactor)
        descriptors = raise_descriptor_limit()
        self.most_descriptors = descriptors - SPARE
        self.answering = Answering(wall)
        self.workshop = Workshop(
            reactor, self.deadlines, self.log, wall, self.most_descriptors, self.answering.http
        )
        self.generations = Generations(
            configuration,
            self.workshop,
            self.writer,
            self.connections,
            self.gate,
            descriptors,
            wall,
            self.answering,
        )
        self.router = self.generations.router
        self.reload = Reload(read, self.generations, self._in_thread, self.log, self.notifier)
        self.renewals = self._renewals(wall)
        self.generations.adopted = self.renewals.refresh
        self.generations.failed = self.renewals.look
        timeout = configuration.shutdown_timeout_secs
        self.drain = Drain(reactor, self.router, self.connections, self.gate, self.log, timeout)
        self.ports = self._ports()
        self.status = Status(
            self.generations,
            self.reload,
            self.drain,
            self.deadlines,
            self.writer,
            self.ports,
            self.renewals,
            wall,
            config_path,
        )
        for service in (*self._control_services(), *self.ports, *self._background(wall)):
            service.setServiceParent(self)

    def _control_services(self) -> list[HealthPort | AdminSocket]:
        services: list[HealthPort | AdminSocket] = []
        if port := self.configuration.health_check_port:
            site = health_site(self.status.missing, self.reactor)
            services.append(HealthPort(self.reactor, port, site, self.inherited))
        if path := self.configuration.admin_socket_path:
            commands = Commands(
                self.status, self.reload, self.renewals, self.reopen_logs, self.end, self.log
            )
            port_of_admin = AdminPort(commands.answer, self.reactor)
            services.append(
                AdminSocket(
                    self.reactor, path, port_of_admin, self.log, self.inherited, self.owner
                )
            )
        return services

    def _ports(self) -> list[PortService]:
        services = []
        shared = self.router, self.deadlines, self.connections, self.gate
        limits = self.inherited, self.most_descriptors
        for listener in self.configuration.listeners:
            address, https = listener.bind_addr, listener.https_port
            choose = self.generations.current.certificates.selections[address, https]
            secure = TlsPort(
                ListenerPort(*shared, True, address, https), self.answering.before(choose)
            )
            self.generations.tls_ports[address, https] = secure
            self.generations.ports.append(((address, https), secure))
            services.append(PortService(self.reactor, address, https, secure, *limits))
            if listener.http_port:
                plain = PlainPort(ListenerPort(*shared, False, address, https))
                self.generations.ports.append(((address, https), plain))
                services.append(
                    PortService(self.reactor, address, listener.http_port, plain, *limits)
                )
        self.generations.tell_ports()
        for stream in self.configuration.streams:
            backend = self.generations.workshop.stream_backend(stream, self.configuration.limits)
            port = StreamPort(ListenerPort(*shared, False, stream.bind_addr, 0), backend)
            services.append(
                PortService(self.reactor, stream.bind_addr, stream.port, port, *limits)
            )
        return services

    def _background(self, wall: Callable[[], float]) -> list[Service]:
        watch = CertificateWatch(
            self.reactor,
            lambda: self.generations.current.certificates,
            self.reload.certificates,
            self._in_thread,
            self.log,
            wall,
        )
        return [watch, self.renewals, Watchdog(self.notifier, self.reactor)]

    def _renewals(self, wall: Callable[[], float]) -> Renewals:
        return Renewals(
            self.reactor,
            wall,
            lambda: all_wanted(self.generations.current.configuration),
            self.reload.certificates,
            self._in_thread,
            self.log,
            self.answering,
            partial(authority_requests, self.reactor, wall, SystemRandom().random),
        )

    def _in_thread(self, call: Callable[[], Any]) -> Awaitable[Any]:
        return deferToThreadPool(self.reactor, self._threads, call)

    def privilegedStartService(self) -> None:
        """Bind everything.

        Raises:
            BindError: an address cannot be bound; nothing is left of those that could.
        """
        try:
            super().privilegedStartService()
        except BindError:
            for service in self:
                service.stopService()
            raise
        for name in self.inherited.close_rest():
            fields = (("address", name), ("error", "no listener has this address"))
            self.log.record("warn", "INHERITED_SOCKET", fields)

    def startService(self) -> None:
        """Serve."""
        self.writer.start()
        self.deadlines.start()
        for warning in self.generations.current.certificates.warnings:
            self.log.record("warn", "TLS_CERTIFICATE", (("error", warning),))
        super().startService()
        sites = len(self.configuration.all_sites())
        started = (
            ("listeners", len(self.configuration.listeners)),
            ("sites", sites),
            ("max_connections", self.connections.most),
            ("version", revproxy.__version__),
            ("pid", os.getpid()),
            ("config", self.config_path),
        )
        self.log.record("info", "START", started)
        gc.collect()
        gc.freeze()
        self.reactor.callWhenRunning(self.notifier.ready, f"{sites} sites, generation 1")

    def reopen_logs(self) -> Deferred[list[str]]:
        """Open the log files again; gives a sentence for each that cannot be."""
        reopened: Deferred[list[str]] = Deferred()
        self.writer.reopen(lambda found: self.reactor.callFromThread(reopened.callback, found))
        return reopened

    def end(self) -> None:
        """Begin the orderly end of the process."""
        if not self.ending:
            self.ending = True
            self.reactor.callLater(0, self.reactor.stop)

    def stopService(self) -> Deferred[None]:
        """Accept no more, let what is in flight finish, and let go of everything.

        The log stays open: exchanges that the reactor cuts at its end have their records to
        write. ``writer.close`` comes after that.
        """
        return Deferred.fromCoroutine(self._stop())

    async def _stop(self) -> None:
        self.notifier.stopping("waiting for requests under way")
        for port in self.ports:
            port.stopService()
        await self.drain.begin()
        await super().stopService()
        self.deadlines.stop()
        self.workshop.close()
        self.log.record("info", "STOP", ())


def check(configuration: Configuration, now: float) -> tuple[str, list[str]]:
    """What ``--validate`` does beyond reading the file: load the certificates.

    Returns:
        the sentence to print, and warnings.

    Raises:
        ConfigErrors: a certificate or a log file cannot be used.
    """
    check_log_files(configuration)
    warnings = load_certificates(configuration, Identities(), now).warnings
    listeners, sites = len(configuration.listeners), len(configuration.all_sites())
    return f"configuration ok: {listeners} listeners, {sites} sites", warnings


def _open_log(
    configuration: Configuration, wall: Callable[[], float]
) -> tuple[LogWriter, RecordLog]:
    logging = configuration.logging
    records: Records = TextRecords(wall) if logging.format == "text" else JsonRecords(wall)
    try:
        writer = LogWriter(records, logging.log_file_path)
    except ConfigError as error:
        raise ConfigErrors([error]) from None
    return writer, RecordLog(records, logging.level, writer.write)
