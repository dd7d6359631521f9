"""How heads are written."""

from __future__ import annotations

from http import HTTPStatus

from twisted.trial.unittest import SynchronousTestCase

from revproxy.wire.head_bytes import REASONS, field_lines, response_head_bytes


class HeadBytesTests(SynchronousTestCase):
    def test_field_lines(self) -> None:
        """Every field is a line, in order, with repetitions and empty values."""
        self.assertEqual(field_lines([]), b"")
        fields = [(b"Set-Cookie", b"a"), (b"Set-Cookie", b"b"), (b"X", b"")]
        self.assertEqual(field_lines(fields), b"Set-Cookie: a\r\nSet-Cookie: b\r\nX: \r\n")

    def test_response_head(self) -> None:
        """A head has one empty line at its end, with and without fields and framing."""
        table = (
            ([], b"", b"HTTP/1.1 200 OK\r\n\r\n"),
            ([(b"A", b"1")], b"", b"HTTP/1.1 200 OK\r\nA: 1\r\n\r\n"),
            ([], b"B: 2\r\n", b"HTTP/1.1 200 OK\r\nB: 2\r\n\r\n"),
            (
                [(b"A", b"1"), (b"A", b"2")],
                b"B: 2\r\nC: 3\r\n",
                b"HTTP/1.1 200 OK\r\nA: 1\r\nA: 2\r\nB: 2\r\nC: 3\r\n\r\n",
            ),
        )
        for fields, framing, expected in table:
            self.assertEqual(response_head_bytes(200, b"OK", fields, framing), expected)

    def test_empty_reason(self) -> None:
        """Without a reason phrase the space before it stays (RFC 9112 4)."""
        self.assertEqual(response_head_bytes(299, b"", [], b""), b"HTTP/1.1 299 \r\n\r\n")

    def test_reasons(self) -> None:
        """Every registered status has its phrase, by the names of RFC 9110."""
        self.assertEqual(set(REASONS), {status.value for status in HTTPStatus})
        expected = {
            400: b"Bad Request",
            408: b"Request Timeout",
            413: b"Content Too Large",
            414: b"URI Too Long",
            421: b"Misdirected Request",
            422: b"Unprocessable Content",
            429: b"Too Many Requests",
            431: b"Request Header Fields Too Large",
            502: b"Bad Gateway",
            505: b"HTTP Version Not Supported",
        }
        for status, reason in expected.items():
            self.assertEqual(REASONS[status], reason)
