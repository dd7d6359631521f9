"""How many files and sockets this process may have open.

Owns RLIMIT_NOFILE, what it means for the number of connections, and the descriptors that no
connection may take. Refuses to know connections.
"""

from __future__ import annotations

import resource

from revproxy.errors import ConfigError, ConfigErrors
from revproxy.model.configuration import Limits

RESERVED = 64
"""Descriptors kept for listening sockets, logs, resolution and the control plane."""

SPARE = 32
"""The last of them: connections of the data path do not take them even when the reckoning was
wrong, so that the admin socket and the health check still answer."""


def raise_descriptor_limit() -> int:
    """Raise the soft limit to the hard one; returns what it is now."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    except (OSError, ValueError):  # fs.nr_open may have been lowered since the hard one was set
        pass
    return resource.getrlimit(resource.RLIMIT_NOFILE)[0]


def connections_allowed(limits: Limits, descriptors: int) -> int:
    """Downstream connections at once: as configured, or as many as ``descriptors`` allow.

    Each may need one upstream too, hence half of them where nothing is configured.

    Raises:
        ConfigErrors: more are configured than there can be.
    """
    if not limits.max_connections:
        return max(1, descriptors // 2 - RESERVED)
    if limits.max_connections + RESERVED > descriptors:
        raise ConfigErrors(
            [
                ConfigError(
                    "limits.max_connections",
                    f"{limits.max_connections} connections and {RESERVED} further files are more "
                    f"than this process may have open ({descriptors}: raise LimitNOFILE or "
                    "ulimit -n)",
                )
            ]
        )
    return limits.max_connections
