"""Responses to the bytes of one HTTP/1.x connection.

Owns how a response is framed for the downstream's version, and collects what is said until it
leaves in one write. Refuses to know transports and what ends a response.
"""

from __future__ import annotations

from revproxy.model.http import Field, ResponseHead
from revproxy.wire.chunked import chunk, last_chunk
from revproxy.wire.head_bytes import REASONS, response_head_bytes


class ResponseWriter:
    """The responses of one connection, one after the other.

    Attributes:
        closing: the connection ends with the present response.
        last: it ends with any response.
        said: pieces that :meth:`take` will join.
        ends_by_close: only the connection's end marks the end of the present response.
    """

    __slots__ = ("_begun", "_chunked", "_minor", "closing", "ends_by_close", "last", "said")

    def __init__(self) -> None:
        self.said: list[bytes] = []
        self._begun = False
        self._chunked = False
        self._minor = 1
        self.closing = False
        self.ends_by_close = False
        self.last = False

    def expect(self, minor: int, *, keep_alive: bool) -> None:
        """A request of HTTP/1.``minor`` has begun; what follows answers it."""
        self._minor = minor
        self._chunked = self._begun = False
        self.closing = self.last or not keep_alive
        self.ends_by_close = False

    def may_go_on(self) -> None:
        """The request is complete: unless the head has said otherwise, the connection stays."""
        self.closing = self._begun or self.last

    def interim(self, head: ResponseHead) -> None:
        """A 1xx; HTTP/1.0 knows none (RFC 9110 15.2)."""
        if self._minor:
            self.said.append(response_head_bytes(head.status, head.reason, head.fields, b""))

    def head(self, head: ResponseHead) -> None:
        """A final response head."""
        self._begun = True
        framing = b""
        if head.body_length < 0:
            if self._minor:
                self._chunked = True
                framing = b"Transfer-Encoding: chunked\r\n"
            else:
                self.ends_by_close = self.closing = True
        elif head.content_length >= 0 and head.status != 204:
            framing = b"Content-Length: %d\r\n" % head.content_length
        self.said.append(
            response_head_bytes(
                head.status, head.reason, head.fields, framing + self._persistence()
            )
        )

    def data(self, content: bytes) -> None:
        """A part of the body."""
        self.said.append(chunk(content) if self._chunked else content)

    def end(self, trailers: list[Field]) -> None:
        """The body is complete; only a chunked one can have trailers."""
        if self._chunked:
            self.said.append(last_chunk(trailers))

    def switch(self, head: ResponseHead, protocol: bytes) -> None:
        """A 101: what follows is framed by nobody, and ends with the connection."""
        self._chunked = False
        self._begun = self.closing = self.ends_by_close = True
        framing = b"Connection: Upgrade\r\nUpgrade: %b\r\n" % protocol
        self.said.append(response_head_bytes(101, REASONS[101], head.fields, framing))

    def own(
        self, status: int, fields: list[Field], *, with_body: bool, body: bytes | None = None
    ) -> None:
        """A whole response of the proxy's own: its body is ``body``, or the reason phrase."""
        framing = self._persistence()
        if status == 204:
            self.said.append(response_head_bytes(status, REASONS[status], fields, framing))
            return
        reason = REASONS[status]
        if body is None:
            body = reason
            fields = [*fields, (b"Content-Type", b"text/plain; charset=utf-8")]
        framing = b"Content-Length: %d\r\n%b" % (len(body), framing)
        self.said.append(response_head_bytes(status, reason, fields, framing))
        if with_body:
            self.said.append(body)

    def take(self) -> bytes:
        """What has been said since the last time, in one piece."""
        said = self.said
        if not said:
            return b""
        self.said = []
        return said[0] if len(said) == 1 else b"".join(said)

    def _persistence(self) -> bytes:
        """The line that HTTP/1.0 and 1.1 disagree on the need of (RFC 9112 9.3)."""
        if self.closing:
            return b"Connection: close\r\n"
        return b"" if self._minor else b"Connection: keep-alive\r\n"
