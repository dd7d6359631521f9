"""How a relay ends: in order, cut, or in time; and that it is told once."""

from __future__ import annotations

from revproxy.model.configuration import Limits, Timeouts
from tests.support.fake_sockets import FIN
from tests.support.playbook import Peer
from tests.support.relays import RelayCase

SMALL = Limits(buffered_bytes=16384)
SHORT = Timeouts(response_write_secs=10, upgraded_idle_secs=60)


class OrderTests(RelayCase):
    """Ends by FIN."""

    def both(self) -> list[tuple[Peer, Peer]]:
        """Two relays, each as the pair of who ends first and the other."""
        first = self.passing(limits=SMALL, timeouts=SHORT)
        down, up = self.passing(limits=SMALL, timeouts=SHORT)
        return [first, (up, down)]

    def test_half_close(self) -> None:
        """The end of one side is passed on, and the other may go on until its own."""
        for one, other in self.both():
            one.says(b"last", FIN)
            self.assertEqual(other.heard(), b"last")
            self.assertTrue(other.half_closed)
            other.says(b"answer")
            self.assertEqual(one.heard(), b"answer")
            self.assertIsNone(one.ended)
            other.says(FIN)
            self.assertEqual((one.ended, other.ended), ("closed", "closed"))
        self.assertEqual(self.cuts(), [None])

    def test_queued_bytes_go_first(self) -> None:
        """A FIN follows everything that is queued, and the close too."""
        for one, other in self.both():
            other.stalls()
            one.says(bytes(10000), FIN)
            self.assertEqual(other.wire.events, [])
            other.takes(4000)
            self.assertEqual(other.wire.events, [])
            one.stalls()
            other.says(bytes(9000), FIN)
            self.assertEqual((one.ended, other.ended), (None, None))
            other.takes()
            self.assertEqual(len(other.heard()), 10000)
            one.takes()
            self.assertEqual(len(one.heard()), 9000)
            self.assertEqual((one.ended, other.ended), ("closed", "closed"))
        self.assertEqual(self.cuts(), [None])

    def test_end_behind_pressure(self) -> None:
        """An end that was sent while its side was not read is passed on all the same."""
        for one, other in self.both():
            other.stalls()
            one.says(bytes(40000), b"x", FIN)
            self.assertFalse(one.reading)
            other.takes()
            self.assertEqual(len(other.heard()), 40001)
            self.assertTrue(other.half_closed)

    def test_not_read_after_the_end(self) -> None:
        """A side that has ended is not read again when the other takes bytes."""
        for one, other in self.both():
            one.says(FIN)
            one.stalls()
            other.stalls()
            other.says(*[bytes(9000)] * 4)
            one.takes()
            other.takes()
            self.assertFalse(one.reading)
            self.assertTrue(other.reading)

    def test_end_while_connecting(self) -> None:
        """A stream whose downstream has said all is connected all the same, and answered."""
        down = self.accept(self.stream_port())
        down.says(b"question", FIN)
        up = self.relay_stage.upstream()
        self.assertEqual(up.heard(), b"question")
        self.assertTrue(up.half_closed)
        up.says(b"answer", FIN)
        self.assertEqual(down.heard(), b"answer")
        self.assertEqual((down.ended, self.cuts()), ("closed", [None]))


class CutTests(RelayCase):
    """Ends by reset."""

    def test_reset(self) -> None:
        """A reset of one side resets the other, and is told."""
        down, up = self.passing()
        down.resets()
        self.assertEqual((up.ended, self.cuts()), ("aborted", ["downstream"]))
        down, up = self.passing()
        up.resets()
        self.assertEqual((down.ended, self.cuts()), ("aborted", ["upstream"]))

    def test_what_was_said_before_the_end_arrives(self) -> None:
        """A downstream that ends in order and is gone then has still said everything."""
        down, up = self.passing()
        up.stalls()
        down.says(b"to be kept", FIN)
        down.resets()
        self.assertIsNone(up.ended)
        up.takes()
        self.assertEqual(up.heard(), b"to be kept")
        self.assertEqual((up.ended, self.cuts()), ("closed", ["downstream"]))

    def test_backend_that_wants_no_more(self) -> None:
        """A backend that ends in order and resets then has answered: that is no cut."""
        down, up = self.passing()
        down.stalls()
        up.says(b"the answer", FIN)
        down.says(b"unwanted")
        up.resets()
        self.assertIsNone(down.ended)
        down.takes()
        self.assertEqual(down.heard(), b"the answer")
        self.assertEqual((down.ended, self.cuts()), ("closed", [None]))

    def test_reset_while_the_rest_leaves(self) -> None:
        """A downstream that is reset after both ends, with bytes on their way, is a cut."""
        down, up = self.passing()
        down.stalls()
        down.says(FIN)
        up.says(b"not all of this", FIN)
        down.resets()
        self.assertEqual(self.cuts(), ["downstream"])


class TimeTests(RelayCase):
    """Ends by a limit."""

    def test_idle(self) -> None:
        """With nothing either way for upgraded_idle_secs both are reset; a byte begins anew."""
        down, up = self.passing(timeouts=SHORT)
        self.relay_stage.wait(50)
        up.says(b"x")
        self.relay_stage.wait(50)
        down.says(b"x")
        self.relay_stage.wait(59)
        self.assertIsNone(down.ended)
        self.relay_stage.wait(4)
        self.assertEqual((down.ended, up.ended), ("aborted", "aborted"))
        self.assertEqual(self.cuts(), ["idle"])

    def test_half_closed_and_idle(self) -> None:
        """A relay of which one side has ended has the limit, too."""
        down, _ = self.passing(timeouts=SHORT)
        down.says(FIN)
        self.relay_stage.wait(63)
        self.assertEqual(self.cuts(), ["idle"])

    def test_stalled(self) -> None:
        """A side that takes nothing for response_write_secs is reset, and so is the other."""
        down, up = self.passing(limits=SMALL, timeouts=SHORT)
        down.stalls()
        up.says(*[bytes(9000)] * 4)
        self.relay_stage.wait(9)
        self.assertIsNone(down.ended)
        self.relay_stage.wait(3)
        self.assertEqual((down.ended, up.ended), ("aborted", "aborted"))
        self.assertEqual(self.cuts(), ["downstream"])

    def test_stalled_backend(self) -> None:
        """So is a backend, even while it goes on to say something."""
        down, up = self.passing(limits=SMALL, timeouts=SHORT)
        up.stalls()
        down.says(*[bytes(9000)] * 4)
        for _ in range(9):
            self.relay_stage.wait(1)
            up.says(b"x")
        self.assertIsNone(down.ended)
        self.relay_stage.wait(3)
        self.assertEqual((down.ended, up.ended), ("aborted", "aborted"))
        self.assertEqual(self.cuts(), ["upstream"])

    def test_slow(self) -> None:
        """A side that takes a little now and then is waited for."""
        down, up = self.passing(limits=SMALL, timeouts=SHORT)
        down.stalls()
        up.says(*[bytes(9000)] * 4)
        for _ in range(8):
            self.relay_stage.wait(8)
            down.takes(10)
        self.assertIsNone(down.ended)
        down.takes()
        self.assertEqual(len(down.heard()), 36000)

    def test_slow_without_pressure(self) -> None:
        """Taking what is queued is not being idle."""
        down, up = self.passing(timeouts=SHORT)
        down.stalls()
        up.says(bytes(1000))
        self.relay_stage.wait(50)
        down.takes(10)
        self.relay_stage.wait(50)
        self.assertIsNone(down.ended)

    def test_stalled_after_both_ends(self) -> None:
        """What is left after both have ended is waited for only as long as it is being taken."""
        for taker in ("downstream", "upstream"):
            down, up = self.passing(timeouts=SHORT)
            one, other = (down, up) if taker == "downstream" else (up, down)
            one.stalls()
            other.says(b"queued", FIN)
            one.says(FIN)
            self.assertIsNone(one.ended)
            self.relay_stage.wait(13)
            self.assertEqual(one.ended, "aborted")
            self.assertEqual(self.cuts(), [taker])


class DrainTests(RelayCase):
    """The end of the process."""

    def test_goes_on(self) -> None:
        """A relay is waited for as long as the process may take: nobody knows what it does."""
        down, up = self.passing()
        relay = down.connection.protocol
        self.assertTrue(relay.busy)
        self.assertFalse(relay.give_way())
        relay.drain()
        down.says(b"still")
        self.assertEqual(up.heard(), b"still")
        down.closes()
        up.closes()
        self.assertFalse(relay.busy)

    def test_cut(self) -> None:
        """When its time is up both sides are reset, and that is told."""
        down, up = self.passing()
        down.connection.protocol.cut()
        self.relay_stage.wait(1)
        self.assertEqual((down.ended, up.ended), ("aborted", "aborted"))
        self.assertEqual(self.cuts(), ["shutdown"])

    def test_cut_while_connecting(self) -> None:
        """One that is still connecting gives that up."""
        down = self.accept(self.stream_port())
        down.connection.protocol.cut()
        self.relay_stage.wait(1)
        self.assertEqual((down.ended, self.cuts()), ("aborted", ["shutdown"]))

    def test_summary(self) -> None:
        """It is told as passing, from the time it was accepted on."""
        down, _ = self.passing()
        summary = down.connection.protocol.summary()
        self.assertEqual((summary.client, summary.state), ("192.0.2.1", "passing"))
        self.assertEqual((summary.secure, down.connection.protocol.upgraded), (False, 0))
