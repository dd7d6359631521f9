"""Conversations through the proxy without a network and without real time.

Owns the stage, with everything real from the transports to the exchange, and the two sides. A
test feeds bytes on one side and looks at the other; what leaves in several sends is seen as one.
Refuses to know what is asserted.
"""

from __future__ import annotations

from typing import Any

from attrs import define, evolve, field
from twisted.trial.unittest import SynchronousTestCase

from revproxy.model.address import UpstreamAddress
from revproxy.model.configuration import Limits, Timeouts
from revproxy.net import attempt as attempt_module
from revproxy.net import h1_requests, h2_stream
from revproxy.net.exchange import Exchange
from revproxy.net.gate import Gate
from revproxy.net.h1_front import H1Front
from revproxy.net.h2_front import H2Front
from revproxy.net.plan import ListenerPort, Plan, ResourceRouter, Route
from revproxy.net.pool import Pool, PoolSettings
from revproxy.net.proxy_intake import ProxyIntake
from revproxy.net.relay import Relay
from revproxy.net.tls_downstream import ServerTls
from revproxy.policy.connection_limit import ConnectionLimit
from revproxy.policy.rate_limit import TokenBuckets
from revproxy.policy.routing import HostRoutes
from tests.support.doubles import CountingDeadlines, FakeResolver, RecordingLog
from tests.support.fake_sockets import FIN, FakeConnection, FakeConnector, FakeReactor

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
        upgrades: of the site.
    """

    settings: PoolSettings = UPSTREAM
    limits: Limits = LIMITS
    timeouts: Timeouts = TIMEOUTS
    body_limit: int = 1_000_000
    burst: int = 1000
    limit_fields: Any = None
    trusted: tuple[Any, ...] = ()
    secure: bool = True
    upgrades: frozenset[bytes] = frozenset((b"websocket",))
    reactor: FakeReactor = field(init=False, factory=FakeReactor)
    deadlines: CountingDeadlines = field(init=False)
    resolver: FakeResolver = field(init=False, factory=FakeResolver)
    log: RecordingLog = field(init=False, factory=RecordingLog)
    attempts: list[FakeConnector] = field(init=False, factory=list)
    port: ListenerPort = field(init=False)
    pool: Pool = field(init=False)
    context: Any = None
    responses: list[int] = field(init=False, factory=lambda: [0] * 10)
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
        limit: ConnectionLimit[object] = ConnectionLimit()
        gate = Gate(limit, reactor)
        self.port = ListenerPort(
            router, self.deadlines, limit, gate, self.secure, "192.0.2.9", 443
        )

    def plan(self, **changes: Any) -> Plan:
        """The plan; ``changes`` to it."""
        route = Route(pool=self.pool, upstream=str(self.settings.address), upgrades=self.upgrades)
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
            responses=self.responses,
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
        return isinstance(self.protocol, H1Front | H2Front | ProxyIntake | Relay | ServerTls)

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
    exactly once, as every answer has been counted.
    """

    def setUp(self) -> None:
        self._stages: list[Stage] = []

    def tearDown(self) -> None:
        while self._stages:
            self.check_end(self._stages[0])

    def stage(self, **arguments: Any) -> Stage:
        """A new stage; ``arguments`` as for :class:`Stage`."""
        self.patch(attempt_module, "EagerConnector", _connector)
        self.patch(attempt_module, "EagerUnixConnector", _unix_connector)
        stage = Stage(**arguments)

        def begin(*arguments: Any) -> Exchange:
            stage.begun += 1
            return Exchange(*arguments)

        self.patch(h1_requests, "Exchange", begin)
        self.patch(h2_stream, "Exchange", begin)
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
        classes = [int(str(status)) // 100 for status in stage.log.statuses]
        counted = stage.port.router.plan.responses
        self.assertEqual(counted, [classes.count(digit) for digit in range(10)])


def _connector(
    host: str, port: int, factory: Any, timeout: None, bind: None, reactor: FakeReactor
) -> FakeConnector:
    return FakeConnector(host, port, factory, reactor)


def _unix_connector(
    path: str, factory: Any, timeout: None, reactor: FakeReactor, check: int
) -> FakeConnector:
    return FakeConnector(path, 0, factory, reactor)
