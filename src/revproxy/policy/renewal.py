"""When certificates are renewed: the first try, the next look, and the wait after a failure.

Owns the moments. Refuses to know clocks, chance (both are numbers passed in), certificates, and
how a CA is asked. All times are in seconds since 1970, all durations in seconds.
"""

from __future__ import annotations

from enum import Enum
from math import inf, isfinite
from typing import Literal

MINUTE = 60.0
DAY = 86400.0

SHORT_LIFE = 10 * DAY
"""A certificate that is valid for less than this is renewed at half its life."""

LATEST_SHARE = 0.3
"""The share of the life that is left at the latest when a renewal begins, whatever moment the CA
has suggested: a while before :func:`lateness` warns."""

LADDER = (MINUTE, 10 * MINUTE, 100 * MINUTE, DAY)
"""The waits after the first failure in a row, the second, the third, and every further one."""

JITTER = 0.1
"""The part of a wait by which it is longer or shorter, so that machines which fail together do
not try again together."""

MOST_RETRY_AFTER = 7 * DAY
"""The longest wait that a CA can impose; rate limits count weeks."""

CHECK_EVERY = 6 * 3600.0
"""Between two looks at the CA's suggestion, when it does not say."""

LEAST_CHECK, MOST_CHECK = MINUTE, DAY
"""What the CA may say between two looks."""

LEAST_LIFE = 3600.0
"""For so long a new certificate is used at least."""

LEAST_PAUSE = 3.0
"""However short its life is, so long a new certificate is used at least."""

MOST_WAIT = MOST_RETRY_AFTER * (1 + JITTER)
"""The longest that an attempt is ever put off."""

LEAST_WAIT = 1.0
"""The shortest wait after a failure that is repeated."""


class Failure(Enum):
    """What a failure means for the next attempt."""

    TEMPORARY = "the network or the CA is in trouble, or a validation failed"
    RATE_LIMITED = "the CA has been asked too often"
    REFUSED = "the CA will not issue for a name"
    ACTION_REQUIRED = "somebody has to do something at the CA"
    ACCOUNT_MISSING = "the CA does not know the account"

    @property
    def loud(self) -> bool:
        """Whether an operator has to see to it, as no later attempt will do better by itself."""
        return self in {Failure.REFUSED, Failure.ACTION_REQUIRED}


_BY_CODE = {
    "rateLimited": Failure.RATE_LIMITED,
    "rejectedIdentifier": Failure.REFUSED,
    "unsupportedIdentifier": Failure.REFUSED,
    "invalidProfile": Failure.REFUSED,
    "caa": Failure.REFUSED,
    "blocked": Failure.REFUSED,
    "userActionRequired": Failure.ACTION_REQUIRED,
    "externalAccountRequired": Failure.ACTION_REQUIRED,
    "accountDoesNotExist": Failure.ACCOUNT_MISSING,
}


def failure_of(code: str) -> Failure:
    """The meaning of an ACME error (RFC 8555 6.7).

    Args:
        code: the error type without ``urn:ietf:params:acme:error:``; ``""`` where the CA could
            not be asked or has not answered in ACME.
    """
    return _BY_CODE.get(code, Failure.TEMPORARY)


def backstop(not_before: float, not_after: float) -> float:
    """When a certificate is renewed that the CA suggests no moment for.

    With a third of its life left, of a life below :data:`SHORT_LIFE` with half of it.
    """
    life = not_after - not_before
    return not_after - life / (2 if life < SHORT_LIFE else 3)


def renewal_moment(not_before: float, not_after: float, suggested: float | None = None) -> float:
    """When a certificate is renewed.

    Args:
        not_before: since when it is valid.
        not_after: until when.
        suggested: the moment chosen in the CA's window (:func:`moment_in_window`), which may
            lie before :func:`backstop` or somewhat after, but never with less than
            :data:`LATEST_SHARE` of the life left.
    """
    if suggested is None:
        return backstop(not_before, not_after)
    return min(suggested, not_after - LATEST_SHARE * (not_after - not_before))


def soonest(not_before: float, not_after: float, issued_at: float) -> float:
    """Before when no certificate is replaced, whatever makes it look due.

    An authority whose clock differs much from ours issues what seems to have run out already, and
    would be asked again and again: :data:`LEAST_LIFE`, or a quarter of a short life, lies between.
    """
    return issued_at + max(LEAST_PAUSE, min((not_after - not_before) / 4, LEAST_LIFE))


def believed(moment: float | None, now: float, most: float) -> float:
    """A moment that was noted earlier; 0 where there is none, or none that can be right.

    Args:
        moment: what was noted, perhaps while the clock was far ahead.
        now: the present.
        most: how far ahead of the present such a moment ever lies.
    """
    return 0.0 if moment is None or moment > now + most else moment


def renewal_due(
    not_before: float, not_after: float, now: float, suggested: float | None = None
) -> bool:
    """Whether :func:`renewal_moment` has come."""
    return now >= renewal_moment(not_before, not_after, suggested)


def moment_in_window(start: float, end: float, now: float, random: float) -> float | None:
    """A moment in the window in which the CA suggests to renew (RFC 9773 4.2).

    To be chosen once for a window and kept: who chooses again and again tends to its beginning.

    Args:
        start: the window's beginning.
        end: its end.
        now: the present; a moment that has passed becomes ``now``.
        random: a number from 0 to 1, evenly distributed.

    Returns:
        the moment; ``None`` for a window that is none and counts as not answered.
    """
    if not (isfinite(start) and isfinite(end)) or end <= start:
        return None
    return max(now, start + (end - start) * random)


def next_check(now: float, retry_after: float | None = None) -> float:
    """When the CA's suggestion is to be looked at again (RFC 9773 4.3).

    Args:
        now: when it was looked at, with or without success.
        retry_after: the wait the CA has asked for, held within a minute and a day; ``None``
            when it has not, which gives :data:`CHECK_EVERY`.
    """
    if retry_after is None:
        return now + CHECK_EVERY
    return now + min(max(retry_after, LEAST_CHECK), MOST_CHECK)


def next_attempt(
    failure: Failure,
    failures: int,
    now: float,
    random: float,
    *,
    retry_after: float | None = None,
    validity: tuple[float, float] | None = None,
    repeated: bool = False,
) -> float:
    """When to try again after a failure.

    The waits grow along :data:`LADDER`; a failure that no waiting mends waits for a day at once.
    What the CA has asked for wins. A certificate's own life shortens the waits while it lasts:
    to a quarter of what is left of it, or a twenty-fourth of the whole (a few tries an hour would
    meet the CA's limits, and 90 days are never in such a hurry); once it has ended, there is no
    hurry left that outweighs the ladder.

    Args:
        failure: what it means.
        failures: how many there have been in a row, this one included; kept over restarts.
        now: the present.
        random: a number from 0 to 1, evenly distributed.
        retry_after: the wait the CA has asked for (RFC 9110 10.2.3), at most
            :data:`MOST_RETRY_AFTER`. The attempt is never made sooner.
        validity: since when and until when the present certificate is valid; ``None`` where
            there is none yet.
        repeated: whether the failure before was of the same kind. An account that is missing
            is made again at once, but not twice in a row.
    """
    if failure is Failure.ACCOUNT_MISSING and not repeated and retry_after is None:
        return now
    asked = None if retry_after is None else min(max(retry_after, 0.0), MOST_RETRY_AFTER)
    if asked is not None:
        wait = max(asked, MINUTE) * (1 + JITTER * random)
    elif failure.loud:
        wait = DAY * (1 + JITTER * (2 * random - 1))
    else:
        step = LADDER[min(max(failures, 1), len(LADDER)) - 1]
        wait = step * (1 + JITTER * (2 * random - 1))
    if validity is not None:
        wait = min(wait, _most_wait(validity, now))
    return now + max(wait, asked or 0.0, LEAST_WAIT)


def _most_wait(validity: tuple[float, float], now: float) -> float:
    """The longest sensible wait of one whose certificate is running out."""
    not_before, not_after = validity
    left = not_after - now
    if left <= 0:
        return inf
    return max(left / 4, (not_after - not_before) / 24)


def lateness(not_before: float, not_after: float, now: float) -> Literal["warn", "error"] | None:
    """How bad it is that a certificate has not been renewed by ``now``.

    Returns:
        ``"warn"`` from a quarter of its life left, ``"error"`` from an eighth and when it has
        ended, else ``None``.
    """
    life, left = not_after - not_before, not_after - now
    if left <= life / 8 or left <= 0:
        return "error"
    return "warn" if left <= life / 4 else None
