"""A child process pinned to one core: started, waited for, stopped by its own PID."""

from __future__ import annotations

import os
import signal
import socket
import ssl
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

from bench.machine import pinned

_READY_SECS = 60.0
_STOP_SECS = 5.0


class NotReadyError(Exception):
    """A process ended, or did not answer in time; the message holds the end of its output."""


def free_port() -> int:
    """A TCP port of 127.0.0.1 that nobody listens on."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
        return port


class PinnedProcess:
    """``command`` running on ``core``, in a process group of its own."""

    def __init__(self, core: int, command: list[str], stdout: Path, stderr: Path) -> None:
        self._stderr = stderr
        with stdout.open("ab") as out, stderr.open("ab") as err:
            self._process = subprocess.Popen(
                pinned(core, command),
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=err,
                start_new_session=True,
            )

    @property
    def pid(self) -> int:
        """Of the first process; its children are found from it."""
        return self._process.pid

    def wait_until(self, ready: Callable[[], bool]) -> None:
        """Return once ``ready()`` is true.

        Raises:
            NotReadyError: when the process ends first or takes over a minute.
        """
        deadline = time.monotonic() + _READY_SECS
        while not ready():
            if self._process.poll() is not None or time.monotonic() > deadline:
                tail = self._stderr.read_text(errors="replace")[-2000:]
                raise NotReadyError(f"{self._process.args!r} is not ready: {tail}")
            time.sleep(0.05)

    def stop(self) -> None:
        """Ask it to end, and end its whole group when it does not."""
        self._process.terminate()
        try:
            self._process.wait(_STOP_SECS)
        except subprocess.TimeoutExpired:
            os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()


def accepts(port: int) -> bool:
    """Whether 127.0.0.1:``port`` accepts a TCP connection."""
    try:
        socket.create_connection(("127.0.0.1", port), timeout=1).close()
    except OSError:
        return False
    return True


def client_context() -> ssl.SSLContext:
    """A client's TLS context that takes the self-signed certificates of a run."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


def fetch_over_tls(port: int, host: str, path: str) -> tuple[int, bytes]:
    """GET ``path`` of ``host`` on a connection of its own.

    Returns:
        the status and the body.

    Raises:
        OSError: no connection, a failed handshake, or 10 s of silence.
    """
    head = f"GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n"
    with (
        socket.create_connection(("127.0.0.1", port), timeout=10) as plain,
        client_context().wrap_socket(plain, server_hostname=host) as tls,
    ):
        tls.sendall(head.encode())
        received = b""
        while chunk := tls.recv(65536):
            received += chunk
    response_head, _, body = received.partition(b"\r\n\r\n")
    return int(response_head[9:12] or b"0"), body
