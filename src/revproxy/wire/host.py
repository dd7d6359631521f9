"""Host names as they come in ``Host``, ``:authority`` and absolute-form targets.

Owns their syntax and their normal form. Refuses to know which names are served.
"""

from __future__ import annotations

import re
from functools import lru_cache
from ipaddress import AddressValueError, IPv6Address

REMEMBERED_AUTHORITIES = 4096
"""How many recent authorities keep their normal form."""

_AUTHORITY = re.compile(rb"([A-Za-z0-9._-]{1,254}|\[[0-9A-Fa-f:.]{2,45}\])(?::([0-9]{0,5}))?")


@lru_cache(REMEMBERED_AUTHORITIES)
def normal_host(authority: bytes) -> str:
    """The host of ``host[:port]``, lower-cased, without port and trailing dot.

    An IPv6 literal keeps its brackets. User information, percent-encoding and anything but
    letters, digits, ``.``, ``-`` and ``_`` are refused (stricter than RFC 3986 3.2.2: no name
    that needs them can be served).

    Raises:
        ValueError: it is not a valid authority.
    """
    match = _AUTHORITY.fullmatch(authority)
    if match is None or (match[2] and int(match[2]) > 65535):
        raise ValueError("invalid host")
    host = match[1].decode("ascii").lower()
    if host.startswith("["):
        try:
            return f"[{IPv6Address(host[1:-1])}]"
        except AddressValueError:
            raise ValueError("invalid host") from None
    if host.startswith(".") or ".." in host:
        raise ValueError("invalid host")
    return host.removesuffix(".")
