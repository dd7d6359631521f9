"""Signed requests: against the vectors of the RFCs, and verified as an authority does."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from typing import Any

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    PrivateFormat,
)
from twisted.trial.unittest import SynchronousTestCase

from revproxy.tls.acme.jws import (
    AccountKey,
    b64url,
    certificate_id,
    external_binding,
    key_change,
)
from tests.support.jose import number, octets, payload_of, protected_of, verify, verify_mac

# RFC 7515 A.3
EC = {
    "kty": "EC",
    "crv": "P-256",
    "x": "f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU",
    "y": "x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0",
}
EC_D = "jpsQnnGQmL-YBIffH1136cspYG6-0iY7X1fCE9-E9LI"
SIGNED = {
    "protected": "eyJhbGciOiJFUzI1NiJ9",
    "payload": "eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQog"
    "Imh0dHA6Ly9leGFtcGxlLmNvbS9pc19yb290Ijp0cnVlfQ",
    "signature": "DtEhU3ljbEg8L38VWAfUAqOyKAM6-Xx-F4GawxaepmXF"
    "CgfTjDxw5djxLa8ISlSApmWQxfKTUJqPP3-Kg6NU1Q",
}

# RFC 7638 3.1, whose private half is in RFC 7517 A.2
RSA_N = (
    "0vx7agoebGcQSuuPiLJXZptN9nndrQmbXEps2aiAFbWhM78LhWx4cbbfAAtVT86zwu1RK7aPFFxuhDR1L6tSoc_B"
    "JECPebWKRXjBZCiFV4n3oknjhMstn64tZ_2W-5JsGY4Hc5n9yBXArwl93lqt7_RN5w6Cf0h4QyQ5v-65YGjQR0_F"
    "DW2QvzqY368QQMicAtaSqzs8KJZgnYb9c7d0zgdAZHzu6qMQvRL5hajrn1n91CbOpbISD08qNLyrdkt-bFTWhAI4"
    "vMQFh6WeZu0fM4lFd2NcRwr3XPksINHaQ-G_xBniIqbw0Ls1jF44-csFCur-kEgU8awapJzKnqDKgw"
)
RSA_D = (
    "X4cTteJY_gn4FYPsXB8rdXix5vwsg1FLN5E3EaG6RJoVH-HLLKD9M7dx5oo7GURknchnrRweUkC7hT5fJLM0WbFA"
    "KNLWY2vv7B6NqXSzUvxT0_YSfqijwp3RTzlBaCxWp4doFk5N2o8Gy_nHNKroADIkJ46pRUohsXywbReAdYaMwFs9"
    "tv8d_cPVY3i07a3t8MN6TNwm0dSawm9v47UiCl3Sk5ZiG7xojPLu4sbg1U2jx4IBTNBznbJSzFHK66jT8bgkuqsk"
    "0GjskDJk19Z4qwjwbsnn4j2WBii3RL-Us2lGVkY8fkFzme1z0HbIkfz0Y6mqnOYtqc0X4jfcKoAC8Q"
)
RSA_THUMBPRINT = "NzbLsXh8uDCcd-6MNwXF4W_7noWXFZAfHkxZsRGC9Xs"

URL = "https://ca.test/acme/thing/1"
KID = "https://ca.test/acme/acct/1"
NONCE = "nonce-1"
HEADER = {"kid": KID, "nonce": NONCE, "url": URL}


def ec_key() -> AccountKey:
    """RFC 7515 A.3.1."""
    return AccountKey(ec.derive_private_key(number(EC_D), ec.SECP256R1()))


def rsa_key() -> AccountKey:
    """RFC 7517 A.2."""
    n, e, d = number(RSA_N), 65537, number(RSA_D)
    p, q = rsa.rsa_recover_prime_factors(n, e, d)
    crt = rsa.rsa_crt_dmp1(d, p), rsa.rsa_crt_dmq1(d, q), rsa.rsa_crt_iqmp(p, q)
    numbers = rsa.RSAPrivateNumbers(p, q, d, *crt, rsa.RSAPublicNumbers(e, n))
    return AccountKey(numbers.private_key())


class KeyTests(SynchronousTestCase):
    def test_ec_jwk(self) -> None:
        """The public half of a P-256 key is what RFC 7515 A.3.1 says of it, and no more."""
        self.assertEqual(ec_key().jwk, EC)

    def test_short_coordinate(self) -> None:
        """A coordinate that begins with a zero byte has 32 bytes all the same (RFC 7518 6.2.1)."""
        short = 0
        for scalar in range(1, 600):
            key = ec.derive_private_key(scalar, ec.SECP256R1())
            numbers = key.public_key().public_numbers()
            if min(numbers.x, numbers.y).bit_length() > 248:
                continue
            short += 1
            jwk = AccountKey(key).jwk
            self.assertEqual((len(octets(jwk["x"])), len(octets(jwk["y"]))), (32, 32))
        self.assertTrue(short)

    def test_rsa_thumbprint(self) -> None:
        """The thumbprint of RFC 7638 3.1."""
        self.assertEqual(rsa_key().jwk, {"kty": "RSA", "n": RSA_N, "e": "AQAB"})
        self.assertEqual(rsa_key().thumbprint(), RSA_THUMBPRINT)

    def test_ec_thumbprint(self) -> None:
        """That of the P-256 key, whose members are crv, kty, x and y (RFC 7638 3.2)."""
        members = '{{"crv":"{crv}","kty":"{kty}","x":"{x}","y":"{y}"}}'.format(**EC)
        digest = b64url(sha256(members.encode("ascii")).digest())
        self.assertEqual(digest, "oKIywvGUpTVTyxMQ3bwIIeQUudfr_CkLMjCE19ECD-U")
        self.assertEqual(ec_key().thumbprint(), digest)
        self.assertEqual(ec_key().key_authorization("token"), f"token.{digest}")

    def test_other_kinds(self) -> None:
        """Keys on other curves and of other algorithms are refused."""
        for key in (
            ec.generate_private_key(ec.SECP384R1()),
            ed25519.Ed25519PrivateKey.generate(),
            ec.generate_private_key(ec.SECP256R1()).public_key(),
            None,
        ):
            with self.assertRaises(ValueError):
                AccountKey(key)

    def test_pem(self) -> None:
        """A key is the same after it was on disk, and a new one is on P-256."""
        key = AccountKey.generate()
        self.assertEqual(key.jwk["crv"], "P-256")
        self.assertEqual(AccountKey.from_pem(key.pem()).jwk, key.jwk)
        self.assertNotEqual(AccountKey.generate().jwk, key.jwk)

    def test_no_pem(self) -> None:
        """What is no unencrypted private key is refused, in words that hold nothing of it."""
        private = ec.generate_private_key(ec.SECP256R1())
        encrypted = private.private_bytes(
            Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b"secret")
        )
        for content in (b"", b"nothing", encrypted):
            with self.assertRaises(ValueError) as caught:
                AccountKey.from_pem(content)
            self.assertNotIn("secret", str(caught.exception))

    def test_repr(self) -> None:
        """No repr shows a key."""
        key = ec_key()
        for shown in (repr(key), str(key)):
            self.assertNotIn(EC_D, shown)
            self.assertNotIn("PRIVATE", shown)


class SignatureTests(SynchronousTestCase):
    def message(self, key: AccountKey, payload: Any = None) -> dict[str, str]:
        """A request's body, decoded."""
        message: dict[str, str] = json.loads(key.sign(HEADER, payload))
        return message

    def test_vector(self) -> None:
        """What these tests verify with accepts the signature of RFC 7515 A.3, and no other."""
        verify(SIGNED, EC)
        with self.assertRaises(InvalidSignature):
            verify({**SIGNED, "protected": b64url(b'{"alg":"ES256" }')}, EC)

    def test_es256(self) -> None:
        """A signature by P-256 is r and s, 32 bytes each, and verifies with the key's JWK."""
        for _ in range(20):
            message = self.message(ec_key(), {"a": 1})
            self.assertEqual(len(octets(message["signature"])), 64)
            verify(message, EC)

    def test_small_halves(self) -> None:
        """A half that begins with a zero byte has 32 bytes all the same (RFC 7518 3.4)."""
        key = ec_key()
        for _ in range(10_000):  # one in 128 has such a half
            message = self.message(key)
            signature = octets(message["signature"])
            self.assertEqual(len(signature), 64)
            if 0 in {signature[0], signature[32]}:
                verify(message, EC)
                return
        self.fail("no small half in so many signatures")

    def test_rs256(self) -> None:
        """A signature by RSA is RS256."""
        message = self.message(rsa_key(), {"a": 1})
        self.assertEqual(protected_of(message)["alg"], "RS256")
        verify(message, rsa_key().jwk)

    def test_form(self) -> None:
        """The body is the flattened form with exactly its three members (RFC 8555 6.2)."""
        message = self.message(ec_key(), {"a": "b\N{LATIN SMALL LETTER E WITH ACUTE}"})
        self.assertEqual(set(message), {"protected", "payload", "signature"})
        self.assertEqual(payload_of(message), {"a": "b\N{LATIN SMALL LETTER E WITH ACUTE}"})

    def test_protected(self) -> None:
        """Algorithm, nonce, URL and account are all in the protected header, and no jwk is."""
        self.assertEqual(protected_of(self.message(ec_key())), {"alg": "ES256", **HEADER})

    def test_post_as_get(self) -> None:
        """Without a payload it is the empty string, and an empty object is one (RFC 8555 6.3)."""
        self.assertEqual(self.message(ec_key(), None)["payload"], "")
        self.assertEqual(payload_of(self.message(ec_key(), {})), {})

    def test_base64url(self) -> None:
        """Base64url is without padding, with - and _ (RFC 7515 C)."""
        self.assertEqual(b64url(bytes([3, 236, 255, 224, 193])), "A-z_4ME")
        self.assertEqual(b64url(b""), "")


class InnerTests(SynchronousTestCase):
    """Signatures within signed requests."""

    def test_external_account(self) -> None:
        """The binding is the new key, under the MAC of the external account (RFC 8555 7.3.4)."""
        mac_key = bytes(range(32))
        binding: Any = external_binding(ec_key(), "kid-1", mac_key, URL)
        verify_mac(binding, mac_key)
        with self.assertRaises(InvalidSignature):
            verify_mac(binding, mac_key[::-1])
        expected = {"alg": "HS256", "kid": "kid-1", "url": URL}
        self.assertEqual(protected_of(binding), expected)  # and no nonce
        self.assertEqual(payload_of(binding), EC)

    def test_key_change(self) -> None:
        """The inner one is by the new key, names account and old key, and has no nonce (7.3.5)."""
        new = AccountKey.generate()
        inner: Any = key_change(ec_key(), new, KID, URL)
        verify(inner, new.jwk)
        with self.assertRaises(InvalidSignature):
            verify(inner, EC)
        self.assertEqual(protected_of(inner), {"alg": "ES256", "jwk": new.jwk, "url": URL})
        self.assertEqual(payload_of(inner), {"account": KID, "oldKey": EC})

    def test_key_change_of_another_kind(self) -> None:
        """A key of RSA is replaced by one on P-256 and the other way round."""
        inner: Any = key_change(ec_key(), rsa_key(), KID, URL)
        verify(inner, rsa_key().jwk)
        self.assertEqual(protected_of(inner)["alg"], "RS256")
        inner = key_change(rsa_key(), ec_key(), KID, URL)
        verify(inner, EC)


def certificate(serial: int, *identifiers: x509.ExtensionType) -> x509.Certificate:
    """One with a serial number and some extensions."""
    key = ec.generate_private_key(ec.SECP256R1())
    now = datetime.now(UTC)
    builder = (
        x509.CertificateBuilder(x509.Name([]), x509.Name([]), key.public_key(), serial)
        .not_valid_before(now)
        .not_valid_after(now + timedelta(days=1))
    )
    for identifier in identifiers:
        builder = builder.add_extension(identifier, critical=False)
    return builder.sign(key, SHA256())


class CertificateIdTests(SynchronousTestCase):
    ISSUER = bytes.fromhex("69885b6b87464041e1b37b847ba0ae2cde01c8d4")

    def test_vector(self) -> None:
        """The example of RFC 9773 4.1, whose serial number takes a leading zero byte."""
        issuer = x509.AuthorityKeyIdentifier(self.ISSUER, None, None)
        self.assertEqual(
            certificate_id(certificate(0x87654321, issuer)), "aYhba4dGQEHhs3uEe6CuLN4ByNQ.AIdlQyE"
        )

    def test_serials(self) -> None:
        """A serial number is as in DER: a zero byte before a first bit that is set, else none."""
        issuer = x509.AuthorityKeyIdentifier(self.ISSUER, None, None)
        for serial, expected in ((1, "01"), (0x7F, "7f"), (0x80, "0080"), (0x100, "0100")):
            found = certificate_id(certificate(serial, issuer)).partition(".")[2]
            self.assertEqual(octets(found).hex(), expected)

    def test_none(self) -> None:
        """A certificate that does not name its issuer's key has none."""
        self.assertEqual(certificate_id(certificate(1)), "")
        names = [x509.DNSName("ca.test")]
        other = x509.AuthorityKeyIdentifier(None, names, 1)
        self.assertEqual(certificate_id(certificate(1, other)), "")
