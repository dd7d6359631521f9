"""Certificate and key files, read and checked.

Owns what makes a pair usable, says in one sentence why another is not, and tells whether a file
has changed. Refuses to know TLS contexts and who is served with the pair. No message contains a
byte of a key.
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

MOST_READS = 5
"""How often a pair is read that changes while it is being read."""

Version = tuple[int, ...] | None
"""What tells one content of a file from another without reading it; None when there is no file."""

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
    """Read both files of ``pair``, at most :data:`MAX_PEM_BYTES` each, as they are together.

    They may be exchanged at any moment: a pair that changes meanwhile is read again, and of one
    that keeps changing the last reading counts, which need not fit together.

    Raises:
        ConfigError: a file cannot be read, is no regular file, or is too large.
    """
    paths = pair.cert_path, pair.key_path
    for _ in range(MOST_READS):
        (chain_pem, chain_version), (key_pem, key_version) = map(_read, paths)
        if (chain_version, key_version) == tuple(map(file_version, paths)):
            break
    return CertificateFiles(pair, chain_pem, key_pem)


def file_version(path: str) -> Version:
    """The present version of the file at ``path``, behind symbolic links."""
    try:
        return _version(os.stat(path))
    except OSError:
        return None


def _version(status: os.stat_result) -> Version:
    # The last tells what was copied with its old time of modification.
    return (
        status.st_dev,
        status.st_ino,
        status.st_size,
        status.st_mtime_ns,
        status.st_ctime_ns,
    )


def _read(path: str) -> tuple[bytes, Version]:
    """The content of a file, and its version before it was read."""
    try:
        with open(path, "rb", opener=_open_at_once) as file:
            status = os.fstat(file.fileno())
            if not stat.S_ISREG(status.st_mode):
                raise ConfigError(path, "is not a regular file")
            content = file.read(MAX_PEM_BYTES + 1)
    except OSError as error:
        raise ConfigError(path, f"cannot be read: {error.strerror}") from None
    if len(content) > MAX_PEM_BYTES:
        raise ConfigError(path, f"is larger than {MAX_PEM_BYTES} bytes")
    return content, _version(status)


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
