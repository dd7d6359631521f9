"""The tests of operation at length: a minute of load, slow downloads, thousands of connections.

This folder is no package, so that ``make test`` does not come by; ``make soak`` does.
"""

from __future__ import annotations

import os
import re
import subprocess
import tempfile
from pathlib import Path

from tests.integration import (
    test_real_acme_renewal,
    test_real_crowd,
    test_real_drain,
    test_real_h2,
    test_real_logs,
    test_real_operation,
)
from tests.support.peers import require
from twisted.trial.unittest import SkipTest


class MinuteOfOperationTests(test_real_operation.OperationTests):
    """A minute at half of what this machine can do."""

    SECONDS = 60
    RATE = 0


class LongDownloadTests(test_real_drain.SlowDownloadTests):
    """Fifty downloads of 16 s."""

    MEBIBYTES = 8


class LongDownloadUnderTwistdTests(test_real_drain.SlowDownloadUnderTwistdTests):
    """The same under twistd."""

    MEBIBYTES = 8


class GreatCrowdTests(test_real_crowd.CrowdTests):
    """Five thousand connections."""

    CONNECTIONS = 5000


class MinuteOfRenewalsTests(test_real_acme_renewal.RenewalTests):
    """A minute of certificates that are valid for 12 s."""

    RENEWALS = 12


class HundredThousandRequestsTests(test_real_h2.LoadTests):
    """A hundred thousand requests over HTTP/2."""

    REQUESTS = 100_000


class FullFileSystemTests(test_real_logs.LogCase):
    """A small file system of its own for the log."""

    def setUp(self) -> None:
        super().setUp()
        if os.geteuid():
            raise SkipTest("only root mounts file systems")
        folder = tempfile.mkdtemp(prefix="revproxy-")
        self.addCleanup(os.rmdir, folder)
        options = ["-t", "tmpfs", "-o", "size=64k", "tmpfs", folder]
        subprocess.run([require("mount"), *options], check=True)
        self.addCleanup(subprocess.run, [require("umount"), "--lazy", folder], check=True)
        self.log = Path(folder, "access.log")

    def test_space_comes_back(self) -> None:
        """Serving goes on while the disk is full; the lines lost are told once there is space."""
        ballast = self.log.with_name("ballast")
        proxy = self.start()
        ballast.write_bytes(bytes(32768))
        proxy.forgive(" LOG_FAILED ")
        self.ask(proxy, 1000)
        proxy.wait_for_line(f"ERROR LOG_FAILED sink={self.log} error=")
        self.wait_until(lambda: proxy.ask("status")["log_lines_lost"] > 0)
        ballast.unlink()
        self.ask(proxy, 1, "/after/")
        self.wait_until(lambda: "path=/after/0 " in self.log.read_text())
        text = self.log.read_text()
        self.assertRegex(text, r"WARN LOG_DROPPED lines=\d+ sink=")
        written = len(re.findall(r"REQUEST .* duration_ms=\d+$", text, re.MULTILINE))
        lost = sum(map(int, re.findall(r"LOG_DROPPED lines=(\d+)", text)))
        # What told of the failure was meant for this file, too.
        self.assertEqual(written + lost, 1001 + (" LOG_FAILED " not in text))
