"""Reading files and decoding them.

Owns the bounds on what is read, and the guarantee that files are seen as they were together at one
moment: never one of them halfway through a change, nor one from before it beside one from after.
Refuses to know what a document means.
"""

from __future__ import annotations

import os
import stat
import tomllib
from collections.abc import Callable
from glob import iglob
from itertools import islice
from pathlib import Path
from typing import Any, TypeVar

from revproxy.settings.suggest import shown

MOST_FILE_BYTES = 4 * 1024 * 1024
"""The largest configuration file."""

MOST_READS = 5
"""How often files are read that change while they are being read."""

T = TypeVar("T")


class Files:
    """What is read together, with the state that each file was in when it was read.

    As every file is read before the first is looked at again, all were at that moment what was
    read, if none has changed.
    """

    def __init__(self, read: Callable[[Path], bytes]) -> None:
        """Give ``read``, which makes a file's content of its path."""
        self._read = read
        self._versions: dict[Path, tuple[str, object]] = {}
        self._listings: dict[tuple[str, Path, int], list[str]] = {}

    def document(self, path: Path, name: str) -> dict[str, Any]:
        """The decoded TOML of a file, which is called ``name`` when it keeps changing.

        Raises:
            ValueError: it cannot be read, is too large, no UTF-8, or no TOML; with a sentence
                that gives line and column of what is wrong inside.
        """
        self._versions.setdefault(path, (name, _version(path)))
        try:
            content = self._read(path)
        except OSError as error:
            raise ValueError(f"cannot be read: {error.strerror or error}") from None
        return decode(content)

    def matching(self, pattern: str, directory: Path, most: int) -> list[str]:
        """The names that match, sorted; of more than ``most`` any selection of that many."""
        listing = self._listings[pattern, directory, most] = _matching(pattern, directory, most)
        return listing

    def changed(self) -> str:
        """The name of something that is not what it was when it was read; ``""`` for nothing."""
        for path, (name, version) in self._versions.items():
            if _version(path) != version:
                return name
        for (pattern, directory, most), listing in self._listings.items():
            if _matching(pattern, directory, most) != listing:
                return f"what {shown(pattern)} matches"
        return ""


def settled(gather: Callable[[Files], T], read: Callable[[Path], bytes]) -> T:
    """What ``gather`` makes of files, once none of them has changed meanwhile.

    Args:
        gather: reads files; whatever it finds wrong with one that has changed does not count.
        read: makes a file's content of its path.

    Raises:
        ValueError: as ``gather``, or something keeps changing.
    """
    changed = ""
    for _ in range(MOST_READS):
        files = Files(read)
        try:
            gathered = gather(files)
        except ValueError:
            changed = files.changed()
            if not changed:
                raise
        else:
            changed = files.changed()
            if not changed:
                return gathered
    raise ValueError(f"cannot be read: {changed} keeps changing")


def decode(content: bytes) -> dict[str, Any]:
    """Decode TOML.

    Raises:
        ValueError: as :meth:`Files.document`.
    """
    try:
        return tomllib.loads(content.decode("utf-8"))
    except UnicodeDecodeError as error:
        before = content[: error.start].decode("utf-8")
        line, column = before.count("\n") + 1, len(before) - before.rfind("\n")
        raise ValueError(f"not UTF-8 (at line {line}, column {column})") from None
    except tomllib.TOMLDecodeError as error:
        raise ValueError(f"not valid TOML: {error}") from None
    except RecursionError:
        raise ValueError("not valid TOML: nested too deeply") from None
    except ValueError:
        # tomllib hands an integer of thousands of digits to int(), which refuses it.
        raise ValueError("not valid TOML: a number is too long") from None


def read_bounded(path: Path) -> bytes:
    """The content of a regular file.

    Raises:
        OSError: it cannot be opened or read.
        ValueError: it is no regular file, or too large.
    """
    _see_that_regular(path.stat())
    with open(path, "rb", opener=_open_at_once) as file:
        _see_that_regular(os.fstat(file.fileno()))  # it may have been exchanged
        content = file.read(MOST_FILE_BYTES + 1) or b""  # None where /proc has nothing yet
    if len(content) > MOST_FILE_BYTES:
        raise ValueError(f"cannot be read: larger than {MOST_FILE_BYTES} bytes")
    return content


def _see_that_regular(status: os.stat_result) -> None:
    if not stat.S_ISREG(status.st_mode):
        raise ValueError("cannot be read: not a regular file")


def _open_at_once(path: str, flags: int) -> int:
    """Open without waiting: a FIFO would make us wait for its writer."""
    return os.open(path, flags | os.O_NONBLOCK)


def _version(path: Path) -> object:
    """Something that differs once the file has changed, come into being, or gone."""
    try:
        status = os.stat(path)
    except (OSError, ValueError):
        return None
    return (status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns)


def _matching(pattern: str, directory: Path, most: int) -> list[str]:
    try:
        return sorted(islice(iglob(pattern, root_dir=directory), most))
    except ValueError:  # a NUL in the pattern: no file has that name
        return []
