"""Too many connections, and no descriptors left: what still answers, and what comes back."""

from __future__ import annotations

import socket
import time
from collections.abc import Sequence
from typing import Any, ClassVar

from twisted.trial.unittest import SynchronousTestCase

from tests.support.byte_stream import StreamEndedError
from tests.support.proxy import ADMIN, RUN, RunningProxy, free_port
from tests.support.raw_client import RawClient
from tests.support.recording_upstream import Answer, RecordingUpstream

REQUEST = b"GET / HTTP/1.1\r\nHost: site.test\r\n\r\n"
HEALTH = b"GET /health HTTP/1.0\r\n\r\n"


class LimitCase(SynchronousTestCase):
    """A proxy of its own, with health check and admin socket.

    Attributes:
        LIMITS: of the configuration.
        COMMAND: that starts it.
    """

    LIMITS: ClassVar[dict[str, Any]] = {}
    COMMAND: ClassVar[Sequence[str]] = RUN

    def setUp(self) -> None:
        self.upstream = RecordingUpstream()
        self.addCleanup(self.upstream.stop)
        self.health_port = free_port()
        self.proxy = RunningProxy(
            {"site.test": self.upstream.address},
            command=self.COMMAND,
            admin_socket_path=ADMIN,
            health_check_port=self.health_port,
            limits=self.LIMITS,
        )
        self.addCleanup(self.proxy.stop, allow_errors=True)
        self.proxy.wait_for_line(" START ")

    def connect(self) -> RawClient:
        """A TLS connection that has been answered, and is idle now."""
        client = RawClient.tls(self.proxy.https_port, "site.test", timeout=20)
        self.addCleanup(client.close)
        self.assertEqual(client.ask(REQUEST).status, 200)
        return client

    def assert_control_plane_answers(self) -> dict[str, Any]:
        """Health check and admin socket answer within a second; the status."""
        started = time.monotonic()
        with RawClient.plain(self.health_port) as client:
            self.assertEqual(client.ask(HEALTH).status, 200)
        status = self.proxy.ask("status")
        self.assertLess(time.monotonic() - started, 2)
        return status


class ConnectionLimitTests(LimitCase):
    LIMITS: ClassVar[dict[str, Any]] = {"max_connections": 20, "max_connections_per_ip": 0}

    def busy(self, count: int) -> list[RawClient]:
        """So many connections whose request is under way."""
        self.upstream.answers[b"/hang"] = Answer((), then="hold")
        clients = [self.connect() for _ in range(count)]
        for client in clients:
            client.send(REQUEST.replace(b" / ", b" /hang "))
        self.upstream.wait_for_requests(2 * count)
        return clients

    def test_idle_ones_make_room(self) -> None:
        """At the limit, connections between two requests give way to those that come."""
        idle = [self.connect() for _ in range(20)]
        self.connect()
        self.proxy.wait_for_line("WARN CONNECTION_LIMIT open=20 limit=max_connections")
        closed = [client for client in idle if not self.answers(client)]
        self.assertEqual(closed, idle[: len(closed)])
        self.assertTrue(1 <= len(closed) <= 2)

    def answers(self, client: RawClient) -> bool:
        """Whether a connection is still there for a request."""
        try:
            return client.ask(REQUEST).status == 200
        except (StreamEndedError, OSError):
            return False

    def test_pause(self) -> None:
        """At the limit accepting pauses, one record says so, and whoever waits is served later."""
        clients = self.busy(20)
        waiting = [socket.create_connection(("127.0.0.1", self.proxy.https_port)) for _ in "abc"]
        for one in waiting:
            self.addCleanup(one.close)
        self.proxy.wait_for_line("WARN CONNECTION_LIMIT open=20 limit=max_connections")
        status = self.assert_control_plane_answers()
        figures = status["connections"]
        self.assertEqual(
            (figures["open"], figures["limit"], figures["accepting"]), (20, 20, False)
        )
        for one in waiting:
            one.close()
        for client in clients[10:]:
            client.reset()
        self.connect()
        self.assertTrue(self.assert_control_plane_answers()["connections"]["accepting"])

    def test_raised_by_a_reload(self) -> None:
        """A reload that raises the limit lets those in that wait."""
        self.busy(20)
        waiting = socket.create_connection(("127.0.0.1", self.proxy.http_port))
        self.addCleanup(waiting.close)
        self.proxy.wait_for_line("CONNECTION_LIMIT")
        waiting.sendall(REQUEST)
        text = self.proxy.config_path.read_text()
        text = text.replace("max_connections = 20", "max_connections = 40")
        self.proxy.config_path.write_text(text)
        self.assertEqual(self.proxy.ask("reload")["status"], "ok")
        waiting.settimeout(10)
        self.assertTrue(waiting.recv(100).startswith(b"HTTP/1.1 301 "))


class DescriptorTests(LimitCase):
    """So few descriptors that upstream connections use them up."""

    LIMITS: ClassVar[dict[str, Any]] = {"max_connections": 136, "max_connections_per_ip": 0}
    COMMAND: ClassVar[Sequence[str]] = ("prlimit", "--nofile=200:200", *RUN)

    def test_used_up(self) -> None:
        """Requests for which there is no upstream connection are 502; all comes back by itself."""
        self.upstream.answers[b"/hang"] = Answer((), then="hold")
        clients = [self.connect() for _ in range(90)]
        for client in clients:
            client.send(REQUEST.replace(b" / ", b" /hang "))
        self.proxy.wait_for_line(
            'WARN UPSTREAM_ERROR .*error="connect failed: too many open files"'
        )
        status = self.assert_control_plane_answers()
        self.assertEqual(status["connections"]["open"], 90)
        refused = [socket.create_connection(("127.0.0.1", self.proxy.http_port)) for _ in "abc"]
        for one in refused:
            self.addCleanup(one.close)
        self.proxy.wait_for_line("WARN CONNECTION_LIMIT open=90 limit=descriptors")
        self.assert_control_plane_answers()
        for client in clients:
            client.reset()
        self.connect()
        self.proxy.ask("reopen-logs")
        self.proxy.wait_for_line("ADMIN command=reopen-logs ")
        said = [line for line in self.proxy.lines if "CONNECTION_LIMIT" in line]
        self.assertEqual(len(said), 1)

    def test_too_high(self) -> None:
        """A limit that the process cannot keep is refused, by a reload as by the start."""
        text = self.proxy.config_path.read_text()
        text = text.replace("max_connections = 136", "max_connections = 137")
        self.proxy.config_path.write_text(text)
        message = self.proxy.ask("reload")["message"]
        self.assertIn("limits.max_connections: 137 connections and 64 further files", message)
