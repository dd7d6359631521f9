"""HTTPS to an authority: one request, one bounded reply.

Owns trust, time limits and sizes, and that nothing is followed, kept or unpacked on the way.
Refuses to know what is said.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from cryptography.hazmat.primitives.serialization import Encoding
from treq.client import HTTPClient
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.ssl import Certificate, trustRootFromCertificates
from twisted.python.failure import Failure
from twisted.web.client import Agent, BrowserLikePolicyForHTTPS, HTTPConnectionPool
from twisted.web.http_headers import Headers
from twisted.web.iweb import IAgent
from zope.interface import implementer

import revproxy
from revproxy.tls.acme.bodies import Received, Sent, Unwanted
from revproxy.tls.acme.connections import HttpsEndpoints, in_words
from revproxy.tls.acme.problem import CannotReach
from revproxy.tls.acme.reply import Reply, reply_of
from revproxy.tls.acme.roots import read_roots

REQUEST_SECS = 30.0
"""From the request to the last byte of the reply."""


class Channel:
    """See the module.

    Args:
        agent: makes the requests, an ``IAgent``.
        reactor: for the time limit.
        wall: seconds since 1970.
        pool: of the agent's connections, to close at the end.
    """

    def __init__(
        self, agent: Any, reactor: Any, wall: Callable[[], float], pool: Any = None
    ) -> None:
        self._agent: Any = _Plain(agent)
        self._reactor = reactor
        self._wall = wall
        self._pool = pool

    async def request(
        self, method: str, url: str, body: bytes | None = None, kind: str = ""
    ) -> Reply:
        """Ask.

        Args:
            method: of the request.
            url: absolute, https.
            body: its content.
            kind: the content's media type.

        Raises:
            CannotReach: it cannot be asked, takes too long or says too much.
        """
        if not url.startswith("https://"):
            raise CannotReach(url, "is no https URL")
        asking = Deferred.fromCoroutine(self._ask(method, url, body, kind))
        try:
            return await _limited(asking, REQUEST_SECS, self._reactor)
        except (CancelledError, CannotReach):
            raise
        except _Late:
            raise CannotReach(url, f"no answer within {REQUEST_SECS:g} s") from None
        except Exception as error:
            raise CannotReach(url, in_words(error)) from None

    async def close(self) -> None:
        """Close the connections that are kept."""
        if self._pool is not None:
            await self._pool.closeCachedConnections()

    async def _ask(self, method: str, url: str, body: bytes | None, kind: str) -> Reply:
        producer: Any = None if body is None else Sent(body)
        headers = Headers({"User-Agent": [f"revproxy/{revproxy.__version__}"]})
        if body is not None:
            headers.setRawHeaders("Content-Type", [kind])
        # A client for each request: it would keep cookies for all that follow.
        response = await HTTPClient(self._agent).request(
            method,
            url,
            headers=headers,
            data=producer,
            allow_redirects=False,
            unbuffered=True,
            reactor=self._reactor,
        )
        received = Received(url)
        response.deliverBody(received)
        content = await received.whole
        return reply_of(response.code, response.headers, content, self._wall())


@implementer(IAgent)
class _Plain:
    """Asks for content as it is: what was packed could unpack to anything."""

    def __init__(self, agent: Any) -> None:
        self._agent = agent

    def request(
        self, method: bytes, uri: bytes, headers: Headers | None = None, body_producer: Any = None
    ) -> Any:
        """As of an agent."""
        headers = Headers() if headers is None else headers.copy()
        headers.removeHeader(b"Accept-Encoding")
        asked = self._agent.request(method, uri, headers, body_producer)
        return asked.addCallback(self._checked, uri)

    def _checked(self, response: Any, uri: bytes) -> Any:
        if response.headers.hasHeader(b"Content-Encoding"):
            response.deliverBody(Unwanted())
            raise CannotReach(uri.decode("ascii", "replace"), "sends packed content, unasked")
        return response


class _Late(Exception):
    """The time is up."""


def _limited(asking: Deferred[Reply], seconds: float, reactor: Any) -> Deferred[Reply]:
    """What ``asking`` comes to, or :class:`_Late`; cancelled, it is a ``CancelledError``.

    What is below tells of its being cancelled in many ways, none of which is for the caller.
    """
    ended: list[Exception] = []

    def end(error: Exception) -> None:
        ended.append(error)
        asking.cancel()

    waiting: Deferred[Reply] = Deferred(lambda _: end(CancelledError()))
    timer = reactor.callLater(seconds, end, _Late())

    def done(result: Reply | Failure) -> None:
        if timer.active():
            timer.cancel()
        if waiting.called:
            return
        if ended:
            waiting.errback(ended[0])
        elif isinstance(result, Failure):
            waiting.errback(result)
        else:
            waiting.callback(result)

    asking.addBoth(done)
    return waiting


def https_channel(reactor: Any, wall: Callable[[], float], ca_file: str | None) -> Channel:
    """A channel of its own connections.

    Args:
        reactor: makes them.
        wall: seconds since 1970.
        ca_file: roots to verify the other side with, as PEM; None for the system's.

    Raises:
        OSError: the file cannot be read.
        ValueError: it holds no certificate.
    """
    pool = HTTPConnectionPool(reactor)
    pool.maxPersistentPerHost = 2
    pool.retryAutomatically = False
    endpoints = HttpsEndpoints(reactor, _policy(ca_file))
    agent = Agent.usingEndpointFactory(reactor, endpoints, pool)
    return Channel(agent, reactor, wall, pool)


def _policy(ca_file: str | None) -> Any:
    """An ``IPolicyForHTTPS``."""
    if ca_file is None:
        return BrowserLikePolicyForHTTPS()
    roots = [Certificate.load(one.public_bytes(Encoding.DER)) for one in read_roots(ca_file)]
    return BrowserLikePolicyForHTTPS(trustRootFromCertificates(roots))
