"""The configuration as values: what a file means once it has been read and found valid.

Owns names, types, defaults and a line of description for every field (the metadata of
:func:`described`), so that there is one source for the reader, the validator and the reference.
Refuses to know TOML, paths in a file, or what the data path does with a field.

Times are seconds, sizes are bytes.
"""

from __future__ import annotations

from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network
from typing import Any

import attrs
from attrs import frozen

from revproxy.model.address import UpstreamAddress

IPAddress = IPv4Address | IPv6Address
IPNetwork = IPv4Network | IPv6Network

MIB = 1024 * 1024


def described(description: str, default: Any = attrs.NOTHING, *, static: bool = False) -> Any:
    """An attrs field with its description and whether changing it needs a restart."""
    return attrs.field(default=default, metadata={"description": description, "static": static})


@frozen
class Logging:
    """``[logging]``."""

    level: str = described("error, warn, info, debug or trace", "info", static=True)
    format: str = described("text or json", "text", static=True)
    log_file_path: str | None = described(
        "a file that gets every line of standard output too", None, static=True
    )


@frozen
class RateLimit:
    """``[rate_limit]``: the token bucket of every client address."""

    requests_per_second: float = described("tokens that flow in per second, above 0")
    burst: int = described("how many requests pass at once, at least 1")
    headers: bool = described("X-RateLimit-* and RateLimit-* on every response", False)


@frozen
class BodyLimit:
    """``[body]``."""

    limit_bytes: int = described("the largest request body, above 0")


@frozen
class Timeouts:
    """``[timeouts]``, in seconds."""

    tls_handshake_secs: float = described("the whole TLS handshake", 10.0)
    client_hello_secs: float = described("from accept to a whole ClientHello", 5.0)
    request_head_secs: float = described("a request head, from its first byte", 10.0)
    request_body_secs: float = described("between two bytes of a request body", 30.0)
    response_write_secs: float = described("the downstream takes nothing", 60.0)
    keepalive_secs: float = described("an idle downstream connection", 75.0)


@frozen
class Limits:
    """``[limits]``."""

    max_connections: int = described(
        "downstream connections at once; 0 = half of RLIMIT_NOFILE less 64", 0
    )
    max_connections_per_ip: int = described(
        "served at once per client address, as many again wait; 0 = no limit", 100
    )
    request_head_bytes: int = described("a request line with all header fields: 431", 32768)
    request_headers: int = described("header fields of a request: 431", 128)
    request_target_bytes: int = described("a request target: 414", 8192)
    pipelined_requests: int = described("requests read ahead on one connection", 16)
    interim_responses: int = described("1xx responses before the final one", 10)
    upstream_head_bytes: int = described("a response head: 502", 65536)
    chunk_line_bytes: int = described("one chunk-size line with its extensions", 4096)
    trailer_bytes: int = described("the trailer section of a chunked body", 16384)
    client_hello_bytes: int = described("a ClientHello", 16384)
    buffered_bytes: int = described(
        "held per direction of an exchange before the sender is paused", 262144
    )
    min_body_bytes_per_sec: int = described(
        "the slowest request body after 10 s of grace; 0 = off", 240
    )


@frozen
class CertificatePair:
    """A certificate chain and its private key, both PEM files, as absolute paths."""

    cert_path: str = described("the certificate, then its chain")
    key_path: str = described("its private key, not encrypted")


@frozen
class TlsSettings:
    """``[listeners.tls]``. The first pair is ``cert_path``/``key_path``."""

    mode: str = described('"manual"')
    pairs: tuple[CertificatePair, ...] = described("cert_path/key_path, then certificates")
    session_tickets: bool = described("stateless session resumption", True)


@frozen
class Site:
    """``[[listeners.sites]]`` or an included ``[[sites]]``: a host name and its upstream."""

    host: str = described("lower-case host name, or *.example.com for one label")
    upstream: UpstreamAddress = described("host:port, [v6]:port or unix:/path")
    upstream_scheme: str = described("http or https", "http")
    upstream_connect_timeout_secs: float = described("TCP connect and TLS handshake", 5.0)
    upstream_request_timeout_secs: float = described(
        "to the response head, then between two reads", 60.0
    )
    upstream_keepalive: int = described("idle upstream connections kept", 64)
    upstream_idle_secs: float = described("how long an idle upstream connection is kept", 4.0)
    log_file_path: str | None = described("REQUEST records of this site also here", None)
    listeners: tuple[str, ...] | None = described(
        "only on the listeners with these bind addresses (included [[sites]])", None
    )


@frozen
class Listener:
    """``[[listeners]]``: one address with its two ports and its TLS settings."""

    bind_addr: str = described("an IPv4 or IPv6 address, in canonical form", static=True)
    tls: TlsSettings = described("its certificates")
    http_port: int = described("0 = off", 80, static=True)
    https_port: int = described("", 443, static=True)
    sites: tuple[Site, ...] = described("its sites", ())


@frozen
class Configuration:
    """A whole configuration."""

    rate_limit: RateLimit = described("")
    body: BodyLimit = described("")
    listeners: tuple[Listener, ...] = described("at least one", static=True)
    allow_wildcard_bind: bool = described("0.0.0.0 and :: may be bound", False, static=True)
    health_check_port: int = described("on 127.0.0.1; 0 = off", 9900, static=True)
    admin_socket_path: str = described('"" = off', "/run/reverse-proxy/admin.sock", static=True)
    shutdown_timeout_secs: float = described("a drain at the most", 30.0, static=True)
    trusted_proxies: tuple[IPNetwork, ...] = described(
        "networks whose X-Forwarded-For is believed", ()
    )
    default_site: str | None = described(
        "the site of clients that send no SNI; unset = they are refused", None
    )
    logging: Logging = described("", Logging(), static=True)
    timeouts: Timeouts = described("", Timeouts())
    limits: Limits = described("", Limits())
    sites: tuple[Site, ...] = described("included sites, of every listener or of some", ())

    def all_sites(self) -> tuple[Site, ...]:
        """Every site, those of the listeners first, in file order."""
        nested = tuple(site for listener in self.listeners for site in listener.sites)
        return nested + self.sites
