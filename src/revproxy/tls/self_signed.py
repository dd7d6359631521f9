"""Self-signed certificates, for the demo, for tests and until a real one is issued.

Owns how they are made and how a pair is put on disk. Refuses to know who serves them.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path
from secrets import token_hex

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from revproxy.model.configuration import CertificatePair


def self_signed(hosts: Sequence[str], *, now: float, days: int = 30) -> tuple[bytes, bytes]:
    """A new P-256 key with a certificate for ``hosts``, as PEM: ``(certificate, key)``.

    Args:
        hosts: host names, ``*.`` wildcards or IP addresses; at least one.
        now: seconds since 1970; valid from an hour before, for clocks that differ.
        days: valid for so long from ``now``.

    Raises:
        ValueError: there is no host, or one is not ASCII.
    """
    if not hosts:
        raise ValueError("a certificate needs a host")
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "revproxy self-signed")])
    moment = datetime.fromtimestamp(now, UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(moment - timedelta(hours=1))
        .not_valid_after(moment + timedelta(days=days))
        .add_extension(x509.SubjectAlternativeName([_general(host) for host in hosts]), False)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), False)
        .sign(key, SHA256())
    )
    return (
        certificate.public_bytes(Encoding.PEM),
        key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()),
    )


def _general(host: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ip_address(host))
    except ValueError:
        return x509.DNSName(host)


def write_pair(directory: Path, cert_pem: bytes, key_pem: bytes) -> CertificatePair:
    """Put a pair into ``directory`` (made 0700 if missing) as fullchain.pem and privkey.pem.

    Each file is replaced as a whole and is on disk before its name is; the key's mode is 0600
    from birth. Between the two replacements a reader may see a key without its certificate.

    Raises:
        OSError: a file cannot be written; the old one is still there.
    """
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    cert, key = directory / "fullchain.pem", directory / "privkey.pem"
    _replace(key, key_pem, 0o600)
    _replace(cert, cert_pem, 0o644)
    return CertificatePair(str(cert.absolute()), str(key.absolute()))


def _replace(path: Path, content: bytes, mode: int) -> None:
    temporary = path.with_name(f".{path.name}.{token_hex(8)}")
    try:
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
        with open(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
