"""Files that only this user may read: keys, accounts and what is remembered of certificates.

Owns how such files are written so that a crash leaves the old content or the new one and never a
part, how they are read with a bound, and the lock between processes. Refuses to know what is in
them, but for JSON objects in general.

All of it blocks on the disk, several milliseconds where it has to be synchronised.
"""

from __future__ import annotations

import errno
import fcntl
import json
import os
import stat
from collections.abc import Mapping
from contextlib import suppress
from itertools import chain, islice
from pathlib import Path
from tempfile import mkstemp
from threading import Event
from threading import Lock as ThreadLock

TEMPORARY = ".unfinished-"
"""What the names of files begin with that are being written, or were when a process died."""

MOST_FOLDERS = 1000
"""Whose permissions are looked at."""

_OPEN = stat.S_IRWXG | stat.S_IRWXO
_WRITABLE = stat.S_IWGRP | stat.S_IWOTH

BROKEN = ".broken"
"""What is added to the name of a file that nothing could be made of."""


def make_private_directory(path: Path) -> None:
    """Make ``path`` and every missing directory above it, mode 0700; others stay as they are.

    Raises:
        OSError: one cannot be made, or is no directory.
    """
    missing = [folder for folder in (path, *path.parents) if not folder.exists()]
    for folder in reversed(missing):
        with suppress(FileExistsError):  # another process was faster
            folder.mkdir(mode=0o700)
        with suppress(PermissionError):  # it is not ours to read: the name gets there later
            synchronise_directory(folder.parent)
    if not path.is_dir():
        raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), str(path))


def synchronise_directory(path: Path) -> None:
    """Have the names in a directory on the disk, so that a rename outlives a power cut.

    Raises:
        OSError: it cannot be opened or written.
    """
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def write_private(path: Path, content: bytes) -> None:
    """Replace the file at ``path`` as a whole; mode 0600 from birth.

    When this returns, content and name are on the disk. When it does not, the old file is as it
    was, and at most a file is left behind whose name begins with :data:`TEMPORARY`.

    Raises:
        OSError: it cannot be written; the old file is still there, or, if only the directory
            could not be synchronised, the new one.
    """
    temporary = _written_beside(path, content)
    try:
        os.replace(temporary, path)
    except BaseException:
        with suppress(OSError):
            os.unlink(temporary)
        raise
    synchronise_directory(path.parent)


def create_private(path: Path, content: bytes) -> None:
    """The same as :func:`write_private` where there is no file yet.

    Raises:
        FileExistsError: there is one, possibly since a moment ago; it stays as it is.
        OSError: it cannot be written.
    """
    temporary = _written_beside(path, content)
    try:
        os.link(temporary, path)  # a rename would replace what another process has just made
    finally:
        with suppress(OSError):
            os.unlink(temporary)
    synchronise_directory(path.parent)


def _written_beside(path: Path, content: bytes) -> str:
    """A new file with ``content`` in the directory of ``path``, which is made."""
    make_private_directory(path.parent)
    descriptor, temporary = mkstemp(prefix=TEMPORARY, dir=path.parent)
    try:
        with open(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
    except BaseException:
        with suppress(OSError):
            os.unlink(temporary)
        raise
    return temporary


def read_private(path: Path, limit: int, *, readable: bool = False) -> bytes:
    """The content of a file that belongs to this user alone.

    Args:
        path: the file itself: a symbolic link is not followed, for it may have been placed by
            somebody else.
        limit: the most bytes it may have.
        readable: whether others may be able to read it, as after a copy; never to write to it.

    Raises:
        FileNotFoundError: there is none.
        OSError: it cannot be opened or read.
        ValueError: it is a symbolic link, no regular file, another user's, open to the group or
            to others, or larger than ``limit``; with the path in the sentence.
    """
    # O_NONBLOCK: a FIFO would make us wait for its writer.
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    except OSError as error:
        if error.errno == errno.ELOOP:
            raise ValueError(f"{path} is a symbolic link") from None
        raise
    with open(descriptor, "rb") as file:
        status = os.fstat(descriptor)
        mode = stat.S_IMODE(status.st_mode)
        if not stat.S_ISREG(status.st_mode):
            raise ValueError(f"{path} is not a regular file")
        if not _is_ours(path, status.st_uid):
            raise ValueError(f"{path} belongs to another user (uid {status.st_uid})")
        if mode & (_WRITABLE if readable else _OPEN):
            raise ValueError(
                f"{path} is open to other users (mode {mode:04o}): "
                "take the file away, or, if nobody has read it, chmod 0600"
            )
        content = file.read(limit + 1)
    if len(content) > limit:
        raise ValueError(f"{path} is larger than {limit} bytes")
    return content


def _is_ours(path: Path, owner: int) -> bool:
    """Whether a file of ``owner`` was written by who may."""
    ours = os.geteuid()
    if owner in {ours, 0}:
        return True
    # A process that is to become another user reads that user's files while it is still root.
    folder = path.parent.stat()
    return ours == 0 and folder.st_uid == owner and not folder.st_mode & _WRITABLE


def make_private(path: Path) -> int | None:
    """Take a file away from all but its owner.

    Returns:
        the mode that it had; None when it was private already.

    Raises:
        OSError: it cannot be opened, is a symbolic link, or is not ours to change.
    """
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    try:
        mode = stat.S_IMODE(os.fstat(descriptor).st_mode)
        if not mode & _OPEN:
            return None
        os.fchmod(descriptor, 0o600)
        return mode
    finally:
        os.close(descriptor)


def writable_by_others(folder: Path, mask: int = _WRITABLE) -> list[Path]:
    """Those of a folder and the folders in it, two deep, that others may write in.

    Args:
        folder: there may be none.
        mask: the permissions that are looked for.
    """
    found = []
    for path in (folder, *islice(chain(folder.glob("*/"), folder.glob("*/*/")), MOST_FOLDERS)):
        with suppress(OSError):
            if path.stat().st_mode & mask:
                found.append(path)
    return found


def encode_object(value: Mapping[str, object]) -> bytes:
    """A JSON object (RFC 8259), in ASCII and in a form that people can read.

    Raises:
        ValueError: a number is infinite or none.
    """
    text = json.dumps(value, indent=1, sort_keys=True, allow_nan=False)
    return text.encode("ascii") + b"\n"


def parse_object(content: bytes) -> dict[str, object]:
    """The JSON object that ``content`` is (RFC 8259).

    Raises:
        ValueError: it is no JSON, not UTF-8, nested too deeply, or no object.
    """
    try:
        value = json.loads(content.decode("utf-8"), parse_constant=_refuse_constant)
    except RecursionError:
        raise ValueError("nested too deeply") from None
    if not isinstance(value, dict):
        raise ValueError("not a JSON object")
    return value


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is no JSON")


def remove(path: Path) -> None:
    """Remove a file if it is there; that it is gone is on the disk when this returns.

    Raises:
        OSError: it is there and cannot be removed.
    """
    with suppress(FileNotFoundError):
        path.unlink()
        synchronise_directory(path.parent)


def remove_unfinished(directory: Path, older_than: float) -> int:
    """Remove what processes have left that died while they were writing.

    Args:
        directory: where; none is made.
        older_than: seconds since 1970: what is younger may be in the making elsewhere.

    Returns:
        how many were removed.
    """
    removed = 0
    with suppress(OSError):
        for path in directory.glob(f"{TEMPORARY}*"):
            with suppress(OSError):
                if path.lstat().st_mtime < older_than:
                    path.unlink()
                    removed += 1
    return removed


def put_aside(path: Path) -> Path:
    """Rename a file that nothing can be made of, so that somebody can look at it.

    An earlier one of the same name is replaced.

    Raises:
        OSError: it cannot be renamed.
    """
    aside = path.with_name(path.name + BROKEN)
    path.replace(aside)
    return aside


class Lock:
    """A lock that one process at a time holds, on a file that is never removed.

    Only tried and never waited for: whoever needs it tries again later (``flock`` would block
    the reactor). The kernel releases it when the process ends in whatever way; a child that was
    forked without ``exec`` would go on holding it. On NFS and some other network file systems
    ``flock`` excludes nobody on another machine: keep the directory on a local file system.

    Attributes:
        path: the file.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._descriptor: int | None = None
        self._closed = Event()
        self._changing = ThreadLock()

    @property
    def held(self) -> bool:
        """Whether this object holds the lock."""
        return self._descriptor is not None

    def try_acquire(self) -> bool:
        """Take the lock if nobody holds it; also ``False`` when this object holds it already, or
        is closed.

        Raises:
            OSError: the file cannot be made or opened, or the file system knows no locks.
        """
        if self._descriptor is not None or self._closed.is_set():
            return False
        make_private_directory(self.path.parent)
        flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
        descriptor = os.open(self.path, flags, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(descriptor)
            return False
        except BaseException:
            os.close(descriptor)
            raise
        with self._changing:
            if not self._closed.is_set():
                self._descriptor = descriptor
                return True
        os.close(descriptor)
        return False

    def release(self) -> None:
        """Give the lock back; does nothing when it is not held."""
        with self._changing:
            descriptor, self._descriptor = self._descriptor, None
        if descriptor is not None:
            os.close(descriptor)

    def close(self) -> None:
        """Give the lock back for good; a thread that is just taking it does not get it."""
        with self._changing:
            self._closed.set()
        self.release()
