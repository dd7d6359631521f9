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

FEWEST = 2 * RESERVED + 16
"""With fewer there would hardly be a connection."""

MOST_DERIVED = 1_000_000
"""Connections at the most, where nothing is configured; memory ends before."""

SPARE = 48
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


def connections_allowed(limits: Limits, descriptors: int, log_files: int = 0) -> int:
    """Downstream connections at once: as configured, or as many as ``descriptors`` allow.

    Each may need one upstream too, hence half of them where nothing is configured.

    Args:
        limits: as configured.
        descriptors: that this process may have.
        log_files: descriptors that the log files of sites take.

    Raises:
        ConfigErrors: there can be none, or not as many as are configured.
    """
    left = descriptors - log_files
    wanted = limits.max_connections
    if left < FEWEST:
        problem = f"{FEWEST + log_files} files and connections, the fewest to serve with,"
    elif wanted + RESERVED > left:
        problem = f"{wanted} connections and {RESERVED + log_files} further files"
    else:
        return wanted or min(left // 2 - RESERVED, MOST_DERIVED)
    problem += f" are more than this process may have open ({descriptors}: raise LimitNOFILE or "
    raise ConfigErrors([ConfigError("limits.max_connections", f"{problem}ulimit -n)")])
