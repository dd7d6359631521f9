"""What all renewals of automatic certificates share, and what an attempt comes to.

Owns the shapes only.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from typing import Any

from attrs import frozen
from twisted.internet.defer import DeferredSemaphore

from revproxy.control.threads import InThread
from revproxy.model.seams import AccessLog
from revproxy.tls.acme.issue import Issue
from revproxy.tls.acme.session import Session
from revproxy.tls.acme.store import Store
from revproxy.tls.acme.wanted import Wanted


@frozen(eq=False)
class Tools:
    """What all renewals share.

    Attributes:
        reactor: for the time.
        wall: seconds since 1970.
        random: a number from 0 to 1.
        in_thread: calls what blocks.
        log: told of what happens.
        slots: bounds how many orders are under way.
        serve: loads the certificates anew and serves them.
        issue: prepares an order of what is wanted: its session and store, the names, and the
            challenge to prefer.
    """

    reactor: Any
    wall: Callable[[], float]
    random: Callable[[], float]
    in_thread: InThread
    log: AccessLog
    slots: DeferredSemaphore
    serve: Callable[[], Awaitable[None]]
    issue: Callable[[Wanted, Session, Store, tuple[str, ...], str], Awaitable[Issue]]


@frozen
class Attempt:
    """What an attempt has come to.

    Attributes:
        error: why it has failed, in the authority's words; ``""`` when it has not.
        not_after: until when what was issued is valid.
    """

    error: str = ""
    not_after: float = 0.0


def told_moment(seconds: float | None) -> str | None:
    """A moment as the log has it."""
    if seconds is None:
        return None
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
