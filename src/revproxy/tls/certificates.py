"""Certificates on disk made into identities that can be served.

Owns which contexts exist: one per content of a pair, shared by all who load it. Refuses to know
which name is served by which identity, and when to load again.
"""

from __future__ import annotations

import ssl
from hashlib import sha256
from weakref import WeakValueDictionary

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from revproxy.errors import ConfigError
from revproxy.model.configuration import CertificatePair
from revproxy.model.tls import Identity
from revproxy.tls.contexts import HTTP_1_1, server_context
from revproxy.tls.pem import (
    CertificateFiles,
    chain_of,
    check_validity,
    key_of,
    names_of,
    read_pair,
)

TICKET_KEY_SECS = 12 * 3600
"""How long one set of session ticket keys is used, when identities are loaded that often."""


def load_identity(
    pair: CertificatePair,
    *,
    now: float,
    alpn: tuple[str, ...] = HTTP_1_1,
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
    return _identity(files, chain, alpn, session_tickets)


def _identity(
    files: CertificateFiles,
    chain: list[x509.Certificate],
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
    )


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
    """

    def __init__(self) -> None:
        self._loaded: WeakValueDictionary[tuple[object, ...], Identity] = WeakValueDictionary()

    def __len__(self) -> int:
        """How many identities are in use."""
        return len(self._loaded)

    def load(
        self,
        pair: CertificatePair,
        *,
        now: float,
        alpn: tuple[str, ...] = HTTP_1_1,
        session_tickets: bool = True,
    ) -> Identity:
        """The same as :func:`load_identity`, sharing what is loaded already.

        The files are read, and the certificate's dates checked, every time.
        """
        files = read_pair(pair)
        content = sha256(files.chain_pem).digest(), sha256(files.key_pem).digest()
        key = (content, alpn, session_tickets, now // TICKET_KEY_SECS)
        chain = chain_of(files)
        check_validity(files, chain[0], now)
        identity = self._loaded.get(key)
        if identity is None:
            identity = self._loaded[key] = _identity(files, chain, alpn, session_tickets)
        return identity
