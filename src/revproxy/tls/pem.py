"""Certificate and key files, read and checked.

Owns what makes a pair usable, and says in one sentence why another is not. Refuses to know TLS
contexts and who is served with the pair. No message contains a byte of a key.
"""

from __future__ import annotations

import os
import stat
from datetime import UTC, datetime

from attrs import field, frozen
from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
)

from revproxy.errors import ConfigError
from revproxy.model.configuration import CertificatePair

MAX_PEM_BYTES = 1024 * 1024
"""The largest certificate or key file that is read."""

_DATE = "%Y-%m-%d %H:%M:%S UTC"


@frozen
class CertificateFiles:
    """The content of a pair's two files, read once.

    Attributes:
        pair: where they are.
        chain_pem: the certificate file.
        key_pem: the key file; never in a ``repr``.
    """

    pair: CertificatePair
    chain_pem: bytes
    key_pem: bytes = field(repr=False)


def read_pair(pair: CertificatePair) -> CertificateFiles:
    """Read both files of ``pair``, at most :data:`MAX_PEM_BYTES` each.

    Raises:
        ConfigError: a file cannot be read, is no regular file, or is too large.
    """
    return CertificateFiles(pair, _read(pair.cert_path), _read(pair.key_path))


def _read(path: str) -> bytes:
    try:
        with open(path, "rb", opener=_open_at_once) as file:
            if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
                raise ConfigError(path, "is not a regular file")
            content = file.read(MAX_PEM_BYTES + 1)
    except OSError as error:
        raise ConfigError(path, f"cannot be read: {error.strerror}") from None
    if len(content) > MAX_PEM_BYTES:
        raise ConfigError(path, f"is larger than {MAX_PEM_BYTES} bytes")
    return content


def _open_at_once(path: str, flags: int) -> int:
    """Open without waiting: a FIFO would make us wait for its writer."""
    return os.open(path, flags | os.O_NONBLOCK)


def chain_of(files: CertificateFiles) -> list[x509.Certificate]:
    """The certificates of the chain file, at least one, the one to serve first.

    Raises:
        ConfigError: there is none, or one cannot be read.
    """
    try:
        return x509.load_pem_x509_certificates(files.chain_pem)
    except (ValueError, UnsupportedAlgorithm):
        raise ConfigError(files.pair.cert_path, "holds no readable PEM certificate") from None


def check_validity(files: CertificateFiles, leaf: x509.Certificate, now: float) -> None:
    """Refuse a certificate that is not valid at ``now`` (seconds since 1970).

    Raises:
        ConfigError: it has expired or is not yet valid.
    """
    moment = datetime.fromtimestamp(now, UTC)
    first, last = leaf.not_valid_before_utc, leaf.not_valid_after_utc
    path = files.pair.cert_path
    if moment > last:
        raise ConfigError(path, f"the certificate expired on {last:{_DATE}}")
    if moment < first:
        raise ConfigError(path, f"the certificate is not valid before {first:{_DATE}}")


def issuer_of(leaf: x509.Certificate) -> str:
    """Who has signed ``leaf``, as a distinguished name (RFC 4514); ``""`` if it is unreadable."""
    try:
        return leaf.issuer.rfc4514_string()
    except ValueError:
        return ""


def key_of(files: CertificateFiles, leaf: x509.Certificate) -> bytes:
    """The private key of ``leaf``, as PEM without anything else that its file may hold.

    Raises:
        ConfigError: the key is encrypted, unreadable, or not the certificate's.
    """
    path = files.pair.key_path
    try:
        key = load_pem_private_key(files.key_pem, password=None)
        certified = leaf.public_key()
    except TypeError:
        raise ConfigError(path, "is encrypted: store the private key without a password") from None
    except (ValueError, UnsupportedAlgorithm):
        raise ConfigError(path, "holds no readable PEM private key") from None
    encoding = Encoding.DER, PublicFormat.SubjectPublicKeyInfo
    if key.public_key().public_bytes(*encoding) != certified.public_bytes(*encoding):
        raise ConfigError(
            path, f"is not the private key of the first certificate in {files.pair.cert_path}"
        )
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


def names_of(files: CertificateFiles, leaf: x509.Certificate) -> tuple[str, ...]:
    """The DNS names of the certificate's subjectAltName, lower-cased, in its order.

    The subject's common name is not used (RFC 6125 6.4.4, and no browser does any more).

    Raises:
        ConfigError: it has none.
    """
    try:
        extension = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName)
        names = tuple(name.lower() for name in extension.value.get_values_for_type(x509.DNSName))
    except x509.ExtensionNotFound:
        names = ()
    except (ValueError, x509.DuplicateExtension):
        raise ConfigError(
            files.pair.cert_path, "the certificate's extensions cannot be read"
        ) from None
    if not names:
        raise ConfigError(
            files.pair.cert_path,
            "the certificate names no host: its subjectAltName has no DNS name "
            "(the common name is not used)",
        )
    return names
