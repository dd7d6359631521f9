"""The plain HTTP port."""

from __future__ import annotations

from tests.support.cases import ProxyCase
from tests.support.proxy import Sites
from tests.support.recording_upstream import RecordingUpstream


class PlainPortTests(ProxyCase):
    """It redirects known hosts and serves nothing."""

    @classmethod
    def sites(cls, upstream: RecordingUpstream) -> Sites:
        """A plain and a wildcard host."""
        return {cls.HOST: upstream.address, "*.wild.test": upstream.address}

    def where(self, host: bytes, target: bytes) -> bytes:
        """Where a request is to be sent."""
        return b"https://%s:%d%s" % (host, self.proxy.https_port, target)

    def test_redirect(self) -> None:
        """301 to the same path and query on https, whatever the method."""
        for method in (b"GET", b"HEAD", b"POST", b"DELETE", b"BREW", b"OPTIONS"):
            client = self.plain_client()
            raw = self.request(b"/p/q?r=s&t", method=method)
            response = client.ask(raw, method)
            self.assertEqual(response.status, 301)
            expected = self.where(b"site.test", b"/p/q?r=s&t")
            self.assertEqual(response.value(b"Location"), expected)
        self.assert_nothing_forwarded()

    def test_host_in_the_location(self) -> None:
        """The host is the canonical one, without the port it came with."""
        for host, expected in [
            (b"SITE.test:80", b"site.test"),
            (b"site.test.", b"site.test"),
            (b"A.wild.test:8080", b"a.wild.test"),
        ]:
            response = self.plain_client().ask(self.request(host=host))
            self.assertEqual(response.value(b"Location"), self.where(expected, b"/"))

    def test_absolute_form(self) -> None:
        """An absolute-form target redirects its own authority."""
        raw = self.request(b"http://site.test:80/p?q", host=b"other.test")
        response = self.plain_client().ask(raw)
        self.assertEqual(response.value(b"Location"), self.where(b"site.test", b"/p?q"))

    def test_unknown_host(self) -> None:
        """404 without a Location for a host that no site has."""
        response = self.plain_client().ask(self.request(host=b"unknown.test"))
        self.assertEqual((response.status, response.body), (404, b"Not Found"))
        self.assertIsNone(response.value(b"Location"))

    def test_no_host(self) -> None:
        """400 without Host."""
        self.assert_refused(self.plain_client(), b"GET / HTTP/1.1\r\n\r\n")

    def test_kept_alive(self) -> None:
        """The connection lives on, and pipelined requests are answered in order."""
        client = self.plain_client()
        client.send(b"".join(self.request(b"/%d" % number) for number in range(5)))
        for number in range(5):
            response = client.read_response()
            expected = self.where(b"site.test", b"/%d" % number)
            self.assertEqual(response.value(b"Location"), expected)

    def test_post_with_a_body(self) -> None:
        """A request with a body is redirected as well."""
        raw = self.request(b"/p", b"Content-Length: 5", method=b"POST", body=b"hello")
        self.assertEqual(self.plain_client().ask(raw).status, 301)

    def test_acme_challenge_without_one_pending(self) -> None:
        """A challenge that is not pending is answered, and nothing reaches the upstream."""
        target = b"/.well-known/acme-challenge/token"
        response = self.plain_client().ask(self.request(target))
        self.assertIn(response.status, {301, 404})
        self.assert_nothing_forwarded()

    def test_logged(self) -> None:
        """A redirect is logged as a request without an upstream."""
        self.plain_client().ask(self.request(b"/logged?secret"))
        line = self.proxy.wait_for_line(r"REQUEST .*path=/logged ")
        self.assertIn("client_ip=127.0.0.1 host=site.test method=GET path=/logged", line)
        self.assertIn("status=301 upstream=- duration_ms=", line)
        self.assertNotIn("secret", line)


class ConnectionLimitTests(ProxyCase):
    """``limits.max_connections_per_ip``."""

    OVERRIDES = {"limits": {"max_connections_per_ip": 3}}

    def test_connections_per_address(self) -> None:
        """Connections of one address beyond the limit wait, as many again; the rest is closed."""
        first = [self.client(source="127.0.0.9") for _ in range(3)]
        for client in first:
            # In the middle of a request, so that none of them is idle.
            client.send(self.request(b"/", b"Content-Length: 3", method=b"POST"), b"ab")
        self.upstream.wait_until(lambda: self.upstream.open_connections >= 3, 5)
        # One port accepts in the order of arrival; between two ports there is none.
        waiting = [self.plain_client(source="127.0.0.9") for _ in range(3)]
        self.assertTrue(self.plain_client(source="127.0.0.9").is_closed_by_proxy())
        self.assertIn("client_ip=127.0.0.9", self.proxy.wait_for_line("CONNECTION_LIMIT"))
        with self.client(source="127.0.0.10") as other:
            self.assertEqual(other.ask(self.request()).status, 200)
        for client, following in zip(first, waiting, strict=True):
            following.send(self.request())
            client.close()
            self.assertEqual(following.read_response().status, 301)
            following.close()

    def test_idle_connections_give_way(self) -> None:
        """A connection between requests is closed when another of its client waits."""
        idle = [self.client(source="127.0.0.12") for _ in range(3)]
        for client in idle:
            self.assertEqual(client.ask(self.request()).status, 200)
        for _ in range(4):
            with self.client(source="127.0.0.12") as more:
                self.assertEqual(more.ask(self.request()).status, 200)
        self.assertTrue(idle[0].is_closed_by_proxy())

    def test_kept_alive_burst(self) -> None:
        """Connections that stay open after their answer do not keep those that wait out."""
        clients = [self.plain_client(source="127.0.0.13") for _ in range(6)]
        for client in clients:
            client.send(self.request())
        self.assertEqual([client.read_response().status for client in clients], [301] * 6)

    def test_burst(self) -> None:
        """Twice as many downloads at once as one address may have all succeed."""
        clients = [self.plain_client(source="127.0.0.11") for _ in range(6)]
        for client in clients:
            client.send(self.request())
        for client in clients:
            self.assertEqual(client.read_response().status, 301)
            client.close()
