"""Floods of frames that cost more than they say: each limit, and that a new window forgives."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from revproxy.model.configuration import Limits
from revproxy.wire.h2 import frames
from revproxy.wire.h2.frames import (
    CANCEL,
    CONTINUATION,
    DATA,
    END_HEADERS,
    END_STREAM,
    ENHANCE_YOUR_CALM,
    HEADERS,
    PRIORITY,
    PRIORITY_UPDATE,
)
from revproxy.wire.h2.limits import H2Limits
from tests.support.h2_wire import (
    GET,
    POST,
    Server,
    body,
    frame,
    headers,
    literal_block,
    response,
)

LIMITS = H2Limits(
    resets=5, settings=5, pings=5, priorities=5, empty_frames=5, window_updates=20, continuations=5
)


class FloodTests(SynchronousTestCase):
    def flood(self, frame: bytes, reason: str, *, first: bytes = b"", free: int = 5) -> None:
        """``free`` times ``frame`` pass in a window of 10 s, and the next ends the connection."""
        server = Server(LIMITS, opening=b"")
        server.receive(frames.PREFACE + frames.settings({}), first)
        server.now = 10.0
        server.receive(*[frame] * free)
        server.now = 19.9
        code, words = server.refusal(frame)
        self.assertEqual((code, words), (ENHANCE_YOUR_CALM, reason))
        server = Server(LIMITS)
        server.receive(first)
        for _ in range(3):
            server.now += 10.0
            server.receive(*[frame] * free)

    def resets(self, reset: bytes, last: bytes | None = None) -> None:
        """As many streams that end by ``reset`` pass, and one more does not."""
        server = Server(LIMITS)
        numbers = iter(range(1, 100, 2))

        def one() -> bytes:
            number = next(numbers).to_bytes(4, "big")
            return reset.replace(b"\0\0\0\x01", number)

        for _ in range(2):
            server.now += 10.0
            server.receive(*[one() for _ in range(5)])
        self.assertEqual(server.refusal(one()), (ENHANCE_YOUR_CALM, "too many resets"))

    def test_rapid_reset(self) -> None:
        """Requests that are reset at once."""
        self.resets(headers(1) + frames.rst_stream(1, CANCEL))

    def test_resets_that_the_client_makes_us_send(self) -> None:
        """Each offence on a stream counts as if the client had reset it."""
        for offence in (
            frames.window_update(1, 0),
            frames.window_update(1, 2**31 - 1),
            body(1, b"x"),
            headers(1, [(b"x", b"y")]),
        ):
            self.resets(headers(1) + offence)
        self.resets(headers(1, [(b"malformed", b"")]))
        self.resets(headers(1, [*POST, (b"content-length", b"1")], end=False) + body(1, b"xy"))

    def test_refused_streams(self) -> None:
        """Streams above the limit count, too."""
        server = Server(H2Limits(max_streams=1, resets=5))
        server.receive(*[headers(number) for number in (1, 3, 5, 7, 9, 11)])
        self.assertEqual(server.refusal(headers(13))[0], ENHANCE_YOUR_CALM)

    def test_continuations(self) -> None:
        """A head in more CONTINUATION frames than allowed, empty or not."""
        block = literal_block(GET)
        for part in (b"", b"x"):
            server = Server(LIMITS)
            server.receive(frame(HEADERS, END_STREAM, 1, block))
            server.receive(*[frame(CONTINUATION, 0, 1, part)] * 5)
            self.assertEqual(
                server.refusal(frame(CONTINUATION, 0, 1, part)),
                (ENHANCE_YOUR_CALM, "too many continuation frames"),
            )
        server = Server(LIMITS)
        for number in (1, 3):
            server.receive(frame(HEADERS, END_STREAM, number, block))
            server.receive(*[frame(CONTINUATION, 0, number)] * 4)
            server.receive(frame(CONTINUATION, END_HEADERS, number))
        self.assertEqual(len(server.told), 2)

    def test_large_block(self) -> None:
        """A header block over the limit is not collected to its end."""
        server = Server()
        server.receive(frame(HEADERS, END_STREAM, 1, b"x" * 16384))
        server.receive(*[frame(CONTINUATION, 0, 1, b"x" * 16384)] * 3)
        self.assertEqual(
            server.refusal(frame(CONTINUATION, 0, 1, b"x")),
            (ENHANCE_YOUR_CALM, "header block too large"),
        )
        server = Server(H2Limits(header_list_bytes=1024))
        self.assertEqual(
            server.refusal(frame(HEADERS, END_HEADERS, 1, b"\x82" * 1025)),
            (ENHANCE_YOUR_CALM, "header block too large"),
        )

    def test_settings(self) -> None:
        """SETTINGS, and answers to ours that nobody has asked for."""
        for one in (frames.settings({}), frames.settings({4: 1}), frames.SETTINGS_ACK):
            self.flood(one, "too many settings frames")

    def test_pings(self) -> None:
        """PING and its answer; GOAWAY counts with them."""
        for one in (
            frames.ping(b"12345678", ack=False),
            frames.ping(b"12345678", ack=True),
            frames.goaway(0, 0),
        ):
            self.flood(one, "too many pings")

    def test_priorities(self) -> None:
        """Frames that mean nothing here."""
        for one in (
            frame(PRIORITY, 0, 1, b"12345"),
            frame(PRIORITY_UPDATE, 0, 0, b"1234"),
            frame(0xFA, 0, 0),
        ):
            self.flood(one, "too many priority or unknown frames")

    def test_empty_frames(self) -> None:
        """DATA without content, padded or not, on a stream that is open or reset."""
        first = headers(1, POST, end=False)
        for one in (body(1, b""), frame(DATA, frames.PADDED, 1, b"\x02xx")):
            self.flood(one, "too many empty frames", first=first)

    def test_window_updates(self) -> None:
        """WINDOW_UPDATE beyond those that our DATA explains."""
        first = headers(1)
        for one in (frames.window_update(0, 1), frames.window_update(1, 1)):
            self.flood(one, "too many window updates", first=first, free=20)

    def test_explained_window_updates(self) -> None:
        """Each DATA frame of ours explains two, without end."""
        server = Server(LIMITS)
        server.receive(headers(1))
        server.connection.send_head(server.stream(1), response())
        for _ in range(100):
            server.connection.send_data(server.stream(1), b"x")
            server.receive(frames.window_update(0, 1), frames.window_update(1, 1))
        server.receive(*[frames.window_update(0, 1)] * 20)
        self.assertEqual(server.refusal(frames.window_update(0, 1))[0], ENHANCE_YOUR_CALM)

    def test_from_the_configuration(self) -> None:
        """Every limit is the configuration's."""
        limits = H2Limits.of(
            Limits(
                request_headers=1, request_target_bytes=2, trailer_bytes=3, buffered_bytes=4,
                h2_max_streams=5, h2_header_list_bytes=6, h2_resets=7, h2_continuations=8,
                h2_settings=9, h2_pings=10, h2_priorities=11, h2_empty_frames=12,
            ),
            connect_protocol=True,
        )  # fmt: skip
        self.assertEqual(
            limits,
            H2Limits(
                header_fields=1, target_bytes=2, trailer_bytes=3, buffered_bytes=4, max_streams=5,
                header_list_bytes=6, resets=7, continuations=8, settings=9, pings=10,
                priorities=11, empty_frames=12, connect_protocol=True,
            ),
        )  # fmt: skip
        self.assertEqual(H2Limits.of(Limits()), H2Limits())
