"""Request heads: what is taken from one, and which are refused."""

from __future__ import annotations

import re
from typing import Any

import httptools
from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from revproxy.errors import BadRequest
from revproxy.model.http import CHUNKED, Field, RequestHead
from revproxy.wire.field_lines import FieldLine
from revproxy.wire.fields import REQUEST_FIELDS
from revproxy.wire.framing import read_content_length
from revproxy.wire.request_head import read_request_head, validated_head
from tests.support.heads import MAX_FIELDS, MAX_TARGET, request_bytes, request_head, values

FUZZ = settings(deadline=None, derandomize=True, max_examples=500)

WHOLE = {
    "method": b"GET",
    "target": b"/",
    "path": b"/",
    "host": "site.test",
    "authority": b"site.test",
    "minor": 1,
    "fields": [],
    "content_length": 0,
    "keep_alive": True,
    "expect_continue": False,
    "wants_trailers": False,
    "forwarded_for": b"",
    "request_id": b"",
    "client_address_fields": [],
    "max_forwards": -1,
    "protocol": b"",
}
"""What is in the smallest head."""


class RequestHeadCase(SynchronousTestCase):
    def assert_read(self, head: RequestHead, **differing: Any) -> None:
        self.assertEqual(values(head), {**WHOLE, **differing})

    def assert_refused(self, status: int, *lines: bytes, **changes: Any) -> None:
        error = self.assertRaises(BadRequest, request_head, *lines, **changes)
        self.assertEqual(error.status, status, (lines, changes, error.reason))


class HeadTests(RequestHeadCase):
    """What is taken from a valid head."""

    def test_smallest(self) -> None:
        """A request line and a Host are a request without a body."""
        self.assert_read(request_head())

    def test_request_line(self) -> None:
        """Method, target and version are taken over, the path without the query."""
        for target, path in ((b"/a?b?c", b"/a"), (b"/a", b"/a"), (b"/?", b"/"), (b"//", b"//")):
            head = request_head(method=b"PURGE", target=target)
            self.assert_read(head, method=b"PURGE", target=target, path=path)
        self.assert_read(request_head(version=b"HTTP/1.0"), minor=0, keep_alive=False)
        self.assert_refused(505, version=b"HTTP/2.0")
        self.assert_refused(400, target=b"/#")
        self.assert_refused(414, target=b"/" + b"a" * MAX_TARGET)

    def test_fields(self) -> None:
        """Ordinary fields pass in order, with repetitions, in the case that they came in."""
        head = request_head(b"Cookie: a", b"accept:\t*/* ", b"Cookie: b", b"X-Empty:")
        fields = [(b"Cookie", b"a"), (b"accept", b"*/*"), (b"Cookie", b"b"), (b"X-Empty", b"")]
        self.assert_read(head, fields=fields)

    def test_dropped(self) -> None:
        """Hop-by-hop fields and what only the proxy may say do not pass, in any spelling."""
        names = (
            *(b"Keep-Alive", b"Proxy-Connection", b"Proxy-Authorization", b"Proxy-Authenticate"),
            *(b"Trailer", b"Upgrade", b"HTTP2-Settings", b"Proxy", b"Forwarded", b"X-Real-IP"),
            *(b"X-Forwarded-Host", b"X-Forwarded-Proto", b"X-Forwarded-Anything"),
            *(b"X_Real_IP", b"X_Forwarded_For", b"Remote_User", b"Content_Length", b"a.b"),
        )
        for name in names:
            for spelling in (name, name.lower(), name.upper()):
                self.assert_read(request_head(spelling + b": 1", spelling + b": 2"))

    def test_number_of_fields(self) -> None:
        """As many fields as the limit pass, one more is 431."""
        self.assertEqual(len(request_head(*[b"A: 1"] * (MAX_FIELDS - 1)).fields), MAX_FIELDS - 1)
        self.assert_refused(431, *[b"A: 1"] * MAX_FIELDS)

    def test_invalid_fields(self) -> None:
        """A line that is no field line is 400, also beside framing that would be 501."""
        bad = (
            b" fold",
            b"\tfold: x",
            b"A : 1",
            b": 1",
            b"A",
            b"A: \0",
            b"A: 1\nB: 2",
            b"A: 1\rB: 2",
        )
        for line in bad:
            self.assert_refused(400, line)
            self.assert_refused(400, b"A: 1", line, b"B: 2")
            self.assert_refused(400, b"Transfer-Encoding: gzip", line)

    def test_fold_at_the_head_of_the_fields(self) -> None:
        """White space before the first field line is refused."""
        for line in (b" Host: a", b"\tHost: a", b" "):
            self.assert_refused(400, line, b"Host: a", host=None)

    def test_max_forwards(self) -> None:
        """Max-Forwards passes as it is, and counts when it is a number."""
        for value, number in ((b"0", 0), (b"10", 10), (b"", -1), (b"-1", -1), (b"1" * 10, -1)):
            fields = [(b"Max-Forwards", value)]
            head = request_head(b"Max-Forwards: " + value)
            self.assert_read(head, fields=fields, max_forwards=number)

    def test_max_forwards_of_options(self) -> None:
        """For OPTIONS it is counted down, to nothing below zero (RFC 9110 7.6.2)."""
        table = (
            (b"2", b"1", 2),
            (b"1", b"0", 1),
            (b"0", b"0", 0),
            (b"010", b"9", 10),
            (b"x", b"x", -1),
        )
        for value, passed_on, number in table:
            head = request_head(b"max-forwards: " + value, method=b"OPTIONS")
            fields = [(b"max-forwards", passed_on)]
            self.assert_read(head, method=b"OPTIONS", fields=fields, max_forwards=number)

    def test_trailers_wanted(self) -> None:
        """TE says whether trailers are wanted and is passed on no further."""
        for value in (b"trailers", b"gzip, Trailers", b"trailers;q=1", b" , trailers"):
            self.assert_read(request_head(b"TE: " + value), wants_trailers=True)
        for value in (b"", b"gzip", b"trailer", b"xtrailers"):
            self.assert_read(request_head(b"TE: " + value))
        self.assert_read(request_head(b"TE: gzip", b"TE: trailers"), wants_trailers=True)
        self.assert_read(request_head(b"TE: trailers", b"TE: gzip"), wants_trailers=True)

    def test_expectations(self) -> None:
        """100-continue is the one expectation there is; in HTTP/1.0 it is ignored."""
        for value in (b"100-continue", b"100-Continue"):
            self.assert_read(request_head(b"Expect: " + value), expect_continue=True)
        old = request_head(b"Expect: 100-continue", version=b"HTTP/1.0")
        self.assert_read(old, minor=0, keep_alive=False)
        for value in (b"", b"100", b"200-ok", b"100-continue, x", b"100-continue;a"):
            self.assert_refused(417, b"Expect: " + value)
        self.assert_refused(417, b"Expect: 100-continue", b"Expect: x")

    def test_what_proxies_say(self) -> None:
        """The chain, the request's id and the client's address are kept apart from the fields."""
        head = request_head(
            b"X-Forwarded-For: 192.0.2.1, 192.0.2.2",
            b"CF-Connecting-IP: 192.0.2.9",
            b"X-Request-ID: one",
            b"x-forwarded-for: 192.0.2.3",
            b"true-client-ip: 192.0.2.8",
            b"X-Request-ID: two",
            b"X-Client-IP: 192.0.2.7",
        )
        self.assert_read(
            head,
            forwarded_for=b"192.0.2.1, 192.0.2.2, 192.0.2.3",
            request_id=b"two",
            client_address_fields=[
                (b"CF-Connecting-IP", b"192.0.2.9"),
                (b"true-client-ip", b"192.0.2.8"),
                (b"X-Client-IP", b"192.0.2.7"),
            ],
        )

    def test_empty_chain(self) -> None:
        """Empty elements at the head of a chain are no chain."""
        for lines in ([b"X-Forwarded-For:"], [b"X-Forwarded-For: ,"], [b"X-Forwarded-For:"] * 3):
            self.assert_read(request_head(*lines))
        head = request_head(b"X-Forwarded-For:", b"X-Forwarded-For: 192.0.2.1")
        self.assert_read(head, forwarded_for=b"192.0.2.1")


class HostTests(RequestHeadCase):
    """Exactly one valid Host, and whose word counts."""

    def test_host(self) -> None:
        """The host is normalised for routing and kept as received for the upstream."""
        head = request_head(host=b"Site.TEST.:8443")
        self.assert_read(head, authority=b"Site.TEST.:8443")

    def test_missing(self) -> None:
        """No Host is 400 in both versions, also with an absolute target."""
        for version in (b"HTTP/1.0", b"HTTP/1.1"):
            for target in (b"/", b"http://site.test/"):
                self.assert_refused(400, host=None, version=version, target=target)

    def test_repeated(self) -> None:
        """Two Hosts are 400, also equal ones and in different case."""
        for line in (b"Host: site.test", b"HOST: site.test", b"host: other.test", b"Host:"):
            self.assert_refused(400, line)
            self.assert_refused(400, line, target=b"http://site.test/")

    def test_invalid(self) -> None:
        """A Host that is none is 400."""
        for host in (
            b"",
            b"a b",
            b"u@a",
            b"a/b",
            b"a,b",
            b"a:99999",
            b"[::1",
            b"\xc3\xa9",
            b"a..",
        ):
            self.assert_refused(400, host=host)
            self.assert_refused(400, host=host, target=b"http://site.test/")

    def test_lookalike(self) -> None:
        """A name that only resembles Host is none."""
        for line in (b"Host_: a", b"X-Host: a", b"Hos: a"):
            self.assert_refused(400, line, host=None)
            request_head(line)

    def test_absolute_target(self) -> None:
        """The authority of an absolute target wins, and Host is rewritten to it."""
        head = request_head(target=b"http://Other.TEST:80/a?b", host=b"site.test")
        self.assert_read(
            head, host="other.test", authority=b"Other.TEST:80", target=b"/a?b", path=b"/a"
        )

    def test_invalid_authority(self) -> None:
        """An absolute target's authority is held to the same syntax."""
        for authority in (b"u@site.test", b"u:p@site.test", b"a,b", b"a:99999", b"..", b":80"):
            self.assert_refused(400, target=b"http://%b/" % authority)


class FramingTests(RequestHeadCase):
    """How long the body is (RFC 9112 6.3), and everything that makes it ambiguous."""

    def test_length(self) -> None:
        """A Content-Length is the body's length and no field that is passed on."""
        for value, length in ((b"0", 0), (b"5", 5), (b"007", 7), (b"9" * 18, 10**18 - 1)):
            for line in (b"Content-Length: " + value, b"content-length:%b \t" % value):
                self.assert_read(request_head(line), content_length=length)

    def test_bad_lengths(self) -> None:
        """Anything but digits is 400, and so is more than fits."""
        bad = (b"", b"+5", b"-0", b"-5", b"0x5", b"5_0", b"5 5", b"5,5", b"5, 5", b",5", b"5,")
        more = (b"5.0", b"1e3", b"five", b"5;a", b"9" * 19, b"9223372036854775808", b"0" * 19)
        for value in (*bad, *more, b"\xb2", b"\xd9\xa3", b'"5"', b"5\t5"):
            self.assert_refused(400, b"Content-Length: " + value)
            self.assertRaises(ValueError, read_content_length, [value])

    def test_repeated_lengths(self) -> None:
        """Two lengths are 400, equal or not."""
        for other in (b"5", b"6", b"", b"05"):
            self.assert_refused(400, b"Content-Length: 5", b"content-length: " + other)

    def test_chunked(self) -> None:
        """Exactly the coding chunked is taken, in any case."""
        for value in (b"chunked", b"Chunked", b"CHUNKED", b"\tchunked \t"):
            head = request_head(b"Transfer-Encoding:" + value)
            self.assert_read(head, content_length=CHUNKED)

    def test_other_codings(self) -> None:
        """Well-formed codings other than chunked are 501."""
        values_ = (b"gzip", b"identity", b"gzip, chunked", b"chunked, gzip", b"chunked, identity")
        for value in (*values_, b"chunked, chunked", b"xchunked", b"chunkedx", b"chunked,chunked"):
            self.assert_refused(501, b"Transfer-Encoding: " + value)
        self.assert_refused(501, *[b"Transfer-Encoding: chunked"] * 2)
        self.assert_refused(501, b"Transfer-Encoding: gzip", b"Transfer-Encoding: chunked")

    def test_malformed_codings(self) -> None:
        """What is no list of codings is 400."""
        bad = (
            b"",
            b",chunked",
            b"chunked,",
            b"chunked;a",
            b"chunked chunked",
            b"chunked\tx",
            b"(x)",
        )
        for value in (*bad, b'"chunked"', b"\xe3hunked", b"gzip,,chunked", b"chunked\x80"):
            self.assert_refused(400, b"Transfer-Encoding: " + value)
        self.assert_refused(400, b"Transfer-Encoding: ,", b"Transfer-Encoding: chunked")

    def test_hidden_codings(self) -> None:
        """A Transfer-Encoding that another parser may see is refused or goes nowhere."""
        self.assert_refused(400, b"Transfer-Encoding : chunked")
        self.assert_refused(400, b" Transfer-Encoding: chunked")
        self.assert_refused(400, b"X: y\nTransfer-Encoding: chunked")
        self.assert_refused(400, b"Transfer-Encoding:\x0bchunked")
        self.assert_refused(400, b"Transfer-Encoding:\n chunked")
        for name in (b"Transfer_Encoding", b"X-Transfer-Encoding"):
            self.assertEqual(request_head(name + b": chunked").content_length, 0)

    def test_both(self) -> None:
        """A length and a coding together are 400 in either order, whatever they say."""
        for coding in (b"chunked", b"identity", b"gzip", b""):
            for length in (b"0", b"5", b"x", b""):
                pair = [b"Transfer-Encoding: " + coding, b"Content-Length: " + length]
                self.assert_refused(400, *pair)
                self.assert_refused(400, *reversed(pair))

    def test_coding_in_http_1_0(self) -> None:
        """HTTP/1.0 knows no transfer coding: 400."""
        for value in (b"chunked", b"gzip", b"identity"):
            self.assert_refused(400, b"Transfer-Encoding: " + value, version=b"HTTP/1.0")

    def test_upgrade(self) -> None:
        """A body beside an Upgrade is framed as any other."""
        upgrade = (b"Connection: Upgrade", b"Upgrade: websocket")
        self.assert_read(request_head(*upgrade, b"Content-Length: 5"), content_length=5)
        head = request_head(*upgrade, b"Transfer-Encoding: chunked")
        self.assert_read(head, content_length=CHUNKED)
        self.assert_refused(400, *upgrade, b"Transfer-Encoding: chunked", b"Content-Length: 5")


class UpgradeTests(RequestHeadCase):
    """What a connection is asked to become."""

    def protocol(self, *lines: bytes, **changes: Any) -> bytes:
        return request_head(*lines, **changes).protocol

    def test_asked_for(self) -> None:
        """It is the value of Upgrade, where Connection names that, in any case and order."""
        upgrade = b"Upgrade: WebSocket"
        for option in (
            b"Upgrade",
            b"upgrade",
            b"keep-alive, UPGRADE",
            b"Upgrade,close",
            b",upgrade",
        ):
            found = self.protocol(b"Connection: " + option, upgrade)
            self.assertEqual(found, b"WebSocket", option)
        lines = (b"Connection: close", upgrade, b"Connection: upgrade")
        self.assertEqual(self.protocol(*lines), b"WebSocket")

    def test_several(self) -> None:
        """Several are a list, in one field or in more, in their order."""
        upgrade = b"Connection: upgrade"
        self.assertEqual(self.protocol(upgrade, b"Upgrade: h2c, websocket"), b"h2c, websocket")
        found = self.protocol(b"Upgrade: h2c", upgrade, b"Upgrade: websocket")
        self.assertEqual(found, b"h2c, websocket")

    def test_not_asked_for(self) -> None:
        """Without Connection, in HTTP/1.0 and with a body nothing is asked for (RFC 9110 7.8)."""
        upgrade = (b"Connection: Upgrade", b"Upgrade: websocket")
        self.assertEqual(self.protocol(upgrade[1]), b"")
        self.assertEqual(self.protocol(upgrade[0]), b"")
        self.assertEqual(self.protocol(b"Connection: keep-alive", upgrade[1]), b"")
        self.assertEqual(self.protocol(b"Connection: upgrades, x-upgrade", upgrade[1]), b"")
        self.assertEqual(self.protocol(*upgrade, version=b"HTTP/1.0"), b"")
        self.assertEqual(self.protocol(*upgrade, b"Content-Length: 1"), b"")
        self.assertEqual(self.protocol(*upgrade, b"Transfer-Encoding: chunked"), b"")
        self.assertEqual(self.protocol(*upgrade, b"Content-Length: 0"), b"websocket")

    def test_connect(self) -> None:
        """A CONNECT of HTTP/1.1 is for a tunnel of another kind, whatever stands beside it."""
        upgrade = (b"Connection: Upgrade", b"Upgrade: websocket")
        self.assertEqual(self.protocol(*upgrade, method=b"CONNECT", target=b"a.test:443"), b"")
        self.assertEqual(self.protocol(*upgrade, method=b"CONNECT", target=b"/a"), b"")

    def test_fields(self) -> None:
        """Upgrade, HTTP2-Settings and Connection never pass; what belongs to WebSocket does."""
        head = request_head(
            b"Connection: Upgrade, HTTP2-Settings",
            b"Upgrade: h2c",
            b"HTTP2-Settings: AAMAAABkAAQAAP__",
            b"Sec-WebSocket-Key: a",
            b"Sec-WebSocket-Version: 13",
        )
        kept = [(b"Sec-WebSocket-Key", b"a"), (b"Sec-WebSocket-Version", b"13")]
        self.assert_read(head, fields=kept, protocol=b"h2c")


class ConnectionTests(RequestHeadCase):
    """Persistence, and the fields that Connection takes away."""

    def test_persistence(self) -> None:
        """HTTP/1.1 persists unless told to close, HTTP/1.0 only when told to (RFC 9112 9.3)."""
        table: tuple[tuple[tuple[bytes, ...], bool, bool], ...] = (
            ((), True, False),
            ((b"",), True, False),
            ((b"close",), False, False),
            ((b"Close",), False, False),
            ((b"keep-alive",), True, True),
            ((b"Keep-Alive",), True, True),
            ((b"keep-alive, close",), False, False),
            ((b"keep-alive", b"close"), False, False),
            ((b"x-a, keep-alive",), True, True),
            ((b"x-a\t,\tclose",), False, False),
            ((b"closed",), True, False),
        )
        for options, new, old in table:
            lines = [b"Connection: " + option for option in options]
            self.assertEqual(request_head(*lines).keep_alive, new, options)
            head = request_head(*lines, version=b"HTTP/1.0")
            self.assertEqual(head.keep_alive, old, options)

    def test_named_fields(self) -> None:
        """The fields that Connection names are taken away, in any case and all of them."""
        lines = (b"X-One: 1", b"x-one: 2", b"X-Two: 3", b"CF-Connecting-IP: a", b"X-Client-IP: b")
        head = request_head(*lines, b"Connection: close, X-ONE", b"Connection: cf-connecting-ip")
        self.assert_read(
            head,
            keep_alive=False,
            fields=[(b"X-Two", b"3")],
            client_address_fields=[(b"X-Client-IP", b"b")],
        )

    def test_what_cannot_be_taken_away(self) -> None:
        """Naming Host, framing or the chain in Connection changes nothing about them."""
        head = request_head(
            b"Connection: Host, Content-Length, X-Forwarded-For, X-Request-ID, X-Real-IP",
            b"Content-Length: 5",
            b"X-Forwarded-For: 192.0.2.1",
            b"X-Request-ID: one",
        )
        self.assert_read(
            head, content_length=5, forwarded_for=b"192.0.2.1", request_id=b"one", fields=[]
        )
        head = request_head(b"Connection: Transfer-Encoding", b"Transfer-Encoding: chunked")
        self.assert_read(head, content_length=CHUNKED)


names = st.sampled_from(
    b"Host Content-Length Transfer-Encoding Connection Expect TE X-Forwarded-For Upgrade".split()
    + b"X-Request-ID CF-Connecting-IP Max-Forwards Accept x_y Cookie Keep-Alive Date".split()
)
WORDS = b"a.test chunked gzip close keep-alive 5 100-continue trailers 1.2.3.4 websocket x,y"
contents = st.sampled_from([*WORDS.split(), b"", b"\xe9", b"a b", b"5, 5", b"a\tb", b"\0"])
lines_ = st.one_of(
    st.tuples(names, contents).map(b": ".join),
    st.tuples(names, contents).map(b":".join),
    st.sampled_from([b" folded", b"X: y\n", b"Host : a", b"no colon"]),
)
targets = st.sampled_from(b"/ /a?b * http://b.test/c http://b.test // /%41 a:1 /#".split())
methods = st.sampled_from(b"GET POST OPTIONS HEAD CONNECT DELETE PROPFIND M-SEARCH".split())
versions = st.sampled_from([b"HTTP/1.1", b"HTTP/1.1", b"HTTP/1.0", b"HTTP/2.0"])


class Heard:
    """What llhttp makes of a head."""

    def __init__(self, section: bytes) -> None:
        self.url = b""
        self.fields: list[Field] = []
        self._parser = httptools.HttpRequestParser(self)
        try:
            self._parser.feed_data(section)
        except httptools.HttpParserUpgrade:
            pass
        self.method = self._parser.get_method()
        self.version = b"HTTP/" + self._parser.get_http_version().encode()

    def on_url(self, url: bytes) -> None:
        self.url += url

    def on_header(self, name: bytes, value: bytes) -> None:
        self.fields.append((name, value.strip(b" \t")))


class FuzzTests(SynchronousTestCase):
    """Heads of any kind."""

    def assert_sound(self, head: RequestHead) -> None:
        """What every reader of a head may trust."""
        self.assertTrue(re.fullmatch(rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+", head.method))
        self.assertTrue(re.fullmatch(rb"[!-\"$-~]+", head.target))
        self.assertNotIn(b"?", head.path)
        self.assertTrue(head.host and head.authority)
        self.assertGreaterEqual(head.content_length, CHUNKED)
        for name, value in head.fields + head.client_address_fields:
            self.assertTrue(re.fullmatch(rb"[0-9A-Za-z-]+", name), name)
            self.assertTrue(re.fullmatch(rb"[\t -~\x80-\xff]*", value), value)
            kind = REQUEST_FIELDS.of(name)[0]
            self.assertIn(kind, (0, 9, 11), name)

    @FUZZ
    @given(methods, targets, versions, st.lists(lines_, max_size=5), st.booleans())
    def test_against_llhttp(
        self, method: bytes, target: bytes, version: bytes, lines: list[bytes], host: bool
    ) -> None:
        """What is accepted, llhttp reads as the same request; else the refusal is documented."""
        section = request_bytes(
            *lines,
            method=method,
            target=target,
            version=version,
            host=b"a.test" if host else None,
        )
        try:
            head = read_request_head(section, MAX_TARGET, MAX_FIELDS)
        except BadRequest as error:
            self.assertIn(error.status, (400, 417, 501, 505))
            return
        if method != b"CONNECT":
            self.assert_sound(head)
        heard = Heard(section)
        self.assertEqual((heard.method, heard.url, heard.version), (method, target, version))
        self.assertEqual(head.minor, int(version[-1:]))
        passed_on = {field for field in head.fields if field[0] != b"Max-Forwards"}
        self.assertLessEqual(passed_on, set(heard.fields))
        lengths = [value for name, value in heard.fields if name.lower() == b"content-length"]
        codings = [value for name, value in heard.fields if name.lower() == b"transfer-encoding"]
        expected = CHUNKED if codings else int(lengths[0]) if lengths else 0
        self.assertEqual(head.content_length, expected)

    @FUZZ
    @given(
        st.lists(
            st.one_of(
                st.binary(max_size=5), lines_, st.sampled_from([b"\r\n", b"GET / HTTP/1.1"])
            ),
            max_size=6,
        )
    )
    def test_any_bytes(self, pieces: list[bytes]) -> None:
        """Any bytes with an empty line at the end give a sound head or a BadRequest."""
        for joint in (b"", b"\r\n"):
            for start in (b"", b"GET / HTTP/1.1\r\nHost: a\r\n"):
                section = start + joint.join(pieces) + b"\r\n\r\n"
                try:
                    head = read_request_head(section, MAX_TARGET, MAX_FIELDS)
                except BadRequest as error:
                    self.assertIn(error.status, (400, 417, 501, 505))
                else:
                    self.assert_sound(head)


class ValidatedHeadTests(RequestHeadCase):
    """The same checks for fields that came in another HTTP version."""

    def fields(self, *fields: Field) -> list[FieldLine]:
        return [(REQUEST_FIELDS.of(name)[0], (name, value)) for name, value in fields]

    def test_authority(self) -> None:
        """An authority beside Host wins; without it Host counts."""
        fields = self.fields((b"host", b"site.test"), (b"a", b"b"))
        head = validated_head(b"GET", b"/", 1, b"Other.test", fields)
        expected = [(b"a", b"b")]
        self.assert_read(head, host="other.test", authority=b"Other.test", fields=expected)
        self.assert_read(validated_head(b"GET", b"/", 1, b"", fields), fields=expected)

    def test_refused(self) -> None:
        """Framing is judged alike."""
        fields = self.fields((b"host", b"a"), (b"content-length", b"5"), (b"content-length", b"5"))
        self.assertRaises(BadRequest, validated_head, b"GET", b"/", 1, b"", fields)
