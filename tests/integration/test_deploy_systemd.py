"""The units of deploy/: what systemd says of them, and the proxy under the filters they set."""

from __future__ import annotations

import re
import shutil
import socket
import subprocess
import sys
import tempfile
from pathlib import Path

import attrs
from twisted.trial.unittest import SynchronousTestCase

from revproxy.model.configuration import Configuration
from revproxy.settings import DEFAULT_CONFIG
from tests.support.certificates import authority
from tests.support.peers import require
from tests.support.proxy import RUN, RunningProxy, free_port, with_sources
from tests.support.raw_client import RawClient
from tests.support.recording_upstream import RecordingUpstream
from tests.support.unit_sandbox import allowed_calls, read_unit, sandboxed

DEPLOY = Path(__file__).resolve().parents[2] / "deploy"
SERVICE = read_unit(DEPLOY / "reverse-proxy.service")
SOCKET = read_unit(DEPLOY / "reverse-proxy.socket")
PROGRAM = "/opt/revproxy/bin/revproxy"

MOST_EXPOSURE = 15
"""What ``systemd-analyze security`` may say, times ten; 100 is a service without any limits."""


class UnitTests(SynchronousTestCase):
    """reverse-proxy.service and reverse-proxy.socket."""

    def setUp(self) -> None:
        self.systemd_analyze = require("systemd-analyze")
        folder = tempfile.mkdtemp(prefix="revproxy-units-")
        self.addCleanup(shutil.rmtree, folder)
        self.units = [str(Path(folder, f"reverse-proxy.{kind}")) for kind in ("service", "socket")]
        for unit in self.units:
            # verify wants the program to exist.
            text = (DEPLOY / Path(unit).name).read_text().replace(PROGRAM, sys.executable)
            Path(unit).write_text(text)

    def analyze(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run ``systemd-analyze``."""
        return subprocess.run(
            [self.systemd_analyze, "--no-pager", *arguments],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )

    def test_verify(self) -> None:
        """systemd has nothing to say against either unit."""
        done = self.analyze("verify", "--man=no", *self.units)
        self.assertEqual((done.returncode, done.stdout, done.stderr), (0, "", ""))

    def test_exposure(self) -> None:
        """systemd rates the service as little exposed."""
        done = self.analyze(
            "security", "--offline=yes", f"--threshold={MOST_EXPOSURE}", self.units[0]
        )
        self.assertEqual(done.returncode, 0, done.stdout + done.stderr)

    def test_start_and_end(self) -> None:
        """The service is ready when the proxy says so, and has the time to drain."""
        for name, value in (
            ("ExecStart", f"{PROGRAM} run --config {DEFAULT_CONFIG}"),
            ("ExecReload", f"{PROGRAM} reload --config {DEFAULT_CONFIG}"),
            ("Type", "notify"),
            ("NotifyAccess", "main"),
            ("Restart", "on-failure"),
            ("RestartSec", "5"),
            ("WatchdogSec", "30"),
            ("KillSignal", "SIGTERM"),
            ("KillMode", "mixed"),
            ("Wants", "network-online.target"),
            ("WantedBy", "multi-user.target"),
        ):
            self.assertEqual(SERVICE[name], [value])
        drain = attrs.fields(Configuration).shutdown_timeout_secs.default
        self.assertGreaterEqual(float(SERVICE["TimeoutStopSec"][0]), drain + 10)

    def test_folders(self) -> None:
        """What the configuration writes to by default is there, and belongs to the user."""
        socket_path = Path(attrs.fields(Configuration).admin_socket_path.default)
        self.assertEqual(str(socket_path.parent), f"/run/{SERVICE['RuntimeDirectory'][0]}")
        self.assertEqual(SERVICE["RuntimeDirectoryMode"], ["0750"])
        self.assertEqual(SERVICE["StateDirectory"], ["reverse-proxy"])
        self.assertEqual(SERVICE["LogsDirectory"], ["reverse-proxy"])
        written = "/var/lib/reverse-proxy /var/log/reverse-proxy"
        self.assertEqual(SERVICE["ReadWritePaths"], [written])

    def test_user(self) -> None:
        """The service's user is one that systemd-sysusers makes."""
        made = (DEPLOY / "sysusers.d" / "reverse-proxy.conf").read_text()
        self.assertIn(f"\nu {SERVICE['User'][0]} ", made)

    def test_sockets(self) -> None:
        """The sockets are those of an explicit address, with the backlog of the proxy's own."""
        self.assertEqual(SOCKET["ListenStream"], ["203.0.113.10:80", "203.0.113.10:443"])
        self.assertEqual((SOCKET["Backlog"], SOCKET["NoDelay"]), (["4096"], ["yes"]))
        self.assertEqual(SOCKET["ReusePort"], ["no"])


class SandboxTests(SynchronousTestCase):
    """The proxy with the system calls, socket families and memory that the service may use."""

    def setUp(self) -> None:
        self.command = sandboxed(SERVICE, require("systemd-analyze"))

    def test_sandbox(self) -> None:
        """The sandbox refuses what the unit does."""
        for attempt in (
            "import socket; socket.socket(socket.AF_NETLINK)",
            "import socket; socket.socket(socket.AF_PACKET)",
            "import mmap; mmap.mmap(-1, 4096, prot=mmap.PROT_WRITE | mmap.PROT_EXEC)",
            "import os; os.setuid(os.getuid())",
            "import os; os.chown('.', os.getuid(), os.getgid())",
            "import os; os.nice(1)",
            "import os; os.chroot('.')",
        ):
            done = subprocess.run(
                [*self.command, sys.executable, "-c", attempt],
                capture_output=True,
                text=True,
                check=False,
                timeout=30,
            )
            self.assertEqual(done.returncode, 1, attempt)
            self.assertRegex(done.stderr, "not supported|not permitted")

    def test_filter(self) -> None:
        """Calls that take over a machine are not among the allowed ones."""
        allowed = allowed_calls(SERVICE, require("systemd-analyze"))
        self.assertIn("epoll_wait", allowed)
        dangerous = {"ptrace", "mount", "bpf", "init_module", "kexec_load", "keyctl", "setuid"}
        self.assertEqual(allowed & dangerous, set())

    def listen(self, path: Path) -> socket.socket:
        """A service manager's socket, to which a service says how it is."""
        manager = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.addCleanup(manager.close)
        manager.bind(str(path))
        manager.settimeout(10)
        return manager

    def heard(self, manager: socket.socket, word: str) -> None:
        """Wait until the service has said a word."""
        while word not in manager.recv(4096).decode().splitlines():
            pass

    def test_proxy(self) -> None:
        """Everything that the proxy does works in the sandbox, from its start to its end."""
        named, local, secret = (
            RecordingUpstream(),
            RecordingUpstream(unix=True),
            RecordingUpstream(pair=authority().pair("localhost")),
        )
        for upstream in (named, local, secret):
            self.addCleanup(upstream.stop)
        folder = Path(tempfile.mkdtemp(prefix="revproxy-sandbox-"))
        self.addCleanup(shutil.rmtree, folder)
        manager = self.listen(folder / "notify.sock")
        log = folder / "access.log"
        health = free_port()
        proxy = RunningProxy(
            {
                "named.test": f"localhost:{named.port}",
                "local.test": local.address,
                "secret.test": {
                    "upstream": f"localhost:{secret.port}",
                    "upstream_scheme": "https",
                },
            },
            command=(*self.command, *RUN),
            environment={
                "SSL_CERT_FILE": authority().ca_path,
                "NOTIFY_SOCKET": str(folder / "notify.sock"),
                "WATCHDOG_USEC": "1000000",
            },
            logging={"log_file_path": str(log)},
            health_check_port=health,
            admin_socket_path=str(folder / "admin.sock"),
        )
        try:
            self.heard(manager, "READY=1")
            for name in ("named.test", "local.test", "secret.test"):
                with RawClient.tls(proxy.https_port, name) as client:
                    raw = f"GET / HTTP/1.1\r\nHost: {name}\r\n\r\n".encode()
                    self.assertEqual(client.ask(raw).status, 200, name)
            with RawClient.plain(health) as client:
                raw = b"GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n"
                self.assertEqual(client.ask(raw).status, 200)
            self.reload(proxy)
            self.heard(manager, "RELOADING=1")
            self.heard(manager, "READY=1")
            log.rename(folder / "access.log.1")
            self.assertEqual(proxy.revproxy("reopen-logs").returncode, 0)
            self.heard(manager, "WATCHDOG=1")
            status = Path(f"/proc/{proxy.pid}/status").read_text()
            self.assertEqual(re.findall(r"(?:NoNewPrivs|Seccomp):\s+(\d)", status), ["1", "2"])
        finally:
            self.assertEqual(proxy.stop(), 0)
        self.heard(manager, "STOPPING=1")
        self.assertIn(" STOP\n", log.read_text())

    def reload(self, proxy: RunningProxy) -> None:
        """What ExecReload does, which is under the same filters."""
        done = subprocess.run(
            [*self.command, *RUN[:-1], "reload", "--config", str(proxy.config_path)],
            capture_output=True,
            text=True,
            check=False,
            timeout=30,
            env=with_sources(),
        )
        self.assertEqual((done.returncode, done.stderr), (0, ""))
