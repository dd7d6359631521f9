"""One command a connection, one reply, and the connection is closed.

Owns the framing, the limits of a connection and of their number, and who may speak at all.
Refuses to know the commands.
"""

from __future__ import annotations

import json
import os
import socket
import struct
from collections.abc import Awaitable, Callable
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IHalfCloseableProtocol
from twisted.internet.protocol import Factory, Protocol
from twisted.logger import Logger
from twisted.protocols.policies import TimeoutMixin
from zope.interface import implementer

MOST_CONNECTIONS = 10
"""That say something, or are about to."""

MOST_COMMANDS = 10
"""That are being carried out; whoever waits for one keeps nobody from asking."""

COMMAND_BYTES = 4096
"""A command with its line end."""

COMMAND_SECS = 5.0
"""For a command to come; and then for its reply to be taken."""

REPLY_SECS = 60.0
"""For a command to be carried out; it goes on after that, but nobody is told."""

Reply = dict[str, Any]
Answer = Callable[[str, int], Awaitable[Reply]]
"""Makes the reply to a command that a user (by number) has given."""

MOST_GROUPS = 256
"""Of a peer that are looked at."""

_PEER_CREDENTIALS = socket.SOL_SOCKET, socket.SO_PEERCRED
_PEER_GROUPS = socket.SOL_SOCKET, 59  # SO_PEERGROUPS, which the standard library does not name

_log = Logger()


def failed(message: str) -> Reply:
    """The reply that says why a command was not carried out."""
    return {"status": "error", "message": message}


class AdminPort(Factory):
    """Makes the protocols, while there are not too many.

    Args:
        answer: carries out a command.
        reactor: for the time limits.

    Attributes:
        group: whose members may speak, beside root and our own user.
        open: connections whose command is not there yet.
        working: those that wait for a reply.
    """

    noisy = False

    def __init__(self, answer: Answer, reactor: Any) -> None:
        self.answer = answer
        self.reactor = reactor
        self.group = os.getegid()
        self.open = self.working = 0

    def buildProtocol(self, addr: Any) -> AdminProtocol | None:
        """A connection's protocol; None closes it at once."""
        return AdminProtocol(self) if self.open < MOST_CONNECTIONS else None


@implementer(IHalfCloseableProtocol)
class AdminProtocol(Protocol, TimeoutMixin):
    """One connection. A command ends with its line, or with what its sender has to say."""

    transport: Any
    callLater: Any

    def __init__(self, port: AdminPort) -> None:
        self._port = port
        self._line: bytes | None = b""
        self._gone = self._sent = False
        self._late: Any = None
        self.callLater = port.reactor.callLater

    def connectionMade(self) -> None:
        """Wait for the command."""
        self._port.open += 1
        self.setTimeout(COMMAND_SECS)

    def dataReceived(self, data: bytes) -> None:
        """Collect the command; what comes after it is not read."""
        if self._line is None:
            return
        self._line += data
        line, end, _ = self._line.partition(b"\n")
        if len(line) >= COMMAND_BYTES:
            self._reply(failed("invalid input"))
        elif end:
            self._command(line)

    def readConnectionLost(self) -> None:
        """The sender says no more, and may wait for the reply."""
        if self._line is not None:
            self._command(self._line)

    def writeConnectionLost(self) -> None:
        """Never half-closed by us."""

    def connectionLost(self, reason: Any = None) -> None:
        """Gone; a command under way is carried out all the same."""
        self._gone = True
        if self._late is None:
            self._port.open -= 1
        else:
            self._port.working -= 1
            self._stop_waiting()
        self._line = None
        self.setTimeout(None)

    def timeoutConnection(self) -> None:
        """No command, or a reply that is not taken."""
        if self._line is None:
            self.transport.abortConnection()
        else:
            self._reply(failed("invalid input"))

    def _command(self, line: bytes) -> None:
        self._line = None
        self.setTimeout(None)
        peer = self._peer()
        try:
            command = line.decode("utf-8").strip()
        except UnicodeDecodeError:
            command = ""
        if peer is None:
            self._reply(failed("not permitted"))
        elif not command:
            self._reply(failed("invalid input"))
        elif self._port.working >= MOST_COMMANDS:
            self._reply(failed("busy: too many commands are under way"))
        else:
            self._wait()
            answering = Deferred.fromCoroutine(self._answered(command, peer))
            answering.addCallback(self._send)

    def _wait(self) -> None:
        """The command is there, and being carried out."""
        self._port.open -= 1
        self._port.working += 1
        late = failed(f"no outcome within {REPLY_SECS:g} s; the command goes on")
        self._late = self.callLater(REPLY_SECS, self._send, _encoded(late))

    def _stop_waiting(self) -> None:
        if self._late is not None and self._late.active():
            self._late.cancel()

    async def _answered(self, command: str, peer: int) -> bytes:
        try:
            return _encoded(await self._port.answer(command, peer))
        except Exception:
            _log.failure("while answering an admin command")
            return _encoded(failed("internal error"))

    def _reply(self, reply: Reply) -> None:
        self._line = None
        self._send(_encoded(reply))

    def _send(self, line: bytes) -> None:
        if self._gone or self._sent:
            return
        self._sent = True
        self._stop_waiting()
        self.setTimeout(COMMAND_SECS)
        self.transport.write(line)
        self.transport.loseConnection()

    def _peer(self) -> int | None:
        """The user at the other end, if it may speak."""
        channel: socket.socket = self.transport.getHandle()
        user, groups = _credentials(channel)
        if user in {0, os.geteuid()} or self._port.group in groups:
            return user
        return None


def _encoded(reply: Reply) -> bytes:
    """``reply`` in one line of ASCII.

    Raises:
        TypeError: it holds something that JSON has no form for.
        ValueError: likewise a number.
    """
    return json.dumps(reply, separators=(",", ":"), allow_nan=False).encode() + b"\n"


def _credentials(channel: socket.socket) -> tuple[int, set[int]]:
    """The user and the groups of a UNIX socket's peer, from when it connected (unix(7))."""
    _, user, group = struct.unpack("iII", channel.getsockopt(*_PEER_CREDENTIALS, 12))
    try:
        more = channel.getsockopt(*_PEER_GROUPS, MOST_GROUPS * 4)
    except OSError:  # too many of them, or a kernel that does not tell
        more = b""
    return user, {group, *struct.unpack(f"{len(more) // 4}I", more)}
