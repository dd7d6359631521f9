"""Connections to an authority: that they are TLS, that they end, and how much comes over them.

Owns what Twisted's HTTP client leaves to the other side: it keeps a head of any length, and it
waits for as long as the other side likes until a connection that it has closed is closed. Refuses
to know HTTP.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.endpoints import HostnameEndpoint, wrapClientTLS
from twisted.internet.error import ConnectError as TcpError
from twisted.internet.error import (
    ConnectingCancelledError,
    ConnectionDone,
    ConnectionLost,
    DNSLookupError,
)
from twisted.internet.interfaces import IProtocol, IProtocolFactory, IStreamClientEndpoint
from twisted.internet.protocol import connectionDone
from twisted.protocols.policies import ProtocolWrapper, WrappingFactory
from twisted.python.failure import Failure
from twisted.web.client import URI
from twisted.web.error import SchemeNotSupported
from twisted.web.iweb import IAgentEndpointFactory
from zope.interface import implementer

from revproxy.tls.acme.problem import harmless

CONNECT_SECS = 10.0

END_SECS = 2.0
"""From closing a connection until it is cut, where the other side does not close it too."""

MOST_ANSWER_BYTES = 2 * 1024 * 1024
"""Of one response as it is sent: heads, body and what frames it."""


class AnswersTooMuch(Exception):
    """More was sent in answer to one request than anybody has to say."""


@implementer(IAgentEndpointFactory)
class HttpsEndpoints:
    """Where an agent connects to.

    Args:
        reactor: connects.
        policy: whom to trust, an ``IPolicyForHTTPS``.
    """

    def __init__(self, reactor: Any, policy: Any) -> None:
        self._reactor = reactor
        self._policy = policy

    def endpointForURI(self, uri: URI) -> Any:
        """An endpoint for an https URI.

        Raises:
            SchemeNotSupported: it is of another scheme.
        """
        if uri.scheme != b"https":
            raise SchemeNotSupported(f"no https: {uri.scheme!r}")
        host = uri.host.decode("ascii")
        there: Any = HostnameEndpoint(self._reactor, host, uri.port, timeout=CONNECT_SECS)
        creator = self._policy.creatorForNetloc(uri.host, uri.port)
        return BoundedEndpoint(wrapClientTLS(creator, there), self._reactor)


@implementer(IStreamClientEndpoint)
class BoundedEndpoint:
    """Makes connections that are cut when too much comes, or when they do not end.

    Args:
        endpoint: makes them.
        reactor: for the time limit.
    """

    def __init__(self, endpoint: Any, reactor: Any) -> None:
        self._endpoint = endpoint
        self._reactor = reactor

    def connect(self, factory: IProtocolFactory) -> Deferred[IProtocol]:
        """As of any endpoint."""
        bounding = WrappingFactory(factory)
        bounding.protocol = lambda outer, inner: _Bounded(outer, inner, self._reactor)
        connecting: Deferred[Any] = self._endpoint.connect(bounding)
        return connecting.addCallback(lambda bounded: bounded.wrappedProtocol)


class _Bounded(ProtocolWrapper):
    """One connection."""

    transport: Any

    def __init__(self, factory: Any, inner: Any, reactor: Any) -> None:
        super().__init__(factory, inner)
        self._reactor = reactor
        self._answered = 0
        self._ending: Any = None

    def write(self, data: bytes) -> None:
        """A request is sent: what comes next answers it."""
        self._answered = 0
        self.transport.write(data)

    def writeSequence(self, data: Any) -> None:
        """Likewise."""
        self._answered = 0
        self.transport.writeSequence(data)

    def dataReceived(self, data: bytes) -> None:
        """Pass on what is within bounds."""
        self._answered += len(data)
        if self._answered > MOST_ANSWER_BYTES:
            self.transport.abortConnection()
        elif self._ending is None:  # after that nobody listens
            inner: Any = self.wrappedProtocol
            inner.dataReceived(data)

    def loseConnection(self) -> None:
        """Close it, and cut it if the other side does not do its part in time."""
        self.transport.loseConnection()
        if self._ending is None:
            self._ending = self._reactor.callLater(END_SECS, self.transport.abortConnection)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """It has ended; tells why where that was too much."""
        if self._ending is not None and self._ending.active():
            self._ending.cancel()
        if self._answered > MOST_ANSWER_BYTES:
            reason = Failure(AnswersTooMuch())
        wrapper: Any = super()
        wrapper.connectionLost(reason)


_WORDS: Mapping[type[Exception], str] = {
    AnswersTooMuch: f"answers with more than {MOST_ANSWER_BYTES} bytes",
    DNSLookupError: "the name cannot be resolved",
    ConnectingCancelledError: "no connection in time",
    ConnectionDone: "the connection was closed before the end of the answer",
    ConnectionLost: "the connection was lost",
}


def in_words(error: BaseException) -> str:
    """Why a request has failed, without the innards of a library."""
    for reason in getattr(error, "reasons", None) or ():  # as Twisted's HTTP client wraps them
        error = reason.value
        break
    for kind, words in _WORDS.items():
        if isinstance(error, kind):
            return words
    if tls := _tls_words(error):
        return f"TLS: {tls}"
    if isinstance(error, TcpError):
        return harmless(str(error).rstrip("."))[:200]
    return harmless(f"{type(error).__name__}: {error}".rstrip(": "))[:200]


def _tls_words(error: BaseException) -> str:
    """OpenSSL's reason, of the first tuple that pyOpenSSL gives; ``""`` for other errors."""
    if type(error).__name__ == "VerificationError":  # of service_identity, which Twisted calls
        return "the certificate is for another name"
    entries = error.args[0] if error.args else None
    if not isinstance(entries, list) or not entries or not isinstance(entries[0], tuple):
        return ""
    return str(entries[0][-1]) or "the handshake failed"
