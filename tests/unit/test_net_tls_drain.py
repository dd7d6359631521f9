"""A TLS connection that is told of the end of the process, and what it says of itself."""

from __future__ import annotations

import gc
import weakref

from attrs import evolve

from revproxy.model.configuration import Timeouts
from revproxy.net.downstream import FIRST_REQUEST_SECS, Summary
from revproxy.net.ports import TlsPort
from tests.support.accepted import accept
from tests.support.playbook import GET, OK, Peer, PlaybookCase, Stage
from tests.support.tls_peers import client_context
from tests.support.tls_wire import FarEnd, Identities

LAST_OK = OK.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n")


class TlsDownstream:
    """A downstream that speaks TLS to a port of ``stage``."""

    def __init__(self, stage: Stage, port: TlsPort, name: str = "a.test") -> None:
        self.peer: Peer = accept(stage, port)
        self.protocol = self.peer.protocol
        self.far = FarEnd(client_context(), server=False, name=name)
        self.far.handshake()

    def hello(self) -> None:
        """Send the ClientHello."""
        self.peer.says(self.far.outgoing.read())

    def shake(self) -> None:
        """Go through with the handshake."""
        self.hello()
        self.far.incoming.write(self.peer.heard())
        assert self.far.handshake()
        self.peer.says(self.far.outgoing.read())

    def says(self, content: bytes) -> None:
        """Send ``content``, encrypted."""
        self.far.tls.write(content)
        self.peer.says(self.far.outgoing.read())

    def heard(self) -> bytes:
        """The plaintext that has come since the last look."""
        self.far.incoming.write(self.peer.heard())
        return self.far.plaintext()


class TlsCase(PlaybookCase):
    def connected(self, **how: object) -> tuple[Stage, TlsDownstream]:
        """A connection that has not said a word."""
        stage = self.stage(**how)
        self.choose = Identities()
        self.port = TlsPort(stage.port, self.choose)
        return stage, TlsDownstream(stage, self.port)

    def established(self) -> tuple[Stage, TlsDownstream]:
        """A connection whose handshake is done."""
        stage, down = self.connected()
        down.shake()
        return stage, down

    def drain(self, stage: Stage) -> None:
        """The process is about to end."""
        router = stage.port.router
        router.draining = True
        for transport in stage.port.connections.all():
            transport.protocol.drain()
        stage.reactor.run()


class DrainTests(TlsCase):
    def test_silent(self) -> None:
        """A connection that has said nothing is cut after a moment."""
        stage, down = self.connected()
        self.drain(stage)
        stage.wait(FIRST_REQUEST_SECS - 0.25)
        self.assertIsNone(down.peer.ended)
        stage.wait(1.5)
        self.assertEqual(down.peer.ended, "aborted")

    def test_moment_is_no_respite(self) -> None:
        """Who had less time than that gets no more."""
        stage, down = self.connected(timeouts=Timeouts(client_hello_secs=1))
        self.drain(stage)
        stage.wait(2)
        self.assertEqual(down.peer.ended, "aborted")

    def test_handshake_and_request(self) -> None:
        """A handshake may still be completed, and one request be answered."""
        stage, down = self.connected()
        self.drain(stage)
        stage.wait(1)
        down.shake()
        stage.wait(1)
        down.says(GET)
        stage.upstream().says(OK)
        self.assertEqual((down.heard(), down.peer.ended), (LAST_OK, "closed"))

    def test_handshake_and_silence(self) -> None:
        """After a handshake there is a moment for a request, and no longer."""
        stage, down = self.connected()
        self.drain(stage)
        down.shake()
        stage.wait(FIRST_REQUEST_SECS - 0.25)
        self.assertIsNone(down.peer.ended)
        stage.wait(1.5)
        self.assertEqual(down.peer.ended, "closed")

    def test_idle(self) -> None:
        """An idle connection is closed in order, so that the peer can tell it from a cut."""
        stage, down = self.established()
        down.says(GET)
        stage.upstream().says(OK)
        self.assertEqual(down.heard(), OK)
        self.drain(stage)
        self.assertEqual((down.heard(), down.peer.ended), (b"", "closed"))
        self.assertEqual(down.far.tls.read(1), b"")  # its close_notify has come

    def test_under_way(self) -> None:
        """What is under way is completed."""
        stage, down = self.established()
        down.says(GET)
        up = stage.upstream()
        self.drain(stage)
        up.says(OK)
        self.assertEqual((down.heard(), down.peer.ended), (LAST_OK, "closed"))

    def test_refused(self) -> None:
        """One that was refused already goes its way."""
        stage, _ = self.connected()
        down = TlsDownstream(stage, self.port, "x.test")
        down.peer.stalls()
        down.hello()
        self.drain(stage)
        self.assertIsNone(down.peer.ended)
        stage.wait(FIRST_REQUEST_SECS + 1)
        self.assertEqual(down.peer.ended, "aborted")
        self.assertEqual(len([one for one in stage.log.records if one[0] == "warn"]), 1)


class SummaryTests(TlsCase):
    def check(self, down: TlsDownstream, state: str, name: str, **fields: object) -> None:
        """The connection, opened at 1.0, is in ``state`` and has asked for ``name``."""
        expected = evolve(Summary("192.0.2.1", True, name, state, 1.0), **fields)
        self.assertEqual(down.protocol.summary(), expected)
        self.assertEqual(down.protocol.busy, bool(fields))

    def test_states(self) -> None:
        """It is in its handshake first, then as its front is; it opened when it was accepted."""
        stage, _ = self.connected()
        stage.wait(1)
        down = TlsDownstream(stage, self.port)
        stage.wait(1)
        self.check(down, "handshake", "")
        down.hello()
        self.check(down, "handshake", "a.test")
        self.assertFalse(down.protocol.give_way())
        down.far.incoming.write(down.peer.heard())
        down.far.handshake()
        down.peer.says(down.far.outgoing.read())
        self.check(down, "idle", "a.test")
        down.says(GET)
        self.check(down, "response", "a.test", host="a.test", method="GET", path="/")
        stage.upstream().says(OK)
        self.check(down, "idle", "a.test")
        down.says(b"\0\r\n\r\n")
        self.check(down, "closing", "a.test")

    def test_refused(self) -> None:
        """A handshake that was refused is closing."""
        stage, _ = self.connected()
        stage.wait(1)
        down = TlsDownstream(stage, self.port, "x.test")
        down.peer.stalls()
        down.hello()
        self.check(down, "closing", "x.test")


class MemoryTests(TlsCase):
    def test_choice_is_forgotten(self) -> None:
        """A connection keeps the certificate that it was given, and none of all the others."""
        _, down = self.connected()
        choose, self.port.choose = weakref.ref(self.choose), Identities()
        down.shake()
        identity, self.choose = self.choose.identity, self.port.choose  # type: ignore[assignment]
        gc.collect()
        self.assertIsNone(choose())
        self.assertIs(down.protocol.identity, identity)

    def test_refused(self) -> None:
        """One that was refused keeps none."""
        stage, _ = self.connected()
        choose = Identities()
        self.port.choose, left = choose, weakref.ref(choose)
        down = TlsDownstream(stage, self.port, "x.test")
        down.peer.stalls()
        down.hello()
        self.port.choose = self.choose
        del choose
        gc.collect()
        self.assertIsNone(left())
