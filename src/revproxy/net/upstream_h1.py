"""One HTTP/1.1 connection to an upstream: responses in, one at a time; what it becomes, its end.

Owns the framing of responses, the time limits of the upstream and the connection's life. Requests
go out in ``h1_upstream_requests.py``. What the bytes decide is told to the exchange by direct
calls. Refuses to know routing, retries and the downstream's HTTP version.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, cast

from twisted.internet.interfaces import IHalfCloseableProtocol, IPushProducer
from twisted.python.failure import Failure
from zope.interface import implementer

from revproxy.errors import BadResponse, ProxyError, Side
from revproxy.model.http import CHUNKED, UNTIL_CLOSE, ResponseHead
from revproxy.net.deadlines import NEVER, SLACK_SECS
from revproxy.net.h1_upstream_requests import H1UpstreamRequests
from revproxy.wire.chunked import ChunkedDecoder, ChunkedError
from revproxy.wire.fields import has_bare_line_feed
from revproxy.wire.response_head import read_response_head

if TYPE_CHECKING:
    from revproxy.net.exchange import Exchange
    from revproxy.net.pool import Pool
    from revproxy.net.tunnel import Tunnel


@implementer(IHalfCloseableProtocol, IPushProducer)
class UpstreamH1(H1UpstreamRequests):
    """A connection of a pool; :attr:`exchange` is the one it serves now.

    Args:
        pool: where it belongs.
        ready: called once, when it can be written to.

    Attributes:
        reused: whether it has served an exchange before the present one.
    """

    __slots__ = ("_behind", "_buffer", "_decoder", "_ended", "_keep_alive", "_paused", "_ready",
                 "reused", "usable")  # fmt: skip

    def __init__(self, pool: Pool, ready: Callable[[UpstreamH1], None]) -> None:
        super().__init__(pool)
        self._ready = ready
        self._behind = False
        self._ended = False
        self._buffer = b""
        self._decoder: ChunkedDecoder | None = None
        self._keep_alive = False
        self._paused = False
        self.reused = False
        self.usable = False

    # From the exchange

    def become(self, tunnel: Tunnel) -> None:
        """From now on the bytes are another protocol's, until either side ends."""
        self.exchange = cast("Exchange", tunnel)  # which it stands in for
        self._left = UNTIL_CLOSE
        self._keep_alive = False
        self._timeout = self.deadline = NEVER

    def pause(self) -> None:
        """The downstream takes nothing: stop reading. The upstream's clock stands."""
        if not self._paused:
            self._paused = True
            self.transport.pauseProducing()

    def resume(self) -> None:
        """The downstream takes bytes again."""
        if self._paused:
            self._paused = False
            self.deadline = self._pool.deadlines.after(self._timeout)
            if self._behind:
                self._pool.deadlines.soon(self._catch_up)
            else:
                self.transport.resumeProducing()

    def abandon(self) -> None:
        """The exchange is over before the response is: this connection is of no more use."""
        self.exchange = None
        self._gone()
        self.transport.abortConnection()

    def close(self) -> None:
        """Close a connection of no more use; nothing waits for an upstream that takes nothing."""
        self._gone()
        if self.transport.unsent:
            self.transport.abortConnection()
        else:
            self.transport.loseConnection()

    # From the transport

    def makeConnection(self, transport: Any) -> None:
        """Connected, and verified where it is TLS."""
        self.transport = transport
        self._socket = getattr(transport, "transport", transport)  # under TLS, or itself
        self.usable = True
        self._pool.open += 1
        self._pool.made += 1
        transport.registerProducer(self, True)
        self._pool.deadlines.watch(self)
        self._ready(self)

    def dataReceived(self, data: bytes) -> None:
        """Read responses; whatever they make the front say leaves as one write."""
        exchange = self.exchange
        if exchange is None:
            # Nobody asked for anything: neither a late 408 nor a forged answer is wanted.
            self.abandon()
        else:
            self._read(data, exchange)

    def _read(self, data: bytes, exchange: Exchange) -> None:
        try:
            if self._left is None:
                if not self._read_heads(data, exchange):
                    return
                data, self._buffer = self._buffer, b""
                if self.exchange is not exchange:
                    self._read_tunnel(data)
                    return
            self.deadline = self._pool.deadlines.now + self._timeout + SLACK_SECS
            self._read_body(data, exchange)
        except ProxyError as error:
            self._fail(error)
        except ChunkedError as error:
            self._fail(ProxyError(Side.UPSTREAM, 502, f"invalid response body: {error}"))
        finally:
            exchange.front.flush()

    def readConnectionLost(self) -> None:
        """The upstream's FIN, or over TLS its close_notify, which comes with the last bytes."""
        if self._behind:
            # What has come is read first.
            self._ended, self._keep_alive = True, False
            return
        exchange = self.exchange
        if exchange is None or self._left != UNTIL_CLOSE:
            self._fail(self._lost_error())
        elif getattr(self.transport, "read_cut", False):
            self._fail(ProxyError(Side.UPSTREAM, 502, "response cut: no close_notify"))
        else:
            self._complete()
            exchange.front.flush()

    def writeConnectionLost(self) -> None:
        """Never half-closed by us."""

    def connectionLost(self, reason: Failure) -> None:
        """Gone both ways; a body until close that ends like this was cut."""
        self.usable = False
        self._pool.open -= 1
        self._pool.deadlines.forget(self)
        if self.exchange is None:
            self._pool.discard(self)
        else:
            self._fail(self._lost_error())

    def expired(self, now: float) -> None:
        """The upstream's time is up, unless it is not the upstream that is waited for."""
        exchange = self.exchange
        if exchange is None:
            self._pool.discard(self)
            self.close()
        elif exchange.holding:
            self.deadline = now + self._timeout
            exchange.release_body(told=False)
        elif self._paused:
            self.deadline = now + self._timeout
        elif self.transport.unsent and self.transport.taken != self._taken:
            self._taken = self.transport.taken
            self.deadline = now + self._timeout
        elif not self._request_done and not self.transport.unsent:
            self.deadline = now + self._timeout
        else:
            self._fail(ProxyError(Side.UPSTREAM, 504, "no response in time"))
            exchange.front.flush()

    # IPushProducer: the transport's queue towards the upstream

    def pauseProducing(self) -> None:
        """The upstream takes nothing."""
        if self.exchange is not None:
            self.exchange.upstream_full()

    def resumeProducing(self) -> None:
        """The upstream has taken everything."""
        if self.exchange is not None:
            self.exchange.upstream_drained()

    def stopProducing(self) -> None:
        """The connection is lost; :meth:`connectionLost` follows."""

    # Reading

    def _read_heads(self, data: bytes, exchange: Exchange) -> bool:
        """Read interim heads and the final one; returns whether the final one was there."""
        settings = self._pool.settings
        self._buffer = self._buffer + data if self._buffer else data
        while True:
            end = self._buffer.find(b"\r\n\r\n") + 4
            if end < 4 or end > settings.head_bytes:
                if len(self._buffer) > settings.head_bytes:
                    raise BadResponse("response head too large")
                if has_bare_line_feed(self._buffer):
                    raise BadResponse("invalid response head")
                return False
            head = read_response_head(self._buffer[:end], self._method)
            self._buffer = self._buffer[end:]
            if head.status >= 200:
                break
            self._interim += 1
            if head.status == 101 and self._agrees(head):
                exchange.switched(head)
                return True
            if head.status == 101 or self._interim > settings.interim:
                raise BadResponse("unasked 101" if head.status == 101 else "too many 1xx")
            exchange.interim(head)
        self._keep_alive = head.keep_alive
        self._left = head.body_length
        if self._left == CHUNKED:
            self._decoder = ChunkedDecoder(settings.chunk_line_bytes, settings.trailer_bytes)
        exchange.response(head)
        return True

    def _read_body(self, data: bytes, exchange: Exchange) -> None:
        left = self._left
        assert left is not None
        if left >= 0:
            if len(data) > left:
                # More than announced: what comes after cannot be trusted.
                data, self._keep_alive = data[:left], False
            if data:
                self._left = left = left - len(data)
                exchange.data(data)
            if not left and self.exchange is exchange:
                self._complete()
        elif left == CHUNKED:
            self._read_chunked(data, exchange)
        elif data:
            exchange.data(data)

    def _agrees(self, head: ResponseHead) -> bool:
        """Whether a 101 is to what was asked for (RFC 9110 7.8)."""
        return bool(self._protocol) and head.protocol.strip(b" \t").lower() == self._protocol

    def _read_tunnel(self, data: bytes) -> None:
        """What has come behind a 101, unless the tunnel has ended at once."""
        if data and self.exchange is not None:
            self.exchange.data(data)

    def _read_chunked(self, data: bytes, exchange: Exchange) -> None:
        decoder = self._decoder
        assert decoder is not None
        content = decoder.feed(data) if data else b""
        if content:
            exchange.data(content)
        if decoder.done and self.exchange is exchange:
            self._keep_alive = self._keep_alive and not decoder.rest
            self._decoder = None
            exchange.trailers = decoder.trailers
            self._complete()
        elif decoder.rest:
            self._buffer = decoder.rest
            self._behind = True
            self.transport.pauseProducing()
            self._pool.deadlines.soon(self._catch_up)

    def _catch_up(self) -> None:
        """Go on with chunks that were too many for one turn."""
        exchange = self.exchange
        if exchange is None or not self._behind or self._paused:
            return
        self._behind = False
        data, self._buffer = self._buffer, b""
        self._read(data, exchange)
        if self._behind or self.exchange is not exchange:
            return
        if self._ended:
            self.readConnectionLost()
        elif not self._paused:
            self.transport.resumeProducing()

    def _complete(self) -> None:
        """The response is whole: back into the pool, if nothing speaks against it."""
        exchange, self.exchange = self.exchange, None
        assert exchange is not None
        if self._keep_alive and self._request_done and not self.transport.unsent:
            self.resume()
            self.reused = True
            self.deadline = self._pool.deadlines.now + self._pool.settings.idle_secs
            self._pool.release(self)
        else:
            self._out = []
            self.close()
        exchange.done()

    def _fail(self, error: ProxyError) -> None:
        """The response cannot be completed."""
        exchange, self.exchange = self.exchange, None
        self._gone()
        self.transport.abortConnection()
        if exchange is not None:
            exchange.cut(error)
            exchange.front.flush()
        else:
            self._pool.discard(self)

    def _lost_error(self) -> ProxyError:
        begun = self._left is not None or bool(self._buffer)
        reason = "connection lost in the response" if begun else "connection reset"
        return ProxyError(Side.UPSTREAM, 502, reason, retry=not begun and not self._interim)

    def _gone(self) -> None:
        self.usable = False
        self.deadline = NEVER
        self._pool.deadlines.forget(self)
        self.transport.unregisterProducer()
