"""Whom to trust when the upstream speaks TLS.

Owns the context for the client's side. Refuses to know upstreams and their names.
"""

from __future__ import annotations

import ssl

from revproxy.tls.contexts import HTTP_1_1


def upstream_context() -> ssl.SSLContext:
    """A new context that verifies upstreams against the system's roots and by their name.

    The roots are OpenSSL's: its built-in paths, or what the environment variables
    ``SSL_CERT_FILE`` and ``SSL_CERT_DIR`` name when the context is made. TLS 1.2 or later, ALPN
    ``http/1.1``, no renegotiation. Reading some 150 roots takes 20 ms: make one and share it.

    A connection that ends without close_notify is an error here (:class:`ssl.SSLEOFError`),
    because a response that lasts until the connection closes may not be cut unseen (RFC 8446
    6.1). ``SSLKEYLOGFILE`` is not honoured, unlike by ``ssl.create_default_context``.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)  # CERT_REQUIRED and check_hostname
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.options |= ssl.OP_NO_COMPRESSION | ssl.OP_NO_RENEGOTIATION
    context.options &= ~ssl.OP_IGNORE_UNEXPECTED_EOF
    context.set_alpn_protocols(list(HTTP_1_1))
    context.load_default_certs()
    return context
