"""Single values: their types and ranges, and how a wrong one is explained."""

from __future__ import annotations

import tomllib
from math import inf, nan
from typing import Any

import attrs
from twisted.trial.unittest import SynchronousTestCase

from revproxy.model.configuration import Timeouts
from revproxy.settings.units import size_in_bytes
from tests.support.configurations import Step, changed, minimal, mistakes, read

SECONDS: list[tuple[Step, ...]] = [
    *(("timeouts", field.name) for field in attrs.fields(Timeouts)),
    ("shutdown_timeout_secs",),
    ("listeners", 0, "sites", 0, "upstream_connect_timeout_secs"),
    ("listeners", 0, "sites", 0, "upstream_request_timeout_secs"),
    ("listeners", 0, "sites", 0, "upstream_idle_secs"),
]


class TypeTests(SynchronousTestCase):
    """Values of a wrong type or out of range."""

    def refused(self, path: tuple[Step, ...], value: Any, message: str) -> None:
        """Assert that ``value`` at ``path`` is the only mistake, and how it is answered."""
        (found,) = mistakes(changed(*path, to=value))
        self.assertTrue(found.endswith(f": {message}"), found)

    def test_wrong_types(self) -> None:
        """Each is named as TOML names it."""
        for path, value, message in [
            (("allow_wildcard_bind",), 1, "must be true or false, not an integer"),
            (("health_check_port",), "80", "must be a whole number, not a string"),
            (("health_check_port",), True, "must be a whole number, not a boolean"),
            (("health_check_port",), 80.0, "must be a whole number, not a float"),
            (("logging",), [], "must be a table, not an array"),
            (("logging", "level"), {}, "must be a string, not a table"),
            (("default_site",), False, "must be a string, not a boolean"),
            (("trusted_proxies",), "10.0.0.0/8", "must be an array, not a string"),
            (("listeners", 0, "sites"), 3, "must be an array, not an integer"),
            (
                ("listeners", 0, "tls", "session_tickets"),
                "yes",
                "must be true or false, not a string",
            ),
        ]:
            self.refused(path, value, message)
        when = tomllib.loads("at = 2026-07-28")["at"]
        self.refused(("logging", "level"), when, "must be a string, not a date or a time")

    def test_single_brackets(self) -> None:
        """A table where an array of tables is due is answered with the brackets that lack."""
        self.assertEqual(
            mistakes(minimal() | {"listeners": {"bind_addr": "203.0.113.10"}}),
            ["listeners: must be an array, not a table (its tables are written [[...]])"],
        )

    def test_seconds(self) -> None:
        """Durations are finite numbers above 0, of at most a day, and no strings."""
        for path in SECONDS:
            for good in (1, 0.25, 86400):
                self.assertEqual(mistakes(changed(*path, to=good)), [], path)
            self.refused(path, True, "must be a number, not a boolean")
            self.refused(path, "5s", "must be a number of seconds, not a string")
            self.refused(path, nan, "must be a finite number, not nan")
            self.refused(path, inf, "must be a finite number, not inf")
        for path in SECONDS:
            if path != ("shutdown_timeout_secs",):
                self.refused(path, 0, "must be above 0 and at most 86400, not 0")
        self.refused(("shutdown_timeout_secs",), -1, "must be from 0 to 86400, not -1")
        self.refused(
            ("timeouts", "keepalive_secs"),
            1e9,
            "must be above 0 and at most 86400, not 1000000000.0",
        )

    def test_ranges(self) -> None:
        """Every whole number has a least and a greatest value."""
        for path, least, greatest in [
            (("health_check_port",), 0, 65535),
            (("rate_limit", "burst"), 1, 10**9),
            (("body", "limit_bytes"), 1, 2**63 - 1),
            (("listeners", 0, "http_port"), 0, 65535),
            (("listeners", 0, "https_port"), 1, 65535),
            (("listeners", 0, "sites", 0, "upstream_keepalive"), 0, 65536),
            (("limits", "max_connections"), 0, 10**7),
            (("limits", "max_connections_per_ip"), 0, 10**7),
            (("limits", "request_head_bytes"), 256, 2**20),
            (("limits", "request_headers"), 1, 4096),
            (("limits", "request_target_bytes"), 64, 2**20),
            (("limits", "pipelined_requests"), 1, 1024),
            (("limits", "interim_responses"), 1, 1024),
            (("limits", "upstream_head_bytes"), 256, 2**24),
            (("limits", "chunk_line_bytes"), 16, 2**20),
            (("limits", "trailer_bytes"), 64, 2**20),
            (("limits", "client_hello_bytes"), 512, 2**20),
            (("limits", "h2_max_streams"), 1, 65536),
            (("limits", "h2_header_list_bytes"), 1024, 2**20),
            (("limits", "h2_resets"), 1, 10**6),
            (("limits", "h2_continuations"), 1, 1024),
            (("limits", "h2_settings"), 1, 10**6),
            (("limits", "h2_pings"), 1, 10**6),
            (("limits", "h2_priorities"), 1, 10**6),
            (("limits", "h2_empty_frames"), 1, 10**6),
            (("limits", "buffered_bytes"), 4096, 2**30),
            (("limits", "min_body_bytes_per_sec"), 0, 2**30),
        ]:
            expected = f"must be from {least} to {greatest}, not "
            for value in (least, greatest):
                self.assertEqual(mistakes(changed(*path, to=value)), [])
            for value in (least - 1, greatest + 1):
                self.refused(path, value, expected + str(value))

    def test_rate(self) -> None:
        """A rate may be a fraction, and is finite and above 0."""
        path: tuple[Step, ...] = ("rate_limit", "requests_per_second")
        self.assertEqual(read(changed(*path, to=0.5)).rate_limit.requests_per_second, 0.5)
        self.refused(path, 0, "must be above 0 and at most 1e+09, not 0")
        self.refused(path, -inf, "must be a finite number, not -inf")

    def test_enormous_number(self) -> None:
        """A number of thousands of digits is refused without being written out."""
        self.refused(
            ("limits", "max_connections"),
            16**9000,
            "must be from 0 to 10000000, not a number of 36001 bits",
        )
        self.refused(
            ("timeouts", "keepalive_secs"),
            16**9000,
            "must be above 0 and at most 86400, not a number of 36001 bits",
        )

    def test_sizes(self) -> None:
        """A size is a number of bytes, or a whole number with a unit."""
        for text, value in [
            (1, 1),
            ("512B", 512),
            ("10MiB", 10 * 2**20),
            ("64 KiB", 65536),
            ("1GiB", 2**30),
            ("10MB", 10_000_000),
            ("3kB", 3000),
        ]:
            document = changed("body", "limit_bytes", to=text)
            self.assertEqual(read(document).body.limit_bytes, value)
        wrong = 'must be a number of bytes or a size such as "10MiB"'
        for text in (
            "",
            "10",
            "10M",
            "10mib",
            "1.5MiB",
            "-1KiB",
            "10 MiB ",
            "٣MiB",
            "9" * 50 + "B",
        ):
            self.refused(("body", "limit_bytes"), text, f'{wrong}, "64KiB" or "1GB"')
        self.refused(("body", "limit_bytes"), 1.0, f"{wrong}, not a float")
        self.refused(("body", "limit_bytes"), "0B", f"must be from 1 to {2**63 - 1}, not 0")
        self.assertEqual(size_in_bytes("2TiB"), 2 * 2**40)

    def test_words(self) -> None:
        """A word out of a closed list is matched with its case."""
        self.refused(("logging", "format"), "xml", 'must be "text" or "json", not "xml"')
        self.refused(
            ("logging", "level"),
            "warning",
            'must be "error", "warn", "info", "debug" or "trace", not "warning", '
            'did you mean "warn"?',
        )
        self.refused(
            ("listeners", 0, "sites", 0, "upstream_scheme"),
            "HTTPS",
            'must be "http" or "https", not "HTTPS", did you mean "https"?',
        )
        self.refused(
            ("listeners", 0, "tls", "mode"), "auto", 'must be "manual" or "acme", not "auto"'
        )

    def test_paths(self) -> None:
        """A path is not empty, holds no control characters, and a socket's fits the kernel."""
        self.refused(("logging", "log_file_path"), "", "must not be empty")
        for bad in ("a\0b", "a\nb", "\ud800"):
            self.refused(("logging", "log_file_path"), bad, "must not hold control characters")
        self.refused(
            ("admin_socket_path",),
            "s" * 90,
            "must be at most 107 bytes long as an absolute path",
        )
