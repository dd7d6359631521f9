"""Keys that the configuration format has and this version does not serve yet.

Owns their names, by the table they belong to and the area that brings them. They are refused
with that answer and not as unknown, so that nobody looks for a slip that is none.
"""

from __future__ import annotations

PASSTHROUGH_IS_SERVED = True
"""The switch of TLS passthrough, the PROXY protocol and TCP services.

The file format and the model have them; while this is False their keys are refused all the same,
so that nothing is accepted that nobody serves.
"""

_PASSTHROUGH = frozenset(
    {
        "default_passthrough",
        "passthrough",
        "proxy_header_secs",
        "proxy_protocol",
        "send_proxy",
        "streams",
    }
)

AREAS = {
    "passthrough": "TLS passthrough, the PROXY protocol, TCP services",
    "policies": "routes within a site, and policies",
    "upstreams": "several upstreams of a site, and their health",
}
"""What each area is about."""


def not_yet(area: str) -> str:
    """The answer to a key of ``area``."""
    return f"not available yet ({area})"


def _keys(area: str, names: str) -> dict[str, str]:
    return dict.fromkeys(names.split(), not_yet(area))


def unserved(key: str) -> str | None:
    """The answer to a key that is read only once it is served; None for every other key."""
    if PASSTHROUGH_IS_SERVED or key not in _PASSTHROUGH:
        return None
    return not_yet("passthrough")


TOP = _keys("policies", "policy")

SITE = _keys(
    "upstreams",
    "upstreams balance max_connections queue when_none_healthy retries retry_budget "
    "upstream_tls health passive_health sticky",
) | _keys(
    "policies",
    "routes respond redirect rate_limit connection_limit body allow deny api_key basic_auth "
    "forward_auth cors security_headers request_headers response_headers strip_prefix "
    "compress access_log ban",
)
