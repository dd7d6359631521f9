"""The log of a running proxy when its disk is full, and when its file is rotated."""

from __future__ import annotations

import os
import re
import signal
import time
from pathlib import Path
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from tests.support.proxy import ADMIN, RUN, RunningProxy
from tests.support.raw_client import RawClient
from tests.support.recording_upstream import RecordingUpstream


def request(path: str) -> bytes:
    """A GET."""
    return f"GET {path} HTTP/1.1\r\nHost: site.test\r\n\r\n".encode()


class LogCase(SynchronousTestCase):
    """A proxy of its own that logs into a file."""

    def setUp(self) -> None:
        self.upstream = RecordingUpstream()
        self.addCleanup(self.upstream.stop)
        self.log = Path(self.mktemp()).absolute()

    def start(self, **overrides: Any) -> RunningProxy:
        """The proxy; its log file is :attr:`log` unless it is said otherwise."""
        overrides.setdefault("logging", {"log_file_path": str(self.log)})
        proxy = RunningProxy(
            {"site.test": self.upstream.address}, admin_socket_path=ADMIN, **overrides
        )
        self.addCleanup(proxy.stop, allow_errors=True)
        proxy.wait_for_line(" START ")
        return proxy

    def ask(self, proxy: RunningProxy, count: int, prefix: str = "/") -> None:
        """So many requests on one connection, all answered."""
        with RawClient.tls(proxy.https_port, "site.test") as client:
            for number in range(count):
                self.assertEqual(client.ask(request(f"{prefix}{number}")).status, 200)

    def wait_until(self, holds: Any) -> None:
        """Wait until ``holds()``; the log's thread writes a little later."""
        deadline = time.monotonic() + 10
        while not holds():
            self.assertLess(time.monotonic(), deadline)
            time.sleep(0.01)


class FullDiskTests(LogCase):
    def test_full_from_the_start(self) -> None:
        """With a log that takes nothing serving goes on, and the lines lost are counted."""
        proxy = self.start(logging={"log_file_path": "/dev/full"})
        self.ask(proxy, 100)
        self.wait_until(lambda: proxy.ask("status")["log_lines_lost"] >= 100)
        proxy.wait_for_line("REQUEST .*path=/99 ")

    def test_space_comes_back(self) -> None:
        """Once there is space again the log says how many lines it has lost, and goes on."""
        limit = 20_000
        proxy = self.start(command=("prlimit", f"--fsize={limit}", *RUN))
        self.ask(proxy, 300)
        self.wait_until(lambda: proxy.ask("status")["log_lines_lost"] > 0)
        self.assertLessEqual(self.log.stat().st_size, limit)
        os.truncate(self.log, 0)
        self.ask(proxy, 1, "/after/")
        self.wait_until(lambda: "path=/after/0 " in self.log.read_text())
        text = self.log.read_text()
        found = re.search(r"WARN LOG_DROPPED lines=(\d+) sink=", text)
        assert found is not None, text
        self.assertLess(text.index("LOG_DROPPED"), text.index("/after/0"))
        lost = proxy.ask("status")["log_lines_lost"]
        self.assertEqual(int(found[1]), lost)


class RotationTests(LogCase):
    def rotate(self, proxy: RunningProxy, number: int) -> Path:
        """Rename the file and have it opened again."""
        rotated = self.log.rename(self.log.with_suffix(f".{number}"))
        if number % 2:
            self.assertEqual(proxy.ask("reopen-logs"), {"status": "ok"})
        else:
            os.kill(proxy.pid, signal.SIGUSR1)
        return rotated

    def test_nothing_is_lost(self) -> None:
        """Every request is in exactly one of the files, by signal and by command."""
        proxy = self.start()
        files = []
        for number in range(4):
            self.ask(proxy, 50, f"/{number}/")
            files.append(self.rotate(proxy, number))
            self.wait_until(self.log.exists)
        proxy.stop()
        text = "".join(file.read_text() for file in [*files, self.log])
        paths = re.findall(r"REQUEST .*path=(\S+) ", text)
        self.assertEqual(len(paths), 200)
        self.assertEqual(len(set(paths)), 200)
