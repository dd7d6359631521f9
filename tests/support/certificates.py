"""A private certificate authority and the pairs that it issues, as PEM files.

Owns the files (a directory per process, removed at its end). Refuses to know who serves them.
"""

from __future__ import annotations

import atexit
import datetime
import functools
import ipaddress
import os
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

DAY = datetime.timedelta(days=1)


@dataclass(frozen=True)
class Pair:
    """A certificate chain and its key, as files."""

    cert_path: str
    key_path: str


def _name(common_name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name[:64])])


def _alternative(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        return x509.DNSName(name)


def _write_private(path: Path, content: bytes) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(content)


class Authority:
    """A self-signed CA; ``ca_path`` is what a peer has to trust."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._count = 0
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._subject = _name("revproxy test authority")
        usage = x509.KeyUsage(False, False, False, False, False, True, True, False, False)
        self._certificate = (
            self._builder(self._subject, self._key.public_key(), 90 * DAY)
            .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
            .add_extension(usage, critical=True)
            .add_extension(self._own_identifier(), critical=False)
            .sign(self._key, hashes.SHA256())
        )
        self.ca_path = str(folder / "ca.pem")
        Path(self.ca_path).write_bytes(self._certificate.public_bytes(serialization.Encoding.PEM))

    def _own_identifier(self) -> x509.SubjectKeyIdentifier:
        return x509.SubjectKeyIdentifier.from_public_key(self._key.public_key())

    def _builder(
        self, subject: x509.Name, key: ec.EllipticCurvePublicKey, lasts: datetime.timedelta
    ) -> x509.CertificateBuilder:
        now = datetime.datetime.now(datetime.UTC)
        return (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(self._subject)
            .public_key(key)
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - 2 * DAY)
            .not_valid_after(now + lasts)
        )

    @functools.cache  # noqa: B019 - one authority lives as long as the process
    def pair(self, *names: str, lasts: datetime.timedelta = 90 * DAY) -> Pair:
        """A leaf certificate for ``names`` (DNS names or addresses) with its key."""
        key = ec.generate_private_key(ec.SECP256R1())
        certificate = (
            self._builder(_name(names[0]), key.public_key(), lasts)
            .add_extension(
                x509.SubjectAlternativeName([_alternative(name) for name in names]),
                critical=False,
            )
            .add_extension(
                x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(
                    self._own_identifier()
                ),
                critical=False,
            )
            .sign(self._key, hashes.SHA256())
        )
        self._count += 1
        cert_path = self._folder / f"{self._count}.pem"
        key_path = self._folder / f"{self._count}.key"
        pem = serialization.Encoding.PEM
        cert_path.write_bytes(certificate.public_bytes(pem) + self._certificate.public_bytes(pem))
        _write_private(
            key_path,
            key.private_bytes(
                pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
            ),
        )
        return Pair(str(cert_path), str(key_path))


@functools.cache
def authority() -> Authority:
    """The authority of this process."""
    folder = Path(tempfile.mkdtemp(prefix="revproxy-ca-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return Authority(folder)
