"""HTTPS to an authority: one request, one bounded reply.

Owns trust, time limits and sizes, and that nothing is followed, kept or unpacked on the way.
Refuses to know what is said.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Any

import treq
from attrs import frozen
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from treq.client import HTTPClient
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.defer import TimeoutError as DeferredTimeoutError
from twisted.internet.error import ConnectError as TcpError
from twisted.internet.error import ConnectingCancelledError, ConnectionLost, DNSLookupError
from twisted.internet.ssl import Certificate, trustRootFromCertificates
from twisted.web.client import (
    Agent,
    BrowserLikePolicyForHTTPS,
    HTTPConnectionPool,
    ResponseFailed,
    ResponseNeverReceived,
)
from twisted.web.http_headers import Headers
from twisted.web.iweb import IAgent
from zope.interface import implementer

import revproxy
from revproxy.tls.acme.problem import CannotReach
from revproxy.tls.pem import MAX_PEM_BYTES

MOST_REPLY_BYTES = 1024 * 1024

REQUEST_SECS = 30.0
"""From the request to the last byte of the reply."""

CONNECT_SECS = 10.0

MOST_RETRY_AFTER = 7 * 86400.0
"""Seconds; more is not believed."""

_ENTRIES_OF_LINK = 16


@frozen
class Reply:
    """A response, whole.

    Attributes:
        status: of it.
        content: its body.
        location: its ``Location``, or ``""``.
        nonce: its ``Replay-Nonce``, or ``""``.
        retry_after: seconds of its ``Retry-After``; None without one.
        alternates: URLs of other chains (RFC 8555 7.4.2).
        date: its ``Date``, in seconds since 1970; None without one.
    """

    status: int
    content: bytes
    location: str = ""
    nonce: str = ""
    retry_after: float | None = None
    alternates: tuple[str, ...] = ()
    date: float | None = None


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
        asking.addTimeout(REQUEST_SECS, self._reactor)
        try:
            return await asking
        except (CancelledError, CannotReach):
            raise
        except DeferredTimeoutError:
            raise CannotReach(url, f"no answer within {REQUEST_SECS:g} s") from None
        except Exception as error:
            raise CannotReach(url, _words(error)) from None

    async def close(self) -> None:
        """Close the connections that are kept."""
        if self._pool is not None:
            await self._pool.closeCachedConnections()

    async def _ask(self, method: str, url: str, body: bytes | None, kind: str) -> Reply:
        headers = Headers({"User-Agent": [f"revproxy/{revproxy.__version__}"]})
        if body is not None:
            headers.setRawHeaders("Content-Type", [kind])
        # A client for each request: it would keep cookies for all that follow.
        response = await HTTPClient(self._agent).request(
            method,
            url,
            headers=headers,
            data=body,
            allow_redirects=False,
            unbuffered=True,
            reactor=self._reactor,
        )
        received = bytearray()

        def collect(piece: bytes) -> None:
            if len(received) + len(piece) > MOST_REPLY_BYTES:
                raise CannotReach(url, f"answers with more than {MOST_REPLY_BYTES} bytes")
            received.extend(piece)

        await treq.collect(response, collect)
        return self._reply(response.code, response.headers, bytes(received))

    def _reply(self, status: int, headers: Headers, content: bytes) -> Reply:
        return Reply(
            status,
            content,
            location=_field(headers, "Location"),
            nonce=_field(headers, "Replay-Nonce"),
            retry_after=seconds_of(_field(headers, "Retry-After"), self._wall()),
            alternates=_alternates(headers),
            date=_moment(_field(headers, "Date")),
        )


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
            raise CannotReach(uri.decode("ascii", "replace"), "sends packed content, unasked")
        return response


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
    return Channel(
        Agent(reactor, _policy(ca_file), connectTimeout=CONNECT_SECS, pool=pool),
        reactor,
        wall,
        pool,
    )


def _policy(ca_file: str | None) -> Any:
    """An ``IPolicyForHTTPS``."""
    if ca_file is None:
        return BrowserLikePolicyForHTTPS()
    roots = [Certificate.load(one.public_bytes(Encoding.DER)) for one in read_roots(ca_file)]
    return BrowserLikePolicyForHTTPS(trustRootFromCertificates(roots))


def read_roots(ca_file: str) -> list[x509.Certificate]:
    """The certificates in a file.

    Raises:
        OSError: it cannot be read.
        ValueError: it holds none.
    """
    with Path(ca_file).open("rb") as file:
        content = file.read(MAX_PEM_BYTES)
    try:
        return x509.load_pem_x509_certificates(content)
    except ValueError:
        raise ValueError(f"{ca_file} holds no readable PEM certificate") from None


def seconds_of(retry_after: str, now: float) -> float | None:
    """The wait that a ``Retry-After`` asks for (RFC 9110 10.2.3); None for none or nonsense."""
    if retry_after.isascii() and retry_after.isdigit():
        return min(float(retry_after[:12]), MOST_RETRY_AFTER)
    moment = _moment(retry_after)
    return None if moment is None else min(max(0.0, moment - now), MOST_RETRY_AFTER)


def _moment(date: str) -> float | None:
    """RFC 9110 5.6.7."""
    try:
        return parsedate_to_datetime(date).timestamp() if date else None
    except (ValueError, OverflowError):
        return None


def _field(headers: Headers, name: str) -> str:
    values = headers.getRawHeaders(name) or [""]
    return values[-1][:2048]


def _alternates(headers: Headers) -> tuple[str, ...]:
    """Of ``Link`` fields those of the relation ``alternate`` (RFC 8288)."""
    found = []
    for value in (headers.getRawHeaders("Link") or [])[:_ENTRIES_OF_LINK]:
        target, _, parameters = value.partition(">")
        if 'rel="alternate"' in parameters and target.startswith("<"):
            found.append(target[1:2048])
    return tuple(found)


_WORDS: Mapping[type[Exception], str] = {
    DNSLookupError: "the name cannot be resolved",
    ConnectingCancelledError: "no connection in time",
    ConnectionLost: "the connection was lost",
}


def _words(error: Exception) -> str:
    """What has happened, without the innards of a library."""
    if isinstance(error, ResponseNeverReceived | ResponseFailed) and error.reasons:
        error = error.reasons[0].value
    for kind, words in _WORDS.items():
        if isinstance(error, kind):
            return words
    if tls := _tls_words(error):
        return f"TLS: {tls}"
    if isinstance(error, TcpError):
        return str(error).rstrip(".")[:200]
    return f"{type(error).__name__}: {error}"[:200]


def _tls_words(error: Any) -> str:
    """OpenSSL's reason, of the first tuple that pyOpenSSL gives; ``""`` for other errors."""
    entries = error.args[0] if error.args else None
    if not isinstance(entries, list) or not entries or not isinstance(entries[0], tuple):
        return ""
    return str(entries[0][-1]) or "the handshake failed"
