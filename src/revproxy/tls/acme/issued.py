"""A certificate that a CA has issued, with its key: what makes it fit to be served.

Owns the checks before one is stored or used. Refuses to know where it came from and whether it
covers what was ordered. No message contains a byte of a key.
"""

from __future__ import annotations

from hashlib import sha256
from pathlib import Path

from attrs import field, frozen
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from revproxy.errors import ConfigError
from revproxy.model.configuration import CertificatePair
from revproxy.tls.acme.files import read_private
from revproxy.tls.pem import CertificateFiles, chain_of, check_validity, key_of

MAX_CERTIFICATE_BYTES = 256 * 1024
"""The largest key with chain that is stored or read."""

MAX_CHAIN = 16
"""Certificates in one chain."""

SKEW_SECS = 300.0
"""How much later than now a new certificate may begin to be valid: clocks differ."""


def stored_files(pair: CertificatePair) -> CertificateFiles:
    """The content of a certificate that is stored here, key and chain in one file.

    Raises:
        ConfigError: it cannot be read, or :func:`stored_content` does not take it.
    """
    path = pair.cert_path
    try:
        content = stored_content(Path(path))
    except OSError as error:
        raise ConfigError(path, f"cannot be read: {error.strerror}") from None
    except ValueError as error:
        raise ConfigError(path, str(error).removeprefix(f"{path} ")) from None
    return CertificateFiles(pair, content, content)


def stored_content(path: Path) -> bytes:
    """The same, as bytes. That others may read it keeps nobody from being served.

    Raises:
        FileNotFoundError: there is none.
        OSError: it cannot be opened or read.
        ValueError: it may be another's, or is too large; with the path in the sentence.
    """
    return read_private(path, MAX_CERTIFICATE_BYTES, readable=True)


@frozen
class Certificate:
    """A certificate that can be served, as far as everything but its dates is concerned.

    Attributes:
        path: its file, which holds key and chain.
        key_pem: the private key alone; never in a ``repr``.
        chain_pem: the certificate, then its chain.
        names: every DNS name and IP address in its subjectAltName, in their normal spelling.
        not_before: since when it is valid, in seconds since 1970.
        not_after: until when.
        fingerprint: the SHA-256 of the certificate, in hex.
    """

    path: Path
    key_pem: bytes = field(repr=False)
    chain_pem: bytes = field(repr=False)
    names: frozenset[str]
    not_before: float
    not_after: float
    fingerprint: str


def checked_certificate(
    path: Path, key_pem: bytes, chain_pem: bytes, *, now: float | None = None
) -> Certificate:
    """The certificate of these bytes, once it is known that it can be served.

    Args:
        path: the file that holds both, or will.
        key_pem: what holds the private key; what is beside it is passed over.
        chain_pem: what holds the certificate, then its chain, and possibly more.
        now: the time, in seconds since 1970, at which it has to be valid; ``None`` where an
            expired certificate is better than none.

    Raises:
        ConfigError: it is too large, unreadable, not the key's, names nobody, has expired, or
            begins to be valid more than :data:`SKEW_SECS` after ``now``.
    """
    where = str(path)
    if len(chain_pem) > MAX_CERTIFICATE_BYTES:
        raise ConfigError(where, f"is larger than {MAX_CERTIFICATE_BYTES} bytes")
    files = CertificateFiles(CertificatePair(where, where), chain_pem, key_pem)
    chain = chain_of(files)
    if len(chain) > MAX_CHAIN:
        raise ConfigError(where, f"has a chain of more than {MAX_CHAIN} certificates")
    leaf = chain[0]
    key_alone = key_of(files, leaf)
    # Written anew: what else the CA may have sent between them is not kept.
    chain_alone = b"".join(each.public_bytes(Encoding.PEM) for each in chain)
    if len(key_alone) + len(chain_alone) > MAX_CERTIFICATE_BYTES:
        raise ConfigError(where, f"is with its key larger than {MAX_CERTIFICATE_BYTES} bytes")
    try:
        since, until = leaf.not_valid_before_utc.timestamp(), leaf.not_valid_after_utc.timestamp()
    except ValueError:
        raise ConfigError(where, "the certificate's dates cannot be read") from None
    if now is not None:
        check_validity(files, leaf, min(max(now, since), now + SKEW_SECS))
    return Certificate(
        path=path,
        key_pem=key_alone,
        chain_pem=chain_alone,
        names=_names_of(where, leaf),
        not_before=since,
        not_after=until,
        fingerprint=sha256(leaf.public_bytes(Encoding.DER)).hexdigest(),
    )


def _names_of(where: str, leaf: x509.Certificate) -> frozenset[str]:
    try:
        names = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        hosts = {name.lower() for name in names.get_values_for_type(x509.DNSName)}
        return frozenset(hosts | set(map(str, names.get_values_for_type(x509.IPAddress))))
    except (ValueError, x509.ExtensionNotFound, x509.DuplicateExtension):
        raise ConfigError(where, "the certificate names no host in its subjectAltName") from None
