"""Whole documents: what has not landed yet, many mistakes at once, and nonsense."""

from __future__ import annotations

import copy
import tomllib
from typing import Any

import hypothesis
from hypothesis import strategies
from twisted.trial.unittest import SynchronousTestCase

from revproxy.model.address import UpstreamAddress
from revproxy.model.configuration import (
    CertificatePair,
    Configuration,
    Limits,
    Timeouts,
    TlsSettings,
)
from tests.support.configurations import Step, changed, minimal, mistakes, read

ACME = """
mode = "acme"
acme_domains = ["example.com"]
acme_cache_dir = "/var/lib/reverse-proxy/acme-cache"
acme_directory = "staging"
acme_contact = "mailto:admin@example.com"
"""

MANUAL = """
mode = "manual"
cert_path = "/etc/ssl/example.com/fullchain.pem"
key_path = "/etc/ssl/example.com/privkey.pem"
"""

QUICK_START = """
health_check_port = 9900

[logging]
level = "info"
format = "text"

[rate_limit]
requests_per_second = 10
burst = 20

[body]
limit_bytes = 104857600

[[listeners]]
bind_addr = "0.0.0.0"

[listeners.tls]
{tls}

[[listeners.sites]]
host = "example.com"
upstream = "127.0.0.1:8080"
"""

UNAVAILABLE: dict[str, tuple[tuple[Step, ...], str]] = {
    "policies": ((), "policy"),
    "upstreams": (
        ("listeners", 0, "sites", 0),
        "upstreams balance max_connections queue when_none_healthy retries retry_budget "
        "upstream_tls health passive_health sticky",
    ),
    "policies, site": (
        ("listeners", 0, "sites", 0),
        "routes respond redirect rate_limit connection_limit body allow deny api_key basic_auth "
        "forward_auth cors security_headers request_headers response_headers strip_prefix "
        "compress access_log ban",
    ),
}


class QuickStartTests(SynchronousTestCase):
    """The configuration that a new user begins with."""

    def test_acme(self) -> None:
        """It is valid as it stands, and the rest of the ACME keys has the documented defaults."""
        configuration = read(QUICK_START.format(tls=ACME), allow_wildcard_bind=True)
        (listener,) = configuration.listeners
        self.assertEqual(
            listener.tls,
            TlsSettings(
                mode="acme",
                pairs=(),
                acme_domains=("example.com",),
                acme_cache_dir="/var/lib/reverse-proxy/acme-cache",
                acme_directory="staging",
                acme_contact="mailto:admin@example.com",
            ),
        )
        self.assertEqual(listener.tls.acme_challenge, "tls-alpn-01")

    def test_acme_without_the_flag(self) -> None:
        """The wildcard address is refused where nothing allows it."""
        (found,) = mistakes(QUICK_START.format(tls=ACME))
        self.assertIn("binds every address", found)

    def test_acme_keys_are_checked(self) -> None:
        """Wrong values of its keys are mistakes, each with its place."""
        slips = ACME.replace('"staging"', "5").replace("acme_contact", "acme_contract")
        found = mistakes(QUICK_START.format(tls=slips), allow_wildcard_bind=True)
        self.assertEqual(
            found,
            [
                "listeners[0].tls.acme_directory: must be a string, not an integer",
                'listeners[0].tls.acme_contract: unknown key, did you mean "acme_contact"?',
                'listeners[0].tls.acme_contact: required, but missing: mode = "acme" needs it',
            ],
        )

    def test_manual(self) -> None:
        """With manual certificates it is valid, and the rest has the documented defaults."""
        text = QUICK_START.format(tls=MANUAL)
        configuration = read(text, allow_wildcard_bind=True)
        (listener,) = configuration.listeners
        pair = CertificatePair(
            "/etc/ssl/example.com/fullchain.pem", "/etc/ssl/example.com/privkey.pem"
        )
        self.assertEqual((listener.http_port, listener.https_port), (80, 443))
        self.assertEqual(listener.tls.pairs, (pair,))
        self.assertEqual(listener.sites[0].upstream, UpstreamAddress("127.0.0.1", 8080))
        self.assertEqual(listener.sites[0].upstream_request_timeout_secs, 60)
        self.assertEqual(configuration.admin_socket_path, "/run/reverse-proxy/admin.sock")
        self.assertEqual(configuration.limits, Limits())
        self.assertEqual(configuration.timeouts, Timeouts())


class UnavailableTests(SynchronousTestCase):
    """Keys of areas that have not landed."""

    def test_each_key(self) -> None:
        """Each is refused with its area, whatever its value, and not as unknown."""
        for name, (path, keys) in UNAVAILABLE.items():
            area = name.partition(",")[0]
            for key in keys.split():
                (found,) = mistakes(changed(*path, key, to={"x": 1}))
                place, _, message = found.partition(": ")
                self.assertEqual(place.rpartition(".")[2], key)
                self.assertEqual(message, f"not available yet ({area})")

    def test_upstreams_instead_of_upstream(self) -> None:
        """Nobody who wrote upstreams is asked for upstream."""
        document = changed(
            "listeners", 0, "sites", to=[{"host": "a.example", "upstreams": ["a:1"]}]
        )
        self.assertEqual(
            mistakes(document),
            ["listeners[0].sites[0].upstreams: not available yet (upstreams)"],
        )


class TenMistakesTests(SynchronousTestCase):
    """Everything is reported at once."""

    TEXT = """
    health_check_port = 99000
    trusted_proxies = ["10.0.0.1/8"]
    [logging]
    format = "xml"
    [rate_limit]
    requests_per_second = 0
    [body]
    limit_bytes = "10 potatoes"
    [timeouts]
    keepalive_secs = "75s"
    [[listeners]]
    bind_addr = "203.0.113.10"
    https_port = 80
    [listeners.tls]
    mode = "manual"
    cert_path = "fullchain.pem"
    key_path = "privkey.pem"
    [[listeners.sites]]
    host = "example.com"
    upstream = "127.0.0.1:8080"
    [[listeners.sites]]
    host = "EXAMPLE.com"
    upstram = "127.0.0.1:8080"
    """

    def test_ten(self) -> None:
        """Ten different mistakes are ten errors, in file order, each with its place."""
        self.assertEqual(
            mistakes(self.TEXT),
            [
                "health_check_port: must be from 0 to 65535, not 99000",
                'trusted_proxies[0]: "10.0.0.1/8" has host bits set, did you mean "10.0.0.0/8"?',
                'logging.format: must be "text" or "json", not "xml"',
                "rate_limit.requests_per_second: must be above 0 and at most 1e+09, not 0",
                "rate_limit.burst: required, but missing",
                'body.limit_bytes: must be a number of bytes or a size such as "10MiB", "64KiB" '
                'or "1GB"',
                "timeouts.keepalive_secs: must be a number of seconds, not a string",
                "listeners[0].https_port: must differ from http_port",
                'listeners[0].sites[1].host: "example.com" is served already, '
                "by listeners[0].sites[0]",
                'listeners[0].sites[1].upstram: unknown key, did you mean "upstream"?',
            ],
        )


NAMES = (
    "include listeners sites tls mode host upstream bind_addr http_port https_port rate_limit "
    "burst body limit_bytes logging level timeouts keepalive_secs limits certificates cert_path "
    "acme_domains default_site trusted_proxies admin_socket_path upstreams"
)
KEYS = strategies.sampled_from(NAMES.split())
LEAVES = (
    strategies.none()
    | strategies.booleans()
    | strategies.integers()
    | strategies.floats()
    | strategies.text(max_size=20)
    | strategies.text("unix:/[]*.0123456789af%", max_size=12)
    | strategies.sampled_from(
        ["acme", "manual", "0.0.0.0", "::", "*.a", "ü.de", "10MiB", "\ud800"]
    )
    | strategies.datetimes()
)
VALUES: strategies.SearchStrategy[Any] = strategies.recursive(
    LEAVES,
    lambda inner: (
        strategies.lists(inner, max_size=4)
        | strategies.dictionaries(KEYS | strategies.text(max_size=5), inner, max_size=6)
    ),
    max_leaves=25,
)


class NonsenseTests(SynchronousTestCase):
    """Whatever the document holds, it is read or its mistakes are listed."""

    def settles(self, document: dict[str, Any]) -> None:
        """Assert that reading ends in a value or in errors that are one printable line each."""
        for line in mistakes(copy.deepcopy(document)):
            self.assertNotIn("\n", line)
            self.assertLess(len(line), 600)

    @hypothesis.settings(max_examples=150, deadline=None, derandomize=True, database=None)
    @hypothesis.given(strategies.dictionaries(KEYS | strategies.text(max_size=5), VALUES))
    def test_any_document(self, document: dict[str, Any]) -> None:
        """Random documents end in errors and in nothing else."""
        self.settles(document)

    @hypothesis.settings(max_examples=200, deadline=None, derandomize=True, database=None)
    @hypothesis.given(strategies.data())
    def test_any_change_of_a_valid_document(self, data: strategies.DataObject) -> None:
        """A valid document with one place replaced is valid still or explained."""
        document = tomllib.loads(QUICK_START.format(tls=MANUAL)) | {
            "trusted_proxies": ["10.0.0.0/8"],
            "default_site": "example.com",
            "timeouts": {"keepalive_secs": 5},
            "limits": {"request_head_bytes": "8KiB"},
        }
        place: Any = document
        while True:
            steps = list(place) if isinstance(place, dict) else list(range(len(place)))
            step = data.draw(strategies.sampled_from(steps))
            if not isinstance(place[step], dict | list) or not place[step]:
                break
            if data.draw(strategies.booleans()):
                break
            place = place[step]
        place[step] = data.draw(VALUES)
        self.settles(document)

    def test_valid_stays_valid(self) -> None:
        """The documents that the changes start from have no mistakes."""
        self.assertIsInstance(read(minimal()), Configuration)
