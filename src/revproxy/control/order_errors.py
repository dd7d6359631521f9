"""What a failed order says: which names it is about, by which code, and when to try again.

Owns the reading of the exceptions that an order ends with. Refuses to know what is done then.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from revproxy.tls.acme.issue import NotIssuedError
from revproxy.tls.acme.problem import AcmeProblem, CannotReach

EXPECTED = (AcmeProblem, CannotReach, NotIssuedError, OSError, ValueError)
"""What an attempt may fail with without anything being wrong with the program."""

VALIDATION_CODES = frozenset({"connection", "dns", "incorrectResponse", "tls", "unauthorized"})
"""What an authority says when it could not validate a name; another challenge may do."""

_WORD = re.compile(r"[a-z0-9_-]+(?:\.[a-z0-9_-]+)+")


def names_of(error: Exception, wanted: Sequence[str]) -> frozenset[str]:
    """Those of the wanted names that an error is about.

    Where an authority does not say it in so many fields, it does in its words.
    """
    if isinstance(error, NotIssuedError):
        return error.names
    if not isinstance(error, AcmeProblem):
        return frozenset()
    words = set(_WORD.findall(error.problem.detail.lower()))
    return error.problem.names or frozenset(words.intersection(wanted))


def code_of(error: Exception) -> str:
    """The code of the authority's error (RFC 8555 6.7); ``""`` where there is none."""
    if isinstance(error, NotIssuedError):
        return error.code
    return error.problem.code if isinstance(error, AcmeProblem) else ""


def passes(error: Exception) -> bool:
    """Whether the authority has only asked to come again later."""
    return isinstance(error, AcmeProblem) and (
        error.problem.passes or error.problem.retry_after is not None
    )


def retry_after_of(error: Exception) -> float | None:
    """The seconds that the authority has asked to wait; None where it has not."""
    return error.problem.retry_after if isinstance(error, AcmeProblem) else None
