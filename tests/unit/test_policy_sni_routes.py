"""Names asked for in a ClientHello, to backends that TLS is passed on to."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from revproxy.policy.sni_routes import SniRoutes


class SniRoutesTests(SynchronousTestCase):
    def assert_found(self, routes: SniRoutes[str], expected: dict[str, str | None]) -> None:
        self.assertEqual({name: routes.find(name) for name in expected}, expected)

    def test_names(self) -> None:
        """Many names may share a backend; what is in no table stays here."""
        routes = SniRoutes([("a.test", "A"), ("b.test", "A"), ("c.test", "C")])
        self.assert_found(
            routes,
            {"a.test": "A", "b.test": "A", "c.test": "C", "x.a.test": None, "": None},
        )

    def test_wildcard(self) -> None:
        """A star stands for one label, and an exact name wins over it."""
        routes = SniRoutes([("*.a.test", "W"), ("b.a.test", "B")])
        self.assert_found(
            routes, {"x.a.test": "W", "b.a.test": "B", "a.test": None, "x.b.a.test": None}
        )

    def test_sites(self) -> None:
        """The nearest name wins, whether it is a site's or a backend's."""
        routes = SniRoutes(
            [("*.a.test", "W"), ("cloud.b.test", "C")], ended=["git.a.test", "*.b.test"]
        )
        self.assert_found(
            routes,
            {"git.a.test": None, "x.a.test": "W", "cloud.b.test": "C", "x.b.test": None},
        )
        self.assertEqual(len(routes), 4)

    def test_default(self) -> None:
        """Names that nobody has go to the default, and sites' do not."""
        routes = SniRoutes([("a.test", "A")], ["b.test", "*.c.test"], "D")
        self.assert_found(
            routes,
            {"a.test": "A", "b.test": None, "x.c.test": None, "c.test": "D", "x.test": "D"},
        )

    def test_no_name(self) -> None:
        """Without a name it is the default, unless a site serves those."""
        self.assertEqual(SniRoutes([("a.test", "A")], default="D").find(""), "D")
        routes = SniRoutes([("a.test", "A")], default="D", nameless_ended=True)
        self.assert_found(routes, {"": None, "x.test": "D"})

    def test_falsy_backends(self) -> None:
        """A backend may be anything but None."""
        routes = SniRoutes([("a.test", 0)], default=False)
        self.assertIs(routes.find("a.test"), 0)
        self.assertIs(routes.find("b.test"), False)

    def test_empty(self) -> None:
        """A listener that passes nothing on."""
        routes: SniRoutes[str] = SniRoutes([])
        self.assert_found(routes, {"": None, "a.test": None})
        self.assertEqual(len(routes), 0)
