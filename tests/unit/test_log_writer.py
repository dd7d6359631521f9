"""The writing thread: batches, losses, rotation, and sinks that do not take what they get."""

from __future__ import annotations

import errno
import fcntl
import os
import resource
import stat
import subprocess
import sys
import time
from pathlib import Path
from queue import Queue
from unittest.mock import patch

from twisted.trial.unittest import SynchronousTestCase

from revproxy.control import log_sink
from revproxy.control.log_sink import PIPE_WRITE_BYTES, LogSink, check_log_file, open_log_file
from revproxy.control.log_writer import CLOSE_SECS, LINE_COST, LogWriter
from revproxy.control.record_log import TextRecords
from revproxy.errors import ConfigError

RECORDS = TextRecords(lambda: 1_785_228_560.0)
PATIENCE_SECS = 10.0


def dropped(lines: int, sink: str) -> str:
    return f"2026-07-28T08:49:20Z WARN LOG_DROPPED lines={lines} sink={sink}"


def note(lines: int, sink: str) -> bytes:
    return dropped(lines, sink).encode() + b"\n"


def failed(sink: str, error: str) -> str:
    return f'2026-07-28T08:49:20Z ERROR LOG_FAILED sink={sink} error="{error}"'


class FailingDisk:
    """Stands in for ``os.write``: takes ``room`` bytes in all, then fails with ``code``."""

    def __init__(self, room: int, code: int = errno.ENOSPC) -> None:
        self.room = room
        self.code = code
        self.real = os.write

    def __call__(self, fd: int, data: bytes) -> int:
        if not self.room:
            raise OSError(self.code, os.strerror(self.code))
        taken = self.real(fd, data[: self.room])
        self.room -= taken
        return taken


class RecordingWrite:
    """Stands in for ``os.write``: writes, and keeps what each call was given."""

    def __init__(self) -> None:
        self.real = os.write
        self.written: list[bytes] = []

    def __call__(self, fd: int, data: bytes) -> int:
        self.written.append(data)
        return self.real(fd, data)


class FileCase(SynchronousTestCase):
    """Temporary files and pipes that are closed at the end."""

    def setUp(self) -> None:
        self.directory = Path(self.mktemp())
        self.directory.mkdir()
        self.path = str(self.directory / "access.log")

    def read(self, path: str | None = None) -> list[str]:
        return Path(path or self.path).read_text().split("\n")

    def pipe(self) -> tuple[int, int]:
        reading, writing = os.pipe()
        self.addCleanup(self.close, reading)
        self.addCleanup(self.close, writing)
        return reading, writing

    def close(self, fd: int) -> None:
        try:
            os.close(fd)
        except OSError:
            pass


class OpenTests(FileCase):
    def test_mode_and_flags(self) -> None:
        """A new file is 0640 from its birth, appended to, and not inherited."""
        umask = os.umask(0)
        self.addCleanup(os.umask, umask)
        fd = open_log_file(self.path)
        self.addCleanup(os.close, fd)
        self.assertEqual(stat.S_IMODE(os.fstat(fd).st_mode), 0o640)
        self.assertTrue(fcntl.fcntl(fd, fcntl.F_GETFL) & os.O_APPEND)
        self.assertFalse(os.get_inheritable(fd))

    def test_errors(self) -> None:
        """What cannot be opened is an error with its path and cause."""
        fifo = str(self.directory / "fifo")
        os.mkfifo(fifo)
        for path, cause in (
            (str(self.directory / "none" / "a.log"), "no such directory"),
            (str(self.directory), "Is a directory"),
            (fifo, "No such device or address"),
            ("a\0b", "null"),
        ):
            error = self.assertRaises(ConfigError, open_log_file, path)
            self.assertEqual(error.path, path)
            self.assertIn(cause, error.message)


class SinkTests(FileCase):
    def sink(self, limit: int = 10_000) -> LogSink:
        sink = LogSink("file", open_log_file(self.path), note, limit)
        self.addCleanup(sink.close)
        return sink

    def test_full_disk_drops_and_says_so(self) -> None:
        """A full disk costs lines; with room again they are counted and the torn one ended."""
        sink = self.sink()
        disk = FailingDisk(10)
        with patch.object(log_sink.os, "write", disk):
            sink.add(b"one 11\ntwo 22\nthree\n")
            sink.flush()
            self.assertFalse(sink.blocked)
            sink.add(b"four\n")
            sink.flush()
            disk.room = 20
            sink.flush()
            disk.room = 10_000
            sink.add(b"five\n")
            sink.flush()
        lines = self.read()
        self.assertEqual(lines[:2], ["one 11", "two"])
        self.assertTrue(dropped(3, "file").startswith(lines[2]))
        self.assertEqual(lines[3:], [dropped(3, "file"), "five", ""])

    def test_any_room(self) -> None:
        """Wherever the disk fills up, later lines are whole and every lost one is counted."""
        text = b"one 11\ntwo 22\nthree\n"
        for room in range(len(text) + 1):
            sink = self.sink()
            os.truncate(self.path, 0)
            with patch.object(log_sink.os, "write", FailingDisk(room)):
                sink.add(text)
                sink.flush()
            sink.add(b"later\n")
            sink.flush()
            lines = self.read()
            whole = text[:room].count(b"\n")
            self.assertEqual(lines[-2:], ["later", ""])
            if whole < 3:
                self.assertEqual(lines[-3], dropped(3 - whole, "file"))
                self.assertLessEqual(len(lines) - 3, whole + 1)
            else:
                self.assertEqual(lines[:3], text.decode().split("\n")[:3])

    def test_backlog_is_bounded(self) -> None:
        """What a reader does not take waits up to the limit; the rest is dropped and told."""
        reading, writing = self.pipe()
        sink = LogSink("stdout", writing, note, 100_000)
        line = b"x" * 99 + b"\n"
        for _ in range(30):
            sink.add(line * 100)
            sink.flush()
        self.assertTrue(sink.blocked)
        received = b""
        while sink.blocked:
            received += os.read(reading, 65536)
            sink.flush()
        os.close(writing)
        while more := os.read(reading, 65536):
            received += more
        lines = received.splitlines(keepends=True)
        kept = lines.count(line)
        self.assertEqual(lines, [line] * kept + [note(3000 - kept, "stdout")])
        self.assertGreater(kept, 1000)

    def test_reader_gone(self) -> None:
        """A pipe without a reader loses its lines and nothing else."""
        reading, writing = self.pipe()
        os.close(reading)
        sink = LogSink("stdout", writing, note)
        sink.add(b"one\n")
        sink.flush()
        self.assertFalse(sink.blocked)

    def test_non_blocking_pipe(self) -> None:
        """A pipe that says EAGAIN loses nothing, and lines arrive whole and in order."""
        reading, writing = self.pipe()
        os.set_blocking(writing, False)
        sink = LogSink("stdout", writing, note)
        lines = b"".join(b"%d %s\n" % (number, b"y" * 200) for number in range(1000))
        sink.add(lines)
        received = b""
        while len(received) < len(lines):
            sink.flush()
            received += os.read(reading, 5000)
        self.assertEqual(received, lines)

    def test_pipe_writes_are_whole_lines(self) -> None:
        """Each write to a pipe ends with a line, so that other writers fall between lines."""
        reading, writing = self.pipe()
        sink = LogSink("stdout", writing, note)
        lines = b"".join(b"%s\n" % (b"z" * 300) for _ in range(100))
        write = RecordingWrite()
        with patch.object(log_sink.os, "write", write):
            sink.add(lines)
            sink.flush()
        self.assertEqual(os.read(reading, len(lines)), lines)
        self.assertEqual({part[-1:] for part in write.written}, {b"\n"})
        self.assertLessEqual(max(map(len, write.written)), PIPE_WRITE_BYTES)

    def test_replace(self) -> None:
        """A line half written to the old file is written whole to the new one."""
        sink = self.sink()
        with patch.object(log_sink.os, "write", FailingDisk(5, errno.EAGAIN)):
            sink.add(b"one\ntwo\n")
            sink.flush()
        rotated = self.path + ".1"
        os.rename(self.path, rotated)
        sink.replace(open_log_file(self.path))
        sink.flush()
        self.assertEqual(self.read(rotated), ["one", "t"])
        self.assertEqual(self.read(), ["two", ""])

    def test_replace_by_the_same_file(self) -> None:
        """Reopening a file that was not moved goes on where it was."""
        sink = self.sink()
        with patch.object(log_sink.os, "write", FailingDisk(2)):
            sink.add(b"one\n")
            sink.flush()
        sink.replace(open_log_file(self.path))
        sink.add(b"two\n")
        sink.flush()
        self.assertEqual(self.read(), ["on", dropped(1, "file"), "two", ""])


class WriterCase(FileCase):
    """A writer on real descriptors; its standard output is a file unless a test says else."""

    def setUp(self) -> None:
        super().setUp()
        self.stdout_path = str(self.directory / "stdout")

    def writer(
        self, file_path: str | None = None, stdout: int | None = None, limit: int = 2**20
    ) -> LogWriter:
        if stdout is None:
            stdout = open_log_file(self.stdout_path)
            self.addCleanup(os.close, stdout)
        writer = LogWriter(RECORDS, file_path, stdout, limit)
        self.addCleanup(writer.close)
        return writer

    def await_lines(self, path: str, lines: list[str]) -> None:
        """Wait until a file holds just these lines: the thread has its own time."""
        deadline = time.monotonic() + PATIENCE_SECS
        while time.monotonic() < deadline:
            if Path(path).exists() and self.read(path) == [*lines, ""]:
                return
            time.sleep(0.01)
        self.assertEqual(self.read(path), [*lines, ""])


class WriterTests(WriterCase):
    def test_both_sinks(self) -> None:
        """Lines go to standard output and to the file, in order, all by close."""
        writer = self.writer(self.path)
        writer.start()
        lines = [f"line {number}" for number in range(5000)]
        for line in lines:
            writer.write(line)
        writer.close()
        self.assertEqual(self.read(), [*lines, ""])
        self.assertEqual(self.read(self.stdout_path), [*lines, ""])

    def test_written_without_close(self) -> None:
        """Lines are on disk within a second, again and again."""
        writer = self.writer(self.path)
        writer.start()
        for count in (1, 2, 3):
            writer.write("line")
            start = time.monotonic()
            self.await_lines(self.path, ["line"] * count)
            self.assertLess(time.monotonic() - start, 1.0)

    def test_before_start(self) -> None:
        """Lines from before the start wait for it; close without a start writes them."""
        writer = self.writer(self.path)
        writer.write("early")
        self.assertEqual(self.read(), [""])
        writer.close()
        self.assertEqual(self.read(), ["early", ""])

    def test_close_twice_and_write_after(self) -> None:
        """Closing again does nothing, and a late line is lost without harm."""
        writer = self.writer(self.path)
        writer.start()
        writer.write("one")
        writer.close()
        writer.close()
        writer.write("late")
        writer.reopen()
        self.assertEqual(self.read(), ["one", ""])

    def test_bad_file(self) -> None:
        """A file that cannot be opened is an error at once."""
        self.assertRaises(ConfigError, LogWriter, RECORDS, self.path + "/no/such")

    def test_no_stdout(self) -> None:
        """Without a standard output the file is written all the same."""
        writing = self.pipe()[1]
        os.close(writing)
        writer = self.writer(self.path, writing)
        writer.start()
        writer.write("one")
        writer.close()
        self.assertEqual(self.read(), ["one", ""])

    def test_lone_surrogate(self) -> None:
        """Characters that have no bytes do not stop the thread."""
        writer = self.writer(self.path)
        writer.start()
        writer.write("a\udc80")
        writer.write("b")
        writer.close()
        self.assertEqual(self.read(), ["a\\udc80", "b", ""])

    def test_idle_thread_sleeps(self) -> None:
        """A process that writes nothing uses no processor time and wakes nobody."""
        writer = self.writer(self.path)
        writer.start()
        writer.write("one")
        self.await_lines(self.path, ["one"])
        assert writer._thread is not None
        status = Path(f"/proc/self/task/{writer._thread.native_id}/status")

        def switches() -> int:
            return sum(int(x.split()[1]) for x in status.read_text().split("\n") if "_ctxt" in x)

        deadline = time.monotonic() + PATIENCE_SECS
        before = -1
        while switches() != before and time.monotonic() < deadline:
            before = switches()
            time.sleep(0.5)
        self.assertEqual(switches(), before)


class SiteFileTests(WriterCase):
    def test_also(self) -> None:
        """A site's lines go to its own file too, and only they."""
        writer = self.writer(self.path)
        site = self.path + ".site"
        writer.use_files([site, self.path])
        writer.start()
        writer.write("one")
        writer.write("two", site)
        writer.write("three", self.path)
        writer.close()
        self.assertEqual(self.read(), ["one", "two", "three", ""])
        self.assertEqual(self.read(site), ["two", ""])

    def test_change(self) -> None:
        """Files that are no longer used are closed; new ones are there at once."""
        writer = self.writer(self.path)
        writer.start()
        first, second = self.path + ".1", self.path + ".2"
        writer.use_files([first])
        writer.write("a", first)
        writer.use_files([second])
        writer.write("b", first)
        writer.write("c", second)
        self.await_lines(second, ["c"])
        self.assertEqual(self.read(first), ["a", ""])
        opened = {
            os.readlink(entry) for entry in Path("/proc/self/fd").iterdir() if entry.exists()
        }
        self.assertNotIn(os.path.abspath(first), opened)
        self.assertIn(os.path.abspath(second), opened)

    def test_bad_one_changes_nothing(self) -> None:
        """When one file cannot be opened the others stay as they were."""
        writer = self.writer(self.path)
        writer.start()
        site = self.path + ".site"
        writer.use_files([site])
        bad = self.path + "/no/such"
        self.assertRaises(ConfigError, writer.use_files, [self.path + ".new", bad])
        writer.write("a", site)
        writer.close()
        self.assertEqual(self.read(site), ["a", ""])


class RotationTests(WriterCase):
    def test_reopen(self) -> None:
        """After a rotation lines go to a new file; those from before are in the old one."""
        writer = self.writer(self.path)
        site = self.path + ".site"
        writer.use_files([site])
        writer.start()
        writer.write("old", site)
        self.await_lines(site, ["old"])
        for path in (self.path, site):
            os.rename(path, path + ".1")
        writer.write("before", site)
        writer.reopen()
        writer.write("after", site)
        for path in (self.path, site):
            self.await_lines(path, ["after"])
            self.assertEqual(self.read(path + ".1"), ["old", "before", ""])

    def test_failed_reopen(self) -> None:
        """Where the file cannot be opened again, the old one is kept and it is said."""
        writer = self.writer(self.path)
        writer.start()
        moved = self.directory.with_suffix(".moved")
        writer.write("one")
        self.await_lines(self.path, ["one"])
        os.rename(self.directory, moved)
        writer.reopen()
        writer.write("two")
        writer.close()
        lines = self.read(str(moved / "access.log"))
        self.assertEqual((lines[0], lines[2:]), ("one", ["two", ""]))
        self.assertIn(" ERROR LOG_REOPEN status=error sink=", lines[1])
        self.assertIn('error="cannot be opened for logging: no such directory"', lines[1])

    def test_told(self) -> None:
        """Whoever asks for it learns when it is done, and which files it was not done for."""
        writer = self.writer(self.path)
        writer.start()
        told: Queue[list[str]] = Queue()
        writer.reopen(told.put)
        self.assertEqual(told.get(timeout=PATIENCE_SECS), [])
        moved = self.directory.with_suffix(".moved")
        os.rename(self.directory, moved)
        writer.reopen(told.put)
        message = "cannot be opened for logging: no such directory"
        self.assertEqual(told.get(timeout=PATIENCE_SECS), [f"{self.path}: {message}"])
        self.assertEqual(writer.failures, {self.path: message})
        os.rename(moved, self.directory)
        writer.reopen(told.put)
        self.assertEqual(told.get(timeout=PATIENCE_SECS), [])
        self.assertEqual(writer.failures, {})


class CheckTests(FileCase):
    def test_check(self) -> None:
        """A log file is checked as it would be opened, and not made."""
        check_log_file(self.path)
        self.assertFalse(os.path.exists(self.path))
        for path in (self.path + "/file", str(self.directory / "none" / "file"), self.path):
            if path == self.path:
                os.mkdir(path)
            checked = self.assertRaises(ConfigError, check_log_file, path)
            opened = self.assertRaises(ConfigError, open_log_file, path)
            self.assertEqual(str(checked).lower(), str(opened).lower())


class LossTests(WriterCase):
    def test_dev_full(self) -> None:
        """A full device costs its own lines only, and counts them."""
        full = os.open("/dev/full", os.O_WRONLY)
        self.addCleanup(os.close, full)
        writer = self.writer(self.path, full)
        writer.start()
        writer.write("one")
        told = failed("stdout", "No space left on device")
        self.await_lines(self.path, ["one", told])
        self.assertEqual(writer.failures, {"stdout": "No space left on device"})
        spare = open_log_file(self.stdout_path)
        os.dup2(spare, full)
        os.close(spare)
        writer.write("two")
        writer.close()
        self.assertEqual(self.read(), ["one", told, "two", ""])
        self.assertEqual(self.read(self.stdout_path), [dropped(2, "stdout"), "two", ""])
        self.assertEqual(writer.failures, {})

    def test_told_rarely(self) -> None:
        """That a sink fails is told to the others once in a while, however long it fails."""
        full = os.open("/dev/full", os.O_WRONLY)
        self.addCleanup(os.close, full)
        writer = self.writer(self.path, full)
        writer.start()
        lines = ["one", failed("stdout", "No space left on device")]
        writer.write("one")
        self.await_lines(self.path, lines)
        writer.write("two")
        self.await_lines(self.path, [*lines, "two"])
        self.patch(writer, "_told", {})  # as after a minute
        writer.write("three")
        self.await_lines(self.path, [*lines, "two", "three", lines[1]])

    def test_file_size_limit(self) -> None:
        """A file that may not grow (EFBIG) drops lines, and tells of them when it may again."""
        script = (
            "import resource, sys, time\n"
            "from revproxy.control.log_writer import LogWriter\n"
            "from revproxy.control.record_log import TextRecords\n"
            "soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)\n"
            "resource.setrlimit(resource.RLIMIT_FSIZE, (25, hard))\n"
            "writer = LogWriter(TextRecords(time.time), sys.argv[1])\n"
            "writer.start()\n"
            "for number in range(5): writer.write(f'line {number} abc')\n"
            "sys.stdin.read()\n"
            "resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))\n"
            "writer.write('last')\n"
            "writer.close()\n"
        )
        process = subprocess.Popen(
            [sys.executable, "-c", script, self.path],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        )
        assert process.stdin is not None and process.stdout is not None
        for number in range(5):
            self.assertEqual(process.stdout.readline(), b"line %d abc\n" % number)
        process.stdin.close()
        told, last = process.stdout.read().splitlines()
        self.assertIn(f'LOG_FAILED sink={self.path} error="File too large"'.encode(), told)
        self.assertEqual(last, b"last")
        self.assertEqual(process.wait(PATIENCE_SECS), 0)
        process.stdout.close()
        lines = self.read()
        self.assertEqual(lines[:2], ["line 0 abc", "line 1 abc"])
        # What tells of the failure is for this file, too, and may come before it grows again.
        written = any(" LOG_FAILED " in line for line in lines)
        self.assertIn(f"LOG_DROPPED lines={4 - written} sink={self.path}", lines[3])
        self.assertEqual(lines[-2:], ["last", ""])

    def test_slow_pipe(self) -> None:
        """A pipe that nobody reads stops neither the caller nor the file, nor the exit."""
        reading, writing = self.pipe()
        writer = self.writer(self.path, writing, 200_000)
        writer.start()
        lines = [f"line {number:5} {'x' * 80}" for number in range(8000)]
        start = time.monotonic()
        for at in range(0, 8000, 1000):
            for line in lines[at : at + 1000]:
                writer.write(line)
            self.await_lines(self.path, lines[: at + 1000])
        start = time.monotonic()
        writer.close()
        self.assertLess(time.monotonic() - start, CLOSE_SECS + 1.0)
        os.set_blocking(reading, False)
        got = os.read(reading, 2**20).decode().split("\n")
        self.assertEqual(got[:-1], lines[: len(got) - 1])
        self.assertEqual(got[-1], "")

    def test_slow_pipe_is_read_at_last(self) -> None:
        """A reader that comes back gets what was kept, then how much was not."""
        reading, writing = self.pipe()
        writer = self.writer(self.path, writing, 100_000)
        writer.start()
        for count in (400, 800, 1200, 1600):
            for _ in range(400):
                writer.write("x" * 99)
            self.await_lines(self.path, ["x" * 99] * count)
        received = b""
        while b"LOG_DROPPED" not in received:
            received += os.read(reading, 65536)
        lines = received.decode().splitlines()
        kept = lines.count("x" * 99)
        self.assertEqual(lines, ["x" * 99] * kept + [dropped(1600 - kept, "stdout")])

    def test_queue_is_bounded(self) -> None:
        """Lines beyond the queue's limit are dropped at once, counted, and told."""
        writer = self.writer(self.path, limit=20 * (10 + LINE_COST) - 1)
        for _ in range(100):
            writer.write("0123456789")
        writer.start()
        writer.close()
        self.assertEqual(self.read(), ["0123456789"] * 20 + [dropped(80, "queue"), ""])

    def test_waiting_for_a_reader_uses_no_processor(self) -> None:
        """While nobody reads, the thread waits and does not spin."""
        writer = self.writer(None, self.pipe()[1])
        writer.start()
        for _ in range(2000):
            writer.write("x" * 99)
        time.sleep(0.3)
        before = resource.getrusage(resource.RUSAGE_SELF)
        time.sleep(0.5)
        after = resource.getrusage(resource.RUSAGE_SELF)
        self.assertLess(after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime, 0.1)
