"""Field lines of HTTP/1.x heads, split, validated and classified; and remembered.

Owns the reading of single field lines. A line that has once been found valid is not taken apart
again: clients and upstreams say the same ``User-Agent``, ``Accept``, ``Content-Type`` over and
over (HPACK lives on the same fact). What may be remembered is bounded in number and length, and
lines that carry credentials never are. Refuses to know what a whole head means.

llhttp (through httptools) reads the lines that are new. It is fed field lines only, behind a
request line of our own, because it has no limits, a closed list of methods, and accepts request
lines that are not valid.
"""

from __future__ import annotations

import httptools

from revproxy.model.http import Field
from revproxy.wire.fields import FieldKinds, has_valid_bytes

REMEMBERED_LINES = 4096
"""How many lines are remembered for requests, and how many for responses."""

REMEMBERED_LINE_BYTES = 256
"""Longer lines are read anew each time."""

FieldLine = tuple[int, Field]
"""A field with its kind (``wire/fields.py``), white space around the value taken off."""

_REQUEST_LINE = b"GET / HTTP/1.1"
_UNFRAMED = b"x"
"""Put before every name that llhttp sees, so that it frames nothing by a Content-Length or
Transfer-Encoding and no line can be its continuation: each is judged alone, whatever company it
comes in and whatever is remembered. What the fields mean together, ``validated_head`` judges."""
_NEXT_LINE = b"\r\n" + _UNFRAMED
_NO_NAME = _NEXT_LINE + b":"


class FieldLineReader:
    """Reads the field lines of one kind of head.

    Args:
        kinds: what the names mean there.
    """

    __slots__ = ("_kinds", "_known")

    def __init__(self, kinds: FieldKinds) -> None:
        self._kinds = kinds
        self._known: dict[bytes, FieldLine] = {}

    def read(self, lines: list[bytes]) -> list[FieldLine]:
        """Read field lines, given without their CRLF, in order.

        Raises:
            ValueError: one of them is no valid field line.
        """
        read: list[FieldLine | None] = list(map(self._known.get, lines))
        if not all(read):
            unknown = [at for at, line in enumerate(read) if line is None]
            fields = _split([lines[at] for at in unknown])
            for at, (name, value) in zip(unknown, fields, strict=True):
                read[at] = self._learn(lines[at], name, value.strip(b" \t"))
        return read  # type: ignore[return-value]

    def _learn(self, line: bytes, name: bytes, value: bytes) -> FieldLine:
        kind, secret = self._kinds.of(name)
        learned = kind, (name, value)
        if not secret and len(line) <= REMEMBERED_LINE_BYTES:
            if len(self._known) >= REMEMBERED_LINES:
                self._known.clear()
            self._known[line] = learned
        return learned


class _Fields:
    """Collects what llhttp finds."""

    __slots__ = ("found",)

    def __init__(self) -> None:
        self.found: list[Field] = []

    def on_header(self, name: bytes, value: bytes) -> None:
        """Take one field, less what was put before its name."""
        self.found.append((name[1:], value))


def _split(lines: list[bytes]) -> list[Field]:
    if not has_valid_bytes(b"".join(lines)):
        raise ValueError("invalid byte in a header field")
    section = _NEXT_LINE.join([b"", *lines])
    if _NO_NAME in section:
        raise ValueError("header field without a name")
    fields = _Fields()
    parser = httptools.HttpRequestParser(fields)
    try:
        parser.feed_data(b"%b%b\r\n\r\n" % (_REQUEST_LINE, section))
    except httptools.HttpParserError:
        raise ValueError("invalid header field") from None
    return fields.found
