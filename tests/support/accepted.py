"""Connections that came in by a real port, and are counted by it until they are gone.

Owns what a listening socket does otherwise. Refuses to know what is asserted.
"""

from __future__ import annotations

from typing import Any

from twisted.internet.address import IPv4Address, IPv6Address
from twisted.python.failure import Failure

from tests.support.fake_sockets import FakeConnection
from tests.support.playbook import Peer, Stage

HOST = "192.0.2.1"


class AcceptedConnection(FakeConnection):
    """The real transport of a downstream; its port is told of its end."""

    _addressType: Any = IPv4Address

    def __init__(self, reactor: Any, protocol: Any, host: str, port: Any) -> None:
        super().__init__(reactor, protocol, host)
        self.client = (host, 50000)
        if ":" in host:
            self._addressType = IPv6Address
        self.port = port
        self.connected = 1
        self.startReading()

    def getPeer(self) -> Any:
        return self._addressType("TCP", *self.client)

    def connectionLost(self, reason: Failure) -> None:
        if hasattr(self, "socket"):
            super().connectionLost(reason)
            self.port.disconnected(self)


def accept(stage: Stage, port: Any, host: str = HOST) -> Peer:
    """A downstream whose connection ``port`` has accepted."""
    protocol = port.buildProtocol(IPv4Address("TCP", host, 50000))
    assert protocol is not None, "the connection is one too many"
    connection = AcceptedConnection(stage.reactor, protocol, host, port)
    port.connected(connection)
    protocol.makeConnection(connection)
    peer = Peer(stage.reactor, connection, opened=True)
    stage.peers.append(peer)
    return peer
