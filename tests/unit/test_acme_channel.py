"""HTTPS to an authority, over real TLS to a server of the tests on the loopback."""

from __future__ import annotations

import gzip
from datetime import timedelta
from pathlib import Path
from typing import Any

from twisted.internet import reactor
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import TestCase

from revproxy.tls.acme.bodies import MOST_REPLY_BYTES
from revproxy.tls.acme.channel import REQUEST_SECS, https_channel
from revproxy.tls.acme.problem import CannotReach
from revproxy.tls.acme.reply import Reply
from tests.support.certificates import DAY, Authority, Pair, authority
from tests.support.https_peer import Answer, HttpsPeer, ok
from tests.support.tls_peers import NOW


class ChannelCase(TestCase):
    """A channel that trusts the tests' authority, whose limit of time is a clock's."""

    timeout = 10

    def setUp(self) -> None:
        self.clock: Any = Clock()
        self.use(authority().ca_path)

    def use(self, ca_path: str | None) -> None:
        """Trust these roots."""
        self.channel = https_channel(reactor, lambda: NOW, ca_path)
        self.channel._reactor = self.clock

    def serve(self, *answers: Answer, pair: Pair | None = None) -> HttpsPeer:
        """A server with these answers."""
        return self.beside(HttpsPeer(pair or authority().pair("127.0.0.1"), *answers))

    def beside(self, peer: HttpsPeer) -> HttpsPeer:
        """Speak to ``peer`` from now on."""
        self.peer = peer
        self.addCleanup(peer.stop)
        self.addCleanup(lambda: Deferred.fromCoroutine(self.channel.close()))
        return peer

    def ask(self, method: str = "GET", *body: Any) -> Deferred[Reply]:
        """Begin a request."""
        return Deferred.fromCoroutine(self.channel.request(method, self.peer.url, *body))

    async def refused(self, words: str, url: str = "") -> None:
        """A request cannot be made, for a reason with these words and no innards in it."""
        with self.assertRaises(CannotReach) as caught:
            await self.channel.request("GET", url or self.peer.url)
        told = str(caught.exception)
        self.assertIn(words, told)
        for innards in ("Failure", "Traceback", "twisted", "<class"):
            self.assertNotIn(innards, told)
        self.assertEqual(self.clock.getDelayedCalls(), [])


class RequestTests(ChannelCase):
    async def test_get(self) -> None:
        """A request says who asks and asks for nothing packed; the reply is read."""
        self.serve(ok(b"content", b"Replay-Nonce: abc", b"Location: https://ca.test/1"))
        reply = await self.ask()
        self.assertEqual((reply.status, reply.content, reply.nonce), (200, b"content", "abc"))
        self.assertEqual(reply.location, "https://ca.test/1")
        (request,) = self.peer.requests
        self.assertTrue(request.startswith(b"GET /dir HTTP/1.1\r\n"))
        self.assertIn(b"\r\nUser-Agent: revproxy/", request)
        self.assertNotIn(b"accept-encoding", request.lower())
        self.assertEqual(self.clock.getDelayedCalls(), [])

    async def test_post(self) -> None:
        """A body is sent as it is, with its length and its kind."""
        self.serve(ok())
        await self.ask("POST", b'{"a": 1}', "application/jose+json")
        head, _, body = self.peer.requests[0].partition(b"\r\n\r\n")
        self.assertIn(b"\r\nContent-Type: application/jose+json", head)
        self.assertIn(b"\r\nContent-Length: 8", head)
        self.assertNotIn(b"Transfer-Encoding", head)
        self.assertEqual(body, b'{"a": 1}')

    async def test_kept(self) -> None:
        """A connection is used again, and closed with the channel."""
        self.serve(ok(b"1"), ok(b"2"), ok(b"3"))
        found = [(await self.ask()).content for _ in range(3)]
        self.assertEqual(found, [b"1", b"2", b"3"])
        self.assertEqual(self.peer.connections, 1)
        await self.channel.close()
        await self.peer.left()

    async def test_statuses(self) -> None:
        """Any status is a reply; a redirect is not followed."""
        away = b"Location: https://127.0.0.1:1/elsewhere"
        statuses = (b"301 Moved", b"302 Found", b"307 Away", b"308 Away", b"404 No", b"503 Busy")
        self.serve(*(ok(b"words", away, status=status) for status in statuses))
        for status in statuses:
            reply = await self.ask()
            self.assertEqual((reply.status, reply.content), (int(status[:3]), b"words"))
        self.assertEqual(len(self.peer.requests), len(statuses))

    async def test_no_cookies(self) -> None:
        """Cookies are not kept."""
        self.serve(ok(b"", b"Set-Cookie: a=b; Path=/"), ok())
        for _ in range(2):
            await self.ask()
        self.assertNotIn(b"cookie", self.peer.requests[1].lower())

    async def test_chunked(self) -> None:
        """A body in chunks, and one that lasts until the connection is closed, are read."""
        head = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"

        def close(connection: Any) -> None:
            connection.transport.write(b"HTTP/1.1 200 OK\r\n\r\nall of it")
            connection.transport.loseConnection()

        self.serve(head + b"3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n", close)
        self.assertEqual((await self.ask()).content, b"abcde")
        self.assertEqual((await self.ask()).content, b"all of it")


class TrustTests(ChannelCase):
    async def test_other_roots(self) -> None:
        """A certificate of an unknown authority is refused, before anything is said."""
        folder = Path(self.mktemp())
        folder.mkdir()
        self.serve(ok(), pair=Authority(folder).pair("127.0.0.1"))
        await self.refused("TLS: certificate verify failed")
        self.assertEqual(self.peer.requests, [])

    async def test_system_roots(self) -> None:
        """Without roots of one's own the system's count, which the tests' are not among."""
        self.use(None)
        self.serve(ok())
        await self.refused("TLS: certificate verify failed")
        self.assertEqual(self.peer.requests, [])

    async def test_other_name(self) -> None:
        """A certificate for another name is refused."""
        self.serve(ok(), pair=authority().pair("other.test"))
        await self.refused("TLS: the certificate is for another name")
        self.assertEqual(self.peer.requests, [])

    async def test_expired(self) -> None:
        """One that has expired is refused."""
        self.serve(ok(), pair=authority().pair("127.0.0.1", lasts=timedelta(0) - DAY))
        await self.refused("TLS: certificate verify failed")
        self.assertEqual(self.peer.requests, [])

    async def test_no_tls(self) -> None:
        """Who answers without TLS is refused."""

        def answer(connection: Any) -> None:
            connection.transport.write(ok())

        self.beside(HttpsPeer(None))
        asking = self.ask()
        await self.peer.until(lambda: bool(self.peer.open))
        for connection in self.peer.open:
            answer(connection)
        with self.assertRaises(CannotReach) as caught:
            await asking
        self.assertIn("TLS: ", str(caught.exception))

    def test_roots_file(self) -> None:
        """A file without a certificate is refused when the channel is made."""
        path = Path(self.mktemp())
        with self.assertRaises(OSError):
            self.use(str(path))
        path.write_text("nothing")
        with self.assertRaises(ValueError):
            self.use(str(path))


class AddressTests(ChannelCase):
    async def test_other_schemes(self) -> None:
        """Only https is spoken, and nothing is connected to for the others."""
        self.serve(ok())
        port = self.peer.url.rpartition(":")[2]
        for scheme in ("http", "ftp", "file", "HTTPS", "httpss", ""):
            await self.refused("is no https URL", f"{scheme}://127.0.0.1:{port}")
        for url in ("", "/dir", "//127.0.0.1/dir", " https://127.0.0.1/", "javascript:x"):
            with self.assertRaises(CannotReach):
                await self.channel.request("GET", url)
        self.assertEqual(self.peer.connections, 0)

    async def test_strange(self) -> None:
        """URLs that are none are told as such, whatever they consist of."""
        for url in ("https://", "https://[", "https://127.0.0.1:99999/", "https://127.0.0.1:x/",
                    "https://\ud800/", "https://a b/", "https://127.0.0.1:1\r\nHost: b/",
                    "https://" + "x" * 70000 + "/"):  # fmt: skip
            with self.assertRaises(CannotReach) as caught:
                await self.channel.request("GET", url)
            self.assertTrue(str(caught.exception).isprintable())
            self.assertLess(len(str(caught.exception)), 2100)

    async def test_no_injection(self) -> None:
        """A line end in a URL does not become one in the request."""
        self.serve(ok())
        evil = f"{self.peer.url}\r\nX-Evil: 1\r\n"
        try:
            await self.channel.request("GET", evil)
        except CannotReach:
            pass
        for request in self.peer.requests:
            self.assertNotIn(b"\r\nX-Evil", request)

    async def test_nobody(self) -> None:
        """Where nobody listens that is said."""
        self.serve()
        await self.peer.stop()
        await self.refused("refused")


class LimitTests(ChannelCase):
    """What an authority may do that is broken, or whose place somebody else has taken."""

    async def test_too_long(self) -> None:
        """A body beyond the limit is refused, declared or not, and the connection closed."""
        long = b"x" * (MOST_REPLY_BYTES + 1)
        chunk = b"%x\r\n%b\r\n" % (len(long), long)
        head = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
        for answer in (ok(long), head + chunk, b"HTTP/1.1 200 OK\r\n\r\n" + long):
            self.serve(answer)
            await self.refused(f"answers with more than {MOST_REPLY_BYTES} bytes")
            await self.peer.left()

    async def test_longest(self) -> None:
        """One of just that length is read."""
        self.serve(ok(b"x" * MOST_REPLY_BYTES))
        self.assertEqual(len((await self.ask()).content), MOST_REPLY_BYTES)

    async def test_packed(self) -> None:
        """Packed content was not asked for, and is refused unread: it could unpack to anything."""
        bomb = gzip.compress(b"x" * 10_000_000)
        for coding in (b"gzip", b"GZIP", b"x-gzip", b"deflate", b"br", b"gzip, gzip", b"identity"):
            self.serve(ok(bomb, b"Content-Encoding: " + coding))
            await self.refused("sends packed content, unasked")
            await self.peer.left()

    async def test_garbage(self) -> None:
        """What is no HTTP is a failure like another."""
        for garbage in (
            b"\0" * 100 + b"\r\n\r\n",
            b"SSH-2.0-x\r\n\r\n",
            b"HTTP/1.1 abc OK\r\n\r\n",
            ok(b"x", b"Content-Length: 5"),
            ok(b"", b"no colon"),
        ):
            self.serve(garbage)
            asking = self.ask()
            await self.peer.asked()
            for connection in self.peer.open:
                connection.transport.loseConnection()
            with self.assertRaises(CannotReach) as caught:
                await asking
            self.assertLess(len(str(caught.exception)), 400)

    async def test_endless_head(self) -> None:
        """A head without an end is cut off."""
        field = b"X: " + b"x" * 10_000 + b"\r\n"
        self.serve(b"HTTP/1.1 200 OK\r\n" + field * 300)
        await self.refused("answers with more than 2097152 bytes")
        await self.peer.left()

    async def test_endless_interim(self) -> None:
        """Nor do interim responses go on for ever."""
        self.serve(b"HTTP/1.1 103 Early\r\nX: %b\r\n\r\n" % (b"x" * 5000) * 500)
        await self.refused("answers with more than 2097152 bytes")
        await self.peer.left()

    async def test_closed(self) -> None:
        """A connection that ends without an answer, or in the middle of one, is told so."""
        for part in (b"", b"HTTP/1.1 200 OK\r\nContent-Le", ok(b"content")[:-3]):

            def answer(connection: Any, part: bytes = part) -> None:
                connection.transport.write(part)
                connection.transport.loseConnection()

            self.serve(answer)
            await self.refused("the connection was closed before the end of the answer")


class TimeTests(ChannelCase):
    PARTS = (b"", b"HTTP/1.1 200 OK\r\nContent-", ok(b"content")[:-3])

    async def begun(self, part: bytes) -> Deferred[Reply]:
        """A request whose answer ends after ``part``, once the server has it."""
        self.serve(part)
        asking = self.ask()
        await self.peer.asked()
        return asking

    async def test_late(self) -> None:
        """After its time a request fails, wherever it is, and its connection is closed."""
        for part in self.PARTS:
            asking = await self.begun(part)
            self.clock.advance(REQUEST_SECS - 1)
            self.assertNoResult(asking)
            self.clock.advance(1)
            with self.assertRaises(CannotReach) as caught:
                await asking
            self.assertIn("no answer within 30 s", str(caught.exception))
            await self.peer.left()

    async def test_drops(self) -> None:
        """A byte now and then does not make the time longer."""
        asking = await self.begun(b"HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\n")
        (connection,) = self.peer.open
        for _ in range(int(REQUEST_SECS)):
            connection.transport.write(b"x")
            self.clock.advance(1)
        with self.assertRaises(CannotReach):
            await asking

    async def test_cancelled(self) -> None:
        """Cancelled, it says so, wherever it is, and closes its connection."""
        for part in self.PARTS:
            asking = await self.begun(part)
            asking.cancel()
            with self.assertRaises(CancelledError):
                await asking
            await self.peer.left()
            self.assertEqual(self.clock.getDelayedCalls(), [])

    async def test_cancelled_in_the_handshake(self) -> None:
        """Also while the other side says nothing at all."""
        self.beside(HttpsPeer(None))
        for end, error in ((Deferred.cancel, CancelledError), (self.late, CannotReach)):
            asking = self.ask()
            await self.peer.until(lambda: bool(self.peer.open))
            end(asking)
            with self.assertRaises(error):
                await asking
            await self.peer.left()

    def late(self, asking: Deferred[Reply]) -> None:
        self.clock.advance(REQUEST_SECS)
