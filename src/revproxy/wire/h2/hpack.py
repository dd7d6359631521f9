"""HPACK (RFC 7541): header blocks to fields, and back.

Owns both directions' coding and the dynamic table of the receiving one. What a field means is
settled when it enters the table, by a function that the decoder is given, and not again each time
the peer points at it. Refuses to know requests and responses.

A decoded list holds references into the table: a block of n bytes costs at most 8 n bytes of
memory beside what it spells out itself, whatever it refers to. So decoding always goes on to the
end of the block, the table stays in step with the peer's, and a list that is too large costs its
request and not the connection.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from revproxy.model.http import Field
from revproxy.wire.fields import is_secret
from revproxy.wire.h2.huffman import decode_huffman
from revproxy.wire.h2.static_table import STATIC_TABLE

TABLE_BYTES: Final = 4096
"""The dynamic table's size, as every connection begins (RFC 9113 6.5.2); we never offer more."""

ENTRY_OVERHEAD: Final = 32
"""What RFC 7541 4.1 adds to name and value."""

REMEMBERED_STRINGS: Final = 4096
"""How many decoded strings are remembered, over all connections."""

REMEMBERED_STRING_BYTES: Final = 128
"""Longer ones are decoded anew each time."""

Line = tuple[int, Field, int]
"""A field with its kind before it and its size (RFC 7541 4.1) behind."""

_DYNAMIC = len(STATIC_TABLE) + 1
_MOST_INTEGER_BYTES = 4
_SIZE_UPDATE = 0x20
_INDEXING = 0x40
_NEVER_INDEXED = 0x10


class HpackError(ValueError):
    """The block is no HPACK, or the peer's table is not ours: COMPRESSION_ERROR."""


class Decoder:
    """Decodes the header blocks of one connection, in their order.

    Args:
        line: makes what is kept of a field; it must not raise for any name and value.
        static: the static table, by :func:`static_lines` with the same ``line``.
    """

    __slots__ = ("_entries", "_limit", "_line", "_used")

    def __init__(self, line: Callable[[bytes, bytes], Line], static: list[Line | None]) -> None:
        self._line = line
        self._entries = static.copy()  # then the dynamic ones, the newest first
        self._limit = TABLE_BYTES
        self._used = 0

    def decode(self, block: bytes) -> list[Line]:
        """The fields of a whole block.

        Raises:
            HpackError: the connection cannot go on.
        """
        try:
            return self._decode(block)
        except (IndexError, ValueError) as error:
            raise HpackError(str(error)) from None

    def _decode(self, block: bytes) -> list[Line]:
        entries = self._entries
        lines: list[Line] = []
        at, size = 0, len(block)
        while at < size:
            first = block[at]
            at += 1
            if first > 0x80:
                if first == 0xFF:
                    index, at = _integer(block, at, 0x7F)
                    lines.append(self._entry(index))
                else:
                    lines.append(entries[first & 0x7F])  # type: ignore[arg-type]
            elif first & 0xE0 == _SIZE_UPDATE:
                if lines:
                    raise ValueError("table size update after a field")
                at = self._resize(block, at, first & 0x1F)
            else:
                mask = 0x3F if first & _INDEXING else 0x0F
                line, at = self._literal(block, at, first & mask, mask)
                if first & _INDEXING:
                    self._insert(line)
                lines.append(line)
        return lines

    def _entry(self, index: int) -> Line:
        line = self._entries[index]
        if line is None:
            raise ValueError("index 0")
        return line

    def _literal(self, block: bytes, at: int, index: int, mask: int) -> tuple[Line, int]:
        """A field that is spelled out, its name perhaps in the table (RFC 7541 6.2)."""
        if index:
            if index == mask:
                index, at = _integer(block, at, mask)
            name = self._entry(index)[1][0]
        else:
            name, at = _string(block, at, remember=True)
        value, at = _string(block, at, remember=not is_secret(name))
        return self._line(name, value), at

    def _insert(self, line: Line) -> None:
        size = line[2]
        self._evict(self._limit - size)
        if size <= self._limit:
            self._entries.insert(_DYNAMIC, line)
            self._used += size

    def _resize(self, block: bytes, at: int, limit: int) -> int:
        if limit == 0x1F:
            limit, at = _integer(block, at, 0x1F)
        if limit > TABLE_BYTES:
            raise ValueError("table size above what was offered")
        self._limit = limit
        self._evict(limit)
        return at

    def _evict(self, limit: int) -> None:
        entries = self._entries
        while self._used > limit and len(entries) > _DYNAMIC:
            line = entries.pop()
            assert line is not None
            self._used -= line[2]


def static_lines(line: Callable[[bytes, bytes], Line]) -> list[Line | None]:
    """The static table for a :class:`Decoder`, made once by the ``line`` that it gets, too."""
    return [None, *(line(name, value) for name, value in STATIC_TABLE)]


def encode_literal(name: bytes, value: bytes) -> bytes:
    """A field that the peer's table is not changed by; never indexed if it is a credential.

    ``name`` is in lower case.
    """
    index = _STATIC_FIELDS.get((name, value))
    if index is not None:
        return bytes((0x80 | index,))
    form = _NEVER_INDEXED if is_secret(name) else 0
    index = _STATIC_NAMES.get(name)
    if index is None:
        return b"".join((bytes((form,)), _length(name), name, _length(value), value))
    return b"".join((_encode_integer(index, 0x0F, form), _length(value), value))


NO_TABLE: Final = bytes((_SIZE_UPDATE,))
"""Said once, before the first block: our encoder has no dynamic table, whatever the peer's
SETTINGS_HEADER_TABLE_SIZE is or will be (RFC 7541 4.2)."""

_STATIC_FIELDS = {
    field: index for index, field in enumerate(STATIC_TABLE, 1) if field[1] or not field[0]
}
_STATIC_NAMES: dict[bytes, int] = {}
for _index, _field in enumerate(STATIC_TABLE, 1):
    _STATIC_NAMES.setdefault(_field[0], _index)

_strings: dict[bytes, bytes] = {}


def _integer(block: bytes, at: int, value: int) -> tuple[int, int]:
    """The rest of an integer whose prefix is all ones (RFC 7541 5.1), and where it ends."""
    for shift in range(0, 7 * _MOST_INTEGER_BYTES, 7):
        byte = block[at]
        at += 1
        value += (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
    raise ValueError("integer too large")


def _string(block: bytes, at: int, *, remember: bool) -> tuple[bytes, int]:
    """A string (RFC 7541 5.2) and where it ends."""
    first = block[at]
    at += 1
    size = first & 0x7F
    if size == 0x7F:
        size, at = _integer(block, at, size)
    end = at + size
    if end > len(block):
        raise ValueError("string longer than its block")
    text = block[at:end]
    if first < 0x80:
        return text, end
    if not remember or size > REMEMBERED_STRING_BYTES:
        return decode_huffman(text), end
    known = _strings.get(text)
    if known is None:
        known = decode_huffman(text)
        if len(_strings) >= REMEMBERED_STRINGS:
            _strings.clear()
        _strings[text] = known
    return known, end


def _encode_integer(value: int, mask: int, form: int) -> bytes:
    if value < mask:
        return bytes((form | value,))
    encoded = bytearray((form | mask,))
    value -= mask
    while value >= 0x80:
        encoded.append(value & 0x7F | 0x80)
        value >>= 7
    encoded.append(value)
    return bytes(encoded)


def _length(text: bytes) -> bytes:
    return _encode_integer(len(text), 0x7F, 0)
