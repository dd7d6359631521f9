"""What a downstream connection does when the process is about to end, in every state."""

from __future__ import annotations

from revproxy.model.configuration import Limits, Timeouts
from revproxy.net.downstream import FIRST_REQUEST_SECS
from tests.support.playbook import (
    CHUNKED_POST,
    DATE_LINE,
    GET,
    LIMITS,
    OK,
    Peer,
    PlaybookCase,
    Stage,
    own,
    post,
)

CLOSE = b"Connection: close\r\n"
LAST_OK = OK.replace(b"\r\n\r\n", b"\r\n" + CLOSE + b"\r\n")
NOT_FOUND = own(b"404 Not Found", close=True)
OLD_GET = b"GET / HTTP/1.0\r\nHost: a.test\r\nConnection: keep-alive\r\n\r\n"


def elsewhere(request: bytes) -> bytes:
    """The request to a host that nobody has."""
    return request.replace(b"a.test", b"x.test")


class DrainCase(PlaybookCase):
    def begin(self, *said: bytes, drained: bool = True, **how: object) -> tuple[Stage, Peer]:
        """A downstream that has ``said`` something before it is told to drain."""
        stage = self.stage(**how)
        down = stage.downstream()
        down.says(*said)
        if drained:
            self.drain(stage)
        return stage, down

    def drain(self, stage: Stage) -> None:
        """The process is about to end."""
        router = stage.port.router
        router.draining = True
        for peer in stage.peers:
            if peer.is_downstream and not peer.ended:
                peer.protocol.drain()
        stage.reactor.run()

    def check_last(self, stage: Stage, down: Peer, answer: bytes, count: int = 1) -> None:
        """``answer`` was all, and the connection has been closed in order."""
        self.assertEqual(down.heard(), answer)
        stage.wait(3)
        self.assertEqual(down.ended, "closed")
        self.assertEqual(len(stage.log.requests), count)


class FreshTests(DrainCase):
    def test_silent(self) -> None:
        """A connection that has said nothing is closed without a word after a moment."""
        stage, down = self.begin()
        stage.wait(FIRST_REQUEST_SECS - 0.25)
        self.assertIsNone(down.ended)
        stage.wait(1.5)
        self.assertEqual((down.ended, down.heard()), ("closed", b""))

    def test_moment_is_no_respite(self) -> None:
        """Who had less time than that gets no more."""
        stage, down = self.begin(timeouts=Timeouts(request_head_secs=1))
        stage.wait(2)
        self.assertEqual(down.ended, "closed")

    def test_first_request(self) -> None:
        """A request that comes in that moment is answered, and the connection closed."""
        stage, down = self.begin()
        stage.wait(1)
        down.says(GET)
        stage.upstream().says(OK)
        self.check_last(stage, down, LAST_OK)

    def test_made_afterwards(self) -> None:
        """A connection that is there only now is treated alike: one request, or a moment."""
        stage = self.stage()
        self.drain(stage)
        silent, down = stage.downstream(), stage.downstream()
        down.says(GET)
        stage.upstream().says(OK)
        self.assertEqual(down.heard(), LAST_OK)
        stage.wait(FIRST_REQUEST_SECS + 1)
        self.assertEqual((silent.ended, down.ended), ("closed", "closed"))

    def test_one_request_only(self) -> None:
        """Of requests that come together the first is answered, and no other."""
        stage, down = self.begin()
        down.says(elsewhere(GET) * 3)
        self.check_last(stage, down, NOT_FOUND)


class HeadTests(DrainCase):
    def test_partial(self) -> None:
        """A head that has begun may be completed, and is answered."""
        for before in (b"", elsewhere(GET)):
            stage, down = self.begin(before + GET[:-5])
            first = down.heard()
            stage.wait(FIRST_REQUEST_SECS + 2)
            down.says(GET[-5:])
            stage.upstream().says(OK)
            self.check_last(stage, down, LAST_OK, count=2 if before else 1)
            self.assertEqual(CLOSE in first, False)

    def test_late(self) -> None:
        """It has no more time than any head."""
        stage, down = self.begin(GET[:-5])
        stage.wait(13)
        self.check_last(stage, down, own(b"408 Request Timeout", close=True))

    def test_bad(self) -> None:
        """A bad head is refused as ever."""
        stage, down = self.begin(GET[:-5])
        down.says(b"\0\r\n\r\n")
        self.check_last(stage, down, own(b"400 Bad Request", close=True))

    def test_idle(self) -> None:
        """Between two requests there is nothing to wait for."""
        stage, down = self.begin(elsewhere(GET), drained=False)
        down.heard()
        self.drain(stage)
        self.assertEqual((down.ended, down.heard()), ("closed", b""))

    def test_empty_line(self) -> None:
        """An empty line after a request is no request."""
        stage, down = self.begin(elsewhere(GET) + b"\r\n", drained=False)
        down.heard()
        self.drain(stage)
        self.assertEqual(down.ended, "closed")

    def test_requests_that_wait_for_their_turn(self) -> None:
        """Of requests that were read ahead one more is answered."""
        stage = self.stage(limits=Limits(pipelined_requests=2))
        down = stage.downstream()
        down.connection.protocol.dataReceived(elsewhere(GET) * 5)
        self.assertEqual(bytes(down.wire.sent).count(b"404 Not Found\r\n"), 2)
        down.wire.sent.clear()
        self.drain(stage)
        self.check_last(stage, down, NOT_FOUND, count=3)


class ResponseTests(DrainCase):
    def test_before_the_head(self) -> None:
        """A response that has not begun says that it is the last."""
        stage, down = self.begin(GET)
        stage.upstream().says(OK)
        self.check_last(stage, down, LAST_OK)

    def test_after_the_head(self) -> None:
        """One that has begun is completed, and the connection closed without a word of it."""
        for head, rest in (
            (b"Content-Length: 4\r\n\r\nab", b"cd"),
            (b"Transfer-Encoding: chunked\r\n\r\n2\r\nab\r\n", b"2\r\ncd\r\n0\r\n\r\n"),
        ):
            stage, down = self.begin(GET, drained=False)
            up = stage.upstream()
            head = b"HTTP/1.1 200 OK\r\n" + DATE_LINE + head
            up.says(head)
            self.drain(stage)
            self.assertIsNone(down.ended)
            up.says(rest)
            self.check_last(stage, down, head + rest)

    def test_interim(self) -> None:
        """A 1xx is not the last answer."""
        stage, down = self.begin(GET)
        early = b"HTTP/1.1 103 Early Hints\r\n\r\n"
        stage.upstream().says(early, OK)
        self.check_last(stage, down, early + LAST_OK)

    def test_http_1_0(self) -> None:
        """What HTTP/1.0 was promised to be kept alive is not, and told so."""
        stage, down = self.begin(OLD_GET)
        stage.upstream().says(OK)
        self.check_last(stage, down, LAST_OK)
        stage, down = self.begin(OLD_GET, drained=False)
        up = stage.upstream()
        up.says(OK[:-1])
        self.assertIn(b"Connection: keep-alive\r\n", down.heard())
        self.drain(stage)
        up.says(OK[-1:])
        self.check_last(stage, down, OK[-1:])

    def test_own_answer(self) -> None:
        """An answer of the proxy's own says that it is the last, too."""
        stage, down = self.begin(GET)
        stage.attempts[0].fail(OSError())
        self.check_last(stage, down, own(b"502 Bad Gateway", close=True))

    def test_pipelined(self) -> None:
        """Requests behind the one that is under way are not answered."""
        stage, down = self.begin(GET + elsewhere(GET) * 3)
        stage.upstream().says(OK)
        self.assertTrue(down.half_closed)
        self.check_last(stage, down, LAST_OK)

    def test_half_closed(self) -> None:
        """A downstream that says no more gets its answer."""
        stage, down = self.begin(GET, drained=False)
        down.closes()
        self.drain(stage)
        stage.upstream().says(OK)
        self.check_last(stage, down, LAST_OK)

    def test_cut(self) -> None:
        """A response that its upstream cuts is cut, as ever."""
        stage, down = self.begin(GET)
        up = stage.upstream()
        up.says(OK[:-1])
        up.closes()
        self.check_last(stage, down, LAST_OK[:-1])


class BodyTests(DrainCase):
    def test_under_way(self) -> None:
        """A request body may be completed, and its answer is the last."""
        for head, rest in ((post(4), b"body"), (CHUNKED_POST, b"4\r\nbody\r\n0\r\n\r\n")):
            stage, down = self.begin(head + rest[:3])
            up = stage.upstream()
            down.says(rest[3:])
            self.assertTrue(up.heard().endswith(rest))
            up.says(OK)
            self.check_last(stage, down, LAST_OK)

    def test_answered_early(self) -> None:
        """A response that begins before the body is complete is the last as ever."""
        stage, down = self.begin(post(4) + b"bo")
        stage.upstream().says(OK)
        down.says(b"dy")
        self.check_last(stage, down, LAST_OK)

    def test_continue(self) -> None:
        """A body that waits for its 100 is still asked for."""
        stage, down = self.begin(post(4, b"Expect: 100-continue"))
        up = stage.upstream()
        up.says(b"HTTP/1.1 100 Continue\r\n\r\n")
        down.says(b"body")
        up.says(OK)
        self.check_last(stage, down, b"HTTP/1.1 100 Continue\r\n\r\n" + LAST_OK)

    def test_thrown_away(self) -> None:
        """After an answer that closes nothing the rest of a body is read, and then it is over."""
        stage, down = self.begin(elsewhere(post(5)) + b"ab", drained=False)
        self.assertEqual(down.heard(), own(b"404 Not Found"))
        self.drain(stage)
        self.assertIsNone(down.ended)
        down.says(b"cde")
        self.assertEqual((down.ended, down.heard()), ("closed", b""))

    def test_thrown_away_before_a_request(self) -> None:
        """What comes behind such a body is answered, once."""
        stage, down = self.begin(elsewhere(post(5)) + b"ab", drained=False)
        down.heard()
        self.drain(stage)
        down.says(b"cde" + elsewhere(GET) * 2)
        self.check_last(stage, down, NOT_FOUND, count=2)


class PausedTests(DrainCase):
    BIG = b"HTTP/1.1 200 OK\r\n" + DATE_LINE + b"Content-Length: 100000\r\n\r\n" + b"x" * 100_000

    def begin_paused(self, *more: bytes) -> tuple[Stage, Peer]:
        """A downstream that has not taken its response, and has said ``more`` since."""
        stage, down = self.begin(GET, drained=False, limits=LIMITS)
        down.stalls(10)
        stage.upstream().says(self.BIG)
        self.assertTrue(down.protocol.paused)
        down.says(*more)
        self.drain(stage)
        return stage, down

    def test_last_response(self) -> None:
        """A response that is still to be taken is delivered whole before the end."""
        stage, down = self.begin_paused()
        self.assertIsNone(down.ended)
        down.takes()
        self.check_last(stage, down, self.BIG)

    def test_request_behind_it(self) -> None:
        """A request that waits for that is answered, and is the last."""
        stage, down = self.begin_paused(elsewhere(GET), elsewhere(GET))
        down.takes()
        self.check_last(stage, down, self.BIG + NOT_FOUND, count=2)

    def test_stalled(self) -> None:
        """A downstream that takes nothing is cut in its time."""
        stage, down = self.begin_paused()
        stage.wait(62)
        self.assertEqual(down.ended, "aborted")


class LeavingTests(DrainCase):
    def test_lingering(self) -> None:
        """What is being closed already goes its way."""
        stage, down = self.begin(elsewhere(post(100_000)), drained=False)
        self.assertTrue(down.half_closed)
        self.drain(stage)
        self.assertTrue(down.half_closed)
        self.check_last(stage, down, NOT_FOUND)

    def test_twice(self) -> None:
        """To be told twice is to be told once."""
        stage, down = self.begin(GET)
        self.drain(stage)
        stage.upstream().says(OK)
        self.check_last(stage, down, LAST_OK)
