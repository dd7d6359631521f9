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
from revproxy.net.gate import EXHAUSTED_SECS
from revproxy.settings.fields import LONGEST_SOCKET_PATH

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
        owner: user and group to whom the socket and a folder made for it are given; None = they
            stay with the process' own.
    """

    reactor: Any
    path: str
    factory: AdminPort
    log: AccessLog
    inherited: InheritedSockets = field(factory=InheritedSockets)
    owner: tuple[int, int] | None = None
    _listening: _Acceptor | None = field(default=None, init=False)
    _inode: tuple[int, int] | None = field(default=None, init=False)

    def privilegedStartService(self) -> None:
        """Bind.

        Where another process listens, this one goes on without a socket of its own and says so.

        Raises:
            BindError: the socket cannot be made.
        """
        inherited = self.inherited.take_unix(self.path)
        try:
            bound = self._made() if inherited is None else inherited
            if bound is None:
                return
            self.factory.group = os.stat(self.path).st_gid
        except OSError as error:
            if inherited is not None:
                inherited.close()
            reason = error.strerror or error
            raise BindError(f"cannot bind the admin socket {self.path}: {reason}") from None
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

    def _made(self) -> socket.socket | None:
        """A socket of our own; None where another process listens."""
        if _is_in_use(self.path):
            fields = (("path", self.path), ("error", "another process listens there"))
            self.log.record("warn", "ADMIN_SOCKET", fields)
            return None
        bound = _bound(self.path, self.owner)
        status = os.lstat(self.path)
        self._inode = (status.st_dev, status.st_ino)
        return bound


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
        self._pause: Any = None

    def fileno(self) -> int:
        """The descriptor to watch."""
        return self._socket.fileno()

    def doRead(self) -> None:
        """Accept one connection, if it is still there."""
        try:
            accepted, _ = self._socket.accept()
            # What is adopted is a duplicate.
            with accepted:
                accepted.setblocking(False)
                number = accepted.fileno()
                self.reactor.adoptStreamConnection(number, socket.AF_UNIX, self._factory)
        except BlockingIOError:
            pass
        except OSError:  # no descriptor is left
            self.stopReading()
            self._pause = self.reactor.callLater(EXHAUSTED_SECS, self.startReading)

    def close(self) -> None:
        """Accept no more."""
        if self._pause is not None and self._pause.active():
            self._pause.cancel()
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


def _bound(path: str, owner: tuple[int, int] | None) -> socket.socket:
    """A socket of ``owner`` that listens at ``path``, in place of a stale one."""
    directory, name = os.path.split(path)
    _make_directory(Path(directory), owner)
    # A socket's path has a limit, which the temporary one must not be the first to reach.
    room = LONGEST_SOCKET_PATH - len(os.fsencode(path)) + len(os.fsencode(name))
    temporary = os.path.join(directory, token_hex(16)[:room])
    bound = socket.socket(socket.AF_UNIX)
    try:
        # Not by chmod, which follows links that somebody may have put in its place.
        former = os.umask(~SOCKET_MODE & 0o777)
        try:
            bound.bind(temporary)
        finally:
            os.umask(former)
        try:
            _give(temporary, owner)
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


def _make_directory(directory: Path, owner: tuple[int, int] | None) -> None:
    """Make ``directory`` and what is missing above it, with their mode whatever the umask is."""
    try:
        directory.mkdir(DIRECTORY_MODE)
    except FileExistsError:
        return
    except FileNotFoundError:
        _make_directory(directory.parent, owner)
        directory.mkdir(DIRECTORY_MODE)
    directory.chmod(DIRECTORY_MODE)
    _give(directory, owner)


def _give(path: str | Path, owner: tuple[int, int] | None) -> None:
    if owner is not None:
        os.chown(path, *owner, follow_symlinks=False)
