"""Kinds of upstream, and upstreams that fail or take too long."""

from __future__ import annotations

import time
from typing import Any, ClassVar

from tests.support.cases import ProxyCase
from tests.support.certificates import authority
from tests.support.proxy import Sites
from tests.support.recording_upstream import (
    OK,
    Answer,
    Conversation,
    FullBacklog,
    RecordingUpstream,
    refusing_address,
)


class UnixUpstreamTests(ProxyCase):
    """An upstream on a UNIX socket."""

    @classmethod
    def start_upstream(cls) -> RecordingUpstream:
        """It listens on a UNIX socket."""
        return RecordingUpstream(unix=True)

    def test_served(self) -> None:
        """Requests with and without bodies are served, on one connection."""
        client = self.client()
        raw = self.request(b"/b", b"Content-Length: 2", method=b"POST", body=b"hi")
        self.assertEqual([client.ask(r).status for r in (self.request(), raw)], [200, 200])
        self.assertEqual(self.upstream.requests[1].body, b"hi")
        self.assertEqual(self.upstream.connections, 1)


class TlsUpstreamTests(ProxyCase):
    """``upstream_scheme = "https"``: verified, and with SNI."""

    wrong_name: ClassVar[RecordingUpstream]

    @classmethod
    def start_upstream(cls) -> RecordingUpstream:
        """One that verifies."""
        return RecordingUpstream(pair=authority().pair("localhost", "127.0.0.1"))

    @classmethod
    def sites(cls, upstream: RecordingUpstream) -> Sites:
        """Beside it one with another name and one that is plain."""
        cls.wrong_name = RecordingUpstream(pair=authority().pair("else.test"))
        tls = {"upstream_scheme": "https"}
        return {
            cls.HOST: {"upstream": upstream.address, **tls},
            "named.test": {"upstream": f"localhost:{upstream.port}", **tls},
            "wrong.test": {"upstream": cls.wrong_name.address, **tls},
        }

    @classmethod
    def stop_others(cls) -> None:
        """Stop the one with the other name."""
        cls.wrong_name.stop()

    @classmethod
    def overrides(cls) -> dict[str, Any]:
        """The test authority stands in for the system's roots."""
        return {"environment": {"SSL_CERT_FILE": authority().ca_path}}

    def test_verified(self) -> None:
        """Address and name are checked against the certificate; the connection is reused."""
        self.upstream.drop_connections()
        for _ in range(3):
            self.assertEqual(self.get(b"/").status, 200)
        self.assertEqual(self.upstream.connections, 1)
        with self.client("named.test") as client:
            self.assertEqual(client.ask(self.request(host=b"named.test")).status, 200)

    def test_wrong_name(self) -> None:
        """A certificate for another name is 502, and not a byte is sent."""
        with self.client("wrong.test") as client:
            response = client.ask(self.request(host=b"wrong.test"))
        self.assertEqual((response.status, response.body), (502, b"Bad Gateway"))
        self.assertEqual(self.wrong_name.received, b"")
        self.proxy.wait_for_line("UPSTREAM_ERROR host=wrong.test")

    def test_large_bodies(self) -> None:
        """Bodies pass whole in both directions."""
        body = bytes(range(256)) * 8192
        head = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(body)
        self.upstream.answers[b"/b"] = head + body
        length = b"Content-Length: %d" % len(body)
        response = self.client().ask(self.request(b"/b", length, method=b"PUT", body=body))
        self.assertEqual(response.body, body)
        self.assertEqual(self.only_request().body, body)

    def test_cut_without_close_notify(self) -> None:
        """A body until close that ends without close_notify is cut, not whole."""
        head = b"HTTP/1.1 200 OK\r\n\r\nhello"
        self.upstream.answers[b"/cut"] = Answer((head,), then="reset")
        response = self.get(b"/cut")
        self.assertTrue(response.status == 502 or not response.complete)


class UntrustedUpstreamTests(ProxyCase):
    """A TLS upstream whose authority the system does not know."""

    SITE = {"upstream_scheme": "https"}

    @classmethod
    def start_upstream(cls) -> RecordingUpstream:
        """Its certificate is the test authority's, which is not among the system's roots."""
        return RecordingUpstream(pair=authority().pair("127.0.0.1"))

    def test_refused(self) -> None:
        """502, and nothing is sent."""
        self.assertEqual(self.get(b"/").status, 502)
        self.assertEqual(self.upstream.received, b"")


class FailingUpstreamTests(ProxyCase):
    """Upstreams that cannot be reached or do not answer, with every limit at a second."""

    SITE = {"upstream_connect_timeout_secs": 1, "upstream_request_timeout_secs": 1}
    full: ClassVar[FullBacklog]

    @classmethod
    def sites(cls, upstream: RecordingUpstream) -> Sites:
        """Beside the usual one: refusing, unresolvable, missing, and one that never accepts."""
        cls.full = FullBacklog()
        addresses = {
            cls.HOST: upstream.address,
            "refused.test": refusing_address(),
            "unresolvable.test": "no-such-host.invalid:80",
            "missing.test": "unix:/nonexistent/socket",
            "full.test": cls.full.address,
        }
        return {host: {"upstream": address, **cls.SITE} for host, address in addresses.items()}

    @classmethod
    def stop_others(cls) -> None:
        """Close the full queue."""
        cls.full.stop()

    def test_unreachable(self) -> None:
        """Refused, unresolvable or missing: 502 and an UPSTREAM_ERROR line; others go on."""
        for name in ("refused.test", "unresolvable.test", "missing.test"):
            printed = len(self.proxy.lines)
            with self.client(name) as client:
                response = client.ask(self.request(host=name.encode()))
                self.assertEqual((response.status, response.body), (502, b"Bad Gateway"), name)
            self.proxy.wait_for_line(
                f"WARN UPSTREAM_ERROR host={name} upstream=.* error=", 5, printed
            )
            self.proxy.wait_for_line(f"REQUEST .*host={name} .* status=502 ", 5, printed)
        self.assertEqual(self.get(b"/").status, 200)

    def test_connect_timeout(self) -> None:
        """An upstream that never accepts is 504 after the connect timeout."""
        started = time.monotonic()
        with self.client("full.test") as client:
            response = client.ask(self.request(host=b"full.test"))
        self.assertEqual((response.status, response.body), (504, b"Gateway Timeout"))
        self.assert_quick(started, 0.9, 4.0)

    def test_request_timeout(self) -> None:
        """An upstream that never answers is 504 after the request timeout."""
        self.upstream.answers[b"/never"] = Answer((), then="hold")
        started = time.monotonic()
        client = self.client()
        self.assertEqual(client.ask(self.request(b"/never")).status, 504)
        self.assert_quick(started, 0.9, 4.0)
        self.upstream.wait_until(lambda: not self.upstream.open_connections)
        self.assertEqual(client.ask(self.request(b"/next")).status, 200)

    def test_interim_does_not_stop_the_clock_for_ever(self) -> None:
        """An upstream that stops in its response head is 504, too."""
        self.upstream.answers[b"/part"] = Answer((b"HTTP/1.1 200 OK\r\nX: ",), then="hold")
        self.assertEqual(self.get(b"/part").status, 504)

    def test_stalled_response(self) -> None:
        """A response that stops in its body is cut to the client after the timeout."""
        head = b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhello"
        self.upstream.answers[b"/stall"] = Answer((head,), then="hold")
        started = time.monotonic()
        response = self.get(b"/stall")
        self.assertEqual((response.status, response.complete), (200, False))
        self.assert_quick(started, 0.9, 4.0)

    def test_slow_but_steady_response(self) -> None:
        """A response that goes on is not cut, however long it takes in all."""
        head = b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\n"
        self.upstream.answers[b"/slow"] = Answer(
            (head, *(b"s", b"l", b"o", b"w", b"l", b"y")), gap=0.4
        )
        self.assertEqual(self.get(b"/slow").body, b"slowly")

    def test_slow_upload_is_no_timeout(self) -> None:
        """The upstream's clock starts after the last byte of the request."""
        client = self.client().send(self.request(b"/u", b"Content-Length: 4", method=b"PUT"))
        for byte in (b"s", b"l", b"o", b"w"):
            self.upstream.wait_for_requests(1)
            time.sleep(0.5)
            client.send(byte)
        self.assertEqual(client.read_response().status, 200)

    def test_upstream_that_takes_nothing(self) -> None:
        """An upstream that takes no bytes for as long as the timeout is 504."""

        def script(conversation: Conversation) -> None:
            conversation.pause(6)

        self.upstream.answers[b"/deaf"] = script
        client = self.client(timeout=8)
        raw = self.request(b"/deaf", b"Content-Length: 30000000", method=b"PUT")
        client.send(raw)
        started = time.monotonic()
        client.sock.settimeout(8)
        try:
            for _ in range(600):
                client.sock.sendall(bytes(50_000))
        except OSError:
            pass
        raw = client.read_until_close()
        self.assertTrue(raw.startswith(b"HTTP/1.1 504 "), raw[:50])
        self.assert_quick(started, 0.9, 6.0)


class IdleUpstreamTests(ProxyCase):
    """``upstream_idle_secs`` and ``upstream_keepalive``."""

    SITE = {"upstream_idle_secs": 1, "upstream_keepalive": 2}

    def test_idle_connections_are_closed(self) -> None:
        """An idle upstream connection is closed after its time."""
        self.assertEqual(self.get(b"/").status, 200)
        started = time.monotonic()
        self.upstream.wait_until(lambda: not self.upstream.open_connections)
        self.assert_quick(started, 0.5, 4.0)

    def test_few_are_kept(self) -> None:
        """No more idle connections are kept than configured."""
        self.upstream.answers[b"/slow"] = Answer((OK[:10], OK[10:]), gap=0.3)
        clients = [self.client().send(self.request(b"/slow")) for _ in range(6)]
        self.assertEqual([client.read_response().status for client in clients], [200] * 6)
        self.upstream.wait_until(lambda: self.upstream.open_connections <= 2, 0.8)
