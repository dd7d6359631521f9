"""What becomes of an exchange: retried, discarded, too slow."""

from __future__ import annotations

from itertools import product

from twisted.trial.unittest import SynchronousTestCase

from revproxy.policy.outcome import DISCARDED_BODY, can_discard, may_retry, too_slow


class RetryTests(SynchronousTestCase):
    def test_all_conditions(self) -> None:
        """Only one of all combinations of what happened is retried, by idempotent methods."""
        safe = {"reused": True, "response_begun": False, "body_sent": False, "retried": False}
        for method in (b"GET", b"HEAD", b"OPTIONS", b"PUT", b"DELETE"):
            for flags in product((True, False), repeat=4):
                happened = dict(zip(safe, flags, strict=True))
                self.assertEqual(may_retry(method, **happened), happened == safe, happened)

    def test_other_methods(self) -> None:
        """What may act twice, and what nobody knows, is never retried."""
        for method in (b"POST", b"PATCH", b"CONNECT", b"TRACE", b"get", b"PROPFIND", b""):
            self.assertFalse(
                may_retry(
                    method, reused=True, response_begun=False, body_sent=False, retried=False
                ),
                method,
            )


class SlowBodyTests(SynchronousTestCase):
    def test_grace(self) -> None:
        """In its grace a body may come at any speed, and not at all."""
        self.assertFalse(too_slow(0, 0.0, 240, 10.0))
        self.assertFalse(too_slow(0, 10.0, 240, 10.0))
        self.assertTrue(too_slow(0, 10.1, 240, 10.0))

    def test_rate(self) -> None:
        """After it the average since its end must reach the rate, exactly it is enough."""
        for seconds in (1, 10, 1000):
            self.assertFalse(too_slow(240 * seconds, 10.0 + seconds, 240, 10.0))
            self.assertTrue(too_slow(240 * seconds - 1, 10.0 + seconds, 240, 10.0))

    def test_off(self) -> None:
        """A rate of 0 is never missed."""
        self.assertFalse(too_slow(0, 1e9, 0, 10.0))

    def test_progressing_upload(self) -> None:
        """What comes at the rate from the start is never too slow."""
        self.assertFalse(any(too_slow(240 * now, now, 240, 10.0) for now in range(10_000)))


class DiscardTests(SynchronousTestCase):
    def test_discard(self) -> None:
        """A little of a body that surely comes is thrown away; else the connection ends."""
        table = (
            (0, False, True),
            (1, False, True),
            (DISCARDED_BODY, False, True),
            (DISCARDED_BODY + 1, False, False),
            (-1, False, False),
            (0, True, False),
            (1, True, False),
            (-1, True, False),
        )
        for rest, expect, expected in table:
            self.assertEqual(can_discard(rest, expect_continue=expect), expected, (rest, expect))
