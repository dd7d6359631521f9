"""Floods over HTTP/2: each ends its own connection, and costs other clients and memory nothing."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from pathlib import Path

from revproxy.wire.h2 import frames
from revproxy.wire.h2.frames import (
    CANCEL,
    CONTINUATION,
    DATA,
    END_HEADERS,
    END_STREAM,
    ENHANCE_YOUR_CALM,
    HEADERS,
    PRIORITY,
    ping,
    rst_stream,
    settings,
    window_update,
)
from tests.support.cases import ProxyCase
from tests.support.conversation import Conversation
from tests.support.h2_raw import WIDE, Answer, RawH2
from tests.support.h2_wire import body, frame, headers, literal_block

MIB = 1 << 20
GROWTH = 6 * MIB


class FloodCase(ProxyCase):
    """A proxy under attack by one client, while another one asks all the time."""

    def attacker(self, **how: bytes) -> RawH2:
        """A connection to the proxy."""
        client = RawH2(self.proxy.https_port, self.HOST, **how)  # type: ignore[arg-type]
        self.addCleanup(client.close)
        return client

    def resident(self) -> int:
        """The proxy's resident memory in bytes."""
        status = Path(f"/proc/{self.proxy.pid}/statm").read_text(encoding="ascii")
        return int(status.split()[1]) * 4096

    def attack(self, act: Callable[[], None], *, growth: int = GROWTH) -> None:
        """Another client's requests take less than 100 ms meanwhile; memory does not grow.

        They are answered by the proxy itself: the upstream shares its core with the attacker. One
        in twenty may take longer, as others use this machine, too.
        """
        honest = self.attacker()
        self.assertEqual(honest.get(1, host=b"x.test").status, 404)
        before, times, most = self.resident(), [], 0
        attacking = threading.Thread(target=act)
        attacking.start()
        while attacking.is_alive() or len(times) < 20:
            started = time.perf_counter()
            answer = honest.get(2 * len(times) + 3, host=b"x.test")
            times.append(time.perf_counter() - started)
            self.assertEqual(answer.status, 404)
            most = max(most, self.resident() - before)
            attacking.join(0.001)
        attacking.join()
        times.sort()
        self.assertLess(times[-1 - len(times) // 20], 0.1)
        self.assertLess(times[-1], 0.5)
        self.assertLess(most, growth, f"grown by {most / MIB:.1f} MiB")

    def flood(self, raw: bytes, *, first: bytes = b"", reason: str, window: bytes = WIDE) -> None:
        """Connections that send this end with ENHANCE_YOUR_CALM and a record of why."""
        lines = len(self.proxy.lines)
        codes = []

        def act() -> None:
            for _ in range(3):
                client = RawH2(self.proxy.https_port, self.HOST, window=window)
                client.send(first, raw)
                client.read()
                codes.append(client.goaway)
                client.close()

        self.attack(act)
        self.assertEqual(codes, [ENHANCE_YOUR_CALM] * 3)
        self.proxy.wait_for_line(f'WARN H2_REFUSED .*error="?{reason}', since=lines)


class FrameFloodTests(FloodCase):
    """Frames that cost more than they say (attacks D30 to D34)."""

    def requests(self, count: int, after: Callable[[int], bytes], path: bytes = b"/") -> bytes:
        """So many requests, each with what comes after it."""
        fields = [(b":method", b"GET"), (b":scheme", b"https"),
                  (b":authority", self.HOST.encode()), (b":path", path)]  # fmt: skip
        numbers = range(1, 2 * count, 2)
        return b"".join(headers(number, fields) + after(number) for number in numbers)

    def test_rapid_reset(self) -> None:
        """D30: requests that are reset at once (CVE-2023-44487)."""
        raw = self.requests(20_000, lambda number: rst_stream(number, CANCEL))
        self.flood(raw, reason="too many resets")

    def test_resets_by_malformed_requests(self) -> None:
        """D31: streams that the proxy has to reset (CVE-2025-8671)."""
        raw = self.requests(20_000, lambda number: b"", path=b"/a b")
        self.flood(raw, reason="too many resets")

    def test_resets_by_window_overflow(self) -> None:
        """D31: by windows that become too large."""
        raw = self.requests(20_000, lambda number: window_update(number, 2**31 - 1))
        self.flood(raw, reason="too many resets")

    def test_resets_by_empty_updates(self) -> None:
        """D31: by windows that become no larger."""
        raw = self.requests(20_000, lambda number: window_update(number, 0))
        self.flood(raw, reason="too many resets")

    def test_resets_by_data_after_the_end(self) -> None:
        """D31: by bodies after the end of the request."""
        raw = self.requests(20_000, lambda number: body(number, b"x"))
        self.flood(raw, reason="too many resets")

    def test_refused_streams(self) -> None:
        """More requests at once than there may be, again and again."""
        self.upstream.answers[b"/held"] = Conversation.hold
        raw = self.requests(20_000, lambda number: b"", path=b"/held")
        self.flood(raw, reason="too many resets")

    def test_continuation(self) -> None:
        """D32: a head that never ends (CVE-2024-27316)."""
        head = frame(HEADERS, END_STREAM, 1, b"\x82")
        empty = frame(CONTINUATION, 0, 1) * 100_000
        self.flood(head + empty, reason="too many continuation frames")
        part = frame(CONTINUATION, 0, 1, b"\0" * 16384) * 100
        self.flood(head + part, reason="header block too large")

    def test_settings(self) -> None:
        """D34: SETTINGS."""
        self.flood(settings({1: 0}) * 100_000, reason="too many settings frames")

    def test_pings(self) -> None:
        """D34: PING (CVE-2019-9512)."""
        self.flood(ping(b"12345678", ack=False) * 100_000, reason="too many pings")

    def test_priorities(self) -> None:
        """D34: PRIORITY (CVE-2019-9513)."""
        self.flood(frame(PRIORITY, 0, 3, b"\0\0\0\0\1") * 100_000, reason="too many priority")

    def test_unknown_frames(self) -> None:
        """Frames that nobody knows."""
        self.flood(frame(99, 0, 0, b"x") * 100_000, reason="too many priority or unknown")

    def test_empty_data(self) -> None:
        """D34: DATA without content (CVE-2019-9518)."""
        first = headers(1, [(b":method", b"POST"), *_fields(self.HOST)], end=False)
        self.flood(frame(DATA, 0, 1) * 100_000, first=first, reason="too many empty frames")

    def test_window_updates(self) -> None:
        """D34: WINDOW_UPDATE."""
        self.flood(window_update(0, 1) * 100_000, reason="too many window updates", window=b"")


class HeadFloodTests(FloodCase):
    """D33: heads that are much larger than they look."""

    def test_hpack_bomb(self) -> None:
        """A large field that is named again and again by one byte is 431."""
        start = literal_block([(b":method", b"GET"), *_fields(self.HOST)])
        entry = b"\x40\x01x" + b"\x7f\xa1\x1e" + b"y" * 4000  # "x" with 4 000 bytes, indexed
        answers: list[Answer] = []

        def act() -> None:
            client = RawH2(self.proxy.https_port, self.HOST)
            client.send(frame(HEADERS, END_HEADERS | END_STREAM, 1, start + entry))
            for number in range(3, 203, 2):
                bomb = start + b"\xbe" * 16_000
                client.send(frame(HEADERS, END_HEADERS | END_STREAM, number, bomb))
            client.read(lambda: sum(one.over for one in client.answers.values()) == 101)
            answers.extend(client.answers[number] for number in range(1, 203, 2))
            client.close()

        self.attack(act)
        self.assertEqual([one.status for one in answers], [200] + [431] * 100)
        self.assertEqual(sum(bool(one.values(b"x")) for one in self.upstream.requests), 1)

    def test_cookie_crumbs(self) -> None:
        """Thousands of crumbs are 431, and no giant Cookie reaches the upstream."""
        crumb = b"\x0f\x11\x01a"  # cookie: a, without indexing
        start = literal_block([(b":method", b"GET"), *_fields(self.HOST)])
        statuses: list[int] = []

        def act() -> None:
            client = RawH2(self.proxy.https_port, self.HOST)
            for number in range(1, 201, 2):
                head = start + crumb * 4000
                client.send(frame(HEADERS, END_HEADERS | END_STREAM, number, head))
                statuses.append(client.answer(number).status)
            client.close()

        self.attack(act)
        self.assertEqual(statuses, [431] * 100)
        self.assertFalse(any(one.values(b"cookie") for one in self.upstream.requests))


class RequestFloodCase(FloodCase):
    """Requests that are answered at once, in masses."""

    COUNT = 5000

    def requests(self, count: int, method: bytes = b"GET") -> bytes:
        """So many requests to a host that nobody has."""
        fields = [
            (b":method", method),
            (b":scheme", b"https"),
            (b":authority", b"nobody.test"),
            (b":path", b"/"),
        ]
        return b"".join(headers(number, fields) for number in range(1, 2 * count, 2))

    def statuses(self, source: str = "") -> list[int]:
        """What all of them are answered with, sent at once."""
        statuses: list[int] = []

        def act() -> None:
            client = RawH2(self.proxy.https_port, self.HOST, source=source)
            client.send(self.requests(self.COUNT))
            client.read(lambda: sum(one.over for one in client.answers.values()) == self.COUNT)
            statuses.extend(one.status for one in client.answers.values())
            client.close()

        self.attack(act)
        return statuses


class RequestFloodTests(RequestFloodCase):
    """Without a rate limit."""

    def test_not_found(self) -> None:
        """Requests for a host that nobody has are answered, each, in turns."""
        self.assertEqual(self.statuses(), [404] * self.COUNT)

    def test_never_listening(self) -> None:
        """One that asks and never reads is read no more: its answers take no memory."""

        def act() -> None:
            client = RawH2(self.proxy.https_port, self.HOST)
            client.client.timeout = 1
            try:
                client.send(self.requests(100_000, b"HEAD"))
            except TimeoutError:
                pass
            client.close()

        self.attack(act)


class LimitedFloodTests(RequestFloodCase):
    """The same under a rate limit; the honest client has another address."""

    OVERRIDES = {"rate_limit": {"requests_per_second": 1, "burst": 1000}}

    def test_too_many(self) -> None:
        """Beyond the burst all are 429."""
        statuses = self.statuses("127.0.0.2")
        self.assertIn(statuses.count(404), range(1000, 1010))
        self.assertEqual(statuses.count(404) + statuses.count(429), self.COUNT)


class ZeroWindowTests(FloodCase):
    """D28: large responses that are never taken."""

    SIZE = 4 * MIB
    STREAMS = 100

    def test_many_large_responses(self) -> None:
        """What waits for a client that takes nothing is bounded, for all its streams together."""
        large = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % self.SIZE + b"x" * self.SIZE
        self.upstream.answers[b"/large"] = large
        window = settings({frames.INITIAL_WINDOW_SIZE: 0})

        def act() -> None:
            client = RawH2(self.proxy.https_port, self.HOST, window=window)
            for number in range(1, 2 * self.STREAMS, 2):
                client.send(headers(number, client.fields(b"/large")))
            client.read(lambda: len(client.answers) == self.STREAMS)
            deadline = time.monotonic() + 1
            while time.monotonic() < deadline:
                client.ping()
                threading.Event().wait(0.05)
            client.close()

        self.attack(act, growth=16 * MIB)


def _fields(host: str) -> list[tuple[bytes, bytes]]:
    return [(b":scheme", b"https"), (b":authority", host.encode()), (b":path", b"/")]
