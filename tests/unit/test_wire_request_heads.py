"""Finding heads in a stream: limits, and the same verdict however the bytes come in."""

from __future__ import annotations

import time
from itertools import pairwise
from typing import Any

from attrs import evolve
from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from revproxy.errors import BadRequest
from revproxy.model.configuration import Limits
from revproxy.model.http import RequestHead
from revproxy.wire.request_heads import MAX_EMPTY_LINES, RequestHeads
from tests.support.heads import request_bytes, values

FUZZ = settings(deadline=None, derandomize=True, max_examples=300)

SMALL = evolve(Limits(), request_head_bytes=200, request_target_bytes=40, request_headers=5)


def read_all(pieces: list[bytes], limits: Limits = SMALL) -> tuple[list[Any], bytes]:
    """The heads in a stream that comes in pieces, then a refusal's status; and what is left."""
    heads = RequestHeads(limits)
    found: list[Any] = []
    stream = b""
    for piece in pieces:
        stream += piece
        try:
            while (head := heads.read(stream)) is not None:
                found.append(values(head))
                stream = heads.rest
            stream = heads.rest
        except BadRequest as error:
            return [*found, error.status], b""
    return found, stream


def one_by_one(stream: bytes) -> list[bytes]:
    return [stream[at : at + 1] for at in range(len(stream))]


class StreamTests(SynchronousTestCase):
    """Heads in a stream."""

    def read(self, heads: RequestHeads, stream: bytes) -> RequestHead:
        head = heads.read(stream)
        assert head is not None
        return head

    def test_one_head(self) -> None:
        """A head ends at its empty line, and what follows is left alone."""
        heads = RequestHeads(SMALL)
        head = self.read(heads, request_bytes(b"Content-Length: 3") + b"abc\nGET\0")
        self.assertEqual(head.content_length, 3)
        self.assertEqual(heads.rest, b"abc\nGET\0")

    def test_pipelined(self) -> None:
        """Heads that come together are read one after the other."""
        stream = b"".join([request_bytes(target=b"/%d" % number) for number in range(50)])
        found, rest = read_all([stream])
        self.assertEqual([head["target"] for head in found], [b"/%d" % n for n in range(50)])
        self.assertEqual(rest, b"")

    def test_begun(self) -> None:
        """A head has begun with its first byte, not with empty lines before it."""
        heads = RequestHeads(SMALL)
        self.assertIsNone(heads.read(b""))
        self.assertFalse(heads.begun)
        self.assertIsNone(heads.read(b"\r\n"))
        self.assertFalse(heads.begun)
        self.assertIsNone(heads.read(b"G"))
        self.assertTrue(heads.begun)
        self.read(heads, request_bytes())
        self.assertFalse(heads.begun)

    def test_empty_lines(self) -> None:
        """A few empty lines before a request line are forgiven, more are not."""
        forgiven = b"\r\n" * MAX_EMPTY_LINES
        for split in (lambda stream: [stream], one_by_one):
            found, _ = read_all(split(forgiven + request_bytes()))
            self.assertEqual([head["target"] for head in found], [b"/"])
            self.assertEqual(read_all(split(forgiven + b"\r\n"))[0], [400])
            found, _ = read_all(split((forgiven + request_bytes()) * 3))
            self.assertEqual([head["target"] for head in found], [b"/"] * 3)


class LimitTests(SynchronousTestCase):
    """What is too large."""

    def assert_read(self, pieces: list[bytes], number: int = 1, limits: Limits = SMALL) -> None:
        found, rest = read_all(pieces, limits)
        self.assertEqual(([type(head) for head in found], rest), ([dict] * number, b""), pieces)

    def head_of(self, size: int) -> bytes:
        base = request_bytes(b"A: ")
        return request_bytes(b"A: " + b"a" * (size - len(base)))

    def test_head(self) -> None:
        """A head of the limit passes, one more byte is 431, in one piece and byte by byte."""
        limit = SMALL.request_head_bytes
        for split in (lambda stream: [stream], one_by_one):
            self.assert_read(split(self.head_of(limit)))
            self.assertEqual(read_all(split(self.head_of(limit + 1)))[0], [431])
            self.assertEqual(read_all(split(self.head_of(limit * 3)))[0], [431])

    def test_unfinished_head(self) -> None:
        """A head that never ends is refused as soon as it can no longer fit."""
        heads = RequestHeads(SMALL)
        part = self.head_of(SMALL.request_head_bytes + 1)
        self.assertIsNone(heads.read(part[: SMALL.request_head_bytes - 1]))
        error = self.assertRaises(BadRequest, heads.read, part[: SMALL.request_head_bytes])
        self.assertEqual(error.status, 431)

    def test_pipelined_head_has_the_whole_limit(self) -> None:
        """What came before does not count for the next head."""
        stream = self.head_of(SMALL.request_head_bytes) * 3
        self.assert_read([stream], 3)

    def test_target(self) -> None:
        """A target of the limit passes and a longer one is 414, wherever the bytes are split."""
        limit = SMALL.request_target_bytes
        whole = request_bytes(target=b"/".ljust(limit, b"a"))
        longer = request_bytes(target=b"/".ljust(limit + 1, b"a"))
        for at in range(len(longer)):
            self.assert_read([whole[:at], whole[at:]])
            self.assertEqual(read_all([longer[:at], longer[at:]])[0], [414], at)

    def test_endless_target(self) -> None:
        """A target without end is 414 before its head could be 431."""
        heads = RequestHeads(SMALL)
        error = self.assertRaises(BadRequest, heads.read, b"GET /" + b"a" * 100)
        self.assertEqual(error.status, 414)

    def test_fields(self) -> None:
        """As many fields as the limit pass, one more is 431."""
        self.assert_read([request_bytes(*[b"A: 1"] * 4)])
        self.assertEqual(read_all([request_bytes(*[b"A: 1"] * 5)])[0], [431])

    def test_byte_by_byte(self) -> None:
        """The largest head byte by byte costs little."""
        stream = request_bytes(*[b"A%d: " % number + b"a" * 300 for number in range(100)])
        started = time.process_time()
        self.assert_read(one_by_one(stream), limits=Limits())
        self.assertLess(time.process_time() - started, 2.0)


class StrangerTests(SynchronousTestCase):
    """What will never be a head is refused before it is complete."""

    def test_strangers(self) -> None:
        """Other protocols and bare line feeds are refused at once."""
        for part in (b"\x16\x03\x01\x02\x00", b"\0", b" GET", b"\rG", b"GET / HTTP/1.1\n", b"\n"):
            self.assertEqual(read_all([part])[0], [400], part)
        self.assertEqual(read_all([b"GET / HTTP/1.1\r\nHost: a\n"])[0], [400])

    def test_complete_with_bare_endings(self) -> None:
        """A bare CR or LF is no line's end in a complete head either."""
        for ending in (b"\n", b"\r", b"\r\r\n", b"\n\r\n", b"\r \n"):
            stream = b"GET / HTTP/1.1\r\nHost: a%bX: b\r\n\r\n" % ending
            self.assertEqual(read_all([stream])[0], [400], ending)
            stream = b"GET / HTTP/1.1%bHost: a\r\n\r\n" % ending
            self.assertEqual(read_all([stream])[0], [400], ending)


HEADS = (
    request_bytes(),
    request_bytes(b"Content-Length: 0", b"A: b", method=b"POST", target=b"/a?b"),
    request_bytes(b"Connection: close, a", b"A: b", version=b"HTTP/1.0"),
    b"\r\n" + request_bytes(b"Cookie: secret", b"X-Forwarded-For: 192.0.2.1"),
    request_bytes(target=b"http://other.test/", host=b"A:80"),
)
REFUSED = (
    (request_bytes(b" folded"), 400),
    (request_bytes(b"Content-Length: x"), 400),
    (request_bytes(b"Transfer-Encoding: gzip"), 501),
    (request_bytes(b"Expect: x"), 417),
    (request_bytes(version=b"HTTP/2.0"), 505),
    (request_bytes(host=None), 400),
    (request_bytes(b"A: b\nC: d"), 400),
    (request_bytes(b"Host: a"), 400),
    (request_bytes(target=b"/" + b"a" * 60), 414),
    (request_bytes(*[b"A: 1"] * 8), 431),
)


class SplitTests(SynchronousTestCase):
    """However the bytes come in, the verdict is the same."""

    def test_every_byte(self) -> None:
        """Streams split at every byte, and into single bytes, give the same heads."""
        for stream in (*HEADS, b"".join(HEADS)):
            whole = read_all([stream])
            self.assertTrue(all(isinstance(head, dict) for head in whole[0]), stream)
            for at in range(len(stream)):
                self.assertEqual(read_all([stream[:at], stream[at:]]), whole, at)
            self.assertEqual(read_all(one_by_one(stream)), whole)

    def test_refusals(self) -> None:
        """The same holds for what is refused, behind a valid request."""
        for section, status in REFUSED:
            stream = request_bytes() + section
            self.assertEqual(read_all([stream])[0][1:], [status], section)
            for at in range(len(stream)):
                self.assertEqual(read_all([stream[:at], stream[at:]])[0][1:], [status], at)
            self.assertEqual(read_all(one_by_one(stream))[0][1:], [status], section)

    @FUZZ
    @given(
        st.lists(
            st.one_of(
                st.sampled_from([*HEADS, *[section for section, _ in REFUSED], b"\r\n", b"\n"]),
                st.binary(max_size=6),
            ),
            max_size=4,
        ),
        st.lists(st.integers(0, 400), max_size=5),
    )
    def test_any_stream(self, parts: list[bytes], cuts: list[int]) -> None:
        """Any stream, cut anywhere, gives the same heads and is refused or not alike."""
        stream = b"".join(parts)
        edges = [0, *sorted(min(cut, len(stream)) for cut in cuts), len(stream)]
        pieces = [stream[a:b] for a, b in pairwise(edges)]
        whole, rest = read_all([stream])
        for split in (pieces, one_by_one(stream)):
            found, left = read_all(split)
            heads = [head for head in whole if isinstance(head, dict)]
            self.assertEqual([head for head in found if isinstance(head, dict)], heads)
            self.assertEqual(len(found), len(whole))
            self.assertEqual(left, rest)
