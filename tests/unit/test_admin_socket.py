"""The admin socket's file: where it may be made, who may open it, what may be replaced."""

from __future__ import annotations

import errno
import os
import shutil
import socket
import stat
from unittest import skipIf

from revproxy.settings.fields import LONGEST_SOCKET_PATH
from tests.support.admin import STRANGER
from tests.support.admin_socket import AdminSocketCase, mode
from tests.support.descriptors import open_descriptors


class ModeTests(AdminSocketCase):
    def test_socket(self) -> None:
        """Its user and group may open the socket, whatever the umask."""
        for mask in (0, 0o022, 0o077, 0o777):
            self.umask(mask)
            service = self.started()
            self.assertTrue(stat.S_ISSOCK(self.path.lstat().st_mode))
            self.assertEqual(mode(self.path), 0o660)
            service.stopService()

    def test_never_wider(self) -> None:
        """Not even for a moment may anybody else open it."""
        self.umask(0)
        modes = []
        rename = os.rename

        def observe(path: str, name: str) -> None:
            modes.append(stat.S_IMODE(os.lstat(path).st_mode))
            rename(path, name)

        self.patch(os, "rename", observe)
        self.patch(os, "chmod", lambda *_: self.fail("follows links"))
        self.started()
        self.assertEqual(modes, [0o660])
        self.assertEqual(os.umask(0), 0)

    def test_folder(self) -> None:
        """Missing folders are made for the user and group, whatever the umask."""
        for index, mask in enumerate((0, 0o022, 0o077)):
            self.umask(mask)
            top = self.folder / str(index)
            service = self.started(top / "a" / "b" / "admin.sock")
            for folder in (top, top / "a", top / "a" / "b"):
                self.assertEqual(mode(folder), 0o750)
            service.stopService()

    def test_existing_folder(self) -> None:
        """A folder that is there keeps its mode."""
        self.folder.chmod(0o711)
        self.started()
        self.assertEqual(mode(self.folder), 0o711)

    @skipIf(os.geteuid(), "only root gives files away")
    def test_owner(self) -> None:
        """Socket and folders are given to whom the process will run as, not what was there."""
        for user, group in ((STRANGER, STRANGER + 1), (STRANGER, -1), (-1, STRANGER)):
            service = self.started(self.folder / "a" / "b" / "admin.sock", owner=(user, group))
            expected = tuple(max(0, number) for number in (user, group))
            for made in ("a", "a/b", "a/b/admin.sock"):
                status = (self.folder / made).lstat()
                self.assertEqual((status.st_uid, status.st_gid), expected)
            self.assertEqual(service.factory.group, expected[1])
            self.assertEqual(self.folder.stat().st_uid, 0)
            service.stopService()
            shutil.rmtree(self.folder / "a")

    def test_group(self) -> None:
        """The factory learns whose group the socket has got."""
        service = self.service()
        service.factory.group = STRANGER
        service.privilegedStartService()
        self.assertEqual(service.factory.group, self.path.stat().st_gid)


class PlaceTests(AdminSocketCase):
    def test_nothing_there(self) -> None:
        """The socket is made, connections are accepted, and nothing else is in its folder."""
        self.started()
        self.assertTrue(self.is_served())
        self.assertEqual(os.listdir(self.folder), ["admin.sock"])
        self.assertEqual(self.log.records, [])

    def test_stale(self) -> None:
        """A socket that nobody answers on is replaced."""
        for kind in (socket.SOCK_STREAM, socket.SOCK_DGRAM):
            self.socket(kind=kind).close()
            service = self.started()
            self.assertTrue(self.is_served())
            self.assertEqual(os.listdir(self.folder), ["admin.sock"])
            service.stopService()

    def test_gone_meanwhile(self) -> None:
        """A stale socket that somebody else removes in this moment is none."""
        self.socket().close()
        lstat = os.lstat

        def remove(path: str) -> os.stat_result:
            patch.restore()
            status = lstat(path)
            self.path.unlink()
            return status

        patch = self.patch(os, "lstat", remove)
        self.started()
        self.assertTrue(self.is_served())

    def test_bound_and_not_listening(self) -> None:
        """A socket that somebody has bound and does not listen on is stale, too."""
        self.socket()
        self.started()
        self.assertTrue(self.is_served())

    def test_in_use(self) -> None:
        """Where another process listens, that is told, and there is no socket of our own."""
        other = self.socket()
        other.listen()
        before = self.path.lstat()
        service = self.started()
        fields = {"path": str(self.path), "error": "another process listens there"}
        self.assertEqual(self.log.records, [("warn", "ADMIN_SOCKET", fields)])
        self.assertEqual(self.reactor.readers, [])
        service.stopService()
        self.assertEqual(self.path.lstat(), before)

    def test_busy(self) -> None:
        """A process that has no time for a further connection listens all the same."""
        other = self.socket()
        other.listen(0)
        with socket.socket(socket.AF_UNIX) as waiting:
            waiting.connect(str(self.path))
            self.started()
        self.assertEqual(len(self.log.records), 1)

    def test_other_kind(self) -> None:
        """A socket of another kind that is alive is left alone."""
        self.socket(kind=socket.SOCK_DGRAM)
        self.started()
        self.assertEqual(len(self.log.records), 1)

    @skipIf(os.geteuid() != 0, "only root can be somebody else")
    def test_not_ours(self) -> None:
        """A socket that we may not connect to is left alone."""
        self.socket().listen()
        self.path.chmod(0o600)
        self.folder.chmod(0o777)
        os.seteuid(STRANGER)
        self.addCleanup(os.seteuid, 0)
        self.started()
        self.assertEqual(len(self.log.records), 1)

    def test_no_socket(self) -> None:
        """What is no socket is left alone, and fails the start."""
        target = self.folder / "target"
        target.write_text("kept")
        stale = self.folder / "stale"
        self.socket(stale).close()
        for name, make in (
            ("file", lambda path: path.write_text("kept")),
            ("link", lambda path: path.symlink_to(target)),
            ("link-to-socket", lambda path: path.symlink_to(stale)),
            ("dangling", lambda path: path.symlink_to("nowhere")),
            ("folder", lambda path: path.mkdir()),
            ("fifo", os.mkfifo),
        ):
            path = self.folder / name
            make(path)
            before = path.lstat()
            self.assertEqual(self.refusal(path), "there is a file that is no socket")
            self.assertEqual(path.lstat(), before)
        self.assertEqual(target.read_text(), "kept")

    def test_longest_path(self) -> None:
        """A path may be as long as a socket's can be, whatever part of it the name is."""
        for name in ("s", "sock", "s" * 40, "\u00e4" * 10):
            rest = LONGEST_SOCKET_PATH - len(os.fsencode(str(self.folder / name))) - 1
            path = self.folder / ("d" * rest) / name
            self.assertEqual(len(os.fsencode(str(path))), LONGEST_SOCKET_PATH)
            self.started(path)
            self.assertTrue(self.is_served(path))
            self.assertEqual(os.listdir(path.parent), [name])

    def test_short_name(self) -> None:
        """A short name leaves the temporary one as much room as the path has."""
        names: list[str] = []
        rename = os.rename

        def observe(old: str, new: str) -> None:
            names.append(os.path.basename(old))
            rename(old, new)

        self.patch(os, "rename", observe)
        self.started(self.folder / "s")
        self.assertEqual(len(names[0]), 32)

    def test_no_folder(self) -> None:
        """A folder that cannot be made fails the start with the reason."""
        (self.folder / "file").write_text("")
        reason = self.refusal(self.folder / "file" / "admin.sock")
        self.assertEqual(reason, "Not a directory")
        (self.folder / "link").symlink_to("nowhere")
        for folder in (self.folder / "link", self.folder / "link" / "a" / "b"):
            reason = self.refusal(folder / "admin.sock")
            self.assertEqual(reason, "No such file or directory")

    def test_failures(self) -> None:
        """Whatever goes wrong fails the start, and leaves no file."""

        def fail(*_: object) -> None:
            raise OSError(errno.EIO, "Input/output error")

        for name in ("rename", "lstat"):
            patch = self.patch(os, name, fail)
            self.assertEqual(self.refusal(), "Input/output error")
            patch.restore()
            self.assertEqual(os.listdir(self.folder), [])

    def test_failure_without_number(self) -> None:
        """A failure that the system has no number for is told in its own words."""

        def fail(*_: object) -> None:
            raise OSError("out of order")

        self.patch(os, "rename", fail)
        self.assertEqual(self.refusal(), "out of order")

    def test_interrupted(self) -> None:
        """The same holds for what is no error of the system's."""

        def interrupt(*_: object) -> None:
            raise KeyboardInterrupt

        patch = self.patch(os, "rename", interrupt)
        service = self.service()
        before = open_descriptors()
        self.assertRaises(KeyboardInterrupt, service.privilegedStartService)
        patch.restore()
        self.assertEqual(open_descriptors(), before)
        self.assertEqual(os.listdir(self.folder), [])
