"""Where the admin socket of a configuration is, whatever else may be wrong with the file.

Owns that one look: whoever asks a running proxy to reload has a file that may not be valid yet.
Refuses to judge it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import attrs

from revproxy.model.configuration import Configuration
from revproxy.settings.document import Node, Problems
from revproxy.settings.fields import socket_path
from revproxy.settings.files import decode, read_bounded

_LINE = re.compile(rb"^[ \t]*admin_socket_path[ \t]*=[ \t]*([\"'])([^\"'\\\n]*)\1", re.MULTILINE)


def admin_path(path: str | Path) -> str:
    """The ``admin_socket_path`` of the configuration file at ``path``, or its default.

    In a file that is no TOML, its line is looked for: somebody is about to ask what is wrong. One
    that may not be read has the default: not everybody may who may ask.

    Returns:
        an absolute path; ``""`` where there is no admin socket.

    Raises:
        OSError: there is no such file.
    """
    file = Path(path)
    try:
        content = read_bounded(file)
        node = Node(_document(content), file.absolute().parent, Problems())
        found = node.child("admin_socket_path")
        if found.value is not None:
            return socket_path(found)
    except (PermissionError, ValueError):
        pass
    return str(attrs.fields(Configuration).admin_socket_path.default)


def _document(content: bytes) -> Mapping[str, Any]:
    try:
        return decode(content)
    except ValueError:
        line = _LINE.search(content)
        return {"admin_socket_path": line[2].decode()} if line else {}
