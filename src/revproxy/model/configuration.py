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
    """An attrs field with its description and whether changing it needs a restart.

    The description is what ``docs/configuration.md`` says, in Markdown.
    """
    return attrs.field(default=default, metadata={"description": description, "static": static})


@frozen
class Logging:
    """``[logging]``."""

    level: str = described("the least important records that are kept", "info", static=True)
    format: str = described("lines of `key=value`, or JSON objects", "text", static=True)
    log_file_path: str | None = described(
        "a file that gets every line of standard output too", None, static=True
    )


@frozen
class RateLimit:
    """``[rate_limit]``: the token bucket of every client address."""

    requests_per_second: float = described("how fast a bucket fills")
    burst: int = described("how many requests pass at once: the next gets 429")
    headers: bool = described(
        "`X-RateLimit-*` and `RateLimit-*` fields on every response to a request (what is not a "
        "request, 400 and the like, takes no token and tells none)",
        False,
    )


@frozen
class BodyLimit:
    """``[body]``."""

    limit_bytes: int = described("the largest request body: 413")


@frozen
class Timeouts:
    """``[timeouts]``, in seconds."""

    tls_handshake_secs: float = described("the whole TLS handshake", 10.0)
    client_hello_secs: float = described(
        "from the accepted connection to a whole ClientHello", 5.0
    )
    request_head_secs: float = described("a request head, from its first byte: 408", 10.0)
    request_body_secs: float = described("between two bytes of a request body: 408", 30.0)
    response_write_secs: float = described(
        "for how long the downstream may take nothing of a response, and either side nothing of "
        "what is passed on to it",
        60.0,
    )
    keepalive_secs: float = described("an idle downstream connection", 75.0)
    upgraded_idle_secs: float = described(
        "for how long nothing may come either way through a WebSocket, another upgraded "
        "connection, or one that is passed on",
        3600.0,
    )
    proxy_header_secs: float = described(
        "from the accepted connection to a whole PROXY header, where one is required", 3.0
    )


@frozen
class Limits:
    """``[limits]``."""

    max_connections: int = described(
        "downstream connections at once; 0 = half of the limit of open files, less 64", 0
    )
    max_connections_per_ip: int = described(
        "those of one address that are served at once; as many again wait until one ends or is "
        "idle, for `client_hello_secs` at most (on the plain port `request_head_secs`); the rest "
        "is closed; 0 = no limit",
        100,
    )
    request_head_bytes: int = described("a request line with all its header fields: 431", 32768)
    request_headers: int = described("header fields of a request: 431", 128)
    request_target_bytes: int = described("a request target: 414", 8192)
    pipelined_requests: int = described("requests read ahead on one connection", 16)
    interim_responses: int = described(
        "1xx responses of an upstream before its final one: 502", 10
    )
    upstream_head_bytes: int = described("a response head: 502", 65536)
    chunk_line_bytes: int = described("one chunk-size line with its extensions", 4096)
    trailer_bytes: int = described("the trailer section of a chunked body", 16384)
    client_hello_bytes: int = described("a ClientHello", 16384)
    h2_max_streams: int = described("requests at once on an HTTP/2 connection", 128)
    h2_header_list_bytes: int = described(
        "a request head in HTTP/2, decoded, with 32 for each field: 431", 65536
    )
    h2_resets: int = described(
        "resets of HTTP/2 streams in 10 s, the client's own and those for its errors; more end "
        "the connection, as does more of each of the following",
        100,
    )
    h2_continuations: int = described("CONTINUATION frames of one head", 20)
    h2_settings: int = described("SETTINGS frames in 10 s", 50)
    h2_pings: int = described("PING frames in 10 s", 100)
    h2_priorities: int = described("PRIORITY, PRIORITY_UPDATE and unknown frames in 10 s", 200)
    h2_empty_frames: int = described("DATA frames without content in 10 s", 100)
    buffered_bytes: int = described(
        "held in each direction of an exchange before the sender is paused", 262144
    )
    min_body_bytes_per_sec: int = described(
        "the slowest request body, after 10 s of grace: 408; 0 = off", 240
    )


@frozen
class CertificatePair:
    """A certificate chain and its private key, both PEM files, as absolute paths."""

    cert_path: str = described("the certificate, then its chain, as PEM")
    key_path: str = described("its private key, as PEM, not encrypted")


@frozen
class ExternalAccount:
    """``acme_eab``: the account with the authority that ours is bound to (RFC 8555 7.3.4)."""

    key_id: str = described("the key's identifier")
    hmac_key_file: str = described("a file that holds the HMAC key, in base64url")


@frozen
class TlsSettings:
    """``[listeners.tls]``. The first pair is ``cert_path``/``key_path``."""

    mode: str = described(
        'where certificates come from: `"manual"` is the files below, `"acme"` an authority that '
        "issues them for `acme_domains`"
    )
    pairs: tuple[CertificatePair, ...] = described("`cert_path`/`key_path`, then `certificates`")
    session_tickets: bool = described("sessions may be resumed", True)
    acme_domains: tuple[str, ...] = described(
        'the names to get certificates for; required with `mode = "acme"`', ()
    )
    acme_one_certificate_per_name: bool = described(
        "a certificate for each name; without it one has them all", False
    )
    acme_cache_dir: str = described(
        "where certificates, keys and accounts are kept, readable by the proxy alone",
        "/var/lib/reverse-proxy/acme-cache",
    )
    acme_directory: str = described(
        "the authority: Let's Encrypt's `production` or `staging`, or the URL of another's "
        "directory",
        "production",
    )
    acme_contact: str | None = described(
        'where the authority may write to, `"mailto:..."`; required with `mode = "acme"`', None
    )
    acme_ca_file: str | None = described(
        "the roots that the authority's own certificate is verified with, as PEM; without it "
        "the system's",
        None,
    )
    acme_eab: ExternalAccount | None = described(
        "the account with the authority, where it wants one", None
    )
    acme_challenge: str = described(
        "how the authority sees that a name leads here: on `https_port`, or on `http_port`. When "
        "that fails, the next attempt uses the other",
        "tls-alpn-01",
    )
    acme_profile: str | None = described(
        "one of the authority's profiles of certificates; without it the authority's own choice",
        None,
    )


@frozen
class Site:
    """``[[listeners.sites]]`` or an included ``[[sites]]``: a host name and its upstream."""

    host: str = described(
        "the name that is served, or `*.example.com` for one label in place of the star; unique "
        "over all listeners"
    )
    upstream: UpstreamAddress = described("where requests go")
    upstream_scheme: str = described(
        "`https` is verified against the system's roots and the host's name", "http"
    )
    upstream_connect_timeout_secs: float = described("name, TCP and TLS together: 504", 5.0)
    upstream_request_timeout_secs: float = described(
        "to the response head, then between two reads: 504", 60.0
    )
    upstream_keepalive: int = described("idle connections that are kept", 64)
    upstream_idle_secs: float = described("how long they are kept", 4.0)
    upgrades: tuple[str, ...] = described(
        "what connections may become, when the client asks and the upstream agrees with 101",
        ("websocket",),
    )
    send_proxy: str = described(
        "the PROXY header that upstream connections begin with; such a connection serves one "
        "client connection and is not kept for others",
        "off",
    )
    log_file_path: str | None = described("`REQUEST` records of this site also here", None)
    listeners: tuple[str, ...] | None = described(
        "the `bind_addr` of each listener that serves it; without it all do", None
    )


@frozen
class Passthrough:
    """``[[listeners.passthrough]]``: TLS that is passed on as it is.

    ``hosts`` is empty for what ``default_passthrough`` stands for.
    """

    hosts: tuple[str, ...] = described(
        "the names (SNI) that are passed on, each as a site's `host`: an exact name wins over a "
        "wildcard, whichever of them is a site's"
    )
    upstream: UpstreamAddress = described("the backend, which has the certificate")
    http_upstream: UpstreamAddress | None = described(
        "where requests for these hosts on `http_port` go, ACME's included, as plain HTTP without "
        "a PROXY header; without it they are redirected to https",
        None,
    )
    send_proxy: str = described(
        "the PROXY header that goes before the client's bytes, for the backend to know its "
        "address",
        "v2",
    )
    connect_timeout_secs: float = described("name and TCP together", 5.0)


@frozen
class Stream:
    """``[[streams]]``: a TCP service of any kind, at a port of its own."""

    bind_addr: str = described("the address that is listened on", static=True)
    port: int = described("its port", static=True)
    upstream: UpstreamAddress = described("where connections go", static=True)
    send_proxy: str = described(
        "the PROXY header that goes before the client's bytes", "off", static=True
    )


@frozen
class Listener:
    """``[[listeners]]``: one address with its two ports and its TLS settings."""

    bind_addr: str = described("the address of both ports", static=True)
    tls: TlsSettings = described("its certificates")
    http_port: int = described("redirects to `https_port`; 0 = off", 80, static=True)
    https_port: int = described("serves the sites", 443, static=True)
    sites: tuple[Site, ...] = described("its sites", ())
    passthrough: tuple[Passthrough, ...] = described(
        "names whose TLS is passed on to a backend that has the certificate", ()
    )
    default_passthrough: UpstreamAddress | None = described(
        "where names go that nobody has, as by a `[[listeners.passthrough]]` without other keys; "
        "clients that send no name too, unless `default_site` serves them; without it they are "
        "refused",
        None,
    )
    proxy_protocol: tuple[IPNetwork, ...] = described(
        "networks that send a PROXY header (version 1 or 2) first, on both ports: from them it is "
        "required, and believed; from others it is refused as the bytes that it is",
        (),
    )

    def fallback(self) -> Passthrough | None:
        """What ``default_passthrough`` stands for: a backend with all the defaults."""
        if self.default_passthrough is None:
            return None
        return Passthrough(hosts=(), upstream=self.default_passthrough)


@frozen
class Configuration:
    """A whole configuration."""

    rate_limit: RateLimit = described("how many requests a client address may make")
    body: BodyLimit = described("how large a request body may be")
    listeners: tuple[Listener, ...] = described(
        "addresses with their sites: at least one, here or in an included file", static=True
    )
    allow_wildcard_bind: bool = described(
        "`0.0.0.0` and `::` may be bound (as `--allow-wildcard-bind` says too)", False, static=True
    )
    health_check_port: int = described(
        "where `GET /health` is answered, on 127.0.0.1; 0 = off", 9900, static=True
    )
    admin_socket_path: str = described(
        'the UNIX socket that takes commands; `""` = off',
        "/run/reverse-proxy/admin.sock",
        static=True,
    )
    shutdown_timeout_secs: float = described(
        "how long a drain may take: what is in flight then is cut", 30.0, static=True
    )
    trusted_proxies: tuple[IPNetwork, ...] = described(
        'networks such as `"10.0.0.0/8"` whose `X-Forwarded-For` is believed', ()
    )
    default_site: str | None = described(
        "the host whose certificate serves clients that send no name; without it they are refused",
        None,
    )
    logging: Logging = described("which records are kept, and where", Logging(), static=True)
    timeouts: Timeouts = described("how long a downstream is waited for", Timeouts())
    limits: Limits = described("how much a downstream or an upstream may ask for", Limits())
    sites: tuple[Site, ...] = described("sites of every listener, or of those that they name", ())
    streams: tuple[Stream, ...] = described(
        "TCP services that are passed on as they are", (), static=True
    )

    def all_sites(self) -> tuple[Site, ...]:
        """Every site, those of the listeners first, in file order."""
        nested = tuple(site for listener in self.listeners for site in listener.sites)
        return nested + self.sites
