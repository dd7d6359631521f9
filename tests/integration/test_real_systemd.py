"""systemd's interfaces: the notify socket, the watchdog, and sockets that it has bound.

No systemd runs here: the notify socket is a real one whose other end the test holds, and
``systemd-socket-activate`` passes sockets just as systemd does.
"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from tests.support.peers import require
from tests.support.proxy import ADMIN, RUN, RunningProxy, free_port, proxy_config, with_sources
from tests.support.raw_client import RawClient
from tests.support.recording_upstream import Answer, RecordingUpstream

REQUEST = b"GET / HTTP/1.1\r\nHost: site.test\r\n\r\n"


class Manager:
    """The service manager's end of a notify socket, on a path or an abstract name."""

    def __init__(self, address: str) -> None:
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(f"\0{address[1:]}" if address.startswith("@") else address)
        self._socket.settimeout(10)

    def hears(self) -> dict[str, str]:
        """The next message."""
        lines = self._socket.recv(4096).decode().splitlines()
        return dict(line.split("=", 1) for line in lines)

    def close(self) -> None:
        """Listen no more."""
        self._socket.close()


class NotifyCase(SynchronousTestCase):
    """A proxy whose manager is the test."""

    def setUp(self) -> None:
        folder = tempfile.TemporaryDirectory(prefix="revproxy-")
        self.addCleanup(folder.cleanup)
        self.folder = Path(folder.name)
        self.upstream = RecordingUpstream()
        self.addCleanup(self.upstream.stop)

    def start(self, address: str, **environment: str) -> tuple[Manager, RunningProxy]:
        """A manager that listens at ``address`` and its proxy."""
        manager = Manager(address)
        self.addCleanup(manager.close)
        proxy = RunningProxy(
            {"site.test": self.upstream.address},
            environment={"NOTIFY_SOCKET": address, **environment},
            admin_socket_path=ADMIN,
            shutdown_timeout_secs=20,
        )
        self.addCleanup(proxy.stop, allow_errors=True)
        return manager, proxy


class NotifyTests(NotifyCase):
    def test_life(self) -> None:
        """READY when everything is bound, RELOADING and READY around a reload, STOPPING."""
        manager, proxy = self.start(str(self.folder / "notify"))
        self.assertEqual(manager.hears(), {"READY": "1", "STATUS": "1 sites, generation 1"})
        RawClient.tls(proxy.https_port, "site.test").close()
        before = time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000
        proxy.ask("reload")
        reloading = manager.hears()
        self.assertEqual(reloading["RELOADING"], "1")
        after = time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000
        self.assertTrue(before <= int(reloading["MONOTONIC_USEC"]) <= after)
        self.assertEqual(manager.hears()["READY"], "1")
        proxy.send_signal(signal.SIGTERM)
        self.assertEqual(manager.hears()["STOPPING"], "1")
        self.assertEqual(proxy.wait(10), 0)

    def test_failing_reload(self) -> None:
        """A reload that fails ends with READY too, and the status says so."""
        manager, proxy = self.start(str(self.folder / "notify"))
        manager.hears()
        proxy.config_path.write_text("nonsense")
        proxy.ask("reload")
        self.assertEqual(manager.hears()["RELOADING"], "1")
        self.assertEqual(manager.hears(), {"READY": "1", "STATUS": "the last reload failed"})

    def test_abstract(self) -> None:
        """The socket may have an abstract name, as in containers."""
        manager, _ = self.start(f"@revproxy-test-{os.getpid()}")
        self.assertEqual(manager.hears()["READY"], "1")

    def test_watchdog(self) -> None:
        """Signs of life come twice in the watchdog's time, also while the process drains."""
        manager, proxy = self.start(str(self.folder / "notify"), WATCHDOG_USEC="400000")
        self.upstream.answers[b"/"] = Answer(
            (b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nbegun",), then="hold"
        )
        client = RawClient.tls(proxy.https_port, "site.test")
        self.addCleanup(client.close)
        client.send(REQUEST).stream.until(b"begun")
        self.assertEqual(self.heard_until(manager, "READY")["READY"], "1")
        started = time.monotonic()
        for _ in range(4):
            self.assertEqual(manager.hears(), {"WATCHDOG": "1"})
        self.assertTrue(0.4 < time.monotonic() - started < 3)
        proxy.send_signal(signal.SIGTERM)
        self.heard_until(manager, "STOPPING")
        self.assertEqual(manager.hears(), {"WATCHDOG": "1"})
        client.reset()
        self.assertEqual(proxy.wait(10), 0)

    def heard_until(self, manager: Manager, key: str) -> dict[str, str]:
        """The first message with ``key``; signs of life may come before it."""
        while key not in (message := manager.hears()):
            self.assertEqual(message, {"WATCHDOG": "1"})
        return message

    def test_nobody_listens(self) -> None:
        """A manager that is gone is no trouble."""
        manager, proxy = self.start(str(self.folder / "notify"))
        manager.hears()
        manager.close()
        self.assertEqual(proxy.ask("reload")["status"], "ok")


class ActivationTests(NotifyCase):
    """Sockets passed by ``systemd-socket-activate``."""

    def activate(self, listen: list[str], text: str) -> subprocess.Popen[bytes]:
        """Start it; it starts the proxy when the first connection comes."""
        path = self.folder / "config.toml"
        path.write_text(text)
        sockets = [f"--listen={address}" for address in listen]
        environment = [f"--setenv={key}={value}" for key, value in with_sources().items()]
        program = require("systemd-socket-activate")
        with open(self.folder / "log", "wb") as log:
            child = subprocess.Popen(
                [program, *sockets, *environment, *RUN, f"--config={path}"],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
            )
        self.addCleanup(self.end, child)
        return child

    def end(self, child: subprocess.Popen[bytes]) -> None:
        """It has become the proxy, which ends by a signal."""
        child.terminate()
        try:
            child.wait(10)
        finally:
            child.kill()
            child.wait()

    def wait(self, holds: Callable[[], Any]) -> Any:
        """Wait until ``holds()`` is neither false nor refused."""
        deadline = time.monotonic() + 20
        while True:
            try:
                if found := holds():
                    return found
            except OSError:
                pass
            log = (self.folder / "log").read_text()
            self.assertLess(time.monotonic(), deadline, log)
            time.sleep(0.02)

    def test_passed_sockets(self) -> None:
        """Listeners, health check and admin socket take the sockets that are passed for them."""
        http, https, health, surplus = (free_port() for _ in range(4))
        admin = self.folder / "admin.sock"
        text = proxy_config(
            {"site.test": self.upstream.address},
            http_port=http,
            https_port=https,
            health_check_port=health,
            admin_socket_path=str(admin),
        )
        listen = [f"127.0.0.1:{port}" for port in (https, http, health, surplus)]
        self.activate([*listen, str(admin)], text)
        client = self.wait(lambda: RawClient.tls(https, "site.test", timeout=15))
        self.addCleanup(client.close)
        self.assertEqual(client.ask(REQUEST).status, 200)
        with RawClient.plain(http) as plain:
            self.assertEqual(plain.ask(REQUEST).status, 301)
        with RawClient.plain(health) as plain:
            self.assertEqual(plain.ask(b"GET /health HTTP/1.0\r\n\r\n").status, 200)
        with socket.socket(socket.AF_UNIX) as channel:
            channel.connect(str(admin))
            channel.sendall(b"status\n")
            self.assertTrue(channel.recv(100).startswith(b'{"status":"ok"'))
        log = self.wait(lambda: "INHERITED_SOCKET" in self.log() and self.log())
        self.assertIn(str(surplus), log)
        with self.assertRaises(ConnectionRefusedError):
            socket.create_connection(("127.0.0.1", surplus))

    def log(self) -> str:
        """What was printed so far."""
        return (self.folder / "log").read_text()

    def test_no_names(self) -> None:
        """A manager that passes sockets without names, as others than systemd do, will do."""
        http, https = free_port(), free_port()
        text = proxy_config({"site.test": self.upstream.address}, http_port=http, https_port=https)
        path = self.folder / "config.toml"
        path.write_text(text)
        with socket.create_server(("127.0.0.1", https)) as listening:
            script = "import os,sys; os.dup2(int(sys.argv[1]), 3); os.set_inheritable(3, True); "
            script += "os.environ.update(LISTEN_PID=str(os.getpid()), LISTEN_FDS='1'); "
            script += "os.execv(sys.argv[2], sys.argv[2:])"
            number = listening.fileno()
            command = [sys.executable, "-c", script, str(number), *RUN, "--config", str(path)]
            child = subprocess.Popen(command, pass_fds=[number], env=with_sources())
            self.addCleanup(self.end, child)
            client = self.wait(lambda: RawClient.tls(https, "site.test", timeout=15))
            self.addCleanup(client.close)
            self.assertEqual(client.ask(REQUEST).status, 200)
