"""What an operator does to a proxy under load, and that no request notices."""

from __future__ import annotations

import datetime
import re
import signal
import subprocess
import tempfile
import threading
import time
from pathlib import Path
from typing import Any, ClassVar

from attrs import frozen
from twisted.trial.unittest import SynchronousTestCase

from tests.support.certificates import Authority, Pair
from tests.support.nginx import Nginx
from tests.support.peers import require
from tests.support.proxy import ADMIN, RunningProxy

CLIENTS = 16


@frozen
class Load:
    """What h2load says it has done.

    Attributes:
        succeeded: requests answered with 2xx or 3xx.
        lost: requests that failed, or were answered with anything but 2xx.
        rate: requests a second.
    """

    succeeded: int
    lost: int
    rate: float


def parse_h2load(output: str) -> Load:
    """Read its summary.

    Raises:
        AssertionError: there is none.
    """
    numbers = r"(\d+) done, (\d+) succeeded, (\d+) failed, (\d+) errored, (\d+) timeout"
    done = re.search(numbers, output)
    codes = re.search(r"status codes: (\d+) 2xx, (\d+) 3xx, (\d+) 4xx, (\d+) 5xx", output)
    rate = re.search(r"finished in [^,]+, ([\d.]+) req/s", output)
    assert done and codes and rate, output
    lost = int(done[3]) + int(done[4]) + int(done[5])
    lost += int(done[1]) - int(codes[1])
    return Load(int(done[2]), lost, float(rate[1]))


class OperationTests(SynchronousTestCase):
    """Reloads, a renewed certificate and a rotated log while requests come at a steady rate.

    Attributes:
        SECONDS: of load.
        RATE: requests a second; 0 = half of what this machine can do.
        RELOADS: in that time, each with another site.
    """

    SECONDS: ClassVar[int] = 5
    RATE: ClassVar[int] = 1600
    RELOADS: ClassVar[int] = 20

    def setUp(self) -> None:
        folder = tempfile.TemporaryDirectory(prefix="revproxy-")
        self.addCleanup(folder.cleanup)
        self.folder = Path(folder.name)
        self.authority = Authority(self.folder)
        self.pair = Pair(str(self.folder / "live.pem"), str(self.folder / "live.key"))
        self.issue(0)
        self.nginx = Nginx()
        self.addCleanup(self.nginx.stop)
        (self.nginx.files / "small").write_bytes(b"twelve bytes")
        self.log = self.folder / "access.log"
        self.overrides: dict[str, Any] = {
            "certificates": (self.pair,),
            "admin_socket_path": ADMIN,
            "logging": {"log_file_path": str(self.log)},
        }
        self.proxy = RunningProxy({"site.test": self.nginx.address}, **self.overrides)
        self.addCleanup(self.proxy.stop, allow_errors=True)

    def issue(self, number: int) -> None:
        """Put another certificate in the place of the present one."""
        lasts = datetime.timedelta(days=90, seconds=number)
        issued = self.authority.pair("site.test", "other.test", lasts=lasts)
        for source, target in (
            (issued.cert_path, self.pair.cert_path),
            (issued.key_path, self.pair.key_path),
        ):
            temporary = Path(f"{target}.new")
            temporary.write_bytes(Path(source).read_bytes())
            temporary.rename(target)

    def load_command(self, seconds: int, rate: int) -> list[str]:
        """The command line of h2load; ``rate`` 0 = as fast as it goes."""
        port = self.proxy.https_port
        command = [require("h2load"), "--h1", f"--clients={CLIENTS}", f"--duration={seconds}"]
        if rate:
            command.append(f"--rps={max(1, rate // CLIENTS)}")
        return [*command, f"--connect-to=127.0.0.1:{port}", f"https://site.test:{port}/small"]

    def run_load(self, seconds: int, rate: int) -> Load:
        """Run it to its end."""
        command = self.load_command(seconds, rate)
        done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=120)
        return parse_h2load(done.stdout)

    def reload(self, number: int) -> list[str]:
        """Serve another site beside the first one; what has changed."""
        sites = {"site.test": self.nginx.address, f"other{number}.test": "127.0.0.1:9"}
        self.proxy.write_config(sites, **self.overrides)
        reply = self.proxy.ask("reload")
        self.assertEqual((reply["status"], reply["changed"]), ("ok", True), reply)
        changes: list[str] = reply["changes"]
        return changes

    def test_nothing_is_lost(self) -> None:
        """Reloads, a certificate and a rotation lose no request, under load."""
        rate = self.RATE or int(self.run_load(3, 0).rate / 2)
        loads: list[Load] = []
        load = threading.Thread(target=lambda: loads.append(self.run_load(self.SECONDS, rate)))
        load.start()
        self.addCleanup(load.join)
        started = time.monotonic()
        changes: list[str] = []
        for number in range(self.RELOADS):
            changes += self.reload(number)
            if number == self.RELOADS // 3:
                self.issue(1)
            if number == self.RELOADS // 2:
                self.log.rename(self.log.with_suffix(".1"))
                self.proxy.send_signal(signal.SIGUSR1)
            due = started + (number + 1) * (self.SECONDS - 1) / self.RELOADS
            load.join(max(0.0, due - time.monotonic()))
        load.join()
        (done,) = loads
        self.assertEqual(done.lost, 0, done)
        self.assertGreater(done.succeeded, 0.9 * rate * self.SECONDS)
        by_watching = [line for line in self.proxy.lines if " CERTIFICATE_RELOAD " in line]
        self.assertEqual(len(by_watching) + changes.count("certificate site.test: renewed"), 1)
        status = self.proxy.ask("status")
        self.assertEqual(status["requests"]["2xx"], status["requests"]["total"])
        self.assertTrue(self.log.exists())
