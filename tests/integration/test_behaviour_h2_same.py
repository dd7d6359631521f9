"""The same exchanges over HTTP/1.1 and HTTP/2: upstream and client cannot tell the difference.

Two hundred exchanges are made up from a fixed seed; each is played over both versions.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from revproxy.model.http import Field
from revproxy.wire.h2.frames import MAX_FRAME, PROTOCOL_ERROR
from tests.support.cases import ProxyCase
from tests.support.conversation import Answer, ReceivedRequest, Script
from tests.support.h2_raw import RawH2
from tests.support.h2_wire import body, headers

SEED = 20231010
COUNT = 200
BODY_LIMIT = 200_000
OF_THE_VERSION = frozenset((b"connection", b"transfer-encoding", b"keep-alive", b"date"))
"""What each version says in its own way, or at another time."""

_METHODS = (b"GET", b"GET", b"GET", b"HEAD", b"POST", b"POST", b"PUT", b"PATCH", b"DELETE",
            b"OPTIONS", b"PURGE", b"TRACE")  # fmt: skip
_REQUEST_FIELDS = (
    (b"accept", b"*/*"),
    (b"accept", b"text/html"),
    (b"accept-encoding", b"gzip, br"),
    (b"authorization", b"Basic YTpi"),
    (b"cache-control", b"no-cache"),
    (b"if-none-match", b'"abc"'),
    (b"range", b"bytes=0-9"),
    (b"user-agent", b"test/1.0 (x; y)"),
    (b"x-empty", b""),
    (b"x-text", b"a b\tc"),
    (b"x-bytes", b"\xc3\xa4\xe4"),
    (b"x_underscore", b"x"),
    (b"x-forwarded-for", b"198.51.100.1"),
    (b"x-real-ip", b"198.51.100.1"),
    (b"forwarded", b"for=198.51.100.1"),
    (b"proxy", b"http://evil.test/"),
    (b"true-client-ip", b"198.51.100.1"),
    (b"max-forwards", b"5"),
    (b"via", b"1.1 other"),
)
_COOKIES = (b"a=1", b"b=2", b"session=x%20y", b"empty=")
_STATUSES = (200, 200, 200, 201, 204, 206, 301, 304, 401, 404, 418, 500, 503)
_RESPONSE_FIELDS = (
    (b"Content-Type", b"text/plain"),
    (b"Set-Cookie", b"a=1; Path=/"),
    (b"Set-Cookie", b"b=2; HttpOnly"),
    (b"ETag", b'"x"'),
    (b"Vary", b"Accept, Cookie"),
    (b"Server", b"upstream/1"),
    (b"X-Empty", b""),
    (b"X-Bytes", b"\xe4\xc3"),
    (b"Date", b"Sun, 06 Nov 1994 08:49:37 GMT"),
    (b"Keep-Alive", b"timeout=5"),
    (b"Location", b"/elsewhere?x=y"),
)


@dataclass(frozen=True)
class Exchange:
    """What both versions ask, and how the upstream answers.

    Attributes:
        content: of the request; None for no body.
        announced: whether its length is told.
        cookies: as crumbs in HTTP/2 if ``crumbs``.
        trailers: whether the client asks for trailers.
    """

    host: bytes
    method: bytes
    target: bytes
    fields: tuple[Field, ...]
    cookies: tuple[bytes, ...]
    crumbs: bool
    content: bytes | None
    announced: bool
    trailers: bool
    script: Script
    cut: bool


@dataclass
class Outcome:
    """What came back."""

    status: int
    fields: Counter[Field]
    content: bytes
    whole: bool
    trailers: list[Field]
    interim: list[int]


MALFORMED = Outcome(400, Counter(), b"", False, [], [])
"""What is 400 in HTTP/1.1 may be a reset stream in HTTP/2 (RFC 9113 8.1.1)."""


def lowered(fields: list[Field]) -> Counter[Field]:
    """What fields say, whatever the version."""
    pairs = [(name.lower(), value) for name, value in fields]
    return Counter(pair for pair in pairs if pair[0] not in OF_THE_VERSION)


def of_request(request: ReceivedRequest) -> tuple[object, ...]:
    """What an upstream has received; the request id is another each time."""
    fields = Counter(
        (name.lower(), b"" if name.lower() == b"x-request-id" else value)
        for name, value in request.fields
    )
    return request.method, request.target, request.version, fields, request.body, request.complete


class Maker:
    """Makes exchanges up."""

    def __init__(self, seed: int, host: bytes) -> None:
        self.random = random.Random(seed)
        self.host = host

    def exchanges(self) -> Iterator[Exchange]:
        """So many as are wanted."""
        for number in range(COUNT):
            yield self.exchange(b"/e%d" % number)

    def exchange(self, path: bytes) -> Exchange:
        """One."""
        roll = self.random
        method = roll.choice(_METHODS)
        content = None
        if method not in (b"GET", b"HEAD", b"TRACE") or roll.random() < 0.1:
            content = self.content()
        cut = roll.random() < 0.25
        return Exchange(
            host=b"nobody.test" if roll.random() < 0.05 else self.host,
            method=method,
            target=path + roll.choice((b"", b"?", b"?a=b&c=%20", b"?%zz", b"?\xe4", b"?a?b/../c")),
            fields=tuple(roll.sample(_REQUEST_FIELDS, roll.randint(0, 6))),
            cookies=tuple(roll.sample(_COOKIES, roll.randint(0, 4))),
            crumbs=roll.random() < 0.5,
            content=content,
            announced=roll.random() < 0.5,
            trailers=roll.random() < 0.5,
            script=self.script(method, cut=cut),
            cut=cut,
        )

    def content(self) -> bytes:
        """A body; now and then one that is too large."""
        size = self.random.choice((0, 1, 10, 1000, 16384, 16385, 100_000, BODY_LIMIT + 1))
        return self.random.randbytes(size)

    def script(self, method: bytes, *, cut: bool) -> Script:
        """A response, perhaps cut; or something that is none."""
        roll = self.random
        if roll.random() < 0.05:
            return roll.choice((Answer((b"nonsense\r\n\r\n",), "close"), Answer((), "reset")))
        status = roll.choice(_STATUSES)
        lines = [b"%b: %b" % one for one in roll.sample(_RESPONSE_FIELDS, roll.randint(0, 5))]
        content = roll.randbytes(roll.choice((0, 1, 500, 16384, 16385, 70_000)))
        bodiless = method == b"HEAD" or status in (204, 304)
        framing = roll.choice(("length", "chunked", "close"))
        if status == 204:
            content = b""
        elif framing == "length":
            lines.append(b"Content-Length: %d" % len(content))
        elif framing == "chunked":
            lines.append(b"Transfer-Encoding: chunked")
            content = self.chunked(content)
        else:
            lines.append(b"Connection: close")
        head = b"\r\n".join([b"HTTP/1.1 %d Reason" % status, *lines, b"", b""])
        if roll.random() < 0.1:
            head = b"HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n" + head
        if bodiless:
            return Answer((head,), "close" if framing == "close" else "keep")
        if cut and framing != "close" and content:
            return Answer((head + content[: len(content) // 2],), roll.choice(("close", "reset")))
        half = len(content) // 2
        pieces = (head, content[:half], content[half:])
        return Answer(pieces, "close" if framing == "close" else "keep")

    def chunked(self, content: bytes) -> bytes:
        """In chunks, perhaps with trailers."""
        size = self.random.choice((1000, 7000, 100_000))
        parts = [content[at : at + size] for at in range(0, len(content), size)]
        chunks = b"".join(b"%x\r\n%b\r\n" % (len(part), part) for part in parts)
        trailer = b"X-Trailer: t\r\n" if self.random.random() < 0.7 else b""
        return chunks + b"0\r\n" + trailer + b"\r\n"


class SameTests(ProxyCase):
    """See the module."""

    OVERRIDES = {"body": {"limit_bytes": BODY_LIMIT}}

    def over_h1(self, exchange: Exchange) -> Outcome:
        """Play it over HTTP/1.1, on a connection of its own."""
        lines = [b"%b: %b" % one for one in exchange.fields]
        if exchange.cookies:
            lines.append(b"Cookie: " + b"; ".join(exchange.cookies))
        if exchange.trailers:
            lines += [b"TE: trailers", b"Connection: TE"]
        content = exchange.content
        if content is not None and exchange.announced:
            lines.append(b"Content-Length: %d" % len(content))
        elif content is not None:
            lines.append(b"Transfer-Encoding: chunked")
            chunk = b"%x\r\n%b\r\n" % (len(content), content) if content else b""
            content = chunk + b"0\r\n\r\n"
        raw = self.request(
            exchange.target,
            *lines,
            method=exchange.method,
            host=exchange.host,
            body=content or b"",
        )
        with self.client() as client:
            answer = client.send(raw).read_response(exchange.method)
        return Outcome(
            answer.status,
            lowered(answer.fields),
            answer.body,
            answer.complete,
            [(name.lower(), value) for name, value in answer.trailers],
            [one.status for one in answer.interim],
        )

    def over_h2(self, client: RawH2, stream: int, exchange: Exchange) -> Outcome:
        """Play it over HTTP/2, on a connection of them all."""
        more = list(exchange.fields)
        crumbs = exchange.cookies if exchange.crumbs else (b"; ".join(exchange.cookies),)
        if exchange.cookies:
            more += [(b"cookie", crumb) for crumb in crumbs]
        if exchange.trailers:
            more.append((b"te", b"trailers"))
        content = exchange.content
        if content is not None and exchange.announced:
            more.append((b"content-length", b"%d" % len(content)))
        fields = client.fields(exchange.target, *more, method=exchange.method, host=exchange.host)
        client.send(headers(stream, fields, end=content is None))
        if content is not None:
            self.upload(client, stream, content)
        answer = client.answer(stream)
        if answer.reset == PROTOCOL_ERROR and not answer.status:
            return MALFORMED
        return Outcome(
            answer.status,
            lowered(answer.fields),
            answer.body,
            answer.ended,
            answer.trailers,
            answer.interim,
        )

    def upload(self, client: RawH2, stream: int, content: bytes) -> None:
        """A body in frames. (It fits the stream's window, and the connection's is given back.)"""
        parts = [content[at : at + MAX_FRAME] for at in range(0, len(content), MAX_FRAME)] or [b""]
        for part in parts[:-1]:
            client.send(body(stream, part))
        client.send(body(stream, parts[-1], end=True))

    def test_same(self) -> None:
        """Whatever is asked and answered."""
        self.play(SEED)

    def play(self, seed: int) -> None:
        """All exchanges of a seed."""
        client = RawH2(self.proxy.https_port, self.HOST)
        self.addCleanup(client.close)
        kinds: Counter[Any] = Counter()
        maker = Maker(seed, self.HOST.encode())
        for number, exchange in enumerate(maker.exchanges()):
            self.upstream.forget()
            self.upstream.answers[exchange.target.split(b"?")[0]] = exchange.script
            first = self.over_h1(exchange)
            received = self.received()
            self.upstream.forget()
            self.upstream.answers[exchange.target.split(b"?")[0]] = exchange.script
            second = self.over_h2(client, 2 * number + 1, exchange)
            shown = f"{number}: {str(exchange)[:600]}"
            self.assertEqual(self.received(), received, shown)
            self.check_outcomes(first, second, shown)
            kinds[first.status] += 1
            kinds["whole" if first.whole else "cut"] += 1
            kinds["received"] += len(received)
            kinds["trailers"] += bool(first.trailers)
            kinds["interim"] += bool(first.interim)
        self.assertIsNone(client.goaway)
        self.check_variety(kinds)

    def received(self) -> list[tuple[object, ...]]:
        """What has reached the upstream.

        A request that was cut may have come in part, and one may have come twice: it is repeated
        when it met a connection that was kept and then reset.
        """
        received = [of_request(one) for one in self.upstream.requests if one.complete]
        return [one for at, one in enumerate(received) if one not in received[:at]]

    def check_outcomes(self, first: Outcome, second: Outcome, shown: str) -> None:
        """The same for both clients; of a cut one as much as came."""
        if second is MALFORMED:
            self.assertEqual(first.status, 400, shown)
            return
        self.assertEqual((first.status, first.whole), (second.status, second.whole), shown)
        self.assertEqual(first.fields, second.fields, shown)
        self.assertEqual(first.interim, second.interim, shown)
        if first.whole:
            self.assertEqual(first.content, second.content, shown)
            self.assertEqual(first.trailers, second.trailers, shown)
        else:
            shorter, longer = sorted((first.content, second.content), key=len)
            self.assertTrue(longer.startswith(shorter), shown)

    def check_variety(self, kinds: Counter[Any]) -> None:
        """All that is meant to happen has happened."""
        for kind in (200, 204, 304, 404, 405, 413, 502, "whole", "cut", "trailers", "interim"):
            self.assertGreater(kinds[kind], 0, kinds)
        self.assertGreater(kinds["received"], COUNT // 2)
