"""The further files that ``include`` names.

Owns patterns, their order and the bound on their number. Refuses to know what the files hold.
"""

from __future__ import annotations

from glob import iglob
from itertools import islice
from os.path import realpath
from pathlib import Path

from revproxy.settings.document import Node

MOST_FILES = 1000
"""Files that a configuration may include."""


def included_files(include: Node, main: Path) -> list[str]:
    """The files that the patterns of ``include`` match, relative to the main file's directory.

    Each pattern's files come in name order, and a file only once. Reports a pattern without
    wildcard that matches nothing, one that matches the main file, and too many files. Elements
    that are no strings are left to the reader of the key.
    """
    names: dict[str, None] = {}
    for index, pattern in enumerate(include.value if isinstance(include.value, list) else ()):
        if not isinstance(pattern, str):
            continue
        found = _matching(pattern, include.directory)
        if not found and not any(sign in pattern for sign in "*?["):
            include.item(index).report("there is no such file")
        for name in found:
            if realpath(include.directory / name) == realpath(main):
                include.item(index).report("matches the main file itself")
            else:
                names[name] = None
    if len(names) > MOST_FILES:
        include.report(f"more than {MOST_FILES} files")
    return list(names)[:MOST_FILES]


def _matching(pattern: str, directory: Path) -> list[str]:
    """The names that match, sorted; of too many any selection that still shows the excess."""
    try:
        return sorted(islice(iglob(pattern, root_dir=directory), MOST_FILES + 2))
    except ValueError:  # a NUL in the pattern: no file has that name
        return []
