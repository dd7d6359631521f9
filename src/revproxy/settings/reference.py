"""The configuration reference: ``docs/configuration.md`` made of what reads a file.

Owns how a table of keys is written as Markdown: the sections give the keys and what each accepts,
the model gives defaults, meaning and what is static. Refuses to know any field. What no single
field can say is in ``reference_text.py``. ``make docs`` writes the page.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator
from typing import Any

import attrs
from attrs import frozen

from revproxy.settings.reference_text import INTRODUCTION, NOT_YET, REMARKS, TITLES
from revproxy.settings.section import Section
from revproxy.settings.suggest import shown
from revproxy.settings.tables import included_file, main_file
from revproxy.settings.unavailable import AREAS, not_yet


@frozen
class Table:
    """One kind of table, where the reference describes it.

    Attributes:
        section: how it is read.
        place: its keys' names from the top of a file, ``listeners.tls``; a name of its own for
            what is no table.
        array: whether it is written ``[[...]]``.
    """

    section: Section
    place: str
    array: bool = False

    @property
    def title(self) -> str:
        """Its heading."""
        brackets = "[[{}]]" if self.array else "[{}]"
        return TITLES.get(self.place) or f"`{brackets.format(self.place)}`"

    def below(self) -> Iterator[Table]:
        """The tables that are values of its keys."""
        above = "" if self.place in TITLES else f"{self.place}."
        for key, read in self.section.readers.items():
            if read.accepts.table is not None:
                yield Table(read.accepts.table, above + key, read.accepts.array)


def page() -> str:
    """The whole reference."""
    parts = [INTRODUCTION]
    found = list(tables())
    anchors = {table.section: table.place.replace(".", "") for table in found}
    told: set[object] = set()
    for table in found:
        parts.append(f"## {table.title}\n")
        if table.place in REMARKS:
            parts.append(f"{REMARKS[table.place]}\n")
        rows = _rows(table, anchors, told)
        parts.append(_grid(["field", "accepts", "default", "meaning"], rows))
    refused = list(_refused(found))
    if refused:
        parts += [NOT_YET, _grid(["what", "where", "keys"], refused)]
    return "\n".join(parts)


def tables() -> Iterator[Table]:
    """Every kind of table that can be in a file, once, in the order of the reference."""
    waiting = [Table(included_file, "included"), Table(main_file, "")]
    known: set[Section] = set()
    while waiting:
        table = waiting.pop()
        if table.section not in known:
            known.add(table.section)
            yield table
            waiting += reversed(list(table.below()))


def meaning(section: Section, key: str) -> str:
    """What a key of a table means.

    Raises:
        KeyError: neither the model nor the section says it.
    """
    field = attrs.fields_dict(section.model).get(key)
    return section.described[key] if field is None else str(field.metadata["description"])


def _rows(table: Table, anchors: dict[Section, str], told: set[object]) -> Iterator[list[str]]:
    """The table's keys; of two tables that make one thing, the second has what differs."""
    section = table.section
    for key, read in section.readers.items():
        if (section.model, key, read) in told:
            continue
        told.add((section.model, key, read))
        field = attrs.fields_dict(section.model).get(key)
        static = " **S**" if field is not None and field.metadata["static"] else ""
        words, inner = read.accepts.words, read.accepts.table
        if inner is not None:
            words = f"[{words}](#{anchors[inner]})"
        default = "required" if key in section.required else _default(section.defaults[key])
        yield [f"`{key}`{static}", words, default, meaning(section, key)]


def _default(value: Any) -> str:
    """A default as it would be written in the file."""
    if value is None or value == ():
        return "none"
    if attrs.has(type(value)):
        return "those of its fields"
    if isinstance(value, float):
        return f"`{value:.15g}`"
    if isinstance(value, tuple):
        return f"`[{', '.join(map(shown, value))}]`"
    return f"`{shown(value)}`"


def _refused(found: list[Table]) -> Iterator[list[str]]:
    """The keys of each area that is not available, by the table that would have them."""
    for area, about in AREAS.items():
        told: set[object] = set()
        for table in found:
            refused = table.section.refused.items()
            keys = [key for key, answer in refused if answer == not_yet(area)]
            new = [key for key in keys if (table.section.model, key) not in told]
            told.update((table.section.model, key) for key in new)
            if new:
                yield [f"{about} ({area})", table.title, ", ".join(f"`{key}`" for key in new)]


def _grid(head: list[str], rows: Iterable[list[str]]) -> str:
    """A Markdown table."""
    lines = [head, ["---"] * len(head), *rows]
    cells = [[cell.replace("|", "\\|") for cell in line] for line in lines]
    return "".join(f"| {' | '.join(line)} |\n" for line in cells)


if __name__ == "__main__":
    sys.stdout.write(page())
