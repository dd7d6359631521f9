"""TLS layers on fake sockets, with OpenSSL as their peer.

Owns how the two are driven, on either side of a handshake. Refuses to know what is asserted.
"""

from __future__ import annotations

import ssl
from typing import Any

from twisted.internet.interfaces import IHalfCloseableProtocol
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import implementer

from revproxy.model.configuration import Timeouts
from revproxy.model.tls import UNRECOGNIZED_NAME, Alert, ClientHello, Identity
from revproxy.net.tls_downstream import ServerTls
from revproxy.net.tls_layer import TlsLayer
from tests.support.certificates import authority
from tests.support.doubles import CountingDeadlines
from tests.support.fake_sockets import FakeConnection, FakeReactor
from tests.support.tls_peers import TLS_1_3, client_context

HELLO_BYTES = 16384


def server_context(*names: str) -> ssl.SSLContext:
    """A context that serves a certificate for ``names``."""
    pair = authority().pair(*names)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(pair.cert_path, pair.key_path, password="")
    return context


def trusting_context() -> ssl.SSLContext:
    """A client's context that verifies against the tests' authority."""
    return ssl.create_default_context(cafile=authority().ca_path)


@implementer(IHalfCloseableProtocol)
class RecordingUpper:
    """What speaks through the layer: keeps what it was told."""

    def __init__(self) -> None:
        self.events: list[str] = []
        self.received = bytearray()
        self.reads = 0
        self.transport: Any = None
        self.answer = b""

    def makeConnection(self, transport: Any) -> None:
        self.transport = transport
        self.events.append("connected")
        if self.answer:
            transport.write(self.answer)

    def dataReceived(self, data: bytes) -> None:
        self.reads += 1
        self.received += data

    def readConnectionLost(self) -> None:
        self.events.append(f"read closed, cut: {self.transport.read_cut}")

    def connectionLost(self, reason: Any) -> None:
        self.events.append("lost")


class FarEnd:
    """The other side of a connection: OpenSSL by itself, in memory.

    Attributes:
        tls: its side of the handshake.
        incoming: what it will read.
        outgoing: what it has written and not sent.
    """

    def __init__(self, context: ssl.SSLContext, *, server: bool, name: str | None = None) -> None:
        self.incoming, self.outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self.tls = context.wrap_bio(
            self.incoming, self.outgoing, server_side=server, server_hostname=name
        )

    def handshake(self) -> bool:
        """Go on; returns whether it is complete."""
        try:
            self.tls.do_handshake()
        except ssl.SSLWantReadError:
            return False
        return True

    def plaintext(self) -> bytes:
        """Everything that can be read."""
        pieces = []
        try:
            while piece := self.tls.read(65536):
                pieces.append(piece)
        except ssl.SSLWantReadError:
            pass
        return b"".join(pieces)


class TlsCase(SynchronousTestCase):
    """A layer on a fake socket, and OpenSSL as its peer."""

    layer: TlsLayer
    connection: FakeConnection
    far: FarEnd

    def setUp(self) -> None:
        self.reactor = FakeReactor()
        self.deadlines = CountingDeadlines(self.reactor)
        self.deadlines.start()
        self.upper = RecordingUpper()

    def connect(self, layer: TlsLayer, far: FarEnd) -> None:
        """The TCP connection is there."""
        self.layer = layer
        self.far = far
        self.connection = FakeConnection(self.reactor, layer)
        self.connection.open()

    def to_layer(self, *pieces: bytes) -> None:
        """Bytes from the peer, each piece read by itself."""
        self.connection.wire.incoming.extend(pieces)
        self.reactor.run()

    def to_far(self) -> None:
        """Let the peer have what was sent to it."""
        self.far.incoming.write(bytes(self.connection.wire.sent))
        self.connection.wire.sent.clear()

    def shake(self, step: int = 1 << 20) -> None:
        """Drive the handshake to its end, ``step`` bytes a read."""
        done = False
        for _ in range(10):
            self.to_far()
            done = done or self.far.handshake()
            flight = self.far.outgoing.read()
            self.to_layer(*[flight[at : at + step] for at in range(0, len(flight), step)])
            if done and not flight:
                return
        raise AssertionError("the handshake does not end")

    def encrypted(self, *contents: bytes) -> bytes:
        """A record of the peer's for each of ``contents``."""
        for content in contents:
            self.far.tls.write(content)
        return self.far.outgoing.read()

    def heard(self) -> bytes:
        """The plaintext that the peer has got."""
        self.to_far()
        return self.far.plaintext()

    def close_notify(self) -> bytes:
        """The peer's close_notify."""
        try:
            self.far.tls.unwrap()
        except ssl.SSLWantReadError:
            pass
        return self.far.outgoing.read()


class Identities:
    """Chooses: serves ``a.test``, refuses every other name; keeps the hellos."""

    def __init__(self) -> None:
        context = server_context("a.test")
        self.identity = Identity(context, frozenset({"a.test"}), frozenset())
        self.hellos: list[ClientHello] = []

    def __call__(self, hello: ClientHello) -> Identity | Alert:
        self.hellos.append(hello)
        if hello.server_name == "a.test":
            return self.identity
        return Alert(UNRECOGNIZED_NAME, "no certificate for the name")


class ServerCase(TlsCase):
    def setUp(self) -> None:
        super().setUp()
        self.choose = Identities()
        self.refusals: list[tuple[str, str]] = []

    def begin(self, version: ssl.TLSVersion = TLS_1_3, name: str | None = "a.test") -> ServerTls:
        """A downstream has connected, and its ClientHello is ready in ``far``."""
        tls = ServerTls(
            self.choose,
            lambda _: self.upper,
            lambda _, level, reason: self.refusals.append((level, reason)),
            lambda _: None,
            self.deadlines,
            Timeouts(),
            HELLO_BYTES,
        )
        self.connect(tls, FarEnd(client_context(version), server=False, name=name))
        return tls

    def established(self, version: ssl.TLSVersion = TLS_1_3) -> None:
        """The handshake is done."""
        self.begin(version)
        self.shake()
        self.assertEqual(self.upper.events, ["connected"])
