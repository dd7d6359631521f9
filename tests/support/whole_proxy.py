"""A whole proxy that binds nothing, with its log in a file.

Owns the reactor that only remembers what it was asked for. Refuses to know what is asserted.
"""

from __future__ import annotations

import gc
import os
import sys
from functools import partial
from pathlib import Path
from typing import Any

from attrs import evolve
from twisted.internet.error import CannotListenError
from twisted.internet.task import Clock
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from revproxy.control import listening as control_listening
from revproxy.control.proxy import Proxy
from revproxy.model.configuration import Configuration, Logging
from tests.support.models import configuration, listener, pair, site
from tests.support.tls_peers import NOW


class FakeListening:
    """A port that listens nowhere."""

    def __init__(self, where: tuple[str, int], factory: Any) -> None:
        self.where = where
        self.factory = factory
        self.socket = self
        self.stopped = False
        self.transport: Any = None

    def setsockopt(self, *_: object) -> None:
        """Options have no effect."""

    def doRead(self) -> None:
        """Nothing is in the backlog."""

    def stopListening(self) -> None:
        """Accept no more."""
        self.stopped = True


class FakeReactor(Clock):
    """Binds everything but what is ``taken``."""

    def __init__(self) -> None:
        super().__init__()
        self.taken: dict[int, OSError] = {}
        self.ports: list[FakeListening] = []
        self.running = False
        self.when_running: list[Any] = []
        self.readers: set[Any] = set()
        self.stops = 0

    def addReader(self, reader: Any) -> None:
        self.readers.add(reader)

    def removeReader(self, reader: Any) -> None:
        self.readers.discard(reader)

    def removeWriter(self, writer: Any) -> None:
        """Nobody writes."""

    def listenTCP(self, port: int, factory: Any, interface: str) -> FakeListening:
        return self.listen(self, port, factory, interface)

    def listen(
        self, reactor: Any, port: int, factory: Any, interface: str, **_: object
    ) -> FakeListening:
        if port in self.taken:
            raise CannotListenError(interface, port, self.taken[port])
        self.ports.append(FakeListening((interface, port), factory))
        return self.ports[-1]

    def callWhenRunning(self, call: Any, *arguments: object) -> None:
        self.when_running.append(partial(call, *arguments))

    def callInThreadWithCallback(self, done: Any, call: Any) -> None:
        """What is to be done in a thread is done at once."""
        try:
            result = call()
        except Exception:
            done(False, Failure())
        else:
            done(True, result)

    def callFromThread(self, call: Any, *arguments: object) -> None:
        call(*arguments)

    def stop(self) -> None:
        self.stops += 1


class ProxyCase(SynchronousTestCase):
    """A proxy whose log goes into a file."""

    def setUp(self) -> None:
        self.reactor = FakeReactor()
        self.patch(control_listening, "listen", self.reactor.listen)
        self.log_path = Path(self.mktemp())
        self.addCleanup(gc.unfreeze)
        self.printed_path = self.redirect_standard_output()

    def redirect_standard_output(self) -> Path:
        """Let descriptor 1 be a file for the time of the test; returns its path."""
        path = Path(self.mktemp())
        assert sys.__stdout__ is not None
        sys.__stdout__.flush()
        kept = os.dup(1)
        self.addCleanup(os.close, kept)
        self.addCleanup(os.dup2, kept, 1)
        with path.open("wb") as file:
            os.dup2(file.fileno(), 1)
        return path

    def configuration(self, **fields: Any) -> Configuration:
        """One listener, two sites of which one has no certificate."""
        sites = site("a.test"), site("b.test")
        one = evolve(listener(*sites, pairs=(pair("a.test"),)), http_port=8080, https_port=8443)
        fields.setdefault("logging", Logging(log_file_path=str(self.log_path)))
        fields = {"health_check_port": 0, "admin_socket_path": "", **fields}
        return evolve(configuration(one), **fields)

    def proxy(self, read: Any = None, **fields: Any) -> Proxy:
        whole = self.configuration(**fields)
        return Proxy(whole, self.reactor, lambda: NOW, read=read, threads=self.reactor)
