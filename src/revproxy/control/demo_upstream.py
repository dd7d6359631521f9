"""The upstream that ``revproxy demo`` brings along: it says what reached it.

Owns a small web site on a UNIX socket. Refuses to know the proxy in front of it: what it shows
is what any upstream would have seen.
"""

from __future__ import annotations

from typing import Any

from twisted.application.internet import UNIXServer
from twisted.application.service import Service
from twisted.internet.interfaces import IPullProducer
from twisted.internet.task import LoopingCall
from twisted.python.failure import Failure
from twisted.web.resource import Resource
from twisted.web.server import NOT_DONE_YET, Request, Site
from zope.interface import implementer

MIB = 1024 * 1024
MOST_MIB = 10_240
DEFAULT_MIB = 100
SLOW_LINES = 5
SLOW_SECONDS = 0.5

_BLOCK = bytes(65536)


class DemoUpstream(Resource):
    """Answers every path with the request it received, in plain text.

    ``/big?N`` streams N MiB of zeros (100 without a number), ``/slow`` a line every half second.
    """

    isLeaf = True

    def __init__(self, reactor: Any) -> None:
        super().__init__()
        self._reactor = reactor

    def render(self, request: Request) -> bytes | int:
        """Answer ``request``, whatever its method."""
        request.setHeader(b"content-type", b"text/plain; charset=utf-8")
        if request.path == b"/big":
            return _send_big(request)
        if request.path == b"/slow":
            return _send_slowly(request, self._reactor)
        answer = _description(request)
        request.setHeader(b"content-length", b"%d" % len(answer))
        return b"" if request.method == b"HEAD" else answer


def _description(request: Request) -> bytes:
    lines = [b"%s %s %s" % (request.method, request.uri, request.clientproto)]
    for name, values in request.requestHeaders.getAllRawHeaders():
        lines += [name + b": " + value for value in values]
    body = request.content.read() if request.content else b""
    client = request.getHeader(b"x-real-ip") or b"unknown"
    lines += [b"", b"body: %d bytes" % len(body), b"client address: " + client, b""]
    return b"The upstream received:\n\n" + b"\n".join(lines)


def _send_big(request: Request) -> int:
    query = request.uri.partition(b"?")[2]
    mebibytes = min(int(query), MOST_MIB) if query.isdigit() else DEFAULT_MIB
    request.setHeader(b"content-length", b"%d" % (mebibytes * MIB))
    request.registerProducer(_Zeros(request, mebibytes * MIB), False)
    return NOT_DONE_YET


@implementer(IPullProducer)
class _Zeros:
    """Writes zeros as fast as they are taken, one block a turn."""

    def __init__(self, request: Request, length: int) -> None:
        self._request = request
        self._left = length

    def resumeProducing(self) -> None:
        self._request.write(_BLOCK[: self._left])
        self._left -= min(self._left, len(_BLOCK))
        if not self._left:
            self._request.unregisterProducer()
            self._request.finish()

    def stopProducing(self) -> None:
        self._left = 0


def _send_slowly(request: Request, clock: Any) -> int:
    numbers = iter(range(1, SLOW_LINES + 1))

    def send_line() -> None:
        number = next(numbers)
        request.write(b"line %d of %d\n" % (number, SLOW_LINES))
        if number == SLOW_LINES:
            request.finish()
            calls.stop()

    def gone(_: Failure) -> None:
        calls.stop()

    calls = LoopingCall(send_line)
    calls.clock = clock
    request.notifyFinish().addErrback(gone)
    calls.start(SLOW_SECONDS)
    return NOT_DONE_YET


class _QuietSite(Site):
    """A site without an access log: the proxy's own is the one to look at."""

    noisy = False

    def log(self, request: Any) -> None:
        """Write nothing."""


def demo_upstream(reactor: Any, path: str) -> Service:
    """A service that listens on a UNIX socket at ``path``, open to this user only.

    Starting it raises ``CannotListenError`` when the path cannot be bound.
    """
    site = _QuietSite(DemoUpstream(reactor), reactor=reactor)
    return UNIXServer(path, site, mode=0o600, reactor=reactor)
