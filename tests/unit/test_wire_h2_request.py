"""Requests in HTTP/2: what a head means, and every way in which it is malformed."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from revproxy.model.http import CHUNKED, Field, RequestHead
from revproxy.wire.h2.frames import PROTOCOL_ERROR, headers_frames
from revproxy.wire.h2.limits import H2Limits
from tests.support.h2_wire import GET, POST, Server, headers


def without(name: bytes, fields: list[Field] = GET) -> list[Field]:
    return [field for field in fields if field[0] != name]


def replaced(name: bytes, value: bytes, fields: list[Field] = GET) -> list[Field]:
    return [(name, value) if field[0] == name else field for field in fields]


class HeadCase(SynchronousTestCase):
    limits = H2Limits()

    def head(self, fields: list[Field], *, end: bool = True) -> RequestHead:
        """The head that the receiver gets."""
        server = Server(self.limits)
        server.receive(headers(1, fields, end=end))
        self.assertEqual(server.told, [("request", 1, end)])
        return server.heard.heads[1]

    def malformed(self, fields: list[Field], *, end: bool = True) -> None:
        """The stream is reset with PROTOCOL_ERROR, nobody is told, the connection goes on."""
        server = Server(self.limits)
        server.receive(headers(1, fields, end=end))
        self.assertEqual(server.resets(), {1: PROTOCOL_ERROR}, fields)
        self.assertEqual((server.told, server.connection.streams), ([], {}))
        server.receive(headers(3))
        self.assertEqual(server.told, [("request", 3, True)])

    def refused(self, fields: list[Field], status: int) -> None:
        """The request is refused with ``status`` on its stream."""
        server = Server(self.limits)
        server.receive(headers(1, fields))
        self.assertEqual(server.told, [("bad_request", 1, status)], fields)


class HeadTests(HeadCase):
    """Heads that are valid."""

    def test_whole(self) -> None:
        """Every part of a head is where HTTP/1.1 has it."""
        head = self.head(
            [
                (b":method", b"POST"),
                (b":scheme", b"https"),
                (b":authority", b"A.test:8443"),
                (b":path", b"/p/q?r=1"),
                (b"content-length", b"7"),
                (b"accept", b"*/*"),
                (b"te", b"Trailers"),
                (b"x-request-id", b"id"),
                (b"x-forwarded-for", b"192.0.2.1"),
                (b"x-forwarded-proto", b"http"),
                (b"x_real_ip", b"192.0.2.1"),
                (b"cf-connecting-ip", b"192.0.2.2"),
                (b"expect", b"100-continue"),
                (b"proxy-authorization", b"secret"),
            ],
            end=False,
        )
        self.assertEqual(
            (head.method, head.target, head.path, head.host, head.authority),
            (b"POST", b"/p/q?r=1", b"/p/q", "a.test", b"A.test:8443"),
        )
        self.assertEqual(head.fields, [(b"accept", b"*/*")])
        self.assertEqual((head.minor, head.content_length, head.keep_alive), (1, 7, True))
        self.assertEqual((head.request_id, head.forwarded_for), (b"id", b"192.0.2.1"))
        self.assertEqual(head.client_address_fields, [(b"cf-connecting-ip", b"192.0.2.2")])
        self.assertTrue(head.wants_trailers and head.expect_continue)

    def test_cookie_crumbs(self) -> None:
        """Cookies that come in crumbs are one field (RFC 9113 8.2.3), one alone is itself."""
        crumbs = [(b"cookie", b"a=1"), (b"accept", b"*/*"), (b"cookie", b"b=2")]
        self.assertEqual(
            self.head(GET + crumbs).fields, [(b"accept", b"*/*"), (b"cookie", b"a=1; b=2")]
        )
        self.assertEqual(self.head(GET + crumbs[:1]).fields, [(b"cookie", b"a=1")])

    def test_length(self) -> None:
        """No body: 0; a length that is told; and one that is not."""
        self.assertEqual(self.head(GET).content_length, 0)
        self.assertEqual(self.head([*POST, (b"content-length", b"0")]).content_length, 0)
        for length, expected in ((b"9", 9), (b"0", 0)):
            fields = [*POST, (b"content-length", length)]
            self.assertEqual(self.head(fields, end=False).content_length, expected)
        self.assertEqual(self.head(POST, end=False).content_length, CHUNKED)

    def test_host(self) -> None:
        """Host stands in for ``:authority``, and may say the same beside it."""
        head = self.head([*without(b":authority"), (b"host", b"B.test")])
        self.assertEqual((head.host, head.authority), ("b.test", b"B.test"))
        head = self.head([*GET, (b"host", b"A.TEST.:443")])
        self.assertEqual((head.host, head.authority), ("a.test", b"a.test"))

    def test_order_of_pseudo_fields(self) -> None:
        """They come in any order among themselves."""
        self.assertEqual(self.head(GET[::-1]).host, "a.test")

    def test_asterisk(self) -> None:
        """OPTIONS may ask about the whole server."""
        head = self.head(replaced(b":path", b"*", replaced(b":method", b"OPTIONS")))
        self.assertEqual(head.target, b"*")

    def test_any_method(self) -> None:
        """Any token is a method."""
        self.assertEqual(self.head(replaced(b":method", b"M-SEARCH")).method, b"M-SEARCH")

    def test_connect(self) -> None:
        """CONNECT names an authority and nothing else; who serves it refuses it."""
        head = self.head([(b":method", b"CONNECT"), (b":authority", b"b.test:443")], end=False)
        self.assertEqual((head.method, head.target), (b"CONNECT", b"b.test:443"))

    def test_empty_value(self) -> None:
        """A value may be empty, and hold tabs, spaces and bytes above ASCII."""
        for value in (b"", b"a \tb", b"\xc3\xa4"):
            self.assertEqual(self.head([*GET, (b"x", value)]).fields, [(b"x", value)])


class MalformedTests(HeadCase):
    """Every malformed head costs its stream and nothing else."""

    def test_pseudo_fields(self) -> None:
        """Missing, repeated, unknown, late or of a response."""
        for name in (b":method", b":scheme", b":path"):
            self.malformed(without(name))
        for field in GET:
            self.malformed([field, *GET])
            self.malformed([*GET, (b"accept", b"*/*"), field])
            self.malformed([*without(field[0]), (b"accept", b"*/*"), field])
        for name in (b":status", b":unknown", b":", b":Path", b":protocol"):
            self.malformed([*GET, (name, b"200")])

    def test_methods(self) -> None:
        """A method is a token: nothing can be injected by it into HTTP/1.1."""
        for method in (b"", b"GET ", b"GET / HTTP/1.1\r\nx: y\r\n\r\nGET", b"G\0T", b"G:T"):
            self.malformed(replaced(b":method", method))

    def test_paths(self) -> None:
        """Empty, not in origin-form, or with bytes that no target holds."""
        for path in (
            b"", b"*", b"x", b"http://a.test/", b"/ HTTP/1.1\r\nx: y", b"/a b", b"/#", b"/\0",
            b"/\t", b"/\x7f", b"/\xe4", b" /", b"/\n",
        ):  # fmt: skip
            self.malformed(replaced(b":path", path))

    def test_schemes(self) -> None:
        """http and https are known."""
        for scheme in (b"", b"ftp", b"https ", b"HTTPS", b"http\r\n"):
            self.malformed(replaced(b":scheme", scheme))

    def test_names(self) -> None:
        """Names are tokens in lower case (RFC 9113 8.2.1)."""
        for name in (
            b"", b"Accept", b"x y", b"x:y", b"x\r\ny", b"x\0", b"x\x7f", b"\xe4", b" x", b"x ",
            b"x: y\r\nz",
        ):  # fmt: skip
            self.malformed([*GET, (name, b"v")])

    def test_values(self) -> None:
        """No control characters, no white space around (RFC 9113 8.2.1)."""
        for value in (
            b"a\r\nb: c", b"a\rb", b"a\nb", b"a\0b", b"\x01", b"\x7f", b" a", b"a ", b"\ta",
            b"a\t", b" ",
        ):  # fmt: skip
            self.malformed([*GET, (b"x", value)])

    def test_fields_of_connections(self) -> None:
        """Fields of HTTP/1.1 connections are none here (RFC 9113 8.2.2)."""
        for name in (
            b"connection", b"keep-alive", b"proxy-connection", b"transfer-encoding", b"upgrade",
        ):  # fmt: skip
            for value in (b"", b"close", b"chunked"):
                self.malformed([*GET, (name, value)])

    def test_te(self) -> None:
        """TE says trailers or is not there."""
        for value in (b"", b"gzip", b"trailers, gzip", b"trailers;q=1"):
            self.malformed([*GET, (b"te", value)])

    def test_length_without_body(self) -> None:
        """A request that ends with its head has no length above 0."""
        self.malformed([*POST, (b"content-length", b"1")])

    def test_connect(self) -> None:
        """CONNECT with a path or a scheme, or without an authority."""
        connect = replaced(b":method", b"CONNECT")
        for fields in (connect, without(b":path", connect), without(b":scheme", connect)):
            self.malformed(fields)
        self.malformed([(b":method", b"CONNECT")])
        self.malformed([*connect, (b":protocol", b"websocket")])


class RefusedTests(HeadCase):
    """Heads that are answered with a status."""

    limits = H2Limits(header_list_bytes=2048, header_fields=10, target_bytes=100)

    def test_hosts(self) -> None:
        """None, repeated, invalid, or in disagreement with ``:authority``: 400."""
        nobody = without(b":authority")
        self.refused(nobody, 400)
        self.refused([*nobody, (b"host", b"")], 400)
        self.refused([*nobody, (b"host", b"a.test"), (b"host", b"a.test")], 400)
        self.refused([*GET, (b"host", b"b.test")], 400)
        self.refused([*GET, (b"host", b"a.test, b.test")], 400)
        for authority in (b"u@a.test", b"a..test", b"a.test\r\nx: y", b"a.test:99999", b"a/b"):
            self.refused(replaced(b":authority", authority), 400)

    def test_lengths(self) -> None:
        """A Content-Length that is repeated, in a list, or no number: 400."""
        for lengths in ([b"1", b"1"], [b"1", b"2"], [b"1, 1"], [b"+1"], [b"0x1"], [b""], [b"-1"]):
            self.refused([*POST, *((b"content-length", length) for length in lengths)], 400)

    def test_expectation(self) -> None:
        """Only 100-continue is known: 417."""
        self.refused([*GET, (b"expect", b"200-ok")], 417)

    def test_limits(self) -> None:
        """431 for the list's size with 32 a field and for the fields, 414 for the target."""
        room = 2048 - sum(len(name) + len(value) + 32 for name, value in GET) - 33
        self.head([*GET, (b"x", b"y" * room)])
        self.refused([*GET, (b"x", b"y" * (room + 1))], 431)
        self.head([*GET, *[(b"x", b"")] * 6])
        self.refused([*GET, *[(b"x", b"")] * 7], 431)
        self.refused([*GET, *[(b"cookie", b"")] * 7], 431)
        self.head(replaced(b":path", b"/" * 100))
        self.refused(replaced(b":path", b"/" * 101), 414)

    def test_refusal_keeps_the_table(self) -> None:
        """A head that is too large costs its request: the next one refers to what it said."""
        server = Server(self.limits)
        block = b"\x82\x87\x84\x41\x06a.test" + b"\x40\x01x\x7f\x81\x01" + b"y" * (0x7F + 0x81)
        block += b"\xbe" * 100
        server.receive(headers_frames(1, block, end=True))
        self.assertEqual(server.told, [("bad_request", 1, 431)])
        server.receive(headers_frames(3, b"\x82\x87\x84\xbf\xbe", end=True))
        self.assertEqual(server.heard.heads[3].fields, [(b"x", b"y" * 256)])


class ExtendedConnectTests(HeadCase):
    """RFC 8441, where it is offered."""

    limits = H2Limits(connect_protocol=True)
    fields = [*replaced(b":method", b"CONNECT"), (b":protocol", b"websocket")]

    def test_head(self) -> None:
        """It has a path and a protocol."""
        head = self.head(self.fields, end=False)
        self.assertEqual((head.method, head.target, head.host), (b"CONNECT", b"/", "a.test"))
        self.assertEqual(head.protocol, b"websocket")
        self.assertEqual(self.head(GET).protocol, b"")

    def test_malformed(self) -> None:
        """Without path or scheme, with an invalid protocol, or with another method."""
        for fields in (
            without(b":path", self.fields),
            without(b":scheme", self.fields),
            replaced(b":protocol", b"web socket", self.fields),
            replaced(b":path", b"*", self.fields),
            replaced(b":method", b"GET", self.fields),
        ):
            self.malformed(fields, end=False)
