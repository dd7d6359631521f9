"""Where an upstream is: a host and a TCP port, or a UNIX socket.

Owns the syntax (``host:port``, ``[v6]:port``, ``unix:/path``) and how it is written in logs.
Refuses to know name resolution and connections.
"""

from __future__ import annotations

import re
from ipaddress import AddressValueError, IPv4Address, IPv6Address

from attrs import frozen

_IPV6_LITERAL = re.compile(r"\[([0-9A-Fa-f:.]+(?:%[A-Za-z0-9._-]+)?)\]")
_HOST_NAME = re.compile(r"(?!-)[a-z0-9_-]{1,63}(?<!-)(\.(?!-)[a-z0-9_-]{1,63}(?<!-))*")


@frozen
class UpstreamAddress:
    """An upstream's address.

    Attributes:
        host: a host name or an IP literal without brackets; ``""`` for a UNIX socket.
        port: the TCP port; 0 for a UNIX socket.
        path: the UNIX socket's path; ``""`` for TCP.
    """

    host: str = ""
    port: int = 0
    path: str = ""

    def __str__(self) -> str:
        """As in the configuration and in the log's ``upstream=``."""
        if self.path:
            return f"unix:{self.path}"
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    @property
    def is_ip(self) -> bool:
        """Whether no name has to be resolved to reach it."""
        return bool(self.path) or _is_ip(self.host)

    @classmethod
    def parse(cls, text: str) -> UpstreamAddress:
        """Read ``host:port``, ``[v6]:port`` or ``unix:/path``.

        Raises:
            ValueError: with a sentence for the operator.
        """
        if text.startswith("unix:"):
            path = text[5:]
            if not path.startswith("/") or not path.isprintable() or len(path.encode()) > 107:
                raise ValueError(
                    "a UNIX socket is written unix:/absolute/path (107 bytes at most)"
                )
            return cls(path=path)
        if "://" in text:
            raise ValueError("give host:port without a scheme (the scheme is upstream_scheme)")
        host, colon, port = text.rpartition(":")
        if not colon or not port:
            raise ValueError("a port is missing: host:port")
        digits = port.isascii() and port.isdigit() and len(port) <= 5
        if not digits or not 1 <= int(port) <= 65535:
            raise ValueError(f"port {port[:20]!r} is not a number from 1 to 65535")
        return cls(host=_upstream_host(host), port=int(port))


def _upstream_host(text: str) -> str:
    if text.startswith("["):
        literal = _IPV6_LITERAL.fullmatch(text)
        try:
            return str(IPv6Address(literal[1] if literal else ""))
        except AddressValueError:
            raise ValueError(f"{text[:60]!r} is not an IPv6 address in brackets") from None
    if ":" in text:
        raise ValueError("an IPv6 address is written in brackets: [v6]:port")
    host = text.lower().rstrip(".")
    looks_like_v4 = host.rpartition(".")[2].isdigit()
    if looks_like_v4 and not _is_ip(host):
        raise ValueError(f"{text[:60]!r} is not an IPv4 address")
    if not text.isascii() or len(host) > 253 or not _HOST_NAME.fullmatch(host):
        raise ValueError(f"{text[:60]!r} is not a host name or an IP address")
    return host


def _is_ip(host: str) -> bool:
    try:
        IPv6Address(host) if ":" in host else IPv4Address(host)
    except AddressValueError:
        return False
    return True
