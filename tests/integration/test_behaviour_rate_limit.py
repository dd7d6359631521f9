"""The rate limit, and the log lines of requests."""

from __future__ import annotations

import re
import time

from tests.support.cases import ProxyCase


class RateLimitTests(ProxyCase):
    """A token bucket per client address, before everything else."""

    OVERRIDES = {"rate_limit": {"requests_per_second": 0.1, "burst": 4}}

    def test_burst(self) -> None:
        """Exactly ``burst`` requests pass at once, the next is 429 at once."""
        client = self.client(source="127.0.1.1")
        statuses = [client.ask(self.request()).status for _ in range(4)]
        self.assertEqual(statuses, [200] * 4)
        started = time.monotonic()
        response = client.ask(self.request())
        self.assert_quick(started, 0, 0.5)
        self.assertEqual((response.status, response.body), (429, b"Too Many Requests"))
        self.assertIn(int(response.value(b"Retry-After") or 0), range(1, 11))
        self.assertEqual(len(self.upstream.requests), 4)
        self.assertEqual(client.ask(self.request()).status, 429)

    def test_by_address(self) -> None:
        """Another address has its own bucket."""
        for source in ("127.0.2.1", "127.0.2.2"):
            client = self.client(source=source)
            statuses = [client.ask(self.request()).status for _ in range(5)]
            self.assertEqual(statuses, [200] * 4 + [429])

    def test_over_connections_and_ports(self) -> None:
        """Both ports and all connections of an address share its bucket."""
        for _ in range(2):
            with self.client(source="127.0.3.1") as client:
                self.assertEqual(client.ask(self.request()).status, 200)
            with self.plain_client(source="127.0.3.1") as client:
                self.assertEqual(client.ask(self.request()).status, 301)
        with self.client(source="127.0.3.1") as client:
            self.assertEqual(client.ask(self.request()).status, 429)
        with self.plain_client(source="127.0.3.1") as client:
            self.assertEqual(client.ask(self.request()).status, 429)

    def test_before_routing(self) -> None:
        """A flood of unknown hosts is limited, too."""
        client = self.plain_client(source="127.0.4.1")
        raw = self.request(host=b"unknown.test")
        statuses = [client.ask(raw).status for _ in range(5)]
        self.assertEqual(statuses, [404] * 4 + [429])

    def test_before_expectations(self) -> None:
        """A limited request gets no 100 and its body goes nowhere."""
        client = self.client(source="127.0.5.1")
        for _ in range(4):
            client.ask(self.request())
        self.upstream.forget()
        raw = self.request(b"/", b"Expect: 100-continue", b"Content-Length: 5", method=b"PUT")
        response = client.ask(raw)
        self.assertEqual((response.status, response.interim), (429, []))
        self.assertEqual(self.upstream.requests, [])

    def test_logged(self) -> None:
        """A limited request writes RATE_LIMIT and REQUEST."""
        client = self.client(source="127.0.6.1")
        for _ in range(5):
            client.ask(self.request(b"/login?user=x"))
        line = self.proxy.wait_for_line("RATE_LIMIT client_ip=127.0.6.1")
        pattern = (
            r"^\S+Z WARN RATE_LIMIT client_ip=127\.0\.6\.1 host=site\.test path=/login status=429"
        )
        self.assertTrue(re.search(pattern, line), line)
        line = self.proxy.wait_for_line("REQUEST client_ip=127.0.6.1 .*status=429")
        self.assertIn("status=429 upstream=- duration_ms=", line)

    def test_pipelined(self) -> None:
        """Pipelined requests are counted one by one and answered in order."""
        client = self.client(source="127.0.7.1").send(self.request() * 6)
        statuses = [client.read_response().status for _ in range(6)]
        self.assertEqual(statuses, [200] * 4 + [429] * 2)


class RateLimitHeaderTests(ProxyCase):
    """``rate_limit.headers = true``."""

    OVERRIDES = {"rate_limit": {"requests_per_second": 1, "burst": 3, "headers": True}}

    def test_headers(self) -> None:
        """Every response carries both families, also the 429 and the redirect."""
        client = self.client(source="127.0.8.1")
        left = []
        for _ in range(4):
            now = time.time()
            response = client.ask(self.request())
            left.append(int(response.value(b"X-RateLimit-Remaining") or -1))
            self.assertEqual(response.value(b"X-RateLimit-Limit"), b"3")
            self.assertEqual(response.value(b"RateLimit-Limit"), b"3")
            self.assertEqual(response.value(b"RateLimit-Remaining"), b"%d" % left[-1])
            self.assertIn(int(response.value(b"RateLimit-Reset") or -1), range(5))
            reset = int(response.value(b"X-RateLimit-Reset") or -1)
            self.assertTrue(now - 2 <= reset <= now + 6, reset)
        self.assertEqual((response.status, left), (429, [2, 1, 0, 0]))
        with self.plain_client(source="127.0.8.2") as plain:
            response = plain.ask(self.request())
            self.assertEqual(response.value(b"X-RateLimit-Remaining"), b"2")

    def test_refill(self) -> None:
        """A token comes back after the time that Retry-After names."""
        client = self.client(source="127.0.8.3")
        while (response := client.ask(self.request())).status == 200:
            pass
        wait = int(response.value(b"Retry-After") or 0)
        self.assertEqual(wait, 1)
        deadline = time.monotonic() + 3
        refused = 0
        while client.ask(self.request()).status == 429 and time.monotonic() < deadline:
            refused += 1
            time.sleep(0.05)
        self.assertLess(time.monotonic(), deadline)
        self.assertTrue(refused)


class RequestLineTests(ProxyCase):
    """``REQUEST`` records."""

    def test_fields(self) -> None:
        """A served request is one line with its fixed keys in order."""
        self.get(b"/user/repo?token=secret")
        line = self.proxy.wait_for_line("path=/user/repo")
        pattern = (
            r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ INFO REQUEST client_ip=127\.0\.0\.1 "
            rf"host=site\.test method=GET path=/user/repo status=200 "
            rf"upstream={re.escape(self.upstream.address)} duration_ms=\d+"
        )
        self.assertTrue(re.match(pattern, line), line)
        self.assertNotIn("secret", line)

    def test_forged_line(self) -> None:
        """Nothing in a request can look like a record or a key of its own."""
        for target in (
            b"/x%0aRATE_LIMIT%20client_ip=192.0.2.1",
            b'/x"client_ip=192.0.2.1',
            b"/client_ip=192.0.2.1",
        ):
            self.get(target)
        self.get(b"/y", b"User-Agent: a\tRATE_LIMIT client_ip=192.0.2.1 status=429")
        self.get(b"/last")
        self.proxy.wait_for_line("path=/last")
        forged = [
            line
            for line in self.proxy.lines
            if re.search(r" (RATE_LIMIT|BAN) | client_ip=192", line)
        ]
        self.assertEqual(forged, [])

    def test_refused_requests_are_logged(self) -> None:
        """A request that was refused while parsing is logged with its status, - for the rest."""
        self.assert_refused(self.client(source="127.0.9.1"), b"GET / HTTP/1.1\r\n\r\n")
        line = self.proxy.wait_for_line("REQUEST client_ip=127.0.9.1")
        self.assertIn("host=- ", line)
        self.assertIn("status=400 upstream=- ", line)
