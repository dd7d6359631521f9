"""Connections that begin with a PROXY header, on fake sockets.

Owns the headers and the ports that ask for them. Refuses to know what is asserted about them.
"""

from __future__ import annotations

from ipaddress import ip_address, ip_network
from typing import Any

from revproxy.model.tls import UNRECOGNIZED_NAME, Alert
from revproxy.net.ports import PlainPort, TlsPort
from revproxy.wire.proxy_protocol import Endpoints, proxy_header_v1, proxy_header_v2
from tests.support.accepted import accept
from tests.support.forgeries import client_hello
from tests.support.playbook import OK, Peer, PlaybookCase, Stage

SENDERS = (ip_network("192.0.2.0/24"), ip_network("2001:db8:5::/48"))
STRANGER = "198.51.100.1"
CLIENT = "203.0.113.50"

LOCAL = proxy_header_v2(None)
UNKNOWN = b"PROXY UNKNOWN\r\n"
HELLO = client_hello(b"x.test")


def header(client: str = CLIENT, version: int = 1) -> bytes:
    """The header of a connection of ``client``."""
    here = "2001:db8::9" if ":" in client else "192.0.2.9"
    endpoints = Endpoints(ip_address(client), 51000, ip_address(here), 443)
    return (proxy_header_v1 if version == 1 else proxy_header_v2)(endpoints)


class IntakeCase(PlaybookCase):
    """A plain port and a TLS port with known senders."""

    intake_stage: Stage

    def port(self, most_per_key: int = 0, **arguments: Any) -> PlainPort:
        """A port on a new stage. (It counts as secure: requests are proxied.)"""
        self.intake_stage = self.stage(**arguments)
        self.intake_stage.port.connections.configure(0, most_per_key)
        port = PlainPort(self.intake_stage.port)
        port.senders = SENDERS
        return port

    def tls_port(self, most_per_key: int = 0) -> TlsPort:
        """A TLS port that serves no name."""
        self.intake_stage = self.stage()
        self.intake_stage.port.connections.configure(0, most_per_key)
        port = TlsPort(self.intake_stage.port, lambda hello: Alert(UNRECOGNIZED_NAME, "no name"))
        port.senders = SENDERS
        return port

    def accept(self, port: Any, host: str = "192.0.2.1") -> Peer:
        """A new downstream, by default of a sender."""
        return accept(self.intake_stage, port, host)

    def check_end(self, stage: Stage) -> None:
        """See that the counts are balanced, too."""
        super().check_end(stage)
        connections = stage.port.connections
        self.assertEqual((connections.total, connections.all()), (0, []))

    def records(self, event: str) -> list[dict[str, object]]:
        """What has been said about ``event``."""
        return [fields for _, name, fields in self.intake_stage.log.records if name == event]

    def served(self, down: Peer) -> bytes:
        """What the upstream of a whole request hears."""
        up = self.intake_stage.upstream()
        heard = up.heard()
        up.says(OK)
        self.assertEqual(down.heard(), OK)
        up.resets()
        return heard
