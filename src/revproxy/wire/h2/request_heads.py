"""The request heads of one HTTP/2 connection, one after the other.

Owns the saving in a head that differs from the one before in its path alone: a page's images, an
API's calls. The rest of it has been validated then. Refuses to know how a head is validated
(``request.py``).
"""

from __future__ import annotations

from operator import itemgetter
from typing import Final

from revproxy.model.http import RequestHead
from revproxy.wire.h2.hpack import Line
from revproxy.wire.h2.limits import H2Limits
from revproxy.wire.h2.request import PATH, read_request
from revproxy.wire.request_line import is_target

REMEMBERED_BLOCK_BYTES: Final = 2048
"""What comes in a larger block is not kept: a connection that waits holds one."""


class RequestHeads:
    """Reads them.

    Args:
        limits: of heads.
    """

    __slots__ = ("_at", "_head", "_limits", "_lines", "_size")

    def __init__(self, limits: H2Limits) -> None:
        self._limits = limits
        self._lines: list[Line] = []
        self._at = 0
        self._size = 0
        self._head: RequestHead | None = None

    def read(self, lines: list[Line], size: int, *, end: bool) -> RequestHead:
        """Read a request's fields; see ``read_request``, arguments and errors alike.

        ``size`` is that of their block.
        """
        if not end or size > REMEMBERED_BLOCK_BYTES:
            return read_request(lines, self._limits, end=end)
        known = self._lines
        if known and len(lines) == len(known):
            known[self._at] = path = lines[self._at]
            if lines == known:  # most of them are the same objects, out of the decoder's table
                head = self._head
                if head is not None and self._may_be_path(path):
                    return _for_target(head, path[1][1])
                # Worth a copy, where clients that vary their fields shall not pay for one.
                head = read_request(lines, self._limits, end=True)
                self._size = sum(map(_size_of, lines)) - path[2]
                self._head = _for_target(head, head.target)
                return head
        head = read_request(lines, self._limits, end=True)
        self._remember(lines)
        return head

    def _may_be_path(self, line: Line) -> bool:
        """Whether it is a path in origin-form that takes its head over no limit."""
        target = line[1][1]
        limits = self._limits
        return (
            line[0] == PATH
            and target[:1] == b"/"
            and len(target) <= limits.target_bytes
            and self._size + line[2] <= limits.header_list_bytes
            and is_target(target)
        )

    def _remember(self, lines: list[Line]) -> None:
        at = self._at
        if at >= len(lines) or lines[at][0] != PATH:
            paths = [index for index, line in enumerate(lines) if line[0] == PATH]
            if not paths:
                return
            self._at = paths[0]
        self._lines = lines
        self._head = None


_size_of = itemgetter(2)


def _for_target(known: RequestHead, target: bytes) -> RequestHead:
    """The same head for another target in origin-form."""
    head = RequestHead()
    head.method = known.method
    head.target = target
    head.path = target.partition(b"?")[0] if b"?" in target else target
    head.host = known.host
    head.authority = known.authority
    head.minor = known.minor
    head.fields = known.fields.copy()
    head.content_length = known.content_length
    head.keep_alive = known.keep_alive
    head.expect_continue = known.expect_continue
    head.wants_trailers = known.wants_trailers
    head.forwarded_for = known.forwarded_for
    head.request_id = known.request_id
    head.client_address_fields = known.client_address_fields.copy()
    head.max_forwards = known.max_forwards
    head.protocol = known.protocol
    return head
