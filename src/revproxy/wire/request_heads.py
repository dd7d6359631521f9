"""The request heads in a stream of HTTP/1.x bytes: where each ends, within limits.

Owns what can be said of a head before it is complete. Refuses to know bodies; the stream is given
from the first byte after the previous message on.
"""

from __future__ import annotations

from revproxy.errors import BadRequest
from revproxy.model.configuration import Limits
from revproxy.model.http import RequestHead
from revproxy.wire.fields import has_bare_line_feed
from revproxy.wire.request_head import read_request_head
from revproxy.wire.request_line import may_begin_request

MAX_EMPTY_LINES = 2
"""Empty lines before a request line that are forgiven (RFC 9112 2.2)."""


class RequestHeads:
    """Finds and reads heads, one after the other.

    Args:
        limits: of a head, its target and its fields.

    Attributes:
        begun: whether the first bytes of an incomplete head have come.
        rest: what follows the head that was read, or the incomplete head.
    """

    __slots__ = ("_empty_lines", "_limits", "_looked_at", "begun", "rest")

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._empty_lines = 0
        self._looked_at = 0
        self.begun = False
        self.rest = b""

    def read(self, stream: bytes) -> RequestHead | None:
        """The head that ``stream`` begins with, or None while it is incomplete.

        Raises:
            BadRequest: there is none, and never will be.
        """
        while stream.startswith(b"\r\n"):
            self._empty_lines += 1
            if self._empty_lines > MAX_EMPTY_LINES:
                raise BadRequest(400, "empty lines before the request line")
            stream = stream[2:]
        end = stream.find(b"\r\n\r\n", self._looked_at) + 4
        limits = self._limits
        if end < 4:
            self.rest = stream
            self._check_incomplete(stream)
            # The last three bytes may be the beginning of the end.
            self._looked_at = max(0, len(stream) - 3)
            return None
        if end > limits.request_head_bytes:
            raise BadRequest(431, "request head too large")
        self.rest = stream[end:]
        self.begun = False
        self._empty_lines = self._looked_at = 0
        return read_request_head(stream[:end], limits.request_target_bytes, limits.request_headers)

    def _check_incomplete(self, part: bytes) -> None:
        """Refuse at once what can no longer become a head."""
        limits = self._limits
        self.begun = bool(part) or self.begun
        if len(part) > limits.request_target_bytes and b"\r\n" not in part:
            target = part.partition(b" ")[2].partition(b" ")[0]
            if len(target) > limits.request_target_bytes:
                raise BadRequest(414, "target too long")
        if len(part) >= limits.request_head_bytes:
            raise BadRequest(431, "request head too large")
        start = self._looked_at
        if start and part[start] == 0x0A:
            start -= 1
        if has_bare_line_feed(part[start:]) or not may_begin_request(part):
            raise BadRequest(400, "invalid request line")
