"""A decoded TOML document as a tree that knows where each of its values stands.

Owns the spelling of places (``listeners[0].sites[1].upstream``), the collection of mistakes and
their order. Refuses to know which keys a document may hold.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from attrs import field, frozen

from revproxy.errors import ConfigError, ConfigErrors
from revproxy.settings.suggest import LONGEST_SHOWN

_BARE_KEY = re.compile(r"[A-Za-z0-9_-]+")


class Problems:
    """Every mistake found so far."""

    def __init__(self) -> None:
        self._found: list[tuple[tuple[int, ...], ConfigError]] = []

    def add(self, order: tuple[int, ...], error: ConfigError) -> None:
        """Take note of ``error``, which stands at ``order`` among the files' values."""
        self._found.append((order, error))

    def raise_if_any(self) -> None:
        """End the reading if there was a mistake.

        Raises:
            ConfigErrors: all of them, in file order.
        """
        if self._found:
            in_order = sorted(self._found, key=lambda found: found[0])
            raise ConfigErrors([error for _, error in in_order])


@frozen
class Node:
    """One value of a document.

    Attributes:
        value: as decoded.
        directory: of the file it stands in, absolute: what relative paths start from.
        problems: where its mistakes go.
        file: the name of an included file; ``""`` for the main one.
        above: the table or array that it is in; None for the top of a file.
        step: its key there, or its index.
        position: how many come before it there; of a file, how many files.
    """

    value: Any
    directory: Path
    problems: Problems = field(repr=False)
    file: str = ""
    above: Node | None = field(default=None, repr=False)
    step: str | int = ""
    position: int = 0

    @property
    def place(self) -> str:
        """The steps to it from the top of its file, as the operator would write them."""
        if self.above is None:
            return ""
        start = self.above.place
        if isinstance(self.step, int):
            return f"{start}[{self.step}]"
        return f"{start}.{spelled(self.step)}" if start else spelled(self.step)

    @property
    def order(self) -> tuple[int, ...]:
        """The same as numbers, the file's first, so that mistakes sort in file order."""
        return (*(self.above.order if self.above else ()), self.position)

    def report(self, message: str) -> None:
        """Add a mistake at this place."""
        self.problems.add(self.order, ConfigError(self.full_place(), message))

    def full_place(self, key: str = "") -> str:
        """Where this value stands, or ``key`` of it: the file first unless it is the main one."""
        place = f"{self.place}.{key}" if key else self.place
        return f"{self.file}: {place}" if self.file and place else self.file or place

    def child(self, key: str) -> Node:
        """The value of ``key`` of this table; None for a missing one, which sorts last."""
        for name, node in self.children():
            if name == key:
                return node
        return self._below(None, key, len(self.value))

    def children(self) -> Iterator[tuple[str, Node]]:
        """Every key of this table with its value, in file order."""
        for position, (key, value) in enumerate(self.value.items()):
            yield key, self._below(value, key, position)

    def item(self, index: int) -> Node:
        """One element of this array."""
        return self._below(self.value[index], index, index)

    def _below(self, value: Any, step: str | int, position: int) -> Node:
        return Node(value, self.directory, self.problems, self.file, self, step, position)


def spelled(key: str) -> str:
    """A key as TOML spells it: quoted unless bare, control characters escaped, cut if long."""
    if len(key) > LONGEST_SHOWN:
        return f"{json.dumps(key[:LONGEST_SHOWN])}..."
    return key if _BARE_KEY.fullmatch(key) else json.dumps(key)
