"""The shipped configurations: each is valid, and means what its comments say."""

from __future__ import annotations

import re
import shutil
import time
import tomllib
from ipaddress import ip_network
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from revproxy.control.proxy import check
from revproxy.model.configuration import Configuration
from revproxy.policy.connection_limit import UNLIMITED
from revproxy.policy.forwarded import connection_key
from revproxy.settings import load
from tests.support.certificates import authority

EXAMPLES = Path(__file__).resolve().parents[2] / "deploy" / "examples"
LOG = "/var/log/reverse-proxy/access.log"
"""Where fail2ban and logrotate look."""

PEM_PATH = re.compile(r'"(/[^"]*/(?:fullchain|privkey)\.pem)"')

NAMES = {
    "automatic",
    "behind-a-proxy",
    "container",
    "dedicated-addresses",
    "https-upstream",
    "minimal",
    "passthrough",
    "several-sites",
    "split",
    "unix-upstream",
}


class ExampleTests(SynchronousTestCase):
    """deploy/examples."""

    def setUp(self) -> None:
        self.folder = Path(self.mktemp())
        shutil.copytree(EXAMPLES, self.folder)

    def load(self, name: str) -> Configuration:
        """The configuration of an example."""
        return load(self.folder / f"{name}.toml")

    def test_all_load(self) -> None:
        """Every file is a valid configuration."""
        self.assertEqual({path.stem for path in EXAMPLES.glob("*.toml")}, NAMES)
        for name in NAMES:
            self.load(name)

    def test_certificates_cover_sites(self) -> None:
        """With the files and folders that the paths promise, there is nothing to warn of."""
        for path in self.folder.rglob("*.toml"):
            text = path.read_text().replace(str(Path(LOG).parent), str(self.folder.absolute()))
            path.write_text(PEM_PATH.sub(_paired, text))
        for name in sorted(NAMES):
            sentence, warnings = check(self.load(name), time.time())
            self.assertTrue(sentence.startswith("configuration ok"), sentence)
            self.assertEqual(warnings, [], name)

    def test_minimal(self) -> None:
        """The smallest file has no key that could be left out."""
        document = tomllib.loads((EXAMPLES / "minimal.toml").read_text())
        (listener,) = document["listeners"]
        self.assertEqual(document.keys(), {"rate_limit", "body", "listeners"})
        self.assertEqual(listener.keys(), {"bind_addr", "tls", "sites"})
        self.assertEqual(listener["tls"].keys(), {"mode", "cert_path", "key_path"})

    def test_automatic(self) -> None:
        """The example of automatic certificates orders one for each site, and from staging."""
        configuration = self.load("automatic")
        (listener,) = configuration.listeners
        self.assertEqual(listener.tls.mode, "acme")
        self.assertEqual(
            set(listener.tls.acme_domains), {site.host for site in configuration.all_sites()}
        )
        self.assertEqual(listener.tls.acme_directory, "staging")

    def test_container(self) -> None:
        """The container's listens everywhere, on the ports that are published."""
        configuration = self.load("container")
        (listener,) = configuration.listeners
        self.assertTrue(configuration.allow_wildcard_bind)
        self.assertEqual(listener.bind_addr, "0.0.0.0")
        self.assertEqual((listener.http_port, listener.https_port), (80, 443))
        self.assertEqual(configuration.health_check_port, 9900)
        self.assertEqual(str(listener.sites[0].upstream), "gitea:3000")
        self.assertEqual(configuration.logging.log_file_path, LOG)

    def test_behind_a_proxy(self) -> None:
        """The balancer's networks are trusted, and its connections are not limited."""
        configuration = self.load("behind-a-proxy")
        self.assertIn(ip_network("192.0.2.0/24"), configuration.trusted_proxies)
        for address in ("192.0.2.7", "2001:db8:1::7"):
            self.assertEqual(connection_key(address, configuration.trusted_proxies), UNLIMITED)

    def test_upstreams(self) -> None:
        """The examples of upstreams are of the kinds that their names say."""
        (local,) = self.load("unix-upstream").all_sites()
        self.assertEqual(local.upstream.path, "/run/app/http.sock")
        (secret,) = self.load("https-upstream").all_sites()
        self.assertEqual(secret.upstream_scheme, "https")

    def test_passthrough(self) -> None:
        """The example passes a host and its wildcard on, and two TCP services."""
        configuration = self.load("passthrough")
        (listener,) = configuration.listeners
        (passed,) = listener.passthrough
        self.assertEqual(passed.hosts, ("cloud.example.org", "*.cloud.example.org"))
        self.assertEqual(passed.send_proxy, "v2")
        self.assertEqual(str(passed.http_upstream), "192.0.2.11:80")
        services = {stream.port: stream.send_proxy for stream in configuration.streams}
        self.assertEqual(services, {2222: "off", 5222: "v2"})

    def test_split(self) -> None:
        """Of the included sites one is served everywhere, the other on one listener."""
        listeners = {site.host: site.listeners for site in self.load("split").all_sites()}
        self.assertEqual(listeners, {"git.example.com": None, "wiki.example.com": ("10.0.0.1",)})


def _paired(found: re.Match[str]) -> str:
    """A path of the test authority's, for the names that the example's path is made of."""
    domain = Path(found[1]).parent.name
    names = [domain]
    if domain.startswith("wildcard."):
        names = ["*." + domain.removeprefix("wildcard.")]
    elif domain == "example.com":
        names.append("www.example.com")
    pair = authority().pair(*names)
    return f'"{pair.cert_path if "fullchain" in found[1] else pair.key_path}"'
