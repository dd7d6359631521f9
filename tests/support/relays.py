"""Connections that are passed through, on fake sockets.

Owns the ports that they come in by, and what holds for every one of them at the end of a test:
one STREAM record each. Refuses to know what is asserted otherwise.
"""

from __future__ import annotations

from typing import Any

from revproxy.model.address import UpstreamAddress
from revproxy.model.tls import UNRECOGNIZED_NAME, Alert
from revproxy.net import ports
from revproxy.net.backend import Backend, RelayDestination
from revproxy.net.ports import StreamPort, TlsPort
from revproxy.net.relay import Relay
from revproxy.policy.sni_routes import SniRoutes
from tests.support.accepted import HOST, accept
from tests.support.forgeries import client_hello
from tests.support.playbook import Peer, PlaybookCase, Stage

HELLO = client_hello(b"passed.test")
"""Asks for the name that :class:`RelayCase` passes on."""

INTERNAL_ERROR = b"\x15\x03\x03\x00\x02\x02\x50"
"""The alert of a handshake whose backend cannot be reached."""


class RelayCase(PlaybookCase):
    """A relay a test, or some."""

    relay_stage: Stage
    begun: int
    ended: int

    def setUp(self) -> None:
        super().setUp()
        self.begun = self.ended = 0

        def begin(*arguments: Any, **more: Any) -> Relay:
            self.begun += 1
            return Relay(*arguments, **more)

        self.patch(ports, "Relay", begin)

    def check_end(self, stage: Stage) -> None:
        """See that each has been told of once, and is counted no more."""
        super().check_end(stage)
        told = [event for _, event, _ in stage.log.records if event == "STREAM"]
        self.ended += len(told)
        if not self._stages:
            self.assertEqual(self.ended, self.begun)
        self.assertEqual(stage.port.connections.total, 0)

    def backend(self, send_proxy: str = "off", address: str = "10.0.0.1:443") -> Backend:
        """Where the stage's connections go."""
        stage = self.relay_stage
        where = UpstreamAddress.parse(address)
        reactor: Any = stage.reactor
        destination = RelayDestination(
            where,
            reactor,
            stage.deadlines,
            connect_secs=5,
            buffered_bytes=stage.limits.buffered_bytes,
        )
        return Backend(destination, address, send_proxy)

    def stream_port(self, send_proxy: str = "off", **arguments: Any) -> StreamPort:
        """The port of a TCP service, on a new stage."""
        address = arguments.pop("address", "10.0.0.1:443")
        self.relay_stage = self.stage(secure=False, **arguments)
        return StreamPort(self.relay_stage.port, self.backend(send_proxy, address))

    def tls_port(self, send_proxy: str = "off", **arguments: Any) -> TlsPort:
        """A TLS port that passes one name on, and serves none."""
        self.relay_stage = self.stage(**arguments)
        port = TlsPort(
            self.relay_stage.port, lambda hello: Alert(UNRECOGNIZED_NAME, "no such name")
        )
        port.passed = SniRoutes([("passed.test", self.backend(send_proxy))])
        return port

    def accept(self, port: Any, host: str = HOST) -> Peer:
        """A new downstream."""
        return accept(self.relay_stage, port, host)

    def passing(self, send_proxy: str = "off", **arguments: Any) -> tuple[Peer, Peer]:
        """A stream that is connected: its downstream and its upstream."""
        down = self.accept(self.stream_port(send_proxy, **arguments))
        return down, self.relay_stage.upstream()

    def told(self) -> list[dict[str, object]]:
        """The STREAM records."""
        records = self.relay_stage.log.records
        return [fields for _, event, fields in records if event == "STREAM"]

    def cuts(self) -> list[object]:
        """Who has cut each relay; None = nobody."""
        return [fields.get("cut") for fields in self.told()]
