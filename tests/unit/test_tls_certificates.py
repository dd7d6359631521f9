"""Pairs on disk: what is served, what is shared, and the sentence for every bad one."""

from __future__ import annotations

import os
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)
from cryptography.x509.oid import NameOID
from twisted.trial.unittest import SynchronousTestCase

from revproxy.errors import ConfigError
from revproxy.model.configuration import CertificatePair
from revproxy.tls import pem
from revproxy.tls.certificates import TICKET_KEY_SECS, Identities, load_identity
from revproxy.tls.pem import MAX_PEM_BYTES, MOST_READS
from revproxy.tls.self_signed import self_signed, write_pair
from tests.support.certificates import authority
from tests.support.tls_peers import NOW, TLS_1_2, TLS_1_3, Handshake, client_context

DAY = 86400


def without_dns_name(
    key: ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey, alternative: x509.GeneralName | None
) -> bytes:
    """A certificate for the common name a.test whose subjectAltName holds no DNS name."""
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "a.test")])
    moment = datetime.fromtimestamp(NOW, UTC)
    builder = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(moment - timedelta(days=1))
        .not_valid_after(moment + timedelta(days=1))
    )
    if alternative is not None:
        builder = builder.add_extension(x509.SubjectAlternativeName([alternative]), False)
    return builder.sign(key, SHA256()).public_bytes(Encoding.PEM)


class PairCase(SynchronousTestCase):
    """A folder with a good pair for a.test and *.b.test, to be spoilt."""

    def setUp(self) -> None:
        self.folder = Path(self.mktemp()).absolute()
        self.cert_pem, self.key_pem = self_signed(["A.test", "*.b.test"], now=NOW, days=2)
        self.pair = write_pair(self.folder, self.cert_pem, self.key_pem)
        self.cert, self.key = Path(self.pair.cert_path), Path(self.pair.key_path)

    def refused(self, path: Path, message: str, now: float = NOW) -> None:
        with self.assertRaises(ConfigError) as caught:
            load_identity(self.pair, now=now)
        self.assertEqual((caught.exception.path, caught.exception.message), (str(path), message))


class LoadTests(PairCase):
    """A good pair."""

    def test_names(self) -> None:
        """The DNS names of the certificate are what the identity covers."""
        identity = load_identity(self.pair, now=NOW)
        self.assertEqual(identity.exact, {"a.test"})
        self.assertEqual(identity.wildcards, {"b.test"})
        self.assertEqual(identity.name, "a.test")
        self.assertTrue(identity.covers("x.b.test"))
        self.assertFalse(identity.covers("b.test") or identity.covers("x.y.b.test"))
        self.assertEqual(identity.names, ["a.test", "*.b.test"])

    def test_description(self) -> None:
        """What an operator is told about a certificate: its issuer, its end and its file."""
        identity = load_identity(self.pair, now=NOW)
        self.assertEqual(identity.issuer, "CN=revproxy self-signed")
        self.assertEqual(identity.not_after, float(int(NOW + 2 * DAY)))
        self.assertEqual(identity.source, self.pair.cert_path)

    def test_serves_the_certificate(self) -> None:
        """Handshakes present the certificate of the file."""
        identity = load_identity(self.pair, now=NOW)
        presented = Handshake(identity.context, client_context()).client.getpeercert(True)
        expected = x509.load_pem_x509_certificate(self.cert_pem).public_bytes(Encoding.DER)
        self.assertEqual(presented, expected)

    def test_serves_the_chain(self) -> None:
        """A downstream that trusts the root accepts the leaf with its chain."""
        issued = authority().pair("a.test")
        identity = load_identity(CertificatePair(issued.cert_path, issued.key_path), now=NOW)
        client = client_context()
        client.load_verify_locations(authority().ca_path)
        client.check_hostname = True
        Handshake(identity.context, client, "a.test")

    def test_rsa(self) -> None:
        """An RSA pair serves both versions."""
        key = rsa.generate_private_key(65537, 2048)
        self.cert.write_bytes(without_dns_name(key, x509.DNSName("a.test")))
        self.key.write_bytes(
            key.private_bytes(Encoding.PEM, PrivateFormat.TraditionalOpenSSL, NoEncryption())
        )
        identity = load_identity(self.pair, now=NOW)
        for version in (TLS_1_2, TLS_1_3):
            Handshake(identity.context, client_context(version))

    def test_one_file_for_both(self) -> None:
        """Certificate and key may share a file, the key before or after."""
        for content in (self.cert_pem + self.key_pem, self.key_pem + self.cert_pem):
            self.cert.write_bytes(content)
            pair = CertificatePair(str(self.cert), str(self.cert))
            Handshake(load_identity(pair, now=NOW).context, client_context())

    def test_repr(self) -> None:
        """No byte of the key is in a repr."""
        identity = load_identity(self.pair, now=NOW)
        self.assertNotIn("PRIVATE", repr(identity))
        self.assertNotIn("context", repr(identity))


class ExchangedPairTests(PairCase):
    """Pairs that are exchanged while they are being read."""

    def setUp(self) -> None:
        super().setUp()
        self.reads: list[str] = []
        self.exchanges = 1
        self.patch(pem, "_read", partial(self.read, pem._read))

    def read(self, really: Callable[[str], object], path: str) -> object:
        """Read a file; whoever exchanges the pair does so between the certificate and the key."""
        self.reads.append(path)
        content = really(path)
        if path == str(self.cert) and self.exchanges:
            self.exchanges -= 1
            write_pair(self.folder, *self_signed([f"{len(self.reads)}.test"], now=NOW))
        return content

    def test_once(self) -> None:
        """A pair that is exchanged meanwhile is read again, and served as it is then."""
        self.assertEqual(load_identity(self.pair, now=NOW).name, "1.test")
        self.assertEqual(self.reads, [str(self.cert), str(self.key)] * 2)

    def test_removed(self) -> None:
        """A pair whose certificate goes away meanwhile is missing."""
        self.exchanges = 0
        real = pem.file_version
        self.patch(pem, "file_version", lambda path: self.cert.unlink(True) or real(path))
        self.refused(self.cert, "cannot be read: No such file or directory")

    def test_again_and_again(self) -> None:
        """A pair that keeps changing is not read for ever, and what does not fit is refused."""
        self.exchanges = MOST_READS
        self.refused(self.key, f"is not the private key of the first certificate in {self.cert}")
        self.assertEqual(len(self.reads), 2 * MOST_READS)


class BadPairTests(PairCase):
    """One clear sentence for each bad pair, with the file it is about."""

    def test_missing(self) -> None:
        """A file that is not there is named."""
        self.key.unlink()
        self.refused(self.key, "cannot be read: No such file or directory")
        self.cert.unlink()
        self.refused(self.cert, "cannot be read: No such file or directory")

    def test_no_regular_file(self) -> None:
        """A directory or a FIFO is refused without waiting for it."""
        self.cert.unlink()
        self.cert.mkdir()
        self.refused(self.cert, "cannot be read: Is a directory")
        self.cert.rmdir()
        os.mkfifo(self.cert)
        self.refused(self.cert, "is not a regular file")

    def test_too_large(self) -> None:
        """A file over the limit is refused."""
        self.cert.write_bytes(self.cert_pem + b"\n" * MAX_PEM_BYTES)
        self.refused(self.cert, "is larger than 1048576 bytes")

    def test_garbage(self) -> None:
        """Files without PEM, with broken PEM and empty ones are refused."""
        for content in (b"", b"\0\xff", self.cert_pem[:200], self.cert_pem.replace(b"M", b"N")):
            self.cert.write_bytes(content)
            self.refused(self.cert, "holds no readable PEM certificate")
        self.cert.write_bytes(self.cert_pem)
        for content in (b"", b"\0\xff", self.key_pem[:80], self.cert_pem):
            self.key.write_bytes(content)
            self.refused(self.key, "holds no readable PEM private key")

    def test_broken_chain(self) -> None:
        """A bad certificate behind a good one is refused."""
        self.cert.write_bytes(self.cert_pem + self.cert_pem.replace(b"M", b"N"))
        self.refused(self.cert, "holds no readable PEM certificate")

    def test_encrypted(self) -> None:
        """An encrypted key is refused in either of its formats."""
        key = load_pem_private_key(self.key_pem, None)
        for key_format in (PrivateFormat.PKCS8, PrivateFormat.TraditionalOpenSSL):
            secret = BestAvailableEncryption(b"secret")
            self.key.write_bytes(key.private_bytes(Encoding.PEM, key_format, secret))
            self.refused(self.key, "is encrypted: store the private key without a password")

    def test_mismatch(self) -> None:
        """A key of another certificate is refused, whichever its type."""
        other = rsa.generate_private_key(65537, 2048)
        pem = other.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        for content in (self_signed(["a.test"], now=NOW)[1], pem):
            self.key.write_bytes(content)
            self.refused(
                self.key, f"is not the private key of the first certificate in {self.cert}"
            )

    def test_expired(self) -> None:
        """An expired certificate is refused with its date."""
        last = datetime.fromtimestamp(NOW + 2 * DAY, UTC)
        message = f"the certificate expired on {last:%Y-%m-%d %H:%M:%S} UTC"
        self.refused(self.cert, message, NOW + 2 * DAY + 1)

    def test_not_yet_valid(self) -> None:
        """A certificate from the future is refused with its date."""
        first = datetime.fromtimestamp(NOW - 3600, UTC)
        message = f"the certificate is not valid before {first:%Y-%m-%d %H:%M:%S} UTC"
        self.refused(self.cert, message, NOW - DAY)

    def test_no_dns_name(self) -> None:
        """A common name does not make up for a missing DNS name."""
        key = ec.generate_private_key(ec.SECP256R1())
        self.key.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
        for alternative in (None, x509.RFC822Name("a@a.test")):
            self.cert.write_bytes(without_dns_name(key, alternative))
            self.refused(
                self.cert,
                "the certificate names no host: its subjectAltName has no DNS name "
                "(the common name is not used)",
            )

    def test_weak_key(self) -> None:
        """What OpenSSL refuses is told with its reason."""
        key = rsa.generate_private_key(65537, 1024)
        self.cert.write_bytes(without_dns_name(key, x509.DNSName("a.test")))
        self.key.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
        self.refused(self.cert, "refused by OpenSSL: ee key too small")


class IdentitiesTests(PairCase):
    """Sharing what is loaded."""

    def test_same_content(self) -> None:
        """The same content gives the same identity, from whichever files."""
        identities = Identities()
        first = identities.load(self.pair, now=NOW)
        copy = write_pair(self.folder / "copy", self.cert_pem, self.key_pem)
        self.assertIs(identities.load(self.pair, now=NOW), first)
        self.assertIs(identities.load(copy, now=NOW), first)
        self.assertEqual(len(identities), 1)

    def test_renewed(self) -> None:
        """A renewed pair gives a new identity, a changed option too."""
        identities = Identities()
        first = identities.load(self.pair, now=NOW)
        self.assertIsNot(identities.load(self.pair, now=NOW, session_tickets=False), first)
        self.assertIsNot(identities.load(self.pair, now=NOW, alpn=("http/1.1",)), first)
        write_pair(self.folder, *self_signed(["a.test"], now=NOW))
        self.assertIsNot(identities.load(self.pair, now=NOW), first)

    def test_unused(self) -> None:
        """An identity that nobody holds any more is gone."""
        identities = Identities()
        identity = identities.load(self.pair, now=NOW)
        self.assertEqual(len(identities), 1)
        del identity
        self.assertEqual(len(identities), 0)

    def test_ticket_keys(self) -> None:
        """A load after the ticket keys' time gives new keys."""
        identities = Identities()
        first = identities.load(self.pair, now=NOW)
        second = identities.load(self.pair, now=NOW + TICKET_KEY_SECS)
        client = client_context()
        session = Handshake(first.context, client).client.session
        self.assertFalse(Handshake(second.context, client, session=session).resumed)

    def test_ticket_keys_expired(self) -> None:
        """Ticket keys are renewed even when the certificate has expired in service."""
        identities = Identities()
        first = identities.load(self.pair, now=NOW)
        self.assertIsNot(identities.load(self.pair, now=NOW + 3 * DAY), first)

    def test_read_every_time(self) -> None:
        """A shared identity does not hide that its key is gone."""
        identities = Identities()
        identity = identities.load(self.pair, now=NOW)
        self.key.unlink()
        with self.assertRaisesRegex(ConfigError, "cannot be read"):
            identities.load(self.pair, now=NOW)
        self.assertEqual(identity.name, "a.test")

    def test_expires_in_service(self) -> None:
        """What is being served may expire; what is not served any more may not come back."""
        identities = Identities()
        identity = identities.load(self.pair, now=NOW)
        later = NOW + 3 * DAY
        self.assertLess(identity.not_after, later)
        identity = identities.load(self.pair, now=later)
        self.assertIs(identities.load(self.pair, now=later), identity)
        del identity
        with self.assertRaisesRegex(ConfigError, "expired"):
            identities.load(self.pair, now=later)
