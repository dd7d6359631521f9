"""nginx as a reverse proxy."""

from __future__ import annotations

from bench.proxies.base import BODY_LIMIT_BYTES, Proxy
from bench.upstream import nginx_user

_CONFIG = """\
{user}daemon off;
worker_processes 1;
pid {folder}/nginx.pid;
error_log {folder}/error.log warn;
events {{ worker_connections 16384; }}
http {{
  access_log {access_log};
  keepalive_requests 100000000;
  keepalive_timeout 75s;
  client_max_body_size {body_limit};
  client_body_temp_path {folder}/body;
  proxy_temp_path {folder}/proxy;
  fastcgi_temp_path {folder}/fastcgi;
  uwsgi_temp_path {folder}/uwsgi;
  scgi_temp_path {folder}/scgi;
  upstream application {{
    server 127.0.0.1:{upstream_port};
    keepalive 64;
    keepalive_requests 100000000;
  }}
  server {{
    listen 127.0.0.1:{port} ssl{http2} backlog=4096;
    server_name {host};
    ssl_certificate {cert};
    ssl_certificate_key {key};
    ssl_protocols TLSv1.2 TLSv1.3;
    location / {{
      proxy_pass http://application;
      proxy_http_version 1.1;
      proxy_set_header Connection "";
      proxy_set_header Host $http_host;
      proxy_set_header X-Real-IP $remote_addr;
      proxy_set_header X-Forwarded-For $remote_addr;
      proxy_set_header X-Forwarded-Proto $scheme;
      proxy_set_header X-Forwarded-Host $http_host;
      proxy_request_buffering off;
      proxy_max_temp_file_size 0;
    }}
  }}
}}
"""


class Nginx(Proxy):
    """One worker; bodies are streamed both ways and never go through a temporary file."""

    name = "nginx"
    program = "nginx"
    version_argument = "-v"

    def configure(self) -> list[str]:
        config = self.folder / "nginx.conf"
        certificate = self.setup.certificates[0]
        config.write_text(
            _CONFIG.format(
                user=nginx_user(),
                folder=self.folder,
                access_log=self.access_log if self.setup.access_log else "off",
                body_limit=BODY_LIMIT_BYTES,
                upstream_port=self.setup.upstream_port,
                port=self.port,
                http2=" http2" if self.setup.http2 else "",
                host=self.setup.hosts[0],
                cert=certificate.cert,
                key=certificate.key,
            )
        )
        return [self.path(), "-c", str(config), "-e", str(self.folder / "error.log")]
