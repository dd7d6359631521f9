"""What signals do to a running proxy, and what its log says to the end."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from tests.support.proxy import RunningProxy
from tests.support.raw_client import RawClient
from tests.support.recording_upstream import Answer, RecordingUpstream

REQUEST = b"GET / HTTP/1.1\r\nHost: site.test\r\n\r\n"


class SignalTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.upstream = RecordingUpstream()
        self.addCleanup(self.upstream.stop)
        self.log = Path(self.mktemp()).resolve()
        self.proxy = RunningProxy(
            {"site.test": self.upstream.address}, logging={"log_file_path": str(self.log)}
        )
        self.addCleanup(self.stop)
        # Whoever is answered speaks to a reactor that runs, and has its signal actions.
        with RawClient.tls(self.proxy.https_port, "site.test") as client:
            self.assertEqual(client.ask(REQUEST).status, 200)
        self.proxy.wait_for_line(" START ")

    def stop(self) -> None:
        """End the proxy, once."""
        if self.proxy.config_path.exists():
            self.proxy.stop(allow_errors=True)

    def test_logs_are_reopened(self) -> None:
        """SIGUSR1 opens the log file again by its name, for rotation."""
        rotated = self.log.rename(self.log.with_suffix(".1"))
        os.kill(self.proxy.pid, signal.SIGUSR1)
        deadline = time.monotonic() + 5
        while not self.log.exists() and time.monotonic() < deadline:
            time.sleep(0.01)
        self.stop()
        self.assertIn(" START ", rotated.read_text())
        self.assertTrue(self.log.read_text().endswith("INFO STOP\n"))

    def test_reload(self) -> None:
        """SIGHUP reads the configuration again and serves it."""
        self.proxy.write_config({"other.test": self.upstream.address})
        os.kill(self.proxy.pid, signal.SIGHUP)
        self.proxy.wait_for_line("INFO CONFIG_RELOAD status=success sites=1 generation=2 ")
        request = REQUEST.replace(b"site.test", b"other.test")
        with RawClient.tls(self.proxy.https_port, "other.test") as client:
            self.assertEqual(client.ask(request).status, 200)

    def test_reload_fails(self) -> None:
        """A configuration that is not valid changes nothing, and the log says what is wrong."""
        self.proxy.config_path.write_text("[rate_limit]\nburst = 0\n")
        os.kill(self.proxy.pid, signal.SIGHUP)
        self.proxy.wait_for_line("ERROR CONFIG_RELOAD status=error .*rate_limit.burst: ")
        with RawClient.tls(self.proxy.https_port, "site.test") as client:
            self.assertEqual(client.ask(REQUEST).status, 200)

    def test_cut_exchanges_are_recorded(self) -> None:
        """An exchange that is in flight when the process ends has its record, too."""
        self.upstream.answers[b"/"] = Answer(
            (b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\nbegun",), then="hold"
        )
        with RawClient.tls(self.proxy.https_port, "site.test") as client:
            client.send(REQUEST)
            client.stream.until(b"begun")
            self.stop()
        self.assertRegex(self.log.read_text(), r"REQUEST .*path=/ status=200 .*cut=")
