"""Those of the proxies that pass TLS through by SNI, each configured to do only that.

One name leads to one backend, which has the certificate; other names and what is no TLS are
refused. Buffers are as each has them by default.
"""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

from bench.proxies.base import Proxy
from bench.proxies.haproxy import HAProxy
from bench.proxies.nginx import Nginx
from bench.proxies.revproxy import RevProxy
from bench.upstream import nginx_user

_REVPROXY = """\

[[listeners.passthrough]]
hosts = ["{host}"]
upstream = "127.0.0.1:{upstream_port}"
send_proxy = "off"
"""

_NGINX = """\
{load}{user}daemon off;
worker_processes 1;
pid {folder}/nginx.pid;
error_log {folder}/error.log warn;
events {{ worker_connections 16384; }}
stream {{
  map $ssl_preread_server_name $backend {{
    {host} application;
    default "";
  }}
  upstream application {{ server 127.0.0.1:{upstream_port}; }}
  server {{
    listen 127.0.0.1:{port} backlog=4096;
    ssl_preread on;
    preread_timeout 5s;
    proxy_connect_timeout 5s;
    proxy_timeout 60s;
    proxy_pass $backend;
  }}
}}
"""

_HAPROXY = """\
global
  nbthread 1
  maxconn 8192
defaults
  mode tcp
  timeout connect 5s
  timeout client 60s
  timeout server 60s
frontend edge
  bind 127.0.0.1:{port} backlog 4096
  tcp-request inspect-delay 5s
  tcp-request content accept if {{ req_ssl_hello_type 1 }}
  tcp-request content reject
  use_backend application if {{ req_ssl_sni -i {host} }}
backend application
  server application 127.0.0.1:{upstream_port}
"""

_MODULES = re.compile(r"--modules-path=(\S+)")
_STREAM = re.compile(r"--with-stream(=dynamic)?(?=\s|$)")
_MODULE = "ngx_stream_module.so"


def parse_stream_module(arguments: str) -> Path | None:
    """Where nginx has its stream module, from what ``nginx -V`` prints.

    Returns:
        the file to be loaded, an empty path where the module is built in, or None without it.
    """
    found = _STREAM.search(arguments)
    if found is None:
        return None
    modules = _MODULES.search(arguments)
    if not found[1]:
        return Path()
    return Path(modules[1]) / _MODULE if modules else None


def _stream_module() -> Path | None:
    shown = subprocess.run([Nginx.path(), "-V"], capture_output=True, text=True, check=False)
    module = parse_stream_module(shown.stderr)
    return module if module is None or module.exists() else None


class RevProxyPassing(RevProxy):
    """Ours; the listener has a certificate, as it must, but no site."""

    def sites(self) -> str:
        setup = self.setup
        return _REVPROXY.format(host=setup.hosts[0], upstream_port=setup.upstream_port)


class NginxStream(Nginx):
    """nginx with its stream module, which Debian has in a package of its own."""

    name = "nginx stream"

    @classmethod
    def missing(cls) -> str | None:
        if why := super().missing():
            return why
        return None if _stream_module() else "nginx has no stream module"

    def configure(self) -> list[str]:
        config = self.folder / "nginx.conf"
        module = _stream_module()
        config.write_text(
            _NGINX.format(
                load=f"load_module {module};\n" if module and module.name else "",
                user=nginx_user(),
                folder=self.folder,
                port=self.port,
                host=self.setup.hosts[0],
                upstream_port=self.setup.upstream_port,
            )
        )
        return [self.path(), "-c", str(config), "-e", str(self.folder / "error.log")]


class HAProxyPassing(HAProxy):
    """HAProxy in mode tcp."""

    def configure(self) -> list[str]:
        config = self.folder / "haproxy.cfg"
        config.write_text(
            _HAPROXY.format(
                port=self.port,
                host=self.setup.hosts[0],
                upstream_port=self.setup.upstream_port,
            )
        )
        return [self.path(), "-db", "-f", str(config)]


PASSING: dict[type[Proxy], type[Proxy]] = {
    RevProxy: RevProxyPassing,
    Nginx: NginxStream,
    HAProxy: HAProxyPassing,
}
"""How each is run for this, of those that can."""
