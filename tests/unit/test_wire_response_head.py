"""Response heads: status lines, framing, and what does not pass."""

from __future__ import annotations

import re
from typing import Any

import httptools
from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from revproxy.errors import BadResponse, Side
from revproxy.model.http import CHUNKED, UNTIL_CLOSE, Field, ResponseHead
from revproxy.wire.response_head import read_response_head
from tests.support.heads import response_bytes, response_head, values

FUZZ = settings(deadline=None, derandomize=True, max_examples=500)

WHOLE = {
    "status": 200,
    "reason": b"OK",
    "fields": [],
    "content_length": 0,
    "body_length": 0,
    "keep_alive": True,
    "has_date": False,
    "protocol": b"",
}
"""What is in a head of ``Content-Length: 0`` and nothing else."""

EMPTY = b"Content-Length: 0"


class ResponseHeadCase(SynchronousTestCase):
    def assert_read(self, head: ResponseHead, **differing: Any) -> None:
        self.assertEqual(values(head), {**WHOLE, **differing})

    def assert_refused(self, *lines: bytes, **changes: Any) -> None:
        error = self.assertRaises(BadResponse, response_head, *lines, **changes)
        self.assertEqual((error.status, error.side), (502, Side.UPSTREAM), (lines, changes))


class StatusLineTests(ResponseHeadCase):
    """Status lines (RFC 9112 4)."""

    def test_valid(self) -> None:
        """The reason may be anything printable, empty, or missing with its space."""
        table = {
            b"HTTP/1.1 200 OK": (200, b"OK"),
            b"HTTP/1.1 200 ": (200, b""),
            b"HTTP/1.1 200": (200, b""),
            b"HTTP/1.1 404 Not  Here\t!": (404, b"Not  Here\t!"),
            b"HTTP/1.1 999 \xe9\xff": (999, b"\xe9\xff"),
            b"HTTP/1.1 299  x ": (299, b" x "),
        }
        for line, (status, reason) in table.items():
            for _ in range(2):
                head = response_head(EMPTY, status_line=line)
                self.assert_read(head, status=status, reason=reason)

    def test_invalid(self) -> None:
        """Other versions, numbers and bytes are refused, each time they come."""
        versions = (b"HTTP/1.2 200 OK", b"HTTP/2 200 OK", b"HTTP/0.9 200 OK", b"http/1.1 200 OK")
        more = (b"RTSP/1.0 200 OK", b"ICY 200 OK", b"HTTP/1.10 200 OK", b"HTTP/1.1  200 OK")
        numbers = (b"99", b"099", b"000", b"1000", b"20", b"2OO", b"-20", b"+20", b"", b"20\xb2")
        spaces = (b" HTTP/1.1 200 OK", b"HTTP/1.1\t200 OK", b"HTTP/1.1 200\tOK", b"", b"200 OK")
        bytes_ = (b"HTTP/1.1 200 O\0K", b"HTTP/1.1 200 O\rK", b"HTTP/1.1 200 O\nK", b"\x7f")
        bad = [b"HTTP/1.1 %b OK" % number for number in numbers]
        for line in (*versions, *more, *spaces, *bytes_, *bad, b"HTTP/1.1 200 \x7f"):
            for _ in range(2):
                self.assert_refused(EMPTY, status_line=line)


class FieldTests(ResponseHeadCase):
    """What passes on to the downstream."""

    def test_fields(self) -> None:
        """Ordinary fields pass in order, repeated Set-Cookie too."""
        head = response_head(b"Set-Cookie: a", EMPTY, b"set-cookie: b", b"X_y:", b"Set-Cookie: a")
        fields = [(b"Set-Cookie", b"a"), (b"set-cookie", b"b"), (b"X_y", b"")]
        self.assert_read(head, fields=[*fields, (b"Set-Cookie", b"a")])

    def test_dropped(self) -> None:
        """Hop-by-hop fields and Server do not pass."""
        names = (
            *(b"Connection", b"Keep-Alive", b"Proxy-Connection", b"Proxy-Authenticate"),
            *(b"Proxy-Authorization", b"Trailer", b"Upgrade", b"TE", b"Server"),
        )
        for name in names:
            for spelling in (name, name.lower(), name.upper()):
                self.assert_read(response_head(EMPTY, spelling + b": x"))

    def test_named_fields(self) -> None:
        """The fields that Connection names are taken away, Date too; framing is not."""
        head = response_head(
            b"Connection: X-A, date, content-length",
            *(b"x-a: 1", b"X-B: 2", b"Date: now", b"Content-Length: 5", b"X-A: 3"),
        )
        self.assert_read(head, fields=[(b"X-B", b"2")], content_length=5, body_length=5)

    def test_date(self) -> None:
        """Whether there is a Date is noted."""
        self.assert_read(response_head(EMPTY, b"DATE: x"), fields=[(b"DATE", b"x")], has_date=True)

    def test_invalid(self) -> None:
        """A line that is no field line refuses the response."""
        for line in (
            b" fold",
            b"\tfold",
            b"A : 1",
            b": 1",
            b"A",
            b"A: \0",
            b"A: 1\nB: 2",
            b"A: \r",
        ):
            self.assert_refused(EMPTY, line)
            self.assert_refused(line, EMPTY)


class FramingTests(ResponseHeadCase):
    """Where a body ends (RFC 9112 6.3)."""

    def test_length(self) -> None:
        """A Content-Length is the body's length."""
        for value, length in ((b"0", 0), (b"5", 5), (b"007", 7), (b"9" * 18, 10**18 - 1)):
            head = response_head(b"content-length:\t%b " % value)
            self.assert_read(head, content_length=length, body_length=length)

    def test_bad_lengths(self) -> None:
        """Anything but digits, and more than one, is refused, also where there is no body."""
        bad = (b"", b"+5", b"-5", b"0x5", b"5 5", b"5, 5", b"5,", b"9" * 19, b"\xb2", b"5;a")
        for value in bad:
            for method in (b"GET", b"HEAD"):
                self.assert_refused(b"Content-Length: " + value, method=method)
        for other in (b"5", b"6", b""):
            self.assert_refused(b"Content-Length: 5", b"content-length: " + other)

    def test_chunked(self) -> None:
        """Exactly the coding chunked is taken, in any case."""
        for value in (b"chunked", b"Chunked", b"CHUNKED\t"):
            head = response_head(b"Transfer-Encoding: " + value)
            self.assert_read(head, content_length=-1, body_length=CHUNKED)

    def test_other_codings(self) -> None:
        """Any other coding, two of them, and any in HTTP/1.0, is refused."""
        for value in (
            b"",
            b"gzip",
            b"identity",
            b"gzip, chunked",
            b"chunked, chunked",
            b",chunked",
        ):
            self.assert_refused(b"Transfer-Encoding: " + value)
        self.assert_refused(*[b"Transfer-Encoding: chunked"] * 2)
        for coding in (b"chunked", b"gzip"):
            self.assert_refused(b"Transfer-Encoding: " + coding, status_line=b"HTTP/1.0 200 OK")

    def test_both(self) -> None:
        """A length and a coding together are refused in either order."""
        pair = [b"Content-Length: 5", b"Transfer-Encoding: chunked"]
        for lines in (pair, pair[::-1]):
            for method in (b"GET", b"HEAD"):
                self.assert_refused(*lines, method=method)

    def test_until_close(self) -> None:
        """Without either, the body ends with the connection, which is not used again."""
        for line in (b"HTTP/1.1 200 OK", b"HTTP/1.0 200 OK"):
            head = response_head(b"Connection: keep-alive", status_line=line)
            self.assert_read(head, content_length=-1, body_length=UNTIL_CLOSE, keep_alive=False)

    def test_no_body(self) -> None:
        """HEAD, 1xx, 204 and 304 have no body, whatever their head says."""
        framings = ((b"Content-Length: 5", 5), (b"Transfer-Encoding: chunked", -1), (b"A: b", -1))
        for line, length in framings:
            head = response_head(line, method=b"HEAD")
            self.assertEqual((head.content_length, head.body_length), (length, 0))
            self.assertTrue(head.keep_alive)
            for status in (100, 103, 199, 204, 304):
                head = response_head(line, status_line=b"HTTP/1.1 %d X" % status)
                self.assertEqual((head.content_length, head.body_length), (length, 0), status)
                self.assertTrue(head.keep_alive)

    def test_method_matters_by_case(self) -> None:
        """A method that only resembles HEAD has a body."""
        self.assert_read(
            response_head(b"Content-Length: 5", method=b"head"), content_length=5, body_length=5
        )

    def test_persistence(self) -> None:
        """HTTP/1.1 persists unless told to close, HTTP/1.0 only when told to."""
        table: tuple[tuple[tuple[bytes, ...], bool, bool], ...] = (
            ((), True, False),
            ((b"close",), False, False),
            ((b"CLOSE",), False, False),
            ((b"keep-alive",), True, True),
            ((b"Keep-Alive, X",), True, True),
            ((b"keep-alive, close",), False, False),
            ((b"keep-alive", b"close"), False, False),
        )
        for options, new, old in table:
            lines = [EMPTY, *[b"Connection: " + option for option in options]]
            self.assertEqual(response_head(*lines).keep_alive, new, options)
            head = response_head(*lines, status_line=b"HTTP/1.0 200 OK")
            self.assertEqual(head.keep_alive, old, options)


class UpgradeTests(ResponseHeadCase):
    """What an upstream says that the connection becomes."""

    SWITCHING = b"HTTP/1.1 101 Switching Protocols"

    def protocol(self, *lines: bytes, status_line: bytes = SWITCHING) -> bytes:
        return response_head(*lines, status_line=status_line).protocol

    def test_agreed(self) -> None:
        """In a 101 it is the value of Upgrade where Connection names that."""
        self.assertEqual(self.protocol(b"Upgrade: X", b"Connection: keep-alive, UPGRADE"), b"X")
        lines = (b"Upgrade: x", b"Connection: upgrade", b"Upgrade: y")
        self.assertEqual(self.protocol(*lines), b"x, y")

    def test_not_agreed(self) -> None:
        """Without Connection, and with any other status, nothing has been agreed to."""
        self.assertEqual(self.protocol(b"Upgrade: x"), b"")
        self.assertEqual(self.protocol(b"Connection: Upgrade"), b"")
        self.assertEqual(self.protocol(b"Upgrade: x", b"Connection: close"), b"")
        for status in (b"100 Continue", b"200 OK", b"426 Upgrade Required"):
            lines = (b"Upgrade: x", b"Connection: Upgrade")
            self.assertEqual(self.protocol(*lines, status_line=b"HTTP/1.1 " + status), b"")

    def test_fields(self) -> None:
        """It has no body whatever it says, and keeps what belongs to WebSocket."""
        lines = (b"Upgrade: x", b"Connection: upgrade", b"Content-Length: 5")
        head = response_head(*lines, b"Sec-WebSocket-Accept: a", status_line=self.SWITCHING)
        self.assertEqual(head.fields, [(b"Sec-WebSocket-Accept", b"a")])
        self.assertEqual(head.body_length, 0)
        self.assert_refused(*lines, b"Transfer-Encoding: chunked", status_line=self.SWITCHING)


class Heard:
    """What llhttp makes of a response head."""

    def __init__(self, section: bytes) -> None:
        self.fields: list[Field] = []
        parser = httptools.HttpResponseParser(self)
        try:
            parser.feed_data(section)
        except httptools.HttpParserUpgrade:
            pass
        self.status = parser.get_status_code()

    def on_header(self, name: bytes, value: bytes) -> None:
        self.fields.append((name, value.strip(b" \t")))


LINES = (
    b"Content-Length: 5|Content-Length: 0|Content-Length: x|Transfer-Encoding: chunked"
    b"|Transfer-Encoding: gzip|Connection: close|Connection: keep-alive, x-a|X-A: b|X-A:"
    b"|Date: now|Server: s|Set-Cookie: a=b|Upgrade: h2c| folded|no colon|A : b|A: \xe9|A: \0"
).split(b"|")
STATUS_LINES = (
    b"HTTP/1.1 200 OK|HTTP/1.0 200|HTTP/1.1 100 Continue|HTTP/1.1 204 No|HTTP/1.1 304 Not"
    b"|HTTP/1.1 099 X|HTTP/2 200 OK|HTTP/1.1 999 "
).split(b"|")


class FuzzTests(SynchronousTestCase):
    """Responses of any kind."""

    def assert_sound(self, head: ResponseHead) -> None:
        self.assertTrue(100 <= head.status <= 999)
        self.assertTrue(re.fullmatch(rb"[\t -~\x80-\xff]*", head.reason))
        self.assertGreaterEqual(head.body_length, UNTIL_CLOSE)
        self.assertFalse(head.keep_alive and head.body_length == UNTIL_CLOSE)
        for name, value in head.fields:
            self.assertTrue(re.fullmatch(rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+", name), name)
            self.assertTrue(re.fullmatch(rb"[\t -~\x80-\xff]*", value), value)

    @FUZZ
    @given(st.sampled_from(STATUS_LINES), st.lists(st.sampled_from(LINES), max_size=5))
    def test_against_llhttp(self, status_line: bytes, lines: list[bytes]) -> None:
        """What is accepted, llhttp reads as the same response."""
        section = response_bytes(*lines, status_line=status_line)
        try:
            head = read_response_head(section, b"GET")
        except BadResponse:
            return
        self.assert_sound(head)
        heard = Heard(section)
        self.assertEqual(heard.status, head.status)
        self.assertLessEqual(set(head.fields), set(heard.fields))

    @FUZZ
    @given(st.lists(st.one_of(st.binary(max_size=6), st.sampled_from(LINES)), max_size=5))
    def test_any_bytes(self, pieces: list[bytes]) -> None:
        """Any bytes with an empty line at the end give a sound head or a BadResponse."""
        for start in (b"", b"HTTP/1.1 200 OK\r\n"):
            for joint in (b"", b"\r\n"):
                try:
                    section = start + joint.join(pieces) + b"\r\n\r\n"
                    self.assert_sound(read_response_head(section, b"GET"))
                except BadResponse:
                    pass
