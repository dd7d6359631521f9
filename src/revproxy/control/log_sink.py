"""One place that log lines are written to, without ever waiting for it.

Owns a descriptor, what it has not taken yet, and the count of the lines that it lost. Refuses to
know formats, threads and when to try again (``log_writer``).
"""

from __future__ import annotations

import os
import select
import stat
from collections import deque
from collections.abc import Callable, Collection

from revproxy.errors import ConfigError

BACKLOG_BYTES = 16 * 2**20
"""What a sink that does not take its lines may keep waiting; further lines are dropped."""

FILE_WRITE_BYTES = 2**20
"""Written to a regular file at once."""

PIPE_WRITE_BYTES = select.PIPE_BUF
"""Written to anything else at once: what a pipe that polls writable takes whole."""


def open_log_file(path: str) -> int:
    """Open ``path`` to append to, and make it (0640) where it is missing.

    Returns:
        a descriptor that is not inherited.

    Raises:
        ConfigError: it cannot be opened; its directory must exist, and a named pipe must have
            a reader.
    """
    flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NOCTTY | os.O_NONBLOCK
    try:
        return os.open(path, flags, 0o640)
    except FileNotFoundError:
        raise ConfigError(path, "cannot be opened for logging: no such directory") from None
    except (OSError, ValueError) as error:
        cause = error.strerror if isinstance(error, OSError) else error
        raise ConfigError(path, f"cannot be opened for logging: {cause}") from None


def check_log_file(path: str) -> None:
    """See that :func:`open_log_file` could open ``path``, without making it.

    Raises:
        ConfigError: it could not.
    """
    directory = os.path.dirname(path)
    if not os.path.isdir(directory):
        raise ConfigError(path, "cannot be opened for logging: no such directory")
    where, mode = (path, os.W_OK) if os.path.exists(path) else (directory, os.W_OK | os.X_OK)
    if os.path.isdir(path) or not os.access(where, mode):
        reason = "is a directory" if os.path.isdir(path) else "permission denied"
        raise ConfigError(path, f"cannot be opened for logging: {reason}")


def open_log_files(paths: Collection[str]) -> dict[str, int]:
    """Open each of ``paths`` as :func:`open_log_file` does; a thread may do it.

    Raises:
        ConfigError: one cannot be opened. Then none stays open.
    """
    opened: dict[str, int] = {}
    try:
        for path in sorted(paths):
            opened[path] = open_log_file(path)
    except ConfigError:
        for fd in opened.values():
            os.close(fd)
        raise
    return opened


class LogSink:
    """A descriptor and the lines on their way to it. Used by one thread.

    Where writing fails for good (full disk, reader gone) the lines at hand are dropped and
    counted; as soon as something can be written again, a note with their number comes first.
    A line that was cut short by a failure is ended before anything else is written.

    Attributes:
        lost: lines that were dropped since the start.
        failure: why nothing can be written now; ``""`` = something can.
    """

    def __init__(
        self, name: str, fd: int, note: Callable[[int, str], bytes], limit: int = BACKLOG_BYTES
    ) -> None:
        """Write to ``fd`` from now on.

        Args:
            name: how the note calls this sink.
            fd: open for writing.
            note: makes the line that tells how many lines this sink has lost.
            limit: bytes that may wait.
        """
        self.name = name
        self._note = note
        self._limit = limit
        # Lines, and for a note the lines that it stands for: lost again when it is lost.
        self._chunks: deque[tuple[bytes, int]] = deque()
        self._waiting = 0
        self._offset = 0
        self._dropped = 0
        self.lost = 0
        self.failure = ""
        self._torn = False
        self._use(fd)

    def _use(self, fd: int) -> None:
        self.fd = fd
        self._poll: select.poll | None = None
        if not stat.S_ISREG(os.fstat(fd).st_mode):
            self._poll = select.poll()
            self._poll.register(fd, select.POLLOUT)

    @property
    def blocked(self) -> bool:
        """Whether lines wait for the descriptor to take more."""
        return bool(self._chunks)

    def add(self, lines: bytes) -> None:
        """Take whole lines; they are dropped and counted when too much is waiting already."""
        if self._waiting + len(lines) > self._limit:
            self._lose(lines.count(b"\n"))
            return
        if self._dropped:
            self._add_note()
        self._push(lines, 0)

    def flush(self) -> None:
        """Write what can be written without waiting."""
        while True:
            if not self._chunks:
                if not self._dropped:
                    return
                self._add_note()
            if not self._write_some():
                return

    def replace(self, fd: int) -> None:
        """Close the descriptor and go on with ``fd``, with a whole line if it is another file."""
        if not os.path.sameopenfile(self.fd, fd):
            self._torn = False
            if self._offset:
                self._offset = self._chunks[0][0].rfind(b"\n", 0, self._offset) + 1
        _close(self.fd)
        self._use(fd)

    def close(self) -> None:
        """Close the descriptor; what still waits is lost."""
        self._drop_all()
        _close(self.fd)

    def _push(self, data: bytes, stands_for: int) -> None:
        self._chunks.append((data, stands_for))
        self._waiting += len(data)

    def _add_note(self) -> None:
        self._push(self._note(self._dropped, self.name), self._dropped)
        self._dropped = 0

    def _write_some(self) -> bool:
        """Write once; False when nothing more can be done now."""
        if self._poll and not self._poll.poll(0):
            return False
        data = self._chunks[0][0]
        try:
            if self._torn:
                os.write(self.fd, b"\n")
                self._torn = False
                return True
            self._offset += os.write(self.fd, data[self._offset : self._cut(data)])
        except BlockingIOError:
            return False
        except OSError as error:
            self.failure = error.strerror or type(error).__name__
            self._drop_all()
            return False
        self.failure = ""
        if self._offset == len(data):
            self._chunks.popleft()
            self._waiting -= len(data)
            self._offset = 0
        return True

    def _cut(self, data: bytes) -> int:
        """Where the next write ends: after a whole line where one fits, so that lines of other
        writers to the same file or pipe fall between ours.
        """
        end = self._offset + (PIPE_WRITE_BYTES if self._poll else FILE_WRITE_BYTES)
        return data.rfind(b"\n", self._offset, end) + 1 or end

    def _lose(self, lines: int) -> None:
        self._dropped += lines
        self.lost += lines

    def _drop_all(self) -> None:
        if self._offset:
            self._torn = self._chunks[0][0][self._offset - 1] != ord("\n")
        for data, stands_for in self._chunks:
            if stands_for:
                self._dropped += stands_for
            else:
                self._lose(data.count(b"\n", self._offset))
            self._offset = 0
        self._chunks.clear()
        self._waiting = 0


def _close(fd: int) -> None:
    """Close ``fd``. A network file system or a quota may tell only now that it has lost what was
    written; the descriptor is closed all the same (close(2)), and lines go on elsewhere.
    """
    try:
        os.close(fd)
    except OSError:
        pass
