"""Private files: their modes, what is refused, what a crash leaves, and the lock."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from unittest import skipIf

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from revproxy.tls.acme.files import (
    TEMPORARY,
    Lock,
    create_private,
    encode_object,
    make_private,
    make_private_directory,
    parse_object,
    put_aside,
    read_private,
    remove,
    remove_unfinished,
    write_private,
)

HOLD = """
import sys
from pathlib import Path
from revproxy.tls.acme.files import Lock
print(Lock(Path(sys.argv[1])).try_acquire(), flush=True)
sys.stdin.read()
"""


class FolderCase(SynchronousTestCase):
    """A folder of its own, under a umask that takes nothing away."""

    def setUp(self) -> None:
        self.addCleanup(os.umask, os.umask(0))
        self.folder = Path(self.mktemp()).absolute()
        self.folder.mkdir()
        self.path = self.folder / "file"


class WriteTests(FolderCase):
    """How private files are written."""

    def test_modes(self) -> None:
        """The file is its owner's alone under any umask, and so is every directory made for it."""
        path = self.folder / "a" / "b" / "file"
        write_private(path, b"x")
        modes = [each.stat().st_mode & 0o777 for each in (path, path.parent, path.parent.parent)]
        self.assertEqual(modes, [0o600, 0o700, 0o700])
        self.assertEqual(self.folder.stat().st_mode & 0o777, 0o777)

    def test_replaces(self) -> None:
        """A file is replaced by another one, not written into; its wider mode goes with it."""
        self.path.write_bytes(b"old")
        with self.path.open("rb") as reader:
            write_private(self.path, b"new")
            self.assertEqual(reader.read(), b"old")
        self.assertEqual(read_private(self.path, 3), b"new")

    def test_replaces_a_link(self) -> None:
        """A symbolic link in the file's place is replaced, and what it names is left alone."""
        other = self.folder / "other"
        other.write_bytes(b"other")
        self.path.symlink_to(other)
        write_private(self.path, b"new")
        self.assertEqual((other.read_bytes(), self.path.read_bytes()), (b"other", b"new"))

    def test_synchronised_in_order(self) -> None:
        """The content is on the disk before it gets its name, and the name when it returns."""
        calls: list[str] = []
        for name in ("fsync", "replace"):
            real = getattr(os, name)
            self.patch(
                os,
                name,
                lambda *arguments, name=name, real=real: (calls.append(name), real(*arguments)),
            )
        write_private(self.path, b"x")
        self.assertEqual(calls, ["fsync", "replace", "fsync"])

    def test_failure(self) -> None:
        """Whatever fails, the old content is there and nothing else."""
        write_private(self.path, b"old")

        def failing(*_: object) -> None:
            raise OSError(28, "No space left on device")

        for name in ("fsync", "replace"):
            patch = self.patch(os, name, failing)
            with self.assertRaises(OSError):
                write_private(self.path, b"new")
            patch.restore()
            self.assertEqual(read_private(self.path, 9), b"old")
            self.assertEqual(os.listdir(self.folder), ["file"])

    def test_directory_is_a_file(self) -> None:
        """A file where a directory has to be is an error."""
        self.path.write_bytes(b"")
        for path in (self.path, self.path / "below"):
            with self.assertRaises(OSError):
                make_private_directory(path)


class CreateTests(FolderCase):
    """How private files come into being that must not replace another one."""

    def test_new(self) -> None:
        """It is there as a whole, its owner's alone, with nothing beside it."""
        create_private(self.path, b"x")
        self.assertEqual(read_private(self.path, 1), b"x")
        self.assertEqual(os.listdir(self.folder), ["file"])

    def test_there_already(self) -> None:
        """What is there stays, be it a link to nowhere."""
        self.path.symlink_to("nowhere")
        with self.assertRaises(FileExistsError):
            create_private(self.path, b"x")
        self.assertTrue(self.path.is_symlink())
        self.assertEqual(os.listdir(self.folder), ["file"])


class ReadTests(FolderCase):
    """What is read, and what is refused with the path in the sentence."""

    def refused(self, words: str, limit: int = 100) -> None:
        with self.assertRaises(ValueError) as caught:
            read_private(self.path, limit)
        self.assertIn(str(self.path), str(caught.exception))
        self.assertIn(words, str(caught.exception))

    def test_limit(self) -> None:
        """A file may have as many bytes as the limit says and not one more."""
        write_private(self.path, b"12345")
        self.assertEqual(read_private(self.path, 5), b"12345")
        self.refused("is larger than 4 bytes", 4)

    def test_open_to_others(self) -> None:
        """A file that group or others may read or write is refused, each bit by itself."""
        for bit in (0o040, 0o020, 0o004, 0o002):
            write_private(self.path, b"x")
            self.path.chmod(0o600 | bit)
            self.refused(f"open to other users (mode {0o600 | bit:04o})")
        self.path.chmod(0o400)
        self.assertEqual(read_private(self.path, 1), b"x")

    def test_readable(self) -> None:
        """Where others may read it, they still may not write."""
        write_private(self.path, b"x")
        self.path.chmod(0o644)
        self.assertEqual(read_private(self.path, 1, readable=True), b"x")
        for mode in (0o620, 0o602):
            self.path.chmod(mode)
            with self.assertRaises(ValueError):
                read_private(self.path, 1, readable=True)

    @skipIf(os.geteuid() != 0, "only root can be somebody else")
    def test_owner(self) -> None:
        """A file of another user is refused; one of root's is not."""
        write_private(self.path, b"x")
        os.chown(self.path, 65534, 65534)
        self.refused("belongs to another user (uid 65534)")
        os.chown(self.path, 0, 0)
        self.patch(os, "geteuid", lambda: 65534)
        self.assertEqual(read_private(self.path, 1), b"x")

    @skipIf(os.geteuid() != 0, "only root can be somebody else")
    def test_before_root_is_given_up(self) -> None:
        """Root reads the files of a user in a folder that is that user's alone."""
        write_private(self.path, b"x")
        for path in (self.path, self.folder):
            os.chown(path, 65534, 65534)
        self.refused("belongs to another user")
        self.folder.chmod(0o755)
        self.assertEqual(read_private(self.path, 1), b"x")

    def test_made_private(self) -> None:
        """A file that others may read is closed to them, whoever asks for it twice."""
        write_private(self.path, b"x")
        self.path.chmod(0o644)
        self.assertEqual(make_private(self.path), 0o644)
        self.assertIsNone(make_private(self.path))
        self.assertEqual(self.path.stat().st_mode & 0o777, 0o600)

    def test_link(self) -> None:
        """A symbolic link is not followed, not even to a good file."""
        write_private(self.folder / "good", b"x")
        self.path.symlink_to("good")
        self.refused("is a symbolic link")

    def test_no_regular_file(self) -> None:
        """A directory or a FIFO is refused without waiting for a writer."""
        self.path.mkdir(0o700)
        with self.assertRaises((OSError, ValueError)):
            read_private(self.path, 9)
        self.path.rmdir()
        os.mkfifo(self.path, 0o600)
        self.refused("is not a regular file")

    def test_missing(self) -> None:
        """A file that is not there is told apart from one that cannot be read."""
        with self.assertRaises(FileNotFoundError):
            read_private(self.path, 9)


class ObjectTests(SynchronousTestCase):
    """JSON objects."""

    def test_round_trip(self) -> None:
        """What is written is read; in ASCII, whatever the text."""
        value = {"a": [1, 2.5, None], "b": "\u00e9\ud800"}
        content = encode_object(value)
        self.assertTrue(content.isascii())
        self.assertEqual(parse_object(content), value)

    def test_refused(self) -> None:
        """What is no JSON object is a ValueError, however deep or odd it is."""
        for content in (
            b"",
            b"[]",
            b"1",
            b'{"a": NaN}',
            b'{"a": -Infinity}',
            b'{"a": ' + b"9" * 5000 + b"}",
            b'{"a":' + b"[" * 100_000,
            b"\xff{}",
            b"{} {}",
        ):
            with self.assertRaises(ValueError, msg=content[:20]):
                parse_object(content)
        with self.assertRaises(ValueError):
            encode_object({"a": float("nan")})

    @settings(deadline=None, derandomize=True, max_examples=300)
    @given(st.binary(max_size=40) | st.text(max_size=40).map(str.encode))
    def test_anything(self, content: bytes) -> None:
        """Any bytes give an object or a ValueError."""
        try:
            self.assertIsInstance(parse_object(content), dict)
        except ValueError:
            pass


class LeftoverTests(FolderCase):
    """Files that are not wanted any more."""

    def test_unfinished(self) -> None:
        """Only old unfinished files are removed; a missing directory has none."""
        for name, age in ((TEMPORARY + "old", 100), (TEMPORARY + "new", 200), ("file", 100)):
            (self.folder / name).write_bytes(b"x")
            os.utime(self.folder / name, (age, age))
        self.assertEqual(remove_unfinished(self.folder, 150), 1)
        self.assertEqual(sorted(os.listdir(self.folder)), [TEMPORARY + "new", "file"])
        self.assertEqual(remove_unfinished(self.folder / "missing", 150), 0)

    def test_remove(self) -> None:
        """Removing removes, and is content with a file that is gone already."""
        self.path.write_bytes(b"x")
        remove(self.path)
        remove(self.path)
        self.assertEqual(os.listdir(self.folder), [])

    def test_put_aside(self) -> None:
        """A broken file is renamed, over an earlier one."""
        for content in (b"1", b"2"):
            self.path.write_bytes(content)
            put_aside(self.path)
        self.assertEqual((self.folder / "file.broken").read_bytes(), b"2")
        self.assertEqual(os.listdir(self.folder), ["file.broken"])


class LockTests(FolderCase):
    """One holder at a time."""

    def test_one_at_a_time(self) -> None:
        """A second lock on the file is not granted until the first is released."""
        first, second = Lock(self.path), Lock(self.path)
        self.addCleanup(second.release)
        self.assertTrue(first.try_acquire())
        self.assertFalse(first.try_acquire())
        self.assertFalse(second.try_acquire())
        self.assertEqual((first.held, second.held), (True, False))
        first.release()
        first.release()
        self.assertTrue(second.try_acquire())
        self.assertFalse(first.try_acquire())

    def test_directory(self) -> None:
        """A missing directory is made, and the file is its owner's alone."""
        lock = Lock(self.folder / "new" / "lock")
        self.addCleanup(lock.release)
        self.assertTrue(lock.try_acquire())
        self.assertEqual((self.folder / "new" / "lock").stat().st_mode & 0o777, 0o600)

    def test_killed_process(self) -> None:
        """A lock that another process holds is free once the process was killed."""
        source = str(Path(__file__).parents[2] / "src")
        process = subprocess.Popen(
            [sys.executable, "-c", HOLD, str(self.path)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env={**os.environ, "PYTHONPATH": source},
        )
        with process:
            self.addCleanup(process.kill)
            assert process.stdout is not None
            self.assertEqual(process.stdout.readline(), b"True\n")
            lock = Lock(self.path)
            self.addCleanup(lock.release)
            self.assertFalse(lock.try_acquire())
            process.kill()
            process.wait()
            self.assertTrue(lock.try_acquire())

    def test_descriptors(self) -> None:
        """Being refused leaves no descriptor open."""
        first, second = Lock(self.path), Lock(self.path)
        self.addCleanup(first.release)
        first.try_acquire()
        before = len(os.listdir("/proc/self/fd"))
        for _ in range(10):
            second.try_acquire()
        self.assertEqual(len(os.listdir("/proc/self/fd")), before)
