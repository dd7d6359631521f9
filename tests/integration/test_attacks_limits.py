"""Requests that are too large, too many, or never end."""

from __future__ import annotations

import socket
import time
from pathlib import Path

from tests.support.cases import ProxyCase


class HeadLimitTests(ProxyCase):
    """Limits on request heads, at their edges."""

    OVERRIDES = {
        "limits": {
            "request_head_bytes": 4096,
            "request_headers": 20,
            "request_target_bytes": 1024,
        }
    }

    def both(self, raw: bytes, status: int) -> None:
        """Refused on both ports."""
        self.assert_refused(self.client(), raw, status)
        self.assert_refused(self.plain_client(), raw, status)

    def head_of(self, size: int) -> bytes:
        """A request head of exactly ``size`` bytes."""
        raw = self.request(b"/", b"X: ")
        return raw[:-4] + b"v" * (size - len(raw)) + b"\r\n\r\n"

    def test_number_of_fields(self) -> None:
        """As many fields as the limit pass; one more is 431 and close."""
        fields = [b"X-%d: y" % number for number in range(19)]
        self.assertEqual(self.get(b"/", *fields).status, 200)
        self.upstream.forget()
        self.both(self.request(b"/", *fields, b"X: y"), 431)
        self.both(self.request(b"/", *[b"X:"] * 500), 431)
        self.assert_nothing_forwarded()

    def test_size_of_the_head(self) -> None:
        """A head of the limit passes; a larger one is 431 and close."""
        self.assertEqual(self.client().ask(self.head_of(4096)).status, 200)
        self.upstream.forget()
        for size in (4097, 4200, 40_000):
            self.both(self.head_of(size), 431)
        self.assert_nothing_forwarded()

    def test_size_of_the_target(self) -> None:
        """A target of the limit passes; a longer one is 414 and close."""
        self.assertEqual(self.get(b"/" + b"a" * 1023).status, 200)
        self.upstream.forget()
        self.both(self.request(b"/" + b"a" * 1024), 414)
        self.both(self.request(b"/?" + b"a" * 3000), 414)
        self.assert_nothing_forwarded()

    def test_unfinished_head(self) -> None:
        """A head is refused as soon as it is too large, before its end has come."""
        for client in (self.client(), self.plain_client()):
            raw = b"GET / HTTP/1.1\r\nHost: site.test\r\nX: " + b"v" * 5000
            self.assert_refused(client, raw, 431)
        self.assert_nothing_forwarded()


class DefaultLimitTests(ProxyCase):
    """The limits as they are without configuration."""

    def test_two_megabytes_of_a_value(self) -> None:
        """A header value of 2 MB is 431."""
        raw = self.request(b"/", b"X: " + b"v" * 2_000_000)
        self.assert_refused(self.client(), raw, 431)
        self.assert_refused(self.plain_client(), raw, 431)
        self.assert_nothing_forwarded()

    def test_long_targets(self) -> None:
        """A target above 8 KiB is 414."""
        self.assertEqual(self.get(b"/" + b"a" * 8191).status, 200)
        self.upstream.forget()
        self.assert_refused(self.client(), self.request(b"/" + b"a" * 8192), 414)
        self.assert_refused(self.client(), self.request(b"/" + b"a" * 30_000), 414)
        self.assert_refused(self.client(), self.request(b"/" + b"a" * 2_000_000), {414, 431})
        self.assert_nothing_forwarded()

    def test_many_fields(self) -> None:
        """128 fields pass, 129 are 431."""
        fields = [b"X-%d: y" % number for number in range(127)]
        self.assertEqual(self.get(b"/", *fields).status, 200)
        self.upstream.forget()
        self.assert_refused(self.client(), self.request(b"/", *fields, b"X: y"), 431)
        self.assert_nothing_forwarded()

    def test_large_head_passes(self) -> None:
        """A head just under 32 KiB passes whole."""
        value = b"v" * 32_000
        self.assertEqual(self.get(b"/", b"X: " + value).status, 200)
        self.assertEqual(self.only_request().value(b"X"), value)


class BodyLimitTests(ProxyCase):
    """``body.limit_bytes``."""

    OVERRIDES = {"body": {"limit_bytes": 100_000}}
    CHUNKED = b"Transfer-Encoding: chunked"

    def test_content_length_above_the_limit(self) -> None:
        """413 at once, before a byte of the body and with nothing sent upstream."""
        raw = self.request(b"/", b"Content-Length: 100001", method=b"POST")
        self.assert_refused(self.client(), raw, 413)
        raw = self.request(b"/", b"Content-Length: 99999999999999999", method=b"POST")
        self.assert_refused(self.client(), raw, 413)
        self.assert_nothing_forwarded()

    def test_content_length_at_the_limit(self) -> None:
        """A body of exactly the limit passes, by length and chunked."""
        body = b"b" * 100_000
        raw = self.request(b"/", b"Content-Length: 100000", method=b"POST", body=body)
        self.assertEqual(self.client().ask(raw).status, 200)
        chunks = b"186a0\r\n" + body + b"\r\n0\r\n\r\n"
        raw = self.request(b"/", self.CHUNKED, method=b"POST", body=chunks)
        self.assertEqual(self.client().ask(raw).status, 200)
        self.assertEqual([r.body == body for r in self.upstream.requests], [True, True])

    def test_answer_can_be_read_while_sending(self) -> None:
        """A client that sends its whole body before it reads still reads the 413."""
        body = b"b" * 900_000
        raw = self.request(b"/", b"Content-Length: 900000", method=b"POST")
        client = self.client()
        client.sock.sendall(raw)
        for at in range(0, len(body), 1000):
            client.sock.sendall(body[at : at + 1000])
        response = client.read_response()
        self.assertEqual((response.status, response.body), (413, b"Content Too Large"))
        self.assertEqual(client.stream.rest(), b"")
        self.assertEqual(socket.socket.recv(client.sock, 1), b"", "reset after the answer")
        self.assert_nothing_forwarded()

    def test_endless_sender_is_cut_off(self) -> None:
        """A client that goes on sending after its 413 is dropped after a moment."""
        raw = self.request(b"/", b"Content-Length: 900000000", method=b"POST")
        client = self.client().send(raw)
        self.assertEqual(client.read_response().status, 413)
        started = time.monotonic()
        client.sock.settimeout(10)
        sent = 0
        with self.assertRaises(OSError):
            while time.monotonic() < started + 8:
                client.sock.sendall(b"b" * 65536)
                sent += 65536
        self.assertLess(time.monotonic() - started, 5)
        self.assertLess(sent, 30_000_000)

    def test_chunked_past_the_limit(self) -> None:
        """A chunked body that grows past the limit is 413, and never a whole request."""
        chunk = b"2710\r\n" + b"b" * 10_000 + b"\r\n"
        raw = self.request(b"/attack", self.CHUNKED, method=b"POST")
        client = self.client().send(raw, *[chunk] * 11)
        response = client.read_response()
        self.assertEqual(response.status, 413)
        self.assertEqual(response.value(b"Connection"), b"close")
        self.upstream.wait_until(lambda: not self.upstream.open_connections)
        self.assertEqual([r.complete for r in self.upstream.requests], [False])

    def test_one_chunk_past_the_limit(self) -> None:
        """A single chunk larger than the limit is refused before its end."""
        raw = self.request(b"/attack", self.CHUNKED, method=b"POST", body=b"fffffff\r\n")
        client = self.client().send(raw, *[b"b" * 10_000] * 11)
        self.assertEqual(client.read_response().status, 413)
        self.upstream.wait_until(lambda: not self.upstream.open_connections)
        self.assertEqual([r.complete for r in self.upstream.requests if r.complete], [])


class LimiterKeyTests(ProxyCase):
    """What one client is to the rate limiter."""

    OVERRIDES = {
        "trusted_proxies": ["127.0.0.0/8"],
        "rate_limit": {"requests_per_second": 0.01, "burst": 3},
    }

    def statuses(self, addresses: list[bytes]) -> list[int]:
        """The statuses of one request from each address, in turn."""
        client = self.client()
        return [
            client.ask(self.request(b"/", b"X-Forwarded-For: " + address)).status
            for address in addresses
        ]

    def test_ipv6_network(self) -> None:
        """Every address of a /64 shares one bucket; the neighbouring /64 has its own."""
        one = [b"2001:db8:0:1::%x" % number for number in range(4)]
        self.assertEqual(self.statuses(one), [200, 200, 200, 429])
        self.assertEqual(self.statuses([b"2001:db8:0:1:ffff:ffff:ffff:ffff"]), [429])
        self.assertEqual(self.statuses([b"2001:db8:0:2::1"]), [200])

    def test_mapped_ipv4(self) -> None:
        """An IPv4-mapped IPv6 address is the IPv4 address."""
        spellings = [b"192.0.2.33", b"::ffff:192.0.2.33", b"::ffff:c000:221", b"192.0.2.33"]
        self.assertEqual(self.statuses(spellings), [200, 200, 200, 429])
        self.assertEqual(self.statuses([b"::ffff:192.0.2.34"]), [200])

    def test_many_addresses_take_no_memory(self) -> None:
        """Two thousand addresses leave the process about as large as it was."""
        self.statuses([b"198.51.100.%d" % number for number in range(100)])
        before = self.resident()
        client = self.client(timeout=30)
        for turn in range(8):
            addresses = [b"10.1.%d.%d" % (turn, number) for number in range(250)]
            client.send(
                *[self.request(b"/", b"X-Forwarded-For: " + address) for address in addresses]
            )
            for _ in addresses:
                client.read_response()
        self.assertLess(self.resident() - before, 8 << 20)

    def resident(self) -> int:
        """The proxy's resident memory in bytes."""
        status = Path(f"/proc/{self.proxy.pid}/statm").read_text(encoding="ascii")
        return int(status.split()[1]) * 4096
