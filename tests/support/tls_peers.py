"""Handshakes in memory: a real OpenSSL on both sides and no socket between them.

Owns how the two are driven. Refuses to know what is asserted about them.
"""

from __future__ import annotations

import ssl
from datetime import UTC, datetime

NOW = datetime.now(UTC).timestamp()
"""Seconds since 1970 when the tests began."""

TLS_1_2 = ssl.TLSVersion.TLSv1_2
TLS_1_3 = ssl.TLSVersion.TLSv1_3


def client_context(
    version: ssl.TLSVersion = TLS_1_3, *, alpn: tuple[str, ...] = (), ciphers: str = ""
) -> ssl.SSLContext:
    """A context that offers exactly ``version`` and trusts anybody."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    context.minimum_version = context.maximum_version = version
    if alpn:
        context.set_alpn_protocols(list(alpn))
    if ciphers:
        context.set_ciphers(ciphers)
    return context


class Handshake:
    """One handshake, driven to its end on construction.

    Attributes:
        client: the client's side.
        server: the server's side.
        last_records: how many records the server sent last of all; in TLS 1.3 its tickets.

    Raises:
        ssl.SSLError: whichever side refuses first.
    """

    def __init__(
        self,
        server: ssl.SSLContext,
        client: ssl.SSLContext,
        name: str = "a.test",
        session: ssl.SSLSession | None = None,
    ) -> None:
        to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
        self.server = server.wrap_bio(to_server, to_client, server_side=True)
        self.client = client.wrap_bio(to_client, to_server, server_hostname=name, session=session)
        pending = [self.client, self.server]
        while pending:
            side = pending.pop(0)
            try:
                side.do_handshake()
            except ssl.SSLWantReadError:
                pending.append(side)
        last_flight = to_client.read()
        to_client.write(last_flight)
        self.last_records = _count_records(last_flight)
        # TLS 1.3 tickets arrive with the first read; an orderly end keeps session ids valid.
        self.server.write(b"x")
        self.client.read(1)
        self._close()

    def _close(self) -> None:
        for side in (self.client, self.server, self.client):
            try:
                side.unwrap()
            except ssl.SSLWantReadError:
                pass

    @property
    def resumed(self) -> bool:
        """Whether the session offered was taken up."""
        return bool(self.client.session_reused)


def _count_records(sent: bytes) -> int:
    count = 0
    while sent:
        sent = sent[5 + int.from_bytes(sent[3:5], "big") :]
        count += 1
    return count
