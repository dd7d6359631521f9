"""The admin socket while it is there, and its end: what is accepted, and which file goes."""

from __future__ import annotations

import errno
import os
import resource
import socket
from pathlib import Path

from revproxy.control.admin.protocol import MOST_CONNECTIONS
from revproxy.control.inherited import InheritedSockets
from revproxy.control.listening import BindError
from revproxy.net.gate import EXHAUSTED_SECS
from revproxy.net.reactor import LeanEPollReactor
from tests.support.admin_socket import AdminSocketCase, mode
from tests.support.descriptors import open_descriptors

STATUS = b'{"status":"ok","command":"status"}\n'


class ServingTests(AdminSocketCase):
    """A real reactor, turned by hand."""

    def setUp(self) -> None:
        super().setUp()
        self.reactor = LeanEPollReactor()
        self.addCleanup(self.reactor._poller.close)
        self.addCleanup(self.reactor._uninstallHandler)
        self.addCleanup(self.turn)

    def turn(self) -> None:
        """Let everything happen that can."""
        for _ in range(5):
            self.reactor.runUntilCurrent()
            self.reactor.doPoll(0)

    def connected(self) -> socket.socket:
        """A connection, accepted if it is going to be."""
        channel = socket.socket(socket.AF_UNIX)
        self.addCleanup(channel.close)
        channel.settimeout(10)
        channel.connect(str(self.path))
        self.turn()
        return channel

    def test_command(self) -> None:
        """A command that comes in by the socket gets its reply there."""
        self.started()
        channel = self.connected()
        channel.sendall(b"status\n")
        self.turn()
        self.assertEqual(channel.recv(1000), STATUS)
        self.assertEqual(channel.recv(1000), b"")

    def test_half_closed(self) -> None:
        """Whoever says no more gets the reply, too."""
        self.started()
        channel = self.connected()
        channel.sendall(b"status")
        channel.shutdown(socket.SHUT_WR)
        self.turn()
        self.assertEqual(channel.recv(1000), STATUS)

    def test_too_many(self) -> None:
        """A connection beyond those that are served is closed at once, and makes room for none."""
        service = self.started()
        channels = [self.connected() for _ in range(MOST_CONNECTIONS)]
        self.assertEqual(self.connected().recv(10), b"")
        self.assertEqual(service.factory.open, MOST_CONNECTIONS)
        channels[0].close()
        self.turn()
        channel = self.connected()
        channel.sendall(b"status\n")
        self.turn()
        self.assertEqual(channel.recv(1000), STATUS)
        for one in channels:
            one.close()

    def test_reply_that_nobody_takes(self) -> None:
        """A long reply that is not taken in its time ends with the connection."""
        self.reply = {"status": "ok", "much": "x" * 10_000_000}
        service = self.started()
        channel = self.connected()
        channel.sendall(b"status\n")
        self.turn()
        (transport,) = self.reactor.getWriters()
        self.assertEqual(service.factory.working, 1)
        transport.protocol.timeoutConnection()
        self.turn()
        self.assertEqual(service.factory.working, 0)
        self.assertEqual(self.reactor.getWriters(), [])

    def test_nothing_is_left(self) -> None:
        """When everybody has gone and the service has ended, no descriptor is left."""
        before = open_descriptors()
        service = self.started()
        self.connected().close()
        self.turn()
        service.stopService()
        self.assertEqual(open_descriptors(), before)

    def test_end(self) -> None:
        """A command under way when the service ends still gets its reply; no other is taken."""
        service = self.started()
        channel = self.connected()
        service.stopService()
        channel.sendall(b"status\n")
        self.turn()
        self.assertEqual(channel.recv(1000), STATUS)
        self.assertRaises(FileNotFoundError, self.connected)


class AcceptingTests(AdminSocketCase):
    def connected(self) -> None:
        """Let a connection wait for being accepted."""
        channel = socket.socket(socket.AF_UNIX)
        self.addCleanup(channel.close)
        channel.connect(str(self.path))

    def test_nobody(self) -> None:
        """A connection that is not there after all is no trouble, and blocks nobody."""
        self.started()
        (reader,) = self.reactor.readers
        self.assertIsNone(reader.doRead())
        self.assertEqual(self.reactor.readers, [reader])
        self.assertEqual(self.reactor.getDelayedCalls(), [])

    def check_pause(self) -> None:
        """Nothing is accepted for a while, and then what has waited."""
        self.assertEqual(self.reactor.readers, [])
        self.connected()
        self.reactor.advance(EXHAUSTED_SECS - 0.1)
        self.assertEqual(self.reactor.readers, [])
        self.reactor.advance(0.1)
        (reader,) = self.reactor.readers
        reader.doRead()
        self.assertEqual(self.reactor.adopted, 1)
        self.assertEqual(self.reactor.getDelayedCalls(), [])

    def test_no_descriptor(self) -> None:
        """Where no descriptor is left for a connection, it waits; the reactor does not spin."""
        self.started()
        (reader,) = self.reactor.readers
        self.connected()
        limits = resource.getrlimit(resource.RLIMIT_NOFILE)
        next_one = os.dup(0)
        os.close(next_one)
        resource.setrlimit(resource.RLIMIT_NOFILE, (next_one, limits[1]))
        try:
            failure = reader.doRead()
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, limits)
        self.assertIsNone(failure)
        self.check_pause()

    def test_no_second_descriptor(self) -> None:
        """The same holds where there was one, and none for its duplicate; it is given back."""
        self.started()
        (reader,) = self.reactor.readers
        self.connected()
        before = len(open_descriptors())
        self.reactor.error = OSError(errno.EMFILE, "Too many open files")
        self.assertIsNone(reader.doRead())
        self.assertEqual(len(open_descriptors()), before)
        self.reactor.error = None
        self.check_pause()

    def test_end_of_a_pause(self) -> None:
        """A pause ends with the service."""
        service = self.started()
        (reader,) = self.reactor.readers
        self.connected()
        self.reactor.error = OSError(errno.EMFILE, "Too many open files")
        reader.doRead()
        service.stopService()
        self.assertEqual(self.reactor.getDelayedCalls(), [])

    def test_end_after_a_pause(self) -> None:
        """A pause that is over is no trouble at the end."""
        service = self.started()
        (reader,) = self.reactor.readers
        self.connected()
        self.reactor.error = OSError(errno.EMFILE, "Too many open files")
        reader.doRead()
        self.reactor.advance(EXHAUSTED_SECS)
        service.stopService()
        self.assertEqual(self.reactor.readers, [])


class EndTests(AdminSocketCase):
    def test_own_file(self) -> None:
        """At the end the file is gone, and nobody is waited for any more."""
        service = self.started()
        before = len(open_descriptors())
        service.startService()
        service.stopService()
        self.assertFalse(service.running)
        self.assertFalse(self.path.exists())
        self.assertEqual(self.reactor.readers, [])
        self.assertEqual(len(open_descriptors()), before - 1)

    def test_replaced(self) -> None:
        """A file that another process has put there meanwhile stays."""
        for make in (lambda: self.socket().listen(), lambda: self.path.write_text("kept")):
            service = self.started()
            self.path.unlink()
            make()
            before = self.path.lstat()
            service.stopService()
            self.assertEqual(self.path.lstat(), before)
            self.path.unlink()

    def test_removed(self) -> None:
        """A file that is gone already is no trouble."""
        service = self.started()
        self.path.unlink()
        service.stopService()
        self.assertEqual(self.reactor.readers, [])

    def test_twice(self) -> None:
        """An end that was none, and a second one, do nothing."""
        service = self.service()
        service.stopService()
        service.privilegedStartService()
        service.stopService()
        self.socket().listen()
        service.stopService()
        self.assertTrue(self.path.exists())

    def test_identity(self) -> None:
        """A service is itself and no other, as those who hold services need it."""
        one, other = self.service(), self.service()
        self.assertEqual({one, other} - {other}, {one})

    def test_again(self) -> None:
        """The service can be started again."""
        service = self.started()
        service.stopService()
        service.privilegedStartService()
        self.assertTrue(self.is_served())


class InheritedTests(AdminSocketCase):
    def listening(self, path: Path | None = None) -> socket.socket:
        passed = self.socket(path)
        passed.listen()
        passed.setblocking(False)
        return passed

    def test_taken(self) -> None:
        """A socket that listens there already is used as it is, and its file stays."""
        passed = self.listening()
        self.path.chmod(0o600)
        service = self.started(inherited=InheritedSockets([passed]))
        self.assertTrue(self.is_served())
        self.assertEqual(mode(self.path), 0o600)
        self.assertEqual(service.factory.group, self.path.stat().st_gid)
        service.stopService()
        self.assertTrue(self.path.exists())
        self.assertEqual(passed.fileno(), -1)
        self.assertEqual(self.log.records, [])

    def test_other_path(self) -> None:
        """One that listens elsewhere is left to others."""
        passed = self.listening(self.folder / "other")
        inherited = InheritedSockets([passed])
        self.started(inherited=inherited)
        self.assertTrue(self.is_served())
        self.assertEqual(inherited.close_rest(), [str(self.folder / "other")])

    def test_gone(self) -> None:
        """One whose file is gone can be reached by nobody: the start fails."""
        passed = self.listening()
        self.path.unlink()
        service = self.service(inherited=InheritedSockets([passed]))
        error = self.assertRaises(BindError, service.privilegedStartService)
        self.assertIn("No such file or directory", str(error))
        self.assertEqual(passed.fileno(), -1)
        self.assertEqual(self.reactor.readers, [])
