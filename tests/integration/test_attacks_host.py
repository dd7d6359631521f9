"""Hosts that are missing, doubled, forged or somebody else's (RFC 9112 3.2)."""

from __future__ import annotations

import ssl
from typing import Any

from tests.support.cases import ProxyCase
from tests.support.certificates import authority
from tests.support.proxy import Sites
from tests.support.recording_upstream import RecordingUpstream

BAD_HOSTS = [
    b"",
    b"Host:",
    b"Host: ",
    b"Host: site.test\r\nHost: site.test",
    b"Host: site.test\r\nHost: other.test",
    b"Host: site.test\r\nhost: evil.test",
    b"Host: site.test, other.test",
    b"Host: user@site.test",
    b"Host: user:secret@site.test",
    b"Host: site.test/",
    b"Host: site.test/path",
    b"Host: http://site.test",
    b"Host: site.test?x",
    b"Host: site.test#x",
    b"Host: site test",
    b"Host: site.test:",
    b"Host: site.test:x",
    b"Host: site.test:-1",
    b"Host: site.test:99999",
    b"Host: site.test:80:80",
    b"Host: :80",
    b"Host: [::1",
    b"Host: ::1",
    b"Host: [site.test]",
    b"Host: site..test",
    b"Host: .site.test",
    b"Host: site.test\\evil",
    b"Host: site.te\xc3\xa9st",
    b"Host: site.test\x00.evil.test",
    b"Host: <script>",
    b'Host: "site.test"',
    b"Host: site.test;evil",
]


class HostTests(ProxyCase):
    """The authority of a request is one valid host name, or the request is refused."""

    SMUGGLED = b"GET /smuggled HTTP/1.1\r\nHost: site.test\r\n\r\n"

    @classmethod
    def sites(cls, upstream: RecordingUpstream) -> Sites:
        """Two sites and a wildcard, on one certificate."""
        hosts = (cls.HOST, "other.test", "*.wild.test", "exact.wild.test")
        return dict.fromkeys(hosts, upstream.address)

    def test_bad_hosts(self) -> None:
        """A missing, repeated or invalid Host is 400 on both ports."""

        def check(line: bytes) -> None:
            raw = b"GET /attack HTTP/1.1\r\n" + line + (b"\r\n" if line else b"") + b"\r\n"
            # An empty port is valid syntax (RFC 3986 3.2.3): refused or taken, never confused.
            if line == b"Host: site.test:":
                self.assertIn(self.client().ask(raw).status, {200, 400})
                self.upstream.forget()
                return
            self.assert_refused(self.client(), raw + self.SMUGGLED)
            self.assert_refused(self.plain_client(), raw + self.SMUGGLED)

        self.each(BAD_HOSTS, check)
        self.assert_nothing_forwarded()

    def test_http_1_0_without_host(self) -> None:
        """HTTP/1.0 without Host is 400 on both ports."""
        for client in (self.client(), self.plain_client()):
            self.assert_refused(client, b"GET / HTTP/1.0\r\n\r\n")
        self.assert_nothing_forwarded()

    def test_spellings_of_one_host(self) -> None:
        """Case, a port and a trailing dot make no other host; Host goes on as received."""

        def check(host: bytes) -> None:
            self.upstream.forget()
            self.assertEqual(self.get(b"/", host=host).status, 200)
            self.assertEqual(self.only_request().value(b"Host"), host)

        self.each([b"SITE.Test", b"site.test.", b"site.test:8443", b"SITE.TEST.:443"], check)

    def test_wildcard_matches_one_label(self) -> None:
        """``*.wild.test`` takes one label: not two, not none; an exact name wins over it."""
        table = [
            (b"a.wild.test", 200),
            (b"exact.wild.test", 200),
            (b"B.Wild.Test:1", 200),
        ]
        for host, status in table:
            self.assertEqual(self.get(b"/", host=host).status, status, host)

        def check(host: bytes) -> None:
            response = self.plain_client().ask(self.request(host=host))
            self.assertEqual(response.status, 404)

        self.each([b"a.b.wild.test", b"wild.test", b".wild.test"][:2], check)

    def test_absolute_form(self) -> None:
        """An absolute-form target's authority wins, and Host is rewritten to it."""

        def check(target: bytes, host: bytes, path: bytes, expected: bytes) -> None:
            self.upstream.forget()
            self.assertEqual(self.get(target, host=host).status, 200)
            request = self.only_request()
            self.assertEqual((request.target, request.value(b"Host")), (path, expected))
            self.assertEqual(request.value(b"X-Forwarded-Host"), expected)

        self.each(
            [
                (b"http://site.test/p?q", b"other.test", b"/p?q", b"site.test"),
                (b"https://other.test/", b"site.test", b"/", b"other.test"),
                (b"HTTP://site.test", b"site.test", b"/", b"site.test"),
                (b"http://site.test?q", b"site.test", b"/?q", b"site.test"),
                (b"http://site.test:81/x", b"evil.test", b"/x", b"site.test:81"),
            ],
            check,
        )

    def test_absolute_form_of_a_bad_host_line(self) -> None:
        """A repeated or invalid Host is 400 also when the target names the authority."""
        for line in (b"Host: a\r\nHost: a\r\n", b"Host: a b\r\n", b""):
            raw = b"GET http://site.test/ HTTP/1.1\r\n" + line + b"\r\n"
            self.assert_refused(self.client(), raw)
        self.assert_nothing_forwarded()

    def test_foreign_hosts_are_never_dialled(self) -> None:
        """A foreign authority is 404 or 421 and nothing is dialled, not even what it names."""
        victim = RecordingUpstream()
        self.addCleanup(victim.stop)
        address = victim.address.encode()

        def check(target: bytes, host: bytes) -> None:
            response = self.get(target, host=host)
            self.assertIn(response.status, {404, 421})
            response = self.plain_client().ask(self.request(target, host=host))
            self.assertEqual(response.status, 404)
            self.assertIsNone(response.value(b"Location"))

        self.each(
            [
                (b"http://%s/" % address, b"site.test"),
                (b"https://%s/" % address, address),
                (b"/", address),
                (b"/", b"localhost"),
                (b"/", b"127.0.0.1"),
                (b"/", b"[::1]"),
                (b"/", b"169.254.169.254"),
                (b"http://evil.test/", b"site.test"),
            ],
            check,
        )
        self.assertEqual(victim.connections, 0)
        self.assert_nothing_forwarded()

    def test_unknown_host(self) -> None:
        """A host no site has is answered without naming anything."""
        response = self.get(b"/", host=b"unknown.test")
        self.assertIn(response.status, {404, 421})
        self.assert_nothing_forwarded()

    def test_connection_survives_an_unknown_host(self) -> None:
        """A 404 for one host does not end the connection for the next request."""
        client = self.client()
        self.assertIn(client.ask(self.request(host=b"unknown.test")).status, {404, 421})
        self.assertEqual(client.ask(self.request()).status, 200)


class ManySitesTests(ProxyCase):
    """A table of a thousand hosts answers as a table of one does."""

    @classmethod
    def sites(cls, upstream: RecordingUpstream) -> Sites:
        """A thousand hosts beside the wildcard."""
        return {
            "*.many.test": upstream.address,
            "site.test": upstream.address,
            **{f"h{number}.many.test": upstream.address for number in range(1000)},
        }

    @classmethod
    def overrides(cls) -> dict[str, Any]:
        """One certificate covers them all."""
        return {"certificates": [authority().pair("*.many.test", "site.test")]}

    def test_case_with_many_sites(self) -> None:
        """Case, trailing dot and port are folded among a thousand hosts too."""

        def check(host: bytes) -> None:
            response = self.plain_client().ask(self.request(host=host))
            self.assertEqual(response.status, 301)

        self.each([b"h999.many.test", b"H999.MANY.TEST.", b"h500.Many.test:80"], check)
        self.assertEqual(self.get(b"/", host=b"H7.MANY.test.").status, 200)


class CertificateBindingTests(ProxyCase):
    """A connection speaks for the hosts of the certificate that it presented, for no other."""

    @classmethod
    def sites(cls, upstream: RecordingUpstream) -> Sites:
        """Two sites on certificates of their own."""
        return {cls.HOST: upstream.address, "tenant.test": upstream.address}

    @classmethod
    def overrides(cls) -> dict[str, Any]:
        """A certificate for each."""
        pairs = [authority().pair("site.test"), authority().pair("tenant.test", "t2.test")]
        return {"certificates": pairs}

    def test_foreign_host_on_a_connection(self) -> None:
        """A site's host on another certificate's connection is 421."""
        client = self.client()
        response = client.ask(self.request(host=b"tenant.test"))
        self.assertEqual((response.status, response.body), (421, b"Misdirected Request"))
        self.assert_nothing_forwarded()

    def test_each_name_gets_its_own_certificate(self) -> None:
        """SNI chooses the certificate whose names cover it."""
        for name in ("site.test", "tenant.test", "TENANT.test"):
            with self.client(name) as client:
                certificate = client.tls_sock.getpeercert() or {}
                names = [value for _, value in certificate["subjectAltName"]]
                self.assertIn(name.lower(), names)

    def test_unknown_name_gets_no_certificate(self) -> None:
        """SNI nobody covers ends in unrecognized_name; no SNI does too without default_site."""
        for name in ("unknown.test", "site.test.evil.test", "a.site.test", None):
            error = self.assertRaises(ssl.SSLError, self.client, name)
            self.assertIn("UNRECOGNIZED_NAME", str(error).upper().replace(" ", "_"))
        self.proxy.wait_for_line(r"WARN .*unknown\.test")


class DefaultSiteTests(ProxyCase):
    """``default_site`` serves those that send no SNI, and only those."""

    OVERRIDES = {"default_site": "site.test"}

    def test_no_sni(self) -> None:
        """Without SNI the default site's certificate is presented and its host served."""
        client = self.client(None)
        self.assertEqual(client.ask(self.request()).status, 200)

    def test_unknown_sni(self) -> None:
        """An unknown name is still refused."""
        self.assertRaises(ssl.SSLError, self.client, "unknown.test")
