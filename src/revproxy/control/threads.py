"""Threads that may hang without holding anything up.

Owns their nature: the process waits for none of them at its end. (The reactor joins the threads of
its own pool.) Refuses to know what is done in them.
"""

from __future__ import annotations

from functools import partial
from threading import Thread

from twisted.python.threadpool import ThreadPool


def daemon_threads(most: int, name: str) -> ThreadPool:
    """A pool of at most ``most`` such threads, each begun at its first use."""
    threads = ThreadPool(0, most, name)
    threads.threadFactory = partial(Thread, daemon=True)  # type: ignore[assignment]
    threads.start()
    return threads
