"""Sizes as people write them.

Owns the units. Refuses to know which size is sensible for which field.
"""

from __future__ import annotations

import re

UNITS = {
    "B": 1,
    "kB": 1000,
    "KB": 1000,
    "MB": 1000**2,
    "GB": 1000**3,
    "TB": 1000**4,
    "KiB": 1024,
    "MiB": 1024**2,
    "GiB": 1024**3,
    "TiB": 1024**4,
}
"""The bytes of each unit."""

_SIZE = re.compile(r"([0-9]{1,18}) ?([A-Za-z]+)")


def size_in_bytes(text: str) -> int:
    """Read ``10MiB``, ``64 KiB``, ``10MB``: a whole number and a unit.

    Raises:
        ValueError: with a sentence for the operator.
    """
    match = _SIZE.fullmatch(text)
    if match is None or match[2] not in UNITS:
        raise ValueError('must be a number of bytes or a size such as "10MiB", "64KiB" or "1GB"')
    return int(match[1]) * UNITS[match[2]]
