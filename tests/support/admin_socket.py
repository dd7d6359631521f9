"""An admin socket on a path of its own, and whoever else may be there.

Owns the folder, the reactor that watches, and what is asked of a service that cannot start.
Refuses to know what is expected at the path.
"""

from __future__ import annotations

import os
import socket
import stat
import tempfile
from pathlib import Path
from typing import Any

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from revproxy.control.admin.protocol import AdminPort
from revproxy.control.admin.socket import AdminSocket
from revproxy.control.listening import BindError
from tests.support.descriptors import open_descriptors
from tests.support.doubles import RecordingLog


class WatchingReactor(Clock):
    """Time by hand, and who wants to read; accepted connections are counted.

    Attributes:
        readers: who wants to read.
        adopted: how many connections were adopted.
        error: raised in the place of an adoption.
    """

    def __init__(self) -> None:
        super().__init__()
        self.readers: list[Any] = []
        self.adopted = 0
        self.error: OSError | None = None

    def addReader(self, reader: Any) -> None:
        self.readers.append(reader)

    def removeReader(self, reader: Any) -> None:
        if reader in self.readers:
            self.readers.remove(reader)

    def adoptStreamConnection(self, descriptor: int, family: int, factory: Any) -> None:
        assert family == socket.AF_UNIX and not os.get_blocking(descriptor)
        if self.error is not None:
            raise self.error
        self.adopted += 1


class AdminSocketCase(SynchronousTestCase):
    """A folder, and services that want a socket in it."""

    def setUp(self) -> None:
        folder = tempfile.TemporaryDirectory(prefix="revproxy-")
        self.addCleanup(folder.cleanup)
        self.folder = Path(folder.name)
        self.path = self.folder / "admin.sock"
        self.log = RecordingLog()
        self.reply: dict[str, Any] = {}
        self.reactor: Any = WatchingReactor()

    async def answer(self, command: str, user: int) -> dict[str, Any]:
        """As of the commands."""
        return self.reply or {"status": "ok", "command": command}

    def service(self, path: Path | None = None, **more: Any) -> AdminSocket:
        """A service that has not begun."""
        port = AdminPort(self.answer, self.reactor)
        service = AdminSocket(self.reactor, str(path or self.path), port, self.log, **more)
        self.addCleanup(service.stopService)
        return service

    def started(self, path: Path | None = None, **more: Any) -> AdminSocket:
        """A service that has."""
        service = self.service(path, **more)
        service.privilegedStartService()
        return service

    def socket(self, path: Path | None = None, kind: int = socket.SOCK_STREAM) -> socket.socket:
        """A socket that is bound, by default where the service wants to be."""
        bound = socket.socket(socket.AF_UNIX, kind)
        self.addCleanup(bound.close)
        bound.bind(str(path or self.path))
        return bound

    def umask(self, mask: int) -> None:
        """Have another umask."""
        kept = os.umask(mask)
        self.addCleanup(os.umask, kept)

    def refusal(self, path: Path | None = None, **more: Any) -> str:
        """Why the service does not start, after the path; it leaves nothing open."""
        path = path or self.path
        service = self.service(path, **more)
        before = open_descriptors()
        error = self.assertRaises(BindError, service.privilegedStartService)
        self.assertEqual(open_descriptors(), before)
        self.assertEqual(self.reactor.readers, [])
        start = f"cannot bind the admin socket {path}: "
        self.assertTrue(str(error).startswith(start), error)
        return str(error).removeprefix(start)

    def is_served(self, path: Path | None = None) -> bool:
        """Whether a connection is accepted now."""
        before: int = self.reactor.adopted
        with socket.socket(socket.AF_UNIX) as channel:
            try:
                channel.connect(str(path or self.path))
            except OSError:
                return False
            for reader in list(self.reactor.readers):
                reader.doRead()
        return bool(self.reactor.adopted > before)


def mode(path: Path) -> int:
    """The permissions of the file itself."""
    return stat.S_IMODE(path.lstat().st_mode)
