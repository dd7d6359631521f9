"""What a lifecycle event means for an exchange: retry, reuse, status.

Owns these decisions as pure functions. Refuses to know connections and buffers.
"""

from __future__ import annotations

IDEMPOTENT = frozenset((b"GET", b"HEAD", b"OPTIONS", b"PUT", b"DELETE"))
"""RFC 9110 9.2.2, less TRACE, which is never passed on."""

CLIENT_CLOSED = 499
"""In the log only: the downstream went away before there was a response (nginx's number)."""

DISCARDED_BODY = 65536
"""Bytes of a request body that are rather read and thrown away, after an answer of the proxy's
own, than cost the downstream its connection."""


def may_retry(
    method: bytes, *, reused: bool, response_begun: bool, body_sent: bool, retried: bool
) -> bool:
    """Whether a request whose upstream connection died is tried again on a new one.

    An idle connection may be closed by the upstream in the very moment it is reused; only then,
    only once, and only when the upstream cannot have acted twice (RFC 9110 9.2.2, 9112 9.3.1).
    """
    return reused and not retried and not response_begun and not body_sent and method in IDEMPOTENT


def too_slow(received: int, active_secs: float, rate: int, grace_secs: float) -> bool:
    """Whether a request body comes slower than ``rate`` bytes a second after its grace.

    Args:
        received: bytes of it so far.
        active_secs: how long it has been coming, the time not counted in which the proxy itself
            had paused the downstream.
        rate: 0 = never too slow.
        grace_secs: counted as if bytes had come at ``rate``.
    """
    return rate > 0 and received < rate * (active_secs - grace_secs)


def can_discard(rest: int, *, expect_continue: bool) -> bool:
    """Whether a connection can go on after an answer that did not wait for the request body.

    Args:
        rest: bytes of the body that have not come yet; -1 when not known (chunked).
        expect_continue: the downstream may or may not send the body, and nobody can tell.
    """
    return 0 <= rest <= DISCARDED_BODY and not expect_continue
