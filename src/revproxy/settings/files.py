"""Reading files and decoding them.

Owns the bounds on what is read, and the guarantee that a file is seen either before or after a
change, never in between. Refuses to know what a document means.
"""

from __future__ import annotations

import os
import stat
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

MOST_FILE_BYTES = 4 * 1024 * 1024
"""The largest configuration file."""

MOST_READS = 5
"""How often a file that changes while it is being read is read again."""


def read_document(path: Path) -> dict[str, Any]:
    """The decoded TOML of a file.

    Raises:
        ValueError: it cannot be read, is too large, no UTF-8, or no TOML; with a sentence that
            gives line and column of what is wrong inside.
    """
    try:
        content = read_settled(path, read_bounded)
    except OSError as error:
        raise ValueError(f"cannot be read: {error.strerror or error}") from None
    return decode(content)


def decode(content: bytes) -> dict[str, Any]:
    """Decode TOML.

    Raises:
        ValueError: as :func:`read_document`.
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
    if not stat.S_ISREG(path.stat().st_mode):
        raise ValueError("cannot be read: not a regular file")
    with path.open("rb") as file:
        content = file.read(MOST_FILE_BYTES + 1)
    if len(content) > MOST_FILE_BYTES:
        raise ValueError(f"cannot be read: larger than {MOST_FILE_BYTES} bytes")
    return content


def read_settled(path: Path, read: Callable[[Path], bytes]) -> bytes:
    """What ``read`` gives for ``path``, once the file has not changed while it did.

    Raises:
        OSError: as ``read``.
        ValueError: as ``read``, or the file keeps changing.
    """
    for _ in range(MOST_READS):
        before = _version(path)
        content = read(path)
        if _version(path) == before:
            return content
    raise ValueError("cannot be read: it keeps changing")


def _version(path: Path) -> tuple[int, ...]:
    status = os.stat(path)
    return (status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns)
