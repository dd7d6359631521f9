"""The recipes of docs/backends.md, run: each backend knows the client behind the proxy."""

from __future__ import annotations

import re
import subprocess
import tomllib
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from tests.support.certificates import authority
from tests.support.peers import require
from tests.support.proxy import RunningProxy, free_port
from tests.support.recording_upstream import RecordingUpstream
from tests.support.servers import start_server, temporary_folder

RECIPES = Path(__file__).resolve().parents[2] / "docs" / "backends.md"
CLIENT = "127.0.0.9"
BACKEND = "127.0.0.11"
NAME = "cloud.example.org"
LIVE = f"/etc/letsencrypt/live/{NAME}"

NGINX = """
daemon off; master_process off; pid {folder}/pid; error_log stderr; events {{ }}
http {{
    access_log off;
    client_body_temp_path {folder}/body; proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi; uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    ssl_certificate {cert}; ssl_certificate_key {key};
    {content}
}}
"""
TELL_NGINX = 'location / { return 200 "$remote_addr $server_protocol"; }'

APACHE = """
ServerName apache.test
ServerRoot {folder}
PidFile {folder}/pid
ErrorLog /dev/stderr
LogFormat "%h %a" both
CustomLog {folder}/access.log both
LoadModule mpm_event_module {modules}/mod_mpm_event.so
LoadModule authz_core_module {modules}/mod_authz_core.so
LoadModule remoteip_module {modules}/mod_remoteip.so
LoadModule ssl_module {modules}/mod_ssl.so
LoadModule http2_module {modules}/mod_http2.so
Listen 0.0.0.0:{port}
DocumentRoot {folder}
<Directory {folder}>
    Require all granted
</Directory>
ErrorDocument 404 "%{{REMOTE_ADDR}} %{{SERVER_PROTOCOL}}"
{content}
"""
APACHE_MODULES = "/usr/lib/apache2/modules"

HAPROXY = """
defaults
    timeout connect 5s
    timeout client 10s
    timeout server 10s
{content}
    http-request return status 200 content-type text/plain lf-string "%[src] HTTP/%[req.ver]"
"""


def recipe(path: str) -> str:
    """What the file ``path`` holds, by the document."""
    text = RECIPES.read_text(encoding="utf-8")
    (found,) = re.findall(rf"^```\w+\n# {re.escape(path)}\n(.*?)^```$", text, re.M | re.S)
    return str(found)


class BackendCase(SynchronousTestCase):
    """A backend made of recipes, and a proxy in front of it."""

    def setUp(self) -> None:
        self.folder = temporary_folder(self)
        self.folder.chmod(0o755)
        self.port = free_port()
        self.pair = authority().pair(NAME)

    def here(self, path: str, site: str = "") -> str:
        """A recipe with the addresses of this machine; ``site`` is what stands in it."""
        text = recipe(path).replace("# the site, as it was", site)
        for known, ours in (
            ("192.0.2.11:443", f"{BACKEND}:{self.port}"),
            ("[2001:db8::11]:443", f"[::1]:{self.port}"),
            ("192.0.2.11", BACKEND),
            ("192.0.2.1", "127.0.0.1"),
            (f"{LIVE}/fullchain.pem", self.pair.cert_path),
            (f"{LIVE}/privkey.pem", self.pair.key_path),
        ):
            text = text.replace(known, ours)
        return text

    def nginx(self, content: str) -> None:
        """Start it."""
        path = self.folder / "nginx.conf"
        cert, key = self.pair.cert_path, self.pair.key_path
        path.write_text(NGINX.format(folder=self.folder, content=content, cert=cert, key=key))
        self.start([require("nginx"), "-p", str(self.folder), "-c", str(path)])

    def apache(self, content: str) -> None:
        """Start it."""
        path = self.folder / "apache.conf"
        where = {"folder": self.folder, "modules": APACHE_MODULES, "port": self.port}
        path.write_text(APACHE.format(content=content, **where))
        self.start([require("apache2"), "-X", "-f", str(path)])

    def start(self, command: list[str]) -> None:
        """Start a backend, and wait until it is there."""
        start_server(self, command, self.port, BACKEND)

    def pass_on(self) -> None:
        """A proxy that passes TLS on to the backend, with the defaults."""
        passed = {"hosts": [NAME], "upstream": f"{BACKEND}:{self.port}"}
        self.proxy = RunningProxy({"a.test": "127.0.0.1:1"}, listener={"passthrough": [passed]})
        self.addCleanup(self.proxy.stop)

    def serve(self) -> None:
        """A proxy that has the backend as a site."""
        self.proxy = RunningProxy({NAME: f"{BACKEND}:{self.port}"})
        self.addCleanup(self.proxy.stop)

    def asked(self, *options: str, port: int = 0, at: str = "127.0.0.1") -> str:
        """What the client gets through the proxy, or at ``port``."""
        port = port or self.proxy.https_port
        command = [require("curl"), "--disable", "--silent", "--show-error", "--noproxy", "*"]
        command += ["--cacert", authority().ca_path, "--max-time", "20"]
        command += ["--resolve", f"*:{port}:{at}", *options]
        done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
        return done.stdout + done.stderr

    def told(self, *options: str) -> str:
        """What the backend tells of the client behind the proxy."""
        url = f"https://{NAME}:{self.proxy.https_port}/"
        return self.asked("--interface", CLIENT, *options, url)


FORGED: tuple[str, ...] = ("-H", "X-Real-IP: 192.0.2.66", "-H", "X-Forwarded-For: 192.0.2.66")


class NginxTests(BackendCase):
    """nginx, and YunoHost's."""

    def forge(self) -> str:
        """What the backend tells of a client that comes past the proxy and poses as another."""
        url = f"http://{NAME}:{self.port}/"
        return self.asked("--interface", CLIENT, *FORGED, url, port=self.port, at=BACKEND)

    def check_site(self, path: str) -> None:
        """A recipe for a backend of a site."""
        self.nginx(self.here(path) + f"server {{ listen {BACKEND}:{self.port}; {TELL_NGINX} }}")
        self.serve()
        self.assertEqual(self.told(), f"{CLIENT} HTTP/1.1")
        self.assertEqual(self.told(*FORGED), f"{CLIENT} HTTP/1.1")
        self.assertEqual(self.forge(), f"{CLIENT} HTTP/1.1")

    def test_site(self) -> None:
        """Behind a site; whoever comes past the proxy can pose as nobody."""
        self.check_site("/etc/nginx/conf.d/real-ip.conf")

    def test_yunohost_site(self) -> None:
        """YunoHost's snippet for sites."""
        self.check_site("/etc/nginx/snippets/YunoHost_behind_http_RP.inc")

    def test_passthrough(self) -> None:
        """Behind passthrough."""
        self.nginx(self.here("/etc/nginx/sites-enabled/cloud.conf", TELL_NGINX))
        self.pass_on()
        self.assertEqual(self.told(*FORGED), f"{CLIENT} HTTP/2.0")

    def test_yunohost_passthrough(self) -> None:
        """YunoHost's snippet for passthrough, with calls to itself beside."""
        snippet = self.here("/etc/nginx/snippets/YunoHost_behind_https_TLSPT_RP.inc")
        domain = self.folder / f"{NAME}.d"
        domain.mkdir()
        (domain / "behind_https_TLSPT_RP.conf").write_text(snippet)
        listen = f"listen {self.port} ssl http2; listen [::]:{self.port} ssl http2;"
        include = f"include {domain}/*.conf;"
        self.nginx(f"server {{ {listen} server_name {NAME}; {include} {TELL_NGINX} }}")
        self.pass_on()
        self.assertEqual(self.told(*FORGED), f"{CLIENT} HTTP/2.0")
        url = f"https://{NAME}:{self.port}/"
        self.assertEqual(self.asked(url, port=self.port), "127.0.0.1 HTTP/2.0")


class ApacheTests(BackendCase):
    """Apache."""

    def test_site(self) -> None:
        """Behind a site."""
        self.apache(self.here("/etc/apache2/conf-enabled/remoteip.conf"))
        self.serve()
        self.assertEqual(self.told(), f"{CLIENT} HTTP/1.1")
        self.assertEqual(self.told(*FORGED), f"{CLIENT} HTTP/1.1")
        # The second request came by the connection of the first, when that had been logged.
        logged = (self.folder / "access.log").read_text()
        self.assertTrue(logged.startswith(f"{CLIENT} {CLIENT}\n"), logged)
        url = f"http://{NAME}:{self.port}/"
        forged = self.asked("--interface", CLIENT, *FORGED, url, port=self.port, at=BACKEND)
        self.assertEqual(forged, f"{CLIENT} HTTP/1.1")

    def test_passthrough(self) -> None:
        """Behind passthrough."""
        self.apache(self.here("/etc/apache2/sites-enabled/cloud.conf"))
        self.pass_on()
        self.assertEqual(self.told(), f"{CLIENT} HTTP/2.0")


class HaproxyTests(BackendCase):
    """HAProxy."""

    def test_passthrough(self) -> None:
        """Behind passthrough."""
        path = self.folder / "cloud.pem"
        pair = (Path(self.pair.cert_path), Path(self.pair.key_path))
        path.write_bytes(b"".join(part.read_bytes() for part in pair))
        text = self.here("/etc/haproxy/haproxy.cfg").replace("/etc/haproxy/cloud.pem", str(path))
        configuration = self.folder / "haproxy.cfg"
        configuration.write_text(HAPROXY.format(content=text.rstrip()))
        self.start([require("haproxy"), "-db", "-f", str(configuration)])
        self.pass_on()
        self.assertEqual(self.told(), f"{CLIENT} HTTP/2.0")


class RevproxyTests(BackendCase):
    """Another proxy of this kind."""

    def test_passthrough(self) -> None:
        """Behind passthrough."""
        (listener,) = tomllib.loads(self.here("/etc/reverse-proxy/config.toml"))["listeners"]
        self.assertEqual(listener["bind_addr"], BACKEND)
        upstream = RecordingUpstream()
        self.addCleanup(upstream.stop)
        ports = (free_port(), self.port)
        second = RunningProxy({NAME: upstream.address}, listener=listener, ports=ports)
        self.addCleanup(second.stop)
        self.pass_on()
        self.assertEqual(self.told(*FORGED), "ok")
        (request,) = upstream.requests
        self.assertEqual(request.value(b"X-Real-IP"), CLIENT.encode())
