"""Where the admin socket of a configuration is, whatever else may be wrong with the file.

Owns that one look: whoever asks a running proxy to reload has a file that may not be valid yet.
Refuses to judge it.
"""

from __future__ import annotations

from pathlib import Path

import attrs

from revproxy.model.configuration import Configuration
from revproxy.settings.document import Node, Problems
from revproxy.settings.fields import socket_path
from revproxy.settings.files import decode, read_bounded


def admin_path(path: str | Path) -> str:
    """The ``admin_socket_path`` of the configuration file at ``path``, its default if unreadable.

    Returns:
        an absolute path; ``""`` where there is no admin socket.
    """
    file = Path(path)
    try:
        document = decode(read_bounded(file))
        found = Node(document, file.absolute().parent, Problems()).child("admin_socket_path")
        if found.value is not None:
            return socket_path(found)
    except (OSError, ValueError):
        pass
    return str(attrs.fields(Configuration).admin_socket_path.default)
