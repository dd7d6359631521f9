"""The proxy as a Twisted service: everything a configuration asks for, bound and served.

Owns the order of start and stop. Refuses to know how the process was started (``tap.py``,
``cli.py``).
"""

from __future__ import annotations

import gc
import time
from collections.abc import Callable
from typing import Any

from attrs import define, field
from twisted.application.service import MultiService, Service
from twisted.internet.error import CannotListenError

from revproxy.control.descriptors import most_connections, raise_descriptor_limit
from revproxy.control.generation import Certificates, Workshop, load_certificates
from revproxy.control.log_writer import LogWriter
from revproxy.control.record_log import JsonRecords, RecordLog, Records, TextRecords
from revproxy.errors import ConfigError, ConfigErrors
from revproxy.model.configuration import Configuration
from revproxy.net.deadlines import Deadlines
from revproxy.net.plan import ListenerPort, ResourceRouter
from revproxy.net.ports import PlainPort, TlsPort
from revproxy.net.transport import listen
from revproxy.policy.connection_limit import ConnectionLimit
from revproxy.tls.certificates import Identities


class BindError(Exception):
    """An address could not be bound; says which and why."""


@define(eq=False)
class PortService(Service):
    """One listening port.

    Attributes:
        reactor: to listen with.
        address: an IP address.
        port: a TCP port.
        factory: makes the connections' protocols.
    """

    reactor: Any
    address: str
    port: int
    factory: Any
    _listening: Any = field(default=None, init=False)

    def privilegedStartService(self) -> None:
        """Bind, before a change of user.

        Raises:
            BindError: the address cannot be bound.
        """
        try:
            self._listening = listen(self.reactor, self.port, self.factory, self.address)
        except CannotListenError as error:
            reason = getattr(error.socketError, "strerror", None) or error.socketError
            where = f"[{self.address}]" if ":" in self.address else self.address
            raise BindError(f"cannot bind {where}:{self.port}: {reason}") from None

    def stopService(self) -> Any:
        """Accept no more."""
        super().stopService()
        listening, self._listening = self._listening, None
        return None if listening is None else listening.stopListening()


class Proxy(MultiService):
    """The whole proxy. Attributes are for those who control it and for tests.

    Args:
        configuration: valid.
        reactor: everything happens in it.
        wall: seconds since 1970.

    Raises:
        ConfigErrors: a certificate or a log file cannot be used.
    """

    def __init__(
        self, configuration: Configuration, reactor: Any, wall: Callable[[], float] = time.time
    ) -> None:
        super().__init__()
        self.configuration = configuration
        self.reactor = reactor
        self.certificates: Certificates = load_certificates(configuration, Identities(), wall())
        self.writer, self.log = _open_log(configuration, wall)
        self.deadlines = Deadlines(reactor)
        self.connections: ConnectionLimit[Any] = ConnectionLimit()
        descriptors = raise_descriptor_limit()
        self.max_connections = configuration.limits.max_connections or most_connections(
            descriptors
        )
        self.connections.configure(
            self.max_connections, configuration.limits.max_connections_per_ip
        )
        self.workshop = Workshop(reactor, self.deadlines, self.log, wall)
        self.router = ResourceRouter(self.workshop.plan(configuration))
        for service in self._ports():
            service.setServiceParent(self)

    def _ports(self) -> list[PortService]:
        services = []
        for listener in self.configuration.listeners:
            address, https = listener.bind_addr, listener.https_port
            shared = self.router, self.deadlines, self.connections
            secure = ListenerPort(*shared, True, address, https)
            choose = self.certificates.selections[address, https]
            services.append(PortService(self.reactor, address, https, TlsPort(secure, choose)))
            if listener.http_port:
                plain = ListenerPort(*shared, False, address, https)
                services.append(
                    PortService(self.reactor, address, listener.http_port, PlainPort(plain))
                )
        return services

    def startService(self) -> None:
        """Serve."""
        self.writer.start()
        self.deadlines.start()
        for warning in self.certificates.warnings:
            self.log.record("warn", "TLS_CERTIFICATE", (("error", warning),))
        super().startService()
        started = (
            ("listeners", len(self.configuration.listeners)),
            ("sites", len(self.configuration.all_sites())),
            ("max_connections", self.max_connections),
        )
        self.log.record("info", "START", started)
        gc.collect()
        gc.freeze()

    def stopService(self) -> Any:
        """Accept no more, and let go of what is idle.

        The log stays open: exchanges that the reactor cuts at its end have their records to
        write. ``writer.close`` comes after that.
        """
        stopping = super().stopService()
        self.deadlines.stop()
        self.workshop.close()
        self.log.record("info", "STOP", ())
        return stopping


def check(configuration: Configuration, now: float) -> tuple[str, list[str]]:
    """What ``--validate`` does beyond reading the file: load the certificates.

    Returns:
        the sentence to print, and warnings.

    Raises:
        ConfigErrors: a certificate cannot be used.
    """
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
        writer.use_files(
            {site.log_file_path for site in configuration.all_sites() if site.log_file_path}
        )
    except ConfigError as error:
        raise ConfigErrors([error]) from None
    return writer, RecordLog(records, logging.level, writer.write)
