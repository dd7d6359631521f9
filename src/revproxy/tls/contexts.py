"""The contexts that handshakes with downstreams use.

Owns which protocol versions, cipher suites and session mechanisms are spoken. Refuses to know
where a certificate came from and whether it is any good.
"""

from __future__ import annotations

import os
import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from tempfile import NamedTemporaryFile

HTTP_1_1 = ("http/1.1",)
"""ALPN: the protocol that upstreams are spoken to in (RFC 7301 6)."""

HTTP = ("h2", "http/1.1")
"""ALPN: the protocols that a front speaks, best first."""

TLS_1_2_SUITES = (
    "ECDHE-ECDSA-AES128-GCM-SHA256",
    "ECDHE-RSA-AES128-GCM-SHA256",
    "ECDHE-ECDSA-AES256-GCM-SHA384",
    "ECDHE-RSA-AES256-GCM-SHA384",
)
"""What TLS 1.2 may negotiate: forward secret and authenticated. TLS 1.3 keeps all it has."""

_IN_MEMORY = hasattr(os, "memfd_create") and os.path.isdir("/proc/self/fd")


def server_context(
    chain_pem: bytes, key_pem: bytes, *, alpn: tuple[str, ...], session_tickets: bool
) -> ssl.SSLContext:
    """A context for the server's side that presents one certificate.

    TLS 1.2 and 1.3, the suites of :data:`TLS_1_2_SUITES` in the peer's order of preference, no
    compression, no renegotiation. The groups are OpenSSL's own, X25519 before P-256: the
    standard library could only narrow them to one, and a peer that guessed another would pay
    a round trip.

    With tickets, a full TLS 1.3 handshake issues one instead of OpenSSL's two, which is all
    that one reconnection needs and costs the server half. The ticket keys are the context's own.
    Without tickets TLS 1.3 does not resume. TLS 1.2 peers that have no ticket resume by session
    id, from the context's own cache of at most 20 480 sessions of 1 KiB: OpenSSL's bound, which
    the standard library cannot change.

    Args:
        chain_pem: the certificate, then its chain, ending with a line break.
        key_pem: the private key.
        alpn: the protocols to accept, best first (RFC 7301).
        session_tickets: whether sessions are resumed by tickets (RFC 5077, RFC 8446 4.6.1).

    Raises:
        ssl.SSLError: OpenSSL refuses the pair: mismatched, encrypted, or too weak a key.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_ciphers(":".join(TLS_1_2_SUITES))
    context.options |= ssl.OP_NO_COMPRESSION | ssl.OP_NO_RENEGOTIATION
    context.options &= ~ssl.OP_CIPHER_SERVER_PREFERENCE
    context.num_tickets = 1 if session_tickets else 0
    if not session_tickets:
        context.options |= ssl.OP_NO_TICKET
    context.set_alpn_protocols(list(alpn))
    with _as_file(chain_pem + key_pem) as path:
        context.load_cert_chain(path, password=_no_password)
    return context


def _no_password() -> bytes:
    """Stands in for OpenSSL's own question, which would block on the terminal."""
    return b""


@contextmanager
def _as_file(content: bytes) -> Iterator[str]:
    """A file with ``content`` for as long as the block runs, readable by this user only.

    ``load_cert_chain`` takes file names. Giving it the operator's files could load other bytes
    than those that were checked. The file is in memory where the system has such files.
    """
    if _IN_MEMORY:
        with open(os.memfd_create("revproxy-pem"), "wb") as file:
            file.write(content)
            file.flush()
            yield f"/proc/self/fd/{file.fileno()}"
    else:
        with NamedTemporaryFile(prefix="revproxy-") as file:
            file.write(content)
            file.flush()
            yield file.name
