"""Heads that follow one another on a connection: never other than each by itself."""

from __future__ import annotations

from random import Random
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from revproxy.errors import BadRequest
from revproxy.model.http import Field, RequestHead
from revproxy.wire.h2 import request_heads
from revproxy.wire.h2.errors import H2StreamError
from revproxy.wire.h2.hpack import Line
from revproxy.wire.h2.limits import H2Limits
from revproxy.wire.h2.request import read_request, request_line
from revproxy.wire.h2.request_heads import REMEMBERED_BLOCK_BYTES, RequestHeads

LIMITS = H2Limits(header_list_bytes=6000, header_fields=12, target_bytes=40)
START = [(b":method", b"GET"), (b":scheme", b"https"), (b":authority", b"a.test")]
CHOICES = [
    *START,
    (b":method", b"OPTIONS"),
    (b":method", b"CONNECT"),
    (b":scheme", b"ftp"),
    (b":authority", b"B.test:443"),
    (b":protocol", b"websocket"),
    (b"host", b"a.test"),
    (b"accept", b"*/*"),
    (b"cookie", b"a=1"),
    (b"cookie", b"b=2"),
    (b"max-forwards", b"3"),
    (b"te", b"trailers"),
    (b"x-forwarded-for", b"192.0.2.1"),
    (b"x-request-id", b"one"),
    (b"cf-connecting-ip", b"192.0.2.2"),
    (b"content-length", b"0"),
    (b"expect", b"100-continue"),
    (b"connection", b"close"),
    (b"x", b"y" * 4096),
]
PATHS = [b"/", b"/a?b", b"/" + b"c" * 40, b"*", b"a", b"", b"/ ", b"/d?", b"/\xff"]


def outcome(read: Any, fields: list[Field], *arguments: Any, end: bool) -> object:
    """Everything that a head says, or how it was refused."""
    lines = [request_line(*field) for field in fields]
    try:
        head = read(lines, *arguments, end=end)
    except (BadRequest, H2StreamError) as error:
        return type(error), getattr(error, "status", 0), str(error)
    return {slot: getattr(head, slot) for slot in RequestHead.__slots__}


class RequestHeadsTests(SynchronousTestCase):
    def check(self, heads: RequestHeads, fields: list[Field], *, end: bool = True) -> object:
        """Read one head of a connection; it is as if it were the only one."""
        got = outcome(heads.read, fields, 99, end=end)
        self.assertEqual(got, outcome(read_request, fields, LIMITS, end=end))
        return got

    def count_anew(self) -> list[bool]:
        """Grows by one with each head that is read as if it were the only one."""
        anew: list[bool] = []

        def counted(lines: list[Line], limits: H2Limits, *, end: bool) -> RequestHead:
            anew.append(end)
            return read_request(lines, limits, end=end)

        self.patch(request_heads, "read_request", counted)
        return anew

    def test_any_order(self) -> None:
        """Heads that share much with the one before, of all kinds, valid and not."""
        random = Random(7540)
        anew = self.count_anew()
        whole = 0
        for _ in range(300):
            heads = RequestHeads(LIMITS)
            fields, usual = list(START), 3
            for _ in range(20):
                change = random.random()
                if change < 0.03:
                    fields = list(START)
                elif change < 0.09:
                    fields.insert(random.randrange(len(fields) + 1), random.choice(CHOICES))
                elif change < 0.13 and fields:
                    del fields[random.randrange(len(fields))]
                elif change < 0.15:
                    usual = random.choice((0, 1, 2, 3, 3, 3, 9))
                at = min(usual, len(fields))
                path = (b":path", random.choice((b"/", b"/e", *PATHS)))
                asked = [*fields[:at], path, *fields[at:]]
                got = self.check(heads, asked, end=random.random() < 0.9)
                whole += isinstance(got, dict)
        self.assertGreater(whole, 800)
        self.assertLess(len(anew), 300 * 20 - whole // 4)

    def test_no_fields(self) -> None:
        """A block without any field, also as the first one."""
        heads = RequestHeads(LIMITS)
        for _ in range(2):
            self.check(heads, [])
            self.check(heads, [*START, (b":path", b"/")])

    def test_another_field_in_the_place_of_the_path(self) -> None:
        """What looks like a path, but is none."""
        heads = RequestHeads(LIMITS)
        for last in (*[(b":path", b"/")] * 3, (b"referer", b"/"), (b":path", b"/")):
            self.check(heads, [*START, last])

    def test_extended_connect(self) -> None:
        """It has a path, too (RFC 8441 4)."""
        limits = H2Limits(connect_protocol=True)
        heads = RequestHeads(limits)
        rest = [(b":method", b"CONNECT"), *START[1:], (b":protocol", b"websocket")]
        for path in (b"/", b"/a", b"/b", b"*"):
            fields = [*rest, (b":path", path)]
            expected = outcome(read_request, fields, limits, end=True)
            self.assertEqual(outcome(heads.read, fields, 99, end=True), expected)

    def test_what_is_read_anew(self) -> None:
        """The first, the second, whatever differs by more than its path, and what is large."""
        anew = self.count_anew()
        heads = RequestHeads(LIMITS)
        for path, accept, size, expected in (
            (b"/a", b"*/*", 99, 1),
            (b"/b", b"*/*", 99, 2),
            (b"/c", b"*/*", REMEMBERED_BLOCK_BYTES, 2),
            (b"/d", b"*/*", REMEMBERED_BLOCK_BYTES + 1, 3),
            (b"/e", b"*/*", 99, 3),
            (b"/f", b"a/b", 99, 4),
            (b"/g", b"a/b", 99, 5),
            (b"/h", b"a/b", 99, 5),
        ):
            fields = [*START, (b":path", path), (b"accept", accept)]
            heads.read([request_line(*field) for field in fields], size, end=True)
            self.assertEqual(len(anew), expected, path)

    def test_size_is_of_each(self) -> None:
        """A longer path takes a head over its limit, which the one before was not."""
        heads = RequestHeads(LIMITS)
        rest = [*START, *((b"x", b"y" * 900) for _ in range(4))]
        for size in (1, 1, 1, 40):
            self.check(heads, [*rest, (b":path", b"/" * size)])
        narrow = RequestHeads(H2Limits(header_list_bytes=200))
        short, long = ([*START, (b":path", b"/" * size)] for size in (1, 40))
        for _ in range(3):
            self.assertIsInstance(outcome(narrow.read, short, 99, end=True), dict)
        self.assertIsInstance(outcome(narrow.read, long, 99, end=True), tuple)

    def test_nothing_is_shared(self) -> None:
        """What is done to one head's fields is not seen in another's."""
        heads = RequestHeads(LIMITS)
        lines = [request_line(*one) for one in (*START, (b":path", b"/"), (b"accept", b"*/*"))]
        for _ in range(3):
            head = heads.read(list(lines), 99, end=True)
            self.assertEqual(head.fields, [(b"accept", b"*/*")])
            self.assertEqual(head.client_address_fields, [])
            head.fields.clear()
            head.client_address_fields.append((b"x", b"y"))
