"""A client that opens TLS connections one after another: one request each, then closed.

Run as ``python -m bench.handshakes PORT VERSION RESUME SECONDS`` it prints what it did. wrk and
h2load cannot say whether a handshake was a resumed one; this client can, and checks it.
"""

from __future__ import annotations

import json
import socket
import ssl
import subprocess
import sys
import time

from attrs import asdict, frozen

from bench.load import ENVIRONMENT, LoadError
from bench.machine import CORES, pinned
from bench.process import client_context

VERSIONS = {"1.2": ssl.TLSVersion.TLSv1_2, "1.3": ssl.TLSVersion.TLSv1_3}
_CLIENTS = 4
_REQUEST = b"GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"


@frozen
class Handshakes:
    """How many connections were served, and how many of them resumed a session."""

    connections: int
    resumed: int


def connect_for(seconds: float, port: int, version: ssl.TLSVersion, *, resume: bool) -> Handshakes:
    """Open connections to 127.0.0.1:``port`` until ``seconds`` have passed."""
    context = client_context()
    context.minimum_version = context.maximum_version = version
    context.set_ciphers("ECDHE-ECDSA-AES128-GCM-SHA256")
    session: ssl.SSLSession | None = None
    connections = resumed = 0
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        plain = socket.create_connection(("127.0.0.1", port), timeout=10)
        # Finished and the request are two writes: Nagle would hold the second for a delayed ACK.
        plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        with (
            plain,
            context.wrap_socket(plain, server_hostname="localhost", session=session) as tls,
        ):
            tls.sendall(_REQUEST)
            received = b""
            while chunk := tls.recv(65536):
                received += chunk
            if not received.startswith(b"HTTP/1.1 200"):
                raise LoadError(f"answer {received[:40]!r}")
            if resume:
                resumed += bool(tls.session_reused)
                session = tls.session
        connections += 1
    return Handshakes(connections, resumed)


def run_handshakes(port: int, version: str, *, resume: bool, seconds: float) -> Handshakes:
    """Four such clients at once on the load core; their sum.

    Raises:
        LoadError: a client failed.
    """
    command = [sys.executable, "-m", "bench.handshakes", str(port), version]
    command += [str(int(resume)), str(seconds)]
    processes = [
        subprocess.Popen(
            pinned(CORES.load, command),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=ENVIRONMENT,
        )
        for _ in range(_CLIENTS)
    ]
    connections = resumed = 0
    for process in processes:
        output, complaint = process.communicate()
        if process.returncode:
            raise LoadError(complaint.strip().rpartition("\n")[2])
        done = Handshakes(**json.loads(output))
        connections += done.connections
        resumed += done.resumed
    return Handshakes(connections, resumed)


if __name__ == "__main__":
    _, port_text, version_text, resume_text, seconds_text = sys.argv
    print(
        json.dumps(
            asdict(
                connect_for(
                    float(seconds_text),
                    int(port_text),
                    VERSIONS[version_text],
                    resume=resume_text == "1",
                )
            )
        )
    )
