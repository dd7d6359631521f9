"""The orderly end of a running proxy: who may finish, who is closed, and how long it takes."""

from __future__ import annotations

import os
import signal
import sys
import sysconfig
import threading
import time
from pathlib import Path
from typing import Any, ClassVar

from twisted.trial.unittest import SynchronousTestCase

from tests.support.nginx import Nginx
from tests.support.proxy import ADMIN, RUN, RunningProxy
from tests.support.raw_client import RawClient
from tests.support.real_clients import RealCase, digest_of, write_random
from tests.support.recording_upstream import Answer, Conversation, RecordingUpstream

REQUEST = b"GET / HTTP/1.1\r\nHost: site.test\r\n\r\n"
TWISTD = (sys.executable, str(Path(sysconfig.get_path("scripts"), "twistd")), "-n", "--pidfile=")
BEGUN = b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nbegun"


class SlowDownloadTests(RealCase):
    """Downloads that are under way when the signal comes.

    Attributes:
        MEBIBYTES: of each; nginx sends half of one in a second.
        DOWNLOADS: at once.
    """

    MEBIBYTES: ClassVar[int] = 2
    DOWNLOADS: ClassVar[int] = 50
    COMMAND: ClassVar[tuple[str, ...]] = RUN

    @classmethod
    def start_upstream(cls) -> Nginx:
        """An nginx with a file that takes a while."""
        nginx = super().start_upstream()
        cls.digest = write_random(nginx.files / "f", cls.MEBIBYTES)
        return nginx

    digest: ClassVar[str]

    @classmethod
    def overrides(cls) -> dict[str, Any]:
        """As long as it takes."""
        return {**cls.OVERRIDES, "shutdown_timeout_secs": 30, "command": cls.COMMAND}

    def test_downloads_finish(self) -> None:
        """SIGTERM: every download ends whole, nothing new is accepted, the exit status is 0."""
        curls = [
            self.start_curl("--fail", "-o", f"got{number}", self.url("/slow/f"))
            for number in range(self.DOWNLOADS)
        ]
        paths = [self.folder / f"got{number}" for number in range(self.DOWNLOADS)]
        deadline = time.monotonic() + 20
        while not all(path.exists() and path.stat().st_size for path in paths):
            self.assertLess(time.monotonic(), deadline, "the downloads do not begin")
            time.sleep(0.01)
        self.proxy.send_signal(signal.SIGTERM)
        self.proxy.wait_for_line(f"INFO DRAIN connections={self.DOWNLOADS} ")
        self.curl(self.url("/f"), ends=7)
        for curl in curls:
            _, errors = curl.communicate(timeout=60)
            self.assertEqual(curl.returncode, 0, errors)
        self.assertEqual({digest_of(path) for path in paths}, {self.digest})
        self.assertEqual(self.proxy.wait(10), 0)
        self.proxy.wait_for_line("INFO STOP$")


class SlowDownloadUnderTwistdTests(SlowDownloadTests):
    """The same under twistd."""

    COMMAND: ClassVar[tuple[str, ...]] = (*TWISTD, "revproxy")


class DrainCase(SynchronousTestCase):
    """A proxy of its own.

    Attributes:
        TIMEOUT: its shutdown_timeout_secs.
    """

    TIMEOUT: ClassVar[float] = 20

    def setUp(self) -> None:
        self.upstream = RecordingUpstream()
        self.addCleanup(self.upstream.stop)
        self.proxy = RunningProxy({"site.test": self.upstream.address}, **self.overrides())
        self.addCleanup(self.proxy.stop, allow_errors=True)
        with self.client() as client:
            self.assertEqual(client.ask(REQUEST).status, 200)

    def overrides(self) -> dict[str, Any]:
        """Of the configuration."""
        return {"shutdown_timeout_secs": self.TIMEOUT, "admin_socket_path": ADMIN}

    def client(self) -> RawClient:
        """A TLS connection."""
        client = RawClient.tls(self.proxy.https_port, "site.test")
        self.addCleanup(client.close)
        return client

    def terminate(self, connections: int) -> None:
        """SIGTERM, with so many connections open."""
        self.proxy.send_signal(signal.SIGTERM)
        self.proxy.wait_for_line(f"DRAIN connections={connections} ")

    def begun(self, path: bytes = b"/hang") -> RawClient:
        """A client whose response has begun and does not go on."""
        self.upstream.answers[path] = Answer((BEGUN,), then="hold")
        client = self.client()
        client.send(REQUEST.replace(b" / ", b" " + path + b" "))
        client.stream.until(b"begun")
        return client


class OpenConnectionTests(DrainCase):
    def test_idle(self) -> None:
        """Connections between requests are closed at once."""
        clients = [self.client() for _ in range(3)]
        for client in clients:
            client.ask(REQUEST)
        started = time.monotonic()
        self.terminate(3)
        for client in clients:
            self.assertTrue(client.is_closed_by_proxy())
        self.assertEqual(self.proxy.wait(5), 0)
        self.assertLess(time.monotonic() - started, 3)

    def test_first_request(self) -> None:
        """A connection that is new gets an answer to its first request, and it is the last one."""
        client = self.client()
        self.terminate(1)
        response = client.ask(REQUEST)
        self.assertEqual((response.status, response.value(b"Connection")), (200, b"close"))
        self.assertTrue(client.is_closed_by_proxy())
        self.assertEqual(self.proxy.wait(5), 0)

    def test_silent(self) -> None:
        """New connections that say nothing, and handshakes that do not go on, are soon closed."""
        silent = self.client()
        unshaken = RawClient.plain(self.proxy.https_port)
        self.addCleanup(unshaken.close)
        self.terminate(2)
        self.assertTrue(silent.is_closed_by_proxy())
        self.assertEqual(self.proxy.wait(6), 0)

    def test_answer_before_its_head(self) -> None:
        """A response whose head is still to come says that the connection ends with it."""
        resume = threading.Event()
        self.addCleanup(resume.set)

        def script(conversation: Conversation) -> None:
            resume.wait(10)
            conversation.send(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")

        self.upstream.answers[b"/wait"] = script
        client = self.client()
        client.send(REQUEST.replace(b" / ", b" /wait "))
        self.upstream.wait_for_requests(2)
        self.terminate(1)
        resume.set()
        response = client.read_response()
        self.assertEqual((response.body, response.value(b"Connection")), (b"ok", b"close"))
        self.assertEqual(self.proxy.wait(5), 0)

    def test_upload(self) -> None:
        """An upload goes on until it is complete and answered."""
        client = self.client()
        client.send(b"PUT /u HTTP/1.1\r\nHost: site.test\r\nContent-Length: 10\r\n\r\nbegun")
        self.upstream.wait_until(lambda: b"begun" in self.upstream.received)
        self.terminate(1)
        client.send(b"ended")
        self.assertEqual(client.read_response().status, 200)
        self.assertEqual(self.upstream.requests[-1].body, b"begunended")
        self.assertEqual(self.proxy.wait(5), 0)

    def test_by_command(self) -> None:
        """``revproxy drain`` does the same, and says how many are to end."""
        client = self.begun()
        done = self.proxy.revproxy("drain")
        self.assertEqual((done.returncode, done.stdout), (0, "draining: 1 connection to end\n"))
        self.proxy.wait_for_line("ADMIN command=drain uid=")
        self.assertTrue(self.proxy.ask("status")["draining"])
        client.reset()
        self.assertEqual(self.proxy.wait(5), 0)
        self.assertFalse((self.proxy.folder / ADMIN).exists())

    def test_second_signal(self) -> None:
        """A second signal lets nothing finish; the record says that it was cut."""
        self.begun()
        self.terminate(1)
        started = time.monotonic()
        self.proxy.send_signal(signal.SIGINT)
        self.assertEqual(self.proxy.wait(5), 0)
        self.assertLess(time.monotonic() - started, 2)
        self.proxy.wait_for_line("WARN DRAIN cut=1")
        self.proxy.wait_for_line("REQUEST .*path=/hang status=200 .*cut=shutdown")


class DeadlineTests(DrainCase):
    TIMEOUT: ClassVar[float] = 1

    def assert_ends(self, started: float) -> None:
        """The process ends soon after its time is up, and in order."""
        self.assertEqual(self.proxy.wait(10), 0)
        self.assertLess(time.monotonic() - started, self.TIMEOUT + 2)
        self.proxy.wait_for_line("INFO STOP$")

    def test_hanging_upstream(self) -> None:
        """An upstream that hangs does not hold the exit up."""
        self.begun()
        started = time.monotonic()
        self.terminate(1)
        self.assert_ends(started)

    def test_client_that_does_not_read(self) -> None:
        """Neither does a client that takes nothing of a large response."""
        body = b"x" * 20_000_000
        head = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(body)
        self.upstream.answers[b"/large"] = head + body
        client = RawClient.tls(self.proxy.https_port, "site.test", receive_buffer=4096)
        self.addCleanup(client.close)
        client.send(REQUEST.replace(b" / ", b" /large "))
        client.stream.until(b"\r\n\r\n")
        started = time.monotonic()
        self.terminate(1)
        self.assert_ends(started)

    def test_upload_that_does_not_go_on(self) -> None:
        """Nor an upload that has stopped."""
        client = self.client()
        client.send(b"PUT /u HTTP/1.1\r\nHost: site.test\r\nContent-Length: 10\r\n\r\nbegun")
        self.upstream.wait_until(lambda: b"begun" in self.upstream.received)
        started = time.monotonic()
        self.terminate(1)
        self.assert_ends(started)


class ResolutionTests(DrainCase):
    """The resolution of a name takes a minute."""

    TIMEOUT: ClassVar[float] = 1

    def overrides(self) -> dict[str, Any]:
        """The child finds a ``sitecustomize`` that makes lookups of one name hang."""
        folder = Path(self.mktemp()).absolute()
        folder.mkdir()
        (folder / "sitecustomize.py").write_text(
            "import socket, time\n"
            "lookup = socket.getaddrinfo\n"
            "def slow(host, *rest, **named):\n"
            "    if host == 'hangs.test':\n"
            "        time.sleep(60)\n"
            "    return lookup(host, *rest, **named)\n"
            "socket.getaddrinfo = slow\n"
        )
        sources = str(Path(__file__).resolve().parents[2] / "src")
        path = os.pathsep.join([str(folder), sources])
        command = ("env", f"PYTHONPATH={path}", *RUN)
        return {**super().overrides(), "command": command}

    def test_hanging_resolution(self) -> None:
        """A name that is being resolved holds up neither a reload nor the exit."""
        sites = {"site.test": self.upstream.address, "other.test": "hangs.test:80"}
        self.proxy.write_config(sites, **super().overrides())
        self.assertEqual(self.proxy.ask("reload")["status"], "ok")
        clients = []
        for _ in range(12):
            client = RawClient.tls(self.proxy.https_port, "other.test")
            self.addCleanup(client.close)
            clients.append(client.send(b"GET / HTTP/1.1\r\nHost: other.test\r\n\r\n"))
        self.assertEqual(self.proxy.ask("reload")["status"], "ok")
        started = time.monotonic()
        self.terminate(12)
        self.assertEqual(self.proxy.wait(10), 0)
        self.assertLess(time.monotonic() - started, 4)
