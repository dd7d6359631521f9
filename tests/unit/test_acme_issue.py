"""One order: its steps, and what is made of one that a crash has interrupted."""

from __future__ import annotations

from typing import Any

from revproxy.tls.acme.issue import NotIssuedError
from revproxy.tls.acme.problem import CannotReach
from tests.support.fake_ca import problem
from tests.support.issuing import NAMES, IssueCase


class StepTests(IssueCase):
    def test_issued(self) -> None:
        """The certificate is for all names, is stored, and no order is open any more."""
        found = self.done()
        assert found.certificate is not None
        self.assertEqual(found.certificate.names, set(NAMES))
        self.assertEqual(self.entry(), found)
        self.assertEqual((found.record.order_url, found.order_key_pem), ("", None))
        self.assertTrue(found.record.replaces)
        self.cleared()

    def test_key_before_finalize(self) -> None:
        """The order and its key are on disk before any challenge is answered."""
        found: list[tuple[str, bool]] = []
        real = self.there.request

        async def request(method: str, url: str, *rest: Any) -> Any:
            if "/chall/" in url or "/finalize/" in url:
                entry = self.entry()
                found.append((entry.record.order_url, entry.order_key_pem is not None))
            return await real(method, url, *rest)

        self.patch(self.there, "request", request)
        self.done()
        self.assertEqual(len(found), 3)
        self.assertEqual(len(set(found)), 1)
        self.assertTrue(all(found[0]))

    def test_all_answered_first(self) -> None:
        """Every challenge is pending before it is told, and all before any is waited for."""
        self.done()
        paths = [path.partition("/")[0] for path in self.there.asked]
        last = len(paths) - paths[::-1].index("chall") - 1
        self.assertEqual(paths[:last].count("authz"), 2)
        self.assertEqual([one.name for one in self.added], list(NAMES))
        self.assertTrue(self.added[0].key_authorization.endswith(self.key.thumbprint()))

    def test_preferred_challenge(self) -> None:
        """The preferred challenge is answered."""
        for kind in ("http-01", "tls-alpn-01"):
            self.setUp()
            self.done(challenge=kind)
            self.assertEqual({one.kind for one in self.added}, {kind})

    def test_authorized_already(self) -> None:
        """A name that is authorized already is not validated again."""
        real = self.there._order

        def order(which: str, payload: Any) -> Any:
            reply = real(which, payload)
            for authorization in self.there._authorizations.values():
                authorization["status"] = "valid"
            for one in self.there._orders.values():
                one["status"] = "ready" if one["status"] == "pending" else one["status"]
            return reply

        self.patch(self.there, "_order", order)
        self.assertIsNotNone(self.done().certificate)
        self.assertEqual(self.added, [])

    def test_new_key(self) -> None:
        """Every certificate has a key of its own."""
        first, second = (self.done().certificate for _ in range(2))
        assert first is not None and second is not None
        self.assertNotEqual(first.key_pem, second.key_pem)


class OpenOrderTests(IssueCase):
    """What is made of an order that a crash has interrupted."""

    def crash(self, path: str) -> None:
        """Die while ``path`` is asked."""
        real = self.there.request

        async def request(method: str, url: str, *rest: Any) -> Any:
            if f"/{path}/" in url:
                raise CannotReach(url, "the process died")
            return await real(method, url, *rest)

        patch = self.patch(self.there, "request", request)
        self.failed(CannotReach)
        patch.restore()
        self.assertTrue(self.entry().record.order_url)

    def test_resumed(self) -> None:
        """It is gone on with wherever it is, by its own key; no other is made."""
        for path in ("authz", "chall", "finalize", "cert"):
            self.setUp()
            self.crash(path)
            key = self.entry().order_key_pem
            found = self.done().certificate
            assert found is not None
            self.assertEqual(found.key_pem, key)
            self.assertEqual(len(self.there.orders), 1, path)

    def another(self) -> None:
        """Another order is made, and succeeds."""
        self.assertIsNotNone(self.done().certificate)
        self.assertEqual(len(self.there.orders), 2)

    def test_other_names(self) -> None:
        """One for other names is of no use."""
        self.crash("finalize")
        found = self.done(names=("a.test",)).certificate
        assert found is not None
        self.assertEqual(found.names, {"a.test"})
        self.assertEqual(len(self.there.orders), 2)

    def test_invalid(self) -> None:
        """Nor is one that has failed or has a strange status."""
        for status in ("invalid", "expired"):
            self.setUp()
            self.crash("finalize")
            for order in self.there._orders.values():
                order["status"] = status
            self.another()

    def test_forgotten(self) -> None:
        """Nor is one that the authority does not know any more."""
        self.crash("finalize")
        self.there.refuse("order", 404, problem("malformed", "no such order"))
        self.another()

    def test_without_key(self) -> None:
        """Nor is one whose key was lost."""
        self.crash("finalize")
        (path,) = (self.folder / "certs").glob("*.key.pem")
        path.unlink()
        self.another()

    def test_strange_names(self) -> None:
        """Nor is one that is for what are no names."""
        self.crash("finalize")
        for order in self.there._orders.values():
            order["identifiers"] = [{"type": "dns", "value": "no name"}]
        self.another()

    def test_given_up(self) -> None:
        """Nor is one of whose authorizations nothing is left."""
        self.crash("authz")
        for authorization in self.there._authorizations.values():
            authorization |= {"status": "deactivated", "challenges": []}
        self.assertEqual(self.failed(NotIssuedError).names, set(NAMES))
        self.another()
