"""The HTTP/2 layer given anything at all."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from revproxy.wire.h2.connection import H2Connection
from revproxy.wire.h2.errors import H2ConnectionError
from revproxy.wire.h2.limits import H2Limits
from tests.support.h2_fuzz import CUTS, FRAMES, feed
from tests.support.h2_wire import OPENING, Recorder

FUZZ = settings(deadline=None, derandomize=True, max_examples=400)


class FuzzTests(SynchronousTestCase):
    """Nothing but H2ConnectionError comes out, and what is held stays within its limits."""

    @FUZZ
    @given(st.binary(max_size=200), st.booleans(), CUTS)
    def test_bytes(self, received: bytes, opened: bool, cuts: list[int]) -> None:
        """Any bytes, with the opening before them or without."""
        feed(OPENING + received if opened else received, cuts)

    @FUZZ
    @given(FRAMES, CUTS)
    def test_frames(self, received: bytes, cuts: list[int]) -> None:
        """Any frames, well-formed or not, split anywhere, while requests are answered."""
        feed(OPENING + received, cuts)

    @FUZZ
    @given(FRAMES)
    def test_split(self, received: bytes) -> None:
        """How the bytes are split changes nothing of what is heard and said."""
        heard = []
        for size in (len(received) + 1, 1000, 9):
            recorder = Recorder()
            connection = H2Connection(recorder, H2Limits(max_streams=4, resets=20))
            connection.receive(OPENING, 0.0)
            reason = ""
            try:
                for at in range(0, len(received), size):
                    connection.receive(received[at : at + size], 0.0)
                    while connection.behind:
                        connection.receive(b"", 0.0)
            except H2ConnectionError as error:
                reason = error.reason
            heard.append((recorder.told, connection.take(), reason))
        self.assertEqual(heard[0], heard[1])
        self.assertEqual(heard[0], heard[2])
