"""Self-signed P-256 certificates for a run, the same for every proxy."""

from __future__ import annotations

import datetime
import os
from pathlib import Path

from attrs import frozen
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID


@frozen
class CertificateFiles:
    """One certificate and key in PEM, and both in one file as HAProxy wants them."""

    cert: Path
    key: Path
    both: Path


def write_certificate(folder: Path, label: str, hosts: tuple[str, ...]) -> CertificateFiles:
    """Make a key and a certificate for ``hosts`` and write them as ``folder/label.*``."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, hosts[0])])
    now = datetime.datetime.now(datetime.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(hours=1))
        .not_valid_after(now + datetime.timedelta(days=2))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(host) for host in hosts]), False)
        .sign(key, hashes.SHA256())
    )
    cert_pem = certificate.public_bytes(serialization.Encoding.PEM)
    key_pem = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    files = CertificateFiles(
        folder / f"{label}.crt", folder / f"{label}.key", folder / f"{label}.pem"
    )
    files.cert.write_bytes(cert_pem)
    for path, content in ((files.key, key_pem), (files.both, cert_pem + key_pem)):
        with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
            file.write(content)
    return files
