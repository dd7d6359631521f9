"""When certificates are renewed, and the waits after failures."""

from __future__ import annotations

from math import inf, nan

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from revproxy.policy.renewal import (
    CHECK_EVERY,
    DAY,
    LATEST_SHARE,
    MOST_RETRY_AFTER,
    Failure,
    backstop,
    failure_of,
    lateness,
    moment_in_window,
    next_attempt,
    next_check,
    renewal_due,
    renewal_moment,
)

FUZZ = settings(deadline=None, derandomize=True, max_examples=300)
NOW = 1_800_000_000.0
CHANCE = st.floats(0, 1, exclude_max=True)
LIVES = st.floats(1, 400 * DAY)
MOMENTS = st.floats(0, 4e9)
COUNTS = st.integers(1, 1000)
SECONDS = st.none() | st.floats(0, 1e9)
VALIDITIES = st.none() | st.tuples(MOMENTS, LIVES).map(lambda both: (both[0], sum(both)))


def wait(failure: Failure, failures: int, **more: object) -> float:
    """The wait after a failure, at the middle of chance."""
    return next_attempt(failure, failures, NOW, 0.5, **more) - NOW  # type: ignore[arg-type]


class MomentTests(SynchronousTestCase):
    """The first try."""

    def test_backstop(self) -> None:
        """A third of the life is left, and half of a life below ten days."""
        table = {90 * DAY: 30 * DAY, 45 * DAY: 15 * DAY, 10 * DAY: 10 * DAY / 3}
        table |= {9 * DAY: 4.5 * DAY, 160 * 3600.0: 80 * 3600.0, 12.0: 6.0}
        for life, left in table.items():
            self.assertAlmostEqual(NOW - backstop(NOW - life, NOW), left, msg=life)

    def test_due(self) -> None:
        """It is due from the moment on and not before; the CA's moment goes before our own."""
        self.assertFalse(renewal_due(NOW, NOW + 12, NOW + 5.9))
        self.assertTrue(renewal_due(NOW, NOW + 12, NOW + 6))
        self.assertTrue(renewal_due(NOW, NOW + 12, NOW + 1, suggested=NOW + 1))
        self.assertFalse(renewal_due(NOW, NOW + 12, NOW + 7, suggested=NOW + 8))

    def test_suggested_too_late(self) -> None:
        """A suggestion after the end of the certificate does not keep it from being renewed."""
        moment = renewal_moment(NOW, NOW + 100, suggested=NOW + 1000)
        self.assertAlmostEqual(moment, NOW + 100 * (1 - LATEST_SHARE))

    @FUZZ
    @given(MOMENTS, LIVES, st.none() | st.floats(0, 1e10))
    def test_before_the_warning(self, since: float, life: float, suggested: float | None) -> None:
        """Whatever is suggested, a renewal is due before anybody is warned of it."""
        moment = renewal_moment(since, since + life, suggested)
        self.assertLess(moment, since + life)
        self.assertIsNone(lateness(since, since + life, moment))

    @FUZZ
    @given(MOMENTS, LIVES, MOMENTS, st.floats(0, 1e9))
    def test_due_for_good(self, since: float, life: float, now: float, later: float) -> None:
        """What is due stays due."""
        due = renewal_due(since, since + life, now)
        self.assertTrue(renewal_due(since, since + life, now + later) or not due)


class WindowTests(SynchronousTestCase):
    """The CA's window."""

    def test_past(self) -> None:
        """A window that is over means now."""
        self.assertEqual(moment_in_window(NOW - 20, NOW - 10, NOW, 0.5), NOW)

    def test_spread(self) -> None:
        """Chance spreads the moments over the window."""
        chosen = [moment_in_window(NOW, NOW + 100, NOW, chance) for chance in (0, 0.25, 0.75)]
        self.assertEqual(chosen, [NOW, NOW + 25, NOW + 75])

    def test_none(self) -> None:
        """A window without a length, turned round or without numbers counts as not answered."""
        for start, end in ((NOW, NOW), (NOW + 1, NOW), (nan, NOW), (NOW, inf), (-inf, NOW)):
            self.assertIsNone(moment_in_window(start, end, NOW, 0.5))

    @FUZZ
    @given(MOMENTS, st.floats(0.001, 1e7), MOMENTS, CHANCE)
    def test_bounds(self, start: float, length: float, now: float, chance: float) -> None:
        """A moment is never in the past, and never after the window unless that is past."""
        moment = moment_in_window(start, start + length, now, chance)
        if moment is not None:
            self.assertGreaterEqual(moment, max(now, start))
            self.assertLessEqual(moment, max(now, start + length))


class CheckTests(SynchronousTestCase):
    """The next look at the CA's suggestion."""

    def test_table(self) -> None:
        """Four times a day, or what the CA asks for between a minute and a day."""
        table = {None: CHECK_EVERY, 0.0: 60.0, -5.0: 60.0, 3600.0: 3600.0, 1e9: DAY, inf: DAY}
        for asked, seconds in table.items():
            self.assertEqual(next_check(NOW, asked) - NOW, seconds, asked)
        self.assertLessEqual(CHECK_EVERY, DAY / 2)


class FailureTests(SynchronousTestCase):
    """What the CA's errors mean."""

    def test_codes(self) -> None:
        """Each code has its meaning; an unknown one and no answer are temporary."""
        table = {
            "": Failure.TEMPORARY,
            "serverInternal": Failure.TEMPORARY,
            "connection": Failure.TEMPORARY,
            "madeUp": Failure.TEMPORARY,
            "rateLimited": Failure.RATE_LIMITED,
            "rejectedIdentifier": Failure.REFUSED,
            "caa": Failure.REFUSED,
            "unsupportedIdentifier": Failure.REFUSED,
            "userActionRequired": Failure.ACTION_REQUIRED,
            "accountDoesNotExist": Failure.ACCOUNT_MISSING,
        }
        for code, failure in table.items():
            self.assertIs(failure_of(code), failure, code)

    def test_loud(self) -> None:
        """An operator is called for what no waiting mends, and for nothing else."""
        loud = [failure for failure in Failure if failure.loud]
        self.assertEqual(loud, [Failure.REFUSED, Failure.ACTION_REQUIRED])


class AttemptTests(SynchronousTestCase):
    """The wait after a failure."""

    def test_ladder(self) -> None:
        """1 minute, 10, 100, then a day each."""
        waits = [wait(Failure.TEMPORARY, count) for count in (1, 2, 3, 4, 5, 1000)]
        self.assertEqual(waits, [60, 600, 6000, DAY, DAY, DAY])
        self.assertEqual(wait(Failure.RATE_LIMITED, 1), 60)

    def test_refused(self) -> None:
        """What no waiting mends is tried once a day from the first failure on."""
        for failure in (Failure.REFUSED, Failure.ACTION_REQUIRED):
            self.assertEqual(wait(failure, 1), DAY)

    def test_account_missing(self) -> None:
        """A missing account is made at once, but a second time in a row only after a wait."""
        self.assertEqual(wait(Failure.ACCOUNT_MISSING, 3), 0)
        self.assertEqual(wait(Failure.ACCOUNT_MISSING, 3, repeated=True), 6000)
        self.assertGreaterEqual(wait(Failure.ACCOUNT_MISSING, 1, retry_after=90.0), 90)

    def test_retry_after(self) -> None:
        """What the CA asks for wins over the ladder, upwards and downwards."""
        self.assertAlmostEqual(wait(Failure.RATE_LIMITED, 1, retry_after=34 * 3600.0) / 3600, 35.7)
        self.assertAlmostEqual(wait(Failure.TEMPORARY, 4, retry_after=120.0), 126)
        self.assertAlmostEqual(wait(Failure.TEMPORARY, 4, retry_after=0.0), 63)
        self.assertLessEqual(wait(Failure.TEMPORARY, 1, retry_after=inf), MOST_RETRY_AFTER * 1.1)

    def test_short_life(self) -> None:
        """A certificate of 12 seconds is tried again within a quarter of what is left of it."""
        validity = (NOW - 6, NOW + 6)
        self.assertEqual(wait(Failure.TEMPORARY, 1, validity=validity), 1.5)
        self.assertEqual(wait(Failure.TEMPORARY, 9, validity=validity), 1.5)
        self.assertEqual(wait(Failure.TEMPORARY, 1, validity=(NOW - 11, NOW + 1)), 1)
        self.assertEqual(wait(Failure.TEMPORARY, 9, validity=(NOW - 12, NOW)), DAY)
        self.assertGreaterEqual(wait(Failure.TEMPORARY, 1, validity=validity, retry_after=5.0), 5)

    def test_six_days(self) -> None:
        """One of 160 hours is tried more often than daily near its end, but not every minute."""
        hours = 3600.0
        late = wait(Failure.TEMPORARY, 9, validity=(NOW - 150 * hours, NOW + 10 * hours))
        self.assertAlmostEqual(late, 160 / 24 * hours)
        self.assertEqual(wait(Failure.TEMPORARY, 9, validity=(NOW - 89 * DAY, NOW + DAY)), DAY)

    @FUZZ
    @given(st.sampled_from(Failure), COUNTS, COUNTS, CHANCE, SECONDS, VALIDITIES, st.booleans())
    def test_more_failures_wait_longer(
        self,
        failure: Failure,
        one: int,
        other: int,
        chance: float,
        asked: float | None,
        validity: tuple[float, float] | None,
        repeated: bool,
    ) -> None:
        """With everything else the same, more failures never mean a shorter wait."""
        fewer, more = (
            next_attempt(
                failure,
                count,
                NOW,
                chance,
                retry_after=asked,
                validity=validity,
                repeated=repeated,
            )
            for count in sorted((one, other))
        )
        self.assertLessEqual(fewer, more)

    @FUZZ
    @given(st.sampled_from(Failure), COUNTS, CHANCE, SECONDS, VALIDITIES)
    def test_bounds(
        self,
        failure: Failure,
        failures: int,
        chance: float,
        asked: float | None,
        validity: tuple[float, float] | None,
    ) -> None:
        """A wait is at least a second, at least what the CA asks for, and ends."""
        moment = next_attempt(
            failure, failures, NOW, chance, retry_after=asked, validity=validity, repeated=True
        )
        self.assertGreaterEqual(moment - NOW, max(1, min(asked or 0, MOST_RETRY_AFTER)))
        self.assertLessEqual(moment - NOW, 1.1 * (DAY if asked is None else MOST_RETRY_AFTER))
        if validity and asked is None and validity[1] > NOW:
            left, life = validity[1] - NOW, validity[1] - validity[0]
            self.assertLessEqual(moment - NOW, max(left / 4, life / 24, 1) + 1e-6)


class LatenessTests(SynchronousTestCase):
    """How bad it is."""

    def test_table(self) -> None:
        """A quarter of the life left is a warning, an eighth or nothing an error."""
        table = {-5.0: None, 74.9: None, 75.0: "warn", 87.4: "warn", 87.5: "error", 200.0: "error"}
        for age, expected in table.items():
            self.assertEqual(lateness(NOW, NOW + 100, NOW + age), expected, age)

    @FUZZ
    @given(MOMENTS, LIVES, MOMENTS, st.floats(0, 1e9))
    def test_gets_worse(self, since: float, life: float, now: float, later: float) -> None:
        """It never gets better by waiting."""
        order = [None, "warn", "error"]
        before, after = (lateness(since, since + life, at) for at in (now, now + later))
        self.assertLessEqual(order.index(before), order.index(after))
