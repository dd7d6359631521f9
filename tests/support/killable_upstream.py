"""An upstream in a process of its own, which begins a response and can be killed in it."""

from __future__ import annotations

import signal
import subprocess
import sys

PROGRAM = """
import socket, sys, threading
OK = b"HTTP/1.1 200 OK\\r\\n"
listener = socket.socket()
listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
listener.bind(("127.0.0.1", int(sys.argv[1])))
listener.listen()
print(listener.getsockname()[1], flush=True)
def serve(sock):
    seen = b""
    while b"\\r\\n\\r\\n" not in seen:
        seen += sock.recv(65536) or sys.exit()
    if seen.startswith(b"GET /whole "):
        sock.sendall(OK + b"Content-Length: 5\\r\\nConnection: close\\r\\n\\r\\nwhole")
        sock.close()
    elif seen.startswith(b"GET /chunked "):
        sock.sendall(OK + b"Transfer-Encoding: chunked\\r\\n\\r\\n5\\r\\nfirst\\r\\n")
    else:
        sock.sendall(OK + b"Content-Length: 1000000\\r\\n\\r\\n" + bytes(1000))
keep = []
while True:
    keep.append(listener.accept()[0])
    threading.Thread(target=serve, args=(keep[-1],), daemon=True).start()
"""


class KillableUpstream:
    """``/whole`` answers wholly, ``/chunked`` and everything else begin and never end."""

    def __init__(self) -> None:
        self._child = self._start(0)
        self.port = self._read_port()
        self.address = f"127.0.0.1:{self.port}"

    def _start(self, port: int) -> subprocess.Popen[bytes]:
        return subprocess.Popen([sys.executable, "-c", PROGRAM, str(port)], stdout=subprocess.PIPE)

    def _read_port(self) -> int:
        assert self._child.stdout is not None
        return int(self._child.stdout.readline())

    def kill(self) -> None:
        """SIGKILL, as an out-of-memory killer would."""
        self._child.send_signal(signal.SIGKILL)
        self._child.communicate(timeout=10)

    def restart(self) -> None:
        """Start again on the same port."""
        self._child = self._start(self.port)
        self._read_port()

    def stop(self) -> None:
        """Kill it if it runs."""
        if self._child.poll() is None:
            self.kill()
