"""What is being served now, and its replacement as a whole.

Owns the present generation, and the swap to another one that has been built completely before.
Refuses to know when and why that happens (``reload``, ``certificate_watch``), and sockets.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from typing import Any

from attrs import evolve, frozen

from revproxy.control.certificates import Certificates, Served, load_certificates
from revproxy.control.descriptors import connections_allowed
from revproxy.control.log_sink import check_log_file
from revproxy.control.log_writer import LogWriter
from revproxy.control.workshop import Compiled, Workshop
from revproxy.errors import ConfigError, ConfigErrors
from revproxy.model.configuration import Configuration
from revproxy.net.gate import Gate
from revproxy.net.plan import ResourceRouter
from revproxy.net.ports import PlainPort, TlsPort
from revproxy.policy.connection_limit import ConnectionLimit
from revproxy.tls.acme.answering import Answering
from revproxy.tls.acme.wanted import all_wanted, cache_dirs
from revproxy.tls.certificates import Identities


@frozen(eq=False)
class Generation:
    """One configuration, ready to be served.

    Attributes:
        number: 1 for the first one, then counting up.
        configuration: what it was built from.
        certificates: what its listeners present.
        compiled: its plan and pools.
        most_connections: downstream connections at once.
    """

    number: int
    configuration: Configuration
    certificates: Certificates
    compiled: Compiled
    most_connections: int


class Generations:
    """The present generation and the way to the next.

    Args:
        configuration: of the first one.
        workshop: compiles.
        writer: has the log files of sites.
        connections: the open ones.
        gate: of all ports.
        descriptors: how many files and sockets may be open.
        wall: seconds since 1970.
        answering: answers validations in handshakes.

    Attributes:
        current: what is served.
        router: shared by all listeners.
        workshop: as given, and so the next two.
        connections: the open ones.
        gate: of all ports.
        tls_ports: of the listeners, by address and port; they are told of new certificates.
        ports: of the listeners, with the address and https port of each.
        adopted: called after each swap.
        failed: told of the files of certificates that cannot be used, of each once.

    Raises:
        ConfigErrors: a certificate or a log file cannot be used, or there are too few descriptors.
    """

    def __init__(
        self,
        configuration: Configuration,
        workshop: Workshop,
        writer: LogWriter,
        connections: ConnectionLimit[Any],
        gate: Gate,
        descriptors: int,
        wall: Callable[[], float],
        answering: Answering,
    ) -> None:
        self._answering = answering
        self.adopted: Callable[[], None] = lambda: None
        self.failed: Callable[[Collection[str]], None] = lambda paths: None
        self._writer = writer
        self._descriptors = descriptors
        self._wall = wall
        self._identities = Identities()
        self.workshop = workshop
        self.connections = connections
        self.gate = gate
        self.tls_ports: dict[tuple[str, int], TlsPort] = {}
        self.ports: list[tuple[tuple[str, int], TlsPort | PlainPort]] = []
        self.current = self._built(configuration, 1, None, {})
        self.router = ResourceRouter(self.current.compiled.plan)
        self.adopt(self.current)

    def build(
        self, configuration: Configuration, *, last_good: Served | None = None
    ) -> Generation:
        """Build the next generation. Nothing that is served changes, so a thread may do it.

        Args:
            configuration: that is to be served.
            last_good: what goes on being served where a pair cannot be used.

        Raises:
            ConfigErrors: a certificate or a log file of a site cannot be used, or there are too
                few descriptors.
        """
        current = self.current
        return self._built(
            configuration, current.number + 1, last_good, current.certificates.served
        )

    def _built(
        self,
        configuration: Configuration,
        number: int,
        last_good: Served | None,
        presented: Served,
    ) -> Generation:
        _check(self._writer.unopened(_log_files(configuration)))
        return Generation(
            number,
            configuration,
            load_certificates(configuration, self._identities, self._wall(), last_good, presented),
            self.workshop.compile(configuration),
            connections_allowed(
                configuration.limits, self._descriptors, len(_log_files(configuration))
            ),
        )

    def check(self, configuration: Configuration) -> None:
        """See that ``configuration`` could be served after a restart. A thread may do it.

        Raises:
            ConfigErrors: a certificate or a log file cannot be used.
        """
        check_log_files(configuration)
        load_certificates(configuration, self._identities, self._wall())

    def unopened(self, generation: Generation) -> frozenset[str]:
        """The log files that :meth:`adopt` would have to open, which may take its time."""
        return self._writer.unopened(_log_files(generation.configuration))

    def adopt(self, generation: Generation, opened: Mapping[str, int] | None = None) -> None:
        """Serve ``generation`` from now on; exchanges under way end with what they began with.

        Args:
            generation: that has been built.
            opened: descriptors of the log files that were :meth:`unopened`, if there are any yet.

        Raises:
            ConfigErrors: a log file cannot be opened; everything stays as it is.
        """
        try:
            self._writer.use_files(_log_files(generation.configuration), opened)
        except ConfigError as error:
            raise ConfigErrors([error]) from None
        self.workshop.adopt(generation.compiled)
        limits = generation.configuration.limits
        promoted = self.connections.configure(
            generation.most_connections, limits.max_connections_per_ip
        )
        for transport in promoted:
            transport.admit()
        self.gate.left()
        self._answering.keep(cache_dirs(all_wanted(generation.configuration)))
        self.router.plan = generation.compiled.plan
        former, self.current = self.current, generation
        self.tell_ports()
        self._present(generation.certificates)
        self.adopted()
        self._tell_failed(former.certificates)

    def reload_certificates(self) -> Certificates:
        """Read the certificates of the present generation again, for :meth:`adopt_certificates`.

        A pair that cannot be used is kept as it is. A thread may do this.
        """
        served = self.current.certificates.served
        return load_certificates(
            self.current.configuration, self._identities, self._wall(), last_good=served
        )

    def adopt_certificates(self, certificates: Certificates) -> None:
        """Present ``certificates`` from the next handshake on."""
        former, self.current = self.current, evolve(self.current, certificates=certificates)
        self._present(certificates)
        self._tell_failed(former.certificates)

    def _tell_failed(self, former: Certificates) -> None:
        known = {error.path for error in former.failures}
        failed = {error.path for error in self.current.certificates.failures} - known
        if failed:
            self.failed(failed)

    def tell_ports(self) -> None:
        """Tell the ports what they pass through, and who sends a PROXY header."""
        generation = self.current
        for where, port in self.tls_ports.items():
            port.passed = generation.compiled.passed[where]
        senders = {
            (one.bind_addr, one.https_port): one.proxy_protocol
            for one in generation.configuration.listeners
        }
        for where, each in self.ports:
            each.senders = senders[where]

    def _present(self, certificates: Certificates) -> None:
        for where, port in self.tls_ports.items():
            port.choose = self._answering.before(certificates.selections[where])


def check_log_files(configuration: Configuration) -> None:
    """See that the log files of ``configuration`` could be opened; none is made.

    Raises:
        ConfigErrors: some could not be.
    """
    own = configuration.logging.log_file_path
    _check({*_log_files(configuration), *([own] if own else [])})


def _check(paths: Collection[str]) -> None:
    errors = []
    for path in sorted(paths):
        try:
            check_log_file(path)
        except ConfigError as error:
            errors.append(error)
    if errors:
        raise ConfigErrors(errors)


def _log_files(configuration: Configuration) -> set[str]:
    return {site.log_file_path for site in configuration.all_sites() if site.log_file_path}
