"""A valid configuration to start from, and what the reader says about changed ones.

Owns the texts and the way a test changes one place of them. Refuses to know any rule.
"""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

from revproxy.errors import ConfigErrors
from revproxy.model.configuration import Configuration
from revproxy.settings import parse

DIRECTORY = Path("/etc/reverse-proxy")
"""Where the main file of a test is said to be."""

MINIMAL = """
[rate_limit]
requests_per_second = 10
burst = 20
[body]
limit_bytes = 104857600
[[listeners]]
bind_addr = "203.0.113.10"
[listeners.tls]
mode = "manual"
cert_path = "/etc/ssl/example.com/fullchain.pem"
key_path = "/etc/ssl/example.com/privkey.pem"
[[listeners.sites]]
host = "example.com"
upstream = "127.0.0.1:8080"
"""
"""Every required key and no other."""

Step = str | int


def minimal() -> dict[str, Any]:
    """:data:`MINIMAL` decoded, a fresh one to change."""
    return tomllib.loads(MINIMAL)


def changed(*path: Step, to: Any, document: dict[str, Any] | None = None) -> dict[str, Any]:
    """A document with the value at ``path`` set; tables on the way are made where missing."""
    document = minimal() if document is None else document
    place: Any = document
    for step in path[:-1]:
        place = place.setdefault(step, {}) if isinstance(step, str) else place[step]
    place[path[-1]] = to
    return document


def without(*path: Step) -> dict[str, Any]:
    """The minimal document with the key at ``path`` taken out."""
    document = minimal()
    place: Any = document
    for step in path[:-1]:
        place = place[step]
    del place[path[-1]]
    return document


def read(document: dict[str, Any] | str, **more: Any) -> Configuration:
    """The configuration of a decoded document or of a text."""
    decoded = tomllib.loads(document) if isinstance(document, str) else document
    return parse(decoded, directory=DIRECTORY, **more)


def mistakes(document: dict[str, Any] | str, **more: Any) -> list[str]:
    """What is wrong with a document, each as ``place: message``, in order."""
    try:
        read(document, **more)
    except ConfigErrors as found:
        return [str(error) for error in found.errors]
    return []
