"""The requests of one HTTP/2 connection: what its layer tells becomes exchanges.

Owns the reading half of the connection: turns, so that no connection keeps the others waiting,
and what the layer's ``Receiver`` is told. Writing, the transport and the end are in
``h2_front.py``, which builds on this; each stream's own front is ``h2_stream.py``. Refuses to know
TLS, routing and upstreams.
"""

from __future__ import annotations

from typing import Any

from revproxy.errors import BadRequest
from revproxy.model.http import Field, RequestHead
from revproxy.model.tls import Identity
from revproxy.net.deadlines import NEVER
from revproxy.net.h2_all_streams import AllStreams
from revproxy.net.h2_stream import H2Stream
from revproxy.net.intake import Intake
from revproxy.net.leaving import Leaving
from revproxy.net.plan import ListenerPort, Plan
from revproxy.net.stall import Stall
from revproxy.policy.forwarded import Client, connection_key, settle_peer
from revproxy.wire.h2.connection import H2Connection
from revproxy.wire.h2.errors import H2ConnectionError
from revproxy.wire.h2.frames import REFUSED_STREAM
from revproxy.wire.h2.limits import H2Limits
from revproxy.wire.h2.stream import Stream

CHECK_SECS = 5.0
"""Between two looks whether the client takes what is held for its streams."""


class H2Requests:
    """The reading half of a connection, and the ``Receiver`` of its layer.

    Args:
        port: the port it came in by.
        peer: its peer's address.
        identity: the certificate that was presented.

    Attributes:
        key: of the client's address, by which its requests are counted.
    """

    __slots__ = ("_all", "_bodies", "_corked", "_deadlines", "_ending", "_flush_due", "_h2",
                 "_intake", "_leaving", "_opened", "_peer_address", "_plan", "_serving",
                 "_stall", "deadline", "identity", "key", "paused", "peer", "port",
                 "transport")  # fmt: skip

    def __init__(self, port: ListenerPort, peer: str, identity: Identity | None) -> None:
        self.port = port
        self.identity = identity
        self.paused = False
        self.deadline = NEVER
        self.transport: Any = None
        self._deadlines = port.deadlines
        self._peer_address = peer
        self.key = connection_key(peer, port.router.plan.trusted)
        self._adopt(port.router.plan)
        self._h2 = H2Connection(self, H2Limits.of(self._plan.limits, connect_protocol=True))
        self._intake = Intake(None)
        self._stall = Stall()
        self._leaving: Leaving | None = None
        self._opened = self._deadlines.now
        self._all = AllStreams(self._h2)
        self._bodies: list[H2Stream] = []
        self._corked = self._flush_due = False
        self._serving = self._ending = False

    def _adopt(self, plan: Plan) -> None:
        """Take what depends on the generation from ``plan``."""
        self._plan = plan
        scheme = b"https" if self.port.secure else b"http"
        self.peer: Client = settle_peer(self._peer_address, scheme, plan.trusted)

    def _present_plan(self) -> Plan:
        plan = self.port.router.plan
        if plan is not self._plan:
            self._adopt(plan)
        return plan

    # Reading

    def _read(self, data: bytes) -> None:
        """Read frames; what comes of them leaves as one write.

        A client that asks a lot at once is answered in several turns, others having theirs.
        """
        self._corked = True
        try:
            self._h2.receive(data, self._deadlines.now)
        except H2ConnectionError as error:
            self._bodies.clear()
            self._refuse(error)
            return
        finally:
            self._corked = False
        bodies, self._bodies = self._bodies, []
        for body in bodies:
            body.flush_body()
        self._flush()
        if self.paused and self._h2.gathered > self._plan.limits.request_head_bytes:
            self._intake.set(held=True)
        if self._h2.behind and not self._intake.ahead:
            self._intake.set(ahead=True)
            self._deadlines.soon(self._read_on)

    def _read_on(self) -> None:
        """The next turn."""
        if self._leaving is None:
            self._intake.set(ahead=False)
            self._read(b"")
            if self._intake.closed and not self._h2.behind and self._leaving is None:
                self._read_ended()

    # From the layer

    def request(self, stream: Stream, head: RequestHead, *, end: bool) -> None:
        """A request has begun."""
        plan = self._present_plan()
        if not self._serving:
            self._serving = True
            self.deadline = self._deadlines.now + CHECK_SECS
        if not self.port.gate.enter_stream(self.key):
            self._h2.reset(stream, REFUSED_STREAM)  # which the client may try again
            if self.port.gate.due("h2_streams"):
                record = (("client_ip", self._peer_address), ("limit", "h2_streams"))
                plan.log.record("warn", "CONNECTION_LIMIT", record)
            return
        stream.owner = owner = H2Stream(self, self._h2, stream, plan)
        owner.begin(head)

    def bad_request(self, stream: Stream, error: BadRequest) -> None:
        """A request is refused with a status."""
        stream.owner = owner = H2Stream(self, self._h2, stream, self._present_plan())
        owner.refuse(error)

    def body(self, stream: Stream, content: bytes) -> None:
        """A part of a request body."""
        owner: H2Stream = stream.owner
        if owner not in self._bodies:
            self._bodies.append(owner)
        owner.body(content)

    def end(self, stream: Stream, trailers: list[Field]) -> None:
        """A request is complete."""
        owner: H2Stream = stream.owner
        if owner not in self._bodies:
            self._bodies.append(owner)
        owner.end()

    def reset(self, stream: Stream, code: int) -> None:
        """A stream is gone."""
        owner, stream.owner = stream.owner, None
        owner.lost()

    def full(self, stream: Stream) -> None:
        """Enough is held of a response."""
        if stream.owner is not None:
            stream.owner.pause()

    def drained(self, stream: Stream) -> None:
        """What was held has left."""
        if stream.owner is not None:
            stream.owner.resume()

    def goaway(self, code: int) -> None:
        """The client opens no more streams."""
        self._ending = True

    # What the writing half does

    def flush(self) -> None:
        """Send what was said (from an exchange)."""
        raise NotImplementedError

    def _flush(self) -> None:
        """Send what was said, now."""
        raise NotImplementedError

    def _refuse(self, error: H2ConnectionError) -> None:
        """The connection cannot go on."""
        raise NotImplementedError

    def _read_ended(self) -> None:
        """The client sends no more, and everything that it has sent is read."""
        raise NotImplementedError
