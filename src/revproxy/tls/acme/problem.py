"""What an authority says when it refuses, and what is said when it cannot be asked.

Owns problem documents (RFC 9457, RFC 8555 6.7), whatever came in their place, and the exceptions
that carry them. Refuses to know what is done about one.

What an authority says is shown to people as it is, but for what a terminal or a log would act on,
and for what is beyond all measure.
"""

from __future__ import annotations

import json
from collections.abc import Mapping

from attrs import frozen

PREFIX = "urn:ietf:params:acme:error:"

MAX_DETAIL = 1024
"""Characters of what an authority says that are kept."""

MOST_SUBPROBLEMS = 100

MAX_TYPE = 200


@frozen
class Problem:
    """One refusal.

    Attributes:
        type: a URI, or ``""``.
        detail: in the authority's words.
        status: of the HTTP response; 0 where it is not known.
        identifier: the name that it is about; ``""`` for none.
        subproblems: one for each name, where several are refused (RFC 8555 6.7.1).
        retry_after: seconds to wait; None where none were given.
    """

    type: str
    detail: str
    status: int = 0
    identifier: str = ""
    subproblems: tuple[Problem, ...] = ()
    retry_after: float | None = None

    @property
    def code(self) -> str:
        """The type's last part where it is one of ACME's, such as ``rateLimited``; else ``""``."""
        return self.type.removeprefix(PREFIX) if self.type.startswith(PREFIX) else ""

    @property
    def passes(self) -> bool:
        """Whether it says nothing about what was asked: the authority is busy, or was asked too
        often, and the same may be asked again later.
        """
        return self.status >= 500 or self.status == 429 or self.code == "rateLimited"

    @property
    def names(self) -> frozenset[str]:
        """The names that it is about."""
        found = {self.identifier, *(one.identifier for one in self.subproblems)}
        return frozenset(found - {""})

    def __str__(self) -> str:
        what = ", ".join(filter(None, [self.code, f"HTTP {self.status}" if self.status else ""]))
        told = [f"{self.detail or 'no reason given'}{f' ({what})' if what else ''}"]
        told += [f"{one.identifier}: {one.detail}" for one in self.subproblems[:10]]
        return "; ".join(told)


class AcmeProblem(Exception):
    """An authority has refused something.

    Attributes:
        problem: why.
    """

    def __init__(self, problem: Problem) -> None:
        super().__init__(str(problem))
        self.problem = problem


class CannotReach(Exception):
    """An authority cannot be asked, or says what makes no sense.

    Attributes:
        url: what was asked.
    """

    def __init__(self, url: str, reason: str) -> None:
        super().__init__(f"{harmless(url)}: {harmless(reason)}")
        self.url = url


def read_problem(content: bytes, status: int, retry_after: float | None = None) -> Problem:
    """The problem document that ``content`` is, or what can be told of anything else.

    Args:
        content: a response's body.
        status: its status.
        retry_after: seconds of its ``Retry-After``.
    """
    try:
        document = json.loads(content)
    except (ValueError, RecursionError):
        document = None
    if not isinstance(document, Mapping):
        words = " ".join(content[:4096].decode("utf-8", "replace").split())
        return Problem("", harmless(words)[:200], status, retry_after=retry_after)
    return problem_of(document, status, retry_after)


def problem_of(
    document: Mapping[str, object], status: int = 0, retry_after: float | None = None
) -> Problem:
    """The problem in a decoded document; what is not as it should be is left out."""
    nested = document.get("subproblems")
    several = nested if isinstance(nested, list) else []
    given = document.get("status")
    return Problem(
        type=_text(document.get("type"))[:MAX_TYPE],
        detail=_text(document.get("detail")),
        # A bool is an int, and no status.
        status=status or (given if type(given) is int and 0 <= given < 1000 else 0),
        identifier=_identifier(document.get("identifier")),
        subproblems=tuple(
            Problem(
                _text(one.get("type"))[:MAX_TYPE],
                _text(one.get("detail")),
                identifier=_identifier(one.get("identifier")),
            )
            for one in several[:MOST_SUBPROBLEMS]
            if isinstance(one, Mapping)
        ),
        retry_after=retry_after,
    )


def harmless(text: str) -> str:
    """``text`` without control characters, and of a length that people read."""
    return "".join(
        c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in text[:MAX_DETAIL]
    )


def _text(value: object) -> str:
    return harmless(value) if isinstance(value, str) else ""


def _identifier(value: object) -> str:
    name = value.get("value") if isinstance(value, Mapping) else None
    return _text(name)[:260].lower()
