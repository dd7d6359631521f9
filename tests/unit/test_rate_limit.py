"""The token bucket table, address keys, and what a client is told."""

from __future__ import annotations

import os
import subprocess
import sys
from ipaddress import ip_address

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from revproxy.model.seams import Limiter
from revproxy.policy.rate_limit import (
    SLACK,
    SLOTS,
    TokenBuckets,
    address_key,
    rate_limit_fields,
    retry_after,
)

ONE_SET = 8
START = 1_000_000.0


def key_of(text: str) -> int:
    return address_key(ip_address(text).packed)


class NaiveBuckets:
    """The same rule over a dict that never forgets."""

    def __init__(self, rate: float, burst: int) -> None:
        self.rate = rate
        self.burst = burst
        self.buckets: dict[int, tuple[float, float]] = {}

    def take(self, key: int, now: float) -> float:
        tokens, seen = self.buckets.get(key, (self.burst, now))
        tokens = min(self.burst, tokens + max(0.0, now - seen) * self.rate)
        if tokens >= 1:
            self.buckets[key] = (tokens - 1, now)
            return tokens - 1
        self.buckets[key] = (tokens, now)
        return -(1 - tokens) / self.rate


# Eighths and quarters are exact in binary, so both sides must agree to the last bit.
keys = st.integers(min_value=1, max_value=8)
steps = st.integers(min_value=-40, max_value=400).map(lambda eighths: eighths / 8)
rates = st.sampled_from([0.25, 0.5, 1.0, 2.0, 8.0, 64.0])
bursts = st.integers(min_value=1, max_value=12)
takes = st.tuples(keys, steps)
changes = st.tuples(rates, bursts).map(lambda change: ("configure", *change))


class BucketTests(SynchronousTestCase):
    def test_burst_passes_and_next_is_refused(self) -> None:
        """Exactly burst requests pass at once, and the next one is refused."""
        buckets = TokenBuckets(10, 20, ONE_SET)
        lefts = [buckets.take(7, START) for _ in range(21)]
        self.assertEqual(lefts[:20], [float(left) for left in range(19, -1, -1)])
        self.assertAlmostEqual(lefts[20], -0.1)

    def test_refill(self) -> None:
        """Tokens flow in at the rate, and never beyond the burst."""
        buckets = TokenBuckets(10, 20, ONE_SET)
        for _ in range(20):
            buckets.take(7, START)
        self.assertEqual(
            [buckets.take(7, START + 0.25) >= 0 for _ in range(3)], [True, True, False]
        )
        self.assertEqual(buckets.take(7, START + 3600), 19.0)

    def test_refusals_cost_nothing(self) -> None:
        """A client that keeps asking while refused gets its token no later than told."""
        buckets = TokenBuckets(1, 1, ONE_SET)
        buckets.take(7, START)
        for tenth in range(1, 10):
            self.assertLess(buckets.take(7, START + tenth / 10), 0)
        self.assertEqual(buckets.take(7, START + 1), 0.0)

    def test_waiting_as_told_is_enough(self) -> None:
        """Whoever waits exactly as long as a refusal says passes, however times are rounded."""
        for rate in (0.3, 7.0, 10.0, 33.3, 999.0):
            buckets = TokenBuckets(rate, 1, ONE_SET)
            now = START
            buckets.take(7, now)
            for _ in range(200):
                now -= buckets.take(7, now)
                self.assertGreaterEqual(buckets.take(7, now), 0.0)

    def test_keys_are_apart(self) -> None:
        """One key's requests cost another nothing."""
        buckets = TokenBuckets(1, 2, ONE_SET)
        for _ in range(5):
            buckets.take(1, START)
        self.assertEqual(buckets.take(2, START), 1.0)

    def test_time_going_backwards(self) -> None:
        """A clock set back brings no tokens and locks nobody out."""
        buckets = TokenBuckets(1, 2, ONE_SET)
        buckets.take(7, START)
        self.assertEqual(buckets.take(7, START - 1e6), 0.0)
        self.assertLess(buckets.take(7, START - 1e6), 0)
        self.assertEqual(buckets.take(7, START - 1e6 + 1), 0.0)

    def test_huge_gap(self) -> None:
        """However long a key was away, it has its burst and no more."""
        buckets = TokenBuckets(1e9, 3, ONE_SET)
        buckets.take(7, 0.0)
        self.assertEqual(buckets.take(7, 1e300), 2.0)

    def test_reconfigure_keeps_buckets(self) -> None:
        """A new burst caps a bucket at its next request, a new rate fills it from then on."""
        buckets = TokenBuckets(1, 20, ONE_SET)
        self.assertEqual(buckets.take(1, START), 19.0)
        for _ in range(20):
            buckets.take(2, START)
        buckets.configure(2, 5)
        self.assertEqual((buckets.rate, buckets.burst), (2.0, 5))
        self.assertEqual(buckets.take(1, START), 4.0)
        self.assertEqual(buckets.take(2, START), -0.5)
        buckets.configure(2, 50)
        self.assertEqual(buckets.take(1, START), 3.0)

    def test_bad_arguments(self) -> None:
        """Rates, bursts and sizes out of range are refused and leave the table as it was."""
        buckets = TokenBuckets(1, 2, ONE_SET)
        for rate, burst in ((0, 1), (-1, 1), (float("nan"), 1), (float("inf"), 1), (1, 0)):
            self.assertRaises(ValueError, buckets.configure, rate, burst)
        self.assertEqual((buckets.rate, buckets.burst), (1.0, 2))
        for slots in (0, 4, 12, 1000):
            self.assertRaises(ValueError, TokenBuckets, 1, 2, slots)

    def test_is_a_limiter(self) -> None:
        """The table has the shape that the data path asks for."""
        limiter: Limiter = TokenBuckets(1, 2, ONE_SET)
        self.assertEqual(limiter.take(1, 0.0), 1.0)

    @settings(max_examples=150, deadline=None, derandomize=True, database=None)
    @given(rates, bursts, st.lists(st.one_of(takes, changes), max_size=60))
    def test_agrees_with_naive(self, rate: float, burst: int, script: list) -> None:
        """Within its capacity the table decides as a dict of buckets does, to the last bit."""
        table, naive = TokenBuckets(rate, burst, ONE_SET), NaiveBuckets(rate, burst)
        now = START
        for step in script:
            if step[0] == "configure":
                table.configure(*step[1:])
                naive.rate, naive.burst = step[1:]
            else:
                now += step[1]
                self.assertEqual(table.take(step[0], now), naive.take(step[0], now))

    @settings(max_examples=100, deadline=None, derandomize=True, database=None)
    @given(
        st.floats(min_value=0.01, max_value=1e4),
        bursts,
        st.lists(st.floats(min_value=0.0, max_value=20.0), min_size=1, max_size=60),
    )
    def test_never_more_than_allowed(self, rate: float, burst: int, gaps: list[float]) -> None:
        """In no stretch of time do more requests pass than the burst and what flowed in."""
        table = TokenBuckets(rate, burst, ONE_SET)
        now, passed = START, 0
        for gap in gaps:
            now += gap
            passed += table.take(7, now) >= 0
            self.assertLessEqual(passed, burst + (now - START) * rate + SLACK * len(gaps))


class EvictionTests(SynchronousTestCase):
    def test_oldest_of_the_set_goes(self) -> None:
        """A new key in a full set takes the place of the one that was silent for longest."""
        buckets = TokenBuckets(0.001, 5, ONE_SET)
        for key in range(1, 9):
            buckets.take(key, START + key)
        buckets.take(1, START + 20)
        buckets.take(9, START + 21)
        self.assertAlmostEqual(buckets.take(1, START + 22), 2.0, 1)
        self.assertAlmostEqual(buckets.take(3, START + 22), 3.0, 1)
        self.assertEqual(buckets.take(2, START + 22), 4.0)

    def test_flood_of_keys_leaves_recent_ones(self) -> None:
        """Many times more keys than slots pass through, and the newest are still known."""
        buckets = TokenBuckets(0.001, 5, 1024)
        flood = [address_key(os.urandom(4)) for _ in range(20_000)]
        for second, key in enumerate(flood):
            buckets.take(key, START + second / 1000)
        recent = flood[-256:]
        known = sum(buckets.take(key, START + 20) < 4.0 for key in recent)
        self.assertGreater(known, 0.9 * len(recent))

    def test_default_table_holds_a_million(self) -> None:
        """The table is sized for 1 000 000 keys at half load, in less than 64 MiB."""
        self.assertGreaterEqual(SLOTS, 2 * 1_000_000)
        self.assertLessEqual(SLOTS * 24, 64 * 2**20)


class AddressKeyTests(SynchronousTestCase):
    def test_ipv4_whole(self) -> None:
        """Two IPv4 addresses have different keys."""
        self.assertNotEqual(key_of("203.0.113.1"), key_of("203.0.113.2"))

    def test_ipv6_by_network(self) -> None:
        """IPv6 addresses of one /64 share a key, those of two do not."""
        self.assertEqual(key_of("2001:db8::1"), key_of("2001:db8::ffff:0:0:1"))
        self.assertNotEqual(key_of("2001:db8::1"), key_of("2001:db8:0:1::1"))

    def test_mapped(self) -> None:
        """An IPv4-mapped IPv6 address is the IPv4 address."""
        self.assertEqual(key_of("::ffff:203.0.113.1"), key_of("203.0.113.1"))
        self.assertNotEqual(key_of("::ffff:203.0.113.1"), key_of("::1"))

    @settings(max_examples=200, deadline=None, derandomize=True, database=None)
    @given(st.binary(min_size=4, max_size=4) | st.binary(min_size=16, max_size=16))
    def test_range(self, packed: bytes) -> None:
        """Every key is a non-zero number of 64 bits, and the same each time."""
        key = address_key(packed)
        self.assertTrue(0 < key < 2**64)
        self.assertEqual(key, address_key(packed))

    def test_networks_spread_over_sets(self) -> None:
        """The /64s of one /48 do not gather in few sets, whatever bits they differ in."""
        for shift in (0, 8):
            used = {
                address_key(bytes(6) + (number << shift).to_bytes(2, "big") + bytes(8)) & 63
                for number in range(256)
            }
            self.assertGreater(len(used), 48)

    def test_secret(self) -> None:
        """Keys differ between processes, even where PYTHONHASHSEED is fixed."""
        show = "from revproxy.policy.rate_limit import address_key; print(address_key(b'abcd'))"
        environment = {
            **os.environ,
            "PYTHONHASHSEED": "0",
            "PYTHONPATH": os.pathsep.join(sys.path),
        }
        shown = {
            subprocess.run(
                [sys.executable, "-c", show], env=environment, capture_output=True, check=True
            ).stdout
            for _ in range(2)
        }
        self.assertEqual(len(shown), 2)


class FieldTests(SynchronousTestCase):
    def test_fields(self) -> None:
        """Both families tell limit, remaining, and when the bucket is full again."""
        self.assertEqual(
            rate_limit_fields(10.0, 20, 4.5, 1_700_000_000.25),
            [
                (b"X-RateLimit-Limit", b"20"),
                (b"X-RateLimit-Remaining", b"4"),
                (b"X-RateLimit-Reset", b"1700000002"),
                (b"RateLimit-Limit", b"20"),
                (b"RateLimit-Remaining", b"4"),
                (b"RateLimit-Reset", b"2"),
            ],
        )

    def test_refused(self) -> None:
        """A refused request has none remaining, and is told when all are back."""
        fields = dict(rate_limit_fields(0.5, 4, -1.0, 1_700_000_000.0))
        self.assertEqual(fields[b"RateLimit-Remaining"], b"0")
        self.assertEqual(fields[b"RateLimit-Reset"], b"7")
        self.assertEqual(fields[b"X-RateLimit-Reset"], b"1700000007")

    @settings(max_examples=100, deadline=None, derandomize=True, database=None)
    @given(rates, bursts, st.integers(min_value=1, max_value=30))
    def test_reset_is_true(self, rate: float, burst: int, count: int) -> None:
        """After RateLimit-Reset seconds the whole burst passes."""
        table = TokenBuckets(rate, burst, ONE_SET)
        for _ in range(count):
            left = table.take(7, START)
        reset = int(dict(rate_limit_fields(rate, burst, left, 0.0))[b"RateLimit-Reset"])
        self.assertEqual(table.take(7, START + reset), burst - 1)

    def test_retry_after(self) -> None:
        """Retry-After is whole seconds, rounded up, and never 0."""
        self.assertEqual([retry_after(-wait) for wait in (0.01, 1.0, 1.2, 60.0)], [1, 1, 2, 60])
