"""An upstream that records exactly what arrives and answers from a script.

Owns its listening socket, one thread per connection and the record. It frames requests
leniently, the way a careless server would, so that anything smuggled shows as a request of its
own. Refuses to judge: tests do.
"""

from __future__ import annotations

import os
import socket
import ssl
import tempfile
import threading
import time
from collections.abc import Callable

from tests.support.byte_stream import ByteStream, StreamEndedError
from tests.support.certificates import Pair
from tests.support.conversation import (
    OK,
    Answer,
    Conversation,
    ReceivedRequest,
    Script,
    perform,
)

__all__ = ["OK", "Answer", "Conversation", "FullBacklog", "RecordingUpstream", "refusing_address"]


class RecordingUpstream:
    """A listening HTTP/1.1 upstream on TCP, TLS (``pair``) or a UNIX socket (``unix``).

    Attributes:
        answers: path (without query) to script; everything else gets ``default``.
        greeting: bytes written as soon as a connection is accepted, before any TLS.
    """

    def __init__(
        self,
        default: Script = OK,
        *,
        pair: Pair | None = None,
        unix: bool = False,
        port: int = 0,
        greeting: bytes = b"",
    ) -> None:
        self.default = default
        self.answers: dict[bytes, Script] = {}
        self.greeting = greeting
        self._tls = None
        if pair is not None:
            self._tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            self._tls.load_cert_chain(pair.cert_path, pair.key_path, password="")
        self._unix_path = ""
        self._lock = threading.Condition()
        self._requests: list[ReceivedRequest] = []
        self._streams: list[ByteStream] = []
        self._open: set[socket.socket] = set()
        self._accepted = 0
        self._forgotten = 0
        self._stopping = threading.Event()
        self._listener = self._listen(unix, port)
        self._threads: list[threading.Thread] = []
        self._spawn(self._accept)

    def _listen(self, unix: bool, port: int) -> socket.socket:
        listener = socket.socket(socket.AF_UNIX if unix else socket.AF_INET)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if unix:
            self._unix_path = os.path.join(tempfile.mkdtemp(prefix="revproxy-up-"), "socket")
            listener.bind(self._unix_path)
            self.address = f"unix:{self._unix_path}"
        else:
            listener.bind(("127.0.0.1", port))
            self.port = listener.getsockname()[1]
            self.address = f"127.0.0.1:{self.port}"
        listener.listen(512)
        return listener

    @property
    def requests(self) -> list[ReceivedRequest]:
        """The requests received since :meth:`forget`, in order of arrival."""
        with self._lock:
            return list(self._requests)

    @property
    def received(self) -> bytes:
        """Every byte received since :meth:`forget`, connection after connection."""
        with self._lock:
            return b"".join(bytes(stream.seen) for stream in self._streams)

    @property
    def connections(self) -> int:
        """How many connections were accepted since :meth:`forget`."""
        with self._lock:
            return self._accepted - self._forgotten

    @property
    def open_connections(self) -> int:
        """How many connections are open now."""
        with self._lock:
            return len(self._open)

    def forget(self) -> None:
        """Start a new record and drop the scripts; open connections stay open."""
        with self._lock:
            self._requests.clear()
            for stream in self._streams:
                stream.seen.clear()
            self._forgotten = self._accepted
            self.answers.clear()

    def wait_until(self, holds: Callable[[], bool], timeout: float = 5.0) -> None:
        """Wait until ``holds()``, looked at whenever something happened.

        Raises:
            TimeoutError: it never did.
        """
        deadline = time.monotonic() + timeout
        while not holds():
            with self._lock:
                self._lock.wait(0.02)
            if time.monotonic() > deadline:
                raise TimeoutError("the upstream never saw what was awaited")

    def wait_for_requests(self, count: int, timeout: float = 10.0) -> list[ReceivedRequest]:
        """Wait for at least ``count`` request heads and return them all."""
        self.wait_until(lambda: len(self.requests) >= count, timeout)
        return self.requests

    def drop_connections(self) -> None:
        """Reset every open connection."""
        with self._lock:
            sockets = list(self._open)
        for sock in sockets:
            try:
                sock.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass
        self.wait_until(lambda: not self.open_connections)

    def stop(self) -> None:
        """Close everything and wait for the threads."""
        self._stopping.set()
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        with self._lock:
            for sock in self._open:
                try:
                    sock.shutdown(socket.SHUT_RDWR)
                except OSError:
                    pass
        for thread in list(self._threads):
            thread.join(5)
        if self._unix_path:
            os.unlink(self._unix_path)
            os.rmdir(os.path.dirname(self._unix_path))

    def _spawn(self, target: Callable[..., None], *args: object) -> None:
        thread = threading.Thread(target=target, args=args, daemon=True)
        self._threads.append(thread)
        thread.start()

    def _accept(self) -> None:
        while not self._stopping.is_set():
            try:
                sock, _ = self._listener.accept()
            except OSError:
                return
            if sock.family != socket.AF_UNIX:
                sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            with self._lock:
                self._accepted += 1
                self._open.add(sock)
                number = self._accepted
            self._spawn(self._serve, sock, number)

    def _serve(self, accepted: socket.socket, number: int) -> None:
        sock = accepted
        try:
            if self.greeting:
                sock.sendall(self.greeting)
            if self._tls is not None:
                sock.settimeout(10)
                sock = self._tls.wrap_socket(sock, server_side=True)
                with self._lock:
                    self._open.discard(accepted)
                    self._open.add(sock)
            self._converse(sock, number)
        except OSError:
            pass
        finally:
            with self._lock:
                sock.close()
                self._open -= {accepted, sock}
                self._lock.notify_all()

    def _converse(self, sock: socket.socket, number: int) -> None:
        stream = ByteStream(sock, timeout=60)
        with self._lock:
            self._streams.append(stream)
        try:
            while True:
                head = stream.until(b"\r\n\r\n")
                request = self._record(head, number)
                conversation = Conversation(request, stream, sock, self._stopping)
                script = self.answers.get(request.target.split(b"?")[0], self.default)
                perform(script, conversation)
                with self._lock:
                    self._lock.notify_all()
                if not conversation.open:
                    return
        except (StreamEndedError, TimeoutError):
            return

    def _record(self, head: bytes, number: int) -> ReceivedRequest:
        line, *rest = head[:-4].split(b"\r\n")
        method, target, version = [*line.split(b" ", 2), b"", b""][:3]
        fields = []
        for entry in rest:
            name, _, value = entry.partition(b":")
            fields.append((name, value.strip(b" \t")))
        request = ReceivedRequest(method, target, version, fields, head, number)
        with self._lock:
            self._requests.append(request)
            self._lock.notify_all()
        return request


def refusing_address() -> str:
    """An address on which nothing listens."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return f"127.0.0.1:{sock.getsockname()[1]}"


class FullBacklog:
    """A listening socket whose queue is full, so that connecting to it never succeeds."""

    def __init__(self) -> None:
        self._listener = socket.socket()
        self._listener.bind(("127.0.0.1", 0))
        self._listener.listen(0)
        name = self._listener.getsockname()
        self.address = f"127.0.0.1:{name[1]}"
        self._queued = [socket.socket() for _ in range(4)]
        for sock in self._queued:
            sock.setblocking(False)
            sock.connect_ex(name)

    def stop(self) -> None:
        """Close it all."""
        for sock in [*self._queued, self._listener]:
            sock.close()
