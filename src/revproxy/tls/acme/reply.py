"""A response from an authority: what is read of its head.

Owns the fields that ACME is spoken with (RFC 8555 6.5, 6.6, 7.4.2) and what is made of strange
ones. Refuses to know how the response came.
"""

from __future__ import annotations

import re
from datetime import UTC
from email.utils import parsedate_to_datetime

from attrs import field, frozen
from twisted.web.http_headers import Headers

MOST_RETRY_AFTER = 7 * 86400.0
"""Seconds; more is not believed."""

_LINK_FIELDS = 16

_NONCE = re.compile(r"[A-Za-z0-9_-]{1,1024}")

_LINK = re.compile(r"<([^<>]{1,2048})>([^<]*)")

_IS_ALTERNATE = re.compile(r"""(?i);\s*rel\s*=\s*(?:alternate(?=[\s;,]|$)|"alternate")""")


@frozen
class Reply:
    """A response, whole.

    Attributes:
        status: of it.
        content: its body.
        location: its ``Location``, or ``""``.
        nonce: its ``Replay-Nonce``, or ``""``.
        retry_after: seconds of its ``Retry-After``; None without one.
        alternates: URLs of other chains (RFC 8555 7.4.2).
        date: its ``Date``, in seconds since 1970; None without one.
    """

    status: int
    content: bytes
    location: str = ""
    nonce: str = field(default="", repr=False)
    retry_after: float | None = None
    alternates: tuple[str, ...] = ()
    date: float | None = None


def reply_of(status: int, headers: Headers, content: bytes, now: float) -> Reply:
    """Read a response.

    Args:
        status: its status.
        headers: its fields.
        content: its body.
        now: seconds since 1970.
    """
    return Reply(
        status,
        content,
        location=_field(headers, "Location"),
        nonce=_nonce(headers),
        retry_after=seconds_of(_field(headers, "Retry-After"), now),
        alternates=_alternates(headers),
        date=_moment(_field(headers, "Date")),
    )


def seconds_of(retry_after: str, now: float) -> float | None:
    """The wait that a ``Retry-After`` asks for (RFC 9110 10.2.3); None for none or nonsense."""
    if retry_after.isascii() and retry_after.isdigit():
        return min(float(retry_after[:12]), MOST_RETRY_AFTER)
    moment = _moment(retry_after)
    return None if moment is None else min(max(0.0, moment - now), MOST_RETRY_AFTER)


def _moment(date: str) -> float | None:
    """RFC 9110 5.6.7."""
    try:
        moment = parsedate_to_datetime(date) if date else None
        if moment is None:
            return None
        # It is in GMT, whether it says so or not.
        return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()
    except (ValueError, OverflowError):
        return None


def _field(headers: Headers, name: str) -> str:
    return (_values(headers, name) or [""])[-1][:2048]


def _values(headers: Headers, name: str) -> list[str]:
    """Every value of a field; what is not UTF-8 in it is replaced."""
    values = headers.getRawHeaders(name.encode("ascii")) or []
    return [value.decode("utf-8", "replace") for value in values]


def _nonce(headers: Headers) -> str:
    """``Replay-Nonce``; one that is not base64url is none (RFC 8555 6.5.1)."""
    nonce = _field(headers, "Replay-Nonce")
    return nonce if _NONCE.fullmatch(nonce) else ""


def _alternates(headers: Headers) -> tuple[str, ...]:
    """Of ``Link`` fields those of the relation ``alternate`` (RFC 8288)."""
    values = _values(headers, "Link")[:_LINK_FIELDS]
    links = [link for value in values for link in _LINK.findall(value)]
    return tuple(target for target, parameters in links if _IS_ALTERNATE.search(parameters))
