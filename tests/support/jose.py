"""JSON Web Signatures, read and verified as whoever receives them does.

Owns RFC 7515 for ES256, RS256 and HS256. Refuses to know ACME and the code that signs.
"""

from __future__ import annotations

import json
from base64 import urlsafe_b64decode
from collections.abc import Mapping
from typing import Any

from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.hmac import HMAC


def octets(part: str) -> bytes:
    """What base64url without padding stands for."""
    assert "=" not in part, part
    return urlsafe_b64decode(part + "=" * (-len(part) % 4))


def number(part: str) -> int:
    """A number in base64url (RFC 7518 2)."""
    return int.from_bytes(octets(part), "big")


def protected_of(message: Mapping[str, str]) -> Any:
    """The protected header."""
    return json.loads(octets(message["protected"]))


def payload_of(message: Mapping[str, str]) -> Any:
    """The payload; None for the empty one."""
    return json.loads(octets(message["payload"])) if message["payload"] else None


def verify(message: Mapping[str, str], jwk: Mapping[str, str]) -> None:
    """Verify with a public key (RFC 7518 3.3, 3.4, 6.2, 6.3).

    Raises:
        InvalidSignature: it is another key's, or of something else.
    """
    content, signature = _content(message), octets(message["signature"])
    if jwk["kty"] == "RSA":
        rsa_key = rsa.RSAPublicNumbers(number(jwk["e"]), number(jwk["n"])).public_key()
        rsa_key.verify(signature, content, padding.PKCS1v15(), SHA256())
        return
    assert len(signature) == 64, len(signature)
    numbers = ec.EllipticCurvePublicNumbers(number(jwk["x"]), number(jwk["y"]), ec.SECP256R1())
    r, s = (int.from_bytes(half, "big") for half in (signature[:32], signature[32:]))
    numbers.public_key().verify(encode_dss_signature(r, s), content, ec.ECDSA(SHA256()))


def verify_mac(message: Mapping[str, str], mac_key: bytes) -> None:
    """Verify with a shared key (RFC 7518 3.2).

    Raises:
        InvalidSignature: it is another key's, or of something else.
    """
    mac = HMAC(mac_key, SHA256())
    mac.update(_content(message))
    mac.verify(octets(message["signature"]))


def _content(message: Mapping[str, str]) -> bytes:
    return f"{message['protected']}.{message['payload']}".encode("ascii")
