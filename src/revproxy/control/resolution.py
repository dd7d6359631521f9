"""Where host names are resolved: in threads that hold nobody up.

Owns their number. ``getaddrinfo`` may take a minute where a name server is silent; in the
reactor's own pool that would keep reloads waiting meanwhile, and the process from ending. Refuses
to know which names, and for how long an answer is good.
"""

from __future__ import annotations

import socket
from collections.abc import Sequence
from typing import Any

from attrs import frozen
from twisted.internet.address import IPv4Address, IPv6Address
from twisted.internet.defer import Deferred, succeed
from twisted.internet.interfaces import IHostnameResolver, IHostResolution, IResolutionReceiver
from twisted.internet.threads import deferToThreadPool
from zope.interface import implementer

from revproxy.control.threads import daemon_threads

MOST_LOOKUPS = 10
"""At once; further ones wait for their turn."""

_ADDRESSES: dict[int, Any] = {socket.AF_INET: IPv4Address, socket.AF_INET6: IPv6Address}


@implementer(IHostResolution)
@frozen(eq=False)
class _Resolution:
    name: str

    def cancel(self) -> None:
        """A lookup cannot be interrupted."""


@implementer(IHostnameResolver)
class Resolver:
    """Resolves by the system's means, in threads of its own.

    Args:
        reactor: gets the answers.
    """

    def __init__(self, reactor: Any) -> None:
        self._reactor = reactor
        self._threads = daemon_threads(MOST_LOOKUPS, "names")

    def resolveHostName(
        self,
        resolutionReceiver: Any,  # noqa: N803 - the interface's names
        hostName: str,  # noqa: N803
        portNumber: int = 0,  # noqa: N803
        addressTypes: Sequence[type] | None = None,  # noqa: N803
        transportSemantics: str = "TCP",  # noqa: N803
    ) -> Any:
        """Tell ``resolutionReceiver`` the addresses of ``hostName`` in the system's order."""
        receiver: Any = IResolutionReceiver(resolutionReceiver)
        resolution = _Resolution(hostName)
        receiver.resolutionBegan(resolution)

        def resolved(found: list[Any]) -> None:
            for family, _, _, _, where in found:
                made = _ADDRESSES.get(family)
                if made is not None and (addressTypes is None or made in addressTypes):
                    receiver.addressResolved(made(transportSemantics, *where))
            receiver.resolutionComplete()

        question = hostName, portNumber, transportSemantics
        asking: Deferred[list[Any]]
        try:
            asking = deferToThreadPool(self._reactor, self._threads, _lookup, *question)
        except RuntimeError:  # no further thread can be started
            asking = succeed([])
        asking.addCallback(resolved)
        return resolution


def _lookup(name: str, port: int, semantics: str) -> list[Any]:
    kind = socket.SOCK_DGRAM if semantics == "UDP" else socket.SOCK_STREAM
    try:
        return socket.getaddrinfo(name, port, type=kind)
    except (OSError, ValueError):
        return []
