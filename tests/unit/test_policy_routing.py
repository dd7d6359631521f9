"""Host names to routes."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from revproxy.policy.routing import HostRoutes


class HostRoutesTests(SynchronousTestCase):
    def assert_found(self, routes: HostRoutes[str], expected: dict[str, str | None]) -> None:
        self.assertEqual({host: routes.find(host) for host in expected}, expected)

    def test_exact(self) -> None:
        """A name leads to its own route, and no other name does."""
        routes = HostRoutes(
            [("a.test", "A"), ("b.a.test", "B"), ("[::1]", "v6"), ("10.0.0.1", "v4")]
        )
        found: dict[str, str | None] = {"a.test": "A", "b.a.test": "B", "[::1]": "v6"}
        unknown = dict.fromkeys(
            ("", "test", "c.a.test", ".a.test", "a.test.", "[::2]", "*.a.test")
        )
        self.assert_found(routes, {**found, "10.0.0.1": "v4", **unknown})

    def test_wildcard(self) -> None:
        """A wildcard stands for one label, neither for none nor for two."""
        routes = HostRoutes([("*.a.test", "W")])
        found: dict[str, str | None] = {"b.a.test": "W", "x-y.a.test": "W", "_.a.test": "W"}
        unknown = dict.fromkeys(("a.test", "c.b.a.test", "ba.test", "b.a.test.x", "test", ""))
        self.assert_found(routes, {**found, **unknown})

    def test_exact_wins(self) -> None:
        """An exact name wins over a wildcard that covers it, in either order."""
        entries = [("*.a.test", "W"), ("b.a.test", "B"), ("*.b.a.test", "WB")]
        for order in (entries, entries[::-1]):
            self.assert_found(
                HostRoutes(order), {"b.a.test": "B", "c.a.test": "W", "c.b.a.test": "WB"}
            )

    def test_falsy_targets(self) -> None:
        """What a name leads to may be anything but None."""
        routes = HostRoutes([("a.test", 0), ("*.test", 1)])
        self.assertEqual(routes.find("a.test"), 0)

    def test_many(self) -> None:
        """A thousand sites are found like one (and stay in lower case)."""
        routes = HostRoutes([(f"s{n}.test", n) for n in range(1000)] + [("*.test", -1)])
        self.assertEqual([routes.find(f"s{n}.test") for n in range(1000)], list(range(1000)))
        self.assertEqual(routes.find("s1000.test"), -1)
        self.assertEqual(len(routes), 1001)

    def test_empty(self) -> None:
        """A table without hosts finds nothing."""
        routes: HostRoutes[str] = HostRoutes([])
        self.assert_found(routes, {"": None, "a.test": None})
        self.assertEqual(len(routes), 0)
