"""Requests that pass or are answered by the proxy itself."""

from __future__ import annotations

import re

from tests.support.cases import ProxyCase
from tests.support.recording_upstream import Answer


class OwnAnswerTests(ProxyCase):
    """What the proxy answers without an upstream."""

    def test_options_of_the_server(self) -> None:
        """``OPTIONS *`` is 204, and does not reach the upstream."""
        client = self.client()
        response = client.ask(self.request(b"*", method=b"OPTIONS"))
        self.assertEqual((response.status, response.body), (204, b""))
        self.assertIsNone(response.value(b"Content-Length"))
        self.assertEqual(client.ask(self.request(b"/sentinel")).status, 200)
        self.assertEqual(self.only_request().target, b"/sentinel")

    def test_options_at_its_last_hop(self) -> None:
        """OPTIONS with ``Max-Forwards: 0`` is 204; without it, or above 0, it is forwarded."""
        raw = self.request(b"/a", b"Max-Forwards: 0", method=b"OPTIONS")
        self.assertEqual(self.client().ask(raw).status, 204)
        self.assertEqual(self.upstream.requests, [])
        raw = self.request(b"/a", method=b"OPTIONS")
        self.assertEqual(self.client().ask(raw).status, 200)
        self.assertEqual(self.only_request().method, b"OPTIONS")

    def test_shape(self) -> None:
        """The body is the reason phrase in plain text; nothing names or dates the software."""

        def check(raw: bytes, status: int, reason: bytes) -> None:
            response = self.client().ask(raw)
            self.assertEqual((response.status, response.reason), (status, reason))
            self.assertEqual(response.body, reason)
            kind = response.value(b"Content-Type")
            self.assertEqual(kind, b"text/plain; charset=utf-8")
            self.assertEqual(response.values(b"Server") + response.values(b"Via"), [])
            self.assertIsNotNone(response.value(b"Date"))

        self.upstream.answers[b"/bad"] = b"garbage\r\n\r\n"
        big = b"Content-Length: 99999999999"
        self.each(
            [
                (b"GET / HTTP/1.1\r\n\r\n", 400, b"Bad Request"),
                (self.request(b"/", b"Expect: x"), 417, b"Expectation Failed"),
                (self.request(b"/", method=b"TRACE"), 405, b"Method Not Allowed"),
                (self.request(b"/", big, method=b"PUT"), 413, b"Content Too Large"),
                (self.request(b"/" + b"a" * 9000), 414, b"URI Too Long"),
                (
                    self.request(b"/", b"X: " + b"v" * 40_000),
                    431,
                    b"Request Header Fields Too Large",
                ),
                (self.request(b"/", b"Transfer-Encoding: gzip"), 501, b"Not Implemented"),
                (self.request(b"/", version=b"HTTP/3.0"), 505, b"HTTP Version Not Supported"),
                (self.request(b"/bad"), 502, b"Bad Gateway"),
            ],
            check,
        )

    def test_head_of_own_answers(self) -> None:
        """HEAD gets the proxy's own answers without their body."""
        self.upstream.answers[b"/bad"] = b"garbage\r\n\r\n"
        client = self.client()
        response = client.ask(self.request(b"/bad", method=b"HEAD"), b"HEAD")
        self.assertEqual(response.status, 502)
        self.assertEqual(client.ask(self.request(b"/next")).body, b"ok")

    def test_own_answers_keep_the_connection(self) -> None:
        """A 502 does not end the client's connection."""
        self.upstream.answers[b"/bad"] = Answer((), then="reset")
        client = self.client()
        for _ in range(3):
            self.assertEqual(client.ask(self.request(b"/bad")).status, 502)
            self.assertEqual(client.ask(self.request(b"/good")).status, 200)


class PersistenceTests(ProxyCase):
    """Which connections live on after a response."""

    def test_http_1_1(self) -> None:
        """HTTP/1.1 lives on without being asked, and until Connection: close."""
        client = self.client()
        for _ in range(3):
            self.assertIsNone(client.ask(self.request()).value(b"Connection"))
        response = client.ask(self.request(b"/", b"Connection: close"))
        self.assertEqual(response.value(b"Connection"), b"close")
        self.assertTrue(client.is_closed_by_proxy())
        self.assertEqual(client.stream.ended, "clean")

    def test_spellings_of_close(self) -> None:
        """``close`` is found in any case and anywhere in the lists of Connection."""

        def check(*lines: bytes) -> None:
            client = self.client()
            client.ask(self.request(b"/", *lines))
            self.assertTrue(client.is_closed_by_proxy())

        self.each(
            [
                (b"Connection: Close",),
                (b"Connection: X-Y ,CLOSE, Z",),
                (b"Connection: X-Y", b"Connection: close"),
                (b"connection:close,keep-alive",),
            ],
            check,
        )

    def test_http_1_0(self) -> None:
        """HTTP/1.0 is closed after its answer, and lives on when it asks for keep-alive."""
        client = self.client()
        raw = self.request(b"/", b"Connection: keep-alive", version=b"HTTP/1.0")
        for _ in range(2):
            response = client.ask(raw)
            self.assertEqual((response.status, response.body), (200, b"ok"))
            self.assertEqual((response.value(b"Connection") or b"").lower(), b"keep-alive")
        client.ask(self.request(b"/", version=b"HTTP/1.0"))
        self.assertTrue(client.is_closed_by_proxy())

    def test_upstreams_close_is_its_own(self) -> None:
        """An upstream's Connection: close does not close the client's connection."""
        self.upstream.answers[b"/c"] = Answer(
            (b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok",), then="close"
        )
        client = self.client()
        for _ in range(3):
            self.assertIsNone(client.ask(self.request(b"/c")).value(b"Connection"))


class ForwardedFieldTests(ProxyCase):
    """Header fields on their way to the upstream."""

    def test_what_is_set(self) -> None:
        """Host as received, the client's address, scheme and host, and a request id."""
        self.assertEqual(self.get(b"/p?q", host=b"SITE.test:8443").status, 200)
        request = self.only_request()
        expected = {
            b"Host": b"SITE.test:8443",
            b"X-Real-IP": b"127.0.0.1",
            b"X-Forwarded-For": b"127.0.0.1",
            b"X-Forwarded-Proto": b"https",
            b"X-Forwarded-Host": b"SITE.test:8443",
        }
        for name, value in expected.items():
            self.assertEqual(request.value(name), value)
        self.assertRegex(request.value(b"X-Request-ID").decode(), r"^[0-9a-zA-Z-]{16,64}$")
        self.assertEqual(request.version, b"HTTP/1.1")
        self.assertEqual(request.names() & {b"via", b"forwarded", b"connection"}, set())

    def test_request_ids_differ(self) -> None:
        """Every request has its own id."""
        client = self.client()
        for _ in range(20):
            client.ask(self.request())
        ids = {request.value(b"X-Request-ID") for request in self.upstream.requests}
        self.assertEqual(len(ids), 20)

    def test_client_address(self) -> None:
        """The client's address is the socket's peer."""
        with self.client(source="127.0.0.77") as client:
            client.ask(self.request())
        self.assertEqual(self.only_request().value(b"X-Real-IP"), b"127.0.0.77")

    def test_http_1_0_goes_on_as_1_1(self) -> None:
        """An HTTP/1.0 request is forwarded as HTTP/1.1."""
        self.get(b"/", version=b"HTTP/1.0")
        self.assertEqual(self.only_request().version, b"HTTP/1.1")

    def test_order_and_spelling(self) -> None:
        """End-to-end fields keep their order, spelling and repetition."""
        fields = (b"x-B: 1", b"X-a: 2", b"X-B: 3", b"Accept: a", b"accept: b")
        self.get(b"/", *fields)
        kept = [n + b": " + v for n, v in self.only_request().fields]
        self.assertEqual([line for line in kept if line in fields], list(fields))

    def test_te_trailers(self) -> None:
        """``TE: trailers`` goes on with ``Connection: TE``; every other TE ends here."""
        for line in (b"TE: trailers", b"te: Trailers"):
            self.upstream.forget()
            self.get(b"/", line)
            request = self.only_request()
            self.assertEqual(request.value(b"TE"), b"trailers")
            self.assertEqual((request.value(b"Connection") or b"").lower(), b"te")
        self.upstream.forget()
        self.get(b"/", b"TE: gzip")
        self.assertNotIn(b"te", self.only_request().names())


class ReturnedFieldTests(ProxyCase):
    """Header fields on their way to the client."""

    def answer(self, *lines: bytes) -> None:
        """Prepare ``/r`` to answer with these header lines."""
        head = b"\r\n".join([b"HTTP/1.1 200 OK", b"Content-Length: 2", *lines])
        self.upstream.answers[b"/r"] = head + b"\r\n\r\nok"

    def test_date_is_added(self) -> None:
        """Date is added where the upstream sent none, and kept where it did."""
        self.answer()
        date = self.get(b"/r").value(b"Date") or b""
        self.assertTrue(re.fullmatch(rb"\w{3}, \d\d \w{3} \d{4} \d\d:\d\d:\d\d GMT", date), date)
        self.answer(b"Date: Tue, 15 Nov 1994 08:12:31 GMT")
        self.assertEqual(self.get(b"/r").values(b"Date"), [b"Tue, 15 Nov 1994 08:12:31 GMT"])

    def test_server_is_removed(self) -> None:
        """Server is removed and none added."""
        self.answer(b"Server: secret/1.0", b"server: secret/2.0")
        self.assertEqual(self.get(b"/r").values(b"Server"), [])

    def test_set_cookie(self) -> None:
        """Repeated Set-Cookie stay apart and in order, with what stands between them."""
        cookies = (b"a=1; Path=/", b"b=2, c; Expires=Wed, 09 Jun 2027 10:18:14 GMT", b"a=3")
        self.answer(
            b"Set-Cookie: " + cookies[0], b"X: y", *(b"set-cookie: " + c for c in cookies[1:])
        )
        self.assertEqual(tuple(self.get(b"/r").values(b"Set-Cookie")), cookies)

    def test_hop_by_hop(self) -> None:
        """Hop-by-hop fields of a response end at the proxy."""
        self.answer(
            b"Connection: keep-alive, X-Private",
            b"X-Private: secret",
            b"Keep-Alive: timeout=5",
            b"Proxy-Connection: keep-alive",
            b"Proxy-Authenticate: Basic",
            b"Upgrade: h2c",
            b"Trailer: X-Sum",
            b"TE: x",
        )
        names = {name.lower() for name, _ in self.get(b"/r").fields}
        self.assertEqual(names, {b"content-length", b"date"})

    def test_everything_else_is_untouched(self) -> None:
        """Names, values, order and bytes of the rest are the upstream's."""
        lines = (
            b'ETag: W/"x"',
            b"x-lower_case: a  b",
            b"Content-Encoding: gzip",
            b"Via: 1.1 other",
            b"X: \xc3\xa9",
            b'WWW-Authenticate: Basic realm="x"',
            b"Strict-Transport-Security: max-age=1",
            b"X-Forwarded-For: 1",
            b"X: z",
        )
        self.answer(*lines)
        fields = [n + b": " + v for n, v in self.get(b"/r").fields]
        self.assertEqual([line for line in fields if line in lines], list(lines))

    def test_status_and_reason(self) -> None:
        """Any status from 200 to 599 passes with its reason, also an empty one."""
        for line in (b"200 OK", b"299 Odd one", b"418 ", b"451 Caf\xe9", b"599 X", b"500 A: b"):
            head = b"HTTP/1.1 " + line + b"\r\nContent-Length: 0\r\n\r\n"
            self.upstream.answers[b"/r"] = head
            response = self.get(b"/r")
            self.assertEqual(b"%d %s" % (response.status, response.reason), line)
