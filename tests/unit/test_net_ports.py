"""How a port treats the connections that it accepts."""

from __future__ import annotations

from ipaddress import ip_network

from twisted.internet.address import IPv4Address

from revproxy.model.configuration import Limits, Timeouts
from revproxy.model.tls import Alert
from revproxy.net.gate import EXHAUSTED_SECS, QUIET_SECS
from revproxy.net.ports import PlainPort, TlsPort
from tests.support.accepted import accept
from tests.support.doubles import Door
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

    def admit(self) -> None:
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

    def test_idle_ones_make_room(self) -> None:
        """At the limit of all, as many idle connections close as it takes to go on."""
        stage = self.stage()
        port = self.port(stage)
        stage.port.connections.configure(4, 0)
        busy, first, second = Accepted(), Accepted(idle=True), Accepted(idle=True)
        for one in (busy, first, second, Accepted()):
            port.connected(one)
        port.crowded(Door())
        self.assertEqual((busy.asked, first.asked, second.asked), (1, 1, 0))

    def test_trusted_proxy(self) -> None:
        """A trusted proxy stands for many clients: it has no limit of its own, even afterwards."""
        stage = self.stage(trusted=(ip_network("192.0.2.0/24"),))
        port = self.port(stage, most_per_key=1)
        accepted = [Accepted() for _ in range(5)]
        for one in accepted:
            self.assertIsNotNone(port.buildProtocol(IPv4Address("TCP", "192.0.2.1", 50000)))
            port.connected(one)
        self.assertTrue(all(one.reading for one in accepted))
        stage.port.router.plan = stage.plan(trusted=())
        for one in accepted:
            port.disconnected(one)
        self.assertEqual(stage.port.connections.total, 0)

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
        fields = {"client_ip": "192.0.2.1", "open": 2, "limit": "max_connections_per_ip"}
        self.assertEqual(stage.log.records, [("warn", "CONNECTION_LIMIT", fields)] * 2)

    def test_full(self) -> None:
        """With as many connections as there may be a port pauses, with a record in a while."""
        stage = self.stage()
        port, door = self.port(stage), Door()
        stage.port.connections.configure(1, 0)
        self.assertFalse(port.full())
        accepted = Accepted()
        port.connected(accepted)
        self.assertTrue(port.full())
        for _ in range(3):
            port.crowded(door)
        self.assertFalse(door.accepting)
        fields = {"open": 1, "limit": "max_connections"}
        self.assertEqual(stage.log.records, [("warn", "CONNECTION_LIMIT", fields)])
        stage.wait(QUIET_SECS)
        port.crowded(door)
        self.assertEqual(len(stage.log.records), 2)
        port.disconnected(accepted)
        self.assertTrue(door.accepting)

    def test_exhausted(self) -> None:
        """Without a descriptor a port pauses for a moment, with a record in a while."""
        stage = self.stage()
        port, door = self.port(stage), Door()
        pauses = 0
        for _ in range(int(4 * (QUIET_SECS + 1))):
            if door.accepting:
                pauses += 1
                port.exhausted(door)
            stage.wait(0.25)
        self.assertEqual(pauses, QUIET_SECS + 1)
        fields = {"open": 0, "limit": "descriptors"}
        self.assertEqual(stage.log.records, [("warn", "CONNECTION_LIMIT", fields)] * 2)
        stage.wait(EXHAUSTED_SECS)

    def test_causes_do_not_silence_each_other(self) -> None:
        """Each cause has its own record, whichever port it comes up at."""
        stage = self.stage()
        ports, door = [self.port(stage, most_per_key=1) for _ in range(2)], Door()
        for _ in range(2):
            ports[0].connected(Accepted())
        stage.port.connections.configure(3, 1)
        address = IPv4Address("TCP", "192.0.2.1", 50000)
        for port in ports:
            port.buildProtocol(address)
            port.exhausted(door)
        stage.port.connections.configure(2, 1)
        for port in ports:
            port.crowded(door)
        limits = [fields["limit"] for _, _, fields in stage.log.records]
        self.assertEqual(limits, ["max_connections_per_ip", "descriptors", "max_connections"])
        stage.wait(EXHAUSTED_SECS)

    def test_limit_of_all_refuses(self) -> None:
        """What was accepted as the last one came is closed, whoever it comes from."""
        stage = self.stage()
        port = self.port(stage)
        stage.port.connections.configure(1, 0)
        port.connected(Accepted())
        self.assertIsNone(port.buildProtocol(IPv4Address("TCP", "192.0.2.2", 50000)))

    def test_handshake_that_waited(self) -> None:
        """A handshake that ran out of time while it had to wait is refused for the limit."""
        stage = self.stage(timeouts=Timeouts(client_hello_secs=1))
        port = TlsPort(stage.port, lambda hello: Alert(112, "nobody"))
        stage.port.connections.configure(0, 1)
        accept(stage, port)
        waiting = accept(stage, port)
        self.assertFalse(waiting.reading)
        stage.wait(2.5)
        records = [(event, fields.get("limit")) for _, event, fields in stage.log.records]
        expected = [("TLS_REFUSED", None), ("CONNECTION_LIMIT", "max_connections_per_ip")]
        self.assertEqual(sorted(records, key=str), sorted(expected, key=str))
        self.assertEqual(stage.port.connections.total, 0)
