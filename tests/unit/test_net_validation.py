"""An authority that comes to see whether a name leads here, by HTTP-01 or by TLS-ALPN-01."""

from __future__ import annotations

import ssl

from attrs import evolve

from revproxy.net.ports import TlsPort
from tests.support.playbook import DATE_LINE, PlaybookCase, Stage
from tests.support.tls_peers import TLS_1_2, TLS_1_3
from tests.support.tls_wire import ServerCase

PATH = b"/.well-known/acme-challenge/"
ANSWER = (
    b"HTTP/1.1 200 OK\r\n" + DATE_LINE + b"Content-Type: application/octet-stream\r\n"
    b"Content-Length: 10\r\n\r\nmine.thumb"
)


def challenge(path: bytes) -> bytes | None:
    """What is pending."""
    return b"mine.thumb" if path == PATH + b"mine" else None


class HttpValidationTests(PlaybookCase):
    def staged(self, *, secure: bool = False, burst: int = 1000) -> Stage:
        """A plain port with a challenge that is pending."""
        stage = self.stage(secure=secure, burst=burst)
        stage.port.router.plan = stage.plan(challenge=challenge)
        return stage

    def ask(self, stage: Stage, path: bytes, method: bytes = b"GET", host: bytes = b"x") -> bytes:
        """What a connection of its own hears."""
        down = stage.downstream()
        down.says(b"%b %b HTTP/1.1\r\nHost: %b\r\n\r\n" % (method, path, host))
        return down.heard()

    def test_own_token(self) -> None:
        """It is answered for any host, with the bytes and nothing else, and logged."""
        stage = self.staged()
        for host in (b"a.test", b"unknown.test", b"192.0.2.1"):
            self.assertEqual(self.ask(stage, PATH + b"mine", host=host), ANSWER)
        self.assertEqual(stage.log.statuses, [200] * 3)
        self.assertEqual(stage.attempts, [])

    def test_query(self) -> None:
        """A query does not hide the token."""
        self.assertEqual(self.ask(self.staged(), PATH + b"mine?x=1"), ANSWER)

    def test_head(self) -> None:
        """HEAD gets the head alone."""
        heard = self.ask(self.staged(), PATH + b"mine", b"HEAD")
        self.assertEqual(heard, ANSWER.removesuffix(b"mine.thumb"))

    def test_before_the_rate_limit(self) -> None:
        """An authority asks from many places at once, and takes nobody's tokens."""
        stage = self.staged(burst=1)
        for _ in range(3):
            self.assertEqual(self.ask(stage, PATH + b"mine"), ANSWER)
        self.assertIn(b" 301 ", self.ask(stage, b"/", host=b"a.test"))

    def test_other_tokens(self) -> None:
        """What is not pending goes the way of every request."""
        stage = self.staged()
        self.assertIn(b" 301 ", self.ask(stage, PATH + b"theirs", host=b"a.test"))
        self.assertIn(b" 404 ", self.ask(stage, PATH + b"theirs", host=b"x.test"))

    def test_other_methods(self) -> None:
        """No validation is a POST."""
        self.assertNotIn(b"mine", self.ask(self.staged(), PATH + b"mine", b"POST"))

    def test_tls_port(self) -> None:
        """It is for the plain port; over TLS the path is the site's."""
        stage = self.staged(secure=True)
        down = stage.downstream()
        down.says(b"GET %bmine HTTP/1.1\r\nHost: a.test\r\n\r\n" % PATH)
        self.assertIn(PATH, stage.upstream().heard())


class TlsValidationTests(ServerCase):
    def setUp(self) -> None:
        super().setUp()
        self.choose.identity = evolve(self.choose.identity, validates=True)

    def begin_validation(self, version: ssl.TLSVersion) -> Stage:
        """An authority has connected to a TLS port."""
        stage = Stage()
        port = TlsPort(stage.port, self.choose)
        tls = self.begin(version)
        tls._accept = port._accept
        return stage

    def test_closed_after_the_handshake(self) -> None:
        """The handshake is all there is: it ends in order, is told, and no front is made."""
        for version in (TLS_1_2, TLS_1_3):
            self.setUp()
            stage = self.begin_validation(version)
            self.shake()
            self.assertEqual(self.connection.ended, "closed")
            self.assertEqual(self.upper.events, [])
            self.assertEqual(self.deadlines.watching, set())
            self.to_far()
            self.assertEqual(self.far.tls.read(), b"")  # the close_notify
            validation = {
                "client_ip": "192.0.2.1",
                "server_name": "a.test",
                "challenge": "tls-alpn-01",
            }
            self.assertEqual(stage.log.records, [("info", "ACME_VALIDATION", validation)])
            self.assertEqual(stage.log.requests, [])

    def test_request_with_the_last_flight(self) -> None:
        """A request that comes with the end of the handshake reaches nobody."""
        stage = self.begin_validation(TLS_1_3)
        self.far.handshake()
        self.to_layer(self.far.outgoing.read())
        self.to_far()
        self.assertTrue(self.far.handshake())
        self.far.tls.write(b"GET / HTTP/1.1\r\nHost: a.test\r\n\r\n")
        self.to_layer(self.far.outgoing.read())
        self.assertEqual(self.connection.ended, "closed")
        self.assertEqual(stage.attempts, [])
        self.assertEqual(self.refusals, [])

    def test_peer_that_stays(self) -> None:
        """One that takes nothing and does not leave is cut when the handshake should be over."""
        self.begin_validation(TLS_1_3)
        self.far.handshake()
        self.to_layer(self.far.outgoing.read())
        self.to_far()
        self.far.handshake()
        self.connection.wire.room = 0
        self.to_layer(self.far.outgoing.read())
        self.assertIsNone(self.connection.ended)
        self.reactor.pump([1.0] * 12)
        self.assertEqual(self.connection.ended, "aborted")
        self.assertEqual(self.refusals, [])
