"""Requests over HTTP/2 that would be another request, or nobody's, in HTTP/1.1."""

from __future__ import annotations

from collections.abc import Iterable

from revproxy.model.http import Field
from revproxy.wire.h2.frames import PROTOCOL_ERROR
from tests.support.cases import ProxyCase
from tests.support.certificates import authority
from tests.support.h2_raw import Answer, RawH2
from tests.support.h2_wire import body, headers
from tests.support.proxy import Sites
from tests.support.recording_upstream import RecordingUpstream

OTHER = "other.test"
ALIAS = "alias.test"


class RequestCase(ProxyCase):
    """One connection asks for good and for bad; only the good reaches the upstream."""

    def setUp(self) -> None:
        super().setUp()
        self.h2 = RawH2(self.proxy.https_port, self.HOST)
        self.addCleanup(self.h2.close)
        self.next = 1

    def ask(self, fields: list[Field], *parts: bytes, end: bool = True) -> Answer:
        """A request of exactly these fields, on the next stream."""
        stream, self.next = self.next, self.next + 2
        self.h2.send(headers(stream, fields, end=end and not parts))
        for part in parts:
            self.h2.send(body(stream, part, end=end and part is parts[-1]))
        return self.h2.answer(stream)

    def malformed(self, requests: Iterable[list[Field]]) -> None:
        """Each is RST_STREAM PROTOCOL_ERROR, nothing of it goes upstream, the connection goes on.

        A stream that is under way meanwhile gets its response.
        """
        failures = []
        count = 0
        for fields in requests:
            count += 1
            answer = self.ask(fields)
            if (answer.status, answer.reset) != (0, PROTOCOL_ERROR):
                failures.append(f"{fields!r}: {answer.status} {answer.reset}")
        self.assertGreater(count, 0)
        self.assertEqual(failures, [])
        self.assertEqual(self.ask(self.h2.fields(b"/last")).status, 200)
        self.assertEqual([one.target for one in self.upstream.requests], [b"/last"])
        self.assertIsNone(self.h2.goaway)

    def refused(self, status: int, requests: Iterable[list[Field]]) -> None:
        """Each is answered with ``status``, and nothing of it goes upstream."""
        for fields in requests:
            self.assertEqual(self.ask(fields).status, status, fields)
        self.assertEqual(self.ask(self.h2.fields(b"/last")).status, 200)
        self.assertEqual([one.target for one in self.upstream.requests], [b"/last"])

    def with_field(self, name: bytes, value: bytes) -> list[Field]:
        """A good request with one field more."""
        return self.h2.fields(b"/", (name, value))

    def with_pseudo(self, name: bytes, value: bytes) -> list[Field]:
        """A good request but for one pseudo-header field."""
        return [(one, value if one == name else old) for one, old in self.h2.fields()]


class InjectionTests(RequestCase):
    """D13: bytes that end a line, a name or a request in HTTP/1.1 (CVE-2026-42926)."""

    def test_values(self) -> None:
        """Line ends, NUL and other controls in a value."""
        values = [b"a%cb" % byte for byte in (*range(9), *range(10, 32), 127)]
        smuggled = [b"a\r\nx-evil: 1", b"a\r\n\r\nGET /evil HTTP/1.1\r\nHost: site.test\r\n\r\n"]
        edges = [b" a", b"a ", b"\ta", b"a\t"]
        self.malformed(self.with_field(b"x", value) for value in [*values, *smuggled, *edges])

    def test_names(self) -> None:
        """Everything in a name that is no token in lower case."""
        bad = [b"X", b"x y", b"x:", b":x", b"x:y", b"x\r\ny", b"x\n", b"x\0", b"x\x7f", b"x\xe4",
               b"x(", b"x/", b"x@", b"", b"host:"]  # fmt: skip
        self.malformed(self.with_field(name, b"y") for name in bad)

    def test_methods(self) -> None:
        """A method that is no token, or that begins another line."""
        bad = [b"", b"GET ", b" GET", b"GE T", b"GET / HTTP/1.1\r\nX: y\r\n\r\nGET", b"GET\n",
               b"G\0", b"GET\xe4", b"GET:"]  # fmt: skip
        self.malformed(self.with_pseudo(b":method", one) for one in bad)

    def test_paths(self) -> None:
        """A path that ends the request line, or that is none."""
        bad = [b"", b"/ ", b"/a b", b"/ HTTP/1.1\r\nX: y\r\n\r\n", b"/\n", b"/\0", b"/\x7f", b"a",
               b"*", b"http://site.test/", b"/#f", b"//\r"]  # fmt: skip
        self.malformed(self.with_pseudo(b":path", one) for one in bad)

    def test_schemes(self) -> None:
        """A scheme that is none of ours."""
        bad = [b"", b"https ", b"https://evil.test/ HTTP/1.1\r\n", b"ftp", b"HTTPS\n"]
        self.malformed(self.with_pseudo(b":scheme", one) for one in bad)

    def test_pseudo_fields(self) -> None:
        """Pseudo-header fields that are missing, repeated, unknown, late, or a response's."""
        good = self.h2.fields()
        self.malformed(
            [
                *(
                    [one for one in good if one[0] != name]
                    for name in (b":method", b":scheme", b":path")
                ),
                *([*good, one] for one in good),
                [*good, (b":status", b"200")],
                [*good, (b":x", b"y")],
                [*good, (b":protocol", b"websocket")],
                [*good[:3], (b"x", b"y"), good[3]],
                [(b"x", b"y"), *good],
            ]
        )

    def test_trailers(self) -> None:
        """Trailers are held to the same rules: with bad ones a request is never whole."""
        post = self.h2.fields(b"/post", method=b"POST")
        for trailer in (
            (b":path", b"/evil"),
            (b"X", b"y"),
            (b"x", b"a\r\nb"),
            (b"connection", b"x"),
        ):
            stream, self.next = self.next, self.next + 2
            self.h2.send(headers(stream, post, end=False), headers(stream, [trailer]))
            self.assertEqual(self.h2.answer(stream).reset, PROTOCOL_ERROR, trailer)
        self.assertEqual(self.ask(self.h2.fields(b"/last")).status, 200)
        self.assertFalse(
            any(one.complete for one in self.upstream.requests if one.method == b"POST")
        )


class ConnectionFieldTests(RequestCase):
    """D14: fields of a connection mean nothing in HTTP/2 (RFC 9113 8.2.2)."""

    def test_connection_fields(self) -> None:
        """Each of them makes the request malformed."""
        self.malformed(
            self.with_field(name, value)
            for name, value in (
                (b"connection", b"close"),
                (b"connection", b"x-real-ip"),
                (b"keep-alive", b"timeout=5"),
                (b"proxy-connection", b"keep-alive"),
                (b"transfer-encoding", b"chunked"),
                (b"transfer-encoding", b"identity"),
                (b"upgrade", b"h2c"),
                (b"upgrade", b"websocket"),
                (b"te", b"gzip"),
                (b"te", b"trailers, gzip"),
                (b"te", b"chunked"),
            )
        )

    def test_te_trailers(self) -> None:
        """TE may ask for trailers."""
        self.assertEqual(self.ask(self.with_field(b"te", b"trailers")).status, 200)
        self.assertEqual(self.only_request().value(b"te"), b"trailers")

    def test_lengths(self) -> None:
        """A length that is none, or that the body does not have, is never a whole request."""
        self.malformed(self.with_field(b"content-length", one) for one in (b"1", b"7"))
        for value in (b"", b"+1", b"-1", b"1,1", b"0x1", b"1 ", b"9" * 30, b"1\r\n"):
            fields = [*self.h2.fields(method=b"POST"), (b"content-length", value)]
            answer = self.ask(fields, b"x")
            self.assertTrue(answer.status == 400 or answer.reset == PROTOCOL_ERROR, value)
        for length, parts in (
            (b"3", [b"ab"]),
            (b"3", [b"abcd"]),
            (b"3", [b"ab", b"cd"]),
            (b"0", [b"a"]),
        ):
            fields = [*self.h2.fields(method=b"POST"), (b"content-length", length)]
            answer = self.ask(fields, *parts)
            self.assertEqual(answer.reset, PROTOCOL_ERROR, (length, parts))
        twice = [
            *self.h2.fields(method=b"POST"),
            (b"content-length", b"1"),
            (b"content-length", b"2"),
        ]
        self.assertNotEqual(self.ask(twice, b"x").status, 200)
        self.assertEqual(self.ask(self.h2.fields(b"/last")).status, 200)
        self.assertFalse(
            any(one.complete for one in self.upstream.requests if one.method == b"POST")
        )

    def test_body_is_no_request(self) -> None:
        """A body that looks like a request is a body."""
        evil = b"GET /evil HTTP/1.1\r\nHost: site.test\r\n\r\n"
        for method in (b"POST", b"GET", b"DELETE"):
            answer = self.ask(self.h2.fields(b"/", method=method), evil, b"0\r\n\r\n" + evil)
            self.assertEqual(answer.status, 200)
        self.assertEqual([one.target for one in self.upstream.requests], [b"/"] * 3)
        self.assertEqual(
            {one.body for one in self.upstream.requests}, {evil + b"0\r\n\r\n" + evil}
        )


class HostTests(RequestCase):
    """D20 and D21: whose request it is."""

    @classmethod
    def sites(cls, upstream: RecordingUpstream) -> Sites:
        """The other site has a certificate of its own; the alias shares the first one's."""
        return dict.fromkeys((cls.HOST, ALIAS, OTHER), upstream.address)

    @classmethod
    def overrides(cls) -> dict[str, object]:
        """Two certificates."""
        pairs = (authority().pair(cls.HOST, ALIAS), authority().pair(OTHER))
        return {"certificates": pairs}

    def test_host_and_authority_disagree(self) -> None:
        """D20: 400, whichever is the known one."""
        site = self.HOST.encode()
        self.refused(
            400,
            [
                self.with_field(b"host", OTHER.encode()),
                self.with_field(b"host", ALIAS.encode()),
                self.with_field(b"host", b"evil.test"),
                [*self.h2.fields(host=b"evil.test"), (b"host", site)],
                [*self.h2.fields(), (b"host", site), (b"host", site)],
                [*self.h2.fields(), (b"host", b"")],
                self.h2.fields(host=b"user@" + site),
                self.h2.fields(host=site + b"/x"),
                self.h2.fields(host=site + b":x"),
                [one for one in self.h2.fields() if one[0] != b":authority"],
            ],
        )

    def test_host_and_authority_agree(self) -> None:
        """One Host goes upstream, as the authority was."""
        site = self.HOST.encode()
        for fields in (
            self.h2.fields(),
            self.with_field(b"host", site),
            [one for one in self.with_field(b"host", site) if one[0] != b":authority"],
        ):
            self.upstream.forget()
            self.assertEqual(self.ask(fields).status, 200)
            request = self.only_request()
            self.assertEqual(request.values(b"host"), [site])
            self.assertEqual(request.values(b"x-forwarded-host"), [site])

    def test_misdirected(self) -> None:
        """D21: a host that this connection's certificate does not cover is 421."""
        self.refused(
            421, [self.h2.fields(host=one) for one in (OTHER.encode(), b"OTHER.test:443")]
        )

    def test_shared_certificate(self) -> None:
        """One that it covers is served, as browsers share connections between such hosts."""
        self.assertEqual(self.ask(self.h2.fields(host=ALIAS.encode())).status, 200)

    def test_unknown(self) -> None:
        """A host that nobody has is 404."""
        self.refused(404, [self.h2.fields(host=b"evil.test")])

    def test_connect(self) -> None:
        """No tunnels."""
        answer = self.ask([(b":method", b"CONNECT"), (b":authority", b"10.0.0.1:22")], end=False)
        self.assertEqual((answer.status, answer.ended), (405, True))
        self.assertEqual(self.upstream.connections, 0)

    def test_other_streams_go_on(self) -> None:
        """What is refused disturbs no stream that is under way."""
        post = self.h2.fields(b"/post", method=b"POST")
        self.h2.send(headers(1, post, end=False), body(1, b"one,"))
        self.next = 3
        self.assertEqual(self.ask(self.with_field(b"connection", b"close")).reset, PROTOCOL_ERROR)
        self.assertEqual(self.ask(self.with_field(b"host", b"evil.test")).status, 400)
        self.assertEqual(self.ask(self.h2.fields(host=OTHER.encode())).status, 421)
        self.h2.send(body(1, b"two", end=True))
        self.assertEqual(self.h2.answer(1).status, 200)
        self.assertEqual(
            (self.only_request().body, self.only_request().complete), (b"one,two", True)
        )
