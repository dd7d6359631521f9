"""Field lines: which are valid, and that remembering them changes nothing."""

from __future__ import annotations

import re

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from revproxy.errors import BadRequest, BadResponse
from revproxy.model.http import Field
from revproxy.wire import request_head as requests
from revproxy.wire import response_head as responses
from revproxy.wire.field_lines import (
    REMEMBERED_LINE_BYTES,
    REMEMBERED_LINES,
    FieldLine,
    FieldLineReader,
)
from revproxy.wire.fields import (
    CONTENT_LENGTH,
    DROPPED,
    HOST,
    ORDINARY,
    REQUEST_FIELDS,
    RESPONSE_FIELDS,
)
from tests.support.heads import request_head, response_head, values

FUZZ = settings(deadline=None, derandomize=True, max_examples=500)

FIELD_LINE = re.compile(rb"([!#$%&'*+\-.^_`|~0-9A-Za-z]+):([\t -~\x80-\xff]*)")
"""A field line of RFC 9112 5, said once more as the oracle."""

INVALID = (
    b" b",
    b"\tb: c",
    b" b: c",
    b"",
    b" ",
    b"A",
    b":",
    b": x",
    b":x: y",
    b"A : b",
    b"A\t: b",
    b"A B: c",
    b"(x): b",
    b"A\0: b",
    b"A: b\0",
    b"A: b\rC: d",
    b"A: b\nC: d",
    b"A: b\r",
    b"A: b\n",
    b"\nA: b",
    b"A: \x1b[0m",
    b"A: \x7f",
    b"\xc3\xa9: b",
    b'"A": b',
    b"A@B: c",
    b"{A}: b",
)

FRAMING = (
    b"Content-Length: 5",
    b"Content-Length: 6",
    b"content-length: 5 ",
    b"Content-Length:",
    b"Content-Length: +5",
    b"Content-Length: 5, 5",
    b"Transfer-Encoding: chunked",
    b"Transfer-Encoding: Chunked",
    b"Transfer-Encoding: gzip",
    b"Transfer-Encoding: gzip, chunked",
    b"Transfer-Encoding: x y",
    b"Connection: close",
    b"Connection: Upgrade",
    b"Upgrade: websocket",
    b"Host: other.test",
    b"Expect: 100-continue",
    b"Expect: nothing",
    b"X-Any: thing",
    b" folded",
    b"X-Bad : space",
)


LONG_LIVED = FieldLineReader(REQUEST_FIELDS)
"""Sees every example of the fuzz test, so that each meets what the earlier ones left behind."""


def read_by_itself(line: bytes) -> FieldLine:
    """A line as a reader sees it that has seen no other."""
    return FieldLineReader(REQUEST_FIELDS).read([line])[0]


def verdict(lines: tuple[bytes, ...], version: bytes, host: bytes | None) -> object:
    """What becomes of a request with ``lines``: its values, or the status that refuses it."""
    try:
        return values(request_head(*lines, version=version, host=host))
    except BadRequest as error:
        return error.status


def response_verdict(lines: tuple[bytes, ...], status_line: bytes) -> object:
    """What becomes of a response with ``lines``."""
    try:
        return values(response_head(*lines, status_line=status_line))
    except BadResponse as error:
        return error.reason


class ValidityTests(SynchronousTestCase):
    """Which lines are field lines."""

    def test_valid(self) -> None:
        """Names keep their case, values lose the white space around them and nothing else."""
        table: dict[bytes, tuple[int, Field]] = {
            b"A: b": (ORDINARY, (b"A", b"b")),
            b"a:b": (ORDINARY, (b"a", b"b")),
            b"A:": (ORDINARY, (b"A", b"")),
            b"A: \t ": (ORDINARY, (b"A", b"")),
            b"A:\t b\tc  \t": (ORDINARY, (b"A", b"b\tc")),
            b"A: b: c": (ORDINARY, (b"A", b"b: c")),
            b"A::": (ORDINARY, (b"A", b":")),
            b"A: \x80\xff": (ORDINARY, (b"A", b"\x80\xff")),
            b"!#$%&'*+-.^_`|~: 1": (DROPPED, (b"!#$%&'*+-.^_`|~", b"1")),
            b"hOsT: B": (HOST, (b"hOsT", b"B")),
            b"CONTENT-LENGTH: 5": (CONTENT_LENGTH, (b"CONTENT-LENGTH", b"5")),
        }
        reader = FieldLineReader(REQUEST_FIELDS)
        for line, expected in table.items():
            self.assertEqual(reader.read([line]), [expected], line)
        self.assertEqual(reader.read(list(table)), list(table.values()))

    def test_no_lines(self) -> None:
        """A head without fields is read."""
        self.assertEqual(FieldLineReader(REQUEST_FIELDS).read([]), [])

    def test_empty_values_stay_apart(self) -> None:
        """A field without a value does not run into the next one."""
        found = FieldLineReader(REQUEST_FIELDS).read([b"A:", b"B:", b"C: d", b"E: "])
        self.assertEqual(
            [field for _, field in found], [(b"A", b""), (b"B", b""), (b"C", b"d"), (b"E", b"")]
        )

    def test_invalid(self) -> None:
        """What is no field line is refused, at every place among valid and remembered lines."""
        known = FieldLineReader(REQUEST_FIELDS)
        known.read([b"X: 1", b"Y: 2"])
        for line in INVALID:
            companies = ([line], [b"X: 1", line], [line, b"X: 1"], [b"X: 1", line, b"Y: 2"])
            for lines in (*companies, [line, line]):
                for reader in (known, FieldLineReader(REQUEST_FIELDS)):
                    with self.assertRaises(ValueError, msg=lines):
                        reader.read(lines)

    def test_invalid_is_not_learned(self) -> None:
        """A refused head leaves nothing behind that would let its bad line pass later."""
        reader = FieldLineReader(REQUEST_FIELDS)
        for line in INVALID:
            for _ in range(3):
                with self.assertRaises(ValueError, msg=line):
                    reader.read([b"X: 1", line])

    def test_fold_after_remembered_line(self) -> None:
        """A folded line is refused behind every line that is known already."""
        reader = FieldLineReader(REQUEST_FIELDS)
        for first in (b"A: b", b"Content-Length: 5", b"Transfer-Encoding: chunked", b"A:"):
            reader.read([first])
            for fold in (b" b", b"\tb", b" ", b" b: c", b" , chunked"):
                with self.assertRaises(ValueError, msg=(first, fold)):
                    reader.read([first, fold])

    def test_names_that_look_framed(self) -> None:
        """Any name may begin with any letter: nothing is taken off but what was put there."""
        for name in (b"x", b"X", b"xx", b"xhost", b"xcontent-length", b"-", b"0"):
            self.assertEqual(read_by_itself(name + b": 1")[1], (name, b"1"))

    @FUZZ
    @given(
        st.lists(
            st.one_of(
                st.text("aX:-_ \t\r\n\0\x7f\xe9,5", max_size=8).map(lambda t: t.encode("latin-1")),
                st.binary(max_size=8),
                st.sampled_from(FRAMING),
            ),
            max_size=5,
        )
    )
    def test_against_the_grammar(self, lines: list[bytes]) -> None:
        """Any lines are read exactly as the grammar says, new and remembered, or refused."""
        matches = [FIELD_LINE.fullmatch(line) for line in lines]
        expected = [(match[1], match[2].strip(b" \t")) for match in matches if match]
        for reader in (FieldLineReader(REQUEST_FIELDS), LONG_LIVED):
            for _ in range(2):
                if None in matches:
                    with self.assertRaises(ValueError):
                        reader.read(lines)
                else:
                    self.assertEqual([field for _, field in reader.read(lines)], expected)


class MemoryTests(SynchronousTestCase):
    """What is remembered: a line read twice is then the same object."""

    def is_remembered(self, reader: FieldLineReader, line: bytes) -> bool:
        first, second = reader.read([line])[0], reader.read([line])[0]
        self.assertEqual(first, second)
        return first is second

    def test_ordinary(self) -> None:
        """An ordinary line is remembered, by its exact bytes."""
        reader = FieldLineReader(REQUEST_FIELDS)
        self.assertTrue(self.is_remembered(reader, b"Accept: */*"))
        self.assertEqual(reader.read([b"accept: */*"])[0][1], (b"accept", b"*/*"))
        self.assertEqual(reader.read([b"Accept:  */*"])[0][1], (b"Accept", b"*/*"))

    def test_credentials(self) -> None:
        """Lines that carry credentials are read anew each time, whatever their case."""
        for kinds in (REQUEST_FIELDS, RESPONSE_FIELDS):
            reader = FieldLineReader(kinds)
            for name in (b"Cookie", b"Set-Cookie", b"Authorization", b"Proxy-Authorization"):
                for spelling in (name, name.lower(), name.upper()):
                    line = spelling + b": secret"
                    self.assertFalse(self.is_remembered(reader, line), line)

    def test_long_lines(self) -> None:
        """A line of the limit is remembered, a longer one never."""
        reader = FieldLineReader(REQUEST_FIELDS)
        at_limit = b"A: " + b"b" * (REMEMBERED_LINE_BYTES - 3)
        self.assertTrue(self.is_remembered(reader, at_limit))
        self.assertFalse(self.is_remembered(reader, at_limit + b"b"))

    def test_many_lines(self) -> None:
        """More distinct lines than are remembered push the old ones out and read the same."""
        reader = FieldLineReader(REQUEST_FIELDS)
        first = reader.read([b"X-First: 1"])[0]
        for number in range(REMEMBERED_LINES - 1):
            reader.read([b"X-Number: %d" % number])
        self.assertIs(reader.read([b"X-First: 1"])[0], first)
        reader.read([b"X-One: more"])
        again = reader.read([b"X-First: 1"])[0]
        self.assertIsNot(again, first)
        self.assertEqual(again, first)

    def test_many_lines_in_few_heads(self) -> None:
        """Heads during which the memory is cleared are read whole and in order."""
        reader = FieldLineReader(REQUEST_FIELDS)
        lines = [b"X-%d: %d" % (number, number) for number in range(5000)]
        for at in range(0, len(lines), 100):
            head = [b"Accept: */*", *lines[at : at + 100]]
            expected = [tuple(line.split(b": ")) for line in head]
            for _ in range(2):
                self.assertEqual([field for _, field in reader.read(head)], expected)

    def test_directions_apart(self) -> None:
        """What a line means in requests is not what it means in responses."""
        self.assertEqual(request_head(b"Server: a").fields, [(b"Server", b"a")])
        self.assertEqual(response_head(b"Server: a").fields, [])
        self.assertEqual(response_head(b"X_A: 1", b"Forwarded: b").fields[0], (b"X_A", b"1"))
        self.assertEqual(request_head(b"X_A: 1", b"Forwarded: b").fields, [])


class VerdictTests(SynchronousTestCase):
    """Lines that are remembered never change what becomes of a head."""

    def forget(self) -> None:
        """Begin with an empty memory, as a new process does."""
        self.patch(requests, "_lines", FieldLineReader(REQUEST_FIELDS))
        self.patch(responses, "_lines", FieldLineReader(RESPONSE_FIELDS))

    def test_pairs_of_requests(self) -> None:
        """Any two framing lines get one verdict: fresh, repeated, and after any other head."""
        contexts = ((b"HTTP/1.1", b"site.test"), (b"HTTP/1.0", b"site.test"), (b"HTTP/1.1", None))
        pairs = [(first, second) for first in FRAMING for second in FRAMING]
        fresh = {}
        for context in contexts:
            for lines in (*pairs, *[(line,) for line in FRAMING]):
                self.forget()
                fresh[lines, context] = verdict(lines, *context)
        self.forget()
        for _ in range(2):
            for (lines, context), expected in fresh.items():
                self.assertEqual(verdict(lines, *context), expected, (lines, context))

    def test_pairs_of_responses(self) -> None:
        """The same holds for responses."""
        pairs = [(first, second) for first in FRAMING for second in FRAMING]
        contexts = (b"HTTP/1.1 200 OK", b"HTTP/1.0 200 OK", b"HTTP/1.1 204 No Content")
        fresh = {}
        for context in contexts:
            for lines in pairs:
                self.forget()
                fresh[lines, context] = response_verdict(lines, context)
        self.forget()
        for _ in range(2):
            for (lines, context), expected in fresh.items():
                self.assertEqual(response_verdict(lines, context), expected, (lines, context))

    def test_valid_alone_invalid_together(self) -> None:
        """Lines that are each known and valid are refused in company that makes them invalid."""
        for line in (b"Content-Length: 5", b"Transfer-Encoding: chunked", b"X-Any: thing"):
            request_head(line)
        bad = (
            (b"Content-Length: 5", b"Content-Length: 5"),
            (b"Content-Length: 5", b"Transfer-Encoding: chunked"),
            (b"Transfer-Encoding: chunked", b"Content-Length: 5"),
            (b"Transfer-Encoding: chunked", b"Transfer-Encoding: chunked"),
            (b"Host: site.test",),
            (b"X-Any: thing", b" folded"),
        )
        for lines in bad:
            with self.assertRaises(BadRequest, msg=lines):
                request_head(*lines)
        with self.assertRaises(BadRequest):
            request_head(b"Transfer-Encoding: chunked", version=b"HTTP/1.0")
