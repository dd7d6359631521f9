"""What is known of a TLS connection before and after its handshake.

Owns the values that pass between the TLS layer (``net/``), which sees the bytes, and the
certificates (``tls/``), which know the answers. Refuses to know either.
"""

from __future__ import annotations

from math import inf
from ssl import SSLContext

from attrs import field, frozen

TlsContext = SSLContext
"""The type of what handshakes are made with, for packages that only hand it on."""

UNRECOGNIZED_NAME = 112
"""TLS alert: no certificate covers the name asked for (RFC 6066 3)."""


@frozen
class ClientHello:
    """The parts of a ClientHello that decide what becomes of a connection.

    Attributes:
        server_name: the SNI host name, lower-cased, without a trailing dot; ``""`` when the
            hello names none (RFC 6066 3).
        alpn: the protocols offered, in order (RFC 7301 3.1).
    """

    server_name: str = ""
    alpn: tuple[bytes, ...] = ()


@frozen(eq=False)
class Identity:
    """A certificate that is being served: its context and the names that it covers.

    Attributes:
        context: what handshakes use. Its session ticket keys are its own, so that a ticket
            resumes under this identity only.
        exact: host names covered, lower-cased.
        wildcards: for ``*.example.com`` the part after the star's dot, ``example.com``.
        name: how the log and status call it.
        issuer: who has signed it, as a distinguished name (RFC 4514).
        not_after: until when it is valid, in seconds since 1970.
        source: the file that it was read from.
        made: when the context, and with it the ticket keys, was made, in seconds since 1970.
        content: a digest of the files that it was made from.
        not_before: since when it is valid.
        automatic: it is renewed by itself.
        placeholder: it is self-signed, and stands in until a certificate has been issued.
        validates: it only shows an authority that its name leads here: nothing is spoken after
            the handshake (RFC 8737 3).
    """

    context: SSLContext = field(repr=False)
    exact: frozenset[str]
    wildcards: frozenset[str]
    name: str = ""
    issuer: str = ""
    not_after: float = inf
    source: str = ""
    made: float = 0.0
    content: bytes = field(default=b"", repr=False)
    not_before: float = -inf
    automatic: bool = False
    placeholder: bool = False
    validates: bool = False

    @property
    def names(self) -> list[str]:
        """The names covered, as a certificate writes them, in alphabetical order."""
        return sorted(self.exact) + sorted(f"*.{name}" for name in self.wildcards)

    def covers(self, host: str) -> bool:
        """Whether the certificate is valid for ``host`` (RFC 6125 6.4.3, one label a star)."""
        return host in self.exact or host.partition(".")[2] in self.wildcards


@frozen
class Alert:
    """A fatal alert that refuses a handshake (RFC 8446 6).

    Attributes:
        description: the alert's number.
        reason: for the log.
    """

    description: int
    reason: str
