"""The far end of the admin socket, against one that a thread answers on."""

from __future__ import annotations

import os
import socket
import tempfile
from collections.abc import Callable
from pathlib import Path
from threading import Event, Thread

from twisted.trial.unittest import SynchronousTestCase

from revproxy.control.admin import client
from revproxy.control.admin.client import REPLY_SECS, NoAnswerError, ask

Served = Callable[[socket.socket], None]


class ClientCase(SynchronousTestCase):
    def setUp(self) -> None:
        folder = tempfile.TemporaryDirectory(prefix="revproxy-")
        self.addCleanup(folder.cleanup)
        self.path = str(Path(folder.name) / "admin.sock")
        self.heard: list[bytes] = []

    def listen(self) -> socket.socket:
        """Somebody who listens and does not answer."""
        listening = socket.socket(socket.AF_UNIX)
        self.addCleanup(listening.close)
        listening.bind(self.path)
        listening.listen(0)
        return listening

    def serve(self, answer: Served) -> None:
        """Let ``answer`` have one connection, in a thread."""
        listening = self.listen()

        def run() -> None:
            accepted, _ = listening.accept()
            with accepted:
                answer(accepted)

        thread = Thread(target=run)
        thread.start()
        self.addCleanup(thread.join, 10)

    def replies(self, *pieces: bytes) -> None:
        """Read a command, and reply with ``pieces``."""

        def answer(channel: socket.socket) -> None:
            with channel.makefile("rb") as lines:
                self.heard.append(lines.readline())
            for piece in pieces:
                channel.sendall(piece)

        self.serve(answer)

    def refusal(self) -> str:
        """Why there is no reply, after the socket's path."""
        error = self.assertRaises(NoAnswerError, ask, self.path, "status")
        path, _, reason = str(error).partition(": ")
        self.assertEqual(path, self.path)
        return reason


class ReplyTests(ClientCase):
    def test_reply(self) -> None:
        """The command goes out as one line, and the reply is decoded."""
        self.replies(b'{"status":"ok","sites":2}\n')
        self.assertEqual(ask(self.path, "reload --diff"), {"status": "ok", "sites": 2})
        self.assertEqual(self.heard, [b"reload --diff\n"])

    def test_pieces(self) -> None:
        """A reply may come in many pieces, and be long."""
        name = b"x" * 300_000
        self.replies(b'{"status"', b':"ok","name":"', name, b'"}', b"\n")
        self.assertEqual(ask(self.path, "status"), {"status": "ok", "name": name.decode()})

    def test_error(self) -> None:
        """A reply that says why nothing was done is a reply."""
        self.replies(b'{"status":"error","message":"not permitted"}\n')
        self.assertEqual(ask(self.path, "status")["message"], "not permitted")


class NoAnswerTests(ClientCase):
    def test_nothing_there(self) -> None:
        """Where there is no socket, or one that nobody listens on, the reason is named."""
        self.assertEqual(self.refusal(), "No such file or directory (is revproxy running?)")
        self.listen().close()
        self.assertEqual(self.refusal(), "Connection refused (is revproxy running?)")

    def test_too_long(self) -> None:
        """A path that no socket can have is no crash."""
        self.path += "x" * 108
        self.assertIn("AF_UNIX path too long", self.refusal())

    def test_closed(self) -> None:
        """A connection that is closed at once is one too many."""
        self.serve(lambda channel: None)
        self.assertEqual(self.refusal(), "no answer (too many commands at once?)")

    def test_reset(self) -> None:
        """The same holds where the command was not read first, as the kernel then resets."""

        def answer(channel: socket.socket) -> None:
            channel.recv(1)

        self.serve(answer)
        self.assertEqual(self.refusal(), "no answer (too many commands at once?)")

    def test_closed_before(self) -> None:
        """The same holds where the connection was closed before the command went out."""
        closed = Event()

        class Late(str):
            def encode(self, *_: object) -> bytes:
                assert closed.wait(10)
                return b"status"

        listening = self.listen()
        thread = Thread(target=lambda: (listening.accept()[0].close(), closed.set()))
        thread.start()
        self.addCleanup(thread.join, 10)
        error = self.assertRaises(NoAnswerError, ask, self.path, Late())
        self.assertIn("no answer", str(error))

    def test_no_json(self) -> None:
        """What is no JSON is no answer, and neither is half of it."""
        for sent in (b"HTTP/1.1 400 Bad Request\r\n\r\n", b'{"status":', b"\xff\n", b"[" * 99999):
            self.replies(sent)
            self.assertEqual(self.refusal(), "no answer (too many commands at once?)")
            os.unlink(self.path)

    def test_no_object(self) -> None:
        """JSON that is no object is no answer."""
        for sent in (b"[]\n", b"null\n", b'"ok"\n'):
            self.replies(sent)
            self.assertEqual(self.refusal(), "an answer that is none")
            os.unlink(self.path)

    def test_endless(self) -> None:
        """A reply that has no end is read up to a bound."""
        self.patch(client, "REPLY_BYTES", 1000)

        def answer(channel: socket.socket) -> None:
            channel.recv(100)
            try:
                while True:
                    channel.sendall(b"[" * 100)
            except OSError:
                self.heard.append(b"stopped")

        self.serve(answer)
        self.assertEqual(self.refusal(), "no answer (too many commands at once?)")

    def test_silence(self) -> None:
        """Whoever takes the command and says nothing is not waited for for ever."""
        self.patch(client, "REPLY_SECS", 0.01)
        listening = self.listen()
        self.assertEqual(self.refusal(), "timed out (is revproxy running?)")
        self.assertGreater(REPLY_SECS, 60)
        listening.close()

    def test_trickle(self) -> None:
        """The time is for the whole reply: bytes that trickle in gain none."""
        now = [0.0]
        self.patch(client, "monotonic", lambda: now[0])

        def answer(channel: socket.socket) -> None:
            try:
                while True:
                    now[0] += REPLY_SECS / 10
                    channel.sendall(b" ")
            except OSError:
                pass

        self.serve(answer)
        self.assertEqual(self.refusal(), "timed out (is revproxy running?)")

    def test_less_and_less_time(self) -> None:
        """Every further piece may take what is left of the time."""
        limits: list[float | None] = []

        class Channel(socket.socket):
            def settimeout(self, value: float | None) -> None:
                limits.append(value)
                super().settimeout(value)

        times = iter((0.0, 30.0, 50.0))
        self.patch(client, "monotonic", lambda: next(times))
        self.replies(b"{", b"}")
        self.patch(client.socket, "socket", Channel)
        # Read a byte at a time, however the two pieces arrive.
        self.patch(Channel, "recv", lambda channel, _: socket.SocketType.recv(channel, 1))
        self.assertEqual(ask(self.path, "status"), {})
        self.assertEqual(limits, [REPLY_SECS, REPLY_SECS - 30, REPLY_SECS - 50])

    def test_full_backlog(self) -> None:
        """Where too many wait already, that is said, and not that nobody is there."""
        self.listen()
        with socket.socket(socket.AF_UNIX) as first:
            first.connect(self.path)
            self.assertEqual(self.refusal(), "too many commands at once")
