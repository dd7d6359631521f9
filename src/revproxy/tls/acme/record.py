"""What is remembered of a certificate beside it: when to renew, what failed, which order is open.

Owns the fields and their form on disk, and refuses to believe the disk: a file that somebody has
written to by hand is read with the same care as one from the network. Refuses to know where it
is and when it is written.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import isfinite
from typing import Any

import attrs
from attrs import frozen

from revproxy.tls.acme.files import encode_object, parse_object
from revproxy.tls.acme.validation import normal_names

MAX_RECORD_BYTES = 256 * 1024
"""The largest record that is read: it takes a hundred of the longest names and eight texts of the
greatest length, every character of them escaped."""

MAX_TEXT = 2048
"""The longest text in a record, in characters; a longer error is cut."""

_MOST_SECONDS = 1e11  # the year 5138; what datetime can still express
_MOST_FAILURES = 1_000_000


@frozen
class Record:
    """One certificate's record. Times are in seconds since 1970.

    Attributes:
        names: what the certificate is for, as ``normal_names`` gives it.
        directory: the URL of the CA's directory.
        profile: the profile that it was ordered with; ``""`` for the CA's own choice.
        certificate: the SHA-256 of the certificate that this is about, in hex; ``""`` for none.
        previous: the same of the one before.
        replaces: how the CA is told which certificate the next one replaces (RFC 9773 4.1).
        issued_at: when the certificate was stored; ``None`` without one.
        window: the CA's suggestion, start and end (RFC 9773 4.2).
        renew_at: the moment that was chosen in the window, once.
        check_at: when to look at the suggestion again.
        failures: how many attempts have failed since the last success.
        last_failure: the code of the last one's error, ``""`` where there is none.
        last_error: the last one's error in words, as the CA has put it.
        next_attempt: not before this moment is the next attempt made.
        order_url: the order that is open; its key is on disk too (RFC 8555 7.4).
    """

    names: tuple[str, ...]
    directory: str
    profile: str = ""
    certificate: str = ""
    previous: str = ""
    replaces: str = ""
    issued_at: float | None = None
    window: tuple[float, float] | None = None
    renew_at: float | None = None
    check_at: float | None = None
    failures: int = 0
    last_failure: str = ""
    last_error: str = ""
    next_attempt: float | None = None
    order_url: str = ""

    def about(self, fingerprint: str) -> Record:
        """The same record where it is about the certificate of ``fingerprint``, else a new one.

        A process may have died between the writing of a certificate and of its record: what is
        remembered of the one before does not hold for it.
        """
        if self.certificate == fingerprint:
            return self
        return Record(self.names, self.directory, self.profile, fingerprint, self.certificate)

    def encode(self) -> bytes:
        """What :func:`parse_record` makes this record of, but for an error that is cut.

        Raises:
            ValueError: it could not be read again, as a URL is too long or a moment no number.
        """
        error = self.last_error[:MAX_TEXT]
        content = encode_object(attrs.asdict(attrs.evolve(self, last_error=error)))
        parse_record(content)
        return content


_TEXTS = (
    "directory",
    "profile",
    "certificate",
    "previous",
    "replaces",
    "last_failure",
    "last_error",
    "order_url",
)
_MOMENTS = ("issued_at", "renew_at", "check_at", "next_attempt")


def parse_record(content: bytes) -> Record:
    """The record that ``content`` is; what it does not name has its default, and keys that are
    not known are passed over, for a later version may have written them.

    Raises:
        ValueError: it is no record; with what is wrong.
    """
    found = parse_object(content)
    names = found.get("names")
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise ValueError("names is no list of texts")
    if not found.get("directory"):
        raise ValueError("directory is missing")
    values: dict[str, Any] = {key: _text(key, found[key]) for key in _TEXTS if key in found}
    values |= {key: _moment(key, found.get(key)) for key in _MOMENTS}
    return Record(
        names=normal_names(names),
        window=_window(found.get("window")),
        failures=_count(found.get("failures", 0)),
        **values,
    )


def _text(key: str, value: object) -> str:
    if not isinstance(value, str) or len(value) > MAX_TEXT:
        raise ValueError(f"{key} is no text of at most {MAX_TEXT} characters")
    return value


def _moment(key: str, value: object) -> float | None:
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ValueError(f"{key} is no number")
    if not 0 <= value <= _MOST_SECONDS or not isfinite(value):
        raise ValueError(f"{key} is out of range")
    return float(value)


def _window(value: object) -> tuple[float, float] | None:
    if value is None:
        return None
    if not isinstance(value, Sequence) or isinstance(value, str) or len(value) != 2:
        raise ValueError("window is no pair")
    start, end = _moment("window", value[0]), _moment("window", value[1])
    if start is None or end is None:
        raise ValueError("window is no pair of numbers")
    return start, end


def _count(value: object) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or value < 0:
        raise ValueError("failures is no count")
    return min(value, _MOST_FAILURES)
