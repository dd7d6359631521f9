"""The listening ports as services.

Owns binding, the sockets that were handed to the process instead, and the end of accepting.
Refuses to know what is spoken on a port.
"""

from __future__ import annotations

from typing import Any

from attrs import define, field
from twisted.application.service import Service
from twisted.internet.defer import Deferred
from twisted.internet.error import CannotListenError

from revproxy.control.inherited import InheritedSockets
from revproxy.net.transport import ALL_DESCRIPTORS, BACKLOG, EagerPort, listen


class BindError(Exception):
    """An address could not be bound; says which and why."""


@define(eq=False)
class PortService(Service):
    """One listening port of the data path.

    Attributes:
        reactor: to listen with.
        address: an IP address.
        port: a TCP port.
        factory: makes the connections' protocols.
        inherited: sockets that may be listening there already.
        most_descriptors: as of ``EagerPort``.
    """

    reactor: Any
    address: str
    port: int
    factory: Any
    inherited: InheritedSockets = field(factory=InheritedSockets)
    most_descriptors: int = ALL_DESCRIPTORS
    _listening: EagerPort | None = field(default=None, init=False)
    _was_inherited: bool = field(default=False, init=False)

    @property
    def bound(self) -> bool:
        """Whether connections are accepted."""
        return self._listening is not None

    def privilegedStartService(self) -> None:
        """Bind, before a change of user.

        Raises:
            BindError: the address cannot be bound.
        """
        inherited = self.inherited.take_tcp(self.address, self.port)
        self._was_inherited = inherited is not None
        try:
            self._listening = listen(
                self.reactor,
                self.port,
                self.factory,
                self.address,
                inherited=inherited,
                most_descriptors=self.most_descriptors,
            )
        except CannotListenError as error:
            raise BindError(cannot_bind(self.address, self.port, error)) from None
        finally:
            if inherited is not None:
                inherited.close()  # the port has its own duplicate

    def stopService(self) -> Deferred[None] | None:
        """Accept no more.

        What is in the backlog has been told that it is connected: it is accepted first, unless
        the socket outlives this process and somebody else will.
        """
        super().stopService()
        listening, self._listening = self._listening, None
        if listening is None:
            return None
        if not self._was_inherited:
            listening.numberAccepts = BACKLOG  # all that may be there, not as many as came last
            listening.doRead()
        stopped: Deferred[None] | None = listening.stopListening()
        return stopped


def cannot_bind(address: str, port: int, error: CannotListenError) -> str:
    """The sentence for a port that cannot be bound."""
    reason = getattr(error.socketError, "strerror", None) or error.socketError
    where = f"[{address}]" if ":" in address else address
    return f"cannot bind {where}:{port}: {reason}"
