"""What keeps the process from being ready."""

from __future__ import annotations

from attrs import evolve

from revproxy.control import status as control_status
from revproxy.control.status import DEAD_SECS
from tests.support.models import ADDRESS, listener, pair, site
from tests.unit.test_control_status import DAY_SECS, StatusCase, lasting

EXPIRED = "site {}: its certificate has expired"


class ReadyTests(StatusCase):
    def test_ready(self) -> None:
        """Nothing is missing when every port is bound and every site can be served."""
        self.serve_on(listener(site("a.test"), pairs=(pair("a.test"),)))
        self.assertEqual(self.status.missing(), [])

    def test_ports(self) -> None:
        """Every port that is not bound is named."""
        self.serve(self.configuration(), bound=False)
        first, second, _ = self.status.missing()
        self.assertEqual(first, f"{ADDRESS} port 8443 is not bound")
        self.assertEqual(second, f"{ADDRESS} port 8080 is not bound")
        self.proxied.privilegedStartService()
        self.proxied.ports[1].stopService()
        self.assertEqual(self.status.missing()[0], second)

    def test_draining(self) -> None:
        """A process that is about to end is not ready."""
        self.serve_on(listener(site("a.test"), pairs=(pair("a.test"),)))
        self.proxied.drain.begin()
        self.assertEqual(self.status.missing(), ["draining: the process is about to end"])

    def test_bounds(self) -> None:
        """So much is named and no more."""
        sites = tuple(site(f"{number}.test") for number in range(5))
        self.serve_on(listener(*sites))
        self.patch(control_status, "MOST_ENTRIES", 3)
        self.assertEqual(len(self.status.missing()), 3)


class CertificateTests(StatusCase):
    def test_uncovered(self) -> None:
        """A site that no certificate covers is named, in file order."""
        names = [f"site {host}: no certificate covers it" for host in ("b.test", "c.test")]
        self.serve_on(
            listener(site("a.test"), site("b.test"), pairs=(pair("a.test"),)),
            sites=(site("c.test"),),
        )
        self.assertEqual(self.status.missing(), names)

    def test_expired(self) -> None:
        """A site whose certificate has expired since it was loaded is named, from then on."""
        pairs = lasting(10, "a.test", "*.w.test"), lasting(90, "b.test")
        hosts = "a.test", "x.w.test", "*.w.test", "b.test"
        self.serve_on(listener(*map(site, hosts), pairs=pairs))
        self.now += 10 * DAY_SECS - 3600  # certificates are made later than NOW
        self.assertEqual(self.status.missing(), [])
        self.now += 7200
        expected = [EXPIRED.format(host) for host in hosts[:3]]
        self.assertEqual(self.status.missing(), expected)

    def test_what_is_presented(self) -> None:
        """Of two certificates for a site the one counts that its listener presents."""
        early, late = lasting(10, "a.test"), lasting(90, "a.test")
        for pairs, expected in (((early, late), [EXPIRED.format("a.test")]), ((late, early), [])):
            self.serve_on(listener(site("a.test"), pairs=pairs))
            self.now += 11 * DAY_SECS
            self.assertEqual(self.status.missing(), expected)
            self.now -= 11 * DAY_SECS

    def test_other_listener(self) -> None:
        """The certificate of a listener that does not serve the site does not count."""
        one = listener(site("a.test"), pairs=(lasting(90, "*.test"),))
        other = listener(site("x.other"), pairs=(lasting(10, "*.test", "x.other"),))
        other = evolve(other, bind_addr="127.0.0.2")
        self.serve_on(one, other)
        self.now += 11 * DAY_SECS
        self.assertEqual(self.status.missing(), [EXPIRED.format("x.other")])

    def test_included_site(self) -> None:
        """An included site counts on the listeners that it names, or on all."""
        one = listener(site("a.test"), pairs=(lasting(90, "a.test", "*.in.test"),))
        other = listener(site("b.test"), pairs=(lasting(10, "*.in.test", "b.test"),))
        other = evolve(other, bind_addr="127.0.0.2")
        sites = (
            site("1.in.test", listeners=(ADDRESS,)),
            site("2.in.test", listeners=("127.0.0.2",)),
            site("3.in.test"),
        )
        self.serve_on(one, other, sites=sites)
        self.now += 11 * DAY_SECS
        expected = [EXPIRED.format(host) for host in ("b.test", "2.in.test", "3.in.test")]
        self.assertEqual(self.status.missing(), expected)

    def test_nothing_to_present(self) -> None:
        """A site without a certificate has none that could expire."""
        self.serve_on(listener(site("a.test"), site("b.test"), pairs=(lasting(10, "a.test"),)))
        self.now += 11 * DAY_SECS
        expected = [EXPIRED.format("a.test"), "site b.test: no certificate covers it"]
        self.assertEqual(self.status.missing(), expected)


class UpstreamTests(StatusCase):
    def test_dead(self) -> None:
        """A site whose upstream could not be connected to lately is named, for a while."""
        sites = site("a.test"), site("b.test", "up.test:81"), site("*.c.test", "up.test:81")
        self.serve_on(listener(*sites, pairs=(pair("a.test", "b.test", "*.c.test"),)))
        pool = self.proxied.workshop.pools[1]
        self.reactor.advance(100)
        pool.failed_at = 100
        expected = [
            f"site {host}: its upstream up.test:81 cannot be connected to"
            for host in ("b.test", "*.c.test")
        ]
        self.assertEqual(self.status.missing(), expected)
        self.reactor.advance(DEAD_SECS - 0.1)
        self.assertEqual(self.status.missing(), expected)
        self.assertTrue(self.status.summary()["upstreams"][1]["dead"])
        self.reactor.advance(0.1)
        self.assertEqual(self.status.missing(), [])
        self.assertFalse(self.status.summary()["upstreams"][1]["dead"])

    def test_alive_again(self) -> None:
        """It is not once a connection has been made."""
        self.serve_on(listener(site("a.test"), pairs=(pair("a.test"),)))
        (pool,) = self.proxied.workshop.pools
        pool.failed_at = self.reactor.seconds()
        self.assertEqual(len(self.status.missing()), 1)
        pool.failed_at = None
        self.assertEqual(self.status.missing(), [])

    def test_both(self) -> None:
        """A site may lack both."""
        self.serve_on(listener(site("a.test")))
        (pool,) = self.proxied.workshop.pools
        pool.failed_at = self.reactor.seconds()
        self.assertEqual(
            self.status.missing(),
            [
                "site a.test: no certificate covers it",
                "site a.test: its upstream 127.0.0.1:3000 cannot be connected to",
            ],
        )
