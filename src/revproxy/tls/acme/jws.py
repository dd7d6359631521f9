"""Signed requests as ACME wants them: account keys and their JSON Web Signatures.

Owns RFC 7515 as far as RFC 8555 uses it (flattened JSON, ES256, RS256 and, for external accounts,
HS256), thumbprints (RFC 7638) and what is made of them. Refuses to know URLs and nonces beyond
that they are signed. No ``repr`` shows a key.
"""

from __future__ import annotations

import json
from base64 import urlsafe_b64encode
from collections.abc import Mapping
from hashlib import sha256

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.hmac import HMAC
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)

Json = Mapping[str, object]

_COORDINATE = 32  # bytes of a P-256 coordinate, and of either half of its signatures


def b64url(content: bytes) -> str:
    """Base64url without padding (RFC 7515 2)."""
    return urlsafe_b64encode(content).rstrip(b"=").decode("ascii")


class AccountKey:
    """An account's private key.

    Args:
        key: on P-256, or RSA.

    Attributes:
        jwk: its public half (RFC 7517).

    Raises:
        ValueError: it is of another kind.
    """

    def __init__(self, key: object) -> None:
        if isinstance(key, ec.EllipticCurvePrivateKey) and isinstance(key.curve, ec.SECP256R1):
            self.jwk: dict[str, str] = _ec_jwk(key)
        elif isinstance(key, rsa.RSAPrivateKey):
            self.jwk = _rsa_jwk(key)
        else:
            raise ValueError("an account key is on P-256, or RSA")
        self._key = key

    @classmethod
    def generate(cls) -> AccountKey:
        """A new one, on P-256."""
        return cls(ec.generate_private_key(ec.SECP256R1()))

    @classmethod
    def from_pem(cls, pem: bytes) -> AccountKey:
        """The key in ``pem``, which is not encrypted.

        Raises:
            ValueError: there is none, or it is of another kind.
        """
        try:
            return cls(load_pem_private_key(pem, password=None))
        except (TypeError, UnsupportedAlgorithm):
            raise ValueError("no unencrypted PEM private key") from None

    def pem(self) -> bytes:
        """The private key, as PEM (PKCS 8)."""
        return self._key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())

    def thumbprint(self) -> str:
        """RFC 7638, with SHA-256."""
        return b64url(sha256(_compact(self.jwk)).digest())

    def key_authorization(self, token: str) -> str:
        """What answers a challenge (RFC 8555 8.1)."""
        return f"{token}.{self.thumbprint()}"

    def sign(self, protected: Json, payload: Json | None) -> bytes:
        """A request's body (RFC 7515 7.2.2); ``payload`` None is POST-as-GET (RFC 8555 6.3)."""
        signed = _signing_input({"alg": self._algorithm, **protected}, payload)
        return _flattened(signed, self._signature(f"{signed[0]}.{signed[1]}".encode()))

    @property
    def _algorithm(self) -> str:
        return "ES256" if isinstance(self._key, ec.EllipticCurvePrivateKey) else "RS256"

    def _signature(self, content: bytes) -> bytes:
        if isinstance(self._key, rsa.RSAPrivateKey):
            return self._key.sign(content, PKCS1v15(), SHA256())
        r, s = decode_dss_signature(self._key.sign(content, ec.ECDSA(SHA256())))
        return r.to_bytes(_COORDINATE, "big") + s.to_bytes(_COORDINATE, "big")


def external_binding(key: AccountKey, key_id: str, mac_key: bytes, url: str) -> Json:
    """What binds a new account to one at the authority (RFC 8555 7.3.4).

    Args:
        key: the new account's.
        key_id: of the external account.
        mac_key: its HMAC key.
        url: of newAccount.
    """
    protected = {"alg": "HS256", "kid": key_id, "url": url}
    signed = _signing_input(protected, key.jwk)
    mac = HMAC(mac_key, SHA256())
    mac.update(f"{signed[0]}.{signed[1]}".encode())
    binding: Json = json.loads(_flattened(signed, mac.finalize()))
    return binding


def key_change(old: AccountKey, new: AccountKey, account_url: str, url: str) -> Json:
    """What asks for ``new`` in place of ``old``, signed by ``new`` (RFC 8555 7.3.5)."""
    payload = {"account": account_url, "oldKey": old.jwk}
    inner: Json = json.loads(new.sign({"jwk": new.jwk, "url": url}, payload))
    return inner


def certificate_id(certificate: x509.Certificate) -> str:
    """How a certificate is called where its renewal is spoken of (RFC 9773 4.1).

    Returns:
        ``""`` for one that does not name its issuer's key, of which nothing can be asked.
    """
    try:
        issuer = certificate.extensions.get_extension_for_class(x509.AuthorityKeyIdentifier)
    except (x509.ExtensionNotFound, ValueError):
        return ""
    if not issuer.value.key_identifier:
        return ""
    serial = certificate.serial_number
    octets = serial.to_bytes(serial.bit_length() // 8 + 1, "big")
    return f"{b64url(issuer.value.key_identifier)}.{b64url(octets)}"


def _compact(value: Json) -> bytes:
    return json.dumps(value, separators=(",", ":"), sort_keys=True).encode("ascii")


def _signing_input(protected: Json, payload: Json | None) -> tuple[str, str]:
    return b64url(_compact(protected)), "" if payload is None else b64url(_compact(payload))


def _flattened(signed: tuple[str, str], signature: bytes) -> bytes:
    protected, payload = signed
    return _compact({"protected": protected, "payload": payload, "signature": b64url(signature)})


def _ec_jwk(key: ec.EllipticCurvePrivateKey) -> dict[str, str]:
    public = key.public_key().public_numbers()
    x, y = (b64url(number.to_bytes(_COORDINATE, "big")) for number in (public.x, public.y))
    return {"crv": "P-256", "kty": "EC", "x": x, "y": y}


def _rsa_jwk(key: rsa.RSAPrivateKey) -> dict[str, str]:
    public = key.public_key().public_numbers()
    e, n = (
        b64url(number.to_bytes((number.bit_length() + 7) // 8, "big"))
        for number in (public.e, public.n)
    )
    return {"e": e, "kty": "RSA", "n": n}
