"""The request head as the upstream gets it."""

from __future__ import annotations

from ipaddress import ip_network

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from revproxy.errors import BadRequest
from revproxy.model.http import CHUNKED, RequestHead
from revproxy.policy.forwarded import Client, settle_forwarded, settle_peer
from revproxy.policy.upgrade import Upgrade
from revproxy.policy.upstream_request import upstream_request_head
from tests.support.heads import request_head

FUZZ = settings(deadline=None, derandomize=True, max_examples=300)

DIRECT = settle_peer("203.0.113.50", b"https", ())
TRUSTED = (ip_network("10.0.0.0/8"),)


def behind_proxy(head: RequestHead) -> Client:
    """The client of ``head`` as a trusted proxy names it."""
    peer = settle_peer("10.0.0.1", b"https", TRUSTED)
    return settle_forwarded(peer, head.forwarded_for, b"https", TRUSTED)


def written(head: RequestHead, client: Client = DIRECT, *, expect: bool = False) -> list[bytes]:
    """The lines of the head; the request's id, which is never the same, as ``ID``."""
    raw = upstream_request_head(head, client, expect=expect)
    assert raw.endswith(b"\r\n\r\n")
    assert raw.count(b"\r\n\r\n") == 1
    return [
        b"X-Request-ID: ID" if line.startswith(b"X-Request-ID: ") else line
        for line in raw[:-4].split(b"\r\n")
    ]


def request_id(head: RequestHead, client: Client = DIRECT) -> bytes:
    """The request's id."""
    raw = upstream_request_head(head, client, expect=False)
    assert raw.count(b"X-Request-ID: ") == 1
    return raw.partition(b"X-Request-ID: ")[2].partition(b"\r\n")[0]


OWN = [
    b"Host: site.test",
    b"X-Real-IP: 203.0.113.50",
    b"X-Forwarded-For: 203.0.113.50",
    b"X-Forwarded-Proto: https",
    b"X-Forwarded-Host: site.test",
    b"X-Request-ID: ID",
]
"""What the proxy says to the upstream of every request for site.test."""


class HeadTests(SynchronousTestCase):
    """What is said in it."""

    def test_smallest(self) -> None:
        """A request without a body is the request line, the proxy's own fields, and no Via."""
        self.assertEqual(written(request_head()), [b"GET / HTTP/1.1", *OWN])

    def test_passed_on(self) -> None:
        """Method, target and ordinary fields go on byte for byte, in order."""
        lines = (b"Cookie: a=b", b"x-a: 1", b"Cookie: c=d", b"X-Empty:")
        head = request_head(*lines, method=b"PURGE", target=b"//a/../%2e?b='\\")
        expected = [b"PURGE //a/../%2e?b='\\ HTTP/1.1", *OWN, b"Cookie: a=b", b"x-a: 1"]
        self.assertEqual(written(head), [*expected, b"Cookie: c=d", b"X-Empty: "])

    def test_version(self) -> None:
        """An HTTP/1.0 request goes on as HTTP/1.1, without Connection."""
        head = request_head(b"Connection: keep-alive", version=b"HTTP/1.0")
        self.assertEqual(written(head), [b"GET / HTTP/1.1", *OWN])

    def test_host(self) -> None:
        """Host goes on as received, and as the authority of an absolute target."""
        for target, host in ((b"/", b"SITE.test.:80"), (b"http://SITE.test.:80/", b"x.test")):
            lines = written(request_head(target=target, host=host))
            self.assertEqual(lines[:2], [b"GET / HTTP/1.1", b"Host: SITE.test.:80"])
            self.assertIn(b"X-Forwarded-Host: SITE.test.:80", lines)
            self.assertNotIn(b"x.test", b"".join(lines))

    def test_framing(self) -> None:
        """A body is framed anew; an empty one is said where a method usually has one."""
        table: tuple[tuple[bytes, tuple[bytes, ...], list[bytes]], ...] = (
            (b"GET", (), []),
            (b"GET", (b"Content-Length: 0",), []),
            (b"GET", (b"content-length: 007",), [b"Content-Length: 7"]),
            (b"DELETE", (), []),
            (b"POST", (), [b"Content-Length: 0"]),
            (b"PUT", (), [b"Content-Length: 0"]),
            (b"PATCH", (b"Content-Length: 0",), [b"Content-Length: 0"]),
            (b"POST", (b"Content-Length: 5",), [b"Content-Length: 5"]),
            (b"POST", (b"transfer-encoding: CHUNKED",), [b"Transfer-Encoding: chunked"]),
            (b"GET", (b"Transfer-Encoding: chunked",), [b"Transfer-Encoding: chunked"]),
        )
        for method, lines, framing in table:
            found = written(request_head(*lines, method=method))
            self.assertEqual(found, [method + b" / HTTP/1.1", *OWN, *framing], (method, lines))

    def test_trailers_and_expectation(self) -> None:
        """TE and Expect are said by the proxy itself, when they are meant."""
        head = request_head(b"TE: trailers, gzip", b"Expect: 100-continue")
        wanted = [b"TE: trailers", b"Connection: TE"]
        self.assertEqual(written(head), [b"GET / HTTP/1.1", *OWN, *wanted])
        found = written(head, expect=True)
        self.assertEqual(found, [b"GET / HTTP/1.1", *OWN, *wanted, b"Expect: 100-continue"])

    def test_request_ids(self) -> None:
        """Every request gets an id of its own."""
        ids = {request_id(request_head()) for _ in range(100)}
        self.assertEqual(len(ids), 100)


class SpoofTests(SynchronousTestCase):
    """What a client says that only the proxy may say."""

    def test_unknown_client(self) -> None:
        """Nothing that names a client, a scheme or a host goes on, in any spelling."""
        names = (
            *(b"X-Forwarded-For", b"X-Forwarded-Proto", b"X-Forwarded-Host", b"X-Forwarded-Port"),
            *(b"X-Real-IP", b"Forwarded", b"X-Client-IP", b"CF-Connecting-IP", b"True-Client-IP"),
            *(b"X-Request-ID", b"Proxy", b"X_Forwarded_For", b"X-Forwarded_For", b"X_Real_IP"),
        )
        spellings = [spell for name in names for spell in (name, name.lower(), name.upper())]
        head = request_head(*[name + b": spoofed" for name in spellings])
        self.assertEqual(written(head), [b"GET / HTTP/1.1", *OWN])

    def test_connection_names_the_proxys_own(self) -> None:
        """Connection takes away what the client said, never what the proxy says."""
        named = b"X-Real-IP, X-Forwarded-For, X-Forwarded-Proto, Host, X-Request-ID, X-Mine"
        head = request_head(b"Connection: " + named, b"X-Mine: 1", b"X-Real-IP: 1.1.1.1")
        self.assertEqual(written(head), [b"GET / HTTP/1.1", *OWN])

    def test_hop_by_hop(self) -> None:
        """Hop-by-hop fields end here."""
        names = (
            b"Keep-Alive Proxy-Connection Proxy-Authorization Proxy-Authenticate Trailer".split()
        )
        lines = [name + b": x" for name in (*names, b"Upgrade", b"HTTP2-Settings")]
        head = request_head(b"Connection: Upgrade, HTTP2-Settings", *lines, b"TE: gzip")
        self.assertEqual(written(head), [b"GET / HTTP/1.1", *OWN])


class TrustedProxyTests(SynchronousTestCase):
    """What a trusted proxy says."""

    def test_believed(self) -> None:
        """Its chain is appended to, its id kept, and its own names of the client go on."""
        head = request_head(
            b"X-Forwarded-For: 1.1.1.1, 198.51.100.7",
            b"X-Request-ID: its-own",
            b"CF-Connecting-IP: 198.51.100.7",
            b"X-Forwarded-Proto: ftp",
            b"X-Real-IP: 1.1.1.1",
        )
        client = behind_proxy(head)
        self.assertEqual(
            written(head, client),
            [
                *(b"GET / HTTP/1.1", b"Host: site.test", b"X-Real-IP: 198.51.100.7"),
                b"X-Forwarded-For: 1.1.1.1, 198.51.100.7, 10.0.0.1",
                *(b"X-Forwarded-Proto: https", b"X-Forwarded-Host: site.test"),
                *(b"X-Request-ID: ID", b"CF-Connecting-IP: 198.51.100.7"),
            ],
        )
        self.assertEqual(request_id(head, client), b"its-own")

    def test_without_an_id(self) -> None:
        """Without an id, or with an empty one, one is made."""
        for lines in ([], [b"X-Request-ID:"]):
            head = request_head(*lines)
            self.assertNotEqual(request_id(head, behind_proxy(head)), b"")


class UpgradeTests(SynchronousTestCase):
    """What the connection is to become."""

    def written(self, head: RequestHead, upgrade: Upgrade | None) -> list[bytes]:
        raw = upstream_request_head(head, DIRECT, expect=False, upgrade=upgrade)
        self.assertTrue(raw.endswith(b"\r\n\r\n"))
        lines = raw[:-4].split(b"\r\n")
        return [line for line in lines if not line.startswith((b"X-", b"Host"))]

    def test_upgrade(self) -> None:
        """The one protocol that was chosen is asked for, with the client's own key."""
        key = b"Sec-WebSocket-Key: a"
        lines = (b"Connection: Upgrade, x-a", b"Upgrade: h2c, WebSocket", b"X-A: 1", key)
        expected = [b"GET / HTTP/1.1", b"Connection: Upgrade", b"Upgrade: websocket", key]
        self.assertEqual(self.written(request_head(*lines), Upgrade(b"websocket")), expected)

    def test_no_upgrade(self) -> None:
        """What was not chosen is not asked for."""
        head = request_head(b"Connection: Upgrade", b"Upgrade: h2c", b"HTTP2-Settings: A")
        self.assertEqual(self.written(head, None), [b"GET / HTTP/1.1"])

    def test_other_methods(self) -> None:
        """A protocol may begin with any method; an empty body is said as ever."""
        head = request_head(b"Connection: Upgrade", b"Upgrade: chat", method=b"POST")
        expected = [b"POST / HTTP/1.1", b"Content-Length: 0", b"Connection: Upgrade"]
        self.assertEqual(self.written(head, Upgrade(b"chat")), [*expected, b"Upgrade: chat"])

    def test_trailers(self) -> None:
        """Another protocol has no trailers, and Connection is said once."""
        head = request_head(b"Connection: Upgrade", b"Upgrade: chat", b"TE: trailers")
        expected = [b"GET / HTTP/1.1", b"Connection: Upgrade", b"Upgrade: chat"]
        self.assertEqual(self.written(head, Upgrade(b"chat")), expected)

    def test_extended_connect(self) -> None:
        """It becomes a GET without a body, with the proxy's key and no other."""
        head = request_head(b"sec-websocket-key: theirs", b"sec-websocket-version: 13")
        head.method, head.protocol, head.content_length = b"CONNECT", b"websocket", CHUNKED
        expected = [b"GET / HTTP/1.1", b"Connection: Upgrade", b"Upgrade: websocket"]
        expected += [b"Sec-WebSocket-Key: ours", b"sec-websocket-version: 13"]
        self.assertEqual(self.written(head, Upgrade(b"websocket", b"ours")), expected)


class RoundTripTests(SynchronousTestCase):
    @FUZZ
    @given(
        st.lists(
            st.sampled_from(
                b"Content-Length: 5|Transfer-Encoding: chunked|Connection: x-a, close|X-A: 1"
                b"|Connection: Host|TE: trailers|Expect: 100-continue|X-Real-IP: 1.1.1.1"
                b"|X-Forwarded-For: 1.1.1.1|Cookie: \xe9|Upgrade: x|x_a: 1|Max-Forwards: 3"
                b"|CF-Connecting-IP: 1.1.1.1|X-Request-ID: a b|A:".split(b"|")
            ),
            max_size=6,
        ),
        st.booleans(),
    )
    def test_framing_survives(self, lines: list[bytes], trusted: bool) -> None:
        """What is written is one request again, framed as the one that came in."""
        try:
            head = request_head(*lines)
        except BadRequest:
            return
        client = behind_proxy(head) if trusted else DIRECT
        request_line, host, *rest = written(head, client)
        again = request_head(*rest, host=host.removeprefix(b"Host: "))
        self.assertEqual(request_line, b"GET / HTTP/1.1")
        self.assertEqual(again.content_length, head.content_length)
        self.assertEqual(sorted(again.fields), sorted(head.fields))
        self.assertEqual(again.host, head.host)
        self.assertTrue(again.keep_alive)
