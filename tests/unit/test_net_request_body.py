"""A request body as it comes in: its end, its limit, its speed."""

from __future__ import annotations

from attrs import evolve
from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from revproxy.errors import BadRequest
from revproxy.model.configuration import Limits
from revproxy.model.http import CHUNKED
from revproxy.net.body_pace import GRACE_SECS
from revproxy.net.h1_request_body import RequestBody

FUZZ = settings(deadline=None, derandomize=True, max_examples=200)

START = 1000.0
IDLE = 30.0
RATE = 240
BIG = 10**9


def body_of(
    length: int, *, limit: int = BIG, rate: int = RATE, line: int = 4096, trailers: int = 16384
) -> RequestBody:
    """A body that begins at START."""
    limits = evolve(
        Limits(), min_body_bytes_per_sec=rate, chunk_line_bytes=line, trailer_bytes=trailers
    )
    return RequestBody(length, limit, limits, START)


class BodyCase(SynchronousTestCase):
    def assert_refused(self, status: int, body: RequestBody, received: bytes) -> None:
        error = self.assertRaises(BadRequest, body.feed, received, START)
        self.assertEqual(error.status, status, received)

    def assert_late(self, body: RequestBody, now: float, reason: str) -> None:
        error = body.late(now, IDLE)
        assert error is not None, now
        self.assertEqual((error.status, error.reason), (408, reason))

    def assert_in_time(self, body: RequestBody, now: float) -> None:
        self.assertIsNone(body.late(now, IDLE), now)


class EndTests(BodyCase):
    """Where a body ends."""

    def test_length(self) -> None:
        """A body ends with its last byte, wherever its pieces are cut; the rest is kept."""
        stream = b"helloGET / HTTP/1.1"
        for at in range(len(stream)):
            body = body_of(5)
            found = body.feed(stream[:at], START)
            self.assertEqual((body.done, body.left), (at >= 5, max(0, 5 - at)))
            rest = body.rest
            if not body.done:
                found += body.feed(stream[at:], START)
                rest = body.rest
            else:
                rest += stream[at:]
            self.assertEqual((found, body.done, rest), (b"hello", True, stream[5:]), at)

    def test_chunked(self) -> None:
        """A chunked body ends with its trailers, which are dropped."""
        stream = b"5\r\nhello\r\n0\r\nHost: x\r\nA: b\r\n\r\nGET"
        body = body_of(CHUNKED)
        self.assertEqual(body.left, -1)
        self.assertEqual(body.feed(stream, START), b"hello")
        self.assertEqual((body.done, body.rest), (True, b"GET"))

    def test_chunked_byte_by_byte(self) -> None:
        """The same holds byte by byte."""
        body = body_of(CHUNKED)
        found = b"".join([body.feed(b"%c" % byte, START) for byte in b"5\r\nhello\r\n0\r\n\r\n"])
        self.assertEqual((found, body.done, body.rest), (b"hello", True, b""))

    def test_limit(self) -> None:
        """A chunked body of the limit passes, one more byte is 413, in one chunk or in many."""
        for one in (b"5\r\nhello\r\n", b"1\r\na\r\n" * 5):
            body = body_of(CHUNKED, limit=5)
            self.assertEqual(len(body.feed(one + b"0\r\n\r\n", START)), 5)
            self.assert_refused(413, body_of(CHUNKED, limit=5), one + b"1\r\na")
            body = body_of(CHUNKED, limit=5)
            body.feed(one, START)
            body.feed(b"1\r\n", START)
            self.assert_refused(413, body, b"a")

    def test_invalid(self) -> None:
        """An invalid chunk is 400, whatever came before it."""
        for bad in (
            b"x\r\n",
            b"5 \r\n",
            b"5\nhello",
            b"5\r\nhelloX",
            b"0\r\nA\r\n\r\n",
            b"0x5\r\n",
        ):
            self.assert_refused(400, body_of(CHUNKED), bad)
            body = body_of(CHUNKED)
            body.feed(b"5\r\nhello\r\n", START)
            self.assert_refused(400, body, bad)

    def test_configured_limits(self) -> None:
        """The limits of chunk lines and trailers are the configured ones."""
        self.assert_refused(400, body_of(CHUNKED, line=10), b"1;" + b"a" * 10)
        self.assert_refused(400, body_of(CHUNKED, trailers=10), b"0\r\nA: bbbbbbbbbbbb")

    @FUZZ
    @given(st.lists(st.binary(max_size=8), max_size=6), st.integers(1, 20))
    def test_any_pieces(self, pieces: list[bytes], length: int) -> None:
        """Any pieces give the first bytes as content and the others as the rest."""
        body = body_of(length)
        found = b""
        stream = b""
        for piece in pieces:
            stream += piece
            found += body.feed(piece, START)
            if body.done:
                break
        self.assertEqual(found, stream[:length])
        self.assertEqual(body.rest, stream[length:])
        self.assertEqual(body.done, len(stream) >= length)

    @FUZZ
    @given(
        st.lists(st.sampled_from([b"5", b"\r\n", b"hello", b"0", b"\n", b";a", b"\0", b"F" * 16]))
    )
    def test_any_chunks(self, pieces: list[bytes]) -> None:
        """Any bytes of a chunked body are read, or refused with 400 or 413."""
        body = body_of(CHUNKED, limit=6)
        try:
            for piece in pieces:
                if not body.done:
                    body.feed(piece, START)
        except BadRequest as error:
            self.assertIn(error.status, (400, 413))


class IdleTests(BodyCase):
    """How long nothing may come."""

    def test_idle(self) -> None:
        """A body of which nothing comes for the idle time is late, not a moment before."""
        body = body_of(BIG, rate=0)
        self.assert_in_time(body, START + IDLE)
        self.assert_late(body, START + IDLE + 0.1, "request body idle")

    def test_every_byte_counts(self) -> None:
        """Every byte begins the idle time anew, chunk lines without content too."""
        body = body_of(CHUNKED, rate=0)
        now = START
        for byte in b"00A\r\nab":
            now += IDLE
            self.assert_in_time(body, now)
            body.feed(b"%c" % byte, now)
        self.assert_late(body, now + IDLE + 1, "request body idle")

    def test_stopped(self) -> None:
        """While the proxy itself has paused the downstream nothing is late."""
        body = body_of(BIG)
        body.stop(START + 5)
        for later in (6, 60, 1e6):
            self.assert_in_time(body, START + later)
        body.go_on(START + 1e6)
        self.assert_in_time(body, START + 1e6)

    def test_idle_after_going_on(self) -> None:
        """After going on the whole idle time is there again."""
        body = body_of(BIG, rate=0)
        body.stop(START + IDLE)
        body.go_on(START + 500)
        self.assert_in_time(body, START + 500 + IDLE)
        self.assert_late(body, START + 501 + IDLE, "request body idle")


class SpeedTests(BodyCase):
    """How slowly it may come."""

    def test_too_slow(self) -> None:
        """After its grace a body must have come at the rate."""
        body = body_of(BIG)
        self.assert_in_time(body, START + GRACE_SECS)
        self.assert_late(body, START + GRACE_SECS + 1, "request body too slow")
        body.feed(b"a" * RATE, START + GRACE_SECS + 1)
        self.assert_in_time(body, START + GRACE_SECS + 1)
        self.assert_late(body, START + GRACE_SECS + 1.1, "request body too slow")

    def test_steady(self) -> None:
        """A body at the rate is never late, one at half of it is soon, though never idle."""
        steady, slow = body_of(BIG), body_of(BIG)
        for second in range(1, 1000):
            steady.feed(b"a" * RATE, START + second)
            self.assert_in_time(steady, START + second)
        for second in range(1, 30):
            slow.feed(b"a" * (RATE // 2), START + second)
        self.assert_late(slow, START + 29, "request body too slow")

    def test_content_counts(self) -> None:
        """In a chunked body content counts, its chunk lines do not."""
        body = body_of(CHUNKED)
        body.feed((b"1;" + b"a" * 1000 + b"\r\nb\r\n") * 10, START + 11)
        self.assert_late(body, START + 11, "request body too slow")

    def test_off(self) -> None:
        """Without a rate only idleness is late."""
        body = body_of(BIG, rate=0)
        for second in range(0, 10_000, 25):
            body.feed(b"a", START + second)
            self.assert_in_time(body, START + second)

    def test_clock_stands_still(self) -> None:
        """The time in which the downstream was paused does not count, in one pause or many."""
        body = body_of(BIG)
        now = START
        for _ in range(80):
            body.stop(now)
            now += 1000
            body.go_on(now)
            self.assert_in_time(body, now)
            now += GRACE_SECS / 80
        self.assert_in_time(body, now)
        self.assert_late(body, now + 1, "request body too slow")

    def test_grace_is_not_renewed(self) -> None:
        """A pause gives no new grace: its time counts on where it stood."""
        body = body_of(BIG)
        body.stop(START + 9)
        body.go_on(START + 100)
        self.assert_in_time(body, START + 101)
        self.assert_late(body, START + 101.5, "request body too slow")

    def test_repeated_calls(self) -> None:
        """Pausing twice is pausing once, and going on without a pause is nothing."""
        body = body_of(BIG)
        body.go_on(START + 5)
        body.stop(START + 5)
        body.stop(START + 50)
        body.go_on(START + 100)
        body.go_on(START + 200)
        self.assert_in_time(body, START + 105)
        self.assert_late(body, START + 105.5, "request body too slow")

    def test_bytes_on_their_way(self) -> None:
        """What still comes while the downstream is paused counts as received."""
        body = body_of(BIG)
        body.stop(START + 1)
        body.feed(b"a" * (RATE * 10), START + 2)
        self.assert_in_time(body, START + 1000)
        body.go_on(START + 1000)
        self.assert_in_time(body, START + 1000 + 19)
        self.assert_late(body, START + 1000 + 19.5, "request body too slow")
