"""The orderly end: what is in flight may finish, for a while.

Owns who is told, how long it may take, and that it does not take longer. Refuses to know signals
and what a connection does when it is told.
"""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import Deferred

from revproxy.model.seams import AccessLog
from revproxy.net.downstream import Downstream
from revproxy.net.gate import Gate
from revproxy.net.plan import ResourceRouter
from revproxy.policy.connection_limit import ConnectionLimit

ABORT_SECS = 1.0
"""How long connections that were cut may take to be gone; they need one turn of the reactor."""


MOST_AT_ONCE = 100
"""Connections that are told in one turn of the reactor: thousands that are idle and end together
would keep everybody waiting who is not."""


class Drain:
    """Ends all downstream connections.

    Args:
        reactor: for the time.
        router: tells connections to come that the end has begun.
        connections: the open ones.
        gate: tells when the last has gone.
        log: told of the beginning and of a cut.
        timeout: seconds that what is in flight may take.
    """

    def __init__(
        self,
        reactor: Any,
        router: ResourceRouter,
        connections: ConnectionLimit[Any],
        gate: Gate,
        log: AccessLog,
        timeout: float,
    ) -> None:
        self._reactor = reactor
        self._router = router
        self._connections = connections
        self._gate = gate
        self._log = log
        self._timeout = timeout
        self._done: Deferred[None] | None = None
        self._timer: Any = None
        self._end = 0.0
        self._untold: list[Downstream] = []

    @property
    def left(self) -> float | None:
        """Seconds until what is still in flight is cut; None before the beginning."""
        if self._timer is None:
            return None
        left: float = self._end - self._reactor.seconds()
        return max(0.0, left)

    def begin(self) -> Deferred[None]:
        """Let connections end; called once, after the last has been accepted.

        Returns:
            fires when none is left, at the latest soon after the time is up.
        """
        done: Deferred[None] = Deferred()
        self._done = done
        open_now = self._connections.total
        fields = (("connections", open_now), ("timeout_secs", self._timeout))
        self._log.record("info", "DRAIN", fields)
        self._router.draining = True
        self._gate.emptied = self._finished
        self._timer = self._reactor.callLater(self._timeout, self.cut)
        self._end = self._reactor.seconds() + self._timeout
        # Their protocols, which stay when a connection goes before its turn.
        self._untold = [transport.protocol for transport in self._connections.all()]
        self._tell()
        if not self._connections.total:
            self._finished()
        return done

    def _tell(self) -> None:
        """Let connections drain, as many as one turn of the reactor allows."""
        told, self._untold = self._untold[:MOST_AT_ONCE], self._untold[MOST_AT_ONCE:]
        for downstream in told:
            downstream.drain()
        if self._untold:
            self._reactor.callLater(0, self._tell)

    def cut(self) -> None:
        """Let nothing finish any more; before :meth:`begin`, from its beginning on."""
        if self._done is None:
            self._timeout = 0.0
            return
        self._log.record("warn", "DRAIN", (("cut", self._connections.total),))
        self._untold.clear()
        self._end = 0.0
        if self._timer.active():
            self._timer.cancel()
        self._timer = self._reactor.callLater(ABORT_SECS, self._finished)
        for transport in self._connections.all():
            transport.protocol.cut()

    def _finished(self) -> None:
        done, self._done = self._done, None
        if done is not None:
            if self._timer.active():
                self._timer.cancel()
            done.callback(None)
