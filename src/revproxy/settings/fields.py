"""Readers of single values: types, ranges, words, sizes and paths.

Owns what each kind of value accepts and how a wrong one is explained. Refuses to know which
field is of which kind, and what names and addresses look like (``names.py``).
"""

from __future__ import annotations

import math
import os

from revproxy.settings.document import Node
from revproxy.settings.section import Read, accepting, kind_of
from revproxy.settings.suggest import did_you_mean, shown
from revproxy.settings.units import size_in_bytes

DAY = 86400.0
"""The longest time that a field takes, in seconds."""

LONGEST_SOCKET_PATH = 107
"""Bytes of a UNIX socket's path (``sun_path`` less its terminating zero)."""


@accepting("string")
def text(node: Node) -> str:
    """A string.

    Raises:
        ValueError: it is none.
    """
    if not isinstance(node.value, str):
        raise ValueError(f"must be a string, not {kind_of(node.value)}")
    return node.value


@accepting("string, not empty")
def filled(node: Node) -> str:
    """A string of printable characters, at least one.

    Raises:
        ValueError: it is none.
    """
    value = text(node)
    if not value:
        raise ValueError("must not be empty")
    if not value.isprintable():
        raise ValueError("must not hold control characters")
    return value


@accepting("`true` or `false`")
def flag(node: Node) -> bool:
    """A boolean.

    Raises:
        ValueError: it is none.
    """
    if not isinstance(node.value, bool):
        raise ValueError(f"must be true or false, not {kind_of(node.value)}")
    return node.value


def whole(low: int, high: int) -> Read[int]:
    """A reader of integers from ``low`` to ``high``, both included."""

    @accepting(f"whole number from {low} to {high}")
    def read_whole(node: Node) -> int:
        if not isinstance(node.value, int) or isinstance(node.value, bool):
            raise ValueError(f"must be a whole number, not {kind_of(node.value)}")
        return _within(node.value, low, high)

    return read_whole


def size(low: int, high: int) -> Read[int]:
    """A reader of sizes from ``low`` to ``high`` bytes: integers, or strings with a unit."""

    @accepting(f"size from {low} to {high} bytes")
    def read_size(node: Node) -> int:
        if isinstance(node.value, str):
            return _within(size_in_bytes(node.value), low, high)
        if not isinstance(node.value, int) or isinstance(node.value, bool):
            raise ValueError(
                f'must be a number of bytes or a size such as "10MiB", not {kind_of(node.value)}'
            )
        return _within(node.value, low, high)

    return read_size


def above_zero(high: float, *, zero: bool = False) -> Read[float]:
    """A reader of finite numbers above 0 (or from it, with ``zero``) up to ``high``."""

    @accepting(_range("number", high, zero=zero))
    def read_number(node: Node) -> float:
        value = node.value
        if not isinstance(value, int | float) or isinstance(value, bool):
            raise ValueError(f"must be a number, not {kind_of(value)}")
        if isinstance(value, float) and not math.isfinite(value):
            raise ValueError(f"must be a finite number, not {value}")
        if not 0 <= value <= high or (value == 0 and not zero):
            start = "from 0 to" if zero else "above 0 and at most"
            raise ValueError(f"must be {start} {high:g}, not {shown(value)}")
        return float(value)

    return read_number


def seconds(*, zero: bool = False) -> Read[float]:
    """A reader of durations of a ``_secs`` field, above 0 (or from it) up to a day."""
    number = above_zero(DAY, zero=zero)

    @accepting(_range("seconds", DAY, zero=zero))
    def read_seconds(node: Node) -> float:
        if isinstance(node.value, str):
            raise ValueError("must be a number of seconds, not a string")
        return number(node)

    return read_seconds


def one_of(*words: str) -> Read[str]:
    """A reader of strings out of a closed list; case counts."""

    @accepting(_choice([f"`{shown(word)}`" for word in words]))
    def read_word(node: Node) -> str:
        word = text(node)
        if word not in words:
            choice = _choice([shown(word) for word in words])
            hint = did_you_mean(word, words)
            raise ValueError(f"must be {choice}, not {shown(word)}{hint}")
        return word

    return read_word


@accepting("path")
def path(node: Node) -> str:
    """A file's path, made absolute from the directory of the file that names it.

    Raises:
        ValueError: it is no string, empty, or holds control characters.
    """
    return str(node.directory / filled(node))


@accepting(f'path of at most {LONGEST_SOCKET_PATH} bytes, or `""`')
def socket_path(node: Node) -> str:
    """The path of a UNIX socket to listen on; ``""`` stays what it is, off.

    Raises:
        ValueError: as :func:`path`, or it is longer than the kernel takes.
    """
    if node.value == "":
        return ""
    absolute = path(node)
    if len(os.fsencode(absolute)) > LONGEST_SOCKET_PATH:
        raise ValueError(f"must be at most {LONGEST_SOCKET_PATH} bytes long as an absolute path")
    return absolute


def _choice(words: list[str]) -> str:
    return " or ".join(filter(None, [", ".join(words[:-1]), words[-1]]))


def _range(what: str, high: float, *, zero: bool) -> str:
    start = "from 0 to" if zero else "above 0, at most"
    return f"{what} {start} {high:.15g}"


def _within(value: int, low: int, high: int) -> int:
    if not low <= value <= high:
        raise ValueError(f"must be from {low} to {high}, not {shown(value)}")
    return value
