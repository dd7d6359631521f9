"""A raw HTTP/1 downstream: sends exactly the bytes it is told to, in the pieces it is told to.

Owns the socket and a small strict response parser that says whether a response was whole.
Refuses to repair anything: what the proxy wrote wrongly raises :class:`BadAnswerError`.
"""

from __future__ import annotations

import socket
import ssl
import struct
from collections.abc import Iterable
from dataclasses import dataclass, field

from tests.support.byte_stream import ByteStream, StreamEndedError
from tests.support.certificates import authority
from tests.support.two_way_tls import TwoWayTls

Fields = list[tuple[bytes, bytes]]


class BadAnswerError(Exception):
    """What came back is no valid HTTP/1 response."""


@dataclass
class Response:
    """One response, with the 1xx that came before it in ``interim``.

    ``framing`` is ``none``, ``length``, ``chunked`` or ``close``; ``complete`` is False when the
    connection ended inside the body.
    """

    version: bytes
    status: int
    reason: bytes
    fields: Fields
    body: bytes = b""
    framing: str = "none"
    complete: bool = True
    trailers: Fields = field(default_factory=list)
    interim: list[Response] = field(default_factory=list)
    chunks: list[bytes] = field(default_factory=list)

    def values(self, name: bytes) -> list[bytes]:
        """Every value of a header field, in order."""
        return [value for key, value in self.fields if key.lower() == name.lower()]

    def value(self, name: bytes) -> bytes | None:
        """The value of a header field that comes at most once."""
        found = self.values(name)
        if len(found) > 1:
            raise BadAnswerError(f"{name!r} is repeated: {found!r}")
        return found[0] if found else None


def parse_fields(block: bytes) -> Fields:
    """Header lines, each ended by CRLF; strict."""
    fields = []
    for line in block.split(b"\r\n")[:-1]:
        name, colon, value = line.partition(b":")
        if not colon or not name or name.strip() != name or b"\n" in line or b"\r" in line:
            raise BadAnswerError(f"bad header line {line!r}")
        fields.append((name, value.strip(b" \t")))
    return fields


def parse_head(head: bytes) -> Response:
    """A status line and header block, up to and including the empty line."""
    line, _, block = head[:-2].partition(b"\r\n")
    version, _, rest = line.partition(b" ")
    code, _, reason = rest.partition(b" ")
    if version not in {b"HTTP/1.0", b"HTTP/1.1"} or len(code) != 3 or not code.isdigit():
        raise BadAnswerError(f"bad status line {line!r}")
    return Response(version, int(code), reason, parse_fields(block))


class RawClient:
    """One connection to the proxy."""

    def __init__(self, sock: socket.socket, timeout: float = 10.0) -> None:
        self.sock = sock
        self.timeout = timeout
        self.stream = ByteStream(sock, timeout)

    def __enter__(self) -> RawClient:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    @classmethod
    def plain(
        cls, port: int, *, host: str = "127.0.0.1", source: str = "", timeout: float = 10.0
    ) -> RawClient:
        """Connect without TLS, from the loopback address ``source`` where given."""
        origin = (source, 0) if source else None
        sock = socket.create_connection((host, port), timeout, source_address=origin)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return cls(sock, timeout)

    @classmethod
    def tls(
        cls,
        port: int,
        name: str | None,
        *,
        source: str = "",
        timeout: float = 10.0,
        context: ssl.SSLContext | None = None,
        session: ssl.SSLSession | None = None,
        receive_buffer: int = 0,
        host: str = "127.0.0.1",
        before: bytes = b"",
    ) -> RawClient:
        """Connect with TLS and SNI ``name`` (none for None), trusting the test authority.

        ``before`` is sent before TLS begins.
        """
        sock = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)
        try:
            if receive_buffer:
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            sock.settimeout(timeout)
            if source:
                sock.bind((source, 0))
            sock.connect((host, port))
            sock.sendall(before)
            context = context or client_context()
            context.sslsocket_class = TwoWayTls
            wrapped = context.wrap_socket(
                sock,
                server_hostname=name,
                session=session,
                suppress_ragged_eofs=False,
            )
        except BaseException:
            sock.close()
            raise
        assert isinstance(wrapped, TwoWayTls)
        wrapped.share()
        return cls(wrapped, timeout)

    @property
    def tls_sock(self) -> ssl.SSLSocket:
        """The socket, of a TLS connection."""
        assert isinstance(self.sock, ssl.SSLSocket)
        return self.sock

    def send(self, *pieces: bytes) -> RawClient:
        """Send each piece as a write of its own; a proxy that has already gone is no error."""
        self.sock.settimeout(self.timeout)
        try:
            for piece in pieces:
                self.sock.sendall(piece)
        except (BrokenPipeError, ConnectionResetError, ssl.SSLEOFError, ssl.SSLZeroReturnError):
            pass
        return self

    def send_bytewise(self, raw: bytes) -> RawClient:
        """Send every byte as a write of its own."""
        return self.send(*(raw[at : at + 1] for at in range(len(raw))))

    def half_close(self) -> RawClient:
        """Send FIN (without close_notify on TLS) and go on reading; as :meth:`send` otherwise."""
        try:
            socket.socket.shutdown(self.sock, socket.SHUT_WR)
        except OSError:
            pass
        return self

    def reset(self) -> None:
        """Close with RST."""
        linger = struct.pack("ii", 1, 0)
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
        self.close()

    def close(self) -> None:
        """Close at once, without close_notify."""
        self.sock.close()

    def read_head(self) -> Response:
        """The next head, interim or final.

        Raises:
            StreamEndedError: the connection ended first.
            TimeoutError: nothing came in time.
        """
        return parse_head(self.stream.until(b"\r\n\r\n"))

    def read_response(self, method: bytes = b"GET") -> Response:
        """The next final response, whole or as far as it came."""
        interim = []
        while 100 <= (response := self.read_head()).status < 200 and response.status != 101:
            interim.append(response)
        response.interim = interim
        self._read_body(response, method)
        return response

    def ask(self, request: bytes, method: bytes = b"GET") -> Response:
        """Send a request and read its response."""
        return self.send(request).read_response(method)

    def read_until_close(self) -> bytes:
        """Everything until the proxy closes."""
        return self.stream.rest()

    def is_closed_by_proxy(self) -> bool:
        """Wait for the end of the connection; False when bytes come, or nothing in time."""
        try:
            return not self.stream.waiting() and self.stream.rest() == b""
        except TimeoutError:
            return False

    def _read_body(self, response: Response, method: bytes) -> None:
        lengths = response.values(b"Content-Length")
        codings = response.values(b"Transfer-Encoding")
        if len(lengths) + len(codings) > 1 or any(not value.isdigit() for value in lengths):
            raise BadAnswerError(f"ambiguous framing {lengths!r} {codings!r}")
        if method == b"HEAD" or response.status in {101, 204, 304}:
            return
        if codings:
            if codings != [b"chunked"]:
                raise BadAnswerError(f"unexpected coding {codings!r}")
            response.framing = "chunked"
            self._read_chunks(response)
        elif lengths:
            response.framing = "length"
            response.body = self.stream.exactly(int(lengths[0]))
            response.complete = len(response.body) == int(lengths[0])
        else:
            response.framing = "close"
            response.body = self.stream.rest()
            response.complete = self.stream.ended == "clean"

    def _read_chunks(self, response: Response) -> None:
        try:
            while size := int(self.stream.until(b"\r\n", 4096)[:-2], 16):
                chunk = self.stream.exactly(size + 2)
                response.chunks.append(chunk[:size])
                response.body += chunk[:size]
                if len(chunk) < size + 2:
                    raise StreamEndedError
                if chunk[size:] != b"\r\n":
                    raise BadAnswerError(f"chunk ends with {chunk[size:]!r}")
            block = b""
            while (line := self.stream.until(b"\r\n")) != b"\r\n":
                block += line
            response.trailers = parse_fields(block)
        except StreamEndedError:
            response.complete = False


def client_context(
    *, alpn: Iterable[str] = ("http/1.1",), version: ssl.TLSVersion | None = None
) -> ssl.SSLContext:
    """A context that trusts the test authority; ``version`` pins the TLS version."""
    context = ssl.create_default_context(cafile=authority().ca_path)
    context.check_hostname = False
    if alpn:
        context.set_alpn_protocols(list(alpn))
    if version is not None:
        context.minimum_version = context.maximum_version = version
    return context
