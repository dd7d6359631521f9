"""Several requests on one downstream connection, one after the other."""

from __future__ import annotations

from revproxy.model.configuration import Limits
from tests.support.playbook import DATE_LINE, GET, OK, PlaybookCase, own, post

NOBODY = b"GET / HTTP/1.1\r\nHost: x.test\r\n\r\n"
NOT_FOUND = own(b"404 Not Found")


class PipeliningTests(PlaybookCase):
    def test_order(self) -> None:
        """Requests that come at once are answered in their order, one at a time upstream."""
        stage = self.stage()
        down = stage.downstream()
        down.says(GET + NOBODY + GET)
        up = stage.upstream()
        self.assertEqual(up.heard().count(b"GET /"), 1)
        self.assertEqual(down.heard(), b"")
        up.says(OK)
        self.assertEqual(down.heard(), OK + NOT_FOUND)
        self.assertEqual(up.heard().count(b"GET /"), 1)
        up.says(OK)
        self.assertEqual(down.heard(), OK)
        self.assertEqual(stage.log.statuses, [200, 404, 200])
        self.assertEqual(stage.attempts, [])

    def test_split_at_every_byte(self) -> None:
        """Where the bytes of requests are split makes no difference."""
        stream = GET + post(3) + b"abc" + NOBODY
        for at in range(1, len(stream)):
            stage = self.stage()
            down = stage.downstream()
            down.says(stream[:at], stream[at:])
            up = stage.upstream()
            up.says(OK)
            self.assertTrue(up.heard().endswith(b"\r\n\r\nabc"))
            up.says(OK)
            self.assertEqual(down.heard(), OK + OK + NOT_FOUND)

    def test_turns(self) -> None:
        """At most limits.pipelined_requests are begun in one turn; the rest follows by itself."""
        stage = self.stage(limits=Limits(pipelined_requests=4))
        down = stage.downstream()
        down.connection.protocol.dataReceived(NOBODY * 10)
        self.assertEqual(stage.begun, 4)
        self.assertEqual(down.heard(), NOT_FOUND * 10)

    def test_close_ends_it(self) -> None:
        """After a request with Connection: close nothing more is answered, but the rest is read
        and thrown away, so that no reset overtakes the answer.
        """
        stage = self.stage()
        down = stage.downstream()
        closing = GET.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n")
        down.says(closing + GET)
        stage.upstream().says(OK)
        self.assertEqual(stage.begun, 1)
        self.assertTrue(down.half_closed)
        head = b"HTTP/1.1 200 OK\r\n" + DATE_LINE + b"Content-Length: 2\r\nConnection: close\r\n"
        self.assertEqual(down.heard(), head + b"\r\nok")

    def test_bad_request_after_good_ones(self) -> None:
        """An invalid head is answered after what came before it, and ends the connection."""
        stage = self.stage()
        down = stage.downstream()
        down.says(GET + b"nonsense\r\n\r\n" + GET)
        stage.upstream().says(OK)
        self.assertEqual(down.heard(), OK + own(b"400 Bad Request", close=True))
        self.assertTrue(down.half_closed)
        self.assertEqual(stage.log.statuses, [200, 400])
        self.assertEqual(stage.begun, 1)


class HalfCloseTests(PlaybookCase):
    def test_complete_requests_are_answered(self) -> None:
        """All requests that were complete before the FIN are answered, then it is closed."""
        stage = self.stage()
        down = stage.downstream()
        down.says(GET + NOBODY + GET, b"")
        up = stage.upstream()
        up.says(OK)
        up.says(OK)
        closing = OK.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n")
        self.assertEqual(down.heard(), OK + NOT_FOUND + closing)
        self.assertEqual(down.ended, "closed")

    def test_more_than_one_turn(self) -> None:
        """A FIN while requests of the same read still wait for their turn takes none away."""
        stage = self.stage(limits=Limits(pipelined_requests=4))
        down = stage.downstream()
        down.says(NOBODY * 10, b"")
        heard = down.heard()
        self.assertEqual(heard.count(b"404 Not Found"), 10)
        self.assertEqual(down.ended, "closed")

    def test_incomplete_last_request(self) -> None:
        """What is incomplete at the FIN is dropped without an answer."""
        stage = self.stage()
        down = stage.downstream()
        down.says(GET + GET[:-2], b"")
        stage.upstream().says(OK)
        self.assertEqual(down.heard(), OK)
        self.assertEqual(down.ended, "closed")
        self.assertEqual(stage.begun, 1)

    def test_incomplete_last_body(self) -> None:
        """A request whose body the FIN cut never reaches the upstream as a whole one."""
        stage = self.stage()
        down = stage.downstream()
        down.says(GET + post(5) + b"abc", b"")
        up = stage.upstream()
        up.says(OK)
        self.assertEqual(up.ended, "aborted")
        self.assertEqual((down.heard(), down.ended), (OK, "closed"))
        self.assertEqual(stage.log.statuses, [200, 499])
