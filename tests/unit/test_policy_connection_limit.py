"""Counting downstream connections."""

from __future__ import annotations

from itertools import chain

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from revproxy.policy.connection_limit import UNLIMITED, Admission, ConnectionLimit

FUZZ = settings(deadline=None, derandomize=True, max_examples=200)
SERVED, WAITING, REFUSED = Admission.SERVED, Admission.WAITING, Admission.REFUSED


def limit(most: int = 0, most_per_key: int = 0) -> ConnectionLimit[str]:
    made: ConnectionLimit[str] = ConnectionLimit()
    made.configure(most, most_per_key)
    return made


def enter(limited: ConnectionLimit[str], key: int, *names: str) -> list[Admission]:
    return [limited.enter(key, name) for name in names]


STEPS = st.tuples(st.integers(0, 4), st.integers(0, 2), st.integers(0, 9))
"""What happens (0: the limits change, 1: one leaves, else one comes), for which key, a number."""


class Model:
    """The same in a plain way: a list for each key, whose first so many are served."""

    def __init__(self, most: int, most_per_key: int) -> None:
        self.most, self.most_per_key = most, most_per_key
        self.queues: dict[int, list[str]] = {key: [] for key in range(3)}
        self.served = dict.fromkeys(range(3), 0)

    @property
    def total(self) -> int:
        return sum(map(len, self.queues.values()))

    @property
    def full(self) -> bool:
        return self.most != 0 and self.total >= self.most

    def most_of(self, key: int) -> int:
        """How many of ``key`` are served; those of UNLIMITED are many clients."""
        return 1000 if key == UNLIMITED else self.most_per_key or 1000

    def next(self, key: int) -> Admission:
        served, most = self.served[key], self.most_of(key)
        waiting = len(self.queues[key]) - served
        if self.full or (served >= most and waiting >= most):
            return REFUSED
        return SERVED if served < most else WAITING

    def enter(self, key: int, name: str) -> Admission:
        admission = self.next(key)
        if admission is not REFUSED:
            self.queues[key].append(name)
            self.served[key] += admission is SERVED
        return admission

    def promoted(self, key: int) -> list[str]:
        """Those whose turn it is."""
        before = self.served[key]
        allowed = max(before, min(self.most_of(key), len(self.queues[key])))
        self.served[key] = allowed
        return self.queues[key][before:allowed]

    def leave(self, key: int, name: str) -> str | None:
        place = self.queues[key].index(name)
        del self.queues[key][place]
        self.served[key] -= place < self.served[key]
        return next(iter(self.promoted(key)), None)

    def configure(self, most: int, most_per_key: int) -> list[str]:
        self.most, self.most_per_key = most, most_per_key
        waiting = [key for key in self.queues if len(self.queues[key]) > self.served[key]]
        return [name for key in waiting for name in self.promoted(key)]


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

    def test_higher_limits(self) -> None:
        """Higher limits serve those that have waited longest, of every key, in their order."""
        limited = limit(most_per_key=1)
        enter(limited, 1, *"ab")
        enter(limited, 2, *"cd")
        self.assertEqual(limited.configure(0, 2), ["b", "d"])
        self.assertEqual((limited.waiting, limited.total), ({}, 4))
        self.assertEqual(limited.served(1), ["a", "b"])
        self.assertEqual(limited.configure(0, 2), [])

    def test_some_of_those_that_wait(self) -> None:
        """Only as many are served as the new limit allows."""
        limited = limit(most_per_key=3)
        enter(limited, 1, *"abcdef")
        self.assertEqual(limited.configure(0, 5), ["d", "e"])
        self.assertEqual(limited.next(1), WAITING)
        self.assertEqual(limited.leave(1, "a"), "f")

    def test_limit_that_is_gone(self) -> None:
        """Without a limit nobody waits any more."""
        limited = limit(most_per_key=1)
        enter(limited, 1, *"ab")
        self.assertEqual(limited.configure(0, 0), ["b"])
        self.assertEqual(limited.next(1), SERVED)

    def test_full(self) -> None:
        """It is full with as many as there may be, those that wait included, or with more."""
        limited = limit(most=2, most_per_key=1)
        self.assertFalse(limited.full)
        enter(limited, 1, *"ab")
        self.assertTrue(limited.full)
        limited.configure(1, 1)
        self.assertTrue(limited.full)
        limited.configure(3, 1)
        self.assertFalse(limited.full)
        limited.configure(0, 1)
        self.assertFalse(limited.full)

    def test_every_connection(self) -> None:
        """All connections are those that are served, then those that wait."""
        limited = limit(most_per_key=1)
        for key, names in ((1, "ab"), (2, "cd")):
            enter(limited, key, *names)
        self.assertEqual(limited.all(), ["a", "c", "b", "d"])
        limited.leave(1, "a")
        self.assertEqual(sorted(limited.all()), ["b", "c", "d"])
        self.assertEqual(limit().all(), [])

    @FUZZ
    @given(st.lists(STEPS, max_size=60))
    def test_model(self, steps: list[tuple[int, int, int]]) -> None:
        """After any coming, going and changing of limits all is as a list for each key has it."""
        limited, model = limit(8, 2), Model(8, 2)
        for number, (what, key, value) in enumerate(steps):
            name = f"{key} {number}"
            if what == 0:
                promoted = limited.configure(value, key)
                self.assertEqual(sorted(promoted), sorted(model.configure(value, key)))
            elif what == 1 and model.queues[key]:
                leaving = model.queues[key][value % len(model.queues[key])]
                self.assertEqual(limited.leave(key, leaving), model.leave(key, leaving))
            elif what > 1:
                self.assertEqual(limited.next(key), model.next(key))
                self.assertEqual(limited.enter(key, name), model.enter(key, name))
            queues = model.queues
            self.assertEqual(limited.total, model.total)
            self.assertEqual(limited.full, model.full)
            self.assertEqual(sorted(limited.all()), sorted(chain(*queues.values())))
            for key in queues:
                self.assertEqual(limited.served(key), queues[key][: model.served[key]])
                waiting = queues[key][model.served[key] :]
                self.assertEqual(list(limited.waiting.get(key, ())), waiting)

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
