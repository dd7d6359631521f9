"""Connections to an upstream: attempts over its addresses, and what is kept of them."""

from __future__ import annotations

import errno

from attrs import evolve
from twisted.internet import error

from revproxy.errors import ProxyError
from revproxy.model.address import UpstreamAddress
from revproxy.net.upstream_h1 import UpstreamH1
from tests.support.playbook import GET, OK, UPSTREAM, Peer, PlaybookCase, Stage, own
from tests.support.tls_peers import client_context

NAMED = evolve(UPSTREAM, address=UpstreamAddress.parse("up.test:80"))


class RecordingExchange:
    """Waits for a connection, and keeps what it was told."""

    def __init__(self) -> None:
        self.connection: UpstreamH1 | None = None
        self.errors: list[tuple[int, str]] = []

    def attached(self, connection: UpstreamH1) -> None:
        assert self.connection is None
        self.connection = connection

    def close(self) -> None:
        """Be done with the connection."""
        assert self.connection is not None
        self.connection.close()

    def failed(self, error: ProxyError) -> None:
        self.errors.append((error.status, error.reason))


class AttemptTests(PlaybookCase):
    def acquired(self, stage: Stage, *addresses: str) -> RecordingExchange:
        """An exchange that waits for a connection to the first of ``addresses``."""
        exchange = RecordingExchange()
        stage.pool.acquire(exchange)
        if addresses:
            stage.resolver.answer(*addresses)
        return exchange

    def test_address(self) -> None:
        """A connection is made to the address, with the pool's limit on what is queued."""
        stage = self.stage()
        exchange = self.acquired(stage)
        (connector,) = stage.attempts
        self.assertEqual((connector.where, connector.port), ("10.0.0.1", 80))
        self.assertEqual(connector.high_water, UPSTREAM.buffered_bytes)
        stage.upstream()
        assert exchange.connection is not None
        self.assertFalse(exchange.connection.reused)
        self.assertEqual(stage.deadlines.watching, {exchange.connection})
        exchange.close()

    def test_unix_socket(self) -> None:
        """An upstream on a UNIX socket needs no name."""
        stage = self.stage(settings=evolve(UPSTREAM, address=UpstreamAddress.parse("unix:/run/s")))
        exchange = self.acquired(stage)
        self.assertEqual(stage.attempts[0].where, "/run/s")
        stage.upstream()
        exchange.close()

    def test_addresses_in_turn(self) -> None:
        """A refused address leads to the next one at once; the last one's failure counts."""
        stage = self.stage(settings=NAMED)
        exchange = self.acquired(stage, "192.0.2.1", "192.0.2.2")
        stage.attempts[0].fail(error.ConnectionRefusedError())
        self.assertEqual([one.where for one in stage.attempts], ["192.0.2.1", "192.0.2.2"])
        self.assertEqual(exchange.errors, [])
        stage.attempts[1].fail(error.NoRouteError())
        self.assertEqual(exchange.errors, [(502, "no route to host")])

    def test_time_is_shared(self) -> None:
        """A dead address does not use up the time of those after it."""
        stage = self.stage(settings=evolve(NAMED, connect_secs=6))
        exchange = self.acquired(stage, "192.0.2.1", "192.0.2.2", "192.0.2.3")
        stage.wait(3)
        self.assertEqual([one.where for one in stage.attempts], ["192.0.2.1", "192.0.2.2"])
        self.assertEqual(stage.attempts[0].state, "disconnected")
        stage.wait(4)
        self.assertEqual((len(stage.attempts), exchange.errors), (3, [(504, "connect timeout")]))
        self.assertEqual(stage.deadlines.watching, set())

    def test_reasons(self) -> None:
        """What failed is named in plain words."""
        for failure, reason in (
            (error.ConnectionRefusedError(), "connection refused"),
            (error.TCPTimedOutError(), "connection timed out"),
            (error.ConnectError(errno.ENOENT), "connect failed: no such file or directory"),
            (error.ConnectError(), "connect failed"),
        ):
            stage = self.stage()
            exchange = self.acquired(stage)
            stage.attempts[0].fail(failure)
            self.assertEqual(exchange.errors, [(502, reason)])

    def test_no_address(self) -> None:
        """A name without addresses is 502, and asked for again by whoever needs it next."""
        stage = self.stage(settings=NAMED)
        exchange = self.acquired(stage)
        stage.resolver.answer()
        self.assertEqual(exchange.errors, [(502, "name resolution failed")])
        self.assertEqual(stage.resolver.asked, [])
        self.acquired(stage)
        self.assertEqual(len(stage.resolver.asked), 1)

    def test_silent_resolver(self) -> None:
        """A resolver that does not answer in time is 502; its late answer harms nobody."""
        stage = self.stage(settings=NAMED)
        exchange = self.acquired(stage)
        stage.wait(7)
        self.assertEqual(exchange.errors, [(502, "name resolution timed out")])
        stage.resolver.answer("192.0.2.1")
        self.assertEqual(stage.attempts, [])

    def test_failure_casts_doubt(self) -> None:
        """After a failed attempt the name is resolved again for the next one."""
        stage = self.stage(settings=NAMED)
        self.acquired(stage, "192.0.2.1")
        stage.attempts.pop().fail(error.ConnectionRefusedError())
        stage.resolver.answer("192.0.2.2")
        self.acquired(stage)
        self.assertEqual(stage.attempts[0].where, "192.0.2.2")

    def test_cancelled_while_resolving(self) -> None:
        """An attempt that is cancelled while its name is resolved never connects."""
        stage = self.stage(settings=NAMED)
        exchange = RecordingExchange()
        attempt = stage.pool.acquire(exchange)
        assert attempt is not None
        attempt.cancel()
        stage.resolver.answer("192.0.2.1")
        self.assertEqual((stage.attempts, exchange.errors), ([], []))

    def test_cancelled_while_connecting(self) -> None:
        """An attempt that is cancelled tries no further address, and its connection is closed."""
        stage = self.stage(settings=NAMED)
        exchange = RecordingExchange()
        attempt = stage.pool.acquire(exchange)
        assert attempt is not None
        stage.resolver.answer("192.0.2.1", "192.0.2.2")
        attempt.cancel()
        self.assertEqual([one.state for one in stage.attempts], ["disconnected"])
        self.assertIsNone(stage.attempts[0].succeed())
        self.assertEqual((exchange.connection, exchange.errors), (None, []))


class TlsAttemptTests(PlaybookCase):
    SETTINGS = evolve(UPSTREAM, tls=True, connect_secs=3)

    def handshaking(self) -> tuple[Stage, Peer, Peer]:
        """A request whose upstream connection is in the TLS handshake."""
        stage = self.stage(settings=self.SETTINGS, context=client_context())
        down = stage.downstream()
        down.says(GET)
        up = stage.upstream()
        self.assertEqual(up.heard()[:1], b"\x16")
        return stage, down, up

    def test_lost_in_handshake(self) -> None:
        """A connection that ends in its TLS handshake is 502 once, however it ends."""
        for leave in (Peer.closes, Peer.resets):
            stage, down, up = self.handshaking()
            leave(up)
            self.assertEqual(down.heard(), own(b"502 Bad Gateway"))
            self.assertEqual((len(stage.log.upstream_errors), stage.pool.idle), (1, 0))

    def test_plain_upstream(self) -> None:
        """An upstream that speaks no TLS is 502, and nothing that it says counts."""
        _, down, up = self.handshaking()
        up.says(OK)
        self.assertEqual(down.heard(), own(b"502 Bad Gateway"))
        self.assertEqual(up.ended, "aborted")

    def test_silent_upstream(self) -> None:
        """A TLS handshake that does not end in time is 504."""
        stage, down, up = self.handshaking()
        stage.wait(4.5)
        self.assertEqual(down.heard(), own(b"504 Gateway Timeout"))
        self.assertEqual(up.ended, "aborted")
        self.assertEqual(stage.log.upstream_errors, ["connect timeout"])

    def test_downstream_lost(self) -> None:
        """A downstream that leaves takes the handshake with it."""
        stage, down, up = self.handshaking()
        down.resets()
        self.assertEqual(up.ended, "aborted")
        self.assertEqual(stage.log.statuses, [499])


class KeepingTests(PlaybookCase):
    def served(self, stage: Stage, count: int) -> list[Peer]:
        """``count`` connections that have each served a request, at the same time."""
        downs = [stage.downstream() for _ in range(count)]
        for down in downs:
            down.says(GET)
        ups = [stage.upstream() for _ in range(count)]
        for up in ups:
            up.says(OK)
        return ups

    def test_bound(self) -> None:
        """At most ``keepalive`` idle connections are kept; the others are closed."""
        for keepalive in (0, 1, 3):
            stage = self.stage(settings=evolve(UPSTREAM, keepalive=keepalive))
            ups = self.served(stage, 5)
            self.assertEqual(stage.pool.idle, keepalive)
            self.assertEqual([up.ended for up in ups].count("closed"), 5 - keepalive)

    def test_last_used_first(self) -> None:
        """The connection that was used last is the first to be used again."""
        stage = self.stage()
        *_, last = self.served(stage, 3)
        last.heard()
        stage.downstream().says(GET)
        self.assertIn(b"GET /", last.heard())

    def test_fresh(self) -> None:
        """Where only a new connection will do, idle ones stay idle."""
        stage = self.stage()
        self.served(stage, 1)
        stage.pool.acquire(RecordingExchange(), fresh=True)
        self.assertEqual((len(stage.attempts), stage.pool.idle), (1, 1))
        stage.attempts[0].fail(error.ConnectionRefusedError())

    def test_close(self) -> None:
        """A closed pool keeps nothing; what is under way is finished first."""
        stage = self.stage()
        (idle,) = self.served(stage, 1)
        down = stage.downstream()
        down.says(GET)
        other = stage.downstream()
        other.says(GET)
        busy = stage.upstream()
        idle.says(OK)
        stage.pool.close()
        stage.reactor.run()
        self.assertEqual((idle.ended, busy.ended), ("closed", None))
        busy.says(OK)
        self.assertEqual(other.heard(), OK)
        self.assertEqual((busy.ended, stage.pool.idle), ("closed", 0))

    def test_discard_unknown(self) -> None:
        """To discard a connection that is not idle is harmless."""
        stage = self.stage()
        exchange = RecordingExchange()
        stage.pool.acquire(exchange)
        stage.upstream()
        assert exchange.connection is not None
        stage.pool.discard(exchange.connection)
        self.assertEqual(stage.pool.idle, 0)
        exchange.close()
