"""Configurations built from values, without a file.

Owns builders with valid defaults. Refuses to know what is done with them.
"""

from __future__ import annotations

from revproxy.model.address import UpstreamAddress
from revproxy.model.configuration import (
    BodyLimit,
    CertificatePair,
    Configuration,
    Listener,
    RateLimit,
    Site,
    TlsSettings,
)
from tests.support.certificates import authority

ADDRESS = "127.0.0.1"


def pair(*names: str) -> CertificatePair:
    """A certificate for ``names``."""
    issued = authority().pair(*names)
    return CertificatePair(issued.cert_path, issued.key_path)


def site(host: str, upstream: str = "127.0.0.1:3000", **fields: object) -> Site:
    """A site."""
    return Site(host=host, upstream=UpstreamAddress.parse(upstream), **fields)


def listener(*sites: Site, pairs: tuple[CertificatePair, ...] = (), **fields: object) -> Listener:
    """A listener on :data:`ADDRESS`."""
    return Listener(
        bind_addr=ADDRESS, tls=TlsSettings(mode="manual", pairs=pairs), sites=sites, **fields
    )


def configuration(*listeners: Listener, **fields: object) -> Configuration:
    """A whole configuration."""
    settings = {"rate_limit": RateLimit(10, 20), "body": BodyLimit(1000), **fields}
    return Configuration(listeners=listeners, **settings)
