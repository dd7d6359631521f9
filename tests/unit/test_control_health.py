"""The health check: what it answers, what it refuses, and how it is bound."""

from __future__ import annotations

import json
import socket
import tempfile
from collections.abc import Iterable
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.internet.error import CannotListenError, ConnectionLost
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from revproxy.control.admin.protocol import MOST_COMMANDS
from revproxy.control.admin.protocol import MOST_CONNECTIONS as MOST_ADMIN_CONNECTIONS
from revproxy.control.descriptors import SPARE
from revproxy.control.health import MOST_CONNECTIONS, REQUEST_SECS, HealthPort, health_site
from revproxy.control.inherited import InheritedSockets
from revproxy.control.listening import BindError

MISSING = ["192.0.2.1 port 443 is not bound", "site \u00e4.test: no certificate covers it"]
LIST = json.dumps(MISSING).encode() + b"\n"

pieces = st.lists(
    st.binary(max_size=8)
    | st.sampled_from(
        [
            b"GET /health HTTP/1.1\r\n",
            b"POST /health/ready HTTP/1.0\r\n",
            b"Content-Length: 5\r\n",
            b"Transfer-Encoding: chunked\r\n",
            b"\r\n",
            b"5\r\nhello\r\n0\r\n\r\n",
        ]
    )
)


class HealthCase(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.missing: list[str] = []
        self.site = health_site(lambda: self.missing, self.clock)
        self.site.doStart()

    def connection(self) -> tuple[Any, StringTransport]:
        """A connection: its protocol and transport."""
        protocol, transport = self.site.buildProtocol(None), StringTransport()
        protocol.makeConnection(transport)
        return protocol, transport

    def sent(self, *received: bytes) -> bytes:
        """What is sent on a connection that ``received`` comes in on."""
        protocol, transport = self.connection()
        for piece in received:
            if not transport.disconnecting:  # it is not read any more
                protocol.dataReceived(piece)
        sent = transport.value()
        protocol.connectionLost(Failure(ConnectionLost()))
        return sent

    def ask(
        self,
        target: str,
        method: str = "GET",
        lines: Iterable[str] = (),
        body: bytes = b"",
        host: str = "localhost",
    ) -> tuple[int, dict[str, str], bytes]:
        """Status, fields and body of an answer."""
        head = "\r\n".join([f"{method} {target} HTTP/1.1", f"Host: {host}", *lines, "", ""])
        sent = self.sent(head.encode() + body)
        status, _, rest = sent.partition(b"\r\n")
        fields, _, content = rest.partition(b"\r\n\r\n")
        pairs = (line.split(": ", 1) for line in fields.decode().split("\r\n"))
        return int(status.split()[1]), {name.lower(): value for name, value in pairs}, content


class AnswerTests(HealthCase):
    def test_other_names(self) -> None:
        """A name that leads here is not answered: it would be a page in a browser that asks."""
        hosts = {"127.0.0.1:9900": 200, "localhost": 200, "": 200, "evil.example": 403}
        for host, status in hosts.items():
            self.assertEqual(self.ask("/health/ready", host=host)[0], status)
        self.assertIn(b" 200 ", self.sent(b"GET /health HTTP/1.0\r\n\r\n"))

    def test_health(self) -> None:
        """``/health`` is 200 with nothing in it, whatever the process is not ready for."""
        self.missing = MISSING
        for method in ("GET", "HEAD"):
            for target in ("/health", "/health?x=1"):
                status, fields, body = self.ask(target, method)
                self.assertEqual((status, body, fields["content-length"]), (200, b"", "0"))
                self.assertEqual(fields.keys(), {"date", "content-length"})

    def test_ready(self) -> None:
        """``/health/ready`` is the same when everything can be served."""
        for method in ("GET", "HEAD"):
            status, fields, body = self.ask("/health/ready", method)
            self.assertEqual((status, body, fields["content-length"]), (200, b"", "0"))

    def test_not_ready(self) -> None:
        """Otherwise it is 503 with a list in JSON of what cannot."""
        self.missing = MISSING
        status, fields, body = self.ask("/health/ready")
        self.assertEqual((status, body), (503, LIST))
        self.assertEqual(fields["content-type"], "application/json")
        self.assertEqual(fields["content-length"], str(len(LIST)))
        self.assertEqual(json.loads(body), MISSING)

    def test_not_ready_without_the_list(self) -> None:
        """A HEAD gets the same fields and no list."""
        self.missing = MISSING
        status, fields, body = self.ask("/health/ready", "HEAD")
        self.assertEqual((status, body), (503, b""))
        self.assertEqual(fields["content-length"], str(len(LIST)))

    def test_now(self) -> None:
        """Every question is about this moment."""
        self.assertEqual(self.ask("/health/ready")[0], 200)
        self.missing = MISSING
        self.assertEqual(self.ask("/health/ready")[0], 503)

    def test_other_methods(self) -> None:
        """Any other method is 405 with those that there are, and told nothing else."""
        self.missing = MISSING
        for method in ("POST", "PUT", "DELETE", "OPTIONS", "TRACE", "PATCH", "get", "X"):
            for target in ("/health", "/health/ready"):
                status, fields, body = self.ask(target, method)
                self.assertEqual((status, fields["allow"], body), (405, "GET, HEAD", b""))

    def test_other_paths(self) -> None:
        """Any other path is 404."""
        for target in (
            "/",
            "/healthy",
            "/Health",
            "/health/",
            "/health//ready",
            "/health/ready/",
            "/health/ready/more",
            "/ready",
            "/health/live",
            "/../health",
            "//health",
            "/%68ealth",
            "http://localhost/health",
        ):
            for method in ("GET", "HEAD", "POST"):
                self.assertEqual(self.ask(target, method)[0], 404, target)

    def test_anonymous(self) -> None:
        """No answer says what has made it."""
        self.missing = MISSING
        for method, target in (
            ("GET", "/health"),
            ("GET", "/health/ready"),
            ("GET", "/none"),
            ("POST", "/health"),
            ("OPTIONS", "*"),
            ("GET", "*"),
            ("BAD REQUEST", "/"),
        ):
            head = f"{method} {target} HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"
            sent = self.sent(head.encode())
            self.assertTrue(sent.startswith(b"HTTP/1.1 "), sent)
            self.assertNotIn(b"server:", sent.lower())
            self.assertNotIn(b"twisted", sent.lower())

    def test_failure(self) -> None:
        """A question that cannot be answered is 500 without the reason, which is logged."""

        def fail() -> list[str]:
            raise KeyError("secret")

        self.site = health_site(fail, self.clock)
        status, fields, body = self.ask("/health/ready")
        self.assertEqual(status, 500)
        self.assertNotIn(b"secret", body)
        self.assertNotIn("server", fields)
        self.assertEqual(len(self.flushLoggedErrors(KeyError)), 1)


class ConnectionTests(HealthCase):
    def test_persistent(self) -> None:
        """A connection carries one request after the other, also when they come at once."""
        request = b"GET /health HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"
        self.assertEqual(self.sent(request * 2, request).count(b"HTTP/1.1 200"), 3)

    def test_split_anywhere(self) -> None:
        """A request is the same wherever its bytes are parted."""
        request = b"GET /none HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"
        for index in range(len(request)):
            self.assertIn(b"HTTP/1.1 404 ", self.sent(request[:index], request[index:]))

    def test_body(self) -> None:
        """A request's body is read and not kept: neither in memory nor in a file."""

        def never(*_: object) -> None:
            raise AssertionError("a body is kept")

        self.patch(tempfile, "TemporaryFile", never)
        for lines, body in (
            (["Content-Length: 5"], b"hello"),
            (["Content-Length: 300000"], b"x" * 300_000),
            (["Transfer-Encoding: chunked"], b"493e0\r\n" + b"x" * 300_000 + b"\r\n0\r\n\r\n"),
        ):
            for method, expected in (("GET", 200), ("POST", 405)):
                self.assertEqual(self.ask("/health", method, lines, body)[0], expected)

    def test_nothing_kept(self) -> None:
        """While a body comes in, none of it is held."""
        protocol, _ = self.connection()
        protocol.dataReceived(b"POST /health HTTP/1.1\r\nContent-Length: 1000\r\n\r\n")
        protocol.dataReceived(b"x" * 500)
        (request,) = protocol.wrappedProtocol.requests
        self.assertEqual(request.content.getvalue(), b"")

    def test_whole_request_in_time(self) -> None:
        """A request has ten seconds to come, and one that trickles in gains none."""
        self.assertEqual(REQUEST_SECS, 10)
        for piece in (b"", b"X", b"POST /health HTTP/1.1\r\nContent-Length: 99\r\n\r\n"):
            protocol, transport = self.connection()
            for _ in range(REQUEST_SECS - 1):
                protocol.dataReceived(piece)
                piece = piece and b"x"
                self.clock.advance(1)
            self.assertFalse(transport.disconnecting)
            self.clock.advance(1)
            self.assertTrue(transport.disconnecting)
            self.assertFalse(transport.disconnected)
            self.clock.advance(60)
            self.assertTrue(transport.disconnected)

    def test_time_begins_again(self) -> None:
        """Every further request of a connection has as long."""
        protocol, transport = self.connection()
        for _ in range(3):
            self.clock.advance(REQUEST_SECS - 1)
            protocol.dataReceived(b"GET /health HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
        self.clock.advance(REQUEST_SECS - 1)
        self.assertFalse(transport.disconnecting)
        self.clock.advance(1)
        self.assertTrue(transport.disconnecting)

    def test_most_connections(self) -> None:
        """So many connections are open at once; for a further one the oldest is cut."""
        opened = [self.connection() for _ in range(MOST_CONNECTIONS)]
        self.connection()
        self.connection()
        cut = [transport.disconnected for _, transport in opened]
        self.assertEqual(cut, [True] * 2 + [False] * (MOST_CONNECTIONS - 2))
        for protocol, _ in opened:
            protocol.connectionLost(Failure(ConnectionLost()))
        self.assertEqual(len(self.site.protocols), 2)

    def test_room(self) -> None:
        """They and those of the admin socket leave some of the descriptors kept for control."""
        admin = MOST_ADMIN_CONNECTIONS + MOST_COMMANDS
        self.assertLess(MOST_CONNECTIONS + admin, SPARE - 4)

    def test_idle(self) -> None:
        """Without a connection there is no timer: a process with nothing to do sleeps."""
        self.assertEqual(self.clock.getDelayedCalls(), [])
        self.ask("/health")
        self.assertEqual(self.clock.getDelayedCalls(), [])
        self.site.doStop()

    def test_quiet(self) -> None:
        """Requests are not logged."""
        written: list[object] = []
        self.site.wrappedFactory.logFile = self
        self.patch(type(self), "write", written.append)
        self.ask("/health")
        self.assertEqual(written, [])

    def write(self, line: str) -> None:
        """As of a log file."""

    @settings(max_examples=200, deadline=None)
    @given(pieces)
    def test_any_bytes(self, received: list[bytes]) -> None:
        """Any bytes get answers of the few kinds that there are, and never a 500."""
        case = HealthCase()
        case.setUp()
        for part in case.sent(*received).split(b"HTTP/1.1 ")[1:]:
            self.assertIn(part[:3], {b"200", b"400", b"404", b"405", b"100"})


class FakeReactor:
    """Takes what is to be bound; ``error`` is raised instead."""

    def __init__(self, error: OSError | None = None) -> None:
        self.error = error
        self.bound: list[tuple[object, ...]] = []
        self.stopped = 0

    def listenTCP(self, port: int, factory: object, interface: str) -> FakeReactor:
        if self.error is not None:
            raise CannotListenError(interface, port, self.error)
        self.bound.append((interface, port, factory))
        return self

    def adoptStreamPort(self, descriptor: int, family: int, factory: object) -> FakeReactor:
        with socket.socket(fileno=socket.dup(descriptor)) as adopted:
            self.bound.append((*adopted.getsockname(), family, factory))
        return self

    def stopListening(self) -> str:
        self.stopped += 1
        return "stopped"


class PortTests(SynchronousTestCase):
    def test_bind(self) -> None:
        """The port is bound on 127.0.0.1 alone."""
        reactor, factory = FakeReactor(), object()
        HealthPort(reactor, 9900, factory).privilegedStartService()
        self.assertEqual(reactor.bound, [("127.0.0.1", 9900, factory)])

    def test_taken(self) -> None:
        """A port that is taken fails the start with the address and the reason."""
        port = HealthPort(FakeReactor(OSError(98, "Address already in use")), 9900, object())
        error = self.assertRaises(BindError, port.privilegedStartService)
        self.assertEqual(
            str(error), "health_check_port: cannot bind 127.0.0.1:9900: Address already in use"
        )

    def test_inherited(self) -> None:
        """A socket that listens there already is used, and none is left over."""
        reactor, factory = FakeReactor(), object()
        passed = socket.create_server(("127.0.0.1", 0))
        number = passed.getsockname()[1]
        port = HealthPort(reactor, number, factory, InheritedSockets([passed]))
        port.privilegedStartService()
        self.assertEqual(reactor.bound, [("127.0.0.1", number, socket.AF_INET, factory)])
        self.assertEqual(passed.fileno(), -1)

    def test_stop(self) -> None:
        """At the end nothing is accepted any more; whoever stops it waits for that."""
        reactor = FakeReactor()
        port = HealthPort(reactor, 9900, object())
        self.assertIsNone(port.stopService())
        port.privilegedStartService()
        port.startService()
        stopped: Any = port.stopService()
        self.assertEqual(stopped, "stopped")
        self.assertFalse(port.running)
        self.assertIsNone(port.stopService())
        self.assertEqual(reactor.stopped, 1)

    def test_identity(self) -> None:
        """A service is itself and no other."""
        one, other = (HealthPort(FakeReactor(), 9900, None) for _ in range(2))
        self.assertEqual({one, other} - {other}, {one})
