"""What an authority's documents say: directory, orders, authorizations, challenges, windows.

Owns their reading (RFC 8555 7.1, RFC 9773 4.2). A status or a kind of challenge that is not known
is passed on; a document that lacks what it must have is refused. Refuses to know how they came.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime
from typing import TypeVar

from attrs import frozen

from revproxy.tls.acme.problem import Problem, harmless, problem_of

T = TypeVar("T")

MOST = 200
"""Of what a document lists."""

MAX_TEXT = 2048

LATEST = 9e10
"""The last moment that is told of, in seconds since 1970; a later one is as far away."""

Document = Mapping[str, object]


class BadDocument(ValueError):
    """A document is not what it should be; says what is wrong with it."""


@frozen
class Directory:
    """Where things are asked for (RFC 8555 7.1.1).

    Attributes:
        renewal_info: ``""`` where nothing is suggested (RFC 9773).
        profiles: the names of those that can be ordered.
        terms: the URL of the terms of service; ``""`` for none. For people, as ``website``.
        eab_required: accounts have to be bound to others at the authority.
    """

    new_nonce: str
    new_account: str
    new_order: str
    revoke: str
    key_change: str
    renewal_info: str = ""
    profiles: frozenset[str] = frozenset()
    terms: str = ""
    website: str = ""
    eab_required: bool = False


@frozen
class Challenge:
    """One way to show that a name leads here (RFC 8555 7.1.5)."""

    type: str
    url: str
    token: str
    status: str
    error: Problem | None = None


@frozen
class Authorization:
    """Whether a name has been shown to lead here (RFC 8555 7.1.4)."""

    url: str
    status: str
    name: str
    challenges: tuple[Challenge, ...]


@frozen
class Order:
    """A certificate that is being issued (RFC 8555 7.1.3); ``certificate`` is its URL."""

    url: str
    status: str
    identifiers: tuple[str, ...]
    authorizations: tuple[str, ...]
    finalize: str
    certificate: str = ""
    error: Problem | None = None


@frozen
class RenewalWindow:
    """When an authority suggests to renew, in seconds since 1970 (RFC 9773 4.2).

    Attributes:
        retry_after: seconds until it is to be asked again; None where it does not say.
    """

    start: float
    end: float
    retry_after: float | None = None


def directory_of(document: Document) -> Directory:
    """Read a directory.

    Raises:
        BadDocument: it is none.
    """
    meta = document.get("meta")
    meta = meta if isinstance(meta, Mapping) else {}
    profiles = meta.get("profiles")
    names = list(profiles)[:MOST] if isinstance(profiles, Mapping) else []
    return Directory(
        new_nonce=_text(document, "newNonce"),
        new_account=_text(document, "newAccount"),
        new_order=_text(document, "newOrder"),
        revoke=_text(document, "revokeCert"),
        key_change=_text(document, "keyChange"),
        renewal_info=_text(document, "renewalInfo", ""),
        profiles=frozenset(str(name) for name in names),
        terms=_shown(meta.get("termsOfService")),
        website=_shown(meta.get("website")),
        eab_required=meta.get("externalAccountRequired") is True,
    )


def order_of(url: str, document: Document) -> Order:
    """Read an order.

    Raises:
        BadDocument: it is none.
    """
    return Order(
        url=url,
        status=_text(document, "status"),
        identifiers=_list(document, "identifiers", _identifier),
        authorizations=_list(document, "authorizations", _plain),
        finalize=_text(document, "finalize"),
        certificate=_text(document, "certificate", ""),
        error=_error(document),
    )


def authorization_of(url: str, document: Document) -> Authorization:
    """Read an authorization.

    Raises:
        BadDocument: it is none.
    """
    return Authorization(
        url=url,
        status=_text(document, "status"),
        name=_identifier(document.get("identifier")),
        challenges=_list(document, "challenges", _challenge, 0),  # none where it was given up
    )


def window_of(document: Document, retry_after: float | None) -> RenewalWindow:
    """Read a suggestion.

    Raises:
        BadDocument: it is none, or its window ends before it begins, or begins before 1970.
    """
    window = document.get("suggestedWindow")
    if not isinstance(window, Mapping):
        raise BadDocument("suggestedWindow is missing")
    start, end = (_moment(window.get(key)) for key in ("start", "end"))
    if end <= start:
        raise BadDocument("the suggested window ends before it begins")
    if start < 0:
        raise BadDocument("the suggested window begins before 1970")
    return RenewalWindow(min(start, LATEST), min(end, LATEST + 1), retry_after)


def _challenge(value: object) -> Challenge:
    if not isinstance(value, Mapping):
        raise BadDocument("a challenge is no object")
    return Challenge(
        type=_text(value, "type"),
        url=_text(value, "url"),
        token=_text(value, "token", ""),  # kinds that are not known may have none
        status=_text(value, "status"),
        error=_error(value),
    )


def _error(document: Document) -> Problem | None:
    error = document.get("error")
    return problem_of(error) if isinstance(error, Mapping) else None


def _identifier(value: object) -> str:
    if not isinstance(value, Mapping):
        raise BadDocument("an identifier is no object")
    return _text(value, "value").lower()


def _plain(value: object) -> str:
    if not isinstance(value, str) or len(value) > MAX_TEXT:
        raise BadDocument("something listed is no text of a sensible length")
    return value


def _list(
    document: Document, key: str, read: Callable[[object], T], least: int = 1
) -> tuple[T, ...]:
    value = document.get(key)
    if not isinstance(value, list) or not least <= len(value) <= MOST:
        raise BadDocument(f"{key} is no list of {least} to {MOST}")
    return tuple(read(one) for one in value)


def _text(document: Document, key: str, default: str | None = None) -> str:
    value = document.get(key, default)
    if not isinstance(value, str) or len(value) > MAX_TEXT:
        raise BadDocument(f"{key} is no text of at most {MAX_TEXT} characters")
    return value


def _shown(value: object) -> str:
    """What people are shown and nothing depends on."""
    return harmless(value) if isinstance(value, str) else ""


def _moment(value: object) -> float:
    """RFC 3339."""
    try:
        moment = datetime.fromisoformat(value if isinstance(value, str) else "")
    except ValueError:
        raise BadDocument("the suggested window has no date") from None
    if moment.tzinfo is None:
        raise BadDocument("the suggested window has a date without a time zone")
    return moment.timestamp()
