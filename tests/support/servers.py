"""Programs that listen, started by a test and ended after it; and a server that records bytes.

Owns the processes, threads and sockets. Refuses to know any protocol.
"""

from __future__ import annotations

import os
import signal
import socket
import struct
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase


def temporary_folder(case: SynchronousTestCase) -> Path:
    """A folder, removed after the test."""
    folder = tempfile.TemporaryDirectory(prefix="revproxy-peer-", ignore_cleanup_errors=True)
    case.addCleanup(folder.cleanup)
    return Path(folder.name)


def start_server(
    case: SynchronousTestCase, command: Sequence[str], port: int, address: str = "127.0.0.1"
) -> None:
    """Start a program that stays in the foreground, and wait until it accepts on ``port``."""
    output = case.mktemp()
    with open(output, "wb") as file:
        child = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=file,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    case.addCleanup(_end, child)
    deadline = time.monotonic() + 15
    while True:
        with socket.socket() as sock:
            if sock.connect_ex((address, port)) == 0:
                return
        if child.poll() is not None or time.monotonic() > deadline:
            text = Path(output).read_text(encoding="utf-8", errors="replace")
            raise AssertionError(f"{command!r} did not start:\n{text}")
        time.sleep(0.02)


def _end(child: subprocess.Popen[bytes]) -> None:
    """The program with its children: some let these outlive it."""
    try:
        os.killpg(child.pid, signal.SIGKILL)
    except ProcessLookupError:
        pass
    child.wait(10)


Serve = Callable[[socket.socket], None]


def holds(sock: socket.socket) -> None:
    """Take bytes until the peer ends."""
    while sock.recv(65536):
        pass


def resets(sock: socket.socket) -> None:
    """Take the first bytes, then RST."""
    sock.recv(65536)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


class ByteServer:
    """A listening socket that records what comes; each connection is served by ``serve``.

    Attributes:
        address: where it listens.
    """

    def __init__(
        self, serve: Serve = holds, family: socket.AddressFamily = socket.AF_INET
    ) -> None:
        self._serve = serve
        self._received: list[bytearray] = []
        self._open: set[socket.socket] = set()
        self._changed = threading.Condition()
        self._listener = socket.create_server(
            ("::1" if family is socket.AF_INET6 else "127.0.0.1", 0), family=family, backlog=512
        )
        host, self.port = self._listener.getsockname()[:2]
        self.address = f"[{host}]:{self.port}" if ":" in host else f"{host}:{self.port}"
        self._accepting = threading.Thread(target=self._accept, daemon=True)
        self._accepting.start()

    @property
    def connections(self) -> int:
        """How many have been accepted."""
        with self._changed:
            return len(self._received)

    def wait_for(self, count: int, connection: int = 0) -> bytes:
        """What a connection has brought, once that is ``count`` bytes.

        Raises:
            AssertionError: it is not in time.
        """
        with self._changed:

            def enough() -> bool:
                return (
                    len(self._received) > connection and len(self._received[connection]) >= count
                )

            if not self._changed.wait_for(enough, 5):
                raise AssertionError(f"received only {self._received!r}")
            return bytes(self._received[connection])

    def stop(self) -> None:
        """Close everything."""
        self._listener.shutdown(socket.SHUT_RDWR)
        self._accepting.join(5)
        self._listener.close()
        with self._changed:
            for sock in self._open:
                try:
                    sock.shutdown(socket.SHUT_RDWR)
                except OSError:
                    pass
            self._changed.wait_for(lambda: not self._open, 5)

    def _accept(self) -> None:
        while True:
            try:
                sock, _ = self._listener.accept()
            except OSError:
                return
            with self._changed:
                self._open.add(sock)
                record = bytearray()
                self._received.append(record)
            threading.Thread(target=self._run, args=(sock, record), daemon=True).start()

    def _run(self, sock: socket.socket, record: bytearray) -> None:
        try:
            self._serve(_Recorded(sock, record, self._changed))  # type: ignore[arg-type]
        except OSError:
            pass
        finally:
            with self._changed:
                sock.close()
                self._open.discard(sock)
                self._changed.notify_all()


class _Recorded:
    """A socket whose received bytes are recorded."""

    def __init__(
        self, sock: socket.socket, record: bytearray, changed: threading.Condition
    ) -> None:
        self._sock = sock
        self._record = record
        self._changed = changed
        self.sendall = sock.sendall
        self.setsockopt = sock.setsockopt
        self.shutdown = sock.shutdown

    def recv(self, size: int) -> bytes:
        """As of any socket."""
        received = self._sock.recv(size)
        with self._changed:
            self._record += received
            self._changed.notify_all()
        return received
