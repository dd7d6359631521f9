"""The chunked transfer coding (RFC 9112 7.1), both ways.

Owns its framing with a bound on every line. Refuses to know which message it belongs to.

Written here and not left to llhttp, which has no limits of its own and reads a megabyte of chunk
extensions or leading zeros as willingly as an honest size; it is the oracle in the tests.
"""

from __future__ import annotations

import re
from enum import Enum

from revproxy.model.http import Field
from revproxy.wire.fields import TOKEN, trailer_fields

_QUOTED = rb'"(?:[\t !#-\[\]-~\x80-\xff]|\\[\t !-~\x80-\xff])*"'
_EXTENSION = rb";[ \t]*%b(?:=(?:%b|%b))?" % (TOKEN, TOKEN, _QUOTED)
_SIZE_LINE = re.compile(rb"([0-9A-Fa-f]{1,15})(?:%b)*" % _EXTENSION)
_PLAIN_SIZE = re.compile(rb"[0-9A-Fa-f]{1,15}")

CHUNKS_AT_ONCE = 128
"""Chunks taken apart in one go: a read full of one-byte chunks would hold up everybody else."""

LAST_CHUNK = b"0\r\n\r\n"
"""Ends a chunked body without trailers."""


class ChunkedError(ValueError):
    """The bytes are not a chunked body, or exceed its limits."""


class _Expect(Enum):
    SIZE = 1
    CONTENT = 2
    CONTENT_END = 3
    TRAILERS = 4
    NOTHING = 5


class ChunkedDecoder:
    """Takes a chunked body apart.

    Args:
        max_line: bytes of one chunk-size line with its extensions.
        max_trailers: bytes of the trailer section.

    Attributes:
        done: whether the body and its trailers are complete.
        rest: once done, the bytes that came after the body; before, what is to be fed again in
            a later turn, because it would take too long in one.
        trailers: once done, the trailer fields (RFC 9110 6.5), unfit ones left out.
    """

    __slots__ = ("_expect", "_left", "_max_line", "_max_trailers", "_partial", "done", "rest",
                 "trailers")  # fmt: skip

    def __init__(self, max_line: int, max_trailers: int) -> None:
        self._max_line = max_line
        self._max_trailers = max_trailers
        self._expect = _Expect.SIZE
        self._left = 0
        self._partial = b""
        self.done = False
        self.rest = b""
        self.trailers: list[Field] = []

    def feed(self, received: bytes) -> bytes:
        """Take the next bytes of the connection; returns the body's bytes among them.

        Raises:
            ChunkedError: the body is invalid; nothing after it can be trusted.
        """
        if self._partial:
            received = self._partial + received
            self._partial = b""
        self.rest = b""
        pieces: list[bytes] = []
        at = 0
        while not self.done and len(pieces) < CHUNKS_AT_ONCE:
            if self._expect is _Expect.CONTENT:
                piece = received[at : at + self._left]
                pieces.append(piece)
                at += len(piece)
                self._left -= len(piece)
                if self._left:
                    return pieces[0] if len(pieces) == 1 else b"".join(pieces)
                self._expect = _Expect.CONTENT_END
            else:
                after = self._line(received, at)
                if after < 0:
                    self._partial = received[at:]
                    break
                at = after
        if self.done or len(pieces) == CHUNKS_AT_ONCE:
            self.rest = received[at:]
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    def _line(self, received: bytes, at: int) -> int:
        """Read what is expected at ``at``: the position after it, or -1 for more bytes."""
        if self._expect is _Expect.SIZE:
            return self._size_line(received, at)
        if self._expect is _Expect.CONTENT_END:
            end = received[at : at + 2]
            if end == b"\r\n":
                self._expect = _Expect.SIZE
                return at + 2
            if end not in (b"", b"\r"):
                raise ChunkedError("chunk longer than its size")
            return -1
        return self._trailer_section(received, at)

    def _size_line(self, received: bytes, at: int) -> int:
        end = received.find(b"\r\n", at, at + self._max_line + 2)
        if end < 0:
            if len(received) - at > self._max_line + 1:
                raise ChunkedError("chunk-size line too long")
            if b"\n" in received[at:]:
                raise ChunkedError("bare line feed in a chunk-size line")
            return -1
        line = received[at:end]
        if _PLAIN_SIZE.fullmatch(line):
            self._left = int(line, 16)
        else:
            match = _SIZE_LINE.fullmatch(line)
            if match is None:
                raise ChunkedError("invalid chunk-size line")
            self._left = int(match[1], 16)
        self._expect = _Expect.CONTENT if self._left else _Expect.TRAILERS
        return end + 2

    def _trailer_section(self, received: bytes, at: int) -> int:
        if received.startswith(b"\r\n", at):
            self._expect, self.done = _Expect.NOTHING, True
            return at + 2
        end = received.find(b"\r\n\r\n", at, at + self._max_trailers + 4)
        if end < 0:
            if len(received) - at > self._max_trailers + 3:
                raise ChunkedError("trailers too long")
            if received.count(b"\n", at) != received.count(b"\r\n", at):
                raise ChunkedError("bare line feed in the trailers")
            return -1
        try:
            self.trailers = trailer_fields(received[at : end + 2])
        except ValueError as error:
            raise ChunkedError(str(error)) from None
        self._expect, self.done = _Expect.NOTHING, True
        return end + 4


def chunk(content: bytes) -> bytes:
    """``content``, at least one byte, as one chunk."""
    return b"%x\r\n%b\r\n" % (len(content), content)


def last_chunk(trailers: list[Field]) -> bytes:
    """The end of a chunked body, with its trailer section."""
    if not trailers:
        return LAST_CHUNK
    return b"0\r\n%b\r\n" % b"".join([b"%b: %b\r\n" % field for field in trailers])
