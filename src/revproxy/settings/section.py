"""Tables: which keys one may hold, which it must, and what they mean.

Owns the three answers to a key that is not read (unknown, not here, not yet), missing keys and
defaults, and how a reader says what it accepts. Refuses to know any particular table. A table is
read as far as it can be: one wrong value hides no other mistake, and rules across tables still see
what was readable.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Protocol, TypeVar

import attrs
from attrs import field, frozen

from revproxy.settings.document import Node
from revproxy.settings.suggest import nearest

K = TypeVar("K")
T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)


@frozen
class Accepts:
    """What a reader takes, for the reference.

    Attributes:
        words: type and range, as Markdown.
        table: the kind of table that it reads, or that each element of its array is.
        array: whether it reads an array.
    """

    words: str
    table: Section | None = None
    array: bool = False


class Read(Protocol[T_co]):
    """Reads one value, and says which it accepts."""

    @property
    def accepts(self) -> Accepts:
        """What can be written."""

    def __call__(self, node: Node, /) -> T_co:
        """The value.

        Raises:
            ValueError: it is not accepted; with a sentence about it.
            ReportedError: likewise, and every reason has been reported.
        """


def accepting(
    words: str, table: Section | None = None, *, array: bool = False
) -> Callable[[Callable[[Node], T]], Read[T]]:
    """Make a reader of a function, which stays what it is, by telling what it accepts."""

    def told(function: Callable[[Node], T]) -> Read[T]:
        reader: Any = function
        reader.accepts = Accepts(words, table, array)
        read: Read[T] = reader
        return read

    return told


class ReportedError(Exception):
    """A value is unusable, and every reason has been reported already."""


@frozen
class Reading:
    """A table as far as it could be read.

    Attributes:
        section: what kind of table it is.
        node: where it stands.
        values: what was readable, with the defaults of keys that were left out.
    """

    section: Section
    node: Node
    values: Mapping[str, Any]

    def get(self, key: str) -> Any:
        """The value of ``key``; None when it is unusable, or unset without a default."""
        return self.values.get(key)

    def report(self, key: str, message: str) -> None:
        """Add a mistake at one of this table's keys."""
        self.node.child(key).report(message)

    def build(self) -> Any:
        """The model's value. Only for a document without mistakes."""
        build = self.section.build or self.section.model
        values = self.values.items()
        return build(**{k: built(v) if isinstance(v, MAY_HOLD_READINGS) else v for k, v in values})


@frozen(eq=False)
class Section:
    """One kind of table; two are never the same.

    Attributes:
        model: the attrs class whose fields give the defaults, and the keys without which the
            table is incomplete.
        readers: how each of its keys is read.
        optional: defaults of keys that the model does not have or does not give one.
        refused: keys that are known and yet not accepted, with the reason.
        instead: for a required key the refused one that would have made it needless.
        described: what the keys mean that the model does not have, for the reference.
        build: makes the model's value of the values by key; None where these are the fields.
        defaults: what keys that are left out stand for.
        required: the keys that it does not give.
    """

    model: type[attrs.AttrsInstance]
    readers: Mapping[str, Read[Any]]
    optional: Mapping[str, Any] = {}
    refused: Mapping[str, str] = {}
    instead: Mapping[str, str] = {}
    described: Mapping[str, str] = {}
    build: Callable[..., Any] | None = None
    defaults: Mapping[str, Any] = field(init=False)
    required: tuple[str, ...] = field(init=False)

    @property
    def accepts(self) -> Accepts:
        """A table of this kind."""
        return Accepts("table", self)

    def __call__(self, node: Node) -> Reading:
        """Read a table, reporting every mistake in it.

        Raises:
            ValueError: it is no table.
        """
        if not isinstance(node.value, Mapping):
            raise ValueError(f"must be a table, not {kind_of(node.value)}")
        values = dict(self.defaults)
        meant = set()
        for key, child in node.children():
            if key in self.readers:
                read_into(values, key, self.readers[key], child)
            else:
                meant.add(self._refuse(key, child))
        for key in self.required:
            if key not in node.value and key not in meant:
                node.child(key).report("required, but missing")
        return Reading(self, node, values)

    def _refuse(self, key: str, node: Node) -> str | None:
        """Report a key that is not read, and say which required one it stood for, if any."""
        if key in self.refused:
            node.report(self.refused[key])
            return next((needed for needed, by in self.instead.items() if by == key), None)
        near = nearest(key, [*self.readers, *self.refused])
        node.report("unknown key" + (f', did you mean "{near}"?' if near else ""))
        return near

    @defaults.default
    def _of_the_model(self) -> dict[str, Any]:
        fields = attrs.fields_dict(self.model)
        defaults = {key: fields[key].default if key in fields else None for key in self.readers}
        given = {key: value for key, value in defaults.items() if value is not attrs.NOTHING}
        return {**given, **self.optional}

    @required.default
    def _without_default(self) -> tuple[str, ...]:
        return tuple(key for key in self.readers if key not in self.defaults)


def read_into(values: dict[K, Any], key: K, read: Read[Any], node: Node) -> None:
    """Put what ``read`` makes of ``node`` into ``values``, or report it and leave none there."""
    try:
        values[key] = read(node)
    except ValueError as error:
        values.pop(key, None)
        node.report(str(error))
    except ReportedError:
        values.pop(key, None)


def list_of(read: Read[T], *, at_least: int = 0) -> Read[tuple[T, ...]]:
    """A reader of arrays, whose elements ``read`` reads; it gives a tuple."""
    element = read.accepts
    words = "array, not empty, " if at_least else "array "
    words += "of tables" if element.table else f"of: {element.words}"

    @accepting(words, element.table, array=True)
    def read_list(node: Node) -> tuple[Any, ...]:
        if isinstance(node.value, Mapping):
            raise ValueError("must be an array, not a table (its tables are written [[...]])")
        if not isinstance(node.value, list):
            raise ValueError(f"must be an array, not {kind_of(node.value)}")
        if len(node.value) < at_least:
            raise ValueError("must not be empty")
        elements: dict[int, Any] = {}
        for index in range(len(node.value)):
            read_into(elements, index, read, node.item(index))
        if len(elements) < len(node.value):
            raise ReportedError
        return tuple(elements.values())

    return read_list


MAY_HOLD_READINGS = (Reading, tuple)
"""The types of values that :func:`built` does not give back as they are."""


def built(value: Any) -> Any:
    """``value`` with every :class:`Reading` in it made into the model's value."""
    if isinstance(value, Reading):
        return value.build()
    if isinstance(value, tuple):
        return tuple(built(element) for element in value)
    return value


def kind_of(value: object) -> str:
    """What TOML calls a value's type, with an article."""
    kinds: dict[type, str] = {
        bool: "a boolean",
        int: "an integer",
        float: "a float",
        str: "a string",
    }
    if isinstance(value, Mapping):
        return "a table"
    return "an array" if isinstance(value, list) else kinds.get(type(value), "a date or a time")
