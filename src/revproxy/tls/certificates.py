"""Certificates on disk made into identities that can be served.

Owns which contexts exist: one per content of a pair, shared by all who load it. Refuses to know
which name is served by which identity, and when to load again.
"""

from __future__ import annotations

import ssl
from hashlib import sha256
from weakref import WeakValueDictionary

from attrs import evolve
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from revproxy.errors import ConfigError
from revproxy.model.configuration import CertificatePair
from revproxy.model.tls import Identity
from revproxy.tls.contexts import HTTP, server_context
from revproxy.tls.pem import (
    CertificateFiles,
    chain_of,
    check_validity,
    issuer_of,
    key_of,
    names_of,
    read_pair,
)
from revproxy.tls.placeholder import Placeholders

TICKET_KEY_SECS = 12 * 3600
"""How long one set of session ticket keys is used, when identities are loaded that often."""


def ticket_period(now: float) -> int:
    """Which period of ticket keys ``now`` (seconds since 1970) falls into."""
    return int(now // TICKET_KEY_SECS)


def load_identity(
    pair: CertificatePair,
    *,
    now: float,
    alpn: tuple[str, ...] = HTTP,
    session_tickets: bool = True,
) -> Identity:
    """Read a pair, check it and make its context.

    Args:
        pair: the two files; each is read once, and what was checked is what is served.
        now: the time, in seconds since 1970, at which the certificate has to be valid.
        alpn: the protocols to accept, best first.
        session_tickets: whether sessions are resumed by tickets.

    Raises:
        ConfigError: with the file's name as its path, when a file is missing, unreadable, too
            large or no PEM, the certificate expired, not yet valid or without a DNS name, the
            key encrypted or not the certificate's, or OpenSSL refuses the pair.
    """
    files = read_pair(pair)
    chain = chain_of(files)
    check_validity(files, chain[0], now)
    return _identity(files, chain, now, alpn, session_tickets)


def _identity(
    files: CertificateFiles,
    chain: list[x509.Certificate],
    now: float,
    alpn: tuple[str, ...],
    session_tickets: bool,
) -> Identity:
    key_pem = key_of(files, chain[0])
    names = names_of(files, chain[0])
    # Written anew: a file may hold both, and a stray certificate would be sent along.
    chain_pem = b"".join(certificate.public_bytes(Encoding.PEM) for certificate in chain)
    try:
        context = server_context(chain_pem, key_pem, alpn=alpn, session_tickets=session_tickets)
    except ssl.SSLError as error:
        reason = (error.reason or "no reason given").lower().replace("_", " ")
        raise ConfigError(files.pair.cert_path, f"refused by OpenSSL: {reason}") from None
    return Identity(
        context=context,
        exact=frozenset(name for name in names if "*" not in name),
        wildcards=frozenset(name[2:] for name in names if _is_wildcard(name)),
        name=names[0],
        issuer=issuer_of(chain[0]),
        not_after=chain[0].not_valid_after_utc.timestamp(),
        not_before=chain[0].not_valid_before_utc.timestamp(),
        source=files.pair.cert_path,
        made=now,
        content=content_of(files),
    )


def content_of(files: CertificateFiles) -> bytes:
    """A digest of both files."""
    return sha256(files.chain_pem).digest() + sha256(files.key_pem).digest()


def _is_wildcard(name: str) -> bool:
    """Whether ``name`` is a star for one whole label, the only form served (RFC 6125 6.4.3)."""
    return name.startswith("*.") and "*" not in name[2:] and len(name) > 2


class Identities:
    """The identities in use, one per content of a pair.

    A pair whose files have not changed gives the identity that is already being served, so a
    reload keeps its context, its sessions and its memory. An identity lasts as long as somebody
    holds it: what no generation uses any more goes by itself.

    Ticket keys belong to the context. The first load of a pair after a multiple of
    :data:`TICKET_KEY_SECS` makes a new context and thereby new keys.

    Attributes:
        placeholders: those that stand in for certificates which have not been issued yet.
    """

    def __init__(self) -> None:
        self.placeholders = Placeholders()
        self._loaded: WeakValueDictionary[tuple[object, int], Identity] = WeakValueDictionary()

    def __len__(self) -> int:
        """How many identities are in use."""
        return len(self._loaded)

    def load(
        self,
        pair: CertificatePair,
        *,
        now: float,
        alpn: tuple[str, ...] = HTTP,
        session_tickets: bool = True,
    ) -> Identity:
        """The same as :func:`load_identity`, sharing what is loaded already.

        The files are read every time.
        """
        return self.of(read_pair(pair), now=now, alpn=alpn, session_tickets=session_tickets)

    def of(
        self,
        files: CertificateFiles,
        *,
        now: float,
        alpn: tuple[str, ...] = HTTP,
        session_tickets: bool = True,
        automatic: bool = False,
    ) -> Identity:
        """The identity of files that have been read.

        The dates of a certificate that is being served already are not judged again: it may
        expire while it is, and that must stand in the way of no other change. Those of one that
        is renewed by itself, ``automatic``, never are.
        """
        key = (content_of(files), alpn, session_tickets, automatic)
        period = ticket_period(now)
        identity = self._loaded.get((key, period))
        if identity is None:
            chain = chain_of(files)
            if not automatic and all(known != key for known, _ in list(self._loaded)):
                check_validity(files, chain[0], now)
            identity = evolve(
                _identity(files, chain, now, alpn, session_tickets), automatic=automatic
            )
            self._loaded[key, period] = identity
        return identity
