"""Exchanges that are under way when another generation is served."""

from __future__ import annotations

import gc
import weakref
from typing import Any

from attrs import evolve

from revproxy.model.configuration import BodyLimit, Configuration, RateLimit, Timeouts
from tests.support.fake_sockets import FakeConnector
from tests.support.models import site
from tests.support.playbook import CHUNKED_POST, GET, OK, Peer, PlaybookCase
from tests.support.served import ServedCase

OLD, NEW = 3000, 4000
"""Ports of the upstream in the first generation and in the next."""


class SwapCase(PlaybookCase, ServedCase):
    """Conversations with a proxy whose generations are real."""

    def setUp(self) -> None:
        PlaybookCase.setUp(self)
        ServedCase.setUp(self)
        self.pair("a.test")
        self.scene = self.stage()
        self.reactor, self.log = self.scene.reactor, self.scene.log
        self.serve(self.to(OLD), self.scene.deadlines)
        self.scene.port = self.port

    def to(self, port: int, **fields: Any) -> Configuration:
        """A configuration in which ``a.test`` has its upstream on ``port``."""
        whole = self.configuration("a.test", **fields)
        (one,) = whole.listeners
        name = str(self.folder / f"{port}.log")
        sites = (site("a.test", f"127.0.0.1:{port}", log_file_path=name),)
        return evolve(whole, listeners=(evolve(one, sites=sites),))

    def swap(self, port: int = NEW, **fields: Any) -> None:
        """Serve another generation."""
        self.generations.adopt(self.generations.build(self.to(port, **fields)))
        self.reactor.run()

    def attempt(self) -> FakeConnector:
        """The one attempt to connect that there is."""
        (attempt,) = self.scene.attempts
        return attempt

    def begun(self) -> tuple[Peer, Peer]:
        """A downstream, and the upstream that has its request."""
        down = self.scene.downstream()
        down.says(GET)
        self.assertEqual(self.attempt().port, OLD)
        up = self.scene.upstream()
        self.assertIn(b"GET / ", up.heard())
        return down, up


class ExchangeTests(SwapCase):
    def test_finishes_on_its_generation(self) -> None:
        """An exchange ends with the upstream it began with, whose connection is then closed."""
        down, up = self.begun()
        up.says(OK[:-1])
        self.swap()
        self.assertIsNone(up.ended)
        up.says(OK[-1:])
        self.assertEqual(down.heard(), OK)
        self.assertEqual(up.ended, "closed")
        (record,) = self.log.requests
        self.assertEqual(record["upstream"], f"127.0.0.1:{OLD}")
        self.assertEqual(record["also"], str(self.folder / f"{OLD}.log"))

    def test_next_request(self) -> None:
        """A connection that is kept alive goes on with the new generation."""
        down, up = self.begun()
        self.swap()
        up.says(OK)
        down.says(GET)
        self.assertEqual(self.attempt().port, NEW)
        self.scene.upstream().says(OK)
        self.assertEqual(down.heard(), OK + OK)
        upstreams = [record["upstream"] for record in self.log.requests]
        self.assertEqual(upstreams, [f"127.0.0.1:{OLD}", f"127.0.0.1:{NEW}"])

    def test_pipelined_request(self) -> None:
        """A request that was read ahead begins when its turn comes, with what is served then."""
        down, up = self.begun()
        down.says(GET)
        self.swap()
        up.says(OK)
        self.assertEqual(self.attempt().port, NEW)
        self.scene.upstream().says(OK)
        self.assertEqual(down.heard(), OK + OK)

    def test_idle_connection(self) -> None:
        """What an idle connection goes by is adopted with its next request."""
        down, up = self.begun()
        up.says(OK)
        down.heard()
        self.swap(body=BodyLimit(3), timeouts=Timeouts(request_head_secs=1))
        down.says(GET.replace(b"\r\n\r\n", b"\r\nContent-Length: 4\r\n\r\n"))
        self.assertTrue(down.heard().startswith(b"HTTP/1.1 413 "))
        other = self.scene.downstream()
        other.says(GET[:-1])
        self.scene.wait(3)
        self.assertTrue(other.heard().startswith(b"HTTP/1.1 408 "))

    def test_while_connecting(self) -> None:
        """An attempt to connect goes on where it began."""
        down = self.scene.downstream()
        down.says(GET)
        self.swap()
        self.assertEqual(self.attempt().port, OLD)
        up = self.scene.upstream()
        up.says(OK)
        self.assertEqual((down.heard(), up.ended), (OK, "closed"))

    def test_within_body(self) -> None:
        """A request body keeps the limit that it began under."""
        down = self.scene.downstream()
        down.says(CHUNKED_POST, b"2\r\nab\r\n")
        up = self.scene.upstream()
        self.swap(body=BodyLimit(3))
        down.says(b"2\r\ncd\r\n0\r\n\r\n")
        self.assertTrue(up.heard().endswith(b"2\r\nab\r\n2\r\ncd\r\n0\r\n\r\n"))
        up.says(OK)
        self.assertEqual(down.heard(), OK)

    def test_retry(self) -> None:
        """A request that is tried again is tried with the upstream it began with."""
        down, up = self.begun()
        up.says(OK)
        down.says(GET)
        self.swap()
        up.closes()
        self.assertEqual(self.attempt().port, OLD)
        again = self.scene.upstream()
        again.says(OK)
        self.assertEqual((down.heard(), again.ended), (OK + OK, "closed"))

    def test_limited(self) -> None:
        """The rate limit counts on over the swap, by the new numbers."""
        self.swap(OLD, rate_limit=RateLimit(1, 2))
        down = self.scene.downstream()
        down.says(GET, GET.replace(b"a.test", b"x.test"))
        self.scene.upstream().says(OK)
        down.heard()
        self.swap(NEW, rate_limit=RateLimit(1, 2))
        down.says(GET)
        self.assertTrue(down.heard().startswith(b"HTTP/1.1 429 "))


class PoolTests(SwapCase):
    def test_dropped(self) -> None:
        """Idle connections to an upstream that is gone are closed with the swap."""
        _, up = self.begun()
        up.says(OK)
        self.assertIsNone(up.ended)
        self.swap()
        self.assertEqual(up.ended, "closed")

    def test_kept(self) -> None:
        """Those to an upstream that stays are used by the next generation."""
        down, up = self.begun()
        up.says(OK)
        up.heard()
        self.swap(OLD, rate_limit=RateLimit(1, 2))
        self.assertIsNone(up.ended)
        down.says(GET)
        self.assertIn(b"GET / ", up.heard())
        self.assertEqual(self.scene.attempts, [])
        up.says(OK)

    def test_back_again(self) -> None:
        """An upstream that comes back gets new connections, none that an old exchange has."""
        down, up = self.begun()
        self.swap(NEW)
        self.swap(OLD)
        up.says(OK)
        self.assertEqual(up.ended, "closed")
        down.says(GET)
        self.assertEqual(self.attempt().port, OLD)
        self.scene.upstream().says(OK)
        self.assertEqual(down.heard(), OK + OK)


class MemoryTests(SwapCase):
    def test_after_the_last_exchange(self) -> None:
        """A generation is freed with its last exchange and its last idle connection."""
        first, up = self.begun()
        second = self.scene.downstream()
        current = self.generations.current
        (pool,) = self.generations.workshop.pools
        left = [weakref.ref(one) for one in (self.generations.router.plan, pool)]
        certificates = weakref.ref(current.certificates)
        del current, pool
        self.swap()
        self.assertIsNone(certificates())
        self.assertTrue(all(one() is not None for one in left))
        up.says(OK)
        self.scene.wait(1)
        first.says(GET)
        other = self.scene.upstream()
        for idle in (first, second):
            other.says(OK)
            idle.says(GET)
        other.says(OK)
        del up
        del self.scene.peers[1]
        gc.collect()
        self.assertEqual([one() for one in left], [None, None])
