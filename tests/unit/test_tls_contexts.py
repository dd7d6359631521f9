"""What a server context speaks, by real handshakes in memory."""

from __future__ import annotations

import ssl

from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    PrivateFormat,
    load_pem_private_key,
)
from twisted.trial.unittest import SynchronousTestCase

from revproxy.tls import contexts
from revproxy.tls.contexts import HTTP_1_1, TLS_1_2_SUITES, server_context
from revproxy.tls.self_signed import self_signed
from tests.support.tls_peers import NOW, TLS_1_2, TLS_1_3, Handshake, client_context

PAIR = self_signed(["a.test"], now=NOW)


def context_for(*, session_tickets: bool = True) -> ssl.SSLContext:
    return server_context(*PAIR, alpn=HTTP_1_1, session_tickets=session_tickets)


class VersionTests(SynchronousTestCase):
    """Protocol versions, suites and ALPN."""

    def test_versions(self) -> None:
        """TLS 1.2 and 1.3 are spoken."""
        context = context_for()
        for version, name in ((TLS_1_2, "TLSv1.2"), (TLS_1_3, "TLSv1.3")):
            self.assertEqual(Handshake(context, client_context(version)).server.version(), name)

    def test_tls_1_1(self) -> None:
        """A downstream that offers no more than TLS 1.1 is refused for its version."""
        body = b"\3\2" + bytes(32) + b"\0" + b"\0\4\xc0\x0a\xc0\x09" + b"\1\0"
        hello = b"\1" + len(body).to_bytes(3, "big") + body
        record = b"\x16\3\1" + len(hello).to_bytes(2, "big") + hello
        incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        incoming.write(record)
        with self.assertRaisesRegex(ssl.SSLError, "UNSUPPORTED_PROTOCOL"):
            context_for().wrap_bio(incoming, outgoing, server_side=True).do_handshake()
        self.assertEqual(outgoing.read()[-2:], b"\2\x46")  # fatal, protocol_version

    def test_suites(self) -> None:
        """TLS 1.2 has the four suites and no other; TLS 1.3 has OpenSSL's three."""
        names = [suite["name"] for suite in context_for().get_ciphers()]
        self.assertEqual(tuple(n for n in names if not n.startswith("TLS_")), TLS_1_2_SUITES)
        self.assertEqual(sum(n.startswith("TLS_") for n in names), 3)

    def test_other_suite(self) -> None:
        """A TLS 1.2 downstream with other suites only is refused."""
        other = client_context(TLS_1_2, ciphers="ECDHE-ECDSA-CHACHA20-POLY1305:AES128-GCM-SHA256")
        with self.assertRaises(ssl.SSLError):
            Handshake(context_for(), other)

    def test_downstream_preference(self) -> None:
        """The downstream's order of suites decides."""
        context = context_for()
        for first, second in (("128", "256"), ("256", "128")):
            hashes = {"128": "SHA256", "256": "SHA384"}
            wanted = [f"ECDHE-ECDSA-AES{size}-GCM-{hashes[size]}" for size in (first, second)]
            done = Handshake(context, client_context(TLS_1_2, ciphers=":".join(wanted)))
            cipher = done.server.cipher()
            self.assertEqual(cipher and cipher[0], wanted[0])

    def test_alpn(self) -> None:
        """http/1.1 is chosen among what is offered; without common ground there is none."""
        context = context_for()
        for offered, chosen in ((("h2", "http/1.1"), "http/1.1"), (("h2",), None), ((), None)):
            done = Handshake(context, client_context(alpn=offered))
            self.assertEqual(done.server.selected_alpn_protocol(), chosen)

    def test_options(self) -> None:
        """Compression and renegotiation are off."""
        wanted = ssl.OP_NO_COMPRESSION | ssl.OP_NO_RENEGOTIATION
        self.assertEqual(context_for().options & wanted, wanted)

    def test_without_memory_files(self) -> None:
        """Where the system has no files in memory the pair is loaded all the same."""
        self.patch(contexts, "_IN_MEMORY", False)
        Handshake(context_for(), client_context())

    def test_encrypted_key(self) -> None:
        """An encrypted key is an error at once; nobody is asked for a password."""
        key = load_pem_private_key(PAIR[1], None).private_bytes(
            Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b"secret")
        )
        with self.assertRaises(ssl.SSLError):
            server_context(PAIR[0], key, alpn=HTTP_1_1, session_tickets=True)


class ResumptionTests(SynchronousTestCase):
    """Session tickets and ids."""

    def resumes(
        self, first: ssl.SSLContext, second: ssl.SSLContext, version: ssl.TLSVersion
    ) -> bool:
        client = client_context(version)
        session = Handshake(first, client).client.session
        return Handshake(second, client, session=session).resumed

    def test_ticket(self) -> None:
        """A ticket resumes under the context that issued it, in both versions."""
        context = context_for()
        for version in (TLS_1_2, TLS_1_3):
            self.assertTrue(self.resumes(context, context, version))

    def test_ticket_of_another_context(self) -> None:
        """A ticket offered to another context gives a full handshake, not an error."""
        for version in (TLS_1_2, TLS_1_3):
            self.assertFalse(self.resumes(context_for(), context_for(), version))

    def test_one_ticket(self) -> None:
        """A full TLS 1.3 handshake issues one ticket, and none with tickets off."""
        for session_tickets, sent in ((True, 1), (False, 0)):
            context = context_for(session_tickets=session_tickets)
            self.assertEqual(Handshake(context, client_context()).last_records, sent)

    def test_tickets_off(self) -> None:
        """Without tickets none is issued in either version, and TLS 1.3 does not resume."""
        context = context_for(session_tickets=False)
        for version in (TLS_1_2, TLS_1_3):
            session = Handshake(context, client_context(version)).client.session
            self.assertFalse(session is not None and session.has_ticket)
        self.assertFalse(self.resumes(context, context, TLS_1_3))

    def test_session_ids(self) -> None:
        """Without tickets TLS 1.2 resumes by session id, under the same context only."""
        context = context_for(session_tickets=False)
        self.assertTrue(self.resumes(context, context, TLS_1_2))
        self.assertFalse(self.resumes(context, context_for(session_tickets=False), TLS_1_2))
