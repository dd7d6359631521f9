"""What field names mean, lists of tokens, and trailer sections."""

from __future__ import annotations

import time

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from revproxy.wire.fields import (
    CLIENT_ADDRESS,
    CONNECTION,
    CONTENT_LENGTH,
    DATE,
    DROPPED,
    EXPECT,
    FORWARDED_FOR,
    HOST,
    MAX_FORWARDS,
    ORDINARY,
    REMEMBERED_NAME_BYTES,
    REMEMBERED_NAMES,
    REQUEST_FIELDS,
    REQUEST_ID,
    RESPONSE_FIELDS,
    TE,
    TRANSFER_ENCODING,
    UPGRADE,
    FieldKinds,
    has_bare_line_feed,
    has_valid_bytes,
    is_token_list,
    tokens,
    trailer_fields,
)

FUZZ = settings(deadline=None, derandomize=True, max_examples=300)

HOP_BY_HOP = (
    b"keep-alive",
    b"proxy-connection",
    b"proxy-authorization",
    b"proxy-authenticate",
    b"proxy-authentication-info",
    b"trailer",
    b"http2-settings",
)
FRAMING = {
    b"connection": CONNECTION,
    b"content-length": CONTENT_LENGTH,
    b"transfer-encoding": TRANSFER_ENCODING,
    b"upgrade": UPGRADE,
}


class KindTests(SynchronousTestCase):
    """Names of request and response fields."""

    def test_both_directions(self) -> None:
        """Framing and hop-by-hop fields are told apart in requests and responses alike."""
        for kinds in (REQUEST_FIELDS, RESPONSE_FIELDS):
            for name, kind in FRAMING.items():
                self.assertEqual(kinds.of(name)[0], kind, name)
            for name in HOP_BY_HOP:
                self.assertEqual(kinds.of(name)[0], DROPPED, name)

    def test_requests(self) -> None:
        """What only the proxy may say is dropped, what it reads itself has a kind of its own."""
        expected = {
            b"host": HOST,
            b"expect": EXPECT,
            b"te": TE,
            b"max-forwards": MAX_FORWARDS,
            b"x-forwarded-for": FORWARDED_FOR,
            b"x-client-ip": CLIENT_ADDRESS,
            b"true-client-ip": CLIENT_ADDRESS,
            b"cf-connecting-ip": CLIENT_ADDRESS,
            b"x-request-id": REQUEST_ID,
            b"proxy": DROPPED,
            b"forwarded": DROPPED,
            b"x-real-ip": DROPPED,
            b"x-forwarded-": DROPPED,
            b"x-forwarded-host": DROPPED,
            b"x-forwarded-proto": DROPPED,
            b"x-forwarded-for-anything": DROPPED,
            b"x-forwarde": ORDINARY,
            b"forwarded-for": ORDINARY,
            b"proxy-status": ORDINARY,
            b"cookie": ORDINARY,
            b"date": ORDINARY,
            b"server": ORDINARY,
        }
        for name, kind in expected.items():
            self.assertEqual(REQUEST_FIELDS.of(name)[0], kind, name)

    def test_confusable_names(self) -> None:
        """A request field whose name CGI could take for another one is dropped."""
        names = (b"x_real_ip", b"x_forwarded_for", b"content_length", b"remote_user", b"_", b"a.b")
        for name in (*names, b"a!", b"x-real-ip'", b"host~", b"a|b", b"x-api_key"):
            self.assertEqual(REQUEST_FIELDS.of(name)[0], DROPPED, name)

    def test_responses(self) -> None:
        """Of a response Server goes, Date is noted, and unusual names pass."""
        expected = {
            b"server": DROPPED,
            b"te": DROPPED,
            b"date": DATE,
            b"set-cookie": ORDINARY,
            b"x_custom": ORDINARY,
            b"x-forwarded-host": ORDINARY,
            b"host": ORDINARY,
            b"expect": ORDINARY,
        }
        for name, kind in expected.items():
            self.assertEqual(RESPONSE_FIELDS.of(name)[0], kind, name)

    def test_case(self) -> None:
        """Case means nothing, the first time a name is seen and later."""
        for name in (b"content-length", b"x-forwarded-for", b"cookie", b"x_a", b"accept"):
            expected = REQUEST_FIELDS.of(name)
            for spelling in (name.upper(), name.title(), name.swapcase()):
                for _ in range(2):
                    self.assertEqual(REQUEST_FIELDS.of(spelling), expected, spelling)

    def test_credentials(self) -> None:
        """Names whose values are credentials are known as such, in any case."""
        for kinds in (REQUEST_FIELDS, RESPONSE_FIELDS):
            for name in (b"Cookie", b"set-cookie", b"AUTHORIZATION", b"Proxy-Authorization"):
                self.assertTrue(kinds.of(name)[1], name)
            for name in (b"Accept", b"Cookie2", b"WWW-Authenticate"):
                self.assertFalse(kinds.of(name)[1], name)

    def test_many_names(self) -> None:
        """More names than are remembered, and longer ones, are classified all the same."""
        kinds = FieldKinds({b"host": HOST}, b"x-forwarded-", plain_names=True)
        for number in range(REMEMBERED_NAMES + 100):
            self.assertEqual(kinds.of(b"Name-%d" % number), (ORDINARY, False))
        long = b"X-Forwarded-" + b"a" * REMEMBERED_NAME_BYTES
        for name, kind in ((b"Host", HOST), (long, DROPPED), (b"a_b", DROPPED)):
            for _ in range(2):
                self.assertEqual(kinds.of(name), (kind, False), name)


class ListTests(SynchronousTestCase):
    """Lists of tokens, and bytes that may not be there."""

    def test_tokens(self) -> None:
        """Elements are lower-cased, without white space, parameters and empty ones."""
        table: tuple[tuple[list[bytes], set[bytes]], ...] = (
            ([], set()),
            ([b""], set()),
            ([b" , ,\t,"], set()),
            ([b"Close"], {b"close"}),
            ([b"keep-alive,\tX-Api-Key ,close"], {b"keep-alive", b"x-api-key", b"close"}),
            ([b"close", b"TE"], {b"close", b"te"}),
            ([b"trailers;q=0.5, gzip ; q=1"], {b"trailers", b"gzip"}),
            ([b";q=1"], set()),
        )
        for given_values, expected in table:
            self.assertEqual(tokens(given_values), expected, given_values)

    def test_token_list(self) -> None:
        """Only tokens with commas between them are a list."""
        for value in (b"chunked", b"gzip, chunked", b" gzip\t,chunked ", b"a,b,c", b"!#$%"):
            self.assertTrue(is_token_list(value), value)
        bad = (b"", b" ", b",", b",a", b"a,", b"a,,b", b"a b", b"a;q=1", b'"a"', b"a\x0b", b"\xe9")
        for value in bad:
            self.assertFalse(is_token_list(value), value)

    def test_long_lists(self) -> None:
        """A long value is judged in time that grows with its length only."""
        started = time.process_time()
        for value in (b"a," * 16000 + b"@", b" " * 32000 + b"@", b"a" + b" " * 32000 + b"@"):
            self.assertFalse(is_token_list(value))
        self.assertLess(time.process_time() - started, 0.5)

    def test_valid_bytes(self) -> None:
        """No control character but HTAB may stand in a field line; bytes above 126 may."""
        refused = [byte for byte in range(256) if not has_valid_bytes(b"a: %c" % byte)]
        self.assertEqual(refused, [*range(9), *range(10, 32), 127])

    def test_bare_line_feed(self) -> None:
        """An LF without its CR is seen anywhere, and a CR that may yet get its LF is none."""
        for part in (b"", b"a", b"a\r", b"a\r\n", b"\r\n\r\n", b"a\r\r\n", b"\r"):
            self.assertFalse(has_bare_line_feed(part), part)
        for part in (b"\n", b"a\n", b"\r\n\n", b"\n\r\n", b"a\r \n"):
            self.assertTrue(has_bare_line_feed(part), part)


class TrailerTests(SynchronousTestCase):
    """Trailer sections."""

    def test_fields(self) -> None:
        """Fields keep their order, their case and their repetitions, less outer white space."""
        section = b"X-B: 1\r\nx-a:\t two words \t\r\nX-B:\r\nETag: \xe9\r\n"
        expected = [(b"X-B", b"1"), (b"x-a", b"two words"), (b"X-B", b""), (b"ETag", b"\xe9")]
        self.assertEqual(trailer_fields(section), expected)
        self.assertEqual(trailer_fields(b""), [])

    def test_forbidden(self) -> None:
        """Framing, routing, credentials and control are left out, whatever their case."""
        names = (
            *FRAMING,
            *HOP_BY_HOP,
            *(b"host", b"te", b"server", b"date", b"set-cookie", b"authorization"),
            *(b"www-authenticate", b"content-encoding", b"content-type", b"content-range"),
            *(b"cache-control", b"location", b"expect", b"age", b"vary"),
        )
        for name in names:
            for spelling in (name, name.upper(), name.title()):
                found = trailer_fields(b"A: 1\r\n%b: 1\r\nB: 2\r\n" % spelling)
                self.assertEqual(found, [(b"A", b"1"), (b"B", b"2")], spelling)

    def test_invalid(self) -> None:
        """A line that is no field line refuses the whole section, also for a forbidden name."""
        bad = (b"A", b"", b": 1", b"A : 1", b" A: 1", b"\tfold", b"A: \0", b"A: 1\n", b"A: \r1")
        for line in (*bad, b"\xe9: 1", b"A B: 1", b"Host\t: a", b"A: \x7f"):
            for section in (line + b"\r\n", b"X: 1\r\n" + line + b"\r\n"):
                with self.assertRaises(ValueError, msg=section):
                    trailer_fields(section)

    def test_long_value(self) -> None:
        """White space inside a value costs time that grows with its length only."""
        started = time.process_time()
        self.assertEqual(len(trailer_fields(b"A: x" + b" " * 16000 + b"x\r\n")), 1)
        self.assertLess(time.process_time() - started, 0.1)

    @FUZZ
    @given(st.lists(st.text("aA:- \t\r\n\0\xe9_", max_size=6).map(lambda t: t.encode("latin-1"))))
    def test_any_bytes(self, lines: list[bytes]) -> None:
        """Any bytes give fields that are safe to write, or a ValueError."""
        try:
            fields = trailer_fields(b"".join([line + b"\r\n" for line in lines]))
        except ValueError:
            return
        for name, value in fields:
            self.assertTrue(is_token_list(name) and b"," not in name)
            self.assertTrue(has_valid_bytes(value))
            self.assertEqual(value, value.strip(b" \t"))
