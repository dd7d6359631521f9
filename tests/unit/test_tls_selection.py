"""Which identity serves which name."""

from __future__ import annotations

import ssl

from twisted.trial.unittest import SynchronousTestCase

from revproxy.model.address import UpstreamAddress
from revproxy.model.configuration import Site
from revproxy.model.tls import UNRECOGNIZED_NAME, Alert, ClientHello, Identity
from revproxy.tls.selection import Selection, uncovered_hosts


def identity(*names: str) -> Identity:
    return Identity(
        context=ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER),
        exact=frozenset(name for name in names if name[0] != "*"),
        wildcards=frozenset(name[2:] for name in names if name[0] == "*"),
        name=names[0],
    )


class SelectionTests(SynchronousTestCase):
    """The choice for one listener."""

    def setUp(self) -> None:
        self.wild = identity("*.a.test", "a.test")
        self.exact = identity("git.a.test", "b.test")
        self.later = identity("*.a.test", "a.test", "b.test")
        self.choose = Selection([self.wild, self.exact, self.later])

    def refused(self, answer: Identity | Alert, reason: str) -> None:
        self.assertEqual(answer, Alert(UNRECOGNIZED_NAME, reason))

    def test_exact_before_wildcard(self) -> None:
        """A name in full wins over an earlier wildcard."""
        self.assertIs(self.choose(ClientHello("git.a.test")), self.exact)

    def test_wildcard(self) -> None:
        """A wildcard serves one label, not two and not none."""
        self.assertIs(self.choose(ClientHello("www.a.test")), self.wild)
        self.refused(self.choose(ClientHello("x.y.a.test")), "no certificate covers x.y.a.test")
        self.refused(
            Selection([identity("*.c.test")])(ClientHello("c.test")),
            "no certificate covers c.test",
        )

    def test_first_wins(self) -> None:
        """Of several that cover a name alike the first in file order serves it."""
        self.assertIs(self.choose(ClientHello("a.test")), self.wild)
        self.assertIs(self.choose(ClientHello("b.test")), self.exact)

    def test_unknown(self) -> None:
        """A name that nothing covers is refused with unrecognized_name, even a lone label."""
        self.refused(self.choose(ClientHello("c.test")), "no certificate covers c.test")
        self.refused(self.choose(ClientHello("localhost")), "no certificate covers localhost")

    def test_no_name(self) -> None:
        """A hello without a name is refused unless there is a default site."""
        self.refused(self.choose(ClientHello()), "no server name was sent")
        choose = Selection([self.wild, self.exact], default_site="git.a.test")
        self.assertIs(choose(ClientHello()), self.exact)
        choose = Selection([self.wild, self.exact], default_site="www.a.test")
        self.assertIs(choose(ClientHello()), self.wild)

    def test_default_site_is_for_no_name_only(self) -> None:
        """An unknown name never gets the default site's certificate."""
        choose = Selection([self.exact], default_site="b.test")
        self.refused(choose(ClientHello("c.test")), "no certificate covers c.test")

    def test_default_site_uncovered(self) -> None:
        """A default site without a certificate on this listener refuses too."""
        self.refused(
            Selection([self.exact], default_site="c.test")(ClientHello()),
            "no certificate covers c.test",
        )


class CoverageTests(SynchronousTestCase):
    """Sites without a certificate."""

    def test_coverage(self) -> None:
        """Exactly the sites that no identity covers are named, in their order."""
        hosts = ["z.test", "a.test", "x.a.test", "*.a.test", "*.b.test", "b.test", "x.y.a.test"]
        upstream = UpstreamAddress.parse("127.0.0.1:3000")
        found = uncovered_hosts(
            [Site(host=host, upstream=upstream) for host in hosts],
            [identity("*.a.test"), identity("a.test", "b.test")],
        )
        self.assertEqual(found, ["z.test", "*.b.test", "x.y.a.test"])
