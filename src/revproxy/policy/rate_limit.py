"""The rate limit: a token bucket per client address, in one table of fixed size.

Owns the buckets, how an address becomes a key, and the numbers that a client is told about its
bucket. Refuses to know clocks (time is a number passed in), requests, and what is answered to
one that is limited.

The table is set-associative, as a processor's cache is: a key may live in one of eight
neighbouring slots only, and a new key takes the one of them that has been silent for longest.
So a decision looks at eight slots at most, memory never grows, nothing is ever swept or resized,
and what is forgotten is approximately the oldest.
"""

from __future__ import annotations

import os
from array import array
from math import ceil, inf

from revproxy.model.http import Field

SLOTS = 2**21
"""Buckets in a table, 24 bytes each: 48 MiB. Twice as many as keys to remember, because keys
fall into sets at random: of 1 000 000, 1 in 150 finds its set full and pushes an older one out;
with 2**20 slots it would be 1 in 8."""

WAYS = 8
"""Slots in which a key may live."""

SLACK = 1e-6
"""The part of a token that rounding may cost a client who waited exactly as long as told."""

_SECRET = os.urandom(16)
_MAPPED = bytes(10) + b"\xff\xff"
_MASK = 2**64 - 1


def address_key(packed: bytes) -> int:
    """The key of a client's address: the same for all that share one bucket.

    IPv4 counts whole, IPv6 by its /64 (what one subscriber gets at least), and an IPv4-mapped
    IPv6 address as the IPv4 address.

    Args:
        packed: the 4 or 16 bytes of the address in network order.

    Returns:
        a number from 1 to 2**64 - 1 that means something in this process only.
    """
    if len(packed) == 16:
        packed = packed[12:] if packed.startswith(_MAPPED) else packed[:8]
    # A keyed hash, or else whoever owns a /32 of IPv6 picks networks that share one set and
    # pushes another client's bucket out of it. CPython's hash of bytes is SipHash, six times
    # cheaper here than blake2b; the random prefix keeps it secret where PYTHONHASHSEED is fixed.
    return hash(_SECRET + packed) & _MASK or 1


class TokenBuckets:
    """Token buckets for many keys, all of one rate and burst (a ``Limiter`` of the seams)."""

    __slots__ = ("_burst", "_keys", "_last_set", "_rate", "_seen", "_tokens")

    def __init__(self, rate: float, burst: int, slots: int = SLOTS) -> None:
        """Make an empty table.

        Args:
            rate: tokens that flow in per second, above 0.
            burst: the most tokens a key can hold, at least 1.
            slots: how many keys are remembered at most: a power of two, at least 8.

        Raises:
            ValueError: one of them is out of its range.
        """
        if slots < WAYS or slots & (slots - 1):
            raise ValueError("slots must be a power of two, at least 8")
        self.configure(rate, burst)
        self._last_set = slots // WAYS - 1
        self._keys = array("Q", [0]) * slots
        self._tokens = array("d", [0.0]) * slots
        # An empty slot was never seen, which makes it the oldest of its set.
        self._seen = array("d", [-inf]) * slots

    @property
    def rate(self) -> float:
        """Tokens that flow in per second."""
        return self._rate

    @property
    def burst(self) -> int:
        """The most tokens a key can hold."""
        return int(self._burst)

    def configure(self, rate: float, burst: int) -> None:
        """Change rate and burst; every bucket is kept and meets them at its next request.

        Raises:
            ValueError: ``rate`` is not above 0, or ``burst`` is below 1.
        """
        if not 0 < rate < inf:
            raise ValueError("rate must be above 0")
        if burst < 1:
            raise ValueError("burst must be at least 1")
        self._rate = float(rate)
        self._burst = float(burst)

    def take(self, key: int, now: float) -> float:
        """Take one token for ``key`` at ``now``; a key not in the table has a full bucket.

        Args:
            key: a non-zero 64-bit number, evenly spread (:func:`address_key`).
            now: seconds of a monotonic clock. Where it has gone back all the same, nothing
                flows in and the bucket goes on from ``now``.

        Returns:
            the tokens left after this one, >= 0; negative when there was none to take: minus
            the seconds until there is one.
        """
        first = (key & self._last_set) * WAYS
        burst = self._burst
        try:
            slot = self._keys.index(key, first, first + WAYS)
        except ValueError:
            slot = self._claim(key, first)
            left = burst - 1.0
        else:
            tokens = self._tokens[slot]
            elapsed = now - self._seen[slot]
            if elapsed > 0.0:
                tokens += elapsed * self._rate
            left = (tokens if tokens < burst else burst) - 1.0
        self._seen[slot] = now
        if left >= 0.0:
            self._tokens[slot] = left
            return left
        if left >= -SLACK:
            self._tokens[slot] = 0.0
            return 0.0
        self._tokens[slot] = left + 1.0
        return left / self._rate

    def _claim(self, key: int, first: int) -> int:
        """Give ``key`` the slot of its set that is empty or has been silent for longest."""
        seen = self._seen[first : first + WAYS]
        slot = first + seen.index(min(seen))
        self._keys[slot] = key
        return slot


def retry_after(left: float) -> int:
    """``Retry-After`` (RFC 9110 10.2.3) for a refusal: whole seconds, at least 1.

    Args:
        left: what ``take`` returned, negative.
    """
    return max(1, ceil(-left - SLACK))


def rate_limit_fields(rate: float, burst: int, left: float, now_unix: float) -> list[Field]:
    """What a client is told about its bucket, in both families of header fields.

    ``Limit`` is the burst, ``Remaining`` the requests that would pass at this moment, and
    ``Reset`` tells when the bucket is full again, so that ``Remaining`` equals ``Limit``: as
    Unix time in ``X-RateLimit-Reset``, in seconds from now in ``RateLimit-Reset``, both
    rounded up.

    Args:
        rate: tokens per second.
        burst: the bucket's size.
        left: what ``take`` returned.
        now_unix: seconds since 1970.
    """
    tokens = left if left >= 0.0 else 1.0 + left * rate
    wait = (burst - tokens) / rate
    limit = b"%d" % burst
    remaining = b"%d" % max(0.0, left)
    return [
        (b"X-RateLimit-Limit", limit),
        (b"X-RateLimit-Remaining", remaining),
        (b"X-RateLimit-Reset", b"%d" % ceil(now_unix + wait)),
        (b"RateLimit-Limit", limit),
        (b"RateLimit-Remaining", remaining),
        (b"RateLimit-Reset", b"%d" % ceil(wait - SLACK)),
    ]
