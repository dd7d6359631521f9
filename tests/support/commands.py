"""Commands that read a configuration file, print, and end the process.

Owns the file and what was printed. Refuses to know the commands.
"""

from __future__ import annotations

import signal
import sys
from io import StringIO
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from tests.support.certificates import authority

CONFIGURATION = """
health_check_port = 0
admin_socket_path = ""
[rate_limit]
requests_per_second = 10
burst = 20
[body]
limit_bytes = 1000
[[listeners]]
bind_addr = "127.0.0.1"
[listeners.tls]
mode = "manual"
cert_path = "{cert_path}"
key_path = "{key_path}"
[[listeners.sites]]
host = "a.test"
upstream = "127.0.0.1:3000"
"""


class CommandCase(SynchronousTestCase):
    """A configuration file, and what is printed."""

    def setUp(self) -> None:
        held = {signal.SIGHUP, signal.SIGUSR1}
        self.addCleanup(signal.pthread_sigmask, signal.SIG_UNBLOCK, held)
        self.printed, self.errors = StringIO(), StringIO()
        self.patch(sys, "stdout", self.printed)
        self.patch(sys, "stderr", self.errors)
        pair = authority().pair("a.test")
        self.path = Path(self.mktemp())
        self.text = CONFIGURATION.format(cert_path=pair.cert_path, key_path=pair.key_path)
        self.path.write_text(self.text)

    def exit_status(self, call: object, *arguments: object) -> object:
        """The status with which ``call`` ends the process."""
        return self.assertRaises(SystemExit, call, *arguments).code

    def held(self) -> set[signal.Signals]:
        """The signals that wait for somebody who can act on them."""
        return {signal.Signals(one) for one in signal.pthread_sigmask(signal.SIG_BLOCK, ())}

    def break_configuration(self) -> None:
        """Two mistakes."""
        self.path.write_text(self.text.replace("burst = 20", "burst = 0\nbrust = 1"))
