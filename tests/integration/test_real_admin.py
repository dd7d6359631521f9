"""The admin socket, the health check and their commands, as operators and scripts meet them."""

from __future__ import annotations

import json
import socket
import stat
import subprocess
import tempfile
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any, ClassVar

from tests.support.cases import ProxyCase
from tests.support.certificates import authority
from tests.support.peers import require
from tests.support.proxy import ADMIN, RunningProxy, free_port
from tests.support.recording_upstream import Answer

REQUEST = b"GET / HTTP/1.1\r\nHost: site.test\r\n\r\n"


class AdminCase(ProxyCase):
    """A proxy with an admin socket and a health check."""

    health_port: ClassVar[int] = 0

    @classmethod
    def overrides(cls) -> dict[str, Any]:
        """With both."""
        cls.health_port = free_port()
        return {"admin_socket_path": ADMIN, "health_check_port": cls.health_port}

    def says(self, sent: bytes) -> bytes:
        """What the socket replies to exactly ``sent``."""
        with socket.socket(socket.AF_UNIX) as channel:
            channel.settimeout(10)
            channel.connect(str(self.proxy.folder / ADMIN))
            if sent:  # to send nothing fails as well, where it has been closed already
                channel.sendall(sent)
            received = b""
            while chunk := channel.recv(65536):
                received += chunk
        return received


class SocketTests(AdminCase):
    def test_as_documented(self) -> None:
        """The commands that users of the format have been shown work, word for word."""
        path = self.proxy.folder / ADMIN
        for command in ("reload", "status"):
            done = subprocess.run(
                f'echo "{command}" | {require("socat")} -t 10 - UNIX-CONNECT:{path}',
                shell=True,
                capture_output=True,
                check=True,
                timeout=20,
            )
            self.assertTrue(done.stdout.startswith(b'{"status":"ok"'), done.stdout)
            self.assertEqual(done.stdout.count(b"\n"), 1)
        self.assertRegex(done.stdout, rb'^{"status":"ok","uptime_secs":\d+,"sites":1[,}]')

    def test_permissions(self) -> None:
        """Only its user and group may open the socket."""
        status = (self.proxy.folder / ADMIN).lstat()
        self.assertTrue(stat.S_ISSOCK(status.st_mode))
        self.assertEqual(stat.S_IMODE(status.st_mode), 0o660)

    def test_other_commands(self) -> None:
        """What is no command is named; what is no text is not."""
        unknown = b'{"status":"error","message":"unknown command: stop it"}\n'
        self.assertEqual(self.says(b"stop it\nstatus\n"), unknown)
        invalid = b'{"status":"error","message":"invalid input"}\n'
        for sent in (b"\n", b"\xff\n", b"x" * 5000):
            self.assertEqual(self.says(sent), invalid)

    def test_bounds(self) -> None:
        """Ten connections are served at once, and one that says nothing is closed after 5 s."""
        path = str(self.proxy.folder / ADMIN)
        channels = []
        for _ in range(10):
            channel = socket.socket(socket.AF_UNIX)
            self.addCleanup(channel.close)
            channel.settimeout(10)
            channel.connect(path)
            channels.append(channel)
        self.assertEqual(self.says(b""), b"")
        self.assertEqual(channels[0].recv(100), b'{"status":"error","message":"invalid input"}\n')
        self.assertIn(b'"status":"ok"', self.says(b"status\n"))

    def test_connections(self) -> None:
        """``connections`` shows what is under way, and nothing of a query."""
        self.upstream.answers[b"/a"] = Answer((b"HTTP/1.1 200 OK\r\n",), then="hold")
        client = self.client()
        client.send(REQUEST.replace(b" / ", b" /a?secret "))
        self.upstream.wait_for_requests(1)
        reply = self.proxy.ask("connections")
        (entry,) = (one for one in reply["connections"] if one["state"] == "response")
        self.assertEqual(
            (entry["client_ip"], entry["server_name"], entry["host"], entry["path"]),
            ("127.0.0.1", "site.test", "site.test", "/a"),
        )
        client.reset()

    def test_figures(self) -> None:
        """``status`` counts requests by their class, and the connections to each upstream."""
        before = self.proxy.ask("status")["requests"]
        client = self.client()
        for path in (b"/", b"/", b"/x"):
            client.ask(REQUEST.replace(b" / ", b" " + path + b" "))
        with self.client() as other:
            other.ask(REQUEST.replace(b"site.test", b"other.test"))
        after = self.proxy.ask("status")
        counted = {key: after["requests"][key] - before[key] for key in before}
        self.assertEqual(counted, {"total": 4, "2xx": 3, "3xx": 0, "4xx": 1, "5xx": 0})
        (upstream,) = after["upstreams"]
        self.assertEqual((upstream["upstream"], upstream["dead"]), (self.upstream.address, False))
        self.assertEqual(upstream["open"], upstream["idle"])
        self.assertGreaterEqual(upstream["made"], 1)
        (certificate,) = after["certificates"]
        self.assertEqual(certificate["name"], "site.test")
        self.assertTrue(80 < certificate["days_left"] <= 90)


class CommandTests(AdminCase):
    def test_commands(self) -> None:
        """Every command prints something for people, and its reply with --json; exit status 0."""
        for command in ("status", "sites", "certs", "connections", "reload", "reopen-logs"):
            plain = self.proxy.revproxy(command)
            self.assertEqual((plain.returncode, plain.stderr), (0, ""), command)
            self.assertNotIn("{", plain.stdout)
            reply = json.loads(self.proxy.revproxy(command, "--json").stdout)
            self.assertEqual(reply["status"], "ok")

    def test_failing_reload(self) -> None:
        """Each mistake is a line on standard error, and the exit status 1."""
        text = self.proxy.config_path.read_text()
        self.addCleanup(self.proxy.check_log)
        self.proxy.config_path.write_text(text + "\nsurplus = 1\n[nonsense]\n")
        done = self.proxy.revproxy("reload")
        self.proxy.config_path.write_text(text)
        self.proxy.wait_for_line("CONFIG_RELOAD status=error")
        self.proxy.forgive("CONFIG_RELOAD status=error")
        self.assertEqual((done.returncode, done.stdout), (1, ""))
        verdict, *mistakes = done.stderr.splitlines()
        self.assertEqual(verdict, "refused; generation 1 goes on being served:")
        self.assertEqual(len(mistakes), 2, done.stderr)

    def test_nobody_there(self) -> None:
        """Where nothing runs, that is said, with exit status 1."""
        done = self.proxy.revproxy("status", "--socket", "/nonexistent/admin.sock")
        self.assertEqual((done.returncode, done.stdout), (1, ""))
        self.assertIn("/nonexistent/admin.sock: No such file", done.stderr)


class HealthTests(AdminCase):
    def fetch(self, path: str, method: str = "GET") -> tuple[int, bytes, Any]:
        """Status, body and header fields of an answer of the health check."""
        url = f"http://127.0.0.1:{self.health_port}{path}"
        try:
            answer = urllib.request.urlopen(urllib.request.Request(url, method=method), timeout=5)
        except urllib.error.HTTPError as error:
            answer = error  # which is the answer
        with answer:
            return answer.status, answer.read(), answer.headers

    def test_health(self) -> None:
        """/health is 200 with an empty body, for GET and HEAD, and does not say who answers."""
        for method in ("GET", "HEAD"):
            status, body, fields = self.fetch("/health", method)
            self.assertEqual((status, body, fields["Content-Length"]), (200, b"", "0"))
            self.assertIsNone(fields["Server"])
        self.assertEqual(self.fetch("/none")[0], 404)

    def test_not_public(self) -> None:
        """On the public ports /health is a path like any other: it goes to the site."""
        self.get(b"/health")
        self.assertEqual(self.only_request().target, b"/health")

    def test_ready(self) -> None:
        """/health/ready is 200 while every site can be served."""
        self.assertEqual(self.fetch("/health/ready")[:2], (200, b""))

    def test_not_ready(self) -> None:
        """A site without a certificate, or with a dead upstream, is named; /health stays 200."""
        dead = f"127.0.0.1:{free_port()}"
        before = self.proxy.config_path.read_text()
        sites = {"site.test": dead, "bare.test": self.upstream.address}
        changes = {"admin_socket_path": ADMIN, "health_check_port": self.health_port}
        self.proxy.write_config(sites, **changes, certificates=(authority().pair("site.test"),))
        self.assertEqual(self.proxy.ask("reload")["status"], "ok")
        self.assertEqual(self.get().status, 502)
        status, body, fields = self.fetch("/health/ready")
        self.assertEqual((status, fields["Content-Type"]), (503, "application/json"))
        missing = json.loads(body)
        self.assertEqual(
            missing,
            [
                f"site site.test: its upstream {dead} cannot be connected to",
                "site bare.test: no certificate covers it",
            ],
        )
        self.assertEqual(self.fetch("/health")[0], 200)
        self.proxy.config_path.write_text(before)
        self.assertEqual(self.proxy.ask("reload")["status"], "ok")
        self.assertEqual(self.fetch("/health/ready")[0], 200)


class PlaceTests(ProxyCase):
    """What may be at the socket's path when the proxy starts."""

    def short_folder(self) -> Path:
        """A folder whose name leaves room for that of a socket."""
        folder = tempfile.TemporaryDirectory(prefix="revproxy-")
        self.addCleanup(folder.cleanup)
        return Path(folder.name)

    def start(self, path: Path) -> RunningProxy:
        """A proxy whose admin socket is to be at ``path``."""
        proxy = RunningProxy({"a.test": self.upstream.address}, admin_socket_path=str(path))
        self.addCleanup(proxy.stop, allow_errors=True)
        proxy.wait_for_line(" START ")
        return proxy

    def test_stale(self) -> None:
        """A socket that nobody answers on is replaced, and gone when the proxy has ended."""
        path = self.short_folder() / "admin.sock"
        with socket.socket(socket.AF_UNIX) as stale:
            stale.bind(str(path))
        proxy = self.start(path)
        self.assertEqual(proxy.revproxy("status").returncode, 0)
        proxy.send_signal(15)
        self.assertEqual(proxy.wait(10), 0)
        self.assertFalse(path.exists())

    def test_in_use(self) -> None:
        """Where another proxy listens this one goes on without, says so, and leaves it alone."""
        path = self.short_folder() / "admin.sock"
        first, second = self.start(path), self.start(path)
        second.wait_for_line(f'WARN ADMIN_SOCKET path={path} error="another process listens')
        second.send_signal(15)
        self.assertEqual(second.wait(10), 0)
        self.assertEqual(first.revproxy("status").returncode, 0)
        self.assertIn(f"pid {first.pid},", first.revproxy("status").stdout)

    def test_missing_folder(self) -> None:
        """Its folder is made where it is missing, closed to others."""
        folder = self.short_folder() / "made"
        self.start(folder / "admin.sock")
        self.assertEqual(stat.S_IMODE(folder.stat().st_mode), 0o750)
