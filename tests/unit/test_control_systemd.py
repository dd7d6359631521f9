"""What a service manager is told, over a socket of its own, and when nobody listens there."""

from __future__ import annotations

import os
import resource
import socket
import tempfile
import time
from pathlib import Path

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from revproxy.control.systemd import Notifier, Watchdog
from tests.support.descriptors import open_descriptors

PID = str(os.getpid())


class ManagerCase(SynchronousTestCase):
    """A service manager that listens."""

    def setUp(self) -> None:
        folder = tempfile.TemporaryDirectory(prefix="revproxy-")
        self.addCleanup(folder.cleanup)
        self.path = str(Path(folder.name) / "notify")
        self.manager = self.listen(self.path)

    def listen(self, name: str) -> socket.socket:
        manager = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.addCleanup(manager.close)
        manager.bind(name)
        manager.setblocking(False)
        return manager

    def notifier(self, address: str | None = None, **environ: str) -> Notifier:
        """A notifier of a process that was started with this."""
        environ["NOTIFY_SOCKET"] = self.path if address is None else address
        return Notifier.from_environment(environ)

    def heard(self) -> list[str]:
        """Every message so far."""
        messages = []
        while True:
            try:
                messages.append(self.manager.recv(4096).decode())
            except BlockingIOError:
                return messages


class EnvironmentTests(ManagerCase):
    def test_taken_out(self) -> None:
        """The variables are taken out: no child shall speak for us."""
        environ = {
            "NOTIFY_SOCKET": self.path,
            "WATCHDOG_USEC": "1",
            "WATCHDOG_PID": PID,
            "PATH": "/",
        }
        Notifier.from_environment(environ)
        self.assertEqual(environ, {"PATH": "/"})

    def test_no_manager(self) -> None:
        """Without a manager nothing is sent and nobody watches."""
        self.patch(socket, "socket", None)
        notifier = Notifier.from_environment({})
        self.assertEqual(notifier.watchdog_secs, 0)
        notifier.ready("x")
        notifier.reloading()
        notifier.stopping("x")
        notifier.alive()

    def test_watchdog(self) -> None:
        """The watchdog's time is given in microseconds, for this process or for any."""
        for environ in ({"WATCHDOG_PID": PID}, {"WATCHDOG_PID": ""}, {}):
            notifier = self.notifier(WATCHDOG_USEC="2500000", **environ)
            self.assertEqual(notifier.watchdog_secs, 2.5)

    def test_watchdog_of_another(self) -> None:
        """A watchdog of another process is none of ours."""
        for pid in ("1", f"0{PID}", "x"):
            notifier = self.notifier(WATCHDOG_USEC="2500000", WATCHDOG_PID=pid)
            self.assertEqual(notifier.watchdog_secs, 0)

    def test_garbage(self) -> None:
        """A time that is none is no watchdog."""
        for text in ("", "0", "-1", "1.5", "x", " 1", "\u0661", "9" * 400, "9" * 5000):
            self.assertEqual(self.notifier(WATCHDOG_USEC=text).watchdog_secs, 0)


class MessageTests(ManagerCase):
    def test_ready(self) -> None:
        """Ready comes with what is served."""
        self.notifier().ready("2 sites, generation 1")
        self.assertEqual(self.heard(), ["READY=1\nSTATUS=2 sites, generation 1"])

    def test_reloading(self) -> None:
        """A reload comes with the time at which it began, by the manager's clock."""
        before = time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000
        self.notifier().reloading()
        after = time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000
        (message,) = self.heard()
        first, second, third = message.split("\n")
        self.assertEqual((first, third), ("RELOADING=1", "STATUS=reloading"))
        key, _, value = second.partition("=")
        self.assertEqual(key, "MONOTONIC_USEC")
        self.assertTrue(before <= int(value) <= after)

    def test_stopping(self) -> None:
        """The end is announced with what it waits for."""
        self.notifier().stopping("waiting")
        self.assertEqual(self.heard(), ["STOPPING=1\nSTATUS=waiting"])

    def test_alive(self) -> None:
        """A sign of life is a message of its own."""
        self.notifier().alive()
        self.assertEqual(self.heard(), ["WATCHDOG=1"])

    def test_abstract(self) -> None:
        """An @ stands for the zero byte of an abstract name."""
        name = f"revproxy-test-{PID}"
        self.manager = self.listen(f"\0{name}")
        self.notifier(f"@{name}").alive()
        self.assertEqual(self.heard(), ["WATCHDOG=1"])

    def test_nothing_is_left(self) -> None:
        """No descriptor is kept between two messages."""
        before = open_descriptors()
        self.notifier().alive()
        self.assertEqual(open_descriptors(), before)


class NobodyTests(ManagerCase):
    """Whatever is wrong with the manager, the proxy goes on at once."""

    def test_nobody_listens(self) -> None:
        """A manager that is gone is not told."""
        self.manager.close()
        self.notifier().ready("x")
        os.unlink(self.path)
        self.notifier().ready("x")

    def test_impossible_addresses(self) -> None:
        """An address that cannot be one is no manager."""
        for address in ("x" * 200, "@" + "x" * 200, "@", "vsock:2:1234", "/", "\udcff"):
            self.notifier(address).ready("x")
        self.assertEqual(self.heard(), [])

    def test_full_queue(self) -> None:
        """A manager that does not read is not waited for; what it can take is not lost."""
        notifier = self.notifier()
        for _ in range(5000):
            notifier.alive()
        messages = self.heard()
        self.assertTrue(0 < len(messages) < 5000)
        notifier.ready("again")
        self.assertEqual(self.heard(), ["READY=1\nSTATUS=again"])

    def test_no_descriptor(self) -> None:
        """Where no descriptor is left, nobody is told, and nothing fails by it."""
        limits = resource.getrlimit(resource.RLIMIT_NOFILE)
        next_one = os.dup(0)
        os.close(next_one)
        resource.setrlimit(resource.RLIMIT_NOFILE, (next_one, limits[1]))
        try:
            self.notifier().alive()
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, limits)
        self.assertEqual(self.heard(), [])


class WatchdogTests(ManagerCase):
    def setUp(self) -> None:
        super().setUp()
        self.clock = Clock()

    def watchdog(self, **environ: str) -> Watchdog:
        return Watchdog(self.notifier(**environ), self.clock)

    def test_beats(self) -> None:
        """Signs of life come at once, and then twice in the watchdog's time."""
        watchdog = self.watchdog(WATCHDOG_USEC="30000000")
        self.assertEqual(self.heard(), [])
        watchdog.startService()
        self.assertTrue(watchdog.running)
        self.assertEqual(self.heard(), ["WATCHDOG=1"])
        self.clock.advance(14.9)
        self.assertEqual(self.heard(), [])
        self.clock.advance(0.1)
        self.assertEqual(self.heard(), ["WATCHDOG=1"])
        self.clock.pump([15.0] * 3)
        self.assertEqual(self.heard(), ["WATCHDOG=1"] * 3)

    def test_beats_on(self) -> None:
        """A manager that is away for a while hears them again."""
        watchdog = self.watchdog(WATCHDOG_USEC="30000000")
        watchdog.startService()
        self.manager.close()
        os.unlink(self.path)
        self.clock.advance(15)
        self.manager = self.listen(self.path)
        self.clock.advance(15)
        self.assertEqual(self.heard(), ["WATCHDOG=1"])

    def test_end(self) -> None:
        """They end with the service, and may begin again."""
        watchdog = self.watchdog(WATCHDOG_USEC="30000000")
        for _ in range(2):
            watchdog.startService()
            watchdog.stopService()
            self.assertFalse(watchdog.running)
            self.assertEqual(self.clock.getDelayedCalls(), [])
            self.assertEqual(self.heard(), ["WATCHDOG=1"])
        watchdog.stopService()

    def test_nobody_watches(self) -> None:
        """Where nobody watches there are none."""
        watchdog = self.watchdog()
        watchdog.startService()
        self.assertEqual(self.clock.getDelayedCalls(), [])
        self.assertEqual(self.heard(), [])
        watchdog.stopService()
