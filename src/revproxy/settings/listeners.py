"""The tables ``[[listeners]]``, ``[listeners.tls]`` and ``[[listeners.sites]]``/``[[sites]]``.

Owns which keys they hold and the range of each. Refuses to know rules between tables.
"""

from __future__ import annotations

from typing import Any

from revproxy.model.configuration import (
    CertificatePair,
    ExternalAccount,
    Listener,
    Site,
    TlsSettings,
)
from revproxy.settings import unavailable
from revproxy.settings.acme import acme_directory, contact, issued_host
from revproxy.settings.fields import filled, flag, one_of, path, seconds, whole
from revproxy.settings.names import bind_address, host, network, protocol, upstream
from revproxy.settings.passthrough import backend, passthrough, send_proxy
from revproxy.settings.section import Read, Section, list_of

MOST_IDLE_UPSTREAM_CONNECTIONS = 65536

_SITE: dict[str, Read[Any]] = {
    "host": host,
    "upstream": upstream,
    "upstream_scheme": one_of("http", "https"),
    "upstream_connect_timeout_secs": seconds(),
    "upstream_request_timeout_secs": seconds(),
    "upstream_keepalive": whole(0, MOST_IDLE_UPSTREAM_CONNECTIONS),
    "upstream_idle_secs": seconds(),
    "upgrades": list_of(protocol),
    "send_proxy": send_proxy,
    "log_file_path": path,
}

site = Section(
    Site,
    _SITE,
    refused=unavailable.SITE
    | {"listeners": "only [[sites]] of an included file choose their listeners"},
    instead={"upstream": "upstreams"},
)
"""``[[listeners.sites]]``."""

included_site = Section(
    Site,
    _SITE | {"listeners": list_of(bind_address, at_least=1)},
    refused=unavailable.SITE,
    instead={"upstream": "upstreams"},
)
"""``[[sites]]`` of an included file."""

certificate = Section(CertificatePair, {"cert_path": path, "key_path": path})
"""One of ``certificates``."""


def _tls_settings(
    cert_path: str | None,
    key_path: str | None,
    certificates: tuple[CertificatePair, ...],
    **values: Any,
) -> TlsSettings:
    first = (CertificatePair(cert_path, key_path),) if cert_path and key_path else ()
    return TlsSettings(pairs=first + certificates, **values)


_external_account = Section(ExternalAccount, {"key_id": filled, "hmac_key_file": path})

tls = Section(
    TlsSettings,
    {
        "mode": one_of("manual", "acme"),
        "cert_path": path,
        "key_path": path,
        "certificates": list_of(certificate),
        "session_tickets": flag,
        "acme_domains": list_of(issued_host, at_least=1),
        "acme_one_certificate_per_name": flag,
        "acme_cache_dir": path,
        "acme_directory": acme_directory,
        "acme_contact": contact,
        "acme_ca_file": path,
        "acme_eab": _external_account,
        "acme_challenge": one_of("tls-alpn-01", "http-01"),
        "acme_profile": filled,
    },
    build=_tls_settings,
    optional={"certificates": ()},
    described={
        "cert_path": "the certificate, then its chain, as PEM; required in manual mode unless "
        "`certificates` has a pair",
        "key_path": "its private key, as PEM, not encrypted; required with `cert_path`",
        "certificates": "more pairs; the names in a certificate decide which sites it serves",
    },
)
"""``[listeners.tls]``."""

listener = Section(
    Listener,
    {
        "bind_addr": bind_address,
        "http_port": whole(0, 65535),
        "https_port": whole(1, 65535),
        "tls": tls,
        "sites": list_of(site),
        "passthrough": list_of(passthrough),
        "default_passthrough": backend,
        "proxy_protocol": list_of(network),
    },
)
"""``[[listeners]]``."""
