"""Files that change while they are read: all are seen as they were at one moment."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

from revproxy.errors import ConfigErrors
from revproxy.settings import load
from revproxy.settings.files import MOST_READS, read_bounded
from tests.unit.test_settings_files import INCLUDING, FileTestCase, site

A_FILE = "sites-enabled/a.toml"


class EditingReader:
    """Reads files, and lets an editor at them right after one of them has been read.

    Attributes:
        reads: the name of every file that was read, in order.
    """

    def __init__(self, after: str, edit: Callable[[], object], *, times: int = 1) -> None:
        """Call ``edit`` after each of the first reads of the file called ``after``."""
        self.reads: list[str] = []
        self._after = after
        self._edit = edit
        self._times = times

    def __call__(self, path: Path) -> bytes:
        """Give the file's content as it was before the edit."""
        content = read_bounded(path)
        self.reads.append(path.name)
        if path.name == self._after and self.reads.count(path.name) <= self._times:
            self._edit()
        return content


class ChangingFilesTests(FileTestCase):
    """Files that change while they are read."""

    def setUp(self) -> None:
        """Write a main file and two that it includes."""
        super().setUp()
        self.write("config.toml", INCLUDING)
        self.write("sites-enabled/a.toml", site("a.example"))
        self.write("sites-enabled/b.toml", site("b.example"))

    def hosts(self, read: EditingReader) -> list[str]:
        """The hosts of the included sites."""
        return [site.host for site in load(self.main, read=read).sites]

    def never_settling(self, after: str, name: str) -> str:
        """What is said when a file grows after each read of another one."""
        path = self.directory / name
        path.touch()

        def grow() -> None:
            path.write_bytes(path.read_bytes() + b"#")

        read = EditingReader(after, grow, times=1000)
        (found,) = self.assertRaises(ConfigErrors, load, self.main, read=read).errors
        self.assertEqual(read.reads.count("config.toml"), MOST_READS)
        return str(found)

    def test_nothing_changes(self) -> None:
        """Files that stay as they are are read once, in order."""
        read = EditingReader("none", self.fail)
        self.assertEqual(self.hosts(read), ["a.example", "b.example"])
        self.assertEqual(read.reads, ["config.toml", "a.toml", "b.toml"])

    def test_main_file(self) -> None:
        """What counts is the later content, even where the earlier one is no TOML."""
        self.write("config.toml", INCLUDING + "[half")
        read = EditingReader("config.toml", lambda: self.write("config.toml", INCLUDING))
        self.assertEqual(self.hosts(read), ["a.example", "b.example"])
        self.assertEqual(read.reads, ["config.toml", "config.toml", "a.toml", "b.toml"])

    def test_included_file(self) -> None:
        """A mistake in an included file that has been put right meanwhile is none."""
        self.write("sites-enabled/a.toml", "half =")
        read = EditingReader(
            "a.toml", lambda: self.write("sites-enabled/a.toml", site("c.example"))
        )
        self.assertEqual(self.hosts(read), ["c.example", "b.example"])
        self.assertEqual(read.reads, ["config.toml", "a.toml", "b.toml"] * 2)

    def test_site_moved_from_file_to_file(self) -> None:
        """A site that is moved to a file that was read before is neither lost nor doubled."""

        def move() -> None:
            self.write("sites-enabled/a.toml", site("a.example") + site("b.example"))
            self.write("sites-enabled/b.toml", "")

        self.assertEqual(self.hosts(EditingReader("a.toml", move)), ["a.example", "b.example"])

    def test_main_file_after_it_was_read(self) -> None:
        """The main file is read again when it changes while an included one is read."""
        read = EditingReader(
            "b.toml", lambda: self.write("config.toml", INCLUDING.replace("*", "b"))
        )
        self.assertEqual(self.hosts(read), ["b.example"])

    def test_replaced_file(self) -> None:
        """A file that another is moved over has changed, whatever their sizes and times."""
        new, old = self.directory / "new", self.directory / A_FILE
        self.write("new", site("c.example"))
        for path in (new, old):
            os.utime(path, (0, 0))
        read = EditingReader("b.toml", lambda: new.rename(old))
        self.assertEqual(self.hosts(read), ["c.example", "b.example"])

    def test_added_file(self) -> None:
        """A file that appears after the listing is read with the others."""
        read = EditingReader("a.toml", lambda: self.write("sites-enabled/c.toml", site("c.d")))
        self.assertEqual(self.hosts(read), ["a.example", "b.example", "c.d"])

    def test_removed_file(self) -> None:
        """A file that goes after the listing is not missed."""
        read = EditingReader("a.toml", (self.directory / "sites-enabled/b.toml").unlink)
        self.assertEqual(self.hosts(read), ["a.example"])

    def test_lasting_mistakes(self) -> None:
        """What cannot be read, and has not changed, is not tried again."""
        (self.directory / A_FILE).unlink()
        (self.directory / A_FILE).symlink_to("nowhere")
        read = EditingReader("none", self.fail)
        (found,) = self.assertRaises(ConfigErrors, load, self.main, read=read).errors
        self.assertEqual(str(found), f"{A_FILE}: cannot be read: No such file or directory")
        self.assertEqual(read.reads, ["config.toml", "b.toml"])

    def test_never_settles(self) -> None:
        """Files that keep changing are not read for ever, and one that did is named."""
        self.assertEqual(
            self.never_settling("config.toml", "config.toml"),
            f"{self.main}: cannot be read: it keeps changing",
        )
        self.assertEqual(
            self.never_settling("b.toml", A_FILE),
            f'{self.main}: cannot be read: "{A_FILE}" keeps changing',
        )

    def test_listing_never_settles(self) -> None:
        """So are patterns that match more files every time."""
        read = EditingReader(
            "a.toml",
            lambda: self.write(f"sites-enabled/{len(read.reads)}.toml", ""),
            times=1000,
        )
        (found,) = self.assertRaises(ConfigErrors, load, self.main, read=read).errors
        self.assertEqual(
            str(found),
            f'{self.main}: cannot be read: what "sites-enabled/*.toml" matches keeps changing',
        )
