"""The UNIX socket that commands come in by, as a service.

Owns its file: where it may be made, what may be replaced, who may open it, and that it is gone
afterwards. Refuses to know what is spoken on it.

The socket is bound under another name and then moved to its own, so that nobody finds it with
other permissions than it keeps, and a file that is no stale socket is never removed.
"""

from __future__ import annotations

import os
import socket
import stat
from pathlib import Path
from secrets import token_hex
from typing import Any

from attrs import define, field
from twisted.application.service import Service
from twisted.internet.abstract import FileDescriptor

from revproxy.control.admin.protocol import AdminPort
from revproxy.control.inherited import InheritedSockets
from revproxy.control.listening import BindError
from revproxy.model.seams import AccessLog

DIRECTORY_MODE = 0o750
SOCKET_MODE = 0o660

BACKLOG = 16
"""Connections that wait for one of those that are served."""

PROBE_SECS = 1.0
"""How long whoever may be listening already has to take a connection."""


@define(eq=False)
class AdminSocket(Service):
    """The listening socket.

    Attributes:
        reactor: to listen with.
        path: where.
        factory: makes the connections' protocols, and is told whose group may connect.
        log: told when somebody else has the path.
        inherited: sockets that may be listening there already.
    """

    reactor: Any
    path: str
    factory: AdminPort
    log: AccessLog
    inherited: InheritedSockets = field(factory=InheritedSockets)
    _listening: _Acceptor | None = field(default=None, init=False)
    _inode: tuple[int, int] | None = field(default=None, init=False)

    def privilegedStartService(self) -> None:
        """Bind.

        Where another process listens, this one goes on without a socket of its own and says so.

        Raises:
            BindError: the socket cannot be made.
        """
        bound = self.inherited.take_unix(self.path)
        if bound is None:
            try:
                if _is_in_use(self.path):
                    fields = (("path", self.path), ("error", "another process listens there"))
                    self.log.record("warn", "ADMIN_SOCKET", fields)
                    return
                bound = _bound(self.path)
            except OSError as error:
                reason = error.strerror or error
                raise BindError(f"cannot bind the admin socket {self.path}: {reason}") from None
            status = os.lstat(self.path)
            self._inode = (status.st_dev, status.st_ino)
        self.factory.group = os.stat(self.path).st_gid
        self._listening = _Acceptor(bound, self.factory, self.reactor)
        self._listening.startReading()

    def stopService(self) -> None:
        """Close it, and remove the file if it is still this one."""
        super().stopService()
        listening, self._listening = self._listening, None
        inode, self._inode = self._inode, None
        if inode is not None:
            try:
                status = os.lstat(self.path)
                if (status.st_dev, status.st_ino) == inode:
                    os.unlink(self.path)
            except OSError:
                pass
        if listening is not None:
            listening.close()


class _Acceptor(FileDescriptor):
    """Accepts connections. (Twisted's own port lets everybody write to its file.)

    Args:
        listening: listens, and is closed with this.
        factory: makes the connections' protocols.
        reactor: to be told of connections.
    """

    def __init__(self, listening: socket.socket, factory: AdminPort, reactor: Any) -> None:
        super().__init__(reactor)
        self._socket = listening
        self._factory = factory

    def fileno(self) -> int:
        """The descriptor to watch."""
        return self._socket.fileno()

    def doRead(self) -> None:
        """Accept one connection, if it is still there."""
        try:
            accepted, _ = self._socket.accept()
        except OSError:
            return
        # What is adopted is a duplicate.
        with accepted:
            accepted.setblocking(False)
            self.reactor.adoptStreamConnection(accepted.fileno(), socket.AF_UNIX, self._factory)

    def close(self) -> None:
        """Accept no more."""
        self.stopReading()
        self._socket.close()


def _is_in_use(path: str) -> bool:
    """Whether somebody answers at ``path``.

    Raises:
        OSError: there is something that is no socket.
    """
    try:
        mode = os.lstat(path).st_mode
    except FileNotFoundError:
        return False
    if not stat.S_ISSOCK(mode):
        raise OSError(0, "there is a file that is no socket")
    with socket.socket(socket.AF_UNIX) as probe:
        probe.settimeout(PROBE_SECS)
        try:
            probe.connect(path)
        except ConnectionRefusedError:
            return False
        except FileNotFoundError:
            return False
        except OSError:
            return True  # a full backlog, or no permission: somebody is there
    return True


def _bound(path: str) -> socket.socket:
    """A socket that listens at ``path``, in place of a stale one."""
    directory, name = os.path.split(path)
    Path(directory).mkdir(mode=DIRECTORY_MODE, parents=True, exist_ok=True)
    # No longer than its own name: a socket's path has a limit.
    temporary = os.path.join(directory, token_hex(16)[: len(os.fsencode(name))])
    bound = socket.socket(socket.AF_UNIX)
    try:
        # The mode of an unbound socket is that of the file it makes, less the umask.
        os.fchmod(bound.fileno(), SOCKET_MODE)
        bound.bind(temporary)
        try:
            os.chmod(temporary, SOCKET_MODE)
            bound.listen(BACKLOG)
            os.rename(temporary, path)
        except BaseException:
            os.unlink(temporary)
            raise
    except BaseException:
        bound.close()
        raise
    bound.setblocking(False)
    return bound
