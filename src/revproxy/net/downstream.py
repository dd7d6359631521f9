"""What the control plane asks of a downstream connection, whatever is spoken on it.

Owns the Protocol and what a connection says of itself. Refuses to know any such connection.
"""

from __future__ import annotations

from typing import Protocol

from attrs import frozen

FIRST_REQUEST_SECS = 2.0
"""How long a connection that has carried no request yet is waited for when the process ends."""


@frozen
class Summary:
    """One connection, for an operator.

    Attributes:
        client: the address of its peer.
        secure: whether it came in by a TLS port.
        server_name: the name that its handshake asked for; ``""`` = none.
        state: ``proxy header``, ``handshake``, ``passing``, ``idle``, ``head``, ``body``,
            ``response``, ``upgraded`` or ``closing``.
        opened: when it was accepted, in seconds of the monotonic clock.
        host: of the request under way; ``""`` = none.
        method: likewise.
        path: likewise, without the query.
    """

    client: str
    secure: bool
    server_name: str
    state: str
    opened: float
    host: str = ""
    method: str = ""
    path: str = ""


class Downstream(Protocol):
    """The protocol of an accepted connection."""

    @property
    def busy(self) -> bool:
        """Whether an exchange is under way."""

    @property
    def upgraded(self) -> int:
        """How many of its exchanges have become another protocol's."""

    def give_way(self) -> bool:
        """Close, if the connection is idle; returns whether it was."""

    def drain(self) -> None:
        """The process is about to end.

        An idle connection closes. One that has carried no request yet gets
        :data:`FIRST_REQUEST_SECS` for it. Whatever is answered from now on is the last answer.
        """

    def cut(self) -> None:
        """The time of the process is up: end at once."""

    def summary(self) -> Summary:
        """What it is doing."""
