"""Names, challenge certificates as a validator sees them, paths, and signing requests."""

from __future__ import annotations

import ssl
from hashlib import sha256
from ipaddress import ip_address

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)
from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from revproxy.tls.acme.validation import (
    ACME_TLS,
    MAX_NAMES,
    alpn_context,
    alpn_identity,
    csr,
    http_path,
    new_key,
    normal_name,
    normal_names,
    server_name,
)
from tests.support.tls_peers import NOW, TLS_1_2, TLS_1_3, Handshake, client_context

AUTHORIZATION = "evaGxfADs6pSRb2LAv9IZf17Dt3juxGJ-PCt92wr-oA." + "N" * 43


def pem_of(key: ed25519.Ed25519PrivateKey | rsa.RSAPrivateKey, password: bytes = b"") -> bytes:
    encryption = BestAvailableEncryption(password) if password else NoEncryption()
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, encryption)


class NameTests(SynchronousTestCase):
    """Identifiers."""

    def test_normal(self) -> None:
        """Names are lower-cased, addresses spelt in the one way, each kept once and sorted."""
        names = ["B.test", "*.a.TEST", "2001:DB8:0::1", "b.test", "192.0.2.1", "xn--bcher-kva.de"]
        expected = ("*.a.test", "192.0.2.1", "2001:db8::1", "b.test", "xn--bcher-kva.de")
        self.assertEqual(normal_names(names), expected)

    def test_refused(self) -> None:
        """What cannot be an identifier is refused, also with what ends a line in it."""
        refused = ["", ".", "a.", ".a", "a..b", "*", "*a.test", "a.*.test", "*.*.test", "-a.test"]
        refused += ["b\u00fccher.de", "\u212a.test", "a b", "a\n", "a\0", "[::1]", "fe80::1%eth0"]
        refused += ["a" * 64 + ".test", ".".join(["a" * 60] * 5), "a/b", "u@a", "a:80"]
        for name in refused:
            with self.assertRaises(ValueError, msg=name):
                normal_name(name)
        for names in ([], [f"{number}.test" for number in range(MAX_NAMES + 1)]):
            with self.assertRaises(ValueError):
                normal_names(names)

    @settings(deadline=None, derandomize=True, max_examples=300)
    @given(st.text(max_size=30) | st.from_regex(r"\A[A-Za-z0-9.:*-]{1,30}\Z"))
    def test_once_is_enough(self, name: str) -> None:
        """A normal name is its own normal form, and can stand in a certificate request."""
        try:
            normal = normal_name(name)
        except ValueError:
            return
        self.assertEqual(normal_name(normal), normal)
        self.assertTrue(normal.isascii() and normal == normal.lower())

    def test_server_name(self) -> None:
        """A validator asks for an address by its reverse name (RFC 8738 6)."""
        self.assertEqual(server_name("A.test"), "a.test")
        self.assertEqual(server_name("192.0.2.1"), "1.2.0.192.in-addr.arpa")
        self.assertEqual(server_name("2001:db8::1"), "1." + "0." * 23 + "8.b.d.0.1.0.0.2.ip6.arpa")

    def test_http_path(self) -> None:
        """The path of RFC 8555 8.3."""
        self.assertEqual(http_path("tok"), "/.well-known/acme-challenge/tok")


class AlpnTests(SynchronousTestCase):
    """TLS-ALPN-01 (RFC 8737 3)."""

    def certificate(self, name: str) -> x509.Certificate:
        chain_pem, _ = alpn_identity(name, AUTHORIZATION, now=NOW)
        return x509.load_pem_x509_certificate(chain_pem)

    def test_identifier(self) -> None:
        """The critical extension acmeIdentifier holds the digest, and nothing else is critical."""
        extensions = self.certificate("a.test").extensions
        (critical,) = [extension for extension in extensions if extension.critical]
        self.assertEqual(critical.oid.dotted_string, "1.3.6.1.5.5.7.1.31")
        digest = sha256(AUTHORIZATION.encode()).digest()
        assert isinstance(critical.value, x509.UnrecognizedExtension)
        self.assertEqual(critical.value.value, b"\x04\x20" + digest)

    def test_one_name(self) -> None:
        """The subjectAltName holds the name and nothing else; an address as an address."""
        for name, expected in (
            ("A.test", x509.DNSName("a.test")),
            ("192.0.2.1", x509.IPAddress(ip_address("192.0.2.1"))),
            ("2001:db8::1", x509.IPAddress(ip_address("2001:db8::1"))),
        ):
            names = self.certificate(name).extensions.get_extension_for_class(
                x509.SubjectAlternativeName
            )
            self.assertEqual(list(names.value), [expected])

    def test_valid_and_self_signed(self) -> None:
        """It is valid now and signed with its own P-256 key."""
        certificate = self.certificate("a.test")
        certificate.verify_directly_issued_by(certificate)
        key = certificate.public_key()
        assert isinstance(key, ec.EllipticCurvePublicKey)
        self.assertEqual(key.curve.name, "secp256r1")
        since, until = certificate.not_valid_before_utc, certificate.not_valid_after_utc
        self.assertTrue(since.timestamp() < NOW < until.timestamp())

    def test_refused(self) -> None:
        """A wildcard cannot be validated so, and neither can what is no name."""
        for name in ("*.a.test", "a b"):
            with self.assertRaises(ValueError):
                alpn_identity(name, AUTHORIZATION, now=NOW)

    def test_handshakes(self) -> None:
        """A validator of either version agrees on acme-tls/1 and is shown the certificate."""
        context = alpn_context("a.test", AUTHORIZATION, now=NOW)
        for version in (TLS_1_2, TLS_1_3):
            done = Handshake(context, client_context(version, alpn=(ACME_TLS,)))
            self.assertEqual(done.client.selected_alpn_protocol(), ACME_TLS)
            shown = done.client.getpeercert(True)
            assert shown is not None
            extensions = x509.load_der_x509_certificate(shown).extensions
            extensions.get_extension_for_oid(x509.ObjectIdentifier("1.3.6.1.5.5.7.1.31"))

    def test_nothing_else(self) -> None:
        """No other protocol is agreed on, no older version spoken, no ticket given."""
        context = alpn_context("a.test", AUTHORIZATION, now=NOW)
        other = Handshake(context, client_context(alpn=("h2", "http/1.1")))
        self.assertIsNone(other.client.selected_alpn_protocol())
        self.assertEqual(context.minimum_version, ssl.TLSVersion.TLSv1_2)
        self.assertEqual(context.num_tickets, 0)
        self.assertTrue(context.options & ssl.OP_NO_TICKET)


class RequestTests(SynchronousTestCase):
    """Signing requests."""

    def test_content(self) -> None:
        """The subject is empty, the names are in subjectAltName, the key's signature holds."""
        key_pem = new_key()
        request = x509.load_der_x509_csr(csr(["B.test", "192.0.2.1", "*.a.test"], key_pem))
        self.assertTrue(request.is_signature_valid)
        self.assertEqual(list(request.subject), [])
        (extension,) = request.extensions
        assert isinstance(extension.value, x509.SubjectAlternativeName)
        dns, ip = x509.DNSName, x509.IPAddress
        expected = [dns("*.a.test"), ip(ip_address("192.0.2.1")), dns("b.test")]
        self.assertEqual(list(extension.value), expected)
        key = load_pem_private_key(key_pem, None)
        self.assertEqual(request.public_key(), key.public_key())

    def test_new_key(self) -> None:
        """Each new key is another P-256 key."""
        first, second = new_key(), new_key()
        self.assertNotEqual(first, second)
        key = load_pem_private_key(first, None)
        assert isinstance(key, ec.EllipticCurvePrivateKey)
        self.assertEqual(key.curve.name, "secp256r1")

    def test_rsa(self) -> None:
        """An RSA key serves as well."""
        request = csr(["a.test"], pem_of(rsa.generate_private_key(65537, 2048)))
        self.assertTrue(x509.load_der_x509_csr(request).is_signature_valid)

    def test_refused(self) -> None:
        """Another kind of key, an encrypted one, garbage, no name or a bad one are refused."""
        other = ed25519.Ed25519PrivateKey.generate()
        for key_pem in (b"", b"garbage", pem_of(other), pem_of(other, b"password")):
            with self.assertRaises(ValueError):
                csr(["a.test"], key_pem)
        for names in ([], ["a b"]):
            with self.assertRaises(ValueError):
                csr(names, new_key())
