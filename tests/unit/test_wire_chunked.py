"""The chunked coding: against llhttp, split at every byte, and within its limits."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable

import httptools
from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from revproxy.model.http import Field
from revproxy.wire.chunked import (
    LAST_CHUNK,
    ChunkedDecoder,
    ChunkedError,
    chunk,
    last_chunk,
)

FUZZ = settings(deadline=None, derandomize=True, max_examples=400)
MAX_LINE = 4096
MAX_TRAILERS = 16384

Decoded = tuple[bytes, bool, bytes, list[Field]]


def decode(
    pieces: Iterable[bytes], max_line: int = MAX_LINE, max_trailers: int = MAX_TRAILERS
) -> Decoded:
    """The content, whether it is complete, what came after it, and its trailers."""
    decoder = ChunkedDecoder(max_line, max_trailers)
    content = b""
    rest = b""
    for piece in pieces:
        if decoder.done:
            rest += piece
        else:
            content += decoder.feed(piece)
            rest = decoder.rest
    return content, decoder.done, rest, decoder.trailers


def one_by_one(stream: bytes) -> list[bytes]:
    return [stream[at : at + 1] for at in range(len(stream))]


def refusal(feed: Callable[[], object]) -> str:
    try:
        feed()
    except ChunkedError as error:
        return str(error)
    return ""


class Heard:
    """What llhttp makes of a chunked body."""

    def __init__(self, body: bytes) -> None:
        self.content = b""
        self.done = False
        parser = httptools.HttpRequestParser(self)
        parser.feed_data(b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n")
        parser.feed_data(body)

    def on_body(self, content: bytes) -> None:
        self.content += content

    def on_message_complete(self) -> None:
        self.done = True


BODIES: tuple[tuple[bytes, bytes, list[Field]], ...] = (
    (b"0\r\n\r\n", b"", []),
    (b"000000000000000\r\n\r\n", b"", []),
    (b"5\r\nhello\r\n0\r\n\r\n", b"hello", []),
    (b"1\r\na\r\n2\r\nbc\r\n0\r\n\r\n", b"abc", []),
    (b"A\r\n0123456789\r\n00\r\n\r\n", b"0123456789", []),
    (b"a\r\n0\r\n\r\n01234\r\n0\r\n\r\n", b"0\r\n\r\n01234", []),
    (b"2;a\r\nhi\r\n0;b=c\r\n\r\n", b"hi", []),
    (b'2;a=b;c="d;\\"e\\\\, \t\xe9";f\r\nhi\r\n0\r\n\r\n', b"hi", []),
    (b"2\r\n\r\n\r\n0\r\nX-A: 1\r\nHost: b\r\n\r\n", b"\r\n", [(b"X-A", b"1")]),
    (b"0\r\nA:\r\nb_:\tc \r\nA: d\r\n\r\n", b"", [(b"A", b""), (b"b_", b"c"), (b"A", b"d")]),
)

SIZES = (
    *(b"", b" ", b"0x5", b"+5", b"-5", b"1_0", b"5 ", b" 5", b"\t5", b"5\t", b"g", b"5h", b"\xb2"),
    *(b"1" * 16, b"0" * 16 + b"5", b"F" * 16, b"5,5", b"5.0", b"5\0", b"5\r", b"5\x0b", b'"5"'),
)
EXTENSIONS = (
    *(b";", b";;a", b";=", b";a=", b";=b", b";a=b=c", b";a b", b";a;", b" ;a", b';a="', b';a="b'),
    *(b';a="b"c', b';a="\\"', b";a=\0", b';a="\0"', b';a="\x7f"', b";a\x80", b";a=b\r", b";\xe9"),
    *(b';a="b\\\x01"', b";a,b", b";(a)", b';"a"'),
)


class DecoderTests(SynchronousTestCase):
    """What is a chunked body, and what is in it."""

    def test_bodies(self) -> None:
        """Bodies are taken apart, in one piece, split at every byte, and byte by byte."""
        for body, content, trailers in BODIES:
            expected = (content, True, b"NEXT", trailers)
            stream = body + b"NEXT"
            self.assertEqual(decode([stream]), expected)
            for at in range(len(stream)):
                self.assertEqual(decode([stream[:at], stream[at:]]), expected, (stream, at))
            self.assertEqual(decode(one_by_one(stream)), expected)
            self.assertEqual(decode([b"", *one_by_one(stream), b""]), expected)

    def test_llhttp_agrees(self) -> None:
        """llhttp reads the same content in the same bodies."""
        for body, content, _ in BODIES:
            heard = Heard(body)
            self.assertEqual((heard.content, heard.done), (content, True), body)

    def test_incomplete(self) -> None:
        """A body cut anywhere is never done, and its content is a beginning of the whole."""
        for body, content, _ in BODIES:
            for at in range(len(body)):
                found, done, rest, trailers = decode([body[:at]])
                self.assertEqual((done, rest, trailers), (False, b"", []), (body, at))
                self.assertTrue(content.startswith(found))

    def test_nothing_is_held_back(self) -> None:
        """Content is given out as it comes, also before its chunk is complete."""
        decoder = ChunkedDecoder(MAX_LINE, MAX_TRAILERS)
        for piece, content in (
            (b"5\r\nhe", b"he"),
            (b"ll", b"ll"),
            (b"o\r", b"o"),
            (b"\n3\r\n", b""),
        ):
            self.assertEqual(decoder.feed(piece), content)
        self.assertEqual(decoder.feed(b"abc\r\n0\r\n\r\n"), b"abc")
        self.assertTrue(decoder.done)

    def test_large_chunk(self) -> None:
        """A chunk of 2^60 - 1 bytes may be announced."""
        self.assertEqual(decode([b"F" * 15 + b"\r\n", b"abc"]), (b"abc", False, b"", []))

    def test_bad_sizes(self) -> None:
        """Anything but hexadecimal digits, up to 15 of them, is no size."""
        for size in SIZES:
            for start in (b"", b"1\r\na\r\n"):
                stream = start + size + b"\r\nhello\r\n0\r\n\r\n"
                for pieces in ([stream], one_by_one(stream)):
                    self.assertTrue(refusal(lambda pieces=pieces: decode(pieces)), stream)

    def test_bad_extensions(self) -> None:
        """Extensions are held to their grammar, quotes and all."""
        for extension in EXTENSIONS:
            for size in (b"5", b"0"):
                stream = size + extension + b"\r\nhello\r\n0\r\n\r\n"
                self.assertTrue(refusal(lambda stream=stream: decode([stream])), stream)

    def test_white_space_in_extensions(self) -> None:
        """White space after a semicolon passes (RFC 9112 7.1.1), where llhttp refuses it."""
        for extension in (b"; a", b";\ta=b", b"; \ta;  b"):
            stream = b"2" + extension + b"\r\nhi\r\n0" + extension + b"\r\n\r\n"
            self.assertEqual(decode([stream]), (b"hi", True, b"", []))
            self.assertRaises(httptools.HttpParserError, Heard, stream)

    def test_bare_line_endings(self) -> None:
        """A bare CR or LF ends neither a line, nor a chunk, nor the body."""
        bad = (
            *(b"5\nhello\r\n0\r\n\r\n", b"5\rhello\r\n0\r\n\r\n", b"5\r\nhello\n0\r\n\r\n"),
            *(
                b"5\r\nhello\r0\r\n\r\n",
                b"5;a\nhello\r\n0\r\n\r\n",
                b'5;a="\n"\r\nhello\r\n0\r\n\r\n',
            ),
            *(b"5;a\rb\r\nhello\r\n0\r\n\r\n", b"0\n\r\n", b"0\r\n\n", b"0\r\nA: b\n\r\n\r\n"),
            *(b"0\r\nA: b\r\r\n\r\n", b"0\r\nA: b\rB: c\r\n\r\n", b"\r\n5\r\nhello\r\n"),
        )
        for stream in bad:
            for pieces in ([stream], one_by_one(stream)):
                self.assertTrue(refusal(lambda pieces=pieces: decode(pieces)), stream)

    def test_bare_line_feeds_at_once(self) -> None:
        """A bare LF is refused when it comes, not when its line does."""
        for stream in (b"5\n", b"5;a\n", b"0\r\nA: b\n", b"1\r\na\n"):
            self.assertEqual(refusal(lambda stream=stream: decode([stream[:-1]])), "")
            self.assertTrue(refusal(lambda stream=stream: decode([stream])), stream)

    def test_wrong_chunk_length(self) -> None:
        """A chunk that is longer or shorter than its size is refused."""
        for stream in (
            b"4\r\nhello\r\n",
            b"6\r\nhello\r\n0\r\n\r\n",
            b"5\r\nhelloX",
            b"5\r\nhello0",
        ):
            self.assertTrue(refusal(lambda stream=stream: decode([stream])), stream)

    def test_bad_trailers(self) -> None:
        """A trailer that is no field line refuses the body, though it would be dropped."""
        for line in (b"A", b" A: b", b"A : b", b": b", b"A: \0", b"Host : a", b"A: b\r\n fold"):
            stream = b"0\r\n" + line + b"\r\n\r\n"
            self.assertTrue(refusal(lambda stream=stream: decode([stream])), stream)

    def test_forbidden_trailers(self) -> None:
        """Trailers that could change framing, routing or rights are left out."""
        names = (
            b"Content-Length Transfer-Encoding Host Authorization Connection Set-Cookie".split()
        )
        for name in (*names, b"Content-Type", b"Cache-Control", b"Trailer", b"TE"):
            for spelling in (name, name.lower(), name.upper()):
                found = decode([b"0\r\nA: 1\r\n%b: x\r\n\r\n" % spelling])
                self.assertEqual(found, (b"", True, b"", [(b"A", b"1")]))


class LimitTests(SynchronousTestCase):
    """Every line has a bound, however it comes in."""

    def assert_limit(self, fits: bytes, too_long: bytes, reason: str) -> None:
        for split in (lambda stream: [stream], one_by_one):
            self.assertTrue(decode(split(fits))[1])
            self.assertEqual(refusal(lambda split=split: decode(split(too_long))), reason)

    def test_line(self) -> None:
        """A chunk-size line of the limit passes, one more byte does not."""
        fits = b"1;" + b"a" * (MAX_LINE - 2)
        end = b"\r\nb\r\n0\r\n\r\n"
        self.assert_limit(fits + end, fits + b"a" + end, "chunk-size line too long")

    def test_last_line(self) -> None:
        """The same holds for the last chunk's."""
        fits = b"0;" + b"a" * (MAX_LINE - 2)
        self.assert_limit(fits + b"\r\n\r\n", fits + b"a\r\n\r\n", "chunk-size line too long")

    def test_trailers(self) -> None:
        """A trailer section of the limit passes, one more byte does not."""
        fits = b"0\r\n" + b"A: b\r\n" * 100
        fits += b"C: " + b"d" * (MAX_TRAILERS - 600 - 3)
        self.assert_limit(fits + b"\r\n\r\n", fits + b"d\r\n\r\n", "trailers too long")

    def test_endless_lines(self) -> None:
        """Leading zeros and extensions without end are refused within the limit."""
        endless = (b"0" * 100_000, b"1;" + b"a" * 1_000_000, b"1" + b";a" * 500_000)
        for stream in (*endless, b'1;a="' + b"b" * 1_000_000, b" " * 1_000_000):
            self.assertTrue(refusal(lambda stream=stream: decode([stream])))
            decoder = ChunkedDecoder(MAX_LINE, MAX_TRAILERS)
            fed = 0
            try:
                for piece in one_by_one(stream):
                    fed += 1
                    decoder.feed(piece)
            except ChunkedError:
                pass
            self.assertEqual(fed, MAX_LINE + 2)

    def test_endless_trailers(self) -> None:
        """Trailers without end are refused within the limit, whole lines and unfinished ones."""
        for stream in (b"A: b\r\n" * 10_000, b"a" * 50_000):
            decoder = ChunkedDecoder(MAX_LINE, MAX_TRAILERS)
            decoder.feed(b"0\r\n")
            fed = 0
            try:
                for piece in one_by_one(stream):
                    fed += 1
                    decoder.feed(piece)
            except ChunkedError:
                pass
            self.assertEqual(fed, MAX_TRAILERS + 4)

    def test_many_long_lines(self) -> None:
        """The limit counts for each line, and many of them cost what their bytes cost."""
        line = b"1;" + b"a" * 4000 + b"\r\nb\r\n"
        started = time.process_time()
        content, done, _, _ = decode([line * 100 + LAST_CHUNK])
        self.assertEqual((content, done), (b"b" * 100, True))
        self.assertLess(time.process_time() - started, 0.5)

    def test_hard_lines(self) -> None:
        """Lines made to be hard on a regular expression are judged at once."""
        started = time.process_time()
        for line in (b";a" * 2000 + b";", b';a="' + b"\\a" * 2000, b";" + b" " * 4000 + b"\0"):
            self.assertTrue(refusal(lambda line=line: decode([b"1" + line + b"\r\n"])))
        trailer = b"A: x" + b" " * 16000 + b"x"
        self.assertTrue(decode([b"0\r\n" + trailer + b"\r\n\r\n"])[1])
        self.assertLess(time.process_time() - started, 0.2)


sizes = st.integers(0, 40)
quoted = st.text('a;,="\\ \t\r\n\xe9\0', max_size=6).map(
    lambda text: b'"' + text.replace("\\", "\\\\").replace('"', '\\"').encode("latin-1") + b'"'
)
extension_values = st.one_of(st.sampled_from([b"b", b"", b"c d", b"!~"]), quoted)
extensions = st.lists(
    st.one_of(
        st.just(b";a"),
        extension_values.map(lambda value: b";a=" + value),
        st.sampled_from([b";", b" ;a"]),
    ),
    max_size=2,
).map(b"".join)
chunks = st.builds(
    lambda size, extension: b"%x%b\r\n%b\r\n" % (size, extension, b"x" * size),
    st.integers(1, 40),
    extensions,
)
ends = st.sampled_from([b"0\r\n\r\n", b"0;a\r\n\r\n", b"0\r\nA: b\r\n\r\n", b"00\r\nA:b\r\n\r\n"])
pieces_ = st.sampled_from([b"5", b"\r\n", b"\n", b"\r", b";", b"a", b"=", b'"', b" ", b"0", b": "])


class FuzzTests(SynchronousTestCase):
    """Bodies of any kind."""

    @FUZZ
    @given(st.lists(chunks, max_size=4).map(b"".join), ends)
    def test_llhttp_reads_the_same(self, body: bytes, end: bytes) -> None:
        """What is accepted, llhttp accepts with the same content."""
        stream = body + end
        if refusal(lambda: decode([stream])):
            return
        content, done, rest, _ = decode([stream])
        heard = Heard(stream)
        self.assertEqual((heard.content, heard.done), (content, done))
        self.assertEqual(rest, b"")

    @FUZZ
    @given(st.lists(st.one_of(pieces_, chunks, ends, st.binary(max_size=4)), max_size=12))
    def test_any_bytes(self, parts: list[bytes]) -> None:
        """Any bytes are decoded or refused, alike however they are split."""
        stream = b"".join(parts)
        whole = refusal(lambda: decode([stream]))
        if not whole:
            self.assertEqual(decode(one_by_one(stream)), decode([stream]))
            self.assertEqual(decode(parts), decode([stream]))
        else:
            self.assertTrue(refusal(lambda: decode(one_by_one(stream))))
            self.assertTrue(refusal(lambda: decode(parts)))

    @FUZZ
    @given(
        st.lists(st.binary(min_size=1, max_size=50), max_size=5),
        st.lists(st.tuples(st.sampled_from([b"A", b"x-b"]), st.sampled_from([b"", b"c d"]))),
    )
    def test_encoded(self, contents: list[bytes], trailers: list[Field]) -> None:
        """What is encoded here decodes to the same."""
        stream = b"".join(map(chunk, contents)) + last_chunk(trailers)
        self.assertEqual(decode([stream]), (b"".join(contents), True, b"", trailers))


class EncoderTests(SynchronousTestCase):
    def test_chunks(self) -> None:
        """A chunk is its size in hexadecimal and its content."""
        self.assertEqual(chunk(b"a" * 26), b"1a\r\n" + b"a" * 26 + b"\r\n")
        self.assertEqual(last_chunk([]), LAST_CHUNK)
        self.assertEqual(last_chunk([(b"A", b"1"), (b"B", b"")]), b"0\r\nA: 1\r\nB: \r\n\r\n")
