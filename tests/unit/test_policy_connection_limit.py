"""Counting downstream connections."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from revproxy.policy.connection_limit import ConnectionCounts

FUZZ = settings(deadline=None, derandomize=True, max_examples=200)


def counts(most: int = 0, most_per_key: int = 0) -> ConnectionCounts:
    made = ConnectionCounts()
    made.configure(most, most_per_key)
    return made


class ConnectionCountsTests(SynchronousTestCase):
    def test_per_key(self) -> None:
        """A key has as many connections as the limit, whatever other keys have."""
        limited = counts(most_per_key=2)
        self.assertEqual([limited.enter(1) for _ in range(4)], [True, True, False, False])
        self.assertTrue(limited.enter(2))
        self.assertEqual(limited.total, 3)

    def test_all(self) -> None:
        """All keys together have as many as the limit."""
        limited = counts(most=3)
        self.assertEqual([limited.enter(key) for key in range(5)], [True] * 3 + [False] * 2)
        self.assertEqual(limited.total, 3)

    def test_no_limit(self) -> None:
        """Zero is no limit, and so is what was never configured."""
        for unlimited in (counts(), ConnectionCounts()):
            self.assertTrue(all(unlimited.enter(1) for _ in range(1000)))

    def test_refused_are_not_counted(self) -> None:
        """A refused connection takes nobody's place."""
        limited = counts(most=2, most_per_key=1)
        limited.enter(1)
        for _ in range(10):
            self.assertFalse(limited.enter(1))
        self.assertTrue(limited.enter(2))
        self.assertFalse(limited.enter(3))

    def test_leave(self) -> None:
        """A connection that ends makes room for one, in both counts."""
        limited = counts(most=2, most_per_key=1)
        limited.enter(1)
        limited.enter(2)
        limited.leave(1)
        self.assertFalse(limited.enter(2))
        self.assertTrue(limited.enter(1))
        self.assertEqual(limited.total, 2)

    def test_lower_limits(self) -> None:
        """Lower limits leave open what is open and admit nobody until enough have left."""
        limited = counts(most=10, most_per_key=10)
        for _ in range(5):
            limited.enter(1)
        limited.configure(10, 2)
        self.assertEqual(limited.total, 5)
        for left in (4, 3, 2):
            self.assertFalse(limited.enter(1), left)
            limited.leave(1)
        self.assertFalse(limited.enter(1))
        limited.leave(1)
        self.assertTrue(limited.enter(1))

    @FUZZ
    @given(
        st.integers(0, 5),
        st.integers(0, 3),
        st.lists(st.tuples(st.integers(1, 3), st.booleans()), max_size=40),
    )
    def test_any_order(self, most: int, most_per_key: int, steps: list[tuple[int, bool]]) -> None:
        """Whatever comes and goes, the counts are those of a plain list of connections."""
        limited = counts(most, most_per_key)
        connections: list[int] = []
        for key, enters in steps:
            if enters:
                room = not most or len(connections) < most
                own = not most_per_key or connections.count(key) < most_per_key
                self.assertEqual(limited.enter(key), room and own)
                if room and own:
                    connections.append(key)
            elif key in connections:
                connections.remove(key)
                limited.leave(key)
            self.assertEqual(limited.total, len(connections))
