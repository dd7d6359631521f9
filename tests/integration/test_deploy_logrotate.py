"""The shipped rules of logrotate, on the log files of a running proxy."""

from __future__ import annotations

import grp
import gzip
import os
import pwd
import re
import shutil
import stat
import subprocess
import tempfile
import threading
import time
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from tests.support.peers import require
from tests.support.proxy import ADMIN, RUN, RunningProxy, with_sources
from tests.support.raw_client import RawClient
from tests.support.recording_upstream import RecordingUpstream

RULES = Path(__file__).resolve().parents[2] / "deploy" / "logrotate" / "reverse-proxy"
SOCKET = "/run/reverse-proxy/admin.sock"
COMMAND = "/opt/revproxy/bin/revproxy reopen-logs --config /etc/reverse-proxy/config.toml"
ROTATIONS = 4


class Visitor:
    """Asks for ``/0``, ``/1`` and so on, one after the other, until it is stopped."""

    def __init__(self, port: int) -> None:
        self.asked = 0
        self._client = RawClient.tls(port, "site.test")
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._visit)
        self._thread.start()

    def _visit(self) -> None:
        while not self._stopping.is_set():
            raw = b"GET /%d HTTP/1.1\r\nHost: site.test\r\n\r\n" % self.asked
            self._client.ask(raw)
            self.asked += 1

    def stop(self) -> None:
        """Ask no more."""
        self._stopping.set()
        self._thread.join(10)
        self._client.close()


class RotationTests(SynchronousTestCase):
    """deploy/logrotate/reverse-proxy."""

    def setUp(self) -> None:
        self.logrotate = require("logrotate")
        self.folder = Path(tempfile.mkdtemp(prefix="revproxy-logs-"))
        self.addCleanup(shutil.rmtree, self.folder)
        self.log = self.folder / "access.log"
        self.site_log = self.folder / "site.log"
        self.upstream = RecordingUpstream()
        self.addCleanup(self.upstream.stop)
        self.proxy = RunningProxy(
            {
                "site.test": {
                    "upstream": self.upstream.address,
                    "log_file_path": str(self.site_log),
                }
            },
            logging={"log_file_path": str(self.log)},
            admin_socket_path=ADMIN,
        )
        self.addCleanup(self.stop)
        self.proxy.wait_for_line(" START ")

    def stop(self) -> None:
        """End the proxy, once."""
        if self.proxy.config_path.exists():
            self.proxy.stop()

    def write_rules(self) -> Path:
        """The rules as they are, but for this user, this folder and this proxy."""
        user = pwd.getpwuid(os.getuid()).pw_name
        group = grp.getgrgid(os.getgid()).gr_name
        text = RULES.read_text()
        for shipped, here in (
            ("/var/log/reverse-proxy/*.log", f"{self.folder}/*.log"),
            ("su reverse-proxy reverse-proxy", f"su {user} {group}"),
            (SOCKET, str(self.proxy.folder / ADMIN)),
            (COMMAND, f"{RUN[0]} -m revproxy.cli reopen-logs --config {self.proxy.config_path}"),
        ):
            self.assertEqual(text.count(shipped), 1, shipped)
            text = text.replace(shipped, here)
        path = self.folder / "rules"
        path.write_text(text)
        path.chmod(0o644)
        return path

    def rotate(self, rules: Path) -> None:
        """Rotate now."""
        state = str(self.folder / "state")
        done = subprocess.run(
            [self.logrotate, "--force", "--state", state, str(rules)],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
            timeout=30,
            env=with_sources(),
        )
        self.assertEqual((done.returncode, done.stdout, done.stderr), (0, "", ""))

    def wait_for_request(self, log: Path) -> None:
        """Wait until a request's record is in the file of that name."""
        deadline = time.monotonic() + 10
        while b" REQUEST " not in log.read_bytes():
            self.assertLess(time.monotonic(), deadline, f"nothing is written to {log.name}")
            time.sleep(0.01)

    def numbers(self, log: Path) -> list[int]:
        """The numbers that a visitor asked for, of a log file and its older ones, in order."""
        found: list[int] = []
        for age in range(ROTATIONS, -1, -1):
            kept = Path(f"{log}.{age}") if age else log
            packed = Path(f"{kept}.gz")
            text = gzip.decompress(packed.read_bytes()) if packed.exists() else kept.read_bytes()
            found += [int(number) for number in re.findall(rb" path=/(\d+) ", text)]
        return found

    def test_no_line_is_lost(self) -> None:
        """Over several rotations under load, each record is in one of the files, and once."""
        rules = self.write_rules()
        visitor = Visitor(self.proxy.https_port)
        try:
            for _ in range(ROTATIONS):
                for log in (self.log, self.site_log):
                    self.wait_for_request(log)
                self.rotate(rules)
        finally:
            visitor.stop()
        self.stop()
        for log in (self.log, self.site_log):
            self.assertEqual(self.numbers(log), list(range(visitor.asked)))
            self.assertTrue(Path(f"{log}.2.gz").exists())
            self.assertEqual(stat.S_IMODE(log.stat().st_mode), 0o640)

    def test_new_file(self) -> None:
        """After a rotation the records go to the new file, which has the mode it was given."""
        self.rotate(self.write_rules())
        first = Path(f"{self.log}.1").read_text()
        self.assertIn(" START ", first)
        visitor = Visitor(self.proxy.https_port)
        try:
            self.wait_for_request(self.log)
        finally:
            visitor.stop()
        self.assertNotIn(" START ", self.log.read_text())
        self.assertEqual(stat.S_IMODE(self.log.stat().st_mode), 0o640)
        self.assertEqual(self.log.stat().st_uid, os.getuid())
