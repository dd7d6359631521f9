"""Mutations of valid requests: a valid status or a close, never an exception in the log."""

from __future__ import annotations

import random

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.support.byte_stream import StreamEndedError
from tests.support.cases import ProxyCase
from tests.support.conversation import Answer, ReceivedRequest
from tests.support.raw_client import BadAnswerError, RawClient

HOST = b"Host: site.test\r\n"
CHUNKS = b"5;a=b\r\nhello\r\n1\r\n!\r\n0\r\nT: u\r\n\r\n"
REQUESTS = [
    b"GET /a?b=c HTTP/1.1\r\n" + HOST + b"Accept: */*\r\n\r\n",
    b"POST /p HTTP/1.1\r\n" + HOST + b"Content-Length: 5\r\n\r\nhello",
    b"POST /c HTTP/1.1\r\n" + HOST + b"Transfer-Encoding: chunked\r\n\r\n" + CHUNKS,
    b"GET http://site.test/x HTTP/1.1\r\n" + HOST + b"Connection: close, X-Y\r\nX-Y: z\r\n\r\n",
    b"PUT /e HTTP/1.1\r\n" + HOST + b"Expect: 100-continue\r\nContent-Length: 2\r\n\r\nhi",
    b"GET /o HTTP/1.0\r\n" + HOST + b"Connection: keep-alive\r\n\r\n",
    b"OPTIONS * HTTP/1.1\r\n" + HOST + b"Max-Forwards: 0\r\n\r\n",
    b"GET /u HTTP/1.1\r\n" + HOST + b"Connection: Upgrade\r\nUpgrade: websocket\r\n\r\n",
]
SPLICES = [
    b"", b"\r", b"\n", b"\r\n", b"\r\n\r\n", b"\x00", b" ", b"\t", b":", b",", b"\xff", b"0", b"1",
    b"Content-Length: 3\r\n", b"Transfer-Encoding: chunked\r\n", HOST, b"HTTP/1.1", b"#", b"%",
    b"ffffffff", b"-1", b"Expect: 100-continue\r\n", b"Connection: close\r\n", b"x" * 5000,
]  # fmt: skip
RESPONSES = [
    b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nX: y\r\n\r\nhello",
    b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\nT: u\r\n\r\n",
    b"HTTP/1.0 404 Not Found\r\nDate: x\r\n\r\nhello",
    b"HTTP/1.1 103 Early Hints\r\nLink: a\r\n\r\nHTTP/1.1 204 No Content\r\n\r\n",
    b"HTTP/1.1 304 Not Modified\r\nConnection: close, X\r\nX: y\r\nETag: z\r\n\r\n",
]
STATUSES = {200, 204, 301, 400, 404, 405, 408, 413, 414, 417, 421, 431, 501, 502, 505}


def mutate(choose: random.Random, valid: list[bytes], count: int = 3) -> bytes:
    """Up to ``count`` valid messages in a row, spoiled in up to three places."""
    raw = b"".join(choose.choice(valid) for _ in range(choose.randint(1, count)))
    for _ in range(choose.randint(0, 3)):
        start = choose.randrange(len(raw) + 1)
        end = min(len(raw), start + choose.choice((0, 0, 1, 2, 20)))
        raw = raw[:start] + choose.choice(SPLICES) + raw[end:]
    return raw[: choose.randint(0, len(raw))] if choose.random() < 0.2 else raw


class FuzzTests(ProxyCase):
    """Whatever comes in, what goes out is HTTP."""

    OVERRIDES = {
        "timeouts": {
            "request_head_secs": 1,
            "request_body_secs": 1,
            "keepalive_secs": 1,
        },
        "limits": {"max_connections_per_ip": 0},
    }

    def assert_only_valid_answers(self, client: RawClient, raw: bytes) -> None:
        """What comes back until the close is a row of whole responses, if anything."""
        while True:
            try:
                response = client.read_response()
            except StreamEndedError:
                self.assertEqual(client.stream.waiting(), b"", raw)
                return
            except TimeoutError:
                self.fail(f"neither an answer nor a close for {raw!r}")
            self.assertIn(response.status, STATUSES, raw)

    def assert_sane(self, request: ReceivedRequest) -> None:
        """What went upstream is framed in one way, for the one site there is."""
        framing = request.values(b"Content-Length") + request.values(b"Transfer-Encoding")
        self.assertLessEqual(len(framing), 1, request.head)
        self.assertEqual(request.version, b"HTTP/1.1", request.head)
        self.assertIn(b"site.test", (request.value(b"Host") or b"").lower())
        self.assertEqual(request.value(b"X-Real-IP"), b"127.0.0.1")
        self.assertNotIn(b"\x00", request.head)
        self.assertEqual(request.head.count(b"\n"), request.head.count(b"\r\n"))

    @settings(
        max_examples=250,
        deadline=None,
        derandomize=True,
        database=None,
        suppress_health_check=list(HealthCheck),
    )
    @given(st.randoms(use_true_random=False), st.lists(st.integers(1, 200), max_size=4))
    def test_plain_port(self, choose: random.Random, cuts: list[int]) -> None:
        """Mutated and split requests on the plain port."""
        raw = mutate(choose, REQUESTS)
        pieces = []
        for cut in cuts:
            pieces.append(raw[:cut])
            raw = raw[cut:]
        with self.plain_client() as client:
            client.send(*filter(None, [*pieces, raw])).half_close()
            self.assert_only_valid_answers(client, b"".join([*pieces, raw]))

    def test_tls_port(self) -> None:
        """Mutated requests on the TLS port, and what of them reached the upstream."""
        choose = random.Random(20260728)
        sent = [mutate(choose, REQUESTS) for _ in range(200)]
        clients = [self.client(timeout=5).send(raw) for raw in sent]
        for client, raw in zip(clients, sent, strict=True):
            self.assert_only_valid_answers(client, raw)
        self.assertGreater(len(self.upstream.requests), 50)
        for request in self.upstream.requests:
            self.assert_sane(request)
        self.assertEqual(self.get(b"/sentinel").status, 200)

    def test_responses(self) -> None:
        """Mutated and split responses reach the client as valid ones, or as 502, or cut."""
        choose = random.Random(20260729)
        client = self.client()
        statuses = set()
        for _ in range(400):
            raw = mutate(choose, RESPONSES, count=1)
            at = choose.randint(0, len(raw))
            then = choose.choice(("close", "reset"))
            self.upstream.answers[b"/r"] = Answer((raw[:at], raw[at:]), then=then)
            try:
                response = client.ask(self.request(b"/r"))
            except (StreamEndedError, BadAnswerError) as error:
                self.fail(f"{error!r} for {raw!r}")
            statuses.add(response.status)
            if response.framing == "close" or not response.complete:
                self.assertTrue(client.is_closed_by_proxy(), raw)
                client.close()
                client = self.client()
        self.assertLessEqual({200, 204, 304, 404, 502}, statuses)
        self.assertEqual(client.ask(self.request(b"/next")).body, b"ok")
