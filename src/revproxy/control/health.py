"""The health check: a site of its own on 127.0.0.1.

Owns its two addresses and its limits. Refuses to know what readiness depends on (``status``), and
is never reached through a public port.
"""

from __future__ import annotations

import json
import socket
from collections.abc import Callable
from typing import Any

from attrs import define, field
from twisted.application.service import Service
from twisted.internet.defer import Deferred
from twisted.internet.error import CannotListenError
from twisted.protocols.policies import WrappingFactory
from twisted.web.resource import Resource
from twisted.web.server import Request, Site

from revproxy.control.inherited import InheritedSockets
from revproxy.control.listening import BindError, cannot_bind

ADDRESS = "127.0.0.1"

MOST_CONNECTIONS = 32
REQUEST_SECS = 10
"""For a whole request to come."""


class _Health(Resource):
    """``/health``: this process serves."""

    def render_GET(self, request: Request) -> bytes:
        """200 with nothing in it; a HEAD gets the same."""
        request.setHeader(b"content-length", b"0")
        return b""


class _Ready(Resource):
    """``/health/ready``: and everything that it is to serve can be served.

    Args:
        missing: says what cannot.
    """

    isLeaf = True

    def __init__(self, missing: Callable[[], list[str]]) -> None:
        super().__init__()
        self._missing = missing

    def render_GET(self, request: Request) -> bytes:
        """200 with nothing in it, or 503 with a list in JSON."""
        missing = self._missing()
        if not missing:
            return b""
        request.setResponseCode(503)
        request.setHeader(b"content-type", b"application/json")
        return json.dumps(missing).encode() + b"\n"


class _Request(Request):
    """A request whose response does not say what has made it."""

    defaultContentType = None

    def render(self, resrc: Any) -> None:
        """Answer."""
        self.responseHeaders.removeHeader(b"server")
        super().render(resrc)


class _QuietSite(Site):
    """A site whose requests leave no trace in any log."""

    noisy = False

    def log(self, request: Any) -> None:
        """Say nothing."""


class _Bounded(WrappingFactory):
    """Serves so many connections at once; more are closed."""

    noisy = False

    def buildProtocol(self, addr: Any) -> Any:
        """The protocol of a connection, if there are not too many."""
        return None if len(self.protocols) >= MOST_CONNECTIONS else super().buildProtocol(addr)


def health_site(missing: Callable[[], list[str]]) -> Any:
    """The factory for the health check's port; ``missing`` says what keeps it from being ready."""
    root: Any = Resource()
    health: Any = _Health()
    root.putChild(b"health", health)
    health.putChild(b"ready", _Ready(missing))
    return _Bounded(_QuietSite(root, requestFactory=_Request, timeout=REQUEST_SECS))


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
            raise BindError(cannot_bind(ADDRESS, self.port, error)) from None

    def stopService(self) -> Deferred[None] | None:
        """Accept no more."""
        super().stopService()
        listening, self._listening = self._listening, None
        stopped: Deferred[None] | None = None if listening is None else listening.stopListening()
        return stopped
