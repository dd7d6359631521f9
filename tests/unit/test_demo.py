"""What the demonstration consists of; that it serves what it says is an integration test."""

from __future__ import annotations

import os
import shlex
import shutil
import socket
import stat
import tempfile

from twisted.internet.testing import MemoryReactorClock
from twisted.trial.unittest import SynchronousTestCase

from revproxy.control.demo import ADDRESS, APP, FILES, HTTPS_PORT, Demo, demo_setup


class DemoTests(SynchronousTestCase):
    """A demonstration before it is served."""

    def setUp(self) -> None:
        self.directory = tempfile.mkdtemp(prefix="rp-")
        self.addCleanup(shutil.rmtree, self.directory)

    def demo(self) -> Demo:
        """A demonstration in a directory of its own."""
        return demo_setup(MemoryReactorClock(), os.path.join(self.directory, "demo"))

    def test_configuration(self) -> None:
        """Two sites with one upstream, on unprivileged ports of the loopback address."""
        configuration = self.demo().configuration
        (listener,) = configuration.listeners
        self.assertEqual(listener.bind_addr, ADDRESS)
        self.assertGreater(min(listener.http_port, listener.https_port), 1023)
        self.assertEqual([site.host for site in configuration.all_sites()], [APP, FILES])
        self.assertEqual(len({site.upstream for site in configuration.all_sites()}), 1)

    def test_private_directory(self) -> None:
        """Nobody else may look into the directory or read the key."""
        configuration = self.demo().configuration
        key = configuration.listeners[0].tls.pairs[0].key_path
        self.assertEqual(stat.S_IMODE(os.stat(os.path.dirname(key)).st_mode), 0o700)
        self.assertEqual(stat.S_IMODE(os.stat(key).st_mode), 0o600)

    def test_taken_port(self) -> None:
        """A port that is taken is replaced by a free one, and the text says so."""
        with socket.socket() as taken:
            taken.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                taken.bind((ADDRESS, HTTPS_PORT))
            except OSError:
                pass  # somebody else has it, which is as good
            else:
                taken.listen()
            demo = self.demo()
        self.assertNotEqual(demo.configuration.listeners[0].https_port, HTTPS_PORT)
        self.assertIn("they are taken", demo.text)

    def test_text(self) -> None:
        """The text holds every command, and every command is well-formed shell."""
        demo = self.demo()
        for attempt in demo.attempts:
            self.assertIn(attempt.command + "\n", demo.text)
            self.assertIn(attempt.shows, demo.text)
            self.assertIn("curl", shlex.split(attempt.command))

    def test_upstream(self) -> None:
        """The upstream listens where the sites lead to, for this user only."""
        reactor = MemoryReactorClock()
        demo = demo_setup(reactor, os.path.join(self.directory, "demo"))
        demo.upstream.privilegedStartService()
        ((path, _, _, mode, _),) = reactor.unixServers
        self.assertEqual(path, demo.configuration.all_sites()[0].upstream.path)
        self.assertEqual(mode, 0o600)
