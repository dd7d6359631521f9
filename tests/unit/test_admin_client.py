"""The far end of the admin socket, against one that a thread answers on."""

from __future__ import annotations

import os
import socket
import tempfile
from collections.abc import Callable
from pathlib import Path
from threading import Thread

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

    def test_no_object(self) -> None:
        """JSON that is no object is no answer."""
        for sent in (b"[]\n", b"null\n", b'"ok"\n'):
            self.replies(sent)
            self.assertEqual(self.refusal(), "an answer that is none")
            os.unlink(self.path)

    def test_silence(self) -> None:
        """Whoever takes the command and says nothing is not waited for for ever."""
        self.patch(client, "REPLY_SECS", 0.01)
        listening = self.listen()
        self.assertEqual(self.refusal(), "timed out (is revproxy running?)")
        self.assertGreater(REPLY_SECS, 60)
        listening.close()
