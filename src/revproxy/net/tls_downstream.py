"""TLS towards the downstream: the ClientHello decides before there is a handshake.

Owns the first flight: it is parsed before OpenSSL sees a byte, so that the certificate, or the
refusal, is chosen first (a context swapped in OpenSSL's own SNI callback would resume one site's
tickets on another). Refuses to know certificates: ``choose`` decides.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

from attrs import evolve
from twisted.python.failure import Failure

from revproxy.model.configuration import Timeouts
from revproxy.model.seams import ChooseIdentity
from revproxy.model.tls import Alert, ClientHello, Identity
from revproxy.net.deadlines import NEVER, Deadlines
from revproxy.net.downstream import FIRST_REQUEST_SECS, Downstream, Summary
from revproxy.net.relay import Relay
from revproxy.net.tls_layer import TlsLayer, Upper, tls_reason
from revproxy.wire.client_hello import BadClientHello, NotTls, parse_client_hello

_PLAIN_HTTP_ANSWER = (
    b"HTTP/1.1 400 Bad Request\r\nContent-Type: text/plain; charset=utf-8\r\n"
    b"Content-Length: 11\r\nConnection: close\r\n\r\nBad Request"
)


class DownstreamUpper(Upper, Downstream, Protocol):
    """What speaks to a downstream through TLS."""


class ServerTls(TlsLayer):
    """The downstream side: reads the ClientHello, asks ``choose``, shakes hands.

    Args:
        choose: decides which identity is served.
        accept: makes the upper protocol once the handshake is done; None closes in order.
        refused: told of refusals, with the log level and the reason.
        passed: makes the relay of a connection that is passed through instead; asked first.
        deadlines: of the connection until then.
        timeouts: of the ClientHello and of the whole handshake, both from accept.
        hello_bytes: the largest ClientHello.
    """

    def __init__(
        self,
        choose: ChooseIdentity,
        accept: Callable[[ServerTls], DownstreamUpper | None],
        refused: Callable[[ServerTls, str, str], None],
        passed: Callable[[ServerTls], Relay | None],
        deadlines: Deadlines,
        timeouts: Timeouts,
        hello_bytes: int,
    ) -> None:
        super().__init__()
        self._choose: ChooseIdentity | None = choose
        self._accept = accept
        self._refused = refused
        self._passed = passed
        self._deadlines = deadlines
        self._timeouts = timeouts
        self._hello_bytes = hello_bytes
        self._flight = b""
        self._opened = 0.0
        self._front: DownstreamUpper | None = None
        self.deadline = NEVER
        self.identity: Identity | None = None
        self.hello = ClientHello()

    def makeConnection(self, transport: Any) -> None:
        """Wait for the ClientHello."""
        super().makeConnection(transport)
        self._opened = self._deadlines.now
        self.deadline = self._deadlines.after(self._timeouts.client_hello_secs)
        self._deadlines.watch(self)

    def give_way(self) -> bool:
        """Close, if the connection is idle; returns whether it was."""
        return self._front is not None and self._front.give_way()

    @property
    def busy(self) -> bool:
        """Whether an exchange is under way."""
        return self._front is not None and self._front.busy

    @property
    def upgraded(self) -> int:
        """As of the front."""
        return 0 if self._front is None else self._front.upgraded

    def drain(self) -> None:
        """Let the front drain; a handshake may still be completed."""
        if self._front is not None:
            self._front.drain()
        else:
            self.deadline = min(self.deadline, self._deadlines.after(FIRST_REQUEST_SECS))

    def cut(self) -> None:
        """End at once."""
        if self._front is not None:
            self._front.cut()
        else:
            self.transport.abortConnection()

    def summary(self) -> Summary:
        """What the connection is doing."""
        name = self.hello.server_name
        if self._front is not None:
            return evolve(self._front.summary(), server_name=name, opened=self._opened)
        state = "closing" if self._read_closed else "handshake"
        return Summary(self.transport.getPeer().host, True, name, state, self._opened)

    def expired(self, now: float) -> None:
        """No ClientHello, or no end of the handshake, in time; or what refuses is not taken."""
        if not self._read_closed:
            self._refuse("debug", "handshake timeout")
        self.transport.abortConnection()

    def _not_flowing(self, data: bytes) -> None:
        """Collect the first flight."""
        if self._tls is not None:
            super()._not_flowing(data)
            return
        if self._read_closed:
            return
        self._flight += data
        try:
            hello = parse_client_hello(self._flight, self._hello_bytes)
        except NotTls:
            self._not_tls()
            return
        except BadClientHello as error:
            self._alert(Alert(error.alert, str(error)), "info")
            return
        if hello is not None:
            self._choose_identity(hello)

    def _choose_identity(self, hello: ClientHello) -> None:
        self.hello = hello
        # Forgotten: it holds every certificate of its time, and the connection may last for days.
        choose, self._choose = self._choose, None
        assert choose is not None
        if self._pass_through():
            return
        chosen = choose(hello)
        if isinstance(chosen, Alert):
            self._alert(chosen, "warn")
            return
        self.identity = chosen
        timeouts = self._timeouts
        self.deadline += timeouts.tls_handshake_secs - timeouts.client_hello_secs
        self._begin(chosen.context, server=True)
        flight, self._flight = self._flight, b""
        super()._not_flowing(flight)

    def _pass_through(self) -> bool:
        """Give the connection away with all that has been read of it, if it is to be passed."""
        relay = self._passed(self)
        if relay is None:
            return False
        self._read_closed = True
        self._deadlines.forget(self)
        flight, self._flight = self._flight, b""
        transport = self.transport
        transport.protocol = relay
        relay.begin(transport, flight)
        return True

    def _alert(self, alert: Alert, level: str) -> None:
        """Refuse by a fatal alert, in a record written by hand (RFC 8446 5.1, 6)."""
        self.transport.write(b"\x15\x03\x03\x00\x02\x02%c" % alert.description)
        self._refuse(level, alert.reason)
        self.transport.loseConnection()

    def _not_tls(self) -> None:
        """Answer plain HTTP in plain text; anything else is not worth an answer."""
        if self._flight[:1].isalpha():
            self.transport.write(_PLAIN_HTTP_ANSWER)
        self._refuse("info", "no tls on the tls port")
        self.transport.loseConnection()

    def _handshake_done(self) -> None:
        front = self._accept(self)
        if front is None:
            self._read_closed = True
            self.loseConnection()
            return
        self._deadlines.forget(self)
        self.upper = self._front = front
        front.makeConnection(self)

    def _failed(self, error: Exception | None) -> None:
        if self._established:
            self.transport.abortConnection()
            return
        if not self._read_closed:
            self._refuse("info" if error else "debug", tls_reason(error))
        self.transport.loseConnection()

    def _refuse(self, level: str, reason: str) -> None:
        self._read_closed = True
        self._refused(self, level, reason)

    def connectionLost(self, reason: Failure) -> None:
        """The TCP connection is gone."""
        self._deadlines.forget(self)
        self._front = None
        super().connectionLost(reason)
