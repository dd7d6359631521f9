"""How a port treats the connections that it accepts."""

from __future__ import annotations

from twisted.internet.address import IPv4Address

from revproxy.model.configuration import Limits
from revproxy.net.gate import QUIET_SECS
from revproxy.net.ports import PlainPort
from tests.support.playbook import PlaybookCase, Stage


class Accepted:
    """An accepted connection as its port sees it, and its protocol."""

    def __init__(self, *, idle: bool = False) -> None:
        self.client = ("192.0.2.1", 50000)
        self.protocol = self
        self.high_water = 0
        self.reading = True
        self.idle = idle
        self.asked = 0

    def pauseProducing(self) -> None:
        self.reading = False

    def resumeProducing(self) -> None:
        self.reading = True

    def give_way(self) -> bool:
        self.asked += 1
        return self.idle


class PortTests(PlaybookCase):
    def port(self, stage: Stage, most_per_key: int = 0) -> PlainPort:
        stage.port.connections.configure(0, most_per_key)
        return PlainPort(stage.port)

    def test_limit_of_queue(self) -> None:
        """What may be queued for a downstream is buffered_bytes, as for an upstream."""
        port = self.port(self.stage(limits=Limits(buffered_bytes=12345)))
        accepted = Accepted()
        port.connected(accepted)
        self.assertEqual((accepted.high_water, accepted.reading), (12345, True))

    def test_waits_for_its_turn(self) -> None:
        """A surplus connection is not read until one of its client has gone."""
        port = self.port(self.stage(), most_per_key=1)
        first, second = Accepted(), Accepted()
        port.connected(first)
        port.connected(second)
        self.assertFalse(second.reading)
        port.disconnected(first)
        self.assertTrue(second.reading)

    def test_only_one_gives_way(self) -> None:
        """One idle connection gives way to one that waits; busy ones are left alone."""
        port = self.port(self.stage(), most_per_key=3)
        busy, idle, other = Accepted(), Accepted(idle=True), Accepted(idle=True)
        for accepted in (busy, idle, other, Accepted()):
            port.connected(accepted)
        self.assertEqual((busy.asked, idle.asked, other.asked), (1, 1, 0))

    def test_refusals_are_recorded_sparingly(self) -> None:
        """What is beyond the waiting ones is closed, with one record in a while."""
        stage = self.stage()
        port = self.port(stage, most_per_key=1)
        for _ in range(2):
            port.connected(Accepted())
        address = IPv4Address("TCP", "192.0.2.1", 50000)
        for _ in range(5):
            self.assertIsNone(port.buildProtocol(address))
        stage.wait(QUIET_SECS + 1)
        self.assertIsNone(port.buildProtocol(address))
        events = [event for _, event, _ in stage.log.records]
        self.assertEqual(events.count("CONNECTION_LIMIT"), 2)
