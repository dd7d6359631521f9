"""The two commands that serve a configuration file, and how they refuse to."""

from __future__ import annotations

import signal
import socket
import subprocess
import sys
import sysconfig
import tempfile
from pathlib import Path
from typing import Any, ClassVar

from twisted.trial.unittest import SynchronousTestCase

from tests.support.certificates import authority
from tests.support.proxy import RUN, RunningProxy, free_port, with_sources
from tests.support.raw_client import RawClient
from tests.support.recording_upstream import RecordingUpstream

MINIMAL = """\
health_check_port = 9900
[logging]
level = "info"
format = "text"
[rate_limit]
requests_per_second = 10
burst = 20
[body]
limit_bytes = 104857600
[[listeners]]
bind_addr = "0.0.0.0"
[listeners.tls]
mode = "acme"
acme_domains = ["example.com"]
acme_cache_dir = "/var/lib/reverse-proxy/acme-cache"
acme_directory = "staging"
acme_contact = "mailto:admin@example.com"
[[listeners.sites]]
host = "example.com"
upstream = "127.0.0.1:8080"
"""
"""The minimal configuration that users of the format have been shown, word for word."""

ACME = MINIMAL[MINIMAL.index('mode = "acme"') : MINIMAL.index("[[listeners.sites]]")]
MANUAL = """\
mode = "manual"
cert_path = "/etc/ssl/example.com/fullchain.pem"
key_path = "/etc/ssl/example.com/privkey.pem"
"""
"""What the same users have been shown for certificates of their own."""

TEN_MISTAKES = """\
helth_check_port = 9900
shutdown_timeout_secs = "30"
[logging]
level = "loud"
[rate_limit]
requests_per_second = 0
[body]
limit_bytes = -1
[[listeners]]
bind_addr = "127.0.0.1"
http_port = {http_port}
https_port = {https_port}
[listeners.tls]
mode = "manual"
cert_path = "/nonexistent/fullchain.pem"
[[listeners.sites]]
host = "example com"
upstream = "127.0.0.1"
upstream_scheme = "gopher"
"""
PLACES = (
    "helth_check_port",
    "shutdown_timeout_secs",
    "logging.level",
    "rate_limit.requests_per_second",
    "rate_limit.burst",
    "body.limit_bytes",
    "listeners[0].tls.key_path",
    "listeners[0].sites[0].host",
    "listeners[0].sites[0].upstream",
    "listeners[0].sites[0].upstream_scheme",
)


def manual(http_port: int, https_port: int, upstream: str) -> str:
    """:data:`MINIMAL` with :data:`MANUAL`, at other addresses, ports and paths."""
    pair = authority().pair("example.com")
    text = MINIMAL.replace(ACME, MANUAL)
    for old, new in (
        ("/etc/ssl/example.com/fullchain.pem", pair.cert_path),
        ("/etc/ssl/example.com/privkey.pem", pair.key_path),
        ('"0.0.0.0"', f'"127.0.0.1"\nhttp_port = {http_port}\nhttps_port = {https_port}'),
        ("127.0.0.1:8080", upstream),
        ("9900", f'{free_port()}\nadmin_socket_path = ""'),
    ):
        assert text.count(old) == 1, old
        text = text.replace(old, new)
    return text


class MinimalProxy(RunningProxy):
    """A proxy that serves example.com by :func:`manual`."""

    def write_config(self, sites: Any, **overrides: Any) -> None:
        """Write it, with the upstream of the one site."""
        text = manual(self.http_port, self.https_port, sites["example.com"])
        self.config_path.write_text(text, encoding="utf-8")


class RunTests(SynchronousTestCase):
    """``revproxy run``."""

    VALIDATE: ClassVar[tuple[str, ...]] = (*RUN[:-1], "validate")

    def setUp(self) -> None:
        folder = tempfile.TemporaryDirectory(prefix="revproxy-command-")
        self.addCleanup(folder.cleanup)
        self.folder = Path(folder.name)
        self.pid_file = self.folder / "proxy.pid"

    def command(self) -> list[str]:
        """What is run, without the options."""
        return list(RUN)

    def run_to_its_end(self, text: str, *options: str) -> subprocess.CompletedProcess[str]:
        """What the command says of a configuration that it cannot serve."""
        return self.finish([*self.command(), *options], text)

    def finish(self, command: list[str], text: str) -> subprocess.CompletedProcess[str]:
        """Run ``command`` with a configuration; no pid file is left."""
        path = self.folder / "config.toml"
        path.write_text(text, encoding="utf-8")
        done = subprocess.run(
            [*command, "--config", str(path)],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
            timeout=30,
            cwd=self.folder,
            env=with_sources(),
        )
        self.assertEqual([entry.name for entry in self.folder.iterdir()], ["config.toml"])
        return done

    def validate(self, text: str, *options: str) -> subprocess.CompletedProcess[str]:
        """What the command's check says of a configuration."""
        return self.finish([*self.VALIDATE, *options], text)

    def taken_port(self) -> int:
        """A port on which the test listens."""
        taken = socket.create_server(("127.0.0.1", 0))
        self.addCleanup(taken.close)
        return int(taken.getsockname()[1])

    def served(self) -> MinimalProxy:
        """A proxy that has answered a request by TLS and redirected a plain one."""
        upstream = RecordingUpstream()
        self.addCleanup(upstream.stop)
        proxy = MinimalProxy({"example.com": upstream.address}, command=self.command())
        self.addCleanup(self.stop, proxy)
        request = b"GET /a HTTP/1.1\r\nHost: example.com\r\n\r\n"
        with RawClient.tls(proxy.https_port, "example.com") as client:
            self.assertEqual(client.ask(request).body, b"ok")
        with RawClient.plain(proxy.http_port) as client:
            self.assertEqual(client.ask(request).status, 301)
        return proxy

    def stop(self, proxy: RunningProxy, by: int = signal.SIGTERM) -> None:
        """End it by a signal, once: in order, and without leaving a pid file."""
        if proxy.config_path.exists():
            self.assertEqual(proxy.stop(by=by), 0)
            self.assertFalse(self.pid_file.exists())

    def test_serves_until_sigterm(self) -> None:
        """The minimal configuration, with manual certificates, serves; SIGTERM ends it with 0."""
        proxy = self.served()
        proxy.wait_for_line("REQUEST .*host=example.com method=GET path=/a status=200 ")
        self.stop(proxy)
        self.assertRegex(proxy.lines[-1], "^[0-9TZ:-]+ INFO STOP$")

    def test_serves_until_sigint(self) -> None:
        """SIGINT ends it with 0, too."""
        self.stop(self.served(), signal.SIGINT)

    def test_output_is_the_log(self) -> None:
        """Every line printed is a record of the log."""
        proxy = self.served()
        self.stop(proxy)
        for line in proxy.lines:
            self.assertRegex(line, r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ (INFO|WARN) [A-Z_]+( |$)")

    def test_as_shown(self) -> None:
        """The minimal configuration as shown is valid, once its address is meant."""
        with tempfile.TemporaryDirectory(prefix="revproxy-") as folder:
            text = MINIMAL.replace("/var/lib/reverse-proxy", folder)
            done = self.validate(text, "--allow-wildcard-bind")
            self.assertEqual(done.stdout, "configuration ok: 1 listeners, 1 sites\n", done.stderr)
            self.assertIn("listeners[0].bind_addr: 0.0.0.0 ", self.validate(text).stderr)

    def test_valid(self) -> None:
        """A check says that the configuration can be served, and binds nothing."""
        done = self.validate(manual(self.taken_port(), self.taken_port(), "127.0.0.1:8080"))
        said = "configuration ok: 1 listeners, 1 sites\n"
        self.assertEqual((done.returncode, done.stdout, done.stderr), (0, said, ""))

    def test_taken_port(self) -> None:
        """A port that is taken ends the start with one line and 1."""
        for number in (0, 1):
            ports = [free_port(), free_port()]
            ports[number] = self.taken_port()
            done = self.run_to_its_end(manual(*ports, "127.0.0.1:8080"))
            said = f"cannot bind 127.0.0.1:{ports[number]}: Address already in use\n"
            self.assertEqual((done.returncode, done.stdout, done.stderr), (1, "", said))

    def test_ten_mistakes(self) -> None:
        """Ten mistakes are ten lines with their places, before anything is bound."""
        text = TEN_MISTAKES.format(http_port=self.taken_port(), https_port=self.taken_port())
        for run in (self.validate, self.run_to_its_end):
            done = run(text)
            self.assertEqual((done.returncode, done.stdout), (1, ""))
            places = [line.partition(": ")[0] for line in done.stderr.splitlines()]
            self.assertEqual(sorted(places), sorted(PLACES), done.stderr)

    def test_unusable_certificate(self) -> None:
        """Certificates that cannot be loaded end the start with one line and 1."""
        pair = authority().pair("example.com")
        text = manual(free_port(), free_port(), "127.0.0.1:8080")
        text = text.replace(pair.cert_path, "/nonexistent/chain.pem")
        for run in (self.validate, self.run_to_its_end):
            done = run(text)
            self.assertEqual((done.returncode, done.stdout), (1, ""))
            self.assertRegex(done.stderr, r"^listeners\[0\]\.tls.*/nonexistent/chain\.pem.*\n$")


class TwistdTests(RunTests):
    """``twistd -n revproxy``."""

    TWISTD: ClassVar[str] = str(Path(sysconfig.get_path("scripts"), "twistd"))
    VALIDATE: ClassVar[tuple[str, ...]] = (sys.executable, TWISTD, "revproxy", "--validate")

    def command(self) -> list[str]:
        """twistd in the foreground."""
        pid_file = f"--pidfile={self.pid_file}"
        return [sys.executable, self.TWISTD, "--nodaemon", pid_file, "revproxy"]

    def served(self) -> MinimalProxy:
        """It has a pid file while it serves."""
        proxy = super().served()
        self.assertEqual(self.pid_file.read_text(encoding="utf-8"), str(proxy.pid))
        return proxy
