"""Self-signed pairs, how they are put on disk, and trust in upstreams."""

from __future__ import annotations

import os
import ssl
from datetime import UTC, datetime
from ipaddress import ip_address
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from twisted.trial.unittest import SynchronousTestCase

from revproxy.model.configuration import CertificatePair
from revproxy.tls.certificates import load_identity
from revproxy.tls.self_signed import self_signed, write_pair
from revproxy.tls.trust import upstream_context
from tests.support.certificates import authority
from tests.support.tls_peers import NOW, Handshake


class SelfSignedTests(SynchronousTestCase):
    """What a self-signed certificate says."""

    def test_content(self) -> None:
        """It is a P-256 certificate for the hosts and addresses, valid for the days asked for."""
        pem, _ = self_signed(["a.test", "*.b.test", "127.0.0.1", "::1"], now=NOW, days=3)
        certificate = x509.load_pem_x509_certificate(pem)
        key = certificate.public_key()
        assert isinstance(key, ec.EllipticCurvePublicKey)
        self.assertEqual(key.curve.name, "secp256r1")
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        self.assertEqual(names.get_values_for_type(x509.DNSName), ["a.test", "*.b.test"])
        self.assertEqual(
            names.get_values_for_type(x509.IPAddress), [ip_address("127.0.0.1"), ip_address("::1")]
        )
        moment = datetime.fromtimestamp(int(NOW), UTC)
        self.assertEqual((certificate.not_valid_after_utc - moment).days, 3)
        self.assertLess(certificate.not_valid_before_utc, moment)

    def test_no_host(self) -> None:
        """A certificate for nobody is refused."""
        with self.assertRaises(ValueError):
            self_signed([], now=NOW)


class WritePairTests(SynchronousTestCase):
    """Files on disk."""

    def setUp(self) -> None:
        self.folder = Path(self.mktemp()).absolute()
        self.addCleanup(os.umask, os.umask(0))

    def modes(self) -> dict[str, int]:
        return {path.name: path.stat().st_mode & 0o777 for path in self.folder.iterdir()}

    def test_modes(self) -> None:
        """Under any umask only the owner can read the key; nothing else is left behind."""
        write_pair(self.folder, *self_signed(["a.test"], now=NOW))
        self.assertEqual(self.modes(), {"fullchain.pem": 0o644, "privkey.pem": 0o600})
        self.assertEqual(self.folder.stat().st_mode & 0o777, 0o700)

    def test_replaces(self) -> None:
        """An earlier pair is replaced, its key's wider mode too."""
        write_pair(self.folder, b"old", b"old")
        (self.folder / "privkey.pem").chmod(0o644)
        pair = write_pair(self.folder, *self_signed(["a.test"], now=NOW))
        self.assertEqual(load_identity(pair, now=NOW).name, "a.test")
        self.assertEqual(self.modes(), {"fullchain.pem": 0o644, "privkey.pem": 0o600})

    def test_failure(self) -> None:
        """A replacement that fails leaves no temporary file."""
        (self.folder / "privkey.pem").mkdir(parents=True)
        with self.assertRaises(OSError):
            write_pair(self.folder, b"cert", b"key")
        self.assertEqual([path.name for path in self.folder.iterdir()], ["privkey.pem"])


class UpstreamTrustTests(SynchronousTestCase):
    """Which upstreams are believed."""

    def trusting(self, variable: str, value: str) -> ssl.SSLContext:
        for name in ("SSL_CERT_FILE", "SSL_CERT_DIR"):
            self.addCleanup(self._restore, name, os.environ.pop(name, None))
        os.environ[variable] = value
        return upstream_context()

    @staticmethod
    def _restore(name: str, value: str | None) -> None:
        os.environ.pop(name, None)
        if value is not None:
            os.environ[name] = value

    def serving(self, *names: str) -> ssl.SSLContext:
        issued = authority().pair(*names)
        return load_identity(CertificatePair(issued.cert_path, issued.key_path), now=NOW).context

    def test_private_root(self) -> None:
        """A root in SSL_CERT_FILE is trusted; HTTP/1.1 is agreed on."""
        client = self.trusting("SSL_CERT_FILE", authority().ca_path)
        done = Handshake(self.serving("up.test"), client, "up.test")
        self.assertEqual(done.client.selected_alpn_protocol(), "http/1.1")

    def test_address(self) -> None:
        """An upstream named by its IP address is checked against the certificate's addresses."""
        client = self.trusting("SSL_CERT_FILE", authority().ca_path)
        Handshake(self.serving("up.test", "127.0.0.1"), client, "127.0.0.1")
        with self.assertRaises(ssl.SSLCertVerificationError):
            Handshake(self.serving("up.test", "127.0.0.1"), client, "127.0.0.2")

    def test_wrong_name(self) -> None:
        """A certificate for another name is refused."""
        client = self.trusting("SSL_CERT_FILE", authority().ca_path)
        with self.assertRaises(ssl.SSLCertVerificationError):
            Handshake(self.serving("up.test"), client, "other.test")

    def test_unknown_root(self) -> None:
        """A root that the system does not know is refused."""
        empty = Path(self.mktemp())
        empty.mkdir()
        client = self.trusting("SSL_CERT_DIR", str(empty))
        with self.assertRaises(ssl.SSLCertVerificationError):
            Handshake(self.serving("up.test"), client, "up.test")

    def test_versions(self) -> None:
        """TLS 1.2 is the least that is spoken, and the name is always checked."""
        context = upstream_context()
        self.assertEqual(context.minimum_version, ssl.TLSVersion.TLSv1_2)
        self.assertEqual(context.verify_mode, ssl.CERT_REQUIRED)
        self.assertTrue(context.check_hostname)
