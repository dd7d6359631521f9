"""Caddy as a reverse proxy."""

from __future__ import annotations

from bench.proxies.base import Proxy

_CONFIG = """\
{{
  admin off
  persist_config off
  auto_https disable_redirects
  storage file_system {folder}/storage
  log {{
    level ERROR
  }}
  servers {{
    protocols {protocols}
  }}
}}
https://{host}:{port} {{
  bind 127.0.0.1
  tls {cert} {key}
  reverse_proxy 127.0.0.1:{upstream_port} {{
    header_up X-Real-IP {{remote_host}}
    transport http {{
      keepalive_idle_conns_per_host 64
    }}
  }}
{log}}}
"""

_LOG = """\
  log {{
    level INFO
    output file {access_log} {{
      roll_disabled
    }}
  }}
"""


class Caddy(Proxy):
    """GOMAXPROCS=1; X-Forwarded-For, -Proto and -Host are its default."""

    name = "Caddy"
    program = "caddy"
    version_argument = "version"

    def configure(self) -> list[str]:
        config = self.folder / "Caddyfile"
        certificate = self.setup.certificates[0]
        config.write_text(
            _CONFIG.format(
                folder=self.folder,
                protocols="h1 h2" if self.setup.http2 else "h1",
                host=self.setup.hosts[0],
                port=self.port,
                cert=certificate.cert,
                key=certificate.key,
                upstream_port=self.setup.upstream_port,
                log=_LOG.format(access_log=self.access_log) if self.setup.access_log else "",
            )
        )
        environment = ["env", "GOMAXPROCS=1", f"HOME={self.folder}"]
        return [
            *environment,
            self.path(),
            "run",
            "--config",
            str(config),
            "--adapter",
            "caddyfile",
        ]
