"""Which certificates a configuration wants from which authority.

Owns what makes two of them the same, and where they are stored. Refuses to know when and how they
are got.
"""

from __future__ import annotations

from collections.abc import Iterable
from itertools import islice
from pathlib import Path

from attrs import frozen

from revproxy.model.configuration import (
    CertificatePair,
    Configuration,
    ExternalAccount,
    TlsSettings,
)
from revproxy.tls.acme.files import read_private
from revproxy.tls.acme.record import MAX_RECORD_BYTES, parse_record
from revproxy.tls.acme.store import MOST_ENTRIES, entry_id

DIRECTORIES = {
    "production": "https://acme-v02.api.letsencrypt.org/directory",
    "staging": "https://acme-staging-v02.api.letsencrypt.org/directory",
}
"""Let's Encrypt's."""


@frozen
class Authority:
    """An authority, and the account with it.

    Attributes:
        cache_dir: where what it has issued is kept.
        directory: the URL of its directory (RFC 8555 7.1.1).
        contact: where it may write to, a URL.
        ca_file: roots to verify it with; None for the system's.
        eab: the account that ours is bound to.
    """

    cache_dir: Path
    directory: str
    contact: str = ""
    ca_file: str | None = None
    eab: ExternalAccount | None = None


@frozen
class Wanted:
    """One certificate that is to be had.

    Attributes:
        names: its host names, in alphabetical order.
        authority: who is to issue it.
        challenge: how the names are shown to lead here: ``tls-alpn-01`` or ``http-01``.
        both_challenges: the other one can be tried too.
        profile: the authority's profile of certificates; ``""`` for its own choice.
    """

    names: tuple[str, ...]
    authority: Authority
    challenge: str = "tls-alpn-01"
    both_challenges: bool = True
    profile: str = ""

    @property
    def pair(self) -> CertificatePair:
        """The file that it is stored in, which holds key and chain."""
        path = str(self._folder / f"{self.id}.pem")
        return CertificatePair(path, path)

    @property
    def previous(self) -> CertificatePair:
        """The same of the certificate before it."""
        path = str(self._folder / f"{self.id}.previous.pem")
        return CertificatePair(path, path)

    @property
    def id(self) -> str:
        """What its files are called."""
        return entry_id(self.names, self.authority.directory)

    @property
    def _folder(self) -> Path:
        return self.authority.cache_dir / "certs"


def wanted_by(tls: TlsSettings, *, plain_port: bool) -> list[Wanted]:
    """What a listener wants.

    Args:
        tls: its settings.
        plain_port: whether it has a plain port, on which HTTP-01 is answered.
    """
    if tls.mode != "acme":
        return []
    authority = Authority(
        Path(tls.acme_cache_dir),
        DIRECTORIES.get(tls.acme_directory, tls.acme_directory),
        tls.acme_contact or "",
        tls.acme_ca_file,
        tls.acme_eab,
    )
    names = tuple(sorted(tls.acme_domains))
    each = [(name,) for name in names] if tls.acme_one_certificate_per_name else [names]
    return [
        Wanted(one, authority, tls.acme_challenge, plain_port, tls.acme_profile or "")
        for one in each
    ]


def all_wanted(configuration: Configuration) -> list[Wanted]:
    """What all listeners want; what several of them do, once."""
    found: dict[tuple[Path, str], Wanted] = {}
    for listener in configuration.listeners:
        for one in wanted_by(listener.tls, plain_port=bool(listener.http_port)):
            found.setdefault((one.authority.cache_dir, one.id), one)
    return list(found.values())


def stored_pairs(authority: Authority) -> list[CertificatePair]:
    """The certificates that are kept beside those of ``authority``, whatever names they are for.

    Those of another one may be as good; those of Let's Encrypt's staging, which nobody trusts,
    are not.
    """
    found = sorted(islice(authority.cache_dir.glob("certs/*.pem"), 3 * MOST_ENTRIES))
    parts = (".previous.pem", ".key.pem")
    useless = {DIRECTORIES["staging"]} - {authority.directory}
    return [
        CertificatePair(str(path), str(path))
        for path in found
        if not path.name.endswith(parts) and _directory_of(path) not in useless
    ]


def _directory_of(path: Path) -> str:
    """Where the certificate at ``path`` was ordered; ``""`` where nothing tells."""
    try:
        content = read_private(path.with_suffix(".json"), MAX_RECORD_BYTES)
        return parse_record(content).directory
    except (OSError, ValueError):
        return ""


def cache_dirs(wanted: Iterable[Wanted]) -> set[Path]:
    """Where ``wanted`` are kept."""
    return {one.authority.cache_dir for one in wanted}
