"""Where connections are passed through to, and what the backend is told of them first.

Owns one backend of a generation. Refuses to know how bytes get there (``relay.py``).
"""

from __future__ import annotations

from collections.abc import Callable
from ipaddress import ip_address
from typing import Any

from attrs import frozen

from revproxy.net.attempt import Destination
from revproxy.net.relay_ends import FarEnd
from revproxy.wire.proxy_protocol import Endpoints, proxy_header_v1, proxy_header_v2


class RelayDestination(Destination):
    """A destination of relays."""

    def protocol(self, ready: Callable[[Any], None]) -> Any:
        """The far end of a relay."""
        return FarEnd(ready)


@frozen(eq=False)
class Backend:
    """Where connections are passed to, as one generation has it.

    Attributes:
        destination: its address, and what is known of reaching it.
        name: as configured, for the log.
        send_proxy: the PROXY header that goes first: ``v1``, ``v2`` or ``off``.
    """

    destination: Destination
    name: str
    send_proxy: str = "off"

    def header(self, transport: Any, server_name: str, alpn: bytes) -> bytes:
        """What tells the backend who the downstream is, if it wants to know."""
        if self.send_proxy == "off":
            return b""
        endpoints = endpoints_of(transport)
        if self.send_proxy == "v1":
            return proxy_header_v1(endpoints)
        return proxy_header_v2(endpoints, alpn=alpn, authority=server_name)


def endpoints_of(transport: Any) -> Endpoints:
    """The ends of a downstream connection, for a PROXY header."""
    peer, host = transport.getPeer(), transport.getHost()
    return Endpoints(ip_address(peer.host), peer.port, ip_address(host.host), host.port)
