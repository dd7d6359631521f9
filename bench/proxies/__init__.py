"""One module per proxy: its configuration, written from one shared :class:`Setup`."""

from __future__ import annotations

from bench.proxies.base import Proxy, Setup
from bench.proxies.caddy import Caddy
from bench.proxies.envoy import Envoy
from bench.proxies.haproxy import HAProxy
from bench.proxies.nginx import Nginx
from bench.proxies.revproxy import RevProxy

ALL: tuple[type[Proxy], ...] = (RevProxy, Nginx, HAProxy, Envoy, Caddy)

__all__ = ["ALL", "Caddy", "Envoy", "HAProxy", "Nginx", "Proxy", "RevProxy", "Setup"]
