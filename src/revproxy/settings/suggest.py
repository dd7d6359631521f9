"""The nearest right word for a wrong one, and how a wrong value is shown in a message.

Owns the wording of hints. Refuses to know which words are right: it is told.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from difflib import get_close_matches

NEAR_ENOUGH = 0.7
"""The similarity (difflib's ratio) from which a word is suggested: one or two slips."""

LONGEST_SHOWN = 60
"""Characters of a wrong value that a message repeats."""

LONGEST_SHOWN_BITS = 128


def nearest(word: str, candidates: Iterable[str]) -> str | None:
    """The candidate that ``word`` was most likely meant to be, or None."""
    if len(word) > LONGEST_SHOWN:
        return None
    found = get_close_matches(word.lower(), list(candidates), n=1, cutoff=NEAR_ENOUGH)
    return found[0] if found else None


def did_you_mean(word: str, candidates: Iterable[str]) -> str:
    """``, did you mean "x"?`` for the end of a sentence, or nothing."""
    near = nearest(word, candidates)
    return f", did you mean {shown(near)}?" if near else ""


def shown(value: object) -> str:
    """A wrong value as TOML would write it, on one line, escaped and of bounded length."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int):
        bits = value.bit_length()
        return str(value) if bits <= LONGEST_SHOWN_BITS else f"a number of {bits} bits"
    if isinstance(value, str) and len(value) > LONGEST_SHOWN:
        return f"{json.dumps(value[:LONGEST_SHOWN])}..."
    return json.dumps(value) if isinstance(value, str) else str(value)
