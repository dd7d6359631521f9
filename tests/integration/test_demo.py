"""The demonstration keeps its word: what it prints is run in a shell, and shows what it says."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import threading

from twisted.internet.testing import MemoryReactorClock
from twisted.trial.unittest import SkipTest, SynchronousTestCase

from revproxy.control.demo import demo_setup
from tests.support.proxy import SOURCES

SECONDS = 30


class DemoCommandTests(SynchronousTestCase):
    """``revproxy demo`` as a child process."""

    def setUp(self) -> None:
        if shutil.which("curl") is None:
            raise SkipTest("curl is not installed")
        folder = tempfile.mkdtemp(prefix="rp-")
        self.addCleanup(shutil.rmtree, folder)
        self.expected = {
            attempt.title: attempt.expects
            for attempt in demo_setup(MemoryReactorClock(), os.path.join(folder, "demo")).attempts
        }
        self.child = subprocess.Popen(
            [sys.executable, "-m", "revproxy.cli", "demo"],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            env={**os.environ, "PYTHONPATH": str(SOURCES), "TMPDIR": folder},
        )
        self.addCleanup(self.end)
        overdue = threading.Timer(SECONDS, self.child.kill)
        overdue.start()
        self.addCleanup(overdue.cancel)

    def end(self) -> None:
        """Leave no process behind."""
        self.child.kill()
        self.child.communicate()

    def commands(self) -> dict[str, str]:
        """Title and command of everything to try, as soon as all of it has been printed."""
        assert self.child.stdout is not None
        text = ""
        for line in self.child.stdout:
            text += line
            found = dict(re.findall(r"^# ([^:\n]+): .*\n(.+)\n", text, re.MULTILINE))
            if len(found) == len(self.expected):
                return found
        raise AssertionError(f"it ended before it had printed everything:\n{text}")

    def test_commands_show_what_they_promise(self) -> None:
        """Every command that is printed has an output of the kind that is announced."""
        for title, command in self.commands().items():
            run = subprocess.run(
                ["bash", "-c", command],
                check=False,
                capture_output=True,
                text=True,
                timeout=SECONDS,
            )
            self.assertRegex(run.stdout, self.expected[title], f"{command}\n{run.stderr}")

    def test_interrupt(self) -> None:
        """Ctrl-C ends it with status 0, and nothing of it stays in the temporary directory."""
        self.commands()
        self.child.send_signal(signal.SIGINT)
        output, _ = self.child.communicate(timeout=SECONDS)
        self.assertEqual(self.child.returncode, 0, output)
        self.assertNotIn("Traceback", output)
