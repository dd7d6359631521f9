"""Test cases with an nginx that owns its certificate, behind a proxy that passes its TLS on.

Owns that nginx, what the proxy's configuration says of it, and what nginx tells: in its answers
and in its log. Refuses to know what a test asks for.
"""

from __future__ import annotations

import time
from typing import Any, ClassVar

from tests.support.certificates import authority
from tests.support.nginx import Nginx
from tests.support.proxy import Sites, free_port
from tests.support.real_clients import RealCase

NAMES = ("cloud.test", "*.cloud.test")
"""What the certificate of nginx is for."""

SERVERS = """
    log_format seen '$remote_addr $server_protocol $ssl_server_name $host $request_uri';
    server {{
        listen 127.0.0.1:{tls} ssl http2 proxy_protocol;
        set_real_ip_from 127.0.0.1;
        real_ip_header proxy_protocol;
        ssl_certificate {pair.cert_path};
        ssl_certificate_key {pair.key_path};
        access_log seen.log seen;
        root files;
        location = /who {{ return 200 "$remote_addr $server_protocol $ssl_server_name $host"; }}
        location /upload/ {{ dav_methods PUT; create_full_put_path on; root .; }}
    }}
    server {{
        listen 127.0.0.1:{plain};
        set_real_ip_from 127.0.0.1;
        real_ip_header X-Real-IP;
        access_log seen.log seen;
        location / {{
            set $told "$http_x_real_ip $http_x_forwarded_for $http_x_forwarded_proto";
            return 200 "$remote_addr $told $http_x_forwarded_host $request_method $request_uri";
        }}
    }}
    server {{
        listen 127.0.0.1:{rest} ssl proxy_protocol;
        ssl_certificate {pair.cert_path};
        ssl_certificate_key {pair.key_path};
        return 200 "the rest $proxy_protocol_addr $ssl_server_name";
    }}
"""


class PassingNginx(Nginx):
    """An nginx with its own certificate, for :data:`NAMES`.

    ``/who`` tells the client's address, the protocol and the names that it has asked for; the
    plain port tells what the proxy has told it.

    Attributes:
        tls_address: TLS, and a PROXY header before it.
        plain_address: plain HTTP.
        rest_address: as ``tls_address``, for names of nobody.
    """

    def __init__(self) -> None:
        tls, plain, rest = free_port(), free_port(), free_port()
        self.tls_address = f"127.0.0.1:{tls}"
        self.plain_address = f"127.0.0.1:{plain}"
        self.rest_address = f"127.0.0.1:{rest}"
        pair = authority().pair(*NAMES)
        super().__init__(servers=SERVERS.format(tls=tls, plain=plain, rest=rest, pair=pair))

    def wait_for_log(self, line: str) -> None:
        """Wait until ``line`` is in the access log: nginx writes it after the response.

        Raises:
            AssertionError: it is not in time.
        """
        path = self.folder / "seen.log"
        deadline = time.monotonic() + 5
        while line not in (text := path.read_text(encoding="utf-8")).splitlines():
            if time.monotonic() > deadline:
                raise AssertionError(f"{line!r} is not in the log:\n{text}")
            time.sleep(0.02)


class PassingCase(RealCase):
    """One listener with a site, whose TLS it ends, and hosts whose TLS it passes on.

    Attributes:
        PASSED: more keys of the ``[[listeners.passthrough]]`` of ``cloud.test`` and its wildcard.
        LISTENER: more keys of the listener.
    """

    HTTP = "--http2"
    HOST = "site.test"
    PASSED: ClassVar[dict[str, Any]] = {}
    LISTENER: ClassVar[dict[str, Any]] = {}
    behind: ClassVar[PassingNginx]

    @classmethod
    def start_upstream(cls) -> PassingNginx:
        """The nginx, for the site and for the hosts that are passed on."""
        cls.behind = PassingNginx()
        (cls.behind.files / "small").write_bytes(b"ended here")
        return cls.behind

    @classmethod
    def sites(cls, upstream: Nginx) -> Sites:  # type: ignore[override]
        """A site, and one within the wildcard that is passed on."""
        return {cls.HOST: upstream.address, "here.cloud.test": upstream.address}

    @classmethod
    def passthrough(cls) -> list[dict[str, Any]]:
        """The hosts that are passed on."""
        return [{"hosts": NAMES, "upstream": cls.behind.tls_address, **cls.PASSED}]

    @classmethod
    def overrides(cls) -> dict[str, Any]:
        """Hosts that are passed on."""
        return {"listener": {"passthrough": cls.passthrough(), **cls.LISTENER}}

    def plain_url(self, path: str, host: str) -> str:
        """Where ``path`` is found on the plain port."""
        return f"http://{host}:{self.proxy.http_port}{path}"
