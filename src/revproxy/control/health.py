"""The health check: a site of its own on 127.0.0.1.

Owns its two addresses and its limits. Refuses to know what readiness depends on (``status``), and
is never reached through a public port.
"""

from __future__ import annotations

import json
import socket
from collections.abc import Callable
from io import BytesIO
from typing import Any

from attrs import define, field
from twisted.application.service import Service
from twisted.internet import abstract
from twisted.internet.defer import Deferred
from twisted.internet.error import CannotListenError
from twisted.protocols.policies import WrappingFactory
from twisted.web.http import HTTPChannel
from twisted.web.resource import Resource
from twisted.web.server import Request, Site

from revproxy.control.inherited import InheritedSockets
from revproxy.control.listening import BindError, cannot_bind

ADDRESS = "127.0.0.1"

MOST_CONNECTIONS = 16
"""With those of the admin socket no more than the descriptors that are kept for them."""

REQUEST_SECS = 10
"""For a whole request to come."""


class _Health(Resource):
    """``/health``: this process serves. ``/health/ready``: and all that it is to serve can be.

    Both are 200 with nothing in it; what is not ready is 503 with a list in JSON.

    Args:
        missing: makes the list.
    """

    isLeaf = True

    def __init__(self, missing: Callable[[], list[str]]) -> None:
        super().__init__()
        self._missing = {b"/health": list, b"/health/ready": missing}

    def render(self, request: Request) -> bytes:
        """The body; a HEAD gets what a GET does, without it."""
        missing = self._missing.get(request.path)
        if not _is_own_name(request.getRequestHostname()):
            # A page in a browser on this machine, whose name leads here.
            request.setResponseCode(403)
            return b""
        if missing is None:
            request.setResponseCode(404)
            return b""
        if request.method not in {b"GET", b"HEAD"}:
            request.setResponseCode(405)
            request.setHeader(b"allow", b"GET, HEAD")
            return b""
        body = b""
        if found := missing():
            body = json.dumps(found).encode() + b"\n"
            request.setResponseCode(503)
            request.setHeader(b"content-type", b"application/json")
        request.setHeader(b"content-length", b"%d" % len(body))
        return body if request.method == b"GET" else b""


def _is_own_name(host: bytes) -> bool:
    return host in {b"", b"localhost"} or abstract.isIPAddress(host.decode("latin-1"))


class _Request(Request):
    """A request whose response does not say what has made it, and whose body nobody wants."""

    def setHeader(self, name: Any, value: Any) -> None:
        """Set a field of the response."""
        if name.lower() != b"server":
            super().setHeader(name, value)

    def gotLength(self, length: int | None) -> None:
        """The head has come. (Twisted's would keep a body, a large one in a file.)"""
        self.content = BytesIO()

    def handleContentChunk(self, data: bytes) -> None:
        """Something of the body has come."""


class _Channel(HTTPChannel):
    """A connection on which a request that trickles in gains no time by it."""

    def resetTimeout(self) -> None:
        """Something has come: the time is for the whole request."""


class _QuietSite(Site):
    """A site whose requests leave no trace in any log, and which has no clock for one."""

    noisy = False
    protocol: Any = _Channel

    def startFactory(self) -> None:
        """Open no log."""

    def stopFactory(self) -> None:
        """Nor close one."""

    def log(self, request: Any) -> None:
        """Say nothing."""


class _Bounded(WrappingFactory):
    """Serves so many connections at once; the oldest is cut for one that comes."""

    noisy = False

    def buildProtocol(self, addr: Any) -> Any:
        """The protocol of a connection. (Whoever holds some open must not keep others out.)"""
        if len(self.protocols) >= MOST_CONNECTIONS:
            oldest = next(iter(self.protocols))
            self.unregisterProtocol(oldest)
            oldest.abortConnection()
        return super().buildProtocol(addr)

    def unregisterProtocol(self, p: Any) -> None:
        """A connection is gone, perhaps since it was cut."""
        self.protocols.pop(p, None)


def health_site(missing: Callable[[], list[str]], reactor: Any = None) -> Any:
    """The factory for the health check's port.

    Args:
        missing: says what keeps it from being ready.
        reactor: for the time limit; by default the process'.
    """
    root: Any = _Health(missing)
    site = _QuietSite(root, requestFactory=_Request, timeout=REQUEST_SECS, reactor=reactor)
    return _Bounded(site)


@define(eq=False)
class HealthPort(Service):
    """The port that it listens on.

    Attributes:
        reactor: to listen with.
        port: a TCP port of 127.0.0.1.
        factory: as of :func:`health_site`.
        inherited: sockets that may be listening there already.
    """

    reactor: Any
    port: int
    factory: Any
    inherited: InheritedSockets = field(factory=InheritedSockets)
    _listening: Any = field(default=None, init=False)

    def privilegedStartService(self) -> None:
        """Bind.

        Raises:
            BindError: the port cannot be bound.
        """
        inherited = self.inherited.take_tcp(ADDRESS, self.port)
        if inherited is not None:
            self._listening = self.reactor.adoptStreamPort(
                inherited.fileno(), socket.AF_INET, self.factory
            )
            inherited.close()
            return
        try:
            self._listening = self.reactor.listenTCP(self.port, self.factory, interface=ADDRESS)
        except CannotListenError as error:
            where = cannot_bind(ADDRESS, self.port, error)
            raise BindError(f"health_check_port: {where}") from None

    def stopService(self) -> Deferred[None] | None:
        """Accept no more."""
        super().stopService()
        listening, self._listening = self._listening, None
        stopped: Deferred[None] | None = None if listening is None else listening.stopListening()
        return stopped
