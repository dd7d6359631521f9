"""Sockets that the process is given: which they are, and whose each is."""

from __future__ import annotations

import os
import socket
import tempfile
from pathlib import Path
from unittest import skipIf

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from revproxy.control.inherited import FIRST_DESCRIPTOR, InheritedSockets

FIRST = 500
"""The descriptors from here on are free."""

PID = str(os.getpid())


class InheritedCase(SynchronousTestCase):
    def setUp(self) -> None:
        folder = tempfile.TemporaryDirectory(prefix="revproxy-")
        self.addCleanup(folder.cleanup)
        self.folder = Path(folder.name)
        self.next = FIRST

    def pass_on(self, descriptor: int) -> int:
        """Give a duplicate of ``descriptor`` the next number, as a service manager does."""
        number, self.next = self.next, self.next + 1
        os.dup2(descriptor, number, inheritable=True)
        self.addCleanup(self.close, number)
        return number

    def close(self, number: int) -> None:
        try:
            os.close(number)
        except OSError:
            pass

    def tcp(self, address: str = "127.0.0.1") -> int:
        """Pass a socket that listens on ``address``; returns its port."""
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        with socket.create_server((address, 0), family=family) as listening:
            self.pass_on(listening.fileno())
            port: int = listening.getsockname()[1]
            return port

    def unix(self, name: str = "a.sock", *, abstract: bool = False) -> str:
        """Pass a socket that listens on a file; returns its path."""
        path = f"\0revproxy-{PID}" if abstract else str(self.folder / name)
        with socket.socket(socket.AF_UNIX) as listening:
            listening.bind(path)
            listening.listen()
            self.pass_on(listening.fileno())
        return path

    def inherit(self, **changes: str) -> InheritedSockets:
        """Take what was passed."""
        count = str(self.next - FIRST)
        environ = {"LISTEN_PID": PID, "LISTEN_FDS": count, **changes}
        inherited = InheritedSockets.from_environment(environ, FIRST)
        self.addCleanup(inherited.close_rest)
        return inherited


def is_open(number: int) -> bool:
    try:
        os.fstat(number)
    except OSError:
        return False
    return True


class EnvironmentTests(InheritedCase):
    def test_taken_out(self) -> None:
        """The variables are taken out, so that no child takes them for its own."""
        for pid in (PID, "1"):
            environ = {"LISTEN_PID": pid, "LISTEN_FDS": "0", "LISTEN_FDNAMES": "a", "PATH": "/"}
            InheritedSockets.from_environment(environ, FIRST)
            self.assertEqual(environ, {"PATH": "/"})

    def test_nothing_passed(self) -> None:
        """Without the variables there are no sockets."""
        for environ in ({}, {"LISTEN_PID": PID}, {"LISTEN_FDS": "1"}):
            inherited = InheritedSockets.from_environment(environ, FIRST)
            self.assertEqual(inherited.close_rest(), [])

    def test_for_another(self) -> None:
        """What is meant for another process is left alone."""
        port = self.tcp()
        for pid in ("1", "", f" {PID}", f"0{PID}", "x"):
            self.assertIsNone(self.inherit(LISTEN_PID=pid).take_tcp("127.0.0.1", port))
        self.assertTrue(is_open(FIRST))
        self.assertTrue(os.get_inheritable(FIRST))

    def test_garbage(self) -> None:
        """A number that is none means that nothing was passed."""
        port = self.tcp()
        for count in ("", "-1", "+1", "1.0", " 1", "1\n", "\u0661", "0x1", "9" * 5000):
            inherited = self.inherit(LISTEN_FDS=count)
            self.assertIsNone(inherited.take_tcp("127.0.0.1", port))
            self.assertEqual(inherited.close_rest(), [])
        self.assertTrue(is_open(FIRST))

    def test_too_many(self) -> None:
        """A number that is too large ends where nothing is open, which is told."""
        port = self.tcp()
        inherited = self.inherit(LISTEN_FDS="999999")
        taken = inherited.take_tcp("127.0.0.1", port)
        assert taken is not None
        taken.close()
        expected = f"descriptor {FIRST + 1} (Bad file descriptor)"
        self.assertEqual(inherited.close_rest(), [expected])

    @settings(max_examples=200, deadline=None)
    @given(st.dictionaries(st.sampled_from(["LISTEN_PID", "LISTEN_FDS"]), st.text(max_size=8)))
    def test_any_text(self, environ: dict[str, str]) -> None:
        """Any text in the variables is no crash."""
        environ.setdefault("LISTEN_PID", PID)
        inherited = InheritedSockets.from_environment(environ, FIRST + 400)
        self.assertLessEqual(len(inherited.close_rest()), 1)
        self.assertEqual(environ, {})

    def test_first(self) -> None:
        """The first descriptor that a service manager passes is 3."""
        self.assertEqual(FIRST_DESCRIPTOR, 3)


class MatchingTests(InheritedCase):
    def check_tcp(self, address: str) -> None:
        port = self.tcp(address)
        inherited = self.inherit()
        self.assertIsNone(inherited.take_tcp(address, port + 1))
        self.assertIsNone(inherited.take_tcp("127.0.0.9", port))
        self.assertIsNone(inherited.take_unix(f"{address}:{port}"))
        taken = inherited.take_tcp(address, port)
        assert taken is not None
        with taken:
            self.assertEqual(taken.getsockname()[:2], (address, port))
            self.assertIsNone(inherited.take_tcp(address, port))

    def test_ipv4(self) -> None:
        """An IPv4 socket belongs to whoever listens on its address and port, once."""
        self.check_tcp("127.0.0.1")

    @skipIf(not socket.has_dualstack_ipv6(), "no IPv6 here")
    def test_ipv6(self) -> None:
        """So does an IPv6 socket."""
        self.check_tcp("::1")

    def test_unix(self) -> None:
        """A UNIX socket belongs to whoever listens on its path, once."""
        path = self.unix()
        inherited = self.inherit()
        self.assertIsNone(inherited.take_unix(path + "x"))
        self.assertIsNone(inherited.take_tcp(path, 0))
        taken = inherited.take_unix(path)
        assert taken is not None
        with taken:
            self.assertEqual(taken.getsockname(), path)
            self.assertIsNone(inherited.take_unix(path))

    def test_many(self) -> None:
        """Each is found whatever their order."""
        ports = [self.tcp(), self.tcp()]
        path = self.unix()
        inherited = self.inherit()
        for taken in (
            inherited.take_tcp("127.0.0.1", ports[1]),
            inherited.take_unix(path),
            inherited.take_tcp("127.0.0.1", ports[0]),
        ):
            assert taken is not None
            taken.close()
        self.assertEqual(inherited.close_rest(), [])

    def test_ours(self) -> None:
        """A socket that was passed blocks nobody, and no child of ours gets it."""
        port = self.tcp()
        os.set_blocking(FIRST, True)
        taken = self.inherit().take_tcp("127.0.0.1", port)
        assert taken is not None
        with taken:
            self.assertEqual(taken.fileno(), FIRST)
            self.assertFalse(os.get_blocking(FIRST))
            self.assertFalse(os.get_inheritable(FIRST))


class RestTests(InheritedCase):
    def test_closed(self) -> None:
        """What nobody has taken is closed, and told by its address."""
        port, taken_port = self.tcp(), self.tcp()
        path = self.unix()
        inherited = self.inherit()
        taken = inherited.take_tcp("127.0.0.1", taken_port)
        assert taken is not None
        self.assertEqual(inherited.close_rest(), [f"127.0.0.1:{port}", path])
        self.assertEqual([is_open(FIRST + index) for index in range(3)], [False, True, False])
        self.assertEqual(inherited.close_rest(), [])
        taken.close()

    @skipIf(not socket.has_dualstack_ipv6(), "no IPv6 here")
    def test_ipv6_address(self) -> None:
        """An IPv6 address stands in brackets."""
        port = self.tcp("::1")
        self.assertEqual(self.inherit().close_rest(), [f"[::1]:{port}"])

    def test_abstract(self) -> None:
        """An abstract name is no path of anybody's, and is told as it can be."""
        name = self.unix(abstract=True)
        inherited = self.inherit()
        self.assertIsNone(inherited.take_unix(name[1:]))
        (told,) = inherited.close_rest()
        self.assertIn(name[1:], told)
        self.assertTrue(told.isprintable())

    def test_strange(self) -> None:
        """What is no socket that listens is told and left as it is; the others are used."""
        with open(os.devnull, "rb") as file:
            self.pass_on(file.fileno())
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as datagrams:
            datagrams.bind(("127.0.0.1", 0))
            self.pass_on(datagrams.fileno())
            udp_port = datagrams.getsockname()[1]
        with socket.socket() as bound:
            bound.bind(("127.0.0.1", 0))
            self.pass_on(bound.fileno())
        with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as packets:
            packets.bind(str(self.folder / "packets"))
            packets.listen()
            self.pass_on(packets.fileno())
        port = self.tcp()
        inherited = self.inherit()
        self.assertIsNone(inherited.take_tcp("127.0.0.1", udp_port))
        self.assertIsNone(inherited.take_unix(str(self.folder / "packets")))
        taken = inherited.take_tcp("127.0.0.1", port)
        assert taken is not None
        taken.close()
        self.assertEqual(
            inherited.close_rest(),
            [
                f"descriptor {FIRST} (Socket operation on non-socket)",
                f"descriptor {FIRST + 1} (does not listen)",
                f"descriptor {FIRST + 2} (does not listen)",
                f"descriptor {FIRST + 3} (does not listen)",
            ],
        )
        self.assertTrue(all(is_open(FIRST + index) for index in range(4)))
        self.assertEqual(inherited.close_rest(), [])
