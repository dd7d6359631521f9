"""The far side of an admin connection, in memory, and whoever is there.

Owns the transport with the peer's credentials, as the kernel would tell them, and what was
replied. Refuses to know commands.
"""

from __future__ import annotations

import json
import os
import socket
import struct
from typing import Any

from twisted.internet.error import ConnectionLost
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from twisted.python.failure import Failure

from revproxy.control.admin.protocol import AdminPort, AdminProtocol

STRANGER = 54321
"""A user, and a group, that nobody has."""


class Credentials:
    """A socket that knows nothing but who is at its other end.

    Args:
        user: by number.
        group: the primary one.
        more: further groups; None where the kernel does not tell them.
    """

    def __init__(self, user: int, group: int, more: tuple[int, ...] | None = ()) -> None:
        self.user = user
        self.group = group
        self.more = more

    def getsockopt(self, level: int, option: int, size: int) -> bytes:
        """As of a socket, for the two options that are asked for."""
        assert level == socket.SOL_SOCKET
        if option == socket.SO_PEERCRED:
            return struct.pack("iII", 1, self.user, self.group)[:size]
        if self.more is None or len(self.more) * 4 > size:
            raise OSError(34, "Numerical result out of range")
        return struct.pack(f"{len(self.more)}I", *self.more)


class AdminTransport(StringTransport):
    """A connection from ``peer``, which is a socket or what stands for one."""

    def __init__(self, peer: Any) -> None:
        super().__init__()
        self.peer = peer

    def getHandle(self) -> Any:
        """The socket."""
        return self.peer


class AdminConnection:
    """One connection, as its far end sees it.

    Args:
        port: makes its protocol.
        peer: who it comes from; by default somebody who may speak.
    """

    def __init__(self, port: AdminPort, peer: Any = None) -> None:
        protocol = port.buildProtocol(None)
        assert protocol is not None, "the connection was refused"
        self.protocol: AdminProtocol = protocol
        self.transport = AdminTransport(peer or Credentials(os.geteuid(), STRANGER))
        self.protocol.makeConnection(self.transport)

    def says(self, *pieces: bytes) -> None:
        """Send ``pieces``, each of which is read by itself."""
        for piece in pieces:
            self.protocol.dataReceived(piece)

    def ends(self) -> None:
        """Say no more, and wait for the reply."""
        self.protocol.readConnectionLost()

    def vanishes(self) -> None:
        """Be gone."""
        self.protocol.connectionLost(Failure(ConnectionLost()))

    @property
    def heard(self) -> bytes:
        """What was sent so far."""
        return self.transport.value()

    @property
    def reply(self) -> dict[str, Any]:
        """The only line that was sent, decoded; the connection is closed after it."""
        assert self.transport.disconnecting, "the connection is still open"
        line, end, rest = self.heard.partition(b"\n")
        assert end and not rest, f"not one line: {self.heard!r}"
        reply: dict[str, Any] = json.loads(line)
        return reply

    @property
    def message(self) -> str:
        """Why the command was not carried out."""
        assert self.reply.keys() == {"status", "message"} and self.reply["status"] == "error"
        return str(self.reply["message"])


class AdminSide:
    """A port, what was asked of it, and the time.

    Attributes:
        asked: every command with its user.
        answer: what becomes of the next commands: a reply, a Deferred of one, or an exception.
    """

    def __init__(self) -> None:
        self.clock = Clock()
        self.asked: list[tuple[str, int]] = []
        self.answer: Any = {"status": "ok"}
        self.port = AdminPort(self._answer, self.clock)
        self.port.group = STRANGER - 1

    async def _answer(self, command: str, user: int) -> Any:
        self.asked.append((command, user))
        if isinstance(self.answer, BaseException):
            raise self.answer
        return self.answer if isinstance(self.answer, dict) else await self.answer

    def connection(self, peer: Any = None) -> AdminConnection:
        """A new connection."""
        return AdminConnection(self.port, peer)

    @property
    def commands(self) -> list[str]:
        """What was asked, without by whom."""
        return [command for command, _ in self.asked]
