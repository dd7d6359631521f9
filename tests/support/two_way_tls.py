"""A TLS socket on which one thread reads while another writes.

OpenSSL allows neither at once on one connection, and Python before 3.13 does not keep them apart:
a blocking read in one thread now and then breaks a record that another one writes.
"""

from __future__ import annotations

import select
import ssl
import time
from collections.abc import Callable
from threading import Lock
from typing import Any, TypeVar

T = TypeVar("T")


class TwoWayTls(ssl.SSLSocket):
    """Blocking with a timeout as seen from outside; within, never blocking under its lock."""

    _lock: Lock | None = None
    _patience: float | None = None

    def share(self) -> None:
        """Begin to keep the threads apart, once the handshake is done."""
        self._patience = super().gettimeout()
        super().settimeout(0.0)
        self._lock = Lock()

    def settimeout(self, value: float | None) -> None:
        """As of any socket."""
        if self._lock is None:
            super().settimeout(value)
        else:
            self._patience = value

    def recv(self, buflen: int = 1024, flags: int = 0) -> bytes:
        """As of any socket."""
        return self._take_turns(lambda: super(TwoWayTls, self).recv(buflen, flags))

    def send(self, data: Any, flags: int = 0) -> int:
        """As of any socket."""
        return self._take_turns(lambda: super(TwoWayTls, self).send(data, flags))

    def sendall(self, data: Any, flags: int = 0) -> None:
        """As of any socket."""
        view = memoryview(data)
        while view:
            view = view[self.send(view[:16384], flags) :]

    def _take_turns(self, step: Callable[[], T]) -> T:
        if self._lock is None:
            return step()
        patience = self._patience
        deadline = None if patience is None else time.monotonic() + patience
        while True:
            wanted: tuple[list[Any], list[Any]] = ([self], [])
            with self._lock:
                try:
                    return step()
                except ssl.SSLWantReadError:
                    pass
                except ssl.SSLWantWriteError:
                    wanted = ([], [self])
            left = None if deadline is None else max(0.0, deadline - time.monotonic())
            if not any(select.select(*wanted, [], left)):
                raise TimeoutError("the operation timed out")
