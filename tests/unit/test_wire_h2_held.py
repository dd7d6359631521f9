"""What HTTP/2 responses take that wait for a window, and what is remembered of streams."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from revproxy.model.http import UNTIL_CLOSE
from revproxy.wire.h2 import frames
from revproxy.wire.h2.sending import REMEMBERED_RESETS
from tests.support.h2_wire import GET, POST, Server, body, headers, response


class HeldTests(SynchronousTestCase):
    """What is held takes little more than its bytes."""

    def held(self, *parts: bytes) -> Server:
        """A response whose parts nobody takes."""
        server = Server(opening=frames.PREFACE + frames.settings({frames.INITIAL_WINDOW_SIZE: 0}))
        server.receive(headers(1, GET, end=True))
        server.connection.send_head(server.stream(1), response(length=UNTIL_CLOSE))
        for part in parts:
            server.connection.send_data(server.stream(1), part)
        server.sent()
        return server

    def test_small_pieces(self) -> None:
        """Small ones are joined."""
        server = self.held(*[b"ab"] * 10_000)
        queue = server.stream(1).queue
        assert queue is not None
        self.assertLess(len(queue), 10)
        server.receive(frames.window_update(1, 30_000))
        self.assertEqual(b"".join(one.payload for one in server.sent()), b"ab" * 10_000)

    def test_rest_of_a_large_piece(self) -> None:
        """What is left of one does not keep the whole alive."""
        server = self.held(b"x" * 100_000)
        server.receive(frames.window_update(1, 60_000))
        server.sent()
        queue = server.stream(1).queue
        assert queue is not None
        self.assertEqual([type(one) for one in queue], [bytes])
        server.receive(frames.window_update(1, 60_000), frames.window_update(0, 60_000))
        self.assertEqual(sum(len(one.payload) for one in server.sent()), 40_000)

    def test_interim_heads(self) -> None:
        """A 1xx is left out while the transport takes nothing."""
        server = self.held()
        server.connection.held = True
        for _ in range(100):
            server.connection.send_interim(server.stream(1), response(status=103, length=0))
        self.assertEqual(server.sent(), [])

    def test_streams_that_are_over(self) -> None:
        """Only so many of them are remembered."""
        server = Server()
        for stream in range(1, 4001, 2):
            server.receive(headers(stream, POST, end=False))
            server.connection.send_head(server.stream(stream), response(length=0))
            server.receive(body(stream, b"", end=True))
        self.assertLessEqual(len(server.connection._reset_lately), REMEMBERED_RESETS)
