"""Counting downstream connections."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from revproxy.policy.connection_limit import Admission, ConnectionLimit

FUZZ = settings(deadline=None, derandomize=True, max_examples=200)
SERVED, WAITING, REFUSED = Admission.SERVED, Admission.WAITING, Admission.REFUSED


def limit(most: int = 0, most_per_key: int = 0) -> ConnectionLimit[str]:
    made: ConnectionLimit[str] = ConnectionLimit()
    made.configure(most, most_per_key)
    return made


def enter(limited: ConnectionLimit[str], key: int, *names: str) -> list[Admission]:
    return [limited.enter(key, name) for name in names]


class ConnectionLimitTests(SynchronousTestCase):
    def test_per_key(self) -> None:
        """A key is served as often as the limit says, and may wait as often again."""
        limited = limit(most_per_key=2)
        found = enter(limited, 1, *"abcde")
        self.assertEqual(found, [SERVED, SERVED, WAITING, WAITING, REFUSED])
        self.assertEqual(limited.total, 4)

    def test_keys_are_apart(self) -> None:
        """What one key has takes nothing from another."""
        limited = limit(most_per_key=1)
        self.assertEqual(enter(limited, 1, *"abc"), [SERVED, WAITING, REFUSED])
        self.assertEqual(enter(limited, 2, "d"), [SERVED])

    def test_all(self) -> None:
        """All keys together have as many as the limit, and nobody waits beyond it."""
        limited = limit(most=3, most_per_key=1)
        self.assertEqual([limited.enter(key, "x") for key in range(3)], [SERVED] * 3)
        self.assertEqual([limited.enter(key, "y") for key in range(5)], [REFUSED] * 5)
        self.assertEqual(limited.total, 3)

    def test_no_limit(self) -> None:
        """Zero is no limit, and so is what was never configured."""
        unconfigured: ConnectionLimit[str] = ConnectionLimit()
        for unlimited in (limit(), unconfigured):
            found = {unlimited.enter(1, str(number)) for number in range(1000)}
            self.assertEqual(found, {SERVED})

    def test_turns(self) -> None:
        """When a served connection ends, the one that has waited longest is served."""
        limited = limit(most_per_key=2)
        enter(limited, 1, *"abcd")
        self.assertEqual(limited.leave(1, "a"), "c")
        self.assertEqual(limited.leave(1, "c"), "d")
        self.assertIsNone(limited.leave(1, "b"))
        self.assertEqual((limited.total, limited.next(1)), (1, SERVED))

    def test_gives_up_waiting(self) -> None:
        """A connection that ends while it waits takes nobody's turn."""
        limited = limit(most_per_key=2)
        enter(limited, 1, *"abcd")
        self.assertIsNone(limited.leave(1, "c"))
        self.assertEqual(limited.next(1), WAITING)
        self.assertEqual(limited.leave(1, "b"), "d")

    def test_lower_limits(self) -> None:
        """Lower limits leave open what is open and serve nobody more until enough have left."""
        limited = limit(most_per_key=3)
        enter(limited, 1, *"abcd")
        limited.configure(0, 1)
        self.assertIsNone(limited.leave(1, "a"))
        self.assertIsNone(limited.leave(1, "b"))
        self.assertEqual(limited.leave(1, "c"), "d")

    @FUZZ
    @given(st.lists(st.tuples(st.integers(0, 2), st.booleans()), max_size=60))
    def test_nothing_is_kept(self, steps: list[tuple[int, bool]]) -> None:
        """Counts agree with what is open after any coming and going, and end at nothing."""
        limited = limit(most=8, most_per_key=2)
        opened: dict[int, list[str]] = {0: [], 1: [], 2: []}
        for number, (key, comes) in enumerate(steps):
            if comes and limited.enter(key, str(number)) is not REFUSED:
                opened[key].append(str(number))
            elif not comes and opened[key]:
                limited.leave(key, opened[key].pop(number % len(opened[key])))
            self.assertEqual(limited.total, sum(map(len, opened.values())))
        for key, names in opened.items():
            for name in names:
                limited.leave(key, name)
        self.assertEqual(limited.total, 0)
        self.assertEqual([limited.next(key) for key in opened], [SERVED] * 3)
