r"""What a log record looks like, and which are kept.

Owns levels, the two formats and their escaping, and the records that Twisted's own log events
become. Refuses to know where lines go (``log_writer``) and what time it is (a clock is passed
in).

Text, one record a line::

    2026-07-28T08:49:20Z INFO REQUEST client_ip=203.0.113.50 host=git.example.com ...

- A missing value (None, empty) is ``-``.
- A value of printable ASCII without space, quote or backslash stands bare. Every other one
  stands in quotes, and so does a value that is itself ``-``, and prose (:data:`QUOTED_KEYS`).
- In quotes, ``"`` and ``\`` have a backslash before them; control characters, ``=`` and what is
  not ASCII are ``\xNN``, beyond Latin-1 ``\uNNNN`` or ``\UNNNNNNNN``. A space stays a space in
  prose and is ``\x20`` elsewhere.

So fields of a client's making never hold a space, and no value holds anything that could be read
as a field: a filter that knows nothing of quotes finds exactly the fields that are there.

JSON, one object a line: ``timestamp``, ``level``, ``event`` and the same keys. Numbers and bools
are such, a missing value is null. There is no ``message``: it would say everything twice. ``=``
is ``\u003d`` so that a filter for text finds nothing in it.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Sequence
from json import JSONEncoder
from math import isfinite
from typing import Protocol, cast

from twisted.logger import ILogObserver, LogEvent, LogLevel, eventAsText
from twisted.python.failure import Failure
from zope.interface import directlyProvides

from revproxy.model.seams import AccessLog, Clock

Fields = Sequence[tuple[str, object]]

REQUEST_KEYS = ("client_ip", "host", "method", "path", "status", "upstream", "duration_ms")
"""The fixed fields of a ``REQUEST`` record."""

RequestValues = tuple[str, str, str, str, int, str, int]
"""Their values; ``upstream`` may also be ``-`` where there is none."""

LEVELS = ("error", "warn", "info", "debug", "trace")
"""From the fewest records to the most."""

QUOTED_KEYS = frozenset({"error", "message", "reason", "traceback"})
"""Keys whose values are prose and stand in quotes even where they would not need to."""

TRACEBACK_CHARACTERS = 16384
"""What is kept of a traceback: its end, which names the exception."""

_BARE = r"(?!- )[!#-\[\]-~]+"
_is_bare = re.compile(r"[!#-\[\]-~]+").fullmatch
# Spaces separate and are never part of a bare value, so a line of this shape can only come from
# six such values: one match over the whole answers for all of them.
_is_bare_request = re.compile(
    rf"client_ip={_BARE} host={_BARE} method={_BARE} path={_BARE} "
    r"status=\d+ upstream=[!#-\[\]-~]+ duration_ms=\d+"
).fullmatch

_PROSE_ESCAPES = {code: f"\\x{code:02x}" for code in (*range(0x20), ord("="), 0x7F)}
_PROSE_ESCAPES |= {ord('"'): '\\"', ord("\\"): "\\\\"}
_ESCAPES = _PROSE_ESCAPES | {ord(" "): "\\x20"}

_encode_json = JSONEncoder(separators=(",", ":")).encode


class Records(Protocol):
    """A format: makes lines (without their end) of records."""

    def line(self, level: str, event: str, fields: Fields) -> str:
        """The line of any record."""

    def request(self, values: RequestValues, more: Fields) -> str:
        """The line of a ``REQUEST`` record: the fixed fields, then ``more``."""


class _Timestamps:
    """UTC to the second, made once a second."""

    __slots__ = ("_clock", "_second", "_text")

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._second = -1
        self._text = ""

    def now(self) -> str:
        second = int(self._clock())
        if second != self._second:
            self._text = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(second))
            self._second = second
        return self._text


class TextRecords:
    """The text format.

    Args:
        clock: seconds since 1970.
    """

    __slots__ = ("_now",)

    def __init__(self, clock: Clock) -> None:
        self._now = _Timestamps(clock).now

    def line(self, level: str, event: str, fields: Fields) -> str:
        """The line of any record."""
        return f"{self._now()} {level.upper()} {event}{_text_fields(fields)}"

    def request(self, values: RequestValues, more: Fields) -> str:
        """The line of a ``REQUEST`` record: the fixed fields, then ``more``."""
        client_ip, host, method, path, status, upstream, duration_ms = values
        fixed = (
            f"client_ip={client_ip} host={host} method={method} path={path} "
            f"status={status} upstream={upstream or '-'} duration_ms={duration_ms}"
        )
        if not _is_bare_request(fixed):
            fixed = _text_fields(_request_fields(values))[1:]
        if more:
            fixed += _text_fields(more)
        return f"{self._now()} INFO REQUEST {fixed}"


class JsonRecords:
    """The JSON format.

    Args:
        clock: seconds since 1970.
    """

    __slots__ = ("_now",)

    def __init__(self, clock: Clock) -> None:
        self._now = _Timestamps(clock).now

    def line(self, level: str, event: str, fields: Fields) -> str:
        """The line of any record."""
        record: dict[str, object] = {
            "timestamp": self._now(),
            "level": level.upper(),
            "event": event,
        }
        record |= {key: _json_value(value) for key, value in fields}
        return _encode_json(record).replace("=", "\\u003d")

    def request(self, values: RequestValues, more: Fields) -> str:
        """The line of a ``REQUEST`` record: the fixed fields, then ``more``."""
        return self.line("info", "REQUEST", (*_request_fields(values), *more))


class RecordLog:
    """Drops what is under the level and sends the lines of the rest (an ``AccessLog``)."""

    __slots__ = ("_kept", "_records", "_requests", "_write")

    def __init__(
        self, records: Records, level: str, write: Callable[[str, str | None], None]
    ) -> None:
        """Keep ``level`` and what is more severe.

        Args:
            records: the format.
            level: one of :data:`LEVELS`.
            write: takes a line and the path of a further file that is to have it.
        """
        self._records = records
        self._kept = frozenset(LEVELS[: LEVELS.index(level) + 1])
        self._requests = "info" in self._kept
        self._write = write

    def request(
        self,
        client_ip: str,
        host: str,
        method: str,
        path: str,
        status: int,
        upstream: str,
        duration_ms: int,
        more: Fields = (),
        also: str | None = None,
    ) -> None:
        """Write the ``REQUEST`` record of an exchange that has ended (see ``AccessLog``)."""
        if self._requests:
            self._write(
                self._records.request(
                    (client_ip, host, method, path, status, upstream, duration_ms), more
                ),
                also,
            )

    def record(self, level: str, event: str, fields: Fields) -> None:
        """Write one record of ``level`` and name ``event``."""
        if level in self._kept:
            self._write(self._records.line(level, event, fields), None)

    def enabled(self, level: str) -> bool:
        """Whether records of ``level`` are kept at all."""
        return level in self._kept


def observe_twisted(log: AccessLog) -> ILogObserver:
    """Make an observer that writes Twisted's log events as ``TWISTED`` records.

    Failures come with their traceback in one escaped line. Twisted's errors and warnings keep
    their level; its remarks on what it does are ``debug`` here, and its debugging ``trace``.
    """

    def observe(event: LogEvent) -> None:
        level = _level_of(event)
        if not log.enabled(level):
            return
        text = eventAsText(
            event, includeTraceback=False, includeTimestamp=False, includeSystem=False
        )
        fields: list[tuple[str, object]] = [
            ("namespace", event.get("log_namespace")),
            ("message", text),
        ]
        failure = event.get("log_failure")
        if failure is not None:
            fields.append(("traceback", _traceback_of(failure)))
        log.record(level, "TWISTED", fields)

    directlyProvides(observe, ILogObserver)
    return cast(ILogObserver, observe)


_TWISTED_LEVELS = {
    LogLevel.critical: "error",
    LogLevel.error: "error",
    LogLevel.warn: "warn",
    LogLevel.info: "debug",
    LogLevel.debug: "trace",
}


def _level_of(event: LogEvent) -> str:
    # A Python warning comes through Twisted's legacy log, which knows no level for it.
    if "warning" in event and "category" in event:
        return "warn"
    return _TWISTED_LEVELS.get(event.get("log_level", LogLevel.info), "error")


def _traceback_of(failure: Failure) -> str:
    try:
        return str(failure.getTraceback())[-TRACEBACK_CHARACTERS:]
    except Exception:  # a frame's or an exception's own repr may raise anything
        return f"no traceback: {failure.type!r}"


def _request_fields(values: RequestValues) -> list[tuple[str, object]]:
    return [
        (key, None if key == "upstream" and value == "-" else value)
        for key, value in zip(REQUEST_KEYS, values, strict=True)
    ]


def _text_fields(fields: Fields) -> str:
    return "".join([f" {key}={_text_value(key, value)}" for key, value in fields])


def _text_value(key: str, value: object) -> str:
    if isinstance(value, int):
        return str(value).lower()
    text = "" if value is None else str(value)
    if not text:
        return "-"
    if key in QUOTED_KEYS:
        text = text.translate(_PROSE_ESCAPES)
    elif text != "-" and _is_bare(text):
        return text
    else:
        text = text.translate(_ESCAPES)
    return f'"{text.encode("ascii", "backslashreplace").decode("ascii")}"'


def _json_value(value: object) -> object:
    if value is None or isinstance(value, int) or (isinstance(value, float) and isfinite(value)):
        return value
    return str(value) or None
