"""Thousands of idle connections, and then more than there may be."""

from __future__ import annotations

import resource
import socket
import ssl
import threading
import time
from typing import Any, ClassVar

from twisted.trial.unittest import SynchronousTestCase

from tests.support.proxy import ADMIN, RunningProxy, free_port
from tests.support.raw_client import RawClient, client_context
from tests.support.recording_upstream import RecordingUpstream

REQUEST = b"GET / HTTP/1.1\r\nHost: site.test\r\n\r\n"


class Probe(threading.Thread):
    """Asks the health check and the admin socket over and over.

    Attributes:
        slowest: seconds that the slowest answer took.
        asked: how often they have answered.
        failure: what went wrong, if anything did.
    """

    def __init__(self, proxy: RunningProxy, health_port: int) -> None:
        super().__init__(daemon=True)
        self._proxy = proxy
        self._health_port = health_port
        self._over = threading.Event()
        self.slowest = 0.0
        self.asked = 0
        self.failure: BaseException | None = None

    def run(self) -> None:
        """Ask until it is over."""
        try:
            while not self._over.wait(0.05):
                self._time(self._health)
                self._time(lambda: self._proxy.ask("status"))
                self.asked += 1
        except BaseException as error:
            self.failure = error

    def _time(self, ask: Any) -> None:
        started = time.monotonic()
        ask()
        self.slowest = max(self.slowest, time.monotonic() - started)

    def _health(self) -> None:
        with RawClient.plain(self._health_port) as client:
            assert client.ask(b"GET /health HTTP/1.0\r\n\r\n").status == 200

    def end(self) -> None:
        """Ask no more."""
        self._over.set()
        self.join(10)


class CrowdTests(SynchronousTestCase):
    """Idle TLS connections up to the limit, and some beyond it.

    Attributes:
        CONNECTIONS: as many as there may be.
    """

    CONNECTIONS: ClassVar[int] = 300
    BEYOND: ClassVar[int] = 50

    def setUp(self) -> None:
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
        self.addCleanup(resource.setrlimit, resource.RLIMIT_NOFILE, (soft, hard))
        self.upstream = RecordingUpstream()
        self.addCleanup(self.upstream.stop)
        self.health_port = free_port()
        self.proxy = RunningProxy(
            {"site.test": self.upstream.address},
            admin_socket_path=ADMIN,
            health_check_port=self.health_port,
            limits={"max_connections": self.CONNECTIONS, "max_connections_per_ip": 0},
            timeouts={"keepalive_secs": 600},
        )
        self.addCleanup(self.proxy.stop, allow_errors=True)
        self.context = client_context()
        self.crowd: list[ssl.SSLSocket] = []
        self.addCleanup(self.disperse)

    def disperse(self) -> None:
        """Close every connection."""
        for client in self.crowd:
            client.close()

    def join(self) -> None:
        """One more connection, which is idle after a first request."""
        plain = socket.create_connection(("127.0.0.1", self.proxy.https_port), 20)
        client = self.context.wrap_socket(plain, server_hostname="site.test")
        self.crowd.append(client)
        client.sendall(REQUEST)
        self.assertTrue(client.recv(4096).startswith(b"HTTP/1.1 200 "))

    def test_crowd(self) -> None:
        """Health check and admin socket answer throughout, and everybody is served in the end."""
        probe = Probe(self.proxy, self.health_port)
        probe.start()
        self.addCleanup(probe.end)
        for _ in range(self.CONNECTIONS):
            self.join()
        self.assertEqual(self.proxy.ask("status")["connections"]["open"], self.CONNECTIONS)
        waiting = []
        for _ in range(self.BEYOND):
            client = socket.create_connection(("127.0.0.1", self.proxy.http_port), 20)
            self.addCleanup(client.close)
            client.sendall(REQUEST)
            waiting.append(client)
        self.proxy.wait_for_line("WARN CONNECTION_LIMIT open=")
        for client in waiting:
            self.assertTrue(client.recv(4096).startswith(b"HTTP/1.1 301 "))
        for client in self.crowd[self.CONNECTIONS // 2 :]:
            client.sendall(REQUEST)
            self.assertTrue(client.recv(4096).startswith(b"HTTP/1.1 200 "))
        self.join()
        probe.end()
        self.assertIsNone(probe.failure)
        self.assertGreater(probe.asked, 3)
        self.assertLess(probe.slowest, 1.0)
