"""Header fields with which a client would speak for the proxy."""

from __future__ import annotations

from tests.support.cases import ProxyCase

SPOOFED = (
    b"X-Forwarded-For: 192.0.2.1",
    b"x-forwarded-for: 192.0.2.1, 127.0.0.1",
    b"X-FORWARDED-PROTO: http",
    b"X-Forwarded-Host: evil.test",
    b"X-Forwarded-Port: 1192",
    b"X-Forwarded-Server: evil.test",
    b"X-Forwarded-Anything: 192.0.2.1",
    b"X-Real-IP: 192.0.2.1",
    b"X-Real-Ip: 192.0.2.2",
    b"Forwarded: for=192.0.2.1;proto=http;host=evil.test",
    b"X-Client-IP: 192.0.2.1",
    b"True-Client-IP: 192.0.2.1",
    b"CF-Connecting-IP: 192.0.2.1",
    b"X-Request-ID: forged-192.0.2.1",
)


class SpoofingTests(ProxyCase):
    """Nothing an untrusted client says about itself reaches the upstream."""

    def assert_own_fields(self) -> None:
        """The upstream saw the proxy's own forwarding fields, each once."""
        request = self.only_request()
        for name, value in [
            (b"X-Real-IP", b"127.0.0.1"),
            (b"X-Forwarded-For", b"127.0.0.1"),
            (b"X-Forwarded-Proto", b"https"),
            (b"X-Forwarded-Host", b"site.test"),
            (b"Host", b"site.test"),
        ]:
            self.assertEqual(request.value(name), value)
        self.assertTrue(request.value(b"X-Request-ID"))

    def test_spoofed_addresses(self) -> None:
        """Forwarding and client-address fields are removed in every spelling and rebuilt."""
        self.assertEqual(self.get(b"/", *SPOOFED).status, 200)
        self.assert_own_fields()
        self.assertNotIn(b"192.0.2", self.upstream.received)
        self.assertNotIn(b"evil", self.upstream.received)
        names = self.only_request().names()
        unwanted = {b"forwarded", b"x-client-ip", b"true-client-ip", b"cf-connecting-ip"}
        self.assertEqual(names & unwanted, set())
        forwarded = {name for name in names if name.startswith(b"x-forwarded")}
        self.assertEqual(
            forwarded, {b"x-forwarded-for", b"x-forwarded-proto", b"x-forwarded-host"}
        )

    def test_each_spoof_alone(self) -> None:
        """Each of them is removed when it comes alone, too."""

        def check(line: bytes) -> None:
            self.upstream.forget()
            self.assertEqual(self.get(b"/", line).status, 200)
            self.assert_own_fields()
            self.assertNotIn(line.split(b": ")[1], self.upstream.received)

        table = [line for line in SPOOFED if b"http" not in line.split(b": ")[1]]
        self.each(table, check)

    def test_underscores(self) -> None:
        """Names with an underscore are dropped: they collide with others in CGI and WSGI."""
        fields = (b"X_Real_IP: 192.0.2.1", b"Remote_User: root", b"_: a", b"X-A_B: 192.0.2.1")
        self.assertEqual(self.get(b"/", *fields, b"X-Kept: yes").status, 200)
        self.assert_own_fields()
        self.assertEqual(self.only_request().value(b"X-Kept"), b"yes")
        self.assertEqual([n for n in self.only_request().names() if b"_" in n], [])
        self.assertNotIn(b"192.0.2", self.upstream.received)

    def test_httpoxy(self) -> None:
        """``Proxy`` is dropped."""
        self.assertEqual(self.get(b"/", b"Proxy: http://evil.test").status, 200)
        self.assertNotIn(b"evil", self.upstream.received)

    def test_connection_cannot_remove_the_proxys_own(self) -> None:
        """A Connection field that lists what the proxy sets does not remove it."""
        names = b"X-Forwarded-For, X-Real-IP, x-forwarded-proto, X-Forwarded-Host, Host"
        for line in (names, b"close, " + names, names.replace(b", ", b" ,\t"), b",," + names):
            self.upstream.forget()
            self.assertEqual(self.get(b"/", b"Connection: " + line).status, 200)
            self.assert_own_fields()

    def test_connection_cannot_remove_framing(self) -> None:
        """A Connection field that lists Content-Length or Transfer-Encoding changes no framing."""

        def check(line: bytes, body: bytes) -> None:
            self.upstream.forget()
            raw = self.request(
                b"/",
                b"Connection: Content-Length, Transfer-Encoding",
                line,
                method=b"POST",
                body=body,
            )
            client = self.client()
            response = client.ask(raw)
            if response.status == 400:
                self.assertEqual(self.upstream.requests, [])
                return
            self.assertEqual(response.status, 200)
            self.assertEqual(self.only_request().body, b"hello")
            self.assertEqual(client.ask(self.request(b"/next")).status, 200)
            self.assertEqual(self.upstream.requests[1].target, b"/next")

        chunks = b"5\r\nhello\r\n0\r\n\r\n"
        self.each(
            [(b"Content-Length: 5", b"hello"), (b"Transfer-Encoding: chunked", chunks)], check
        )

    def test_hop_by_hop(self) -> None:
        """Hop-by-hop fields and all that Connection names end at the proxy."""
        fields = (
            b"Connection: keep-alive, X-Private",
            b"Connection: X-Other, TE",
            b"X-Private: secret",
            b"x-other: secret",
            b"Keep-Alive: timeout=5",
            b"Proxy-Connection: keep-alive",
            b"Proxy-Authorization: Basic secret",
            b"Proxy-Authenticate: secret",
            b"TE: gzip",
            b"Trailer: X-Sum",
            b"Upgrade: h2c, websocket",
            b"HTTP2-Settings: AAMAAABk",
            b"Authorization: Bearer kept",
            b"Cookie: a=b",
            b"Cookie: c=d",
        )
        self.assertEqual(self.get(b"/", *fields).status, 200)
        request = self.only_request()
        gone = {b"x-private", b"x-other", b"keep-alive", b"proxy-connection", b"te", b"trailer"}
        gone |= {b"proxy-authorization", b"proxy-authenticate", b"upgrade"}
        self.assertEqual(request.names() & gone, set())
        self.assertNotIn(b"secret", request.head)
        self.assertEqual(request.value(b"Authorization"), b"Bearer kept")
        self.assertEqual(request.values(b"Cookie"), [b"a=b", b"c=d"])
        self.assertNotIn(b"upgrade", (request.value(b"Connection") or b"").lower())


class TrustedProxyTests(ProxyCase):
    """A peer in ``trusted_proxies`` may say who the client is."""

    OVERRIDES = {"trusted_proxies": ["127.0.0.1/32", "198.51.100.0/24", "2001:db8:ff::/48"]}

    def test_right_most_untrusted_address(self) -> None:
        """The right-most address that is not trusted is the client; the list is appended to."""

        def check(fields: tuple[bytes, ...], client: bytes) -> None:
            self.upstream.forget()
            self.assertEqual(self.get(b"/", *fields).status, 200)
            request = self.only_request()
            self.assertEqual(request.value(b"X-Real-IP"), client)
            listed = b", ".join(line.split(b": ", 1)[1] for line in fields)
            expected = listed + b", 127.0.0.1"
            received = (request.value(b"X-Forwarded-For") or b"").replace(b" ", b"")
            self.assertEqual(received, expected.replace(b" ", b""))

        name = b"X-Forwarded-For: "
        self.each(
            [
                ((name + b"192.0.2.7",), b"192.0.2.7"),
                ((name + b"192.0.2.7, 198.51.100.3",), b"192.0.2.7"),
                ((name + b"203.0.113.9, 192.0.2.7, 198.51.100.3",), b"192.0.2.7"),
                ((name + b"203.0.113.9", name + b"192.0.2.7"), b"192.0.2.7"),
                ((name + b"2001:db8::1, 2001:db8:ff::1",), b"2001:db8::1"),
                ((name + b"10.0.0.1,192.0.2.8",), b"192.0.2.8"),
            ],
            check,
        )

    def test_garbage_is_not_believed(self) -> None:
        """An entry that is no address ends the search; nothing left of it is believed."""

        def check(value: bytes) -> None:
            self.upstream.forget()
            self.assertEqual(self.get(b"/", b"X-Forwarded-For: " + value).status, 200)
            self.assertEqual(self.only_request().value(b"X-Real-IP"), b"127.0.0.1")

        self.each([b"192.0.2.7, garbage", b"unknown", b"", b"192.0.2.7,,", b"192.0.2.300"], check)

    def test_no_field(self) -> None:
        """Without X-Forwarded-For the peer itself is the client."""
        self.assertEqual(self.get(b"/").status, 200)
        self.assertEqual(self.only_request().value(b"X-Forwarded-For"), b"127.0.0.1")

    def test_kept_from_a_trusted_proxy(self) -> None:
        """X-Request-ID and the CDNs' address fields are kept from a trusted proxy."""
        fields = (b"X-Request-ID: abc-123", b"CF-Connecting-IP: 192.0.2.4")
        self.assertEqual(self.get(b"/", *fields).status, 200)
        request = self.only_request()
        self.assertEqual(request.value(b"X-Request-ID"), b"abc-123")
        self.assertEqual(request.value(b"CF-Connecting-IP"), b"192.0.2.4")

    def test_untrusted_neighbour(self) -> None:
        """A peer outside the list is not believed."""
        with self.client(source="127.0.0.2") as client:
            client.ask(self.request(b"/", b"X-Forwarded-For: 192.0.2.7", b"X-Request-ID: abc"))
        request = self.only_request()
        self.assertEqual(request.value(b"X-Real-IP"), b"127.0.0.2")
        self.assertEqual(request.value(b"X-Forwarded-For"), b"127.0.0.2")
        self.assertNotEqual(request.value(b"X-Request-ID"), b"abc")
