"""Configurations made ready to serve: certificates, plans, and what outlives a plan."""

from __future__ import annotations

from attrs import evolve
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from revproxy.control.generation import Workshop, load_certificates
from revproxy.errors import ConfigErrors
from revproxy.model.address import UpstreamAddress
from revproxy.model.configuration import (
    BodyLimit,
    CertificatePair,
    Configuration,
    Limits,
    Listener,
    RateLimit,
    Site,
    Timeouts,
    TlsSettings,
)
from revproxy.model.tls import Alert, ClientHello, Identity
from revproxy.net.deadlines import Deadlines
from revproxy.net.plan import Plan, Route
from revproxy.tls.certificates import Identities
from tests.support.certificates import authority
from tests.support.doubles import RecordingLog
from tests.support.tls_peers import NOW

ADDRESS = "127.0.0.1"


def pair(*names: str) -> CertificatePair:
    """A certificate for ``names``."""
    issued = authority().pair(*names)
    return CertificatePair(issued.cert_path, issued.key_path)


def site(host: str, upstream: str = "127.0.0.1:3000", **fields: object) -> Site:
    return Site(host=host, upstream=UpstreamAddress.parse(upstream), **fields)


def listener(*sites: Site, pairs: tuple[CertificatePair, ...] = (), **fields: object) -> Listener:
    return Listener(
        bind_addr=ADDRESS, tls=TlsSettings(mode="manual", pairs=pairs), sites=sites, **fields
    )


def configuration(*listeners: Listener, **fields: object) -> Configuration:
    settings = {"rate_limit": RateLimit(10, 20), "body": BodyLimit(1000), **fields}
    return Configuration(listeners=listeners, **settings)


class CertificateTests(SynchronousTestCase):
    def test_by_listener(self) -> None:
        """Every listener serves its own certificates, chosen by name."""
        one = listener(pairs=(pair("a.test"),))
        two = listener(pairs=(pair("b.test"),), https_port=8443)
        certificates = load_certificates(configuration(one, two), Identities(), NOW)
        self.assertEqual(set(certificates.selections), {(ADDRESS, 443), (ADDRESS, 8443)})
        hello = ClientHello("b.test")
        self.assertIsInstance(certificates.selections[ADDRESS, 443](hello), Alert)
        self.assertIsInstance(certificates.selections[ADDRESS, 8443](hello), Identity)

    def test_default_site(self) -> None:
        """The default site's certificate is for those who name nobody."""
        whole = configuration(listener(pairs=(pair("a.test"),)), default_site="a.test")
        certificates = load_certificates(whole, Identities(), NOW)
        self.assertIsInstance(certificates.selections[ADDRESS, 443](ClientHello()), Identity)

    def test_every_error(self) -> None:
        """All pairs that cannot be used are reported, each under its listener."""
        missing = CertificatePair("/nowhere/a.pem", "/nowhere/a.key")
        swapped = CertificatePair(pair("a.test").cert_path, pair("b.test").key_path)
        one = listener(pairs=(missing, swapped))
        two = listener(pairs=(pair("a.test"), missing), https_port=8443)
        with self.assertRaises(ConfigErrors) as caught:
            load_certificates(configuration(one, two), Identities(), NOW)
        paths = [error.path for error in caught.exception.errors]
        self.assertEqual(paths, ["listeners[0].tls"] * 2 + ["listeners[1].tls"])

    def test_uncovered_site(self) -> None:
        """A site that no certificate of its listener covers is a warning, included ones too."""
        whole = configuration(
            listener(site("a.test"), site("b.test"), pairs=(pair("a.test"),)),
            sites=(
                site("c.test"),
                site("d.test", listeners=(ADDRESS,)),
                site("e.test", listeners=("198.51.100.1",)),
            ),
        )
        warnings = load_certificates(whole, Identities(), NOW).warnings
        self.assertEqual(
            [name for name in "abcde" if f"{name}.test" in " ".join(warnings)], ["b", "c", "d"]
        )


class WorkshopTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.wall = 784111777.0
        clock = Clock()
        self.log = RecordingLog()
        self.workshop = Workshop(clock, Deadlines(clock), self.log, lambda: self.wall)

    def plan(self, *sites: Site, **fields: object) -> Plan:
        return self.workshop.plan(configuration(listener(*sites), **fields))

    def route(self, plan: Plan, host: str) -> Route:
        route = plan.routes.find(host)
        assert route is not None
        return route

    def test_routes(self) -> None:
        """Every site has a route, those of included files too."""
        plan = self.plan(
            site("a.test", "up.test:81", log_file_path="/var/log/a"),
            sites=(site("*.b.test", "unix:/run/b", listeners=(ADDRESS,)),),
        )
        route = self.route(plan, "a.test")
        self.assertEqual((route.upstream, route.log_file), ("up.test:81", "/var/log/a"))
        self.assertIsNone(route.listeners)
        route = self.route(plan, "x.b.test")
        self.assertEqual((route.upstream, route.listeners), ("unix:/run/b", {ADDRESS}))
        self.assertIsNone(plan.routes.find("b.test"))

    def test_settings_arrive(self) -> None:
        """What a site and the limits say is what its pool goes by."""
        plan = self.plan(
            site(
                "a.test",
                upstream_scheme="https",
                upstream_connect_timeout_secs=1,
                upstream_request_timeout_secs=2,
                upstream_keepalive=3,
                upstream_idle_secs=4,
            ),
            limits=Limits(
                upstream_head_bytes=5,
                interim_responses=6,
                chunk_line_bytes=7,
                trailer_bytes=8,
                buffered_bytes=9,
            ),
            timeouts=Timeouts(keepalive_secs=10),
        )
        settings = self.route(plan, "a.test").pool.settings
        self.assertTrue(settings.tls)
        self.assertEqual((settings.connect_secs, settings.request_secs), (1, 2))
        self.assertEqual((settings.keepalive, settings.idle_secs), (3, 4))
        self.assertEqual((settings.head_bytes, settings.interim), (5, 6))
        self.assertEqual((settings.chunk_line_bytes, settings.trailer_bytes), (7, 8))
        self.assertEqual(settings.buffered_bytes, 9)
        self.assertEqual((plan.timeouts.keepalive_secs, plan.body_limit), (10, 1000))

    def test_equal_sites_share_a_pool(self) -> None:
        """Sites that treat the same upstream alike share its connections."""
        plan = self.plan(site("a.test"), site("b.test"), site("c.test", upstream_keepalive=1))
        pools = [self.route(plan, f"{name}.test").pool for name in "abc"]
        self.assertIs(pools[0], pools[1])
        self.assertIsNot(pools[0], pools[2])

    def test_pools_are_kept(self) -> None:
        """The pool of an unchanged upstream lives on in the next plan; others are closed."""
        first = self.plan(site("a.test"), site("b.test", "127.0.0.1:4000"))
        second = self.plan(site("c.test"), site("b.test", "127.0.0.1:5000"))
        kept = self.route(first, "a.test").pool
        self.assertIs(self.route(second, "c.test").pool, kept)
        dropped = self.route(first, "b.test").pool
        self.assertIsNot(self.route(second, "b.test").pool, dropped)
        self.assertEqual((dropped._closing, kept._closing), (True, False))
        self.workshop.close()
        self.assertTrue(kept._closing)

    def test_rate_limit_is_kept(self) -> None:
        """Buckets outlive a plan; the new rate and burst apply to them."""
        first = self.plan()
        for _ in range(20):
            first.limiter.take(7, 0)
        second = self.plan(rate_limit=RateLimit(5, 40))
        self.assertIs(second.limiter, first.limiter)
        self.assertEqual((second.limiter.rate, second.limiter.burst), (5, 40))
        self.assertLess(second.limiter.take(7, 0), 0)

    def test_limit_fields(self) -> None:
        """The rate limit's header fields are made only when they are on."""
        self.assertIsNone(self.plan().limit_fields)
        plan = self.plan(rate_limit=RateLimit(10, 20, headers=True))
        assert plan.limit_fields is not None
        fields = dict(plan.limit_fields(19.0))
        self.assertEqual(fields[b"RateLimit-Limit"], b"20")
        self.assertEqual(fields[b"RateLimit-Remaining"], b"19")

    def test_date(self) -> None:
        """The Date field follows the wall clock, by the second."""
        date = self.plan().date
        self.assertEqual(date(), b"Sun, 06 Nov 1994 08:49:37 GMT")
        self.wall += 0.9
        self.assertIs(date(), date())
        self.wall += 0.2
        self.assertEqual(date(), b"Sun, 06 Nov 1994 08:49:38 GMT")

    def test_trust_of_upstreams(self) -> None:
        """One verifying context serves all TLS upstreams, made at the first need of it."""
        plan = self.plan(
            site("a.test", upstream_scheme="https"),
            site("b.test", "up.test:443", upstream_scheme="https"),
        )
        context = self.route(plan, "a.test").pool.context()
        self.assertIs(self.route(plan, "b.test").pool.context(), context)
        self.assertTrue(context.check_hostname)

    def test_repr_is_short(self) -> None:
        """A plan does not spill its log and clocks into messages."""
        self.assertNotIn("RecordingLog", repr(evolve(self.plan())))
