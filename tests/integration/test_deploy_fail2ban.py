"""The shipped filters and jails of fail2ban, on the log of a running proxy."""

from __future__ import annotations

import os
import signal
import time
from collections import Counter
from configparser import ConfigParser
from pathlib import Path
from typing import Any, ClassVar

from twisted.trial.unittest import SynchronousTestCase

from tests.support.fail2ban import JAILS, SHIPPED, Fail2ban, addresses, failures
from tests.support.forgeries import FORGED, LINE, VICTIM, client_hello, disguises, requests
from tests.support.peers import require
from tests.support.proxy import RunningProxy
from tests.support.raw_client import RawClient
from tests.support.recording_upstream import RecordingUpstream


class LoggedCase(SynchronousTestCase):
    """A proxy with a log file.

    Attributes:
        BURST: requests of each client that pass; so rarely is there another that the time a
            test takes does not matter.
    """

    BURST: ClassVar[int] = 1000

    def setUp(self) -> None:
        require("fail2ban-regex")
        self.upstream = RecordingUpstream()
        self.addCleanup(self.upstream.stop)
        self.log = Path(self.mktemp()).resolve()
        self.proxy = RunningProxy(
            {"site.test": self.upstream.address},
            logging={"log_file_path": str(self.log)},
            rate_limit={"requests_per_second": 0.001, "burst": self.BURST},
            allow_wildcard_bind=True,
            listener={"bind_addr": "::"},
        )
        self.addCleanup(self.stop)

    def stop(self) -> None:
        """End the proxy, once: then its log is complete."""
        if self.proxy.config_path.exists():
            self.proxy.stop()

    def ask(self, client: str, *lines: bytes, count: int = 1, port: str = "https") -> list[int]:
        """The statuses of ``count`` requests from an address, each one's request line given."""
        if port == "https":
            connection = RawClient.tls(self.proxy.https_port, "site.test", source=client)
        else:
            host = "::1" if ":" in client else "127.0.0.1"
            connection = RawClient.plain(self.proxy.http_port, host=host, source=client)
        with connection:
            return [
                connection.ask(b"%b HTTP/1.1\r\nHost: site.test\r\n\r\n" % line).status
                for line in (lines or (b"GET /",)) * count
            ]

    def answer(self, path: bytes, status: int) -> None:
        """Let the upstream answer ``path`` with ``status``."""
        self.upstream.answers[path] = b"HTTP/1.1 %d X\r\nContent-Length: 0\r\n\r\n" % status

    def found(self, name: str) -> dict[str, int]:
        """How often a filter finds each client in the complete log."""
        self.stop()
        return dict(addresses(name, self.log))


class RateLimitFilterTests(LoggedCase):
    """filter.d/reverse-proxy.conf."""

    BURST = 3

    def test_counts(self) -> None:
        """Each limited request is found once, on both ports, with its client's address."""
        self.assertEqual(self.ask("127.0.5.1", count=7).count(429), 4)
        self.assertEqual(self.ask("127.0.5.2", count=5, port="http").count(429), 2)
        self.assertEqual(self.ask("127.0.5.3", count=3).count(429), 0)
        self.assertEqual(self.found("reverse-proxy"), {"127.0.5.1": 4, "127.0.5.2": 2})

    def test_ipv6(self) -> None:
        """A client with an IPv6 address is found, too."""
        self.assertEqual(self.ask("::1", count=5, port="http").count(429), 2)
        self.assertEqual(self.found("reverse-proxy"), {"::1": 2})

    def test_time(self) -> None:
        """The time of a line is understood as UTC, wherever fail2ban lives."""
        before = int(time.time())
        self.ask("127.0.5.4", count=4)
        after = time.time()
        self.stop()
        for zone in ("UTC", "America/New_York", "Asia/Kolkata"):
            ((address, when),) = failures("reverse-proxy", self.log, zone=zone)
            self.assertEqual(address, "127.0.5.4")
            self.assertTrue(before <= when <= after, (zone, before, when, after))

    def test_limited_forgery(self) -> None:
        """A limited request with a forged line in its path counts once, for who sent it."""
        self.ask("127.0.5.5", count=3)
        forged = [line.replace(b" ", space) for line in FORGED for space in (b"%20", b"/", b"+")]
        statuses = self.ask("127.0.5.5", *(b"GET /" + line for line in forged))
        self.assertEqual(statuses, [429] * len(forged))
        self.assertEqual(self.found("reverse-proxy"), {"127.0.5.5": len(forged)})


class RefusalFilterTests(LoggedCase):
    """filter.d/reverse-proxy-4xx.conf."""

    def test_counts(self) -> None:
        """Requests answered with 401 or 403 are found, no others."""
        for status in (200, 204, 301, 400, 401, 402, 403, 404, 429, 500, 503):
            self.answer(b"/%d" % status, status)
            statuses = self.ask(f"127.0.6.{status % 256}", b"GET /%d" % status)
            self.assertEqual(statuses, [status])
        self.assertEqual(
            self.found("reverse-proxy-4xx"),
            {f"127.0.6.{status % 256}": 1 for status in (401, 403)},
        )


HONEST = (
    (b"GET /user/repo.git/info/refs", 404),
    (b"GET /.well-known/acme-challenge/x", 404),
    (b"GET /.well-known/security.txt", 404),
    (b"GET /environment", 404),
    (b"GET /.environment", 404),
    (b"GET /.gitea", 404),
    (b"GET /a.env", 404),
    (b"GET /.env", 200),
    (b"GET /.git/config", 401),
    (b"PUT /dav/project/.git/config", 404),
    (b"PUT /dav/.DS_Store", 403),
    (b"PROPFIND /dav/.DS_Store", 404),
    (b"POST /wp-login.php", 200),
    (b"POST /wp-login.php", 401),
    (b"GET /actuators", 404),
    (b"GET /docs/actuator-health", 200),
    (b"GET /cgi-binary", 404),
    (b"PROPFIND /", 207),
    (b"PROPFIND /", 401),
    (b"PROPFIND /dav/new", 404),
    (b"GET /M%C3%BCnchen", 404),
    (b"GET /%F0%9F%99%82", 404),
    (b"GET /a%20b", 404),
    (b"GET /?q=/.env", 404),
    (b"GET /", 503),
)
"""Requests that are nobody's attack, with the upstream's answer."""

PROBES = (
    (b"GET /.env", 404),
    (b"GET /api/v1/.env.local", 404),
    (b"GET //.env~", 403),
    (b"HEAD /%2eenv", 404),
    (b"GET /x%2F.env", 404),
    (b"GET /.git/config", 404),
    (b"GET /app/.git", 403),
    (b"GET /.aws/credentials", 404),
    (b"GET /.DS_Store", 404),
    (b"GET /.ds_store", 404),
    (b'GET /"/.ENV', 404),
    (b"GET /phpmyadmin/", 404),
    (b"GET /phpMyAdmin-5.2/index.php", 404),
    (b"GET /wp-login.php", 404),
    (b"POST /blog/wp-login.php", 403),
    (b"GET /cgi-bin/luci", 404),
    (b"GET /actuator", 404),
    (b"GET /actuator/health", 404),
    (b"GET /%00", 404),
    (b"GET /a%1B[2K", 404),
    (b"GET /%c0%ae%c0%ae/etc/passwd", 400),
    (b"PROPFIND /", 404),
    (b"PROPFIND /", 405),
    (b"PROPFIND /x", 501),
    (b"CONNECT example.com:443", 405),
    (b"GET /\xff", 400),
    (b"GET /\x01", 400),
    (b"\x03 /", 400),
)
"""Requests that only a scanner makes, with the answer; the proxy's own for the last four."""


class ProbeFilterTests(LoggedCase):
    """filter.d/reverse-proxy-badbots.conf."""

    def ask_each(self, table: tuple[tuple[bytes, int], ...]) -> Counter[str]:
        """Make every request of a table, each from an address of its own."""
        made: Counter[str] = Counter()
        for number, (line, status) in enumerate(table):
            client = f"127.0.7.{number + 1}"
            self.answer(line.split(b" ", 1)[1].split(b"?")[0], status)
            self.assertEqual(self.ask(client, line), [status], line)
            made[client] += 1
        return made

    def test_probes(self) -> None:
        """Every refused probe is found once."""
        made = self.ask_each(PROBES)
        missed = set(made) - set(self.found("reverse-proxy-badbots"))
        self.assertEqual([PROBES[int(client.rsplit(".")[-1]) - 1] for client in missed], [])
        self.assertEqual(self.found("reverse-proxy-badbots"), dict(made))

    def test_honest_requests(self) -> None:
        """What an honest user may ask for, whatever comes of it, is not found."""
        self.ask_each(HONEST)
        found = self.found("reverse-proxy-badbots")
        self.assertEqual([HONEST[int(client.rsplit(".")[-1]) - 1] for client in found], [])

    def test_without_site(self) -> None:
        """PROPFIND for a host without a site is found, answered as it is by the proxy itself."""
        with RawClient.plain(self.proxy.http_port, source="127.0.7.99") as client:
            raw = b"PROPFIND /x HTTP/1.1\r\nHost: 203.0.113.10\r\n\r\n"
            self.assertEqual(client.ask(raw).status, 404)
        self.assertEqual(self.found("reverse-proxy-badbots"), {"127.0.7.99": 1})

    def test_long_paths(self) -> None:
        """Paths that are made to be expensive cost the filter little."""
        lines = []
        for piece, status in ((b".env/", 200), (b"/.en", 404), (b"%2f", 404), (b"%0", 404)):
            path = b"/" + piece * (8000 // len(piece))
            self.answer(path, status)
            lines += [b"GET " + path, b"PROPFIND " + path] * 10
        self.ask("127.0.7.100", *lines)
        self.stop()
        before = os.times()
        self.assertEqual(addresses("reverse-proxy-badbots", self.log), Counter())
        spent = os.times().children_user - before.children_user
        self.assertLess(spent, 5, "seconds for 80 lines")


class ForgeryTests(LoggedCase):
    """Requests with the lines that the filters look for written into them."""

    def test_forgeries_would_work(self) -> None:
        """Written into a log as they are, the lines make the filters find the victim."""
        log = Path(self.mktemp())
        log.write_bytes(b"".join(LINE + forged + b"\n" for forged in FORGED))
        found = [addresses(name, log)[VICTIM.decode()] for name in JAILS]
        self.assertEqual(found, [1, 1, 2])

    def test_forged_lines(self) -> None:
        """No request, however it is written, makes a filter find an address of its choice."""
        sent = 0
        for forged in FORGED:
            for text in disguises(forged):
                for raw in requests(text):
                    with RawClient.plain(self.proxy.http_port, source="127.0.8.1") as client:
                        client.send(raw).half_close().read_until_close()
                        sent += 1
        self.stop()
        self.assertGreaterEqual(self.log.read_bytes().count(b" REQUEST "), sent)
        for name in JAILS:
            found = addresses(name, self.log)
            self.assertEqual(set(found) - {"127.0.8.1"}, set(), name)

    def test_forged_names(self) -> None:
        """No name in a TLS handshake makes a filter find an address."""
        for forged in FORGED:
            for name in (forged, LINE + forged, b"x\r\n" + LINE + forged):
                with RawClient.plain(self.proxy.https_port, source="127.0.8.2") as client:
                    client.send(client_hello(name)).read_until_close()
        self.stop()
        self.assertEqual(self.log.read_bytes().count(b" TLS_REFUSED "), 3 * len(FORGED))
        for name in JAILS:
            self.assertEqual(addresses(name, self.log), Counter(), name)


class JailTests(SynchronousTestCase):
    """jail.d/reverse-proxy.conf."""

    def test_limits(self) -> None:
        """Three jails read the log file itself, and spare the machine's own networks."""
        jails = ConfigParser(interpolation=None)
        jails.read_string((SHIPPED / "jail.d" / "reverse-proxy.conf").read_text())
        self.assertEqual(tuple(jails.sections()), JAILS)
        for name, limits in (
            ("reverse-proxy", ("10", "60", "3600")),
            ("reverse-proxy-4xx", ("5", "10m", "1h")),
            ("reverse-proxy-badbots", ("5", "10m", "1h")),
        ):
            jail = jails[name]
            self.assertEqual((jail["maxretry"], jail["findtime"], jail["bantime"]), limits)
            self.assertEqual((jail["enabled"], jail["filter"]), ("true", name))
            self.assertEqual(jail["backend"], "auto")
            self.assertEqual(jail["logpath"], "/var/log/reverse-proxy/access.log")
            self.assertEqual(jail["ignoreip"], "127.0.0.1/8 ::1 10.0.0.0/8")


class BanTests(LoggedCase):
    """A fail2ban-server that watches the log."""

    BURST = 6

    def setUp(self) -> None:
        super().setUp()
        require("fail2ban-server")
        self.fail2ban = Fail2ban(self.log)
        self.addCleanup(self.fail2ban.stop)

    def flood(self, client: str, limited: int) -> None:
        """So many limited requests of a client."""
        statuses = self.ask(client, count=self.BURST + limited)
        self.assertEqual(statuses.count(429), limited)

    def assert_only_banned(self, *bans: Any) -> None:
        """The bans are these, in any order."""
        self.assertEqual(Counter(self.fail2ban.next_ban() for _ in bans), Counter(bans))

    def test_bans(self) -> None:
        """Each jail bans who reaches its limit, and nobody who stays under it."""
        self.answer(b"/secret", 401)
        self.answer(b"/.env", 404)
        self.flood("127.0.9.1", 9)
        for client, count in (("127.0.9.2", 4), ("127.0.9.12", 5)):
            self.ask(client, b"GET /secret", count=count)
        for client, count in (("127.0.9.3", 4), ("127.0.9.13", 5)):
            self.ask(client, b"GET /.env", count=count)
        self.flood("127.0.9.11", 10)
        # What is in the log before is known by the time that this is.
        self.assert_only_banned(
            ("reverse-proxy-4xx", "127.0.9.12"),
            ("reverse-proxy-badbots", "127.0.9.13"),
            ("reverse-proxy", "127.0.9.11"),
        )

    def test_forged_ban(self) -> None:
        """A client that forges lines gets nobody banned."""
        for number, disguised in enumerate(disguises(FORGED[0])):
            client = f"127.0.10.{number + 1}"
            for raw in list(requests(disguised))[:3]:
                with RawClient.plain(self.proxy.http_port, source=client) as connection:
                    connection.send(raw).half_close().read_until_close()
        self.flood("127.0.9.21", 10)
        self.assert_only_banned(("reverse-proxy", "127.0.9.21"))

    def test_rotation(self) -> None:
        """A ban counts the lines of before and after a rotation together."""
        self.flood("127.0.9.31", 5)
        self.flood("127.0.9.32", 10)
        # By now what is in the old file is counted.
        self.assert_only_banned(("reverse-proxy", "127.0.9.32"))
        self.log.rename(self.log.with_name("access.log.1"))
        self.proxy.send_signal(signal.SIGUSR1)
        deadline = time.monotonic() + 10
        while not self.log.exists():
            self.assertLess(time.monotonic(), deadline, "the log was not opened again")
            time.sleep(0.01)
        self.assertEqual(self.ask("127.0.9.31", count=5), [429] * 5)
        self.assert_only_banned(("reverse-proxy", "127.0.9.31"))
