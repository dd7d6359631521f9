"""A client that holds many idle TLS connections, each of which has carried one request.

Run as ``python -m bench.crowd PORT COUNT`` it prints a line when all are there, and ends with its
standard input.
"""

from __future__ import annotations

import resource
import socket
import subprocess
import sys

from bench.load import ENVIRONMENT, LoadError
from bench.machine import CORES, pinned
from bench.process import client_context

_REQUEST = b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"
_READY = "ready"


def gather(port: int, count: int) -> list[socket.socket]:
    """Open ``count`` connections to 127.0.0.1:``port``, one after another."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    context = client_context()
    crowd: list[socket.socket] = []
    for _ in range(count):
        plain = socket.create_connection(("127.0.0.1", port), timeout=10)
        # Finished and the request are two writes: Nagle would hold the second for a delayed ACK.
        plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        client = context.wrap_socket(plain, server_hostname="localhost")
        client.sendall(_REQUEST)
        received = client.recv(4096)
        if not received.startswith(b"HTTP/1.1 200"):
            raise LoadError(f"answer {received[:40]!r}")
        crowd.append(client)
    return crowd


class Crowd:
    """Such a client as a process on the load core, from its readiness to its end.

    Raises:
        LoadError: it could not open all of them.
    """

    def __init__(self, port: int, count: int) -> None:
        command = [sys.executable, "-m", "bench.crowd", str(port), str(count)]
        self._process = subprocess.Popen(
            pinned(CORES.load, command),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=ENVIRONMENT,
        )
        assert self._process.stdout is not None
        if self._process.stdout.readline().strip() != _READY:
            _, complaint = self._process.communicate()
            raise LoadError(complaint.strip().rpartition("\n")[2])

    def __enter__(self) -> Crowd:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self._process.communicate()


if __name__ == "__main__":
    held = gather(int(sys.argv[1]), int(sys.argv[2]))
    print(_READY, flush=True)
    sys.stdin.read()
