"""What a pool counts: its connections, and its failures to make them."""

from __future__ import annotations

from attrs import evolve
from twisted.internet import error

from revproxy.model.address import UpstreamAddress
from tests.support.playbook import GET, OK, UPSTREAM, Peer, PlaybookCase, Stage
from tests.support.tls_peers import client_context

NAMED = evolve(UPSTREAM, address=UpstreamAddress.parse("up.test:80"))


class FigureTests(PlaybookCase):
    def check(self, stage: Stage, *figures: int) -> None:
        """The pool's figures are: open, made, failures."""
        pool = stage.pool
        self.assertEqual((pool.open, pool.made, pool.failures), figures)

    def test_connections(self) -> None:
        """A connection counts from when it can be used until it is gone, and for ever as made."""
        stage = self.stage()
        down = stage.downstream()
        down.says(GET)
        self.check(stage, 0, 0, 0)
        up = stage.upstream()
        self.check(stage, 1, 1, 0)
        up.says(OK)
        self.check(stage, 1, 1, 0)
        down.says(GET)
        up.says(OK)
        self.check(stage, 1, 1, 0)
        up.closes()
        self.check(stage, 0, 1, 0)
        down.says(GET)
        stage.upstream().says(OK)
        self.check(stage, 1, 2, 0)

    def test_every_end(self) -> None:
        """However a connection ends, it is counted out."""
        for end in (Peer.closes, Peer.resets):
            for said in (b"", OK[:-1], OK):
                stage = self.stage()
                stage.downstream().says(GET)
                up = stage.upstream()
                up.says(said)
                end(up)
                self.check(stage, 0, 1, 0)

    def test_tls(self) -> None:
        """A TLS connection counts once it is verified; a failed handshake is one failure."""
        for end in (Peer.closes, Peer.resets, lambda up: up.says(OK)):
            stage = self.stage(settings=evolve(UPSTREAM, tls=True), context=client_context())
            stage.downstream().says(GET)
            up = stage.upstream()
            self.check(stage, 0, 0, 0)
            end(up)
            stage.wait(1)
            self.check(stage, 0, 0, 1)

    def test_failure(self) -> None:
        """An attempt over all addresses fails once; when is known until the next success."""
        stage = self.stage(settings=NAMED)
        self.assertIsNone(stage.pool.failed_at)
        stage.downstream().says(GET)
        stage.resolver.answer("192.0.2.1", "192.0.2.2")
        stage.wait(1)
        stage.attempts.pop(0).fail(error.ConnectionRefusedError())
        self.check(stage, 0, 0, 0)
        self.assertIsNone(stage.pool.failed_at)
        stage.attempts.pop(0).fail(error.ConnectionRefusedError())
        self.check(stage, 0, 0, 1)
        self.assertEqual(stage.pool.failed_at, 1.0)
        stage.resolver.answer("192.0.2.1")
        stage.downstream().says(GET)
        self.assertEqual(stage.pool.failed_at, 1.0)
        stage.upstream().says(OK)
        self.check(stage, 1, 1, 1)
        self.assertIsNone(stage.pool.failed_at)

    def test_every_failure(self) -> None:
        """A name without addresses, silence and a refusal count alike."""
        stage = self.stage(settings=evolve(NAMED, connect_secs=1))
        stage.downstream().says(GET)
        stage.resolver.answer()
        self.check(stage, 0, 0, 1)
        stage.downstream().says(GET)
        stage.wait(3)
        self.check(stage, 0, 0, 2)
        stage.resolver.answer("192.0.2.1")
        stage.downstream().says(GET)
        stage.wait(3)
        self.check(stage, 0, 0, 3)

    def test_given_up(self) -> None:
        """An attempt that nobody waits for any more has not failed."""
        for settings in (UPSTREAM, evolve(UPSTREAM, tls=True)):
            stage = self.stage(settings=settings, context=client_context())
            down = stage.downstream()
            down.says(GET)
            if settings.tls:
                stage.upstream()
            down.resets()
            stage.wait(1)
            self.check(stage, 0, 0, 0)
            self.assertIsNone(stage.pool.failed_at)
