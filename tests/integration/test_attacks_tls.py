"""What a TLS client may try against sites that share a port."""

from __future__ import annotations

import socket
import ssl
import subprocess
from typing import Any

from tests.support.cases import ProxyCase
from tests.support.certificates import authority
from tests.support.peers import require
from tests.support.proxy import Sites
from tests.support.raw_client import RawClient, client_context
from tests.support.recording_upstream import RecordingUpstream
from tests.support.tls_client import TlsClient

VERSIONS = (ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3)


class SessionTests(ProxyCase):
    """A session ticket resumes on the site that gave it, nowhere else."""

    @classmethod
    def sites(cls, upstream: RecordingUpstream) -> Sites:
        """Two sites."""
        return {cls.HOST: upstream.address, "tenant.test": upstream.address}

    @classmethod
    def overrides(cls) -> dict[str, Any]:
        """Two certificates."""
        pairs = [authority().pair("site.test"), authority().pair("tenant.test")]
        return {"certificates": pairs}

    def session(self, context: ssl.SSLContext) -> ssl.SSLSession:
        """A session of :attr:`HOST`."""
        with self.client(context=context) as client:
            self.assertEqual(client.ask(self.request()).status, 200)
            session = client.tls_sock.session
            self.assertIsNotNone(session)
            assert session is not None
            return session

    def test_resumption_on_the_same_site(self) -> None:
        """A ticket resumes on its own site."""
        for version in VERSIONS:
            context = client_context(version=version)
            with self.client(context=context, session=self.session(context)) as client:
                self.assertTrue(client.tls_sock.session_reused, version)
                self.assertEqual(client.ask(self.request()).status, 200)

    def test_ticket_offered_to_another_site(self) -> None:
        """A ticket of one site offered to another means a full handshake there."""
        for version in VERSIONS:
            context = client_context(version=version)
            session = self.session(context)
            with self.client("tenant.test", context=context, session=session) as client:
                self.assertFalse(client.tls_sock.session_reused, version)
                certificate = client.tls_sock.getpeercert() or {}
                self.assertEqual(certificate["subjectAltName"], (("DNS", "tenant.test"),))
                response = client.ask(self.request(host=b"tenant.test"))
                self.assertEqual(response.status, 200)


class NoTicketTests(ProxyCase):
    """``tls.session_tickets = false``."""

    OVERRIDES = {"tls": {"session_tickets": False}}

    def test_no_ticket(self) -> None:
        """No ticket is given, and TLS 1.3 resumes nothing."""
        for version in VERSIONS:
            context = client_context(version=version)
            with self.client(context=context) as client:
                self.assertEqual(client.ask(self.request()).status, 200)
                session = client.tls_sock.session
                self.assertFalse(session is not None and session.has_ticket)
        with self.client(context=context, session=session) as client:
            self.assertFalse(client.tls_sock.session_reused)


class HandshakeTests(ProxyCase):
    """Versions, ciphers, and what is no TLS at all."""

    def raw(self, sent: bytes) -> bytes:
        """Everything that comes back for ``sent`` on the TLS port."""
        sock = socket.create_connection(("127.0.0.1", self.proxy.https_port), 5)
        client = RawClient(sock)
        self.addCleanup(client.close)
        return client.send(sent).read_until_close()

    def test_plain_http_on_the_tls_port(self) -> None:
        """A plain HTTP request on the TLS port is 400 in plain text, then close."""
        for method in (b"GET", b"POST", b"PROPFIND"):
            raw = self.raw(self.request(method=method))
            self.assertTrue(raw.startswith(b"HTTP/1.1 400 Bad Request\r\n"), raw)
        self.assert_nothing_forwarded()

    def test_garbage(self) -> None:
        """Bytes that are neither TLS nor HTTP end the connection at once."""
        for garbage in (
            b"\x00" * 100,
            b"\x80\x2e\x01\x03\x01" + b"\x00" * 50,
            b"\x16\x03\x01\x00\x00",
            b"\x16\x03\x01\x00\x05\x02\x00\x00\x01\x00",
            b"\x17\x03\x03\x00\x05hello",
            b"\x15\x03\x01\x00\x02\x02\x28",
            b"SSH-2.0-OpenSSH_9.2\r\n",
        ):
            raw = self.raw(garbage)
            self.assertFalse(raw.startswith(b"\x16"), garbage)
        self.assertEqual(self.get(b"/").status, 200)

    def test_versions(self) -> None:
        """TLS 1.2 and 1.3 are spoken, 1.1 is refused."""
        for version, name in zip(VERSIONS, ("TLSv1.2", "TLSv1.3"), strict=True):
            with self.client(context=client_context(version=version)) as client:
                self.assertEqual(client.tls_sock.version(), name)
        old = client_context()
        old.set_ciphers("ALL:@SECLEVEL=0")
        old.minimum_version = ssl.TLSVersion.TLSv1
        old.maximum_version = ssl.TLSVersion.TLSv1_1
        self.assertRaises(OSError, self.client, context=old)
        self.flushWarnings()  # Python deprecates the versions that are refused here

    def test_ciphers(self) -> None:
        """On TLS 1.2 only the four named suites are spoken."""
        for suite, spoken in [
            ("ECDHE-ECDSA-AES128-GCM-SHA256", True),
            ("ECDHE-ECDSA-AES256-GCM-SHA384", True),
            ("ECDHE-ECDSA-CHACHA20-POLY1305", False),
            ("ECDHE-ECDSA-AES128-SHA256", False),
            ("ECDHE-ECDSA-AES256-SHA", False),
            ("ECDHE-ECDSA-AES128-CCM", False),
        ]:
            context = client_context(version=ssl.TLSVersion.TLSv1_2)
            context.set_ciphers(suite + ":@SECLEVEL=0")
            if spoken:
                with self.client(context=context) as client:
                    self.assertEqual((client.tls_sock.cipher() or ("",))[0], suite)
            else:
                self.assertRaises(OSError, self.client, context=context)

    def test_alpn(self) -> None:
        """http/1.1 is chosen when offered, and a client without ALPN is served."""
        for offer in ((), ("http/1.1",), ("http/1.1", "http/1.0")):
            client = self.client(context=client_context(alpn=offer))
            expected = "http/1.1" if offer else None
            self.assertEqual(client.tls_sock.selected_alpn_protocol(), expected)
            self.assertEqual(client.ask(self.request()).status, 200)

    def test_no_compression(self) -> None:
        """TLS compression is off."""
        self.assertIsNone(self.client().tls_sock.compression())

    def test_handshake_in_pieces(self) -> None:
        """A handshake and a request cut into pieces of any size are understood."""
        for size in (1, 2, 7, 100):
            client = TlsClient(self.proxy.https_port, self.HOST, size)
            self.addCleanup(client.close)
            client.send(self.request())
            self.assertTrue(client.read().startswith(b"HTTP/1.1 200 "), size)

    def test_renegotiation(self) -> None:
        """A client that renegotiates on TLS 1.2 is refused."""
        address = f"127.0.0.1:{self.proxy.https_port}"
        command = [require("openssl"), "s_client", "-tls1_2", "-connect", address]
        done = subprocess.run(
            [*command, "-servername", self.HOST],
            input=b"R\n",
            capture_output=True,
            timeout=20,
            check=False,
        )
        self.assertIn(b"RENEGOTIATING", done.stdout + done.stderr)
        self.assertIn(b"no renegotiation", done.stdout + done.stderr)
