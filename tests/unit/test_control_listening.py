"""The listening ports as services: how each is bound, and how its accepting ends."""

from __future__ import annotations

import errno
import socket
from typing import Any

from twisted.internet.error import CannotListenError
from twisted.trial.unittest import SynchronousTestCase

from revproxy.control import listening
from revproxy.control.inherited import InheritedSockets
from revproxy.control.listening import BindError, PortService, cannot_bind
from revproxy.net.transport import ALL_DESCRIPTORS, BACKLOG


class PortCase(SynchronousTestCase):
    """Ports that listen nowhere: the test sees what was asked for and done.

    Attributes:
        asked: what each port was bound with.
        done: what was done to it since.
        error: why the next ones cannot be bound.
    """

    def setUp(self) -> None:
        self.patch(listening, "listen", self.listen)
        self.asked: list[tuple[tuple[object, ...], dict[str, Any]]] = []
        self.done: list[str] = []
        self.error: OSError | None = None
        self.numberAccepts = 1
        self.reactor, self.factory = object(), object()

    def listen(self, *where: Any, **more: Any) -> PortCase:
        """In the place of that of ``net/transport``."""
        self.asked.append((where, more))
        if self.error is not None:
            raise CannotListenError(where[3], where[1], self.error)
        if more["inherited"] is not None:
            self.assertNotEqual(more["inherited"].fileno(), -1)
        return self

    def doRead(self) -> None:
        """As of a port."""
        self.done.append("accept")
        self.most_accepted = self.numberAccepts

    def stopListening(self) -> str:
        """As of a port."""
        self.done.append("stop")
        return "stopped"

    def service(self, *more: Any) -> PortService:
        return PortService(self.reactor, "127.0.0.1", 8443, self.factory, *more)

    def passed(self) -> tuple[socket.socket, PortService]:
        """A socket that listens already, and the service that it is for."""
        one = socket.create_server(("127.0.0.1", 0))
        self.addCleanup(one.close)
        port = one.getsockname()[1]
        inherited = InheritedSockets([one])
        return one, PortService(self.reactor, "127.0.0.1", port, self.factory, inherited)


class BindTests(PortCase):
    def test_bind(self) -> None:
        """A port is bound where it is configured, with the factory and the limit."""
        service = self.service(InheritedSockets(), 900)
        self.assertFalse(service.bound)
        self.assertEqual(self.asked, [])
        service.privilegedStartService()
        self.assertTrue(service.bound)
        where = (self.reactor, 8443, self.factory, "127.0.0.1")
        self.assertEqual(self.asked, [(where, {"inherited": None, "most_descriptors": 900})])

    def test_by_default(self) -> None:
        """Without a limit every descriptor may be taken."""
        self.service().privilegedStartService()
        self.assertEqual(self.asked[0][1]["most_descriptors"], ALL_DESCRIPTORS)

    def test_taken(self) -> None:
        """A port that cannot be bound fails the start, and is not bound."""
        self.error = OSError(errno.EADDRINUSE, "Address already in use")
        service = self.service()
        error = self.assertRaises(BindError, service.privilegedStartService)
        self.assertEqual(str(error), "cannot bind 127.0.0.1:8443: Address already in use")
        self.assertFalse(service.bound)
        self.assertIsNone(service.stopService())

    def test_sentence(self) -> None:
        """The sentence has the reason in the system's words, an IPv6 address in brackets."""
        for address, reason, expected in (
            ("192.0.2.1", OSError(13, "Permission denied"), "192.0.2.1:80: Permission denied"),
            ("::1", OSError(99, "No such address"), "[::1]:80: No such address"),
            ("::", ValueError("odd"), "[::]:80: odd"),
            ("::", OSError("odd"), "[::]:80: odd"),
        ):
            error = CannotListenError(address, 80, reason)
            self.assertEqual(cannot_bind(address, 80, error), f"cannot bind {expected}")

    def test_inherited(self) -> None:
        """A socket that listens there already is used; only the port's duplicate is left."""
        one, service = self.passed()
        service.privilegedStartService()
        self.assertIs(self.asked[0][1]["inherited"], one)
        self.assertEqual(one.fileno(), -1)
        self.assertTrue(service.bound)

    def test_unusable_inheritance(self) -> None:
        """It is closed, too, where it cannot be used."""
        one, service = self.passed()
        self.error = OSError(22, "Invalid argument")
        self.assertRaises(BindError, service.privilegedStartService)
        self.assertEqual(one.fileno(), -1)
        self.assertFalse(service.bound)


class EndTests(PortCase):
    def test_end(self) -> None:
        """What waits in the backlog is accepted, then nothing more; who stops it waits for it."""
        service = self.service()
        service.privilegedStartService()
        service.startService()
        stopped: Any = service.stopService()
        self.assertEqual(stopped, "stopped")
        self.assertEqual(self.done, ["accept", "stop"])
        self.assertFalse(service.bound)
        self.assertFalse(service.running)

    def test_whole_backlog(self) -> None:
        """However few came last, everything in the backlog is accepted at the end."""
        service = self.service()
        service.privilegedStartService()
        service.stopService()
        self.assertEqual(self.most_accepted, BACKLOG)

    def test_twice(self) -> None:
        """A second end does nothing, and neither does one of what was never bound."""
        service = self.service()
        self.assertIsNone(service.stopService())
        service.privilegedStartService()
        service.stopService()
        self.assertIsNone(service.stopService())
        self.assertEqual(self.done, ["accept", "stop"])

    def test_inherited(self) -> None:
        """The backlog of a socket that outlives the process is left to who comes after it."""
        _, service = self.passed()
        service.privilegedStartService()
        service.stopService()
        self.assertEqual(self.done, ["stop"])

    def test_again(self) -> None:
        """A port that was inherited and is bound anew is one of our own."""
        _, service = self.passed()
        service.privilegedStartService()
        service.stopService()
        service.privilegedStartService()
        service.stopService()
        self.assertEqual(self.done, ["stop", "accept", "stop"])

    def test_identity(self) -> None:
        """A service is itself and no other."""
        one, other = self.service(), self.service()
        self.assertEqual({one, other} - {other}, {one})
