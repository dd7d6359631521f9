"""HAProxy as a reverse proxy."""

from __future__ import annotations

from bench.proxies.base import Proxy

_CONFIG = """\
global
  nbthread 1
  maxconn 8192
{global_log}
defaults
  mode http
  timeout connect 5s
  timeout client 75s
  timeout server 60s
  timeout http-request 10s
  timeout http-keep-alive 75s
{log}
frontend edge
  bind 127.0.0.1:{port} ssl crt {pem} alpn {alpn} ssl-min-ver TLSv1.2 backlog 4096
  http-request del-header X-Forwarded-For
  option forwardfor
  http-request set-header X-Real-IP %[src]
  http-request set-header X-Forwarded-Proto https
  http-request set-header X-Forwarded-Host %[req.hdr(host)]
  default_backend application
backend application
  http-reuse always
  server application 127.0.0.1:{upstream_port} pool-max-conn 64
"""


class HAProxy(Proxy):
    """One thread; its access log is standard output, as it cannot write files."""

    name = "HAProxy"
    program = "haproxy"
    version_argument = "-v"

    def configure(self) -> list[str]:
        config = self.folder / "haproxy.cfg"
        logged = self.setup.access_log
        config.write_text(
            _CONFIG.format(
                global_log="  log stdout format raw local0" if logged else "",
                log="  log global\n  option httplog" if logged else "",
                port=self.port,
                alpn="h2,http/1.1" if self.setup.http2 else "http/1.1",
                pem=self.setup.certificates[0].both,
                upstream_port=self.setup.upstream_port,
            )
        )
        return [self.path(), "-db", "-f", str(config)]

    def logs_to_stdout(self) -> bool:
        return True
