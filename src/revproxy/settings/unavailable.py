"""Keys that the configuration format has and this version does not serve yet.

Owns their names, by the table they belong to and the area that brings them. They are refused
with that answer and not as unknown, so that nobody looks for a slip that is none.
"""

from __future__ import annotations

AREAS = {
    "policies": "routes within a site, and policies",
    "upstreams": "several upstreams of a site, and their health",
}
"""What each area is about."""


def not_yet(area: str) -> str:
    """The answer to a key of ``area``."""
    return f"not available yet ({area})"


def _keys(area: str, names: str) -> dict[str, str]:
    return dict.fromkeys(names.split(), not_yet(area))


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
