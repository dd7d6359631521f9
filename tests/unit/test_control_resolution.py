"""Where host names are resolved: in threads that hold nobody up."""

from __future__ import annotations

import socket
import subprocess
import sys
from queue import SimpleQueue
from threading import Event, Semaphore, Thread, current_thread
from typing import Any

from twisted.internet.address import IPv4Address, IPv6Address
from twisted.internet.interfaces import IHostnameResolver, IResolutionReceiver
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import implementer
from zope.interface.verify import verifyObject

from revproxy.control.resolution import MOST_LOOKUPS, Resolver
from tests.support.proxy import with_sources

V4 = (socket.AF_INET, socket.SOCK_STREAM, 6, "", ("192.0.2.1", 80))
V6 = (socket.AF_INET6, socket.SOCK_STREAM, 6, "", ("2001:db8::1", 80, 7, 8))
OTHER = (socket.AF_UNIX, socket.SOCK_STREAM, 0, "", "/path")

HANGING = """
import socket, sys, threading
from twisted.internet.interfaces import IResolutionReceiver
from zope.interface import implementer
from revproxy.control.resolution import Resolver

asked = threading.Event()

def hang(*_, **__):
    asked.set()
    threading.Event().wait()

socket.getaddrinfo = hang

@implementer(IResolutionReceiver)
class Receiver:
    def resolutionBegan(self, resolution): pass

Resolver(None).resolveHostName(Receiver(), "a.test")
assert asked.wait(20)
sys.exit(7)
"""


@implementer(IResolutionReceiver)
class Receiver:
    """Keeps what it is told, in order."""

    def __init__(self) -> None:
        self.told: list[Any] = []

    def resolutionBegan(self, resolution: Any) -> None:
        self.told.append(resolution)

    def addressResolved(self, address: Any) -> None:
        self.told.append(address)

    def resolutionComplete(self) -> None:
        self.told.append("complete")

    @property
    def answer(self) -> list[Any]:
        """What came after the beginning."""
        return self.told[1:]


class ThreadedReactor:
    """Takes calls from threads, and makes them when the test wants."""

    def __init__(self) -> None:
        self.calls: SimpleQueue[tuple[Any, tuple[Any, ...]]] = SimpleQueue()

    def callFromThread(self, call: Any, *arguments: Any) -> None:
        self.calls.put((call, arguments))

    def make_one(self) -> None:
        """Make the next call, once there is one."""
        call, arguments = self.calls.get(timeout=20)
        call(*arguments)


class ResolverCase(SynchronousTestCase):
    def setUp(self) -> None:
        self.reactor = ThreadedReactor()
        self.resolver = Resolver(self.reactor)
        self.addCleanup(self.resolver._threads.stop)
        self.asked: list[Any] = []
        self.found: Any = []
        self.patch(socket, "getaddrinfo", self.getaddrinfo)

    def getaddrinfo(self, *question: Any, **more: Any) -> Any:
        self.asked.append((*question, more))
        if isinstance(self.found, Exception):
            raise self.found
        return self.found

    def resolve(self, *arguments: Any, **more: Any) -> list[Any]:
        """The answer to a question for ``a.test``."""
        receiver = Receiver()
        self.resolver.resolveHostName(receiver, "a.test", *arguments, **more)
        self.assertEqual(receiver.answer, [])
        self.reactor.make_one()
        return receiver.answer


class AnswerTests(ResolverCase):
    def test_interface(self) -> None:
        """It is what a reactor takes as its name resolver."""
        self.assertTrue(verifyObject(IHostnameResolver, self.resolver))

    def test_addresses(self) -> None:
        """Addresses of both families come in the system's order, others are left out."""
        self.found = [V6, OTHER, V4]
        v4 = IPv4Address("TCP", "192.0.2.1", 80)
        v6 = IPv6Address("TCP", "2001:db8::1", 80, 7, 8)
        self.assertEqual(self.resolve(80), [v6, v4, "complete"])
        self.assertEqual(self.asked, [("a.test", 80, {"type": socket.SOCK_STREAM})])

    def test_by_default(self) -> None:
        """Without a port the question is about none."""
        self.resolve()
        self.assertEqual(self.asked[0][:2], ("a.test", 0))

    def test_family(self) -> None:
        """Who wants only one family gets no other."""
        self.found = [V6, V4]
        for kind in (IPv4Address, IPv6Address):
            address, end = self.resolve(80, [kind])
            self.assertIsInstance(address, kind)
            self.assertEqual(end, "complete")
        self.assertEqual(self.resolve(80, []), ["complete"])

    def test_datagrams(self) -> None:
        """Addresses for datagrams are asked for and made as such."""
        self.found = [V4]
        address, _ = self.resolve(80, transportSemantics="UDP")
        self.assertEqual(address, IPv4Address("UDP", "192.0.2.1", 80))
        self.assertEqual(self.asked[0][2], {"type": socket.SOCK_DGRAM})

    def test_failures(self) -> None:
        """A name that cannot be resolved, for whatever reason, has no address."""
        for failure in (
            socket.gaierror(-2, "Name or service not known"),
            OSError(24, "Too many open files"),
            UnicodeError("label empty or too long"),
            ValueError("embedded null byte"),
        ):
            self.found = failure
            self.assertEqual(self.resolve(), ["complete"])

    def test_no_thread(self) -> None:
        """Where no thread can be started there is no address, at once; later there is."""

        class Refused(Thread):
            def start(self) -> None:
                raise RuntimeError("can't start new thread")

        self.found = [V4]
        patch = self.patch(self.resolver._threads, "threadFactory", Refused)
        receiver = Receiver()
        self.resolver.resolveHostName(receiver, "a.test")
        self.assertEqual(receiver.answer, ["complete"])
        patch.restore()
        self.resolver._threads.threads.clear()
        self.assertEqual(len(self.resolve()), 2)

    def test_resolution(self) -> None:
        """What has begun knows its name, and is told first; it cannot be cancelled."""
        receiver = Receiver()
        resolution = self.resolver.resolveHostName(receiver, "a.test")
        self.assertEqual(receiver.told, [resolution])
        self.assertEqual(resolution.name, "a.test")
        resolution.cancel()
        self.reactor.make_one()
        self.assertEqual(receiver.answer, ["complete"])


class ThreadTests(ResolverCase):
    def test_none_without_need(self) -> None:
        """Before the first question there is no thread, as before a fork there must not be."""
        self.assertEqual(self.resolver._threads.threads, [])

    def test_daemons(self) -> None:
        """The threads are daemons: nobody waits for them at the end of the process."""
        threads: list[Thread] = []

        def lookup(*_: object, **__: object) -> list[Any]:
            threads.append(current_thread())
            return []

        self.patch(socket, "getaddrinfo", lookup)
        self.resolve()
        self.assertTrue(threads[0].daemon)
        self.assertIsNot(threads[0], current_thread())

    def test_most_lookups(self) -> None:
        """So many names are looked up at once; further ones have their turn."""
        begun, go_on = Semaphore(0), Event()
        self.addCleanup(go_on.set)

        def lookup(*_: object, **__: object) -> list[Any]:
            begun.release()
            assert go_on.wait(20)
            return [V4]

        self.patch(socket, "getaddrinfo", lookup)
        receivers = [Receiver() for _ in range(MOST_LOOKUPS + 2)]
        for receiver in receivers:
            self.resolver.resolveHostName(receiver, "a.test")
        for _ in range(MOST_LOOKUPS):
            self.assertTrue(begun.acquire(timeout=20))
        self.assertEqual(len(self.resolver._threads.threads), MOST_LOOKUPS)
        self.assertFalse(begun.acquire(blocking=False))
        go_on.set()
        for _ in receivers:
            self.reactor.make_one()
        self.assertTrue(all(receiver.told[-1] == "complete" for receiver in receivers))

    def test_exit(self) -> None:
        """A lookup that hangs does not keep the process from ending."""
        done = subprocess.run(
            [sys.executable, "-c", HANGING],
            env=with_sources(),
            capture_output=True,
            timeout=30,
            check=False,
        )
        self.assertEqual((done.returncode, done.stderr), (7, b""))
