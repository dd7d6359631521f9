"""Waiting for a lock that another process may hold, without holding anything up.

Owns how often it is tried. Refuses to know what is locked, and for how long that is worth it.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, Protocol

from revproxy.control.threads import InThread

LOCK_SECS = 1.0
"""Between two tries."""

ANSWER_SECS = 30.0
"""How long who asks for a renewal waits for a process that works on the same certificate."""

TOLD_SECS = 300.0
"""After which the log says that there is one: an order may take so long."""

NAMES_SECS = 900.0
"""How long an order waits for others that have a name in common with it: all of them are at their
end by then, or their process has been stopped."""


class Takeable(Protocol):
    """A lock."""

    def try_acquire(self) -> bool:
        """Take it, unless somebody else holds it."""


async def take(
    lock: Takeable,
    reactor: Any,
    in_thread: InThread,
    pause: Callable[[float], Awaitable[object]],
    held: Callable[[float], bool],
) -> bool:
    """Take a lock.

    Args:
        lock: which.
        reactor: for the time.
        in_thread: calls what blocks.
        pause: waits for so many seconds.
        held: told after each try for how many seconds somebody else has held it; says whether to
            go on.

    Returns:
        whether it has been taken.
    """
    began = reactor.seconds()
    while not await in_thread(lock.try_acquire):
        if not held(reactor.seconds() - began):
            return False
        await pause(LOCK_SECS)
    return True
