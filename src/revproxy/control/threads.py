"""Threads that may hang without holding anything up.

Owns their nature: the process waits for none of them at its end. (The reactor joins the threads of
its own pool.) Refuses to know what is done in them.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from functools import partial
from threading import Thread
from typing import Any

from twisted.python.threadpool import ThreadPool

InThread = Callable[[Callable[[], Any]], Awaitable[Any]]
"""Calls something in a thread and waits for what it returns."""


def daemon_threads(most: int, name: str) -> ThreadPool:
    """A pool of at most ``most`` such threads, each begun at its first use."""
    threads = ThreadPool(0, most, name)
    threads.threadFactory = partial(Thread, daemon=True)  # type: ignore[assignment]
    threads.start()
    return threads
