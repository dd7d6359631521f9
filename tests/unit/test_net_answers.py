"""What the proxy answers by itself, and what becomes of the connection then."""

from __future__ import annotations

from ipaddress import ip_network
from ssl import PROTOCOL_TLS_SERVER, SSLContext

from attrs import evolve

from revproxy.model.configuration import Limits
from revproxy.model.tls import Identity
from revproxy.net.plan import Route
from revproxy.policy.routing import HostRoutes
from tests.support.playbook import CHUNKED_POST, DATE_LINE, GET, OK, PlaybookCase, own, post

IDENTITY = Identity(SSLContext(PROTOCOL_TLS_SERVER), frozenset({"a.test"}), frozenset())


def to(host: bytes, request: bytes) -> bytes:
    return request.replace(b"a.test", host)


class AnswerTests(PlaybookCase):
    def test_unknown_host(self) -> None:
        """A host that no site has is 404, without asking anybody."""
        stage = self.stage()
        down = stage.downstream()
        down.says(to(b"x.test", GET))
        self.assertEqual(down.heard(), own(b"404 Not Found"))
        self.assertEqual(stage.attempts, [])
        (record,) = stage.log.requests
        self.assertEqual((record["host"], record["upstream"]), ("x.test", ""))

    def test_head_method(self) -> None:
        """The answer to HEAD has no body."""
        stage = self.stage()
        down = stage.downstream()
        down.says(to(b"x.test", GET).replace(b"GET", b"HEAD"))
        self.assertEqual(down.heard(), own(b"404 Not Found").removesuffix(b"Not Found"))

    def test_small_body_is_discarded(self) -> None:
        """After an answer the short rest of a body is thrown away, and the connection lives."""
        stage = self.stage()
        down = stage.downstream()
        down.says(to(b"x.test", post(5)) + b"ab", b"cde" + to(b"x.test", GET))
        self.assertEqual(down.heard(), own(b"404 Not Found") * 2)
        self.assertIsNone(down.ended)
        self.assertEqual(stage.log.statuses, [404, 404])

    def test_big_body_closes(self) -> None:
        """After an answer nobody waits for a long body, or one of unknown length."""
        for request in (post(100_000), CHUNKED_POST, post(5, b"Expect: 100-continue")):
            stage = self.stage()
            down = stage.downstream()
            down.says(to(b"x.test", request))
            self.assertEqual(down.heard(), own(b"404 Not Found", close=True))
            self.assertTrue(down.half_closed)

    def test_length_above_limit(self) -> None:
        """A length above the limit is 413 before anything goes upstream."""
        stage = self.stage(body_limit=10)
        down = stage.downstream()
        down.says(post(11) + b"x" * 11)
        self.assertEqual(down.heard(), own(b"413 Content Too Large", close=True))
        self.assertEqual(stage.attempts, [])

    def test_chunked_above_limit(self) -> None:
        """A chunked body that passes the limit is 413, and its upstream connection is closed."""
        stage = self.stage(body_limit=10)
        down = stage.downstream()
        down.says(CHUNKED_POST, b"8\r\n12345678\r\n")
        up = stage.upstream()
        down.says(b"8\r\n12345678\r\n")
        self.assertEqual(down.heard(), own(b"413 Content Too Large", close=True))
        self.assertEqual(up.ended, "aborted")
        self.assertTrue(down.half_closed)
        self.assertEqual(stage.log.statuses, [413])

    def test_chunked_above_limit_while_connecting(self) -> None:
        """The same while the connection is still being made gives the attempt up."""
        stage = self.stage(body_limit=10)
        down = stage.downstream()
        down.says(CHUNKED_POST + b"b\r\n12345678901\r\n")
        self.assertEqual(down.heard(), own(b"413 Content Too Large", close=True))
        self.assertEqual(stage.attempts[0].state, "disconnected")

    def test_chunked_above_limit_with_response_begun(self) -> None:
        """The same after the response began cuts the response."""
        stage = self.stage(body_limit=10)
        down = stage.downstream()
        down.says(CHUNKED_POST)
        up = stage.upstream()
        up.says(OK[:-1])
        down.says(b"b\r\n12345678901\r\n")
        self.assertTrue(down.heard().endswith(b"\r\n\r\no"))
        self.assertEqual((down.ended, up.ended), ("closed", "aborted"))
        self.assertEqual(stage.log.requests[0]["error"], "request body too large")

    def test_invalid_chunk(self) -> None:
        """A body that is no chunked body is 400 and never a whole request upstream."""
        stage = self.stage()
        down = stage.downstream()
        down.says(CHUNKED_POST)
        up = stage.upstream()
        down.says(b"nonsense\r\n")
        self.assertEqual(up.ended, "aborted")
        self.assertEqual(down.heard(), own(b"400 Bad Request", close=True))

    def test_misdirected(self) -> None:
        """A host that the connection's certificate does not cover is 421."""
        stage = self.stage()
        plan = stage.plan()
        (route,) = [plan.routes.find("a.test")]
        assert route is not None
        stage.port.router.plan = evolve(
            plan, routes=HostRoutes([("a.test", route), ("b.test", route)])
        )
        down = stage.downstream(IDENTITY)
        down.says(to(b"b.test", GET))
        self.assertEqual(down.heard(), own(b"421 Misdirected Request"))
        down.says(GET)
        stage.upstream().says(OK)
        self.assertEqual(down.heard(), OK)

    def test_other_listener(self) -> None:
        """A site that another listener serves is not found here."""
        stage = self.stage()
        route = Route(stage.pool, "up", listeners=frozenset({"198.51.100.1"}))
        stage.port.router.plan = stage.plan(routes=HostRoutes([("a.test", route)]))
        down = stage.downstream()
        down.says(GET)
        self.assertEqual(down.heard(), own(b"404 Not Found"))

    def test_special_methods(self) -> None:
        """CONNECT and TRACE are 405 with Allow; OPTIONS that asks the proxy is 204."""
        stage = self.stage()
        down = stage.downstream()
        allow = b"Allow: GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS\r\n"
        down.says(GET.replace(b"GET", b"TRACE"))
        self.assertEqual(down.heard(), own(b"405 Method Not Allowed", more=allow))
        no_content = b"HTTP/1.1 204 No Content\r\n" + DATE_LINE + b"\r\n"
        down.says(GET.replace(b"GET /", b"OPTIONS *"))
        self.assertEqual(down.heard(), no_content)
        down.says(b"OPTIONS / HTTP/1.1\r\nHost: a.test\r\nMax-Forwards: 0\r\n\r\n")
        self.assertEqual(down.heard(), no_content)
        self.assertEqual(stage.log.statuses, [405, 204, 204])

    def test_plain_port(self) -> None:
        """The plain port redirects to the TLS port, for known hosts only."""
        stage = self.stage(secure=False)
        down = stage.downstream()
        down.says(GET.replace(b"GET /", b"GET /p?q"), to(b"x.test", GET))
        moved = own(b"301 Moved Permanently", more=b"Location: https://a.test/p?q\r\n")
        self.assertEqual(down.heard(), moved + own(b"404 Not Found"))

    def test_http_1_0(self) -> None:
        """HTTP/1.0 is closed after the answer unless it asked to be kept."""
        stage = self.stage()
        down = stage.downstream()
        old = to(b"x.test", GET).replace(b"1.1", b"1.0")
        kept = own(b"404 Not Found").replace(b"\r\n\r\n", b"\r\nConnection: keep-alive\r\n\r\n")
        down.says(old.replace(b"\r\n\r\n", b"\r\nConnection: keep-alive\r\n\r\n"))
        self.assertEqual(down.heard(), kept)
        down.says(old)
        self.assertEqual(down.heard(), own(b"404 Not Found", close=True))
        self.assertEqual(down.ended, "closed")

    def test_bad_heads(self) -> None:
        """What is no request head is refused at once, with a record, and ends the connection."""
        limits = Limits(request_head_bytes=300, request_target_bytes=200)
        for head, status in (
            (b"\x16\x03\x01", b"400 Bad Request"),
            (b"GET /" + b"a" * 210, b"414 URI Too Long"),
            (b"GET / HTTP/1.1\r\nA: " + b"a" * 300, b"431 Request Header Fields Too Large"),
            (b"GET / HTTP/2.0\r\nHost: a.test\r\n\r\n", b"505 HTTP Version Not Supported"),
            (b"GET / HTTP/1.1\r\n\r\n", b"400 Bad Request"),
        ):
            stage = self.stage(limits=limits)
            down = stage.downstream()
            down.says(head)
            self.assertEqual(down.heard(), own(status, close=True))
            self.assertTrue(down.half_closed)
            self.assertEqual(stage.log.statuses, [int(status[:3])])

    def test_closed_downstream_does_not_linger(self) -> None:
        """There is nothing to wait for when the downstream has sent everything."""
        stage = self.stage()
        down = stage.downstream()
        down.wire.incoming.extend((b"nonsense\r\n\r\n", b""))
        stage.reactor.run()
        self.assertEqual(down.heard(), own(b"400 Bad Request", close=True))
        self.assertEqual(down.ended, "closed")


class RateLimitTests(PlaybookCase):
    def test_limited(self) -> None:
        """A request without a token is 429 with Retry-After, and leaves two records."""
        stage = self.stage(burst=1)
        down = stage.downstream()
        down.says(to(b"x.test", GET), GET)
        limited = own(b"429 Too Many Requests", more=b"Retry-After: 1\r\n")
        self.assertEqual(down.heard(), own(b"404 Not Found") + limited)
        self.assertEqual(stage.log.statuses, [404, 429])
        ((level, event, record),) = stage.log.records
        self.assertEqual((level, event), ("warn", "RATE_LIMIT"))
        self.assertEqual((record["client_ip"], record["status"]), ("192.0.2.1", 429))

    def test_fields(self) -> None:
        """With its fields on, every response carries them, and nobody else's."""
        stage = self.stage(limit_fields=lambda left: [(b"RateLimit-Remaining", b"%d" % left)])
        down = stage.downstream()
        down.says(to(b"x.test", GET))
        self.assertIn(b"\r\nRateLimit-Remaining: 999\r\n", down.heard())
        down.says(GET)
        stage.upstream().says(OK.replace(b"\r\n\r\n", b"\r\nratelimit-remaining: 5\r\n\r\n"))
        heard = down.heard()
        self.assertIn(b"\r\nRateLimit-Remaining: 998\r\n", heard)
        self.assertEqual(heard.lower().count(b"ratelimit-remaining"), 1)

    def test_behind_trusted_proxy(self) -> None:
        """Behind a trusted proxy every request counts for the client that it names."""
        stage = self.stage(burst=1, trusted=(ip_network("192.0.2.0/24"),))
        down = stage.downstream()
        for client in (b"198.51.100.1", b"198.51.100.2", b"198.51.100.1"):
            line = b"\r\nX-Forwarded-For: " + client
            down.says(to(b"x.test" + line, GET))
        self.assertEqual(stage.log.statuses, [404, 404, 429])
        addresses = [request["client_ip"] for request in stage.log.requests]
        self.assertEqual(addresses, ["198.51.100.1", "198.51.100.2", "198.51.100.1"])


class GenerationTests(PlaybookCase):
    def test_new_plan(self) -> None:
        """A connection takes up a new plan with its next request."""
        stage = self.stage()
        down = stage.downstream()
        down.says(GET)
        up = stage.upstream()
        stage.port.router.plan = stage.plan(routes=HostRoutes([]))
        up.says(OK)
        down.says(GET)
        self.assertEqual(down.heard(), OK + own(b"404 Not Found"))
