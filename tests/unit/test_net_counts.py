"""Every answer is counted once, by the first digit of its status.

That the counts agree with the records is seen at the end of every conversation of ``playbook``;
here it is which answers there are.
"""

from __future__ import annotations

from attrs import evolve
from twisted.internet.error import ConnectionRefusedError

from tests.support.playbook import CHUNKED_POST, GET, OK, PlaybookCase, Stage, post


def status(code: int) -> bytes:
    return OK.replace(b"200 OK", b"%d Some" % code)


class CountTests(PlaybookCase):
    def check(self, stage: Stage, **classes: int) -> None:
        """So many answers have been given, by their class."""
        counted = {f"of_{digit}xx": n for digit, n in enumerate(stage.responses) if n}
        self.assertEqual(counted, classes)

    def test_of_upstreams(self) -> None:
        """A response counts by its own status, 1xx not at all."""
        stage = self.stage()
        down = stage.downstream()
        for number, code in enumerate((200, 201, 301, 404, 503, 599, 999)):
            down.says(GET)
            if not number:
                up = stage.upstream()
            up.says(b"HTTP/1.1 103 Early Hints\r\n\r\n", status(code))
            down.heard()
        self.check(stage, of_2xx=2, of_3xx=1, of_4xx=1, of_5xx=2, of_9xx=1)

    def test_own_answers(self) -> None:
        """What the proxy answers by itself counts likewise."""
        stage = self.stage(body_limit=10)
        down = stage.downstream()
        down.says(
            GET.replace(b"a.test", b"x.test"),
            GET.replace(b"GET", b"TRACE"),
            GET.replace(b"GET /", b"OPTIONS *"),
        )
        self.check(stage, of_4xx=2, of_2xx=1)
        down.says(GET)
        stage.attempts.pop(0).fail(ConnectionRefusedError())
        self.check(stage, of_4xx=2, of_2xx=1, of_5xx=1)
        down.says(post(11))
        self.check(stage, of_4xx=3, of_2xx=1, of_5xx=1)

    def test_redirect(self) -> None:
        """So does a redirect of the plain port."""
        stage = self.stage(secure=False)
        stage.downstream().says(GET)
        self.check(stage, of_3xx=1)

    def test_limited(self) -> None:
        """So does what the rate limit answers."""
        stage = self.stage(burst=1)
        down = stage.downstream()
        down.says(GET)
        stage.upstream().says(OK)
        down.says(GET)
        self.check(stage, of_2xx=1, of_4xx=1)

    def test_bad_heads(self) -> None:
        """A head that is none counts, though it is no exchange."""
        stage = self.stage()
        for head in (b"\0\r\n\r\n", GET.replace(b"HTTP/1.1", b"HTTP/2.0")):
            stage.downstream().says(head)
        self.check(stage, of_4xx=1, of_5xx=1)
        stage.downstream().says(GET[:-5])
        stage.wait(13)
        self.check(stage, of_4xx=2, of_5xx=1)

    def test_bad_bodies(self) -> None:
        """A body that cannot be gone on with counts once, by its answer or the one begun."""
        stage = self.stage()
        stage.downstream().says(CHUNKED_POST, b"oops\r\n")
        self.check(stage, of_4xx=1)
        stage.attempts.clear()
        down = stage.downstream()
        down.says(CHUNKED_POST)
        stage.upstream().says(OK[:-1])
        down.says(b"oops\r\n")
        self.check(stage, of_4xx=1, of_2xx=1)

    def test_nobody_left(self) -> None:
        """A downstream that has gone before its answer is a 499, and one in it that answer."""
        stage = self.stage()
        down = stage.downstream()
        down.says(GET)
        down.resets()
        stage.attempts.clear()
        self.check(stage, of_4xx=1)
        down = stage.downstream()
        down.says(GET)
        stage.upstream().says(OK[:-1])
        down.resets()
        self.check(stage, of_4xx=1, of_2xx=1)

    def test_cut_by_the_upstream(self) -> None:
        """A response that its upstream cuts counts once, as what it began as."""
        stage = self.stage()
        stage.downstream().says(GET)
        up = stage.upstream()
        up.says(OK[:-1])
        up.closes()
        self.check(stage, of_2xx=1)

    def test_retried(self) -> None:
        """A request that is tried twice is answered once."""
        stage = self.stage()
        down = stage.downstream()
        down.says(GET)
        up = stage.upstream()
        up.says(OK)
        down.says(GET)
        up.closes()
        stage.upstream().says(OK)
        self.check(stage, of_2xx=2)

    def test_not_recorded(self) -> None:
        """Answers count where the log keeps no requests, too."""
        stage = self.stage()
        router = stage.port.router
        router.plan = evolve(router.plan, records_requests=False)
        down = stage.downstream()
        down.says(GET.replace(b"a.test", b"x.test"))
        self.check(stage, of_4xx=1)
        self.assertEqual(stage.log.requests, [])
        stage.begun, stage.responses[4] = 0, 0
