"""How many log lines have been lost: what an operator is told, and what it must not forget."""

from __future__ import annotations

import errno
import os
from pathlib import Path
from unittest.mock import patch

from twisted.trial.unittest import SynchronousTestCase

from revproxy.control.log_sink import LogSink, open_log_file
from revproxy.control.log_writer import LINE_COST, LogWriter
from revproxy.control.record_log import TextRecords

RECORDS = TextRecords(lambda: 0.0)


def note(lines: int, sink: str) -> bytes:
    return b"%d lost\n" % lines


class LostCase(SynchronousTestCase):
    """Files, and a pipe that nobody reads."""

    def setUp(self) -> None:
        self.folder = Path(self.mktemp()).absolute()
        self.folder.mkdir()

    def path(self, name: str) -> str:
        return str(self.folder / name)

    def clogged(self, name: str) -> str:
        """The path of a pipe that takes nothing more."""
        path = self.path(name)
        os.mkfifo(path)
        reading = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
        self.addCleanup(os.close, reading)
        writing = os.open(path, os.O_WRONLY | os.O_NONBLOCK)
        self.addCleanup(os.close, writing)
        try:
            while True:
                os.write(writing, b"x" * 4096)
        except BlockingIOError:
            return path


class SinkTests(LostCase):
    def sink(self, path: str, limit: int = 10_000) -> LogSink:
        return LogSink("file", open_log_file(path), note, limit)

    def test_full_backlog(self) -> None:
        """Lines beyond what may wait are lost, each of them once."""
        sink = self.sink(self.clogged("pipe"), limit=10)
        sink.add(b"one\ntwo\n")
        sink.add(b"three\nfour\n")
        sink.add(b"five\n")
        self.assertEqual(sink.lost, 3)
        sink.flush()
        self.assertEqual(sink.lost, 3)
        sink.close()

    def test_full_disk(self) -> None:
        """Lines that cannot be written are lost, and what tells of them is none of them."""
        sink = self.sink(self.path("file"))
        for lost in (2, 4):
            sink.add(b"one\ntwo\n")
            with patch("os.write", side_effect=OSError(errno.ENOSPC, "full")):
                sink.flush()
            self.assertEqual(sink.lost, lost)
        sink.flush()
        sink.close()
        self.assertEqual(sink.lost, 4)
        self.assertEqual(Path(self.path("file")).read_text(), "4 lost\n")

    def test_partly_written(self) -> None:
        """Of lines that were written in part, those that were not are lost."""
        sink = self.sink(self.path("file"))
        sink.add(b"one\ntwo\nthree\n")
        real = os.write

        def write(fd: int, data: bytes) -> int:
            if Path(self.path("file")).stat().st_size:
                raise OSError(errno.ENOSPC, "full")
            return real(fd, data[:5])

        with patch("os.write", write):
            sink.flush()
        self.assertEqual(sink.lost, 2)
        sink.close()

    def test_closed(self) -> None:
        """What still waits when a sink is closed is lost."""
        sink = self.sink(self.clogged("pipe"))
        sink.add(b"one\ntwo\n")
        sink.flush()
        self.assertEqual(sink.lost, 0)
        sink.close()
        self.assertEqual(sink.lost, 2)

    def test_close_that_fails(self) -> None:
        """A file that reports an error only when it is closed keeps nobody from the next one."""
        sink = self.sink(self.path("file"))
        really = os.close
        failing = patch("os.close", lambda fd: (really(fd), os.fstat(fd)))
        for number in range(2):
            with failing:
                sink.replace(open_log_file(self.path(f"next{number}")))
            sink.add(b"one\n")
            sink.flush()
            self.assertEqual(Path(self.path(f"next{number}")).read_text(), "one\n")
        with failing:
            sink.close()


class WriterTests(LostCase):
    def writer(self, limit: int = 10_000) -> LogWriter:
        """A writer whose thread is not started: a test lets it do what it would do."""
        printed = open_log_file(self.path("stdout"))
        self.addCleanup(os.close, printed)
        writer = LogWriter(RECORDS, stdout=printed, limit=limit)
        self.addCleanup(writer.close)
        return writer

    def test_nothing(self) -> None:
        """Where nothing is lost the number is zero."""
        writer = self.writer()
        writer.write("one")
        writer._write_out()
        self.assertEqual(writer.lost, 0)

    def test_full_queue(self) -> None:
        """Lines that the queue does not take are lost."""
        writer = self.writer(limit=LINE_COST)
        for _ in range(5):
            writer.write("line")
        self.assertEqual(writer.lost, 4)
        writer._write_out()
        self.assertEqual(writer.lost, 4)
        writer.write("line")
        self.assertEqual(writer.lost, 4)

    def test_of_every_sink(self) -> None:
        """What any file has not got counts, though another one has."""
        writer = self.writer(limit=100)
        pipe = self.clogged("pipe")
        writer.use_files([pipe, self.path("file")])
        for path in (pipe, self.path("file")):
            writer.write("x" * 60, path)
            writer._write_out()
            writer.write("x" * 60, path)
            writer._write_out()
        self.assertEqual(writer.lost, 1)

    def test_file_that_is_gone(self) -> None:
        """What a file has lost is not forgotten when no site uses it any more."""
        writer = self.writer(limit=100)
        pipe = self.clogged("pipe")
        writer.use_files([pipe])
        for _ in range(3):
            writer.write("x" * 60, pipe)
            writer._write_out()
        self.assertEqual(writer.lost, 2)
        writer.use_files([])
        writer._write_out()
        self.assertEqual(writer.lost, 3)
        writer.use_files([pipe])
        writer._write_out()
        self.assertEqual(writer.lost, 3)

    def test_after_a_file_is_gone(self) -> None:
        """What an exchange had for a file that no site uses any more is lost to it."""
        writer = self.writer()
        writer.use_files([self.path("file")])
        writer.write("one", self.path("file"))
        writer.use_files([])
        writer.write("two", self.path("file"))
        writer.write("three")
        writer._write_out()
        self.assertEqual(writer.lost, 1)
        self.assertEqual(Path(self.path("file")).read_text(), "one\n")
        self.assertEqual(Path(self.path("stdout")).read_text(), "one\ntwo\nthree\n")
