"""Requests of a client that would like to write the log itself.

Owns the lines that it would like to see, and every way to send them. Refuses to know who reads
the log.
"""

from __future__ import annotations

import ssl
from collections.abc import Iterator

VICTIM = b"192.0.2.66"
FORGED = (
    b"RATE_LIMIT client_ip=%b host=x path=/ status=429" % VICTIM,
    b"REQUEST client_ip=%b host=x method=GET path=/x status=401 upstream=- duration_ms=1" % VICTIM,
    b"REQUEST client_ip=%b host=x method=GET path=/.env status=404 upstream=- duration_ms=1"
    % VICTIM,
    b"REQUEST client_ip=%b host=x method=CONNECT path=/ status=405 upstream=- duration_ms=1"
    % VICTIM,
)
"""What a client would like to see in the log."""

LINE = b"2026-07-28T08:49:20Z WARN "


def disguises(forged: bytes) -> Iterator[bytes]:
    """``forged`` in every way that might pass a parser and come out as it was meant."""
    yield forged
    yield forged.replace(b" ", b"%20")
    yield forged.replace(b" ", b"+")
    yield forged.replace(b" ", b"\t")
    yield forged.replace(b" ", b"\xa0")
    yield forged.replace(b" ", b"\xe2\x80\x83")  # an em space, in UTF-8
    yield forged.replace(b" ", b"\\x20")
    for end in (b"\r\n", b"\n", b"\r", b"\0", b"\x0b", b"\x85", b"\xe2\x80\xa8", b'"', b'\\"'):
        yield end + LINE + forged
        yield end + (LINE + forged).replace(b" ", b"\t")
    for end in (b"%0d%0a", b"%0A", b"%00", b"%22", b"\x1b[2K"):
        yield end + (LINE + forged).replace(b" ", b"%20")
        yield end + (LINE + forged).replace(b" ", b"\x0c")


def requests(text: bytes) -> Iterator[bytes]:
    """Requests with ``text`` in every place that a client may write to."""
    bare = text.replace(b" ", b"/")
    yield b"GET /%b HTTP/1.1\r\nHost: site.test\r\n\r\n" % text
    yield b"GET /?q=%b HTTP/1.1\r\nHost: site.test\r\n\r\n" % text
    yield b"GET http://%b/ HTTP/1.1\r\nHost: site.test\r\n\r\n" % text
    yield b"GET http://site.test/%b HTTP/1.1\r\nHost: site.test\r\n\r\n" % text
    yield b"%b / HTTP/1.1\r\nHost: site.test\r\n\r\n" % text
    yield b"%b / HTTP/1.1\r\nHost: site.test\r\n\r\n" % bare
    yield b"CONNECT %b HTTP/1.1\r\nHost: site.test\r\n\r\n" % bare
    yield b"GET / %b\r\nHost: site.test\r\n\r\n" % text
    yield b"GET / HTTP/1.1\r\nHost: %b\r\n\r\n" % text
    yield b"GET / HTTP/1.1\r\nHost: site.test\r\n%b: x\r\n\r\n" % text
    fields = b"User-Agent: %b\r\nReferer: %b\r\nX-Forwarded-For: %b\r\nX-Request-ID: %b\r\n" % (
        (text,) * 4
    )
    yield b"GET / HTTP/1.1\r\nHost: site.test\r\n%b\r\n" % fields


def client_hello(name: bytes) -> bytes:
    """A ClientHello with any bytes for a server's name."""
    placeholder = ("a." * len(name))[: len(name) - 1] + "b"
    written = ssl.MemoryBIO()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    tls = context.wrap_bio(ssl.MemoryBIO(), written, server_hostname=placeholder)
    try:
        tls.do_handshake()
    except ssl.SSLWantReadError:
        pass
    hello = written.read()
    assert hello.count(placeholder.encode()) == 1
    return hello.replace(placeholder.encode(), name)
