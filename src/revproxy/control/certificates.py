"""The certificates of a configuration, loaded: what every listener serves.

Owns which pairs are loaded, what becomes of a pair that cannot be, and which sites no certificate
covers. Refuses to know when it is time to load again (``certificate_watch``) and what is in a
file (``tls/``).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

from attrs import field, frozen

from revproxy.errors import ConfigError, ConfigErrors
from revproxy.model.configuration import CertificatePair, Configuration, Listener, Site
from revproxy.model.tls import Identity
from revproxy.tls.acme.issued import stored_files
from revproxy.tls.acme.session import check_authority, remarks_on
from revproxy.tls.acme.wanted import Wanted, stored_pairs, wanted_by
from revproxy.tls.certificates import Identities
from revproxy.tls.pem import Version, file_version
from revproxy.tls.selection import Selection, uncovered_hosts

Served = dict[tuple[CertificatePair, bool], Identity]
"""The identity of a pair, by the pair and whether its sessions are resumed by tickets."""


@frozen(eq=False)
class Certificates:
    """The certificates of a configuration.

    Attributes:
        selections: what each listener serves, by its bind address and TLS port.
        served: every identity in use.
        uncovered: the hosts of sites that no certificate of their listener covers.
        failures: pairs whose files cannot be used now, while their last good content is served.
        versions: of every file, from before it was first read.
        remarks: sentences about the places where certificates are kept.
    """

    selections: dict[tuple[str, int], Selection]
    served: Served
    uncovered: tuple[str, ...] = ()
    failures: tuple[ConfigError, ...] = ()
    versions: Mapping[str, Version] = field(factory=dict)
    remarks: tuple[str, ...] = ()

    @property
    def warnings(self) -> list[str]:
        """A sentence for every site without a certificate, and what else an operator may mend."""
        uncovered = [
            f"no certificate covers the site {host}: its TLS handshakes will be refused"
            for host in self.uncovered
        ]
        return [*uncovered, *self.remarks]

    def renewed(self, former: Certificates) -> list[Identity]:
        """The identities of pairs whose files held something else in ``former``."""
        return [
            identity
            for pair, identity in self.served.items()
            if pair in former.served and former.served[pair].content != identity.content
        ]

    def recovered(self, former: Certificates) -> list[Identity]:
        """The identities of pairs whose files could not be used in ``former``, and now can."""
        files = {error.path for error in former.failures} - {error.path for error in self.failures}
        return [
            identity
            for (pair, _), identity in self.served.items()
            if files & {pair.cert_path, pair.key_path}
        ]


def load_certificates(
    configuration: Configuration,
    identities: Identities,
    now: float,
    last_good: Mapping[tuple[CertificatePair, bool], Identity] | None = None,
    presented: Mapping[tuple[CertificatePair, bool], Identity] | None = None,
) -> Certificates:
    """Load every listener's certificates.

    Args:
        configuration: says which.
        identities: shares what is loaded already.
        now: seconds since 1970.
        last_good: what goes on being served in place of a pair that cannot be used; None makes
            such a pair an error.
        presented: what goes on being served in place of an automatic certificate that cannot be
            used; by default ``last_good``.

    Raises:
        ConfigErrors: all pairs that cannot be used.
    """
    loading = _Loading(identities, now, last_good, presented or last_good or {})
    selections: dict[tuple[str, int], Selection] = {}
    uncovered: dict[str, None] = {}
    for index, listener in enumerate(configuration.listeners):
        loaded = loading.load(f"listeners[{index}].tls", listener)
        where = (listener.bind_addr, listener.https_port)
        selections[where] = Selection(loaded, configuration.default_site)
        uncovered |= dict.fromkeys(uncovered_hosts(_sites_of(configuration, listener), loaded))
    if loading.errors:
        raise ConfigErrors(loading.errors)
    return Certificates(
        selections,
        loading.served,
        tuple(uncovered),
        tuple(loading.failures),
        loading.versions,
        tuple(loading.remarks),
    )


@frozen(eq=False)
class _Loading:
    """One pass over all pairs, and what has come of it so far."""

    identities: Identities
    now: float
    last_good: Mapping[tuple[CertificatePair, bool], Identity] | None
    presented: Mapping[tuple[CertificatePair, bool], Identity]
    served: Served = field(factory=dict)
    errors: list[ConfigError] = field(factory=list)
    failures: list[ConfigError] = field(factory=list)
    versions: dict[str, Version] = field(factory=dict)
    remarks: dict[str, None] = field(factory=dict)
    stored: dict[tuple[Path, str], list[tuple[CertificatePair, Identity]]] = field(factory=dict)

    def load(self, path: str, listener: Listener) -> list[Identity]:
        """The identities of ``listener``, whose settings stand at ``path``.

        Those of files come first: who has a certificate for a name wants it served.
        """
        loaded = []
        for pair in listener.tls.pairs:
            identity = self._load_pair(path, pair, listener.tls.session_tickets)
            if identity is not None:
                self.served[pair, listener.tls.session_tickets] = identity
                loaded.append(identity)
        all_wanted = wanted_by(listener.tls, plain_port=bool(listener.http_port))
        if all_wanted and self.last_good is None:
            authority = all_wanted[0].authority
            self.errors.extend(
                ConfigError(f"{path}.{key}", message)
                for key, message in check_authority(authority)
            )
            self.remarks.update(dict.fromkeys(remarks_on(authority)))
        for wanted in all_wanted:
            tickets = listener.tls.session_tickets
            identity = self._load_issued(wanted, tickets)
            if identity.placeholder:
                for pair, other in self._substitutes(wanted, tickets):
                    self.served[pair, tickets] = other
                    loaded.append(other)
            self.served[wanted.pair, tickets] = identity
            loaded.append(identity)
        return loaded

    def _substitutes(
        self, wanted: Wanted, tickets: bool
    ) -> Iterator[tuple[CertificatePair, Identity]]:
        """Certificates of the same authority for other sets of names that are good for some of
        these, the latest first.

        A name that is added makes another set: until its certificate is there, the names that had
        one keep it.
        """
        kept = wanted.authority.cache_dir, wanted.authority.directory
        if kept not in self.stored:
            found = []
            for pair in stored_pairs(wanted.authority):
                try:
                    one = self._stored(pair, tickets)
                except ConfigError:
                    continue  # nobody has asked for it
                if one.not_before <= self.now < one.not_after:
                    found.append((pair, one))
            self.stored[kept] = sorted(found, key=lambda entry: -entry[1].not_after)
        for pair, one in self.stored[kept]:
            if one.exact.intersection(wanted.names):
                yield pair, one

    def _load_issued(self, wanted: Wanted, tickets: bool) -> Identity:
        """The certificate that was issued, what is served now, the one before, or a placeholder.

        An expired one is better than none: its renewal is under way.
        """
        path = wanted.pair.cert_path
        self.versions.setdefault(path, file_version(path))
        good = self.presented.get((wanted.pair, tickets))
        if good is not None and good.placeholder:
            good = None
        for pair in (wanted.pair, wanted.previous):
            try:
                return self._stored(pair, tickets)
            except ConfigError as error:
                # Until something has been issued, no file is nothing wrong.
                if good is not None or file_version(pair.cert_path) is not None:
                    self.failures.append(error)
            if good is not None:
                return good
        return self.identities.placeholders.get(
            wanted.names, now=self.now, source=path, session_tickets=tickets
        )

    def _stored(self, pair: CertificatePair, tickets: bool) -> Identity:
        return self.identities.of(
            stored_files(pair), now=self.now, session_tickets=tickets, automatic=True
        )

    def _load_pair(self, path: str, pair: CertificatePair, tickets: bool) -> Identity | None:
        for file in (pair.cert_path, pair.key_path):
            # The first one of several listeners': what changes between them is read again.
            if file not in self.versions:
                self.versions[file] = file_version(file)
        try:
            return self.identities.load(pair, now=self.now, session_tickets=tickets)
        except ConfigError as error:
            good = self.last_good.get((pair, tickets)) if self.last_good else None
            if good is None:
                self.errors.append(ConfigError(path, str(error)))
            else:
                self.failures.append(error)
            return good


def _sites_of(configuration: Configuration, listener: Listener) -> list[Site]:
    """The sites whose certificate ``listener`` should have."""
    included = [
        site
        for site in configuration.sites
        if site.listeners is None or listener.bind_addr in site.listeners
    ]
    return [*listener.sites, *included]
