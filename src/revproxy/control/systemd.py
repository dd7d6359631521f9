"""Telling a service manager how the process is (sd_notify(3)), in plain datagrams.

Owns the messages and the watchdog's interval. Refuses to know why a state changes, and to wait:
a manager that does not read is not told. systemd is not needed for it, nor a library of its.
"""

from __future__ import annotations

import os
import re
import socket
import time
from collections.abc import MutableMapping
from typing import Any

from twisted.application.service import Service

_NUMBER = re.compile(r"[0-9]{1,18}")


class Notifier:
    """Speaks to the manager that started this process, if there is one.

    Args:
        address: of its socket: a path, or ``@`` and an abstract name; ``""`` = there is none.
        watchdog_secs: within what time it wants a sign of life; 0 = never.
    """

    def __init__(self, address: str = "", watchdog_secs: float = 0.0) -> None:
        self._address = f"\0{address[1:]}" if address.startswith("@") else address
        self.watchdog_secs = watchdog_secs

    @classmethod
    def from_environment(cls, environ: MutableMapping[str, str]) -> Notifier:
        """As the manager's variables say, which are taken out: no child shall speak for us."""
        address = environ.pop("NOTIFY_SOCKET", "")
        microseconds = environ.pop("WATCHDOG_USEC", "")
        watched = environ.pop("WATCHDOG_PID", "") in {"", str(os.getpid())}
        if not watched or not _NUMBER.fullmatch(microseconds):
            microseconds = "0"
        return cls(address, int(microseconds) / 1e6)

    def ready(self, status: str) -> None:
        """Everything is bound and served, or is again after a reload."""
        self._send("READY=1", f"STATUS={status}")

    def reloading(self) -> None:
        """A reload has begun; :meth:`ready` ends it, whatever comes of it."""
        microseconds = time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000
        self._send("RELOADING=1", f"MONOTONIC_USEC={microseconds}", "STATUS=reloading")

    def stopping(self, status: str) -> None:
        """The process is about to end."""
        self._send("STOPPING=1", f"STATUS={status}")

    def alive(self) -> None:
        """A sign of life for the watchdog."""
        self._send("WATCHDOG=1")

    def _send(self, *lines: str) -> None:
        if not self._address:
            return
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
                manager.setblocking(False)
                manager.sendto("\n".join(lines).encode(), self._address)
        except OSError:  # it is gone or does not read, or no descriptor is left
            pass


class Watchdog(Service):
    """Signs of life from the reactor's own loop: one that hangs gives none.

    Args:
        notifier: sends them.
        reactor: for the time.
    """

    def __init__(self, notifier: Notifier, reactor: Any) -> None:
        self._notifier = notifier
        self._reactor = reactor
        self._call: Any = None

    def startService(self) -> None:
        """Begin, if anybody watches."""
        super().startService()
        if self._notifier.watchdog_secs:
            self._beat()

    def stopService(self) -> None:
        """End."""
        super().stopService()
        if self._call is not None:
            self._call.cancel()
            self._call = None

    def _beat(self) -> None:
        self._notifier.alive()
        self._call = self._reactor.callLater(self._notifier.watchdog_secs / 2, self._beat)
