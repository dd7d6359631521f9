"""The ClientHello parser, against OpenSSL's hellos and hand-made ones."""

from __future__ import annotations

import ssl
from struct import pack

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from revproxy.model.tls import ClientHello
from revproxy.wire.client_hello import (
    DECODE_ERROR,
    ILLEGAL_PARAMETER,
    MAX_RECORDS,
    PROTOCOL_VERSION,
    UNEXPECTED_MESSAGE,
    BadClientHello,
    NotTls,
    parse_client_hello,
)

FUZZ = settings(deadline=None, derandomize=True, max_examples=300)
SUPPORTED_VERSIONS = 43
KEY_SHARE = 51


def openssl_hello(
    name: str | None, alpn: list[str] | None = None, version: ssl.TLSVersion | None = None
) -> bytes:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    if alpn:
        context.set_alpn_protocols(alpn)
    if version:
        context.maximum_version = version
    outgoing = ssl.MemoryBIO()
    downstream = context.wrap_bio(ssl.MemoryBIO(), outgoing, server_hostname=name)
    try:
        downstream.do_handshake()
    except ssl.SSLWantReadError:
        return outgoing.read()
    raise AssertionError("a handshake without a peer")


def extension(number: int, content: bytes) -> bytes:
    return pack(">HH", number, len(content)) + content


def server_name(name: bytes) -> bytes:
    entry = b"\0" + pack(">H", len(name)) + name
    return extension(0, pack(">H", len(entry)) + entry)


def alpn(*names: bytes) -> bytes:
    listed = b"".join(bytes([len(name)]) + name for name in names)
    return extension(16, pack(">H", len(listed)) + listed)


def message(
    extensions: bytes | None = b"",
    *,
    version: bytes = b"\3\3",
    session_id: bytes = bytes(32),
    suites: bytes = b"\x13\1\x13\2",
    compression: bytes = b"\0",
) -> bytes:
    body = (
        version
        + bytes(32)
        + bytes([len(session_id)])
        + session_id
        + pack(">H", len(suites))
        + suites
        + bytes([len(compression)])
        + compression
    )
    if extensions is not None:
        body += pack(">H", len(extensions)) + extensions
    return b"\1" + len(body).to_bytes(3, "big") + body


def record(fragment: bytes) -> bytes:
    return b"\x16\3\1" + pack(">H", len(fragment)) + fragment


def hello(*extensions: bytes) -> bytes:
    return record(message(b"".join(extensions)))


POST_QUANTUM = (
    extension(0x0A0A, b""),
    server_name(b"git.example.com"),
    extension(23, b""),
    extension(10, b"\0\6\x5a\x5a\x11\xec\0\x1d"),
    alpn(b"h2", b"http/1.1"),
    extension(SUPPORTED_VERSIONS, b"\4\3\4\3\3"),
    extension(KEY_SHARE, pack(">H", 3000) + bytes(3000)),
    extension(0x7A7A, b"\0"),
)


class OpenSSLHelloTests(SynchronousTestCase):
    """Hellos as Python's own TLS sends them."""

    def test_tls_1_3(self) -> None:
        """Name and protocols of a TLS 1.3 hello are found."""
        found = parse_client_hello(openssl_hello("git.example.com", ["h2", "http/1.1"]))
        self.assertEqual(found, ClientHello("git.example.com", (b"h2", b"http/1.1")))

    def test_tls_1_2(self) -> None:
        """A hello that offers no more than TLS 1.2 is read alike."""
        sent = openssl_hello("git.example.com", ["http/1.1"], ssl.TLSVersion.TLSv1_2)
        self.assertEqual(parse_client_hello(sent), ClientHello("git.example.com", (b"http/1.1",)))

    def test_without_name(self) -> None:
        """A hello without server_name and ALPN has an empty name and no protocols."""
        self.assertEqual(parse_client_hello(openssl_hello(None)), ClientHello())

    def test_every_prefix(self) -> None:
        """Every proper prefix of a hello asks for more."""
        for sent in (openssl_hello("a.example.com", ["h2"]), hello(*POST_QUANTUM)):
            for end in range(len(sent)):
                self.assertIsNone(parse_client_hello(sent[:end]))


class RecordTests(SynchronousTestCase):
    """How a hello is put together from records."""

    expected = ClientHello("git.example.com", (b"h2", b"http/1.1"))

    def refused(self, sent: bytes, reason: str, alert: int, limit: int = 16384) -> None:
        with self.assertRaisesRegex(BadClientHello, reason) as caught:
            parse_client_hello(sent, limit)
        self.assertEqual(caught.exception.alert, alert)

    def test_post_quantum(self) -> None:
        """A hello of 3 KiB with unknown extensions is read."""
        self.assertEqual(parse_client_hello(hello(*POST_QUANTUM)), self.expected)

    def test_three_records(self) -> None:
        """A hello may span records, the first of one byte, and any prefix asks for more."""
        whole = message(b"".join(POST_QUANTUM))
        sent = record(whole[:1]) + record(whole[1:700]) + record(whole[700:])
        for end in range(len(sent)):
            self.assertIsNone(parse_client_hello(sent[:end]))
        self.assertEqual(parse_client_hello(sent), self.expected)

    def test_every_split_in_two_records(self) -> None:
        """Where the records divide the message does not matter."""
        whole = message(server_name(b"git.example.com") + alpn(b"h2", b"http/1.1"))
        for at in range(1, len(whole)):
            sent = record(whole[:at]) + record(whole[at:])
            self.assertEqual(parse_client_hello(sent), self.expected)

    def test_bytes_after_the_hello(self) -> None:
        """What follows the hello's last record is left to others."""
        sent = hello(*POST_QUANTUM) + b"\x14\3\3\0\1\1" + bytes(30000)
        self.assertEqual(parse_client_hello(sent), self.expected)

    def test_not_tls(self) -> None:
        """Plain HTTP, SSL 2.0 and an alert are told apart at their first bytes."""
        for sent in (b"G", b"GET / HTTP/1.1\r\n", b"\x80\x2e\1", b"\x15\3\1\0\2\2\x28", b"\x16\2"):
            with self.assertRaises(NotTls):
                parse_client_hello(sent)

    def test_other_message(self) -> None:
        """Another handshake message is refused at its first byte."""
        self.refused(b"\x16\3\1\0\x04\2", "no ClientHello", UNEXPECTED_MESSAGE)

    def test_record_lengths(self) -> None:
        """An empty record and one over 2^14 bytes are refused before they arrive."""
        self.refused(b"\x16\3\1\0\0", "length", DECODE_ERROR)
        self.refused(b"\x16\3\1\x40\1", "length", DECODE_ERROR)

    def test_interrupted(self) -> None:
        """A record of another type within the hello is refused."""
        sent = record(message()[:20]) + b"\x17\3\3\0\1x"
        self.refused(sent, "interrupted", UNEXPECTED_MESSAGE)

    def test_bytes_after_the_message(self) -> None:
        """A second message in the hello's last record is refused."""
        self.refused(record(message() + b"\1"), "follow", UNEXPECTED_MESSAGE)

    def test_limit(self) -> None:
        """A hello of exactly the limit passes; one byte over is refused once it is announced."""
        sent = hello(*POST_QUANTUM)
        self.assertEqual(parse_client_hello(sent, len(sent)), self.expected)
        self.refused(sent, "over the limit", DECODE_ERROR, len(sent) - 1)
        self.refused(sent[:9], "over the limit", DECODE_ERROR, len(sent) - 1)

    def test_limit_counts_record_headers(self) -> None:
        """Small records cannot stretch what is buffered beyond the limit."""
        whole = message(b"".join(POST_QUANTUM))
        sent = record(whole[:10]) + record(whole[10:20]) + record(whole[20:])
        self.assertEqual(parse_client_hello(sent, len(sent)), self.expected)
        self.refused(sent, "over the limit", DECODE_ERROR, len(sent) - 1)

    def test_record_count(self) -> None:
        """A hello in too many records is refused, however small they are."""
        whole = message(server_name(b"git.example.com"))
        pieces = [record(whole[i : i + 1]) for i in range(MAX_RECORDS)]
        self.assertIsNone(parse_client_hello(b"".join(pieces[:-1])))
        self.refused(b"".join(pieces), "too many records", DECODE_ERROR)


class MessageTests(SynchronousTestCase):
    """The fields of the message and its extensions."""

    def refused(self, sent: bytes, alert: int = DECODE_ERROR) -> None:
        with self.assertRaises(BadClientHello) as caught:
            parse_client_hello(sent)
        self.assertEqual(caught.exception.alert, alert)

    def test_no_extensions(self) -> None:
        """TLS 1.2 may leave the extensions out or empty."""
        self.assertEqual(parse_client_hello(record(message(None))), ClientHello())
        self.assertEqual(parse_client_hello(hello()), ClientHello())

    def test_version(self) -> None:
        """A legacy_version that is not SSL 3.x is refused."""
        self.refused(record(message(version=b"\2\0")), PROTOCOL_VERSION)

    def test_vectors(self) -> None:
        """Session id, suites and compression methods of impossible lengths are refused."""
        self.refused(record(message(session_id=bytes(33))))
        self.refused(record(message(suites=b"")))
        self.refused(record(message(suites=b"\x13\1\x13")))
        self.refused(record(message(compression=b"")))

    def test_truncated_fields(self) -> None:
        """A message that ends inside any field is refused, never read past."""
        whole = message(server_name(b"a.test") + alpn(b"h2"))[4:]
        without_extensions = len(message(None)) - 4
        for end in range(len(whole)):
            cut = whole[:end]
            if end != without_extensions:
                self.refused(record(b"\1" + len(cut).to_bytes(3, "big") + cut))

    def test_duplicate_extension(self) -> None:
        """An extension that comes twice is refused, known to us or not (RFC 8446 4.2)."""
        self.refused(hello(server_name(b"a.test"), server_name(b"a.test")), ILLEGAL_PARAMETER)
        self.refused(hello(extension(23, b""), extension(23, b"")), ILLEGAL_PARAMETER)

    def test_name_is_normal(self) -> None:
        """The name comes lower-cased and without a trailing dot."""
        found = parse_client_hello(hello(server_name(b"GIT.Example.COM.")))
        self.assertEqual(found, ClientHello("git.example.com"))

    def test_names_allowed(self) -> None:
        """Underscores, punycode, digits and single labels are names."""
        for name in ("_dmarc.a_b.test", "xn--bcher-kva.test", "4.a1", "localhost", "a" * 63):
            found = parse_client_hello(hello(server_name(name.encode())))
            self.assertEqual(found, ClientHello(name))

    def test_malformed_names(self) -> None:
        """Empty, over-long, non-ASCII and otherwise malformed names are refused."""
        dots = (b"", b".", b"..", b"a..b", b".a", b"a..", b"a" * 64, b".".join([b"a" * 63] * 4))
        signs = (b"a\0.test", b"a b", b"a\n", b"b\xfccher.test", b"*.a", b"-a.b", b"a-.b", b"a/b")
        for name in dots + signs:
            self.refused(hello(server_name(name)), ILLEGAL_PARAMETER)

    def test_addresses(self) -> None:
        """IP addresses and ports are no host names (RFC 6066 3)."""
        for name in (b"127.0.0.1", b"127.0.0.1.", b"::1", b"[::1]", b"1", b"a.test:443"):
            self.refused(hello(server_name(name)), ILLEGAL_PARAMETER)

    def test_longest_name(self) -> None:
        """A name of 253 bytes passes."""
        name = b".".join([b"a" * 63] * 3 + [b"a" * 61])
        self.assertEqual(parse_client_hello(hello(server_name(name))), ClientHello(name.decode()))

    def test_server_name_list(self) -> None:
        """A list that is empty, ill-fitting, of two names or of another type is refused."""
        self.refused(hello(extension(0, b"")))
        self.refused(hello(extension(0, b"\0\0")))
        self.refused(hello(extension(0, b"\0\4\0\0\2a")))
        self.refused(hello(extension(0, b"\0\6\0\0\2aa")))
        self.refused(hello(extension(0, b"\0\4\0\0\1aa")))
        self.refused(hello(extension(0, b"\0\4\1\0\1a")), ILLEGAL_PARAMETER)
        self.refused(hello(extension(0, b"\0\x08\0\0\1a\0\0\1b")), ILLEGAL_PARAMETER)

    def test_alpn_list(self) -> None:
        """An ALPN list that is empty, ill-fitting or holds an empty name is refused."""
        for content in (
            b"",
            b"\0\0",
            b"\0\1\0",
            b"\0\2\0\0",
            b"\0\3\3h2",
            b"\0\4\2h2",
            b"\0\2\1aa",
        ):
            self.refused(hello(extension(16, content)))

    @FUZZ
    @given(st.binary(max_size=200), st.integers(0, 600), st.booleans())
    def test_prefix_and_junk(self, junk: bytes, cut: int, keep_rest: bool) -> None:
        """Any mutation of a hello gives a hello, a wait or a ValueError."""
        whole = hello(server_name(b"git.example.com"), alpn(b"h2"), extension(23, bytes(300)))
        sent = whole[:cut] + junk + (whole[cut + len(junk) :] if keep_rest else b"")
        try:
            found = parse_client_hello(sent)
        except ValueError:
            return
        self.assertIsInstance(found, ClientHello | None)

    @FUZZ
    @given(st.binary(max_size=80))
    def test_junk_extensions(self, junk: bytes) -> None:
        """Any bytes as extensions give a hello or BadClientHello."""
        try:
            found = parse_client_hello(hello(junk))
        except BadClientHello:
            return
        self.assertIsInstance(found, ClientHello)
