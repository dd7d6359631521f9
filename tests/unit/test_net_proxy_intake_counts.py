"""PROXY headers and the limits of connections."""

from __future__ import annotations

from ipaddress import ip_network

from revproxy.model.configuration import Timeouts
from tests.support.intakes import CLIENT, IntakeCase, header
from tests.support.playbook import GET, OK


class CountTests(IntakeCase):
    """max_connections_per_ip goes by the address in the header."""

    def test_client_is_counted(self) -> None:
        """A client with as many as it may have waits with the next, unread, and then is served."""
        port = self.port(most_per_key=1)
        first = self.accept(port)
        first.says(header() + GET)
        up = self.intake_stage.upstream()
        second = self.accept(port)
        second.says(header() + GET)
        self.assertEqual(self.intake_stage.attempts, [])
        self.assertFalse(second.reading)
        other = self.accept(port)
        other.says(header("203.0.113.51") + GET)
        self.served(other)
        up.heard()
        up.says(OK)
        self.assertEqual((first.heard(), first.ended), (OK, "closed"))
        self.assertIn(b"X-Real-IP: 203.0.113.50\r\n", up.heard())
        up.says(OK)
        self.assertEqual(second.heard(), OK)

    def test_idle_one_gives_way(self) -> None:
        """An idle connection of the same client gives way to it."""
        port = self.port(most_per_key=1)
        first = self.accept(port)
        first.says(header() + GET)
        self.served(first)
        second = self.accept(port)
        second.says(header() + GET)
        self.assertEqual(first.ended, "closed")
        self.served(second)

    def test_refused(self) -> None:
        """One beyond those that may wait is closed, and told as any other."""
        for make in (self.port, self.tls_port):
            port = make(most_per_key=1)
            for _ in range(2):
                self.accept(port).says(header())
            third = self.accept(port)
            third.says(header() + GET)
            self.assertEqual((third.ended, third.heard()), ("aborted", b""))
            (told,) = self.records("CONNECTION_LIMIT")
            self.assertEqual(told["client_ip"], CLIENT)
            self.assertEqual(self.records("PROXY_REFUSED"), [])
            self.assertEqual(self.intake_stage.port.connections.total, 2)

    def test_lost_while_waiting(self) -> None:
        """One that leaves while it waits is counted out, and nothing of it is served."""
        port = self.port(most_per_key=1)
        first = self.accept(port)
        first.says(header())
        second = self.accept(port)
        second.says(header() + GET)
        second.resets()
        first.resets()
        self.intake_stage.wait(1)
        self.assertEqual(self.intake_stage.attempts, [])

    def test_wait_that_takes_too_long(self) -> None:
        """One that waits has the time limit of its first bytes, as without a header."""
        port = self.port(most_per_key=1, timeouts=Timeouts(request_head_secs=3))
        first = self.accept(port)
        first.says(header() + GET)
        up = self.intake_stage.upstream()
        second = self.accept(port)
        second.says(header() + GET)
        self.intake_stage.wait(8)
        self.assertIsNotNone(second.ended)
        up.says(OK)
        self.assertEqual(first.heard(), OK)

    def test_trusted_client(self) -> None:
        """A client that is a trusted proxy stands for many, and is not limited."""
        port = self.port(most_per_key=1, trusted=(ip_network("203.0.113.0/24"),))
        for _ in range(3):
            down = self.accept(port)
            down.says(header() + GET)
            self.served(down)

    def test_limit_of_all(self) -> None:
        """At the limit of all together a header changes nothing for who is in already."""
        port = self.port()
        down = self.accept(port)
        self.intake_stage.port.connections.configure(1, 0)
        self.assertIsNone(port.buildProtocol(down.connection.getPeer()))
        down.says(header() + GET)
        self.served(down)
