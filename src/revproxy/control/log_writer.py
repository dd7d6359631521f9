"""Takes log lines from the reactor and writes them in a thread of its own.

Owns the bounded queue, the thread, standard output and the log files. Refuses to know what a
line says, but for the notes about lost lines, whose format it is handed.

The caller pays for a counter and a put. A put wakes the thread only when it sleeps, which it does
without a timeout once everything is written; woken, it lets lines gather for
:data:`GATHER_SECS` and then takes them all. So a busy process has five wake-ups a second, an
idle one none.
"""

from __future__ import annotations

import select
import time
from collections.abc import Callable, Collection, Mapping
from functools import partial
from queue import SimpleQueue
from threading import Event, Thread

from revproxy.control.log_sink import LogSink, open_log_file, open_log_files
from revproxy.control.record_log import Records
from revproxy.errors import ConfigError

QUEUE_BYTES = 16 * 2**20
"""What may wait for the thread; further lines are dropped."""

LINE_COST = 80
"""Bytes that a waiting line takes beside its characters."""

GATHER_SECS = 0.2
"""For how long lines gather before they are written."""

CLOSE_SECS = 2.0
"""How long closing may take when somebody does not read."""

TELL_SECS = 60.0
"""How often the other sinks are told of one that fails."""

BATCH_LINES = 1024
"""Lines handled before the next write, which lets the reactor's thread run."""

STDOUT = 1


class LogWriter:
    """Writes lines to standard output, to a file when there is one, and to files of sites.

    Everything but the opening of files is done by one daemon thread. Methods are for the
    reactor's thread; :meth:`write` may be called from anywhere, also by a finalizer at any
    moment, and neither blocks nor raises.
    """

    def __init__(
        self,
        records: Records,
        file_path: str | None = None,
        stdout: int = STDOUT,
        limit: int = QUEUE_BYTES,
    ) -> None:
        """Open the file; lines wait until :meth:`start`.

        Args:
            records: the format of the records about lost lines.
            file_path: a file that gets every line too.
            stdout: the descriptor of standard output; left out when it is not open.
            limit: bytes that may wait in the queue, and again for each sink.

        Raises:
            ConfigError: the file cannot be opened.
        """
        self._records = records
        self._limit = limit
        self._file_path = file_path
        self._queue: SimpleQueue[str | tuple[str, str] | Callable[[], None]] = SimpleQueue()
        # Each is counted up in one place only, so no lock is needed. Where two threads write in
        # the same instant one line may go uncounted, until the queue is next empty.
        self._accepted = 0
        self._taken = 0
        self._refused = 0
        self._refused_told = 0
        self._lost_before = 0  # by sinks that are closed, and after that
        self._closing = Event()
        self._closed = False
        self._deadline = 0.0
        self._thread: Thread | None = None
        self._lines: list[str] = []
        self._site_lines: dict[str, list[str]] = {}
        self._site_paths: frozenset[str] = frozenset()
        self._sites: dict[str, LogSink] = {}
        self._stale: dict[str, str] = {}
        self._told: dict[str, float] = {}
        self._main: list[LogSink] = []
        # First, before a file could get the number of a standard output that is not open.
        try:
            self._main.append(self._sink("stdout", stdout))
        except OSError:
            pass
        self._file: LogSink | None = None
        if file_path is not None:
            self._file = self._sink(file_path, open_log_file(file_path))
            self._main.insert(0, self._file)

    def start(self) -> None:
        """Start the thread; after the last fork of a process that becomes a daemon."""
        self._thread = Thread(target=self._run, name="log writer", daemon=True)
        self._thread.start()

    def write(self, line: str, also: str | None = None) -> None:
        """Hand over one line, without its end.

        Args:
            line: one line.
            also: a site's file, one of :meth:`use_files`, that gets it too.
        """
        if self._accepted - self._taken > self._limit:
            self._refused += 1
            return
        self._accepted += len(line) + LINE_COST
        self._queue.put(line if also is None else (line, also))

    def unopened(self, paths: Collection[str]) -> frozenset[str]:
        """Those of ``paths`` that :meth:`use_files` would have to open."""
        return frozenset(paths) - self._site_paths - {self._file_path}

    def use_files(self, paths: Collection[str], opened: Mapping[str, int] | None = None) -> None:
        """Write to the files of ``paths`` from now on, and close all other ones.

        Args:
            paths: of the files.
            opened: descriptors of those that were :meth:`unopened`; by default they are opened
                now, which may take as long as their file system likes.

        Raises:
            ConfigError: one cannot be opened. Then nothing has changed.
        """
        if opened is None:
            opened = open_log_files(self.unopened(paths))
        self._site_paths = frozenset(paths) - {self._file_path}
        self._queue.put(partial(self._set_files, opened, self._site_paths))

    @property
    def lost(self) -> int:
        """Lines that no sink has got, or one has not, since the start."""
        return self._refused + self._lost_before + sum(sink.lost for sink in self._sinks())

    @property
    def failures(self) -> dict[str, str]:
        """Why sinks do not get their lines now, by their names."""
        written = {sink.name: sink.failure for sink in self._sinks() if sink.failure}
        return {**self._stale, **written}

    def reopen(self, done: Callable[[list[str]], None] = lambda failures: None) -> None:
        """Open every file again by its path (log rotation); done by the thread, soon.

        Args:
            done: is called by the thread, with a sentence for each file that cannot be opened:
                its lines still go where they went.
        """
        self._queue.put(partial(self._reopen, done))

    def close(self) -> None:
        """Write what waits, for at most about :data:`CLOSE_SECS`, and close the files.

        Lines handed over later are dropped.
        """
        if self._closed:
            return
        self._closed = True
        self._deadline = time.monotonic() + CLOSE_SECS
        self._closing.set()
        if self._thread is None:
            self._finish()
            return
        self._queue.put(self._deliver)  # which wakes the thread
        self._thread.join(CLOSE_SECS + 2 * GATHER_SECS)

    # What follows runs in the thread.

    def _run(self) -> None:
        while not self._closing.is_set():
            blocked = self._blocked()
            if blocked:
                _await_writable(blocked, GATHER_SECS)
            else:
                self._sort(self._queue.get())
                self._closing.wait(GATHER_SECS)
            self._write_out()
        self._finish()

    def _finish(self) -> None:
        self._write_out()
        while (blocked := self._blocked()) and (left := self._deadline - time.monotonic()) > 0:
            _await_writable(blocked, left)
            self._flush()
        for sink in self._files():
            sink.close()

    def _write_out(self) -> None:
        """Bring everything that is queued to the sinks, and as far as they take it at once."""
        while True:
            for _ in range(min(BATCH_LINES, self._queue.qsize())):
                self._sort(self._queue.get())
            self._deliver()
            self._flush()
            if self._queue.empty():
                self._taken = self._accepted
                return

    def _sort(self, item: str | tuple[str, str] | Callable[[], None]) -> None:
        if isinstance(item, str):
            line = item
        elif isinstance(item, tuple):
            line, path = item
            self._site_lines.setdefault(path, []).append(line)
        else:
            self._deliver()
            item()
            return
        self._lines.append(line)
        self._taken += len(line) + LINE_COST

    def _deliver(self) -> None:
        """Move the sorted lines to their sinks."""
        refused = self._refused - self._refused_told
        if refused:
            self._refused_told += refused
            self._lines.append(self._dropped(refused, "queue"))
        if not self._lines:
            return
        lines = _encode(self._lines)
        for sink in self._main:
            sink.add(lines)
        self._lines.clear()
        for path, site_lines in self._site_lines.items():
            if path in self._sites:
                self._sites[path].add(_encode(site_lines))
            else:  # of an exchange that outlasts the configuration it began with
                self._lost_before += len(site_lines)
        self._site_lines.clear()

    def _flush(self) -> None:
        for sink in self._sinks():
            sink.flush()
            if sink.failure:
                self._tell(sink)

    def _tell(self, sink: LogSink) -> None:
        """Tell the other sinks, at most once in a while, that ``sink`` fails."""
        now = time.monotonic()
        if now >= self._told.get(sink.name, now):
            self._told[sink.name] = now + TELL_SECS
            fields = (("sink", sink.name), ("error", sink.failure))
            self._queue.put(self._records.line("error", "LOG_FAILED", fields))

    def _reopen(self, done: Callable[[list[str]], None]) -> None:
        stale: dict[str, str] = {}
        for sink in self._files():
            sink.flush()
            try:
                sink.replace(open_log_file(sink.name))
            except ConfigError as error:
                stale[sink.name] = error.message
                fields = (("status", "error"), ("sink", sink.name), ("error", error.message))
                self._lines.append(self._records.line("error", "LOG_REOPEN", fields))
        self._stale = stale
        done([f"{name}: {message}" for name, message in stale.items()])

    def _set_files(self, opened: Mapping[str, int], wanted: frozenset[str]) -> None:
        for path in [path for path in self._sites if path not in wanted]:
            sink = self._sites.pop(path)
            sink.flush()
            sink.close()
            self._lost_before += sink.lost
        self._sites |= {path: self._sink(path, fd) for path, fd in opened.items()}

    def _sink(self, name: str, fd: int) -> LogSink:
        return LogSink(name, fd, lambda *lost: _encode([self._dropped(*lost)]), self._limit)

    def _dropped(self, lines: int, sink: str) -> str:
        return self._records.line("warn", "LOG_DROPPED", (("lines", lines), ("sink", sink)))

    def _files(self) -> list[LogSink]:
        return [*([self._file] if self._file else []), *self._sites.values()]

    def _sinks(self) -> list[LogSink]:
        return [*self._main, *self._sites.values()]

    def _blocked(self) -> list[LogSink]:
        return [sink for sink in self._sinks() if sink.blocked]


def _encode(lines: list[str]) -> bytes:
    return ("\n".join(lines) + "\n").encode("ascii", "backslashreplace")


def _await_writable(sinks: list[LogSink], seconds: float) -> None:
    poll = select.poll()
    for sink in sinks:
        poll.register(sink.fd, select.POLLOUT)
    poll.poll(seconds * 1000)
