"""Text into the model: a TOML file with its includes, or every mistake in them at once.

Owns the file format: which keys there are, what each accepts, which rules hold between them, and
how a mistake is explained. Refuses to know what the proxy does with the result.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import attrs

from revproxy.errors import ConfigError, ConfigErrors
from revproxy.model.configuration import Configuration
from revproxy.settings.checks import Whole, check
from revproxy.settings.document import Node, Problems
from revproxy.settings.files import Files, read_bounded, settled
from revproxy.settings.includes import included_files
from revproxy.settings.section import Reading, built
from revproxy.settings.suggest import shown
from revproxy.settings.tables import included_file, main_file

__all__ = ["DEFAULT_CONFIG", "load", "parse"]

DEFAULT_CONFIG = "/etc/reverse-proxy/config.toml"
"""The file that commands read which are given none."""


def load(
    path: str | Path,
    *,
    allow_wildcard_bind: bool = False,
    read: Callable[[Path], bytes] = read_bounded,
) -> Configuration:
    """Read a configuration file and the files it includes, as they are together at one moment.

    Args:
        path: the main file.
        allow_wildcard_bind: allow what the key of that name does, whatever the file says.
        read: makes a file's content of its path.

    Raises:
        ConfigErrors: every mistake of every file, in file order. A file that cannot be read or
            decoded counts as one, under its name; so do files that keep changing.
    """
    main = Path(path)
    try:
        top, nodes = settled(lambda files: _gathered(main, files), read)
    except ValueError as error:
        raise ConfigErrors([ConfigError(str(path), str(error))]) from None
    found = [node for node in nodes if node is not None]
    complete = len(found) == len(nodes)
    return _configuration(top, found, complete=complete, wildcard_bind=allow_wildcard_bind)


def parse(
    document: Mapping[str, Any],
    *,
    directory: Path,
    included: Mapping[str, Mapping[str, Any]] | None = None,
    allow_wildcard_bind: bool = False,
) -> Configuration:
    """Read documents that are decoded already; no file is touched.

    Args:
        document: the main file's content. The patterns of its ``include`` are not followed.
        directory: the main file's, absolute: what relative paths start from.
        included: the content of each included file, by its name relative to ``directory``.
        allow_wildcard_bind: as in :func:`load`.

    Raises:
        ConfigErrors: every mistake, in file order.
    """
    top = Node(document, directory, Problems())
    files = [
        _included(top, index, name, content)
        for index, (name, content) in enumerate((included or {}).items())
    ]
    return _configuration(top, files, complete=True, wildcard_bind=allow_wildcard_bind)


def _gathered(main: Path, files: Files) -> tuple[Node, list[Node | None]]:
    """The main file's top, and that of each included file; None after a report of one."""
    top = Node(files.document(main, "it"), main.absolute().parent, Problems())
    names = included_files(top.child("include"), main, files)
    nodes = [_included(top, index, name, {}) for index, name in enumerate(names)]
    return top, [_read(node, files) for node in nodes]


def _included(top: Node, index: int, name: str, content: Mapping[str, Any]) -> Node:
    directory = (top.directory / name).parent
    return Node(content, directory, top.problems, name, position=1 + index)


def _read(included: Node, files: Files) -> Node | None:
    """An included file's node with its content; None after a report that it has none."""
    path = included.directory / Path(included.file).name
    try:
        document = files.document(path, shown(included.file))
    except ValueError as error:
        included.report(str(error))
        return None
    return attrs.evolve(included, value=document)


def _configuration(
    top: Node, included: list[Node], *, complete: bool, wildcard_bind: bool
) -> Configuration:
    main = main_file(top)
    files = [included_file(node) for node in included]
    listeners = [main.get("listeners"), *(file.get("listeners") for file in files)]
    nested = [listener.get("sites") for listener in _joined(listeners)]
    further = [file.get("sites") for file in files]
    streams = main.get("streams")
    complete = complete and None not in [*listeners, *nested, *further, streams]
    sites = _joined(nested + further)
    check(Whole(main, _joined(listeners), sites, streams or (), complete, wildcard_bind))
    top.problems.raise_if_any()
    configuration: Configuration = main.build()
    return attrs.evolve(
        configuration,
        allow_wildcard_bind=wildcard_bind or main.get("allow_wildcard_bind"),
        listeners=built(_joined(listeners)),
        sites=built(_joined(further)),
    )


def _joined(parts: list[tuple[Reading, ...] | None]) -> tuple[Reading, ...]:
    """Several arrays of tables as one, without those that are unusable."""
    return tuple(reading for part in parts for reading in part or ())
