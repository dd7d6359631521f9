"""The tables at the top of a file, and a file's top itself.

Owns which keys they hold and the range of each. Refuses to know rules between tables.
"""

from __future__ import annotations

from typing import Any

from revproxy.model.configuration import (
    MIB,
    BodyLimit,
    Configuration,
    Limits,
    Logging,
    RateLimit,
    Timeouts,
)
from revproxy.settings import unavailable
from revproxy.settings.fields import (
    above_zero,
    flag,
    one_of,
    path,
    seconds,
    size,
    socket_path,
    text,
    whole,
)
from revproxy.settings.listeners import included_site, listener
from revproxy.settings.names import host, network
from revproxy.settings.passthrough import stream
from revproxy.settings.section import Section, list_of

MOST_REQUESTS = 10**9
"""The largest rate a second, and the largest burst."""

MOST_CONNECTIONS = 10**7

MOST_FRAMES = 10**6
"""The highest limit of frames in a window of time."""

LARGEST_BODY = 2**63 - 1
"""What fits a signed 64-bit Content-Length."""

_logging = Section(
    Logging,
    {
        "level": one_of("error", "warn", "info", "debug", "trace"),
        "format": one_of("text", "json"),
        "log_file_path": path,
    },
)

_rate_limit = Section(
    RateLimit,
    {
        "requests_per_second": above_zero(MOST_REQUESTS),
        "burst": whole(1, MOST_REQUESTS),
        "headers": flag,
    },
)

_body = Section(BodyLimit, {"limit_bytes": size(1, LARGEST_BODY)})

_timeouts = Section(
    Timeouts,
    {
        "tls_handshake_secs": seconds(),
        "client_hello_secs": seconds(),
        "request_head_secs": seconds(),
        "request_body_secs": seconds(),
        "response_write_secs": seconds(),
        "keepalive_secs": seconds(),
        "upgraded_idle_secs": seconds(),
        "proxy_header_secs": seconds(),
    },
)

_limits = Section(
    Limits,
    {
        "max_connections": whole(0, MOST_CONNECTIONS),
        "max_connections_per_ip": whole(0, MOST_CONNECTIONS),
        "request_head_bytes": size(256, MIB),
        "request_headers": whole(1, 4096),
        "request_target_bytes": size(64, MIB),
        "pipelined_requests": whole(1, 1024),
        "interim_responses": whole(1, 1024),
        "upstream_head_bytes": size(256, 16 * MIB),
        "chunk_line_bytes": size(16, MIB),
        "trailer_bytes": size(64, MIB),
        "client_hello_bytes": size(512, MIB),
        "h2_max_streams": whole(1, 65536),
        "h2_header_list_bytes": size(1024, MIB),
        "h2_resets": whole(1, MOST_FRAMES),
        "h2_continuations": whole(1, 1024),
        "h2_settings": whole(1, MOST_FRAMES),
        "h2_pings": whole(1, MOST_FRAMES),
        "h2_priorities": whole(1, MOST_FRAMES),
        "h2_empty_frames": whole(1, MOST_FRAMES),
        "buffered_bytes": size(4096, 1024 * MIB),
        "min_body_bytes_per_sec": whole(0, 1024 * MIB),
    },
)


def _configuration(include: tuple[str, ...], **values: Any) -> Configuration:
    return Configuration(**values)


_listeners = list_of(listener)

main_file = Section(
    Configuration,
    {
        "include": list_of(text),
        "allow_wildcard_bind": flag,
        "health_check_port": whole(0, 65535),
        "admin_socket_path": socket_path,
        "shutdown_timeout_secs": seconds(zero=True),
        "trusted_proxies": list_of(network),
        "default_site": host,
        "logging": _logging,
        "rate_limit": _rate_limit,
        "body": _body,
        "timeouts": _timeouts,
        "limits": _limits,
        "listeners": _listeners,
        "streams": list_of(stream),
    },
    build=_configuration,
    optional={"include": (), "listeners": ()},
    refused=unavailable.TOP
    | {"sites": "[[sites]] belongs in an included file; here it is [[listeners.sites]]"},
    described={"include": 'patterns of further files, such as `["sites-enabled/*.toml"]`'},
)
"""The file that is named on the command line."""

_ELSEWHERE = "belongs in the main file: an included one holds only [[sites]] and [[listeners]]"

included_file = Section(
    Configuration,
    {"listeners": _listeners, "sites": list_of(included_site)},
    optional={"listeners": ()},
    refused=dict.fromkeys(main_file.readers.keys() - {"listeners"}, _ELSEWHERE)
    | unavailable.TOP
    | {"include": "an included file cannot include others"},
)
"""A file that ``include`` names."""
