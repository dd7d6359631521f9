"""Conversations through the proxy without a network and without real time.

Owns a reactor of fake sockets: the transports on them are the real ones, so that back-pressure,
half-close and abort are too. A test feeds bytes on one side and looks at the other; what leaves
in several sends is seen as one. Refuses to know what is asserted.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from typing import Any

from attrs import define, evolve, field
from twisted.internet import error
from twisted.internet.address import IPv4Address
from twisted.internet.posixbase import _DisconnectSelectableMixin
from twisted.internet.task import Clock
from twisted.internet.tcp import Connection
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from revproxy.model.address import UpstreamAddress
from revproxy.model.configuration import Limits, Timeouts
from revproxy.net import h1_requests
from revproxy.net import pool as pool_module
from revproxy.net.deadlines import Deadlines
from revproxy.net.exchange import Exchange
from revproxy.net.h1_front import H1Front
from revproxy.net.plan import ListenerPort, Plan, ResourceRouter, Route
from revproxy.net.pool import Pool, PoolSettings
from revproxy.net.transport import EagerMixin
from revproxy.policy.connection_limit import ConnectionCounts
from revproxy.policy.rate_limit import TokenBuckets
from revproxy.policy.routing import HostRoutes

FIN = b""
"""What a socket reads when its peer has closed."""

DATE = b"Sun, 06 Nov 1994 08:49:37 GMT"
DATE_LINE = b"Date: " + DATE + b"\r\n"

UPSTREAM = PoolSettings(UpstreamAddress.parse("10.0.0.1:80"))
LIMITS = Limits()
TIMEOUTS = Timeouts()

GET = b"GET / HTTP/1.1\r\nHost: a.test\r\n\r\n"
OK = b"HTTP/1.1 200 OK\r\n" + DATE_LINE + b"Content-Length: 2\r\n\r\nok"
"""A response that passes through unchanged."""


def post(length: int, *lines: bytes) -> bytes:
    """The head of a POST with a body of ``length`` bytes, and more field ``lines``."""
    more = b"".join(line + b"\r\n" for line in lines)
    return b"POST / HTTP/1.1\r\nHost: a.test\r\nContent-Length: %d\r\n%b\r\n" % (length, more)


CHUNKED_POST = b"POST / HTTP/1.1\r\nHost: a.test\r\nTransfer-Encoding: chunked\r\n\r\n"


def own(status: bytes, *, close: bool = False, more: bytes = b"") -> bytes:
    """An answer of the proxy's own, whole: ``status`` is the code with its reason phrase."""
    reason = status.partition(b" ")[2]
    last = b"Connection: close\r\n" if close else b""
    return b"HTTP/1.1 %b\r\n%b%bContent-Type: text/plain; charset=utf-8\r\n%b\r\n%b" % (
        status,
        DATE_LINE,
        more,
        b"Content-Length: %d\r\n%b" % (len(reason), last),
        reason,
    )


class FakeSocket:
    """A kernel's socket: what came in, and how much of what goes out is taken.

    Attributes:
        incoming: what will be read, piece by piece; FIN or an OSError ends it.
        sent: what was taken and not looked at yet.
        room: bytes that are still taken; None = all.
        send_error: raised by the next sends.
        events: shutdowns and the close, in order.
    """

    def __init__(self, room: int | None = None) -> None:
        self.incoming: deque[bytes | OSError] = deque()
        self.sent = bytearray()
        self.sends: list[int] = []
        self.room = room
        self.send_error: OSError | None = None
        self.events: list[str] = []

    def setblocking(self, blocking: bool) -> None:
        """Nothing here blocks."""

    def setsockopt(self, *_: object) -> None:
        """Options have no effect."""

    def fileno(self) -> int:
        """A number that no selector sees."""
        return 1_000_000

    def send(self, content: bytes | memoryview) -> int:
        """Take as much as there is room for."""
        if self.send_error is not None:
            raise self.send_error
        if self.room == 0:
            raise BlockingIOError(11, "no room")
        count = len(content) if self.room is None else min(self.room, len(content))
        if self.room is not None:
            self.room -= count
        self.sent += content[:count]
        self.sends.append(count)
        return count

    def recv(self, count: int) -> bytes:
        """The next piece."""
        if not self.incoming:
            raise BlockingIOError(11, "nothing there")
        piece = self.incoming.popleft()
        if isinstance(piece, OSError):
            raise piece
        if len(piece) > count:
            self.incoming.appendleft(piece[count:])
        return piece[:count]

    def shutdown(self, how: int) -> None:
        """Half-close, or the beginning of a close."""
        self.events.append(f"shutdown {how}")

    def close(self) -> None:
        """Close."""
        self.events.append("close")


class FakeReactor(Clock, _DisconnectSelectableMixin):
    """Time and readiness by hand."""

    def __init__(self) -> None:
        super().__init__()
        self.readers: set[Any] = set()
        self.writers: set[Any] = set()

    def addReader(self, reader: Any) -> None:
        self.readers.add(reader)

    def removeReader(self, reader: Any) -> None:
        self.readers.discard(reader)

    def addWriter(self, writer: Any) -> None:
        self.writers.add(writer)

    def removeWriter(self, writer: Any) -> None:
        self.writers.discard(writer)

    def run(self) -> None:
        """Turn until nothing is left to do at this moment."""
        busy = True
        while busy:
            busy = False
            for reader in [one for one in self.readers if one.socket.incoming]:
                if reader in self.readers:
                    busy = True
                    self._done(reader, reader.doRead(), reading=True)
            for writer in [one for one in self.writers if one.socket.room != 0]:
                if writer in self.writers:
                    busy = True
                    self._done(writer, writer.doWrite(), reading=False)
            if any(call.getTime() <= self.seconds() for call in self.getDelayedCalls()):
                busy = True
                self.advance(0)

    def _done(self, selectable: Any, why: Any, *, reading: bool) -> None:
        if why:
            self._disconnectSelectable(selectable, why, reading)


class FakeConnection(EagerMixin, Connection):  # type: ignore[misc]
    """The real transport over a :class:`FakeSocket`."""

    def __init__(self, reactor: FakeReactor, protocol: Any, host: str = "192.0.2.1") -> None:
        self.wire = FakeSocket()
        super().__init__(self.wire, protocol, reactor)
        self._host = host
        self.ended: str | None = None

    def open(self) -> None:
        """Connected."""
        self.connected = 1
        self.startReading()
        self.protocol.makeConnection(self)

    def getPeer(self) -> IPv4Address:
        return IPv4Address("TCP", self._host, 50000)

    def connectionLost(self, reason: Failure) -> None:
        self.ended = "aborted" if reason.check(error.ConnectionAborted) else "closed"
        super().connectionLost(reason)


class FakeConnector:
    """Stands for a connector of Twisted's: the test decides how the attempt ends."""

    made: list[FakeConnector]
    high_water = 65536

    def __init__(self, where: str, port: int, factory: Any, reactor: FakeReactor) -> None:
        self.where = where
        self.port = port
        self.factory = factory
        self.reactor = reactor
        self.state = "disconnected"

    def connect(self) -> None:
        """The attempt begins."""
        self.state = "connecting"
        self.reactor.attempts.append(self)  # type: ignore[attr-defined]

    def stopConnecting(self) -> None:
        """The attempt is given up."""
        assert self.state == "connecting"
        self.fail(error.UserError())

    def succeed(self) -> FakeConnection | None:
        """TCP is connected; None when the factory does not want it any more."""
        self.state = "connected"
        protocol = self.factory.buildProtocol(None)
        if protocol is None:
            return None
        connection = FakeConnection(self.reactor, protocol)
        connection.high_water = self.high_water
        connection.open()
        return connection

    def fail(self, reason: Exception) -> None:
        """TCP could not be connected."""
        self.state = "disconnected"
        self.factory.clientConnectionFailed(self, Failure(reason))


class RecordingLog:
    """An access log that keeps what it was told.

    Attributes:
        requests: per exchange its status and what more was said about it.
        records: every other record: level, event, fields.
    """

    def __init__(self) -> None:
        self.requests: list[dict[str, object]] = []
        self.records: list[tuple[str, str, dict[str, object]]] = []

    def request(
        self,
        client_ip: str,
        host: str,
        method: str,
        path: str,
        status: int,
        upstream: str,
        duration_ms: int,
        more: Sequence[tuple[str, object]] = (),
        also: str | None = None,
    ) -> None:
        """Keep a REQUEST record."""
        self.requests.append(
            {
                "client_ip": client_ip,
                "host": host,
                "method": method,
                "path": path,
                "status": status,
                "upstream": upstream,
                "duration_ms": duration_ms,
                "also": also,
                **dict(more),
            }
        )

    def record(self, level: str, event: str, fields: Sequence[tuple[str, object]]) -> None:
        """Keep any other record."""
        self.records.append((level, event, dict(fields)))

    def enabled(self, level: str) -> bool:
        """Everything is kept."""
        return True

    @property
    def statuses(self) -> list[object]:
        """The status of every exchange, in the order of their ends."""
        return [request["status"] for request in self.requests]

    @property
    def upstream_errors(self) -> list[object]:
        """Why upstreams failed."""
        return [f["error"] for _, event, f in self.records if event == "UPSTREAM_ERROR"]


class CountingDeadlines(Deadlines):
    """Deadlines whose watched objects a test can see."""

    def __init__(self, reactor: FakeReactor) -> None:
        super().__init__(reactor)
        self.watching: set[Any] = set()

    def watch(self, watched: Any) -> None:
        self.watching.add(watched)
        super().watch(watched)

    def forget(self, watched: Any) -> None:
        self.watching.discard(watched)
        super().forget(watched)


class FakeResolver:
    """A name resolver: the test answers; as a reactor's ``nameResolver``."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, Any]] = []

    def resolveHostName(self, receiver: Any, hostName: str) -> None:
        """Take a question."""
        self.asked.append((hostName, receiver))

    def answer(self, *addresses: str) -> None:
        """Answer the oldest question."""
        _, receiver = self.asked.pop(0)
        receiver.resolutionBegan(None)
        for address in addresses:
            receiver.addressResolved(IPv4Address("TCP", address, 0))
        receiver.resolutionComplete()


@define(eq=False)
class Stage:
    """What a conversation is played on: a plan with one site, ``a.test``, and its pool.

    Attributes:
        settings: of the pool.
        limits: of the plan.
        timeouts: of the plan.
        body_limit: of the plan.
        burst: requests that the rate limit lets pass at once.
        secure: whether the connections are to the TLS port (spoken in plain here).
    """

    settings: PoolSettings = UPSTREAM
    limits: Limits = LIMITS
    timeouts: Timeouts = TIMEOUTS
    body_limit: int = 1_000_000
    burst: int = 1000
    limit_fields: Any = None
    trusted: tuple[Any, ...] = ()
    secure: bool = True
    reactor: FakeReactor = field(init=False, factory=FakeReactor)
    deadlines: CountingDeadlines = field(init=False)
    resolver: FakeResolver = field(init=False, factory=FakeResolver)
    log: RecordingLog = field(init=False, factory=RecordingLog)
    attempts: list[FakeConnector] = field(init=False, factory=list)
    port: ListenerPort = field(init=False)
    pool: Pool = field(init=False)
    context: Any = None
    peers: list[Peer] = field(init=False, factory=list)
    begun: int = field(init=False, default=0)

    def __attrs_post_init__(self) -> None:
        reactor: Any = self.reactor
        reactor.attempts = self.attempts
        reactor.nameResolver = self.resolver
        self.deadlines = CountingDeadlines(reactor)
        self.deadlines.start()
        self.pool = Pool(self.settings, reactor, self.deadlines, lambda: self.context)
        router = ResourceRouter(self.plan())
        counts = ConnectionCounts()
        self.port = ListenerPort(router, self.deadlines, counts, self.secure, "192.0.2.9", 443)

    def plan(self, **changes: Any) -> Plan:
        """The plan; ``changes`` to it."""
        route = Route(pool=self.pool, upstream=str(self.settings.address))
        plan = Plan(
            routes=HostRoutes([("a.test", route)]),
            limiter=TokenBuckets(1000, self.burst, 8),
            limit_fields=self.limit_fields,
            body_limit=self.body_limit,
            trusted=self.trusted,
            timeouts=self.timeouts,
            limits=self.limits,
            log=self.log,
            clock=self.reactor.seconds,
            date=lambda: DATE,
            records_requests=True,
        )
        return evolve(plan, **changes)

    def downstream(self, identity: Any = None) -> Peer:
        """A new downstream connection."""
        front = H1Front(self.port, "192.0.2.1", identity)
        peer = Peer(self.reactor, FakeConnection(self.reactor, front))
        self.peers.append(peer)
        return peer

    def upstream(self) -> Peer:
        """Let the oldest attempt to connect succeed."""
        connection = self.attempts.pop(0).succeed()
        assert connection is not None, "the connection is not wanted any more"
        peer = Peer(self.reactor, connection, opened=True)
        self.peers.append(peer)
        self.reactor.run()
        return peer

    def wait(self, seconds: float) -> None:
        """Let time pass, in steps of a quarter of a second."""
        for _ in range(int(seconds * 4)):
            self.reactor.advance(0.25)
            self.reactor.run()


class Peer:
    """One connection as its far end sees it: a downstream's or an upstream's."""

    def __init__(
        self, reactor: FakeReactor, connection: FakeConnection, *, opened: bool = False
    ) -> None:
        self.reactor = reactor
        self.connection = connection
        self.wire = connection.wire
        self.protocol = connection.protocol
        self.has_closed = False
        if not opened:
            connection.open()

    def says(self, *pieces: bytes) -> None:
        """Send ``pieces``, each of which is read by itself (as far as the proxy reads)."""
        self.wire.incoming.extend(pieces)
        self.reactor.run()

    def closes(self) -> None:
        """Send a FIN."""
        if not self.has_closed:
            self.has_closed = True
            self.says(FIN)

    def resets(self) -> None:
        """Vanish: reading fails."""
        self.wire.incoming.clear()
        self.wire.incoming.append(ConnectionResetError(104, "reset"))
        self.wire.send_error = BrokenPipeError(32, "broken pipe")
        if not self.ended:
            self.connection.startReading()  # epoll reports an error whatever is asked for
        self.reactor.run()

    def stalls(self, room: int = 0) -> None:
        """Take ``room`` more bytes, then nothing."""
        self.wire.room = room

    def takes(self, room: int | None = None) -> None:
        """Take ``room`` more bytes; None = everything from now on."""
        self.wire.room = room
        self.reactor.run()

    def heard(self) -> bytes:
        """What has come since the last look."""
        self.reactor.run()
        heard = bytes(self.wire.sent)
        self.wire.sent.clear()
        return heard

    @property
    def is_downstream(self) -> bool:
        """Whether this is a downstream."""
        return isinstance(self.protocol, H1Front)

    @property
    def reading(self) -> bool:
        """Whether the proxy reads what this peer sends."""
        return self.connection in self.reactor.readers

    @property
    def ended(self) -> str | None:
        """``closed`` or ``aborted`` by the proxy, or None while the connection lasts."""
        return self.connection.ended

    @property
    def half_closed(self) -> bool:
        """Whether the proxy has sent its FIN and still reads."""
        return self.wire.events == ["shutdown 1"]


class PlaybookCase(SynchronousTestCase):
    """A conversation a test; whatever happened in it, nothing of it may be left at the end.

    When all downstreams have gone and the idle time of upstream connections is over, no time
    limit is watched, no connection or attempt is left, and every exchange has been recorded
    exactly once.
    """

    def setUp(self) -> None:
        self._stages: list[Stage] = []

    def tearDown(self) -> None:
        while self._stages:
            self.check_end(self._stages[0])

    def stage(self, **arguments: Any) -> Stage:
        """A new stage; ``arguments`` as for :class:`Stage`."""
        self.patch(pool_module, "EagerConnector", _connector)
        self.patch(pool_module, "EagerUnixConnector", _unix_connector)
        stage = Stage(**arguments)

        def begin(*arguments: Any) -> Exchange:
            stage.begun += 1
            return Exchange(*arguments)

        self.patch(h1_requests, "Exchange", begin)
        self._stages.append(stage)
        return stage

    def check_end(self, stage: Stage) -> None:
        """Let everybody go and see that nothing is left; every stage's end by itself."""
        self._stages.remove(stage)
        for peer in stage.peers:
            if peer.is_downstream and not peer.ended:
                peer.resets()
        stage.wait(stage.settings.idle_secs + 3)
        self.assertEqual(stage.deadlines.watching, set())
        self.assertEqual([peer for peer in stage.peers if not peer.ended], [])
        self.assertEqual([one for one in stage.attempts if one.state == "connecting"], [])
        self.assertEqual(stage.reactor.writers, set())
        of_exchanges = [request for request in stage.log.requests if request["host"]]
        self.assertEqual(len(of_exchanges), stage.begun)


def _connector(
    host: str, port: int, factory: Any, timeout: None, bind: None, reactor: FakeReactor
) -> FakeConnector:
    return FakeConnector(host, port, factory, reactor)


def _unix_connector(
    path: str, factory: Any, timeout: None, reactor: FakeReactor, check: int
) -> FakeConnector:
    return FakeConnector(path, 0, factory, reactor)
