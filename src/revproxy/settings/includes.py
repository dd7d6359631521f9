"""The further files that ``include`` names.

Owns patterns, their order and the bound on their number. Refuses to know what the files hold.
"""

from __future__ import annotations

from os.path import realpath
from pathlib import Path

from revproxy.settings.document import Node
from revproxy.settings.files import Files

MOST_FILES = 1000
"""Files that a configuration may include."""


def included_files(include: Node, main: Path, files: Files) -> list[str]:
    """The files that the patterns of ``include`` match, relative to the main file's directory.

    Each pattern's files come in name order, and a file only once. Reports a pattern without
    wildcard that matches nothing, one that matches the main file, and too many files. Elements
    that are no strings are left to the reader of the key.
    """
    names: dict[str, None] = {}
    for index, pattern in enumerate(include.value if isinstance(include.value, list) else ()):
        if not isinstance(pattern, str):
            continue
        # of too many any selection will do that still shows the excess, and the main file
        found = files.matching(pattern, include.directory, MOST_FILES + 2)
        if not found and not any(sign in pattern for sign in "*?["):
            include.item(index).report("there is no such file")
        for name in found:
            if _is_same(include.directory / name, main):
                include.item(index).report("matches the main file itself")
            else:
                names[name] = None
    if len(names) > MOST_FILES:
        include.report(f"more than {MOST_FILES} files")
    return list(names)[:MOST_FILES]


def _is_same(path: Path, main: Path) -> bool:
    try:
        return realpath(path) == realpath(main)
    except OSError:  # a link that may not be followed; whoever reads it will say so
        return False
