"""What proves control over a name, and what a certificate is asked for with.

Owns the bytes: the TLS-ALPN-01 certificate and its context (RFC 8737), the HTTP-01 path (RFC 8555
8.3), keys and signing requests (RFC 8555 7.4). Refuses to know accounts, orders and who asks.
"""

from __future__ import annotations

import re
import ssl
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from ipaddress import ip_address

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)

from revproxy.tls.contexts import server_context

ACME_TLS = "acme-tls/1"
"""ALPN: the protocol of a TLS-ALPN-01 validation (RFC 8737 6.2)."""

HTTP_PREFIX = "/.well-known/acme-challenge/"
"""What the path of an HTTP-01 validation begins with (RFC 8555 8.3)."""

MAX_NAMES = 100
"""Names in one certificate: the most that any public CA allows."""

_ACME_IDENTIFIER = x509.ObjectIdentifier("1.3.6.1.5.5.7.1.31")
_OCTETS_32 = b"\x04\x20"  # DER: an OCTET STRING of 32 bytes

_LABEL = r"(?!-)[a-z0-9_-]{1,63}(?<!-)"
_DNS_NAME = re.compile(rf"(?=.{{1,253}}\Z)(?:\*\.)?{_LABEL}(?:\.{_LABEL})*")


def normal_name(name: str) -> str:
    """The one spelling of an identifier: a DNS name in lower case, or an IP address.

    Args:
        name: an A-label host name (RFC 5890 2.3.2.1), ``*.`` and one, or an IP address without
            brackets.

    Raises:
        ValueError: it is none of these, or not ASCII.
    """
    try:
        address = ip_address(name)
    except ValueError:
        address = None
    if address is not None and "%" not in name:  # a zone means something on one machine only
        return str(address)
    lowered = name.lower()
    if not name.isascii() or not _DNS_NAME.fullmatch(lowered):
        raise ValueError(f"{name[:260]!r} is neither an ASCII host name nor an IP address")
    return lowered


def normal_names(names: Sequence[str]) -> tuple[str, ...]:
    """Each of ``names`` once and in its one spelling, in alphabetical order.

    Raises:
        ValueError: there is none, there are more than :data:`MAX_NAMES`, or one is no name.
    """
    normal = tuple(sorted({normal_name(name) for name in names}))
    if not 1 <= len(normal) <= MAX_NAMES:
        raise ValueError(f"a certificate has 1 to {MAX_NAMES} names, not {len(normal)}")
    return normal


def server_name(name: str) -> str:
    """The SNI host name with which ``name`` is validated.

    That is the name, and for an IP address what reverse look-ups ask for (RFC 8738 6).

    Raises:
        ValueError: as :func:`normal_name`.
    """
    normal = normal_name(name)
    try:
        return ip_address(normal).reverse_pointer
    except ValueError:
        return normal


def http_path(token: str) -> str:
    """The path at which the key authorization of ``token`` is asked for (RFC 8555 8.3)."""
    return HTTP_PREFIX + token


def alpn_identity(name: str, key_authorization: str, *, now: float) -> tuple[bytes, bytes]:
    """The certificate that answers a TLS-ALPN-01 validation, with its new P-256 key, as PEM.

    Self-signed, with ``name`` as its only subjectAltName and the digest of the key authorization
    in the critical extension acmeIdentifier (RFC 8737 3, RFC 8738 6).

    Args:
        name: a host name, no wildcard, or an IP address.
        key_authorization: RFC 8555 8.1.
        now: seconds since 1970; valid from a day before to a day after.

    Raises:
        ValueError: ``name`` is no name that can be validated so.
    """
    normal = normal_name(name)
    if normal.startswith("*"):
        raise ValueError("a wildcard is not validated by TLS-ALPN-01")
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "ACME challenge")])
    moment = datetime.fromtimestamp(now, UTC)
    digest = _OCTETS_32 + sha256(key_authorization.encode("ascii")).digest()
    certificate = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(moment - timedelta(days=1))
        .not_valid_after(moment + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([_general(normal)]), critical=False)
        .add_extension(x509.UnrecognizedExtension(_ACME_IDENTIFIER, digest), critical=True)
        .sign(key, SHA256())
    )
    return certificate.public_bytes(Encoding.PEM), _pem_of(key)


def alpn_context(name: str, key_authorization: str, *, now: float) -> ssl.SSLContext:
    """The context for a connection whose ClientHello offers :data:`ACME_TLS` for ``name``.

    It accepts that protocol alone and gives no tickets. Making one takes a key: keep it while the
    challenge is pending.

    Args:
        name: as for :func:`alpn_identity`, which is not what SNI says for an IP address.
        key_authorization: RFC 8555 8.1.
        now: seconds since 1970.

    Raises:
        ValueError: as :func:`alpn_identity`.
    """
    chain_pem, key_pem = alpn_identity(name, key_authorization, now=now)
    return server_context(chain_pem, key_pem, alpn=(ACME_TLS,), session_tickets=False)


def new_key() -> bytes:
    """A new P-256 private key for a certificate or an account, as PEM (PKCS 8, unencrypted)."""
    return _pem_of(ec.generate_private_key(ec.SECP256R1()))


def csr(names: Sequence[str], key_pem: bytes) -> bytes:
    """The signing request for a certificate, as DER (RFC 2986, RFC 8555 7.4).

    Its subject is empty: the names are in subjectAltName, in alphabetical order.

    Args:
        names: as for :func:`normal_names`.
        key_pem: the certificate's private key, EC or RSA.

    Raises:
        ValueError: a name is none, there are too many or none, or the key cannot be used.
    """
    try:
        key = load_pem_private_key(key_pem, password=None)
    except (TypeError, ValueError, UnsupportedAlgorithm):
        raise ValueError("no unencrypted PEM private key") from None
    if not isinstance(key, ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey):
        raise ValueError("the private key is neither EC nor RSA")
    alternatives = [_general(name) for name in normal_names(names)]
    return (
        x509.CertificateSigningRequestBuilder()
        .subject_name(x509.Name([]))
        .add_extension(x509.SubjectAlternativeName(alternatives), critical=False)
        .sign(key, SHA256())
        .public_bytes(Encoding.DER)
    )


def _general(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ip_address(name))
    except ValueError:
        return x509.DNSName(name)


def _pem_of(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
