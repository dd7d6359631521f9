"""Responses as the downstream gets them."""

from __future__ import annotations

import httptools
from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from revproxy.model.http import CHUNKED, UNTIL_CLOSE, Field, ResponseHead
from revproxy.net.h1_response import ResponseWriter
from tests.support.heads import response_head

FUZZ = settings(deadline=None, derandomize=True, max_examples=200)


def writer(minor: int = 1, *, keep_alive: bool = True) -> ResponseWriter:
    """A writer that answers a request of HTTP/1.``minor``."""
    made = ResponseWriter()
    made.expect(minor, keep_alive=keep_alive)
    return made


def head_of(*lines: bytes, status: int = 200, method: bytes = b"GET") -> ResponseHead:
    """A head as the upstream sent it."""
    return response_head(*lines, status_line=b"HTTP/1.1 %d OK" % status, method=method)


class FramingTests(SynchronousTestCase):
    """How a response is framed."""

    def assert_said(self, said: ResponseWriter, *lines: bytes, body: bytes = b"") -> None:
        self.assertEqual(said.take(), b"\r\n".join([*lines, b"", body]))

    def test_length(self) -> None:
        """A known length is said, and the body follows as it is."""
        for minor, more in ((1, []), (0, [b"Connection: keep-alive"])):
            said = writer(minor)
            said.head(head_of(b"A: b", b"Content-Length: 5"))
            said.data(b"he")
            said.data(b"llo")
            said.end([])
            lines = (b"HTTP/1.1 200 OK", b"A: b", b"Content-Length: 5", *more)
            self.assert_said(said, *lines, body=b"hello")
            self.assertFalse(said.closing)

    def test_chunked(self) -> None:
        """An unknown length goes out chunked to HTTP/1.1, also when it ends with the upstream."""
        for lines in ([b"Transfer-Encoding: chunked"], []):
            said = writer()
            said.head(head_of(*lines))
            said.data(b"hello")
            said.end([])
            self.assert_said(
                said,
                *(b"HTTP/1.1 200 OK", b"Transfer-Encoding: chunked"),
                body=b"5\r\nhello\r\n0\r\n\r\n",
            )
            self.assertFalse(said.closing or said.ends_by_close)

    def test_http_1_0(self) -> None:
        """An unknown length goes to HTTP/1.0 as it is, and ends with the connection."""
        for lines in ([b"Transfer-Encoding: chunked"], []):
            said = writer(0)
            said.head(head_of(*lines))
            said.data(b"hello")
            said.end([(b"A", b"1")])
            self.assert_said(said, b"HTTP/1.1 200 OK", b"Connection: close", body=b"hello")
            self.assertTrue(said.closing and said.ends_by_close)

    def test_trailers(self) -> None:
        """Trailers follow a chunked body and no other."""
        said = writer()
        said.head(head_of(b"Transfer-Encoding: chunked"))
        said.end([(b"A", b"1"), (b"B", b"2")])
        self.assertTrue(said.take().endswith(b"\r\n\r\n0\r\nA: 1\r\nB: 2\r\n\r\n"))
        said.expect(1, keep_alive=True)
        said.head(head_of(b"Content-Length: 0"))
        said.end([(b"A", b"1")])
        self.assertTrue(said.take().endswith(b"Content-Length: 0\r\n\r\n"))

    def test_no_body(self) -> None:
        """HEAD and 304 say the length that a body would have; 204 says none."""
        for minor in (1, 0):
            for status, method in ((200, b"HEAD"), (304, b"GET")):
                said = writer(minor)
                said.head(head_of(b"Content-Length: 5", status=status, method=method))
                said.end([])
                self.assertIn(b"\r\nContent-Length: 5\r\n", said.take())
            for line in (b"Transfer-Encoding: chunked", b"A: b"):
                said = writer(minor)
                said.head(head_of(line, method=b"HEAD"))
                said.end([])
                taken = said.take()
                self.assertNotIn(b"Transfer-Encoding", taken)
                self.assertNotIn(b"Content-Length", taken)
                self.assertTrue(taken.endswith(b"\r\n\r\n"))
                self.assertFalse(said.closing)
            said = writer(minor)
            said.head(head_of(b"Content-Length: 0", status=204))
            self.assertNotIn(b"Content-Length", said.take())

    def test_closing(self) -> None:
        """The last response of a connection says so, to both versions."""
        for minor in (1, 0):
            said = writer(minor, keep_alive=False)
            said.head(head_of(b"Content-Length: 0"))
            self.assertIn(b"\r\nConnection: close\r\n", said.take())

    def test_one_after_the_other(self) -> None:
        """What one response was like does not reach into the next."""
        said = writer(0)
        said.head(head_of())
        said.expect(1, keep_alive=True)
        said.take()
        self.assertFalse(said.closing or said.ends_by_close)
        said.head(head_of(b"Transfer-Encoding: chunked"))
        said.expect(1, keep_alive=True)
        said.take()
        said.head(head_of(b"Content-Length: 1"))
        said.data(b"a")
        said.end([])
        self.assert_said(said, b"HTTP/1.1 200 OK", b"Content-Length: 1", body=b"a")

    def test_interim(self) -> None:
        """A 1xx has neither framing nor persistence, and HTTP/1.0 gets none."""
        early = head_of(b"Link: </a>", b"Connection: close", status=103)
        said = writer(keep_alive=False)
        said.interim(early)
        self.assert_said(said, b"HTTP/1.1 103 OK", b"Link: </a>")
        said = writer(0)
        said.interim(early)
        self.assertEqual(said.take(), b"")

    def test_one_piece(self) -> None:
        """Everything said leaves in one piece, once."""
        said = writer()
        self.assertEqual(said.take(), b"")
        said.interim(head_of(status=100))
        said.own(404, [], with_body=True)
        self.assertEqual(said.take().count(b"HTTP/1.1 "), 2)
        self.assertEqual(said.take(), b"")


class OwnTests(SynchronousTestCase):
    """Answers of the proxy's own."""

    def test_body(self) -> None:
        """The body is the reason phrase, in plain text, without a name or version."""
        said = writer(keep_alive=False)
        said.own(502, [(b"Date", b"now")], with_body=True)
        self.assertEqual(
            said.take(),
            b"HTTP/1.1 502 Bad Gateway\r\nDate: now\r\nContent-Type: text/plain; charset=utf-8\r\n"
            b"Content-Length: 11\r\nConnection: close\r\n\r\nBad Gateway",
        )

    def test_head(self) -> None:
        """The answer to HEAD is the same without its body."""
        full, bare = writer(), writer()
        full.own(404, [], with_body=True)
        bare.own(404, [], with_body=False)
        self.assertEqual(full.take(), bare.take() + b"Not Found")

    def test_no_content(self) -> None:
        """204 has neither length, type nor body."""
        said = writer()
        said.own(204, [(b"Allow", b"GET")], with_body=True)
        self.assertEqual(said.take(), b"HTTP/1.1 204 No Content\r\nAllow: GET\r\n\r\n")

    def test_fields_stay(self) -> None:
        """The caller's list of fields is not changed."""
        fields: list[Field] = [(b"Date", b"now")]
        writer().own(400, fields, with_body=True)
        self.assertEqual(fields, [(b"Date", b"now")])


class Heard:
    """What llhttp makes of responses."""

    def __init__(self) -> None:
        self.responses: list[tuple[bytes, bool]] = []
        self._body = b""
        self.parser = httptools.HttpResponseParser(self)

    def on_body(self, content: bytes) -> None:
        self._body += content

    def on_message_complete(self) -> None:
        self.responses.append((self._body, self.parser.should_keep_alive()))
        self._body = b""


class RoundTripTests(SynchronousTestCase):
    @FUZZ
    @given(
        st.lists(
            st.tuples(
                st.lists(st.binary(min_size=1, max_size=20), max_size=3),
                st.sampled_from([0, CHUNKED, UNTIL_CLOSE]),
                st.lists(st.just((b"A", b"1")), max_size=2),
            ),
            min_size=1,
            max_size=4,
        )
    )
    def test_llhttp_reads_the_same(
        self, responses: list[tuple[list[bytes], int, list[Field]]]
    ) -> None:
        """Responses on one connection are read apart, each with its whole body."""
        said = ResponseWriter()
        heard = Heard()
        for pieces, framing, trailers in responses:
            said.expect(1, keep_alive=True)
            head = head_of(b"Content-Length: %d" % sum(map(len, pieces)))
            head.body_length = framing or head.body_length
            said.head(head)
            for piece in pieces:
                said.data(piece)
            said.end(trailers)
            heard.parser.feed_data(said.take())
        expected = [(b"".join(pieces), True) for pieces, _, _ in responses]
        self.assertEqual(heard.responses, expected)
