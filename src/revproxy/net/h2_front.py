"""The downstream side of HTTP/2: one connection, whose streams are exchanges.

Owns the connection: its transport, its time limits, back-pressure, and how it ends. Requests are
in ``h2_requests.py``, the streams' fronts in ``h2_stream.py``, frames and their rules in
``wire/h2/``. Refuses to know TLS, routing and upstreams.
"""

from __future__ import annotations

from typing import Any

from twisted.internet.interfaces import IHalfCloseableProtocol, IPushProducer
from twisted.python.failure import Failure
from zope.interface import implementer

from revproxy.net.deadlines import NEVER, SLACK_SECS
from revproxy.net.downstream import FIRST_REQUEST_SECS, Summary
from revproxy.net.h2_requests import CHECK_SECS, H2Requests
from revproxy.net.intake import Intake
from revproxy.net.leaving import Leaving
from revproxy.policy.forwarded import connection_key
from revproxy.wire.h2.errors import H2ConnectionError
from revproxy.wire.h2.frames import ENHANCE_YOUR_CALM, NO_ERROR


@implementer(IHalfCloseableProtocol, IPushProducer)
class H2Front(H2Requests):
    """A downstream connection that speaks HTTP/2.

    Args:
        port: the port it came in by.
        peer: its peer's address.
        identity: the certificate that was presented.
    """

    __slots__ = ()

    # From the transport

    def makeConnection(self, transport: Any) -> None:
        """Connected; the handshake is done."""
        self.transport = transport
        self._intake = Intake(transport)
        transport.registerProducer(self, True)
        self.deadline = self._deadlines.after(self._plan.timeouts.request_head_secs)
        self._deadlines.watch(self)
        self._flush()
        if self.port.router.draining:
            self.drain()

    def dataReceived(self, data: bytes) -> None:
        """Bytes of frames."""
        if self._leaving is not None:
            self._leaving.received(len(data))
        else:
            self._read(data)

    def readConnectionLost(self) -> None:
        """The client sends no more: what is complete is still answered."""
        self._intake.closed = True
        if self._leaving is not None:
            self._leaving.close()
        elif not self._h2.behind:
            self._read_ended()

    def _read_ended(self) -> None:
        self._ending = True
        self._all.lose_receiving()
        self._flush()

    def writeConnectionLost(self) -> None:
        """Our FIN has left."""

    def connectionLost(self, reason: Failure) -> None:
        """The connection is gone."""
        if self._leaving is None:
            self._h2.close(NO_ERROR)
            self._leave()
        if self._leaving is not None:
            self._leaving.gone()
        self._all.lose()
        self._h2.forget()

    def pauseProducing(self) -> None:
        """The downstream takes nothing: responses are held, and then their sources wait."""
        if not self.paused:
            self.paused = self._h2.held = True
            until = self._deadlines.after(self._plan.timeouts.response_write_secs)
            self._stall.begin(self.transport.taken, until)

    def resumeProducing(self) -> None:
        """The downstream has taken everything."""
        if self.paused and self._leaving is None:
            self.paused = self._h2.held = False
            self._stall.end()
            self._flush()
            if not self.paused:
                self._intake.set(held=False)

    def stopProducing(self) -> None:
        """The connection is lost; :meth:`connectionLost` follows."""

    def expired(self, now: float) -> None:
        """A time limit has passed, or it is time to look at the streams."""
        timeouts = self._plan.timeouts
        if self._stall.over(now, self.transport.taken, timeouts.response_write_secs):
            self._all.lose()
            self._leave().abort()
        elif self._h2.streams or self._h2.unfinished:
            self.deadline = now + CHECK_SECS
            self._h2.give_up_unfinished()
            self._all.check_stalls(now, timeouts.response_write_secs, paused=self.paused)
            self._flush()
        else:
            self._close()

    def _refuse(self, error: H2ConnectionError) -> None:
        level = "warn" if error.code == ENHANCE_YOUR_CALM else "info"
        record = (("client_ip", self._peer_address), ("error", error.reason))
        self._plan.log.record(level, "H2_REFUSED", record)
        self._all.lose()
        self._leave().linger()

    # Writing

    def flush(self) -> None:
        """Send what was said (from an exchange).

        With several streams at work, what they say in one turn of the reactor leaves as one
        write: a record and a system call for each would cost more than the turn.
        """
        if self._corked or self._flush_due or self._leaving is not None:
            return
        if len(self._h2.streams) > 1:
            self._flush_due = True
            self._deadlines.soon(self._flush)
        else:
            self._flush()

    def _flush(self) -> None:
        self._flush_due = False
        if self._leaving is not None:
            return
        h2 = self._h2
        if not self.paused and (said := h2.take()):
            self.transport.write(said)
            if h2.more and not self.paused:
                self._flush_due = True
                self._deadlines.soon(self._flush)
        if not h2.streams and self._leaving is None:
            self._rest()

    def _rest(self) -> None:
        """No stream is open: the connection ends, or waits for the next request."""
        if self._h2.behind:
            return
        if self._h2.finished or self._ending:
            self._close_lingering()
        elif self._h2.unfinished:
            self.deadline = min(self.deadline, self._deadlines.now + CHECK_SECS)
        elif self._serving:
            self._serving = False
            draining = self.port.router.draining
            secs = FIRST_REQUEST_SECS if draining else self._plan.timeouts.keepalive_secs
            self.deadline = self._deadlines.now + secs + SLACK_SECS
            waiting = self.port.connections.waiting
            if waiting and connection_key(self._peer_address) in waiting:
                self._close_lingering()

    # The end

    def give_way(self) -> bool:
        """Close, if no request is under way and there has been one; returns whether it was so."""
        if self._leaving is not None or self._is_fresh() or self._h2.streams or self._h2.behind:
            return False
        self._close()
        return True

    def _is_fresh(self) -> bool:
        """Whether there has been no request."""
        return not self._h2.last_stream

    @property
    def busy(self) -> bool:
        """Whether an exchange is under way."""
        return self._leaving is None and bool(self._h2.streams)

    @property
    def upgraded(self) -> int:
        """How many streams are tunnels."""
        return sum(one.owner.upgraded for one in self._h2.streams.values() if one.owner)

    def drain(self) -> None:
        """Say GOAWAY; what is under way may end, and what is on its way is still served."""
        if self._leaving is not None or self.give_way():
            return
        self._h2.drain()
        if not self._h2.streams:
            self.deadline = min(self.deadline, self._deadlines.after(FIRST_REQUEST_SECS))
        self._flush()

    def cut(self) -> None:
        """Cut the connection, and the exchanges that are under way."""
        self._all.lose("shutdown")
        leaving = self._leaving or self._leave()
        leaving.abort()

    def summary(self) -> Summary:
        """What the connection is doing: the first of its requests stands for all."""
        head = self._all.first_head()
        state = "idle"
        if head is not None:
            state = "upgraded" if self.upgraded == len(self._h2.streams) else "response"
        return Summary(
            client=self._peer_address,
            secure=self.port.secure,
            server_name="",
            state="closing" if self._leaving is not None else state,
            opened=self._opened,
            host=head.host if head else "",
            method=head.method.decode("latin-1") if head else "",
            path=head.path.decode("latin-1") if head else "",
        )

    def _close(self) -> None:
        """Say GOAWAY, and close."""
        if self.transport.unsent or self.transport.in_flight:
            self._close_lingering()
        else:
            self._say_goaway()
            self._leave().close()

    def _close_lingering(self) -> None:
        """Say GOAWAY, and close when the client has taken the last response.

        While it does so it gives windows back, which must not meet a closed socket: the kernel
        would answer by a reset, and throw away what it still has.
        """
        self._say_goaway()
        leaving = self._leave()
        if self._intake.closed:
            leaving.close()
        else:
            leaving.linger(until_taken=True)

    def _say_goaway(self) -> None:
        if not self._h2.finished:
            self._h2.drain()
            self._h2.drain()

    def _leave(self) -> Leaving:
        """Say the last, and let go of the connection."""
        said = self._h2.take()
        self.transport.unregisterProducer()
        self.deadline = NEVER
        self._deadlines.forget(self)
        if said:
            self.transport.write(said)
        secs = self._plan.timeouts.response_write_secs
        self._leaving = Leaving(self.transport, self._deadlines, secs)
        return self._leaving
