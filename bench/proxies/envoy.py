"""Envoy as a reverse proxy."""

from __future__ import annotations

import json
from typing import Any

from bench.proxies.base import Proxy

_TYPE = "type.googleapis.com/envoy."
_EXTENSION = _TYPE + "extensions."


class Envoy(Proxy):
    """One worker thread (and its main thread, counted with it)."""

    name = "Envoy"
    program = "envoy"
    version_argument = "--version"

    def configure(self) -> list[str]:
        config = self.folder / "envoy.json"
        config.write_text(json.dumps(self._configuration(), indent=1))
        options = ["--concurrency", "1", "--disable-hot-restart", "-l", "error"]
        return [self.path(), "-c", str(config), *options]

    def _configuration(self) -> dict[str, Any]:
        listener = {
            "name": "edge",
            "address": _address(self.port),
            "filter_chains": [
                {
                    "transport_socket": self._downstream_tls(),
                    "filters": [
                        {
                            "name": "envoy.filters.network.http_connection_manager",
                            "typed_config": self._connection_manager(),
                        }
                    ],
                }
            ],
        }
        cluster = {
            "name": "application",
            "type": "STATIC",
            "connect_timeout": "5s",
            "load_assignment": {
                "cluster_name": "application",
                "endpoints": [
                    {
                        "lb_endpoints": [
                            {"endpoint": {"address": _address(self.setup.upstream_port)}}
                        ]
                    }
                ],
            },
        }
        return {"static_resources": {"listeners": [listener], "clusters": [cluster]}}

    def _downstream_tls(self) -> dict[str, Any]:
        certificate = self.setup.certificates[0]
        common = {
            "tls_params": {
                "tls_minimum_protocol_version": "TLSv1_2",
                "tls_maximum_protocol_version": "TLSv1_3",
            },
            "alpn_protocols": ["h2", "http/1.1"] if self.setup.http2 else ["http/1.1"],
            "tls_certificates": [
                {
                    "certificate_chain": {"filename": str(certificate.cert)},
                    "private_key": {"filename": str(certificate.key)},
                }
            ],
        }
        return {
            "name": "envoy.transport_sockets.tls",
            "typed_config": {
                "@type": _EXTENSION + "transport_sockets.tls.v3.DownstreamTlsContext",
                "common_tls_context": common,
            },
        }

    def _connection_manager(self) -> dict[str, Any]:
        route = {"cluster": "application", "timeout": "60s"}
        router = _EXTENSION + "filters.http.router.v3.Router"
        return {
            "@type": _EXTENSION
            + "filters.network.http_connection_manager.v3.HttpConnectionManager",
            "stat_prefix": "edge",
            "codec_type": "AUTO" if self.setup.http2 else "HTTP1",
            "use_remote_address": True,
            "access_log": self._access_log() if self.setup.access_log else [],
            "request_timeout": "0s",
            "request_headers_timeout": "10s",
            "route_config": {
                "name": "edge",
                "request_headers_to_add": [
                    _header("X-Real-IP", "%DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT%"),
                    _header("X-Forwarded-Host", "%REQ(:AUTHORITY)%"),
                ],
                "virtual_hosts": [
                    {
                        "name": "edge",
                        "domains": ["*"],
                        "routes": [{"match": {"prefix": "/"}, "route": route}],
                    }
                ],
            },
            "http_filters": [
                {"name": "envoy.filters.http.router", "typed_config": {"@type": router}}
            ],
        }

    def _access_log(self) -> list[dict[str, Any]]:
        return [
            {
                "name": "envoy.access_loggers.file",
                "typed_config": {
                    "@type": _EXTENSION + "access_loggers.file.v3.FileAccessLog",
                    "path": str(self.access_log),
                },
            }
        ]


def _address(port: int) -> dict[str, Any]:
    return {"socket_address": {"address": "127.0.0.1", "port_value": port}}


def _header(key: str, value: str) -> dict[str, Any]:
    return {
        "header": {"key": key, "value": value},
        "append_action": "OVERWRITE_IF_EXISTS_OR_ADD",
    }
