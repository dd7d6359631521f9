"""What a relay waits for: its turn, and its backend."""

from __future__ import annotations

from twisted.internet import error

from revproxy.model.configuration import Timeouts
from revproxy.net.ports import StreamPort
from tests.support.fake_sockets import FIN
from tests.support.relays import HELLO, INTERNAL_ERROR, RelayCase

REFUSED = error.ConnectionRefusedError()


class ConnectingTests(RelayCase):
    """Until the backend is there."""

    def check_unreachable(self, reason: str, *, passed: bool) -> None:
        """The downstream has been told, and so has the log."""
        (down,) = self.relay_stage.peers
        self.relay_stage.wait(1)
        self.assertEqual(down.heard(), INTERNAL_ERROR if passed else b"")
        self.assertEqual(down.ended, "closed")
        (told,) = self.told()
        self.assertEqual((told["cut"], told["error"]), ("upstream", reason))
        self.assertEqual(self.relay_stage.log.upstream_errors, [reason])

    def test_refused(self) -> None:
        """A backend that refuses: an alert in TLS, a plain close of a stream, two records."""
        for passed in (True, False):
            down = self.accept(self.tls_port() if passed else self.stream_port())
            down.says(HELLO)
            self.relay_stage.attempts.pop().fail(REFUSED)
            self.check_unreachable("connection refused", passed=passed)

    def test_slow(self) -> None:
        """A backend that does not answer in its time is unreachable, too."""
        for passed in (True, False):
            down = self.accept(self.tls_port() if passed else self.stream_port())
            down.says(HELLO)
            self.relay_stage.wait(6)
            self.check_unreachable("connect timeout", passed=passed)

    def test_unresolvable(self) -> None:
        """So is one whose name leads nowhere."""
        self.accept(self.stream_port(address="backend.test:25"))
        self.relay_stage.resolver.answer()
        self.check_unreachable("name resolution failed", passed=False)

    def test_no_names_in_time(self) -> None:
        """So is one whose name nobody answers for."""
        self.accept(self.stream_port(address="backend.test:25"))
        self.relay_stage.wait(6)
        self.check_unreachable("name resolution timed out", passed=False)

    def test_alert_that_is_not_taken(self) -> None:
        """A downstream that does not take the alert is not waited for without end."""
        down = self.accept(self.tls_port(timeouts=Timeouts(response_write_secs=10)))
        down.says(HELLO)
        down.stalls()
        self.relay_stage.attempts.pop().fail(REFUSED)
        self.relay_stage.wait(13)
        self.assertEqual((down.ended, self.cuts()), ("aborted", ["upstream"]))

    def test_downstream_leaves(self) -> None:
        """A reset while connecting gives the attempt up."""
        for passed in (True, False):
            down = self.accept(self.tls_port() if passed else self.stream_port())
            down.says(HELLO)
            (attempt,) = self.relay_stage.attempts
            down.resets()
            self.assertEqual(attempt.state, "disconnected")
            self.assertEqual(self.cuts(), ["downstream"])

    def test_downstream_leaves_while_resolving(self) -> None:
        """A late answer of the resolver connects nowhere."""
        down = self.accept(self.stream_port(address="backend.test:25"))
        down.resets()
        self.relay_stage.resolver.answer("10.0.0.9")
        self.assertEqual(self.relay_stage.attempts, [])

    def test_end_before_the_handshake(self) -> None:
        """A TLS downstream that ends before its backend is there has left."""
        down = self.accept(self.tls_port())
        down.says(HELLO)
        (attempt,) = self.relay_stage.attempts
        down.says(FIN)
        self.relay_stage.wait(1)
        self.assertEqual(attempt.state, "disconnected")
        self.assertEqual((down.ended, self.cuts()), ("aborted", ["downstream"]))


class TurnTests(RelayCase):
    """One connection at a time of each address."""

    def port(self) -> StreamPort:
        port = self.stream_port(timeouts=Timeouts(client_hello_secs=4))
        self.relay_stage.port.connections.configure(0, 1)
        return port

    def test_counted(self) -> None:
        """A relay is one of its client's connections until it has ended."""
        down, up = self.passing()
        connections = self.relay_stage.port.connections
        self.assertEqual(connections.total, 1)
        down.closes()
        self.assertEqual(connections.total, 1)
        up.closes()
        self.assertEqual(connections.total, 0)

    def test_waits(self) -> None:
        """One too many is neither read nor connected before its turn, and then it is."""
        port = self.port()
        first = self.accept(port)
        self.relay_stage.upstream()
        second = self.accept(port)
        second.says(b"early")
        self.relay_stage.wait(1)
        self.assertFalse(second.reading)
        self.assertEqual(self.relay_stage.attempts, [])
        first.resets()
        up = self.relay_stage.upstream()
        self.assertEqual(up.heard(), b"early")
        self.relay_stage.wait(30)
        self.assertIsNone(second.ended)

    def test_turn_that_does_not_come(self) -> None:
        """It waits no longer than for a ClientHello."""
        port = self.port()
        self.accept(port)
        second = self.accept(port)
        self.relay_stage.wait(6)
        self.assertEqual(second.ended, "aborted")
        told = [fields for fields in self.told() if "max_connections_per_ip" in fields.values()]
        self.assertEqual([fields["cut"] for fields in told], ["downstream"])

    def test_leaves_while_waiting(self) -> None:
        """One that leaves before its turn connects nowhere."""
        port = self.port()
        first = self.accept(port)
        self.relay_stage.upstream()
        self.accept(port).resets()
        first.resets()
        self.relay_stage.wait(1)
        self.assertEqual(self.relay_stage.attempts, [])

    def test_cut_while_waiting(self) -> None:
        """One that waits is cut like any other."""
        port = self.port()
        self.accept(port)
        second = self.accept(port)
        second.connection.protocol.cut()
        self.relay_stage.wait(1)
        self.assertEqual((second.ended, self.cuts()[:1]), ("aborted", ["shutdown"]))
