"""Hosts whose TLS is passed on, in HTTP: on the plain port, and behind our own TLS."""

from __future__ import annotations

from typing import Any

from attrs import evolve

from revproxy.model.tls import Identity
from revproxy.policy.routing import HostRoutes
from tests.support.playbook import GET, OK, PlaybookCase, Stage, own


class PassedHostTests(PlaybookCase):
    def passed(self, *, plain: bool, secure: bool = False, **changes: Any) -> Stage:
        """A stage on which ``a.test`` is passed on."""
        stage = self.stage(secure=secure)
        plan = stage.plan()
        route = plan.routes.find("a.test")
        assert route is not None
        route = evolve(route, passed=True, plain=plain)
        stage.port.router.plan = evolve(plan, routes=HostRoutes([("a.test", route)]), **changes)
        return stage

    def test_proxied(self) -> None:
        """On the plain port its requests go to its http_upstream, as plain HTTP."""
        stage = self.passed(plain=True)
        down = stage.downstream()
        down.says(GET)
        up = stage.upstream()
        self.assertIn(b"X-Forwarded-Proto: http\r\n", up.heard())
        up.says(OK)
        self.assertEqual(down.heard(), OK)

    def test_redirected(self) -> None:
        """Without one they are redirected, as those of sites are."""
        stage = self.passed(plain=False)
        down = stage.downstream()
        down.says(GET)
        location = b"Location: https://a.test/\r\n"
        self.assertEqual(down.heard(), own(b"301 Moved Permanently", more=location))

    def test_other_hosts(self) -> None:
        """Another host is found there no more than anywhere."""
        down = self.passed(plain=True).downstream()
        down.says(GET.replace(b"a.test", b"b.test"))
        self.assertEqual(down.heard(), own(b"404 Not Found"))

    def test_challenges(self) -> None:
        """A validation of ours is answered here; one that we do not know goes to the backend."""
        tokens = {b"/.well-known/acme-challenge/ours": b"ours.key"}
        stage = self.passed(plain=True, challenge=tokens.get)
        down = stage.downstream()
        down.says(GET.replace(b" / ", b" /.well-known/acme-challenge/ours "))
        self.assertTrue(down.heard().endswith(b"\r\n\r\nours.key"))
        down.says(GET.replace(b" / ", b" /.well-known/acme-challenge/theirs "))
        up = stage.upstream()
        self.assertTrue(up.heard().startswith(b"GET /.well-known/acme-challenge/theirs "))
        up.says(OK)
        self.assertEqual(down.heard(), OK)

    def test_behind_our_tls(self) -> None:
        """In a TLS connection that ends here it is misdirected, whatever that covers."""
        for plain in (True, False):
            stage = self.passed(plain=plain, secure=True)
            context: Any = None
            down = stage.downstream(Identity(context, frozenset({"a.test"}), frozenset()))
            down.says(GET)
            self.assertEqual(down.heard(), own(b"421 Misdirected Request"))
            self.assertEqual(stage.attempts, [])
