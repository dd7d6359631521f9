"""What becomes of an exchange when one of its two connections is lost, in every state."""

from __future__ import annotations

from twisted.internet.error import ConnectionRefusedError

from revproxy.wire.chunked import CHUNKS_AT_ONCE
from tests.support.playbook import (
    CHUNKED_POST,
    DATE_LINE,
    GET,
    OK,
    Peer,
    PlaybookCase,
    Stage,
    own,
    post,
)

HEAD = b"HTTP/1.1 200 OK\r\n" + DATE_LINE
BY_LENGTH = HEAD + b"Content-Length: 5\r\n\r\n"
CHUNKED = HEAD + b"Transfer-Encoding: chunked\r\n\r\n"
UNTIL_CLOSE = HEAD + b"\r\n"
PUT = post(4).replace(b"POST", b"PUT")
BAD_GATEWAY = own(b"502 Bad Gateway")


class DownstreamLossTests(PlaybookCase):
    def test_before_a_byte(self) -> None:
        """A downstream that leaves without a word leaves no record."""
        stage = self.stage()
        stage.downstream().resets()
        stage.downstream().closes()
        self.assertEqual(stage.log.requests, [])
        self.assertEqual([peer.ended for peer in stage.peers], ["closed", "closed"])

    def test_within_head(self) -> None:
        """A downstream that leaves within a head is no exchange."""
        stage = self.stage()
        for leave in (Peer.resets, Peer.closes):
            down = stage.downstream()
            down.says(GET[:-5])
            leave(down)
            self.assertEqual(down.ended, "closed")
        self.assertEqual(stage.log.requests, [])

    def test_while_connecting(self) -> None:
        """The attempt to connect is given up when a downstream is lost, body or not."""
        for request in (GET, post(5) + b"ab"):
            stage = self.stage()
            down = stage.downstream()
            down.says(request)
            (attempt,) = stage.attempts
            down.resets()
            self.assertEqual(attempt.state, "disconnected")
            self.assertEqual(stage.log.statuses, [499])
            self.assertEqual(stage.log.requests[0]["cut"], "downstream")

    def test_half_close_while_connecting(self) -> None:
        """A complete request is answered though its downstream sends no more."""
        stage = self.stage()
        down = stage.downstream()
        down.says(GET)
        down.closes()
        stage.upstream().says(OK)
        self.assertTrue(down.heard().endswith(b"Connection: close\r\n\r\nok"))
        self.assertEqual(down.ended, "closed")
        self.assertEqual(stage.log.statuses, [200])

    def test_within_body(self) -> None:
        """A body cut by its downstream closes the upstream connection, so that it is seen."""
        for leave in (Peer.resets, Peer.closes):
            for request in (post(5) + b"ab", CHUNKED_POST + b"2\r\nab\r\n"):
                stage = self.stage()
                down = stage.downstream()
                down.says(request)
                up = stage.upstream()
                leave(down)
                self.assertTrue(up.heard().endswith((b"ab", b"ab\r\n")))
                self.assertEqual(up.ended, "aborted")
                self.assertEqual(stage.log.statuses, [499])

    def test_waiting_for_response(self) -> None:
        """A downstream lost before the response takes the upstream connection with it."""
        stage = self.stage()
        down = stage.downstream()
        down.says(GET)
        up = stage.upstream()
        down.resets()
        self.assertEqual(up.ended, "aborted")
        self.assertEqual(stage.log.statuses, [499])

    def test_within_response(self) -> None:
        """A downstream lost in a response is recorded with the response's status."""
        for begin in (BY_LENGTH, CHUNKED, UNTIL_CLOSE):
            stage = self.stage()
            down = stage.downstream()
            down.says(GET)
            up = stage.upstream()
            up.says(begin)
            down.resets()
            self.assertEqual(up.ended, "aborted")
            self.assertEqual(stage.log.requests[0]["status"], 200)
            self.assertEqual(stage.log.requests[0]["cut"], "downstream")

    def test_half_close_within_response(self) -> None:
        """A downstream that sends no more gets the rest of its response."""
        stage = self.stage()
        down = stage.downstream()
        down.says(GET)
        up = stage.upstream()
        up.says(BY_LENGTH + b"ab")
        down.closes()
        up.says(b"cde")
        self.assertEqual(down.heard(), BY_LENGTH + b"abcde")
        self.assertEqual(down.ended, "closed")
        self.assertEqual(stage.pool.idle, 1)

    def test_half_close_within_body_with_response_begun(self) -> None:
        """A request cut after its response began leaves a response that is visibly cut."""
        stage = self.stage()
        down = stage.downstream()
        down.says(post(5) + b"ab")
        up = stage.upstream()
        up.says(CHUNKED + b"2\r\nok\r\n")
        down.closes()
        self.assertEqual(up.ended, "aborted")
        self.assertNotIn(b"0\r\n\r\n", down.heard())
        self.assertEqual(down.ended, "closed")
        self.assertEqual(stage.log.requests[0]["cut"], "downstream")

    def test_idle(self) -> None:
        """An idle downstream that half-closes or vanishes is closed."""
        stage = self.stage()
        for leave in (Peer.resets, Peer.closes):
            down = stage.downstream()
            down.says(b"GET / HTTP/1.1\r\nHost: x.test\r\n\r\n")
            leave(down)
            self.assertEqual(down.ended, "closed")
        self.assertEqual(stage.log.statuses, [404, 404])

    def test_while_refused_body_is_discarded(self) -> None:
        """A FIN or a reset within a body that is thrown away just ends the connection."""
        for leave in (Peer.resets, Peer.closes):
            stage = self.stage()
            down = stage.downstream()
            down.says(post(5).replace(b"a.test", b"x.test") + b"ab")
            self.assertEqual(down.heard(), own(b"404 Not Found"))
            leave(down)
            self.assertEqual(down.ended, "closed")
            self.assertEqual(stage.log.statuses, [404])


class UpstreamLossTests(PlaybookCase):
    def lost(self, leave: object, request: bytes, *said: bytes) -> tuple[Stage, Peer]:
        """An exchange on a new connection that is lost after ``said``."""
        stage = self.stage()
        down = stage.downstream()
        down.says(request)
        up = stage.upstream()
        up.says(*said)
        leave(up)  # type: ignore[operator]
        self.assertEqual(stage.pool.idle, 0)
        return stage, down

    def test_refused(self) -> None:
        """A connection that is refused is 502, and the downstream connection stays."""
        stage = self.stage()
        down = stage.downstream()
        down.says(GET)
        stage.attempts.pop().fail(ConnectionRefusedError())
        self.assertEqual(down.heard(), BAD_GATEWAY)
        self.assertEqual(stage.log.upstream_errors, ["connection refused"])
        down.says(GET)
        stage.upstream().says(OK)
        self.assertEqual(down.heard(), OK)

    def test_new_connection_before_a_byte(self) -> None:
        """A new connection that dies before a byte of response is 502 and never retried."""
        for leave in (Peer.resets, Peer.closes):
            stage, down = self.lost(leave, GET)
            self.assertEqual(down.heard(), BAD_GATEWAY)
            self.assertEqual(stage.attempts, [])
            self.assertEqual(stage.log.upstream_errors, ["connection reset"])

    def test_after_interim(self) -> None:
        """A connection that dies after a 1xx is 502."""
        hints = b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n"
        for leave in (Peer.resets, Peer.closes):
            _, down = self.lost(leave, GET, hints)
            self.assertEqual(down.heard(), hints + BAD_GATEWAY)

    def test_within_head(self) -> None:
        """A connection that dies within a response head is 502."""
        for leave in (Peer.resets, Peer.closes):
            stage, down = self.lost(leave, GET, OK[:20])
            self.assertEqual(down.heard(), BAD_GATEWAY)
            self.assertEqual(stage.log.upstream_errors, ["connection lost in the response"])

    def test_within_body_by_length(self) -> None:
        """A body short of its length is cut short to the downstream too."""
        for leave in (Peer.resets, Peer.closes):
            stage, down = self.lost(leave, GET, BY_LENGTH + b"ab")
            self.assertEqual(down.heard(), BY_LENGTH + b"ab")
            self.assertEqual(down.ended, "closed")
            self.assertEqual(stage.log.requests[0]["cut"], "upstream")
            self.assertEqual(stage.log.requests[0]["status"], 200)

    def test_within_chunked_body(self) -> None:
        """A chunked body without its end gets none on the downstream's side."""
        for leave in (Peer.resets, Peer.closes):
            stage, down = self.lost(leave, GET, CHUNKED + b"2\r\nab\r\n")
            self.assertEqual(down.heard(), CHUNKED + b"2\r\nab\r\n")
            self.assertEqual(down.ended, "closed")
            self.assertEqual(stage.log.requests[0]["cut"], "upstream")

    def test_many_chunks_and_the_end_at_once(self) -> None:
        """A close that is seen before all of the chunks have had their turn cuts nothing."""
        many = 3 * CHUNKS_AT_ONCE
        stage = self.stage()
        down = stage.downstream()
        down.says(GET)
        up = stage.upstream()
        # As over TLS, where the close_notify comes with the last bytes.
        up.connection.protocol.dataReceived(CHUNKED + b"1\r\nx\r\n" * many + b"0\r\n\r\n")
        up.connection.protocol.readConnectionLost()
        stage.wait(0.1)
        body = down.heard().removeprefix(CHUNKED)
        self.assertEqual(body.count(b"x"), many)
        self.assertTrue(body.endswith(b"0\r\n\r\n"))
        self.assertEqual((stage.log.upstream_errors, stage.pool.idle), ([], 0))

    def test_many_chunks_and_a_cut_at_once(self) -> None:
        """The same without the last chunk is cut, after everything that came."""
        stage = self.stage()
        down = stage.downstream()
        down.says(GET)
        up = stage.upstream()
        up.connection.protocol.dataReceived(CHUNKED + b"1\r\nx\r\n" * (2 * CHUNKS_AT_ONCE))
        up.connection.protocol.readConnectionLost()
        stage.wait(0.1)
        self.assertEqual(down.heard().removeprefix(CHUNKED).count(b"x"), 2 * CHUNKS_AT_ONCE)
        self.assertEqual(down.ended, "closed")
        self.assertEqual(stage.log.requests[0]["cut"], "upstream")

    def test_body_until_close(self) -> None:
        """A FIN ends a body without length; it goes out chunked and complete."""
        stage, down = self.lost(Peer.closes, GET, UNTIL_CLOSE + b"ab")
        self.assertEqual(down.heard(), CHUNKED + b"2\r\nab\r\n0\r\n\r\n")
        self.assertIsNone(down.ended)
        self.assertNotIn("cut", stage.log.requests[0])

    def test_body_until_close_reset(self) -> None:
        """A reset within a body without length is a cut."""
        stage, down = self.lost(Peer.resets, GET, UNTIL_CLOSE + b"ab")
        self.assertEqual(down.heard(), CHUNKED + b"2\r\nab\r\n")
        self.assertEqual(down.ended, "closed")
        self.assertEqual(stage.log.requests[0]["cut"], "upstream")

    def test_cut_until_close_for_http_1_0(self) -> None:
        """A cut body that ends with the connection is aborted: a FIN would make it whole."""
        request = b"GET / HTTP/1.0\r\nHost: a.test\r\n\r\n"
        _, down = self.lost(Peer.resets, request, UNTIL_CLOSE + b"ab")
        self.assertTrue(down.heard().endswith(b"Connection: close\r\n\r\nab"))
        self.assertEqual(down.ended, "aborted")

    def test_within_request_body(self) -> None:
        """An upstream that dies within the request body is 502; a short rest is discarded."""
        stage, down = self.lost(Peer.resets, post(5) + b"ab")
        self.assertEqual(down.heard(), BAD_GATEWAY)
        down.says(b"cde" + GET)
        stage.upstream().says(OK)
        self.assertEqual(down.heard(), OK)

    def test_within_long_request_body(self) -> None:
        """When a long rest of the body is to come, the connection is closed after the answer."""
        for request in (post(500_000) + b"ab", CHUNKED_POST + b"2\r\nab\r\n"):
            _, down = self.lost(Peer.resets, request)
            self.assertEqual(down.heard(), own(b"502 Bad Gateway", close=True))
            self.assertTrue(down.half_closed)


class RetryTests(PlaybookCase):
    def reused(self, request: bytes) -> tuple[Stage, Peer, Peer]:
        """A request that went out on a connection used before."""
        stage = self.stage()
        down = stage.downstream()
        down.says(GET)
        up = stage.upstream()
        up.says(OK)
        up.heard()
        down.heard()
        down.says(request)
        self.assertEqual(stage.attempts, [])
        return stage, down, up

    def test_idempotent(self) -> None:
        """A GET whose reused connection dies before a byte is sent again on a new one."""
        for leave in (Peer.resets, Peer.closes):
            stage, down, up = self.reused(GET)
            leave(up)
            again = stage.upstream()
            self.assertIn(b"GET / HTTP/1.1\r\n", again.heard())
            again.says(OK)
            self.assertEqual(down.heard(), OK)
            self.assertEqual(stage.log.statuses, [200, 200])
            self.assertEqual(stage.log.upstream_errors, [])

    def test_once(self) -> None:
        """The second connection is the last."""
        stage, down, up = self.reused(GET)
        up.closes()
        stage.upstream().closes()
        self.assertEqual(down.heard(), BAD_GATEWAY)
        self.assertEqual(stage.attempts, [])

    def test_refused_the_second_time(self) -> None:
        """A retry that finds nobody is 502."""
        stage, down, up = self.reused(GET)
        up.closes()
        stage.attempts.pop().fail(ConnectionRefusedError())
        self.assertEqual(down.heard(), BAD_GATEWAY)

    def test_not_idempotent(self) -> None:
        """A POST is not sent twice, even without a body."""
        for request in (post(0), post(4) + b"body", post(4)):
            stage, down, up = self.reused(request)
            up.closes()
            self.assertEqual(down.heard(), BAD_GATEWAY)
            self.assertEqual(stage.attempts, [])

    def test_body_begun(self) -> None:
        """A PUT is not sent twice when a part of its body is gone."""
        stage, down, up = self.reused(PUT + b"bo")
        up.closes()
        self.assertEqual(down.heard(), BAD_GATEWAY)
        self.assertEqual(stage.attempts, [])

    def test_body_not_begun(self) -> None:
        """A PUT of whose body nothing has come yet is retried, and its body goes there."""
        stage, down, up = self.reused(PUT)
        up.closes()
        down.says(b"body")
        again = stage.upstream()
        self.assertTrue(again.heard().endswith(b"\r\n\r\nbody"))
        again.says(OK)
        self.assertEqual(down.heard(), OK)

    def test_after_a_byte(self) -> None:
        """One byte of a response, or a 1xx, and there is no retry."""
        for said in (b"H", b"HTTP/1.1 103 Early Hints\r\n\r\n"):
            stage, down, up = self.reused(GET)
            up.says(said)
            up.closes()
            self.assertTrue(down.heard().endswith(BAD_GATEWAY))
            self.assertEqual(stage.attempts, [])

    def test_downstream_lost_during_retry(self) -> None:
        """A downstream lost while the retry connects is recorded once."""
        stage, down, up = self.reused(GET)
        up.closes()
        (attempt,) = stage.attempts
        down.resets()
        self.assertEqual(attempt.state, "disconnected")
        self.assertEqual(stage.log.statuses, [200, 499])

    def test_idle_connection_lost(self) -> None:
        """A connection that dies while idle is forgotten."""
        for leave in (Peer.resets, Peer.closes):
            stage = self.stage()
            down = stage.downstream()
            down.says(GET)
            up = stage.upstream()
            up.says(OK)
            leave(up)
            self.assertEqual(stage.pool.idle, 0)
            down.says(GET)
            stage.upstream().says(OK)
            self.assertEqual(stage.log.statuses, [200, 200])
