"""The tables ``[[listeners]]``, ``[listeners.tls]`` and ``[[listeners.sites]]``/``[[sites]]``.

Owns which keys they hold and the range of each. Refuses to know rules between tables.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from revproxy.model.configuration import CertificatePair, Listener, Site, TlsSettings
from revproxy.settings import unavailable
from revproxy.settings.document import Node
from revproxy.settings.fields import flag, one_of, path, seconds, text, whole
from revproxy.settings.names import bind_address, host, upstream
from revproxy.settings.section import Read, Reading, Section, accepting, kind_of, list_of

MOST_IDLE_UPSTREAM_CONNECTIONS = 65536

_SITE: dict[str, Read[Any]] = {
    "host": host,
    "upstream": upstream,
    "upstream_scheme": one_of("http", "https"),
    "upstream_connect_timeout_secs": seconds(),
    "upstream_request_timeout_secs": seconds(),
    "upstream_keepalive": whole(0, MOST_IDLE_UPSTREAM_CONNECTIONS),
    "upstream_idle_secs": seconds(),
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
    mode: str,
    cert_path: str | None,
    key_path: str | None,
    certificates: tuple[CertificatePair, ...],
    session_tickets: bool,
) -> TlsSettings:
    first = (CertificatePair(cert_path, key_path),) if cert_path and key_path else ()
    return TlsSettings(mode, first + certificates, session_tickets)


@accepting("table")
def _table(node: Node) -> None:
    if not isinstance(node.value, Mapping):
        raise ValueError(f"must be a table, not {kind_of(node.value)}")


@accepting("nothing yet")
def _acme_mode(node: Node) -> str:
    raise ValueError('mode = "acme" is not available yet')


_TLS: dict[str, Read[Any]] = {
    "mode": one_of("manual", "acme"),
    "cert_path": path,
    "key_path": path,
    "certificates": list_of(certificate),
    "session_tickets": flag,
}

_manual = Section(
    TlsSettings,
    _TLS,
    build=_tls_settings,
    optional={"certificates": ()},
    refused=unavailable.TLS,
    described={
        "cert_path": "the certificate, then its chain, as PEM; required unless `certificates` "
        "has a pair",
        "key_path": "its private key, as PEM, not encrypted; required with `cert_path`",
        "certificates": "more pairs; the names in a certificate decide which sites it serves",
    },
)

_acme = Section(
    TlsSettings,
    _TLS
    | {
        "mode": _acme_mode,
        "acme_domains": list_of(host),
        "acme_one_certificate_per_name": flag,
        "acme_cache_dir": path,
        "acme_directory": text,
        "acme_contact": text,
        "acme_ca_file": path,
        "acme_eab": _table,
        "acme_challenge": one_of("tls-alpn-01", "http-01"),
        "acme_profile": text,
    },
)
"""Read for its mistakes only: its mode is always one."""


@accepting("table", _manual)
def tls(node: Node) -> Reading:
    """``[listeners.tls]``. In ACME mode its keys are checked, and the mode alone is refused.

    Raises:
        ValueError: it is no table.
    """
    is_acme = isinstance(node.value, Mapping) and node.value.get("mode") == "acme"
    return (_acme if is_acme else _manual)(node)


listener = Section(
    Listener,
    {
        "bind_addr": bind_address,
        "http_port": whole(0, 65535),
        "https_port": whole(1, 65535),
        "tls": tls,
        "sites": list_of(site),
    },
    refused=unavailable.LISTENER,
)
"""``[[listeners]]``."""
