"""How many files and sockets this process may have open.

Owns RLIMIT_NOFILE and what it means for the number of connections. Refuses to know connections.
"""

from __future__ import annotations

import resource

RESERVED = 64
"""Descriptors kept for listening sockets, logs, resolution and the control plane."""


def raise_descriptor_limit() -> int:
    """Raise the soft limit to the hard one; returns what it is now."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return resource.getrlimit(resource.RLIMIT_NOFILE)[0]


def most_connections(descriptors: int) -> int:
    """Downstream connections that ``descriptors`` allow: each may need one upstream too."""
    return max(1, descriptors // 2 - RESERVED)
