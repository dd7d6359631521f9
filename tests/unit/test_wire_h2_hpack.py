"""HPACK: the RFC's own examples, the hpack package as an oracle, and blocks that are none."""

from __future__ import annotations

import tracemalloc

import hpack
from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from revproxy.model.http import Field
from revproxy.wire.h2.hpack import (
    NO_TABLE,
    Decoder,
    HpackError,
    Line,
    encode_literal,
    static_lines,
)
from revproxy.wire.h2.hpack import _strings as known_strings
from revproxy.wire.h2.huffman import decode_huffman

FUZZ = settings(deadline=None, derandomize=True, max_examples=400)


def plain(name: bytes, value: bytes) -> Line:
    return 0, (name, value), len(name) + len(value) + 32


STATIC = static_lines(plain)


def decoder() -> Decoder:
    return Decoder(plain, STATIC)


def decoded(of: Decoder, block: bytes) -> list[Field]:
    return [line[1] for line in of.decode(block)]


REQUESTS: list[list[Field]] = [
    [
        (b":method", b"GET"),
        (b":scheme", b"http"),
        (b":path", b"/"),
        (b":authority", b"www.example.com"),
    ],
    [
        (b":method", b"GET"),
        (b":scheme", b"http"),
        (b":path", b"/"),
        (b":authority", b"www.example.com"),
        (b"cache-control", b"no-cache"),
    ],
    [
        (b":method", b"GET"),
        (b":scheme", b"https"),
        (b":path", b"/index.html"),
        (b":authority", b"www.example.com"),
        (b"custom-key", b"custom-value"),
    ],
]

PLAIN_BLOCKS = (
    "828684410f7777772e6578616d706c652e636f6d",
    "828684be58086e6f2d6361636865",
    "828785bf400a637573746f6d2d6b65790c637573746f6d2d76616c7565",
)
"""RFC 7541 C.3."""

HUFFMAN_BLOCKS = (
    "828684418cf1e3c2e5f23a6ba0ab90f4ff",
    "828684be5886a8eb10649cbf",
    "828785bf408825a849e95ba97d7f8925a849e95bb8e8b4bf",
)
"""RFC 7541 C.4."""


class VectorTests(SynchronousTestCase):
    """RFC 7541 appendix C."""

    def test_single_fields(self) -> None:
        """C.2: a literal with indexing, without, never indexed, and an indexed field."""
        for block, field in (
            ("400a637573746f6d2d6b65790d637573746f6d2d686561646572",
             (b"custom-key", b"custom-header")),
            ("040c2f73616d706c652f70617468", (b":path", b"/sample/path")),
            ("100870617373776f726406736563726574", (b"password", b"secret")),
            ("82", (b":method", b"GET")),
        ):  # fmt: skip
            self.assertEqual(decoded(decoder(), bytes.fromhex(block)), [field])

    def test_requests(self) -> None:
        """C.3 and C.4: three requests on one connection, without and with Huffman coding."""
        for blocks in (PLAIN_BLOCKS, HUFFMAN_BLOCKS):
            one = decoder()
            for block, fields in zip(blocks, REQUESTS, strict=True):
                self.assertEqual(decoded(one, bytes.fromhex(block)), fields)

    def test_integers(self) -> None:
        """C.1: 1337 with a prefix of 5 bits, as a table size."""
        self.assertEqual(decoded(decoder(), bytes.fromhex("3f9a0a82")), [(b":method", b"GET")])

    def test_eviction(self) -> None:
        """C.5: in a table of 256 bytes the oldest entries make way."""
        ours, theirs = decoder(), hpack.Encoder()
        theirs.header_table_size = 256
        for status, minute in ((b"302", b"21"), (b"307", b"21"), (b"200", b"22")):
            fields = [
                (b":status", status),
                (b"cache-control", b"private"),
                (b"date", b"Mon, 21 Oct 2013 20:13:%b GMT" % minute),
                (b"location", b"https://www.example.com"),
                (b"set-cookie", b"foo=ASDJKHQKBZXOQWEOPIUAXQWEOIU; max-age=3600; version=1"),
            ]
            self.assertEqual(decoded(ours, theirs.encode(fields)), fields)


class OracleTests(SynchronousTestCase):
    """Against the hpack package."""

    texts = st.sampled_from([b"", b"a", b"cookie", b":path", b"x" * 40, b"y" * 127, b"z" * 3000])
    fields = st.tuples(texts | st.binary(max_size=20), texts | st.binary(max_size=300))
    blocks = st.lists(
        st.tuples(
            st.lists(st.tuples(fields, st.booleans()), max_size=12),
            st.booleans(),
            st.none() | st.integers(0, 4096),
        ),
        max_size=6,
    )

    @FUZZ
    @given(blocks)
    def test_what_it_encodes(
        self, blocks: list[tuple[list[tuple[Field, bool]], bool, int | None]]
    ) -> None:
        """A connection's blocks decode to what went in, whatever becomes of the table."""
        theirs, ours = hpack.Encoder(), decoder()
        for fields, huffman, size in blocks:
            if size is not None:
                theirs.header_table_size = size
            block = theirs.encode([(*field, secret) for field, secret in fields], huffman=huffman)
            self.assertEqual(decoded(ours, block), [field for field, _ in fields])

    @FUZZ
    @given(st.lists(st.binary(max_size=60), max_size=4))
    def test_any_bytes(self, blocks: list[bytes]) -> None:
        """Any bytes at all are decoded alike, or refused by HpackError alone.

        Ours is the stricter one: the other takes integers of any length.
        """
        theirs, ours = hpack.Decoder(), decoder()
        for block in blocks:
            try:
                mine = decoded(ours, block)
            except HpackError:
                return
            other = [tuple(field) for field in theirs.decode(block, raw=True)]
            self.assertEqual(mine, other)

    @FUZZ
    @given(st.binary(max_size=40), st.binary(max_size=4))
    def test_huffman(self, text: bytes, end: bytes) -> None:
        """Every string comes back, and what has been added to it is refused alike."""
        coder = hpack.huffman.HuffmanEncoder(
            hpack.huffman_constants.REQUEST_CODES, hpack.huffman_constants.REQUEST_CODES_LENGTH
        )
        encoded = bytes(coder.encode(text))
        self.assertEqual(decode_huffman(encoded), text)
        for changed in (encoded + end, encoded + b"\xff", encoded[:-1] + end):
            try:
                expected = hpack.huffman_table.decode_huffman(changed)
            except hpack.HPACKDecodingError:
                self.assertRaises(ValueError, decode_huffman, changed)
            else:
                self.assertEqual(decode_huffman(changed), expected)

    @FUZZ
    @given(st.lists(fields, max_size=12))
    def test_what_we_encode(self, fields: list[Field]) -> None:
        """The other side reads what we write, and its table stays empty."""
        theirs = hpack.Decoder()
        theirs.max_allowed_table_size = 0
        block = NO_TABLE + b"".join([encode_literal(*field) for field in fields])
        self.assertEqual([tuple(f) for f in theirs.decode(block, raw=True)], fields)
        self.assertEqual(theirs.header_table_size, 0)

    def test_no_credential_is_remembered(self) -> None:
        """Strings are remembered as they are decoded, but not the values of credentials."""
        for name, remembered in (
            (b"x-kept", True),
            (b"authorization", False),
            (b"cookie", False),
            (b"proxy-authorization", False),
        ):
            value = b"the value of " + name
            for secret in (False, True):
                decoded(decoder(), hpack.Encoder().encode([(name, value, secret)]))
            self.assertEqual(value in known_strings.values(), remembered, name)

    def test_credentials(self) -> None:
        """Credentials are marked as never to be indexed (RFC 7541 7.1.3), others are not."""
        for name, marked in (
            (b"set-cookie", True),
            (b"authorization", True),
            (b"cookie", True),
            (b"proxy-authorization", True),
            (b"etag", False),
            (b"x-other", False),
        ):
            (field,) = hpack.Decoder().decode(encode_literal(name, b"x" * 200), raw=True)
            self.assertEqual(isinstance(field, hpack.NeverIndexedHeaderTuple), marked)


class RefusalTests(SynchronousTestCase):
    """Blocks that are no HPACK."""

    def test_refused(self) -> None:
        """Each way to be wrong is a HpackError."""
        for block, reason in (
            ("80", "index 0"),
            ("be", "an index beyond the table"),
            ("ff0a", "the same, in two bytes"),
            ("ffffffffffffffff7f", "an integer of more than 32 bits"),
            ("ff8080808080808000", "an integer of too many bytes"),
            ("ff80", "an integer that does not end"),
            ("40", "no name"),
            ("400161", "no value"),
            ("40016105", "a value that is cut"),
            ("400161" + "82ffff", "a value that is all padding"),
            ("400161" + "81ff", "padding of 8 bits"),
            ("400161" + "8100", "padding of zeros"),
            ("400161" + "84ffffffff", "the end of string in a string"),
            ("3fe21f", "a table larger than offered"),
            ("8220", "a table size after a field"),
            ("7fffffffffffffffff7f", "an index that overflows"),
            ("007fffffffff7f", "a length that overflows"),
        ):
            with self.assertRaises(HpackError, msg=reason):
                decoder().decode(bytes.fromhex(block))

    def test_every_cut(self) -> None:
        """A block that ends within a field is refused, wherever."""
        whole = bytes.fromhex("400a637573746f6d2d6b65790c637573746f6d2d76616c7565")
        for end in range(1, len(whole)):
            self.assertRaises(HpackError, decoder().decode, whole[:end])

    def test_table_size_twice(self) -> None:
        """The least size and the last one may both be told before the first field."""
        one = decoder()
        decoded(one, bytes.fromhex("400161" + "0162"))
        self.assertEqual(decoded(one, bytes.fromhex("203fe11f82")), [(b":method", b"GET")])
        self.assertRaises(HpackError, one.decode, b"\xbe")

    def test_entry_larger_than_the_table(self) -> None:
        """It empties the table and does not enter it (RFC 7541 4.4)."""
        one = decoder()
        decoded(one, bytes.fromhex("400161" + "0162"))
        self.assertEqual(decoded(one, b"\xbe"), [(b"a", b"b")])
        one.decode(b"\x40\x01c\x7f\xff\x1f" + b"d" * (0x7F + 0x7F + (0x1F << 7)))
        self.assertRaises(HpackError, one.decode, b"\xbe")

    def test_bomb(self) -> None:
        """A block that names one large entry 65 000 times costs no copy of it.

        It stands for 260 MB, and less than 1 MiB is held.
        """
        one = decoder()
        one.decode(b"\x40\x01a\x7f\xa1\x1e" + b"x" * (0x7F + 0x21 + (0x1E << 7)))
        tracemalloc.start()
        self.addCleanup(tracemalloc.stop)
        lines = one.decode(b"\xbe" * 65000)
        _, peak = tracemalloc.get_traced_memory()
        self.assertGreater(sum(line[2] for line in lines), 250_000_000)
        self.assertLess(peak, 1024 * 1024)
