"""The upstream of uploads: reads each body to its last byte, throws it away, then answers 200.

Threads and blocking reads into one buffer, so that it costs next to nothing beside what is
measured. It refuses to know chunked bodies: every load sends Content-Length.
"""

from __future__ import annotations

import re
import socket
import sys
import threading

_BUFFER_BYTES = 1 << 18
_CONTENT_LENGTH = re.compile(rb"\r\ncontent-length: *([0-9]+)\r\n", re.IGNORECASE)
_ANSWER = b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 3\r\n\r\nok\n"


def serve_connection(connection: socket.socket) -> None:
    """Answer requests until the peer closes."""
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    buffer = bytearray(_BUFFER_BYTES)
    head = b""
    with connection:
        while True:
            while b"\r\n\r\n" not in head:
                received = connection.recv(65536)
                if not received:
                    return
                head += received
            fields, _, rest = head.partition(b"\r\n\r\n")
            found = _CONTENT_LENGTH.search(fields + b"\r\n")
            left = int(found[1]) - len(rest) if found else -len(rest)
            while left > 0:
                count = connection.recv_into(buffer, min(left, _BUFFER_BYTES))
                if not count:
                    return
                left -= count
            head = rest[len(rest) + left :] if left < 0 else b""
            connection.sendall(_ANSWER)


def main(port: int) -> None:
    """Serve on 127.0.0.1:``port`` until killed."""
    with socket.create_server(("127.0.0.1", port), backlog=256) as listener:
        while True:
            connection, _ = listener.accept()
            threading.Thread(target=serve_connection, args=(connection,), daemon=True).start()


if __name__ == "__main__":
    main(int(sys.argv[1]))
