"""One rate limiter under 1 000 000 addresses, in a process of its own.

Run as ``python -m bench.limiter table|dict`` it prints what it measured. ``dict`` is the obvious
limiter, a dictionary with an object per address, for comparison.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable
from time import perf_counter

from attrs import asdict, frozen

from bench.cpu import resident_bytes

ADDRESSES = 1_000_000
_RATE = 10.0
_BURST = 20
_BLOCK = 1000
_ODD = 0x9E3779B1


@frozen
class LimiterFigures:
    """Memory taken, decisions on addresses never seen and seen before, the longest hold-up."""

    bytes: int
    first_us: float
    again_us: float
    longest_ms: float


class DictLimiter:
    """Token buckets in a dictionary, as one would write it first."""

    def __init__(self, rate: float, burst: int) -> None:
        self._rate = rate
        self._burst = burst
        self._buckets: dict[bytes, list[float]] = {}

    def take(self, key: bytes, now: float) -> bool:
        """Whether ``key`` had a token at ``now``."""
        bucket = self._buckets.get(key)
        if bucket is None:
            self._buckets[key] = [self._burst - 1.0, now]
            return True
        tokens = min(self._burst, bucket[0] + (now - bucket[1]) * self._rate)
        bucket[1] = now
        bucket[0] = tokens - 1.0 if tokens >= 1.0 else tokens
        return tokens >= 1.0


def addresses() -> bytes:
    """A million different IPv4 addresses in no order, 4 bytes each."""
    return b"".join((number * _ODD & 0xFFFFFFFF).to_bytes(4, "big") for number in range(ADDRESSES))


def measure(make: Callable[[], Callable[[bytes, float], object]]) -> LimiterFigures:
    """Ask twice about every address, the clock going on by a microsecond a decision.

    Args:
        make: makes the limiter; what it returns decides on packed address and time.
    """
    packed = addresses()
    before = resident_bytes(os.getpid())
    decide = make()
    passes = []
    longest = 0.0
    for start in (0.0, 1.0):
        spent = 0.0
        for block in range(0, ADDRESSES, _BLOCK):
            keys = [packed[at * 4 : at * 4 + 4] for at in range(block, block + _BLOCK)]
            now = start + block * 1e-6
            began = perf_counter()
            for key in keys:
                decide(key, now)
            took = perf_counter() - began
            spent += took
            longest = max(longest, took)
        passes.append(spent / ADDRESSES * 1e6)
    held = resident_bytes(os.getpid()) - before
    usual_ms = _BLOCK * passes[1] / 1e3
    return LimiterFigures(held, passes[0], passes[1], max(0.0, longest * 1e3 - usual_ms))


def make_table() -> Callable[[bytes, float], object]:
    """The proxy's own table, asked as it asks: the address is hashed, then looked up."""
    from revproxy.policy.rate_limit import TokenBuckets, address_key  # noqa: PLC0415

    take = TokenBuckets(_RATE, _BURST).take
    return lambda packed, now: take(address_key(packed), now)


def make_dict() -> Callable[[bytes, float], object]:
    """The dictionary."""
    return DictLimiter(_RATE, _BURST).take


if __name__ == "__main__":
    print(json.dumps(asdict(measure({"table": make_table, "dict": make_dict}[sys.argv[1]]))))
