"""Whether a downstream connection is being read.

Owns the two reasons not to: the upstream takes no more of a request body, or enough pipelined
requests wait for their turn. Refuses to know buffers.
"""

from __future__ import annotations

from typing import Any


class Intake:
    """The reading side of one transport.

    Attributes:
        held: the exchange cannot take more of the request body.
        ahead: enough has been read ahead.
        closed: the peer sends no more.
    """

    __slots__ = ("_transport", "ahead", "closed", "held")

    def __init__(self, transport: Any) -> None:
        self._transport = transport
        self.held = False
        self.ahead = False
        self.closed = False

    def set(self, *, held: bool | None = None, ahead: bool | None = None) -> None:
        """Change either reason, and pause or resume the transport where that matters."""
        before = self.held or self.ahead
        self.held = self.held if held is None else held
        self.ahead = self.ahead if ahead is None else ahead
        stopped = self.held or self.ahead
        if stopped and not before:
            self._transport.pauseProducing()
        elif before and not stopped and not self.closed:
            self._transport.resumeProducing()
