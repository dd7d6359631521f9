"""Tables: their keys, their defaults, and what becomes of wrong keys."""

from __future__ import annotations

from ipaddress import ip_network

import attrs
from twisted.trial.unittest import SynchronousTestCase

from revproxy.model.address import UpstreamAddress
from revproxy.model.configuration import (
    BodyLimit,
    CertificatePair,
    Configuration,
    Limits,
    Listener,
    Logging,
    RateLimit,
    Site,
    Timeouts,
    TlsSettings,
)
from tests.support.configurations import Step, changed, minimal, mistakes, read, without


class DefaultTests(SynchronousTestCase):
    """A file with the required keys only."""

    def test_every_default(self) -> None:
        """Keys that are left out have the documented defaults."""
        self.assertEqual(
            read(minimal()),
            Configuration(
                allow_wildcard_bind=False,
                health_check_port=9900,
                admin_socket_path="/run/reverse-proxy/admin.sock",
                shutdown_timeout_secs=30,
                trusted_proxies=(),
                default_site=None,
                logging=Logging(level="info", format="text", log_file_path=None),
                rate_limit=RateLimit(requests_per_second=10, burst=20, headers=False),
                body=BodyLimit(limit_bytes=104857600),
                timeouts=Timeouts(
                    tls_handshake_secs=10,
                    client_hello_secs=5,
                    request_head_secs=10,
                    request_body_secs=30,
                    response_write_secs=60,
                    keepalive_secs=75,
                ),
                limits=Limits(
                    max_connections=0,
                    max_connections_per_ip=100,
                    request_head_bytes=32768,
                    request_headers=128,
                    request_target_bytes=8192,
                    pipelined_requests=16,
                    interim_responses=10,
                    upstream_head_bytes=65536,
                    chunk_line_bytes=4096,
                    trailer_bytes=16384,
                    client_hello_bytes=16384,
                    h2_max_streams=128,
                    h2_header_list_bytes=65536,
                    h2_resets=100,
                    h2_continuations=20,
                    h2_settings=50,
                    h2_pings=100,
                    h2_priorities=200,
                    h2_empty_frames=100,
                    buffered_bytes=262144,
                    min_body_bytes_per_sec=240,
                ),
                listeners=(
                    Listener(
                        bind_addr="203.0.113.10",
                        http_port=80,
                        https_port=443,
                        tls=TlsSettings(
                            mode="manual",
                            pairs=(
                                CertificatePair(
                                    "/etc/ssl/example.com/fullchain.pem",
                                    "/etc/ssl/example.com/privkey.pem",
                                ),
                            ),
                            session_tickets=True,
                        ),
                        sites=(
                            Site(
                                host="example.com",
                                upstream=UpstreamAddress("127.0.0.1", 8080),
                                upstream_scheme="http",
                                upstream_connect_timeout_secs=5,
                                upstream_request_timeout_secs=60,
                                upstream_keepalive=64,
                                upstream_idle_secs=4,
                                log_file_path=None,
                                listeners=None,
                            ),
                        ),
                    ),
                ),
                sites=(),
            ),
        )

    def test_every_key_with_its_default_spelled_out(self) -> None:
        """Writing the defaults down changes nothing."""
        document = minimal()
        for name, model in (("logging", Logging), ("timeouts", Timeouts), ("limits", Limits)):
            fields = attrs.asdict(model())
            document[name] = {key: value for key, value in fields.items() if value is not None}
        document |= {
            "allow_wildcard_bind": False,
            "health_check_port": 9900,
            "admin_socket_path": "/run/reverse-proxy/admin.sock",
            "shutdown_timeout_secs": 30,
            "trusted_proxies": [],
        }
        document["listeners"][0] |= {"http_port": 80, "https_port": 443}
        document["listeners"][0]["tls"] |= {"certificates": [], "session_tickets": True}
        document["listeners"][0]["sites"][0] |= {
            "upstream_scheme": "http",
            "upstream_connect_timeout_secs": 5,
            "upstream_request_timeout_secs": 60,
            "upstream_keepalive": 64,
            "upstream_idle_secs": 4,
        }
        self.assertEqual(read(document), read(minimal()))


class OptionalKeyTests(SynchronousTestCase):
    """Keys that have no default to compare with."""

    def test_values_arrive(self) -> None:
        """What the file says is what the model holds."""
        document = minimal() | {
            "trusted_proxies": ["10.0.0.0/8", "2001:db8::/32", "192.0.2.1"],
            "default_site": "Example.COM.",
            "admin_socket_path": "",
            "shutdown_timeout_secs": 0,
        }
        document["rate_limit"]["headers"] = True
        document["listeners"][0]["tls"]["session_tickets"] = False
        configuration = read(document)
        self.assertEqual(
            configuration.trusted_proxies,
            tuple(map(ip_network, ("10.0.0.0/8", "2001:db8::/32", "192.0.2.1/32"))),
        )
        self.assertEqual(configuration.default_site, "example.com")
        self.assertEqual(configuration.admin_socket_path, "")
        self.assertEqual(configuration.shutdown_timeout_secs, 0)
        self.assertIs(configuration.rate_limit.headers, True)
        self.assertIs(configuration.listeners[0].tls.session_tickets, False)

    def test_relative_paths(self) -> None:
        """A relative path starts from the directory of the file."""
        document = minimal() | {
            "admin_socket_path": "run/admin.sock",
            "logging": {"log_file_path": "log/access.log"},
        }
        listener = document["listeners"][0]
        listener["tls"] = {
            "mode": "manual",
            "certificates": [{"cert_path": "ssl/a.pem", "key_path": "/keys/a.pem"}],
        }
        listener["sites"][0]["log_file_path"] = "log/site.log"
        configuration = read(document)
        (listener,) = configuration.listeners
        self.assertEqual(configuration.admin_socket_path, "/etc/reverse-proxy/run/admin.sock")
        self.assertEqual(configuration.logging.log_file_path, "/etc/reverse-proxy/log/access.log")
        pair = CertificatePair("/etc/reverse-proxy/ssl/a.pem", "/keys/a.pem")
        self.assertEqual(listener.tls.pairs, (pair,))
        self.assertEqual(listener.sites[0].log_file_path, "/etc/reverse-proxy/log/site.log")

    def test_first_pair_comes_first(self) -> None:
        """cert_path and key_path come before the further certificates."""
        document = changed(
            "listeners", 0, "tls", "certificates", to=[{"cert_path": "/c", "key_path": "/k"}]
        )
        pairs = read(document).listeners[0].tls.pairs
        self.assertEqual([pair.key_path for pair in pairs][1:], ["/k"])
        self.assertEqual(len(pairs), 2)


class KeyTests(SynchronousTestCase):
    """Unknown, missing and doubtful keys."""

    def test_unknown_key_with_a_near_one(self) -> None:
        """A slip is answered with the key that was meant, and not with its absence as well."""
        document = minimal()
        site = document["listeners"][0]["sites"][0]
        document["listeners"][0]["sites"].append(
            {"host": "b.example", "upstram": site["upstream"]}
        )
        self.assertEqual(
            mistakes(document),
            ['listeners[0].sites[1].upstram: unknown key, did you mean "upstream"?'],
        )

    def test_unknown_key_without_a_near_one(self) -> None:
        """Nothing is suggested for a key that resembles none."""
        self.assertEqual(mistakes(minimal() | {"colour": 1}), ["colour: unknown key"])

    def test_keys_are_case_sensitive(self) -> None:
        """A key in capitals is unknown, and its lower-case form suggested."""
        self.assertEqual(
            mistakes(changed("rate_limit", "HEADERS", to=True)),
            ['rate_limit.HEADERS: unknown key, did you mean "headers"?'],
        )

    def test_odd_keys_are_quoted(self) -> None:
        """A key that TOML would quote is shown quoted, on one line, and cut when long."""
        document = minimal() | {"a\nb.c": 1, "x" * 5000: 1}
        self.assertEqual(
            mistakes(document),
            ['"a\\nb.c": unknown key', f'"{"x" * 60}"...: unknown key'],
        )

    def test_missing_keys(self) -> None:
        """Each required key is asked for by its place."""
        places: list[tuple[tuple[Step, ...], str]] = [
            (("rate_limit",), "rate_limit"),
            (("rate_limit", "requests_per_second"), "rate_limit.requests_per_second"),
            (("rate_limit", "burst"), "rate_limit.burst"),
            (("body",), "body"),
            (("body", "limit_bytes"), "body.limit_bytes"),
            (("listeners", 0, "bind_addr"), "listeners[0].bind_addr"),
            (("listeners", 0, "tls"), "listeners[0].tls"),
            (("listeners", 0, "tls", "mode"), "listeners[0].tls.mode"),
            (("listeners", 0, "sites", 0, "host"), "listeners[0].sites[0].host"),
            (("listeners", 0, "sites", 0, "upstream"), "listeners[0].sites[0].upstream"),
        ]
        for path, place in places:
            self.assertEqual(mistakes(without(*path)), [f"{place}: required, but missing"])
