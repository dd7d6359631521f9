"""Time limits of every connection, kept by one coarse sweep instead of a timer each.

Owns the sweep: twice a second every watched object whose ``deadline`` has passed is told. Setting
a deadline is an attribute write, so a request costs no timer (a ``callLater`` costs a heap
operation and an object). A limit fires up to three sweeps late; limits that count from the time
of the last sweep may fire one sweep early. Refuses to know what a limit is for.
"""

from __future__ import annotations

from collections.abc import Callable
from math import inf
from typing import Any, Protocol

from twisted.logger import Logger

from revproxy.model.seams import Clock

_log = Logger()

SWEEP_SECS = 0.5
"""Seconds from one sweep to the next."""

SLACK_SECS = 2 * SWEEP_SECS
"""Added to :attr:`Deadlines.now`, which may be a sweep old, where the exact time is not read."""

NEVER = inf
"""The deadline of what has none."""


class Watched(Protocol):
    """Something with a time limit."""

    deadline: float

    def expired(self, now: float) -> None:
        """The deadline has passed. Unless it is moved, this is called at every sweep."""


class Deadlines:
    """The sweep over everything watched.

    Attributes:
        now: the time of the last sweep; at most :data:`SWEEP_SECS` old, and free to read.
        clock: the exact time.
    """

    def __init__(self, reactor: Any) -> None:
        self._reactor = reactor
        self._watched: set[Watched] = set()
        self._call: Any = None
        self.clock: Clock = reactor.seconds
        self.now = self.clock()

    def start(self) -> None:
        """Begin to sweep."""
        self.now = self.clock()
        self._call = self._reactor.callLater(SWEEP_SECS, self._sweep)

    def stop(self) -> None:
        """Sweep no more."""
        if self._call is not None:
            self._call.cancel()
            self._call = None

    def watch(self, watched: Watched) -> None:
        """Tell ``watched`` when its deadline has passed, until :meth:`forget`."""
        self._watched.add(watched)

    def forget(self, watched: Watched) -> None:
        """Stop watching; harmless for what is not watched."""
        self._watched.discard(watched)

    def after(self, seconds: float) -> float:
        """The deadline that is at least ``seconds`` away."""
        return self.clock() + seconds

    def soon(self, call: Callable[[], None]) -> None:
        """Call ``call`` in the reactor's next turn, after others have had theirs."""
        self._reactor.callLater(0, call)

    def _sweep(self) -> None:
        self.now = now = self.clock()
        self._call = self._reactor.callLater(SWEEP_SECS, self._sweep)
        for watched in [one for one in self._watched if one.deadline < now]:
            # What one does about its deadline may end or move that of another.
            if watched in self._watched and watched.deadline < now:
                self._tell(watched, now)

    def _tell(self, watched: Watched, now: float) -> None:
        """One that fails must not keep the others from being told."""
        try:
            watched.expired(now)
        except Exception:
            self.forget(watched)
            _log.failure("at a time limit")
