"""What a peer that drips, or that says very much at once, costs itself and nobody else."""

from __future__ import annotations

import errno

from attrs import evolve

from revproxy.model.address import UpstreamAddress
from revproxy.net import attempt as attempt_module
from revproxy.wire.chunked import CHUNKS_AT_ONCE
from tests.support.playbook import CHUNKED_POST, GET, OK, UPSTREAM, PlaybookCase, post

TINY = b"1\r\nx\r\n"
LAST = b"0\r\n\r\n"


class TurnsTests(PlaybookCase):
    def test_tiny_chunks_are_read_in_turns(self) -> None:
        """One read full of tiny chunks is passed on in parts, and not read on meanwhile."""
        stage = self.stage()
        down = stage.downstream()
        down.says(CHUNKED_POST)
        up = stage.upstream()
        up.heard()
        many = 4 * CHUNKS_AT_ONCE
        down.connection.protocol.dataReceived(TINY * many + LAST + GET)
        # Before the reactor's next turn, which heard() would bring.
        self.assertEqual(up.wire.sent.count(b"x"), CHUNKS_AT_ONCE)
        self.assertFalse(down.reading)
        self.assertEqual(up.heard().count(b"x"), many)
        self.assertTrue(down.reading)
        up.says(OK)
        up.says(OK)
        self.assertEqual(down.heard(), OK + OK)

    def test_lost_between_turns(self) -> None:
        """A downstream that vanishes between two turns leaves nothing behind."""
        stage = self.stage()
        down = stage.downstream()
        down.says(CHUNKED_POST)
        stage.upstream().heard()
        down.connection.protocol.dataReceived(TINY * (2 * CHUNKS_AT_ONCE))
        down.resets()
        stage.wait(0.1)
        self.assertEqual(stage.log.statuses, [499])

    def test_bad_chunk_in_a_later_turn(self) -> None:
        """What is invalid in a later turn is refused as in the first."""
        stage = self.stage()
        down = stage.downstream()
        down.says(CHUNKED_POST)
        stage.upstream().heard()
        down.connection.protocol.dataReceived(TINY * (2 * CHUNKS_AT_ONCE) + b"oops\r\n")
        stage.wait(0.1)
        self.assertTrue(down.heard().startswith(b"HTTP/1.1 400 "))
        self.assertEqual(stage.log.statuses, [400])


class DrippingTests(PlaybookCase):
    def test_response_head(self) -> None:
        """A response head that comes byte by byte has no more time than one that does not."""
        stage = self.stage(settings=evolve(UPSTREAM, request_secs=5))
        down = stage.downstream()
        down.says(GET)
        up = stage.upstream()
        for byte in OK[:7]:
            up.says(bytes([byte]))
            stage.wait(1)
        self.assertTrue(down.heard().startswith(b"HTTP/1.1 504 "))

    def test_hints_do_not_put_off_the_continue(self) -> None:
        """A 103 is no 100: the body may still start after a second."""
        stage = self.stage()
        down = stage.downstream()
        down.says(post(4, b"Expect: 100-continue"))
        up = stage.upstream()
        up.heard()
        stage.wait(0.5)
        up.says(b"HTTP/1.1 103 Early Hints\r\n\r\n")
        stage.wait(2)
        self.assertTrue(down.heard().endswith(b"HTTP/1.1 100 Continue\r\n\r\n"))
        down.says(b"body")
        self.assertEqual(up.heard(), b"body")
        up.says(OK)
        self.assertEqual(stage.log.statuses, [200])

    def test_waiting_for_the_continue_is_not_slowness(self) -> None:
        """While the body waits for the upstream's 100 no time of it counts."""
        stage = self.stage(settings=evolve(UPSTREAM, connect_secs=40))
        down = stage.downstream()
        down.says(post(4, b"Expect: 100-continue"))
        stage.wait(35)
        self.assertEqual((down.heard(), down.ended), (b"", None))
        up = stage.upstream()
        up.says(b"HTTP/1.1 100 Continue\r\n\r\n")
        down.says(b"body")
        up.says(OK)
        self.assertEqual(stage.log.statuses, [200])


class FailingConnector:
    """A connector that finds no descriptor left, as one to a UNIX socket says it."""

    state = "disconnected"
    high_water = 0

    def __init__(self, *args: object) -> None:
        """Takes what a connector takes."""

    def connect(self) -> None:
        """Fail at once."""
        raise OSError(errno.EMFILE, "Too many open files")


class DescriptorTests(PlaybookCase):
    def test_none_left_for_a_unix_socket(self) -> None:
        """Without a descriptor for its connection an exchange is answered with 502."""
        address = UpstreamAddress.parse("unix:/run/s")
        stage = self.stage(settings=evolve(UPSTREAM, address=address))
        self.patch(attempt_module, "EagerUnixConnector", FailingConnector)
        down = stage.downstream()
        down.says(GET)
        stage.wait(0.1)
        self.assertTrue(down.heard().startswith(b"HTTP/1.1 502 "))
        self.assertEqual(stage.log.upstream_errors, ["connect failed: too many open files"])
