"""The upstreams behind every proxy: an nginx for responses, a sink for uploads.

The nginx has a port with TLS too, for what is passed through.
"""

from __future__ import annotations

import os
import sys
from functools import partial
from pathlib import Path

from bench.certificates import CertificateFiles
from bench.machine import CORES, find_program
from bench.process import PinnedProcess, accepts, free_port

MIB = 1 << 20
BODY_BYTES = {"1m": MIB, "100m": 100 * MIB}

_NGINX = """\
{user}daemon off;
worker_processes 1;
pid {folder}/nginx.pid;
error_log {folder}/error.log warn;
events {{ worker_connections 4096; }}
http {{
  access_log off;
  sendfile on;
  tcp_nopush on;
  open_file_cache max=16;
  keepalive_requests 100000000;
  keepalive_timeout 600s;
  client_body_temp_path {folder}/body;
  proxy_temp_path {folder}/proxy;
  fastcgi_temp_path {folder}/fastcgi;
  uwsgi_temp_path {folder}/uwsgi;
  scgi_temp_path {folder}/scgi;
  server {{
    listen 127.0.0.1:{port} backlog=4096;
    listen 127.0.0.2:{port} backlog=4096;
    listen 127.0.0.1:{tls_port} ssl backlog=4096;
    ssl_certificate {certificate.cert};
    ssl_certificate_key {certificate.key};
    ssl_protocols TLSv1.2 TLSv1.3;
    default_type text/plain;
    location / {{ return 200 "Hello World\\n"; }}
    location = /forwarded {{
      return 200 "$http_x_real_ip $http_x_forwarded_for $http_x_forwarded_proto";
    }}
    location /bodies/ {{ root {folder}; }}
  }}
}}
"""


def nginx_user() -> str:
    """The ``user`` line: workers keep root's rights on the run's private folder."""
    return "user root root;\n" if os.geteuid() == 0 else ""


class Upstreams:
    """Both upstreams; ``close()`` stops them."""

    def __init__(self, folder: Path, certificate: CertificateFiles) -> None:
        folder.mkdir()
        self.small_port = free_port()
        self.tls_port = free_port()
        self.sink_port = free_port()
        self.large_body = folder / "bodies" / "100m"
        bodies = folder / "bodies"
        bodies.mkdir()
        for name, size in BODY_BYTES.items():
            (bodies / name).write_bytes(os.urandom(MIB) * (size // MIB))
        config = folder / "nginx.conf"
        config.write_text(
            _NGINX.format(
                user=nginx_user(),
                folder=folder,
                port=self.small_port,
                tls_port=self.tls_port,
                certificate=certificate,
            )
        )
        sink = str(Path(__file__).with_name("sink.py"))
        nginx = find_program("nginx") or "nginx"
        self._processes = [
            self._start(folder, [nginx, "-c", str(config), "-e", f"{folder}/error.log"]),
            self._start(folder, [sys.executable, sink, str(self.sink_port)]),
        ]
        try:
            for process, port in zip(
                self._processes, (self.small_port, self.sink_port), strict=True
            ):
                process.wait_until(partial(accepts, port))
        except BaseException:
            self.close()
            raise

    def _start(self, folder: Path, command: list[str]) -> PinnedProcess:
        return PinnedProcess(CORES.upstream, command, folder / "stdout", folder / "stderr")

    def close(self) -> None:
        """Stop both."""
        for process in self._processes:
            process.stop()
