"""Configurations compiled into plans, and what outlives a plan."""

from __future__ import annotations

from attrs import evolve
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from revproxy.control import workshop
from revproxy.control.workshop import Workshop
from revproxy.model.configuration import Limits, RateLimit, Site, Timeouts
from revproxy.net.deadlines import Deadlines
from revproxy.net.plan import Plan, Route
from tests.support.doubles import RecordingLog
from tests.support.models import ADDRESS, configuration, listener, site


class WorkshopTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.wall = 784111777.0
        clock = Clock()
        self.log = RecordingLog()
        self.workshop = Workshop(clock, Deadlines(clock), self.log, lambda: self.wall)

    def plan(self, *sites: Site, **fields: object) -> Plan:
        """The plan of a configuration that is served."""
        compiled = self.workshop.compile(configuration(listener(*sites), **fields))
        self.workshop.adopt(compiled)
        return compiled.plan

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

    def test_trust_is_read_with_the_plan(self) -> None:
        """The system's roots are read while a plan is compiled, if an upstream needs them."""
        made: list[object] = []
        self.patch(workshop, "upstream_context", lambda: made.append(object()) or made[-1])
        self.plan(site("a.test"))
        self.assertEqual(made, [])
        plan = self.plan(site("a.test", upstream_scheme="https"))
        self.assertEqual(len(made), 1)
        self.assertIs(self.route(plan, "a.test").pool.context(), made[0])
        self.plan(site("b.test", upstream_scheme="https"))
        self.assertEqual(len(made), 1)

    def test_compiling_has_no_effect(self) -> None:
        """What is compiled and not served changes nothing of what is."""
        first = self.plan(site("a.test"))
        (pool,) = pools = self.workshop.pools
        compiled = self.workshop.compile(
            configuration(
                listener(site("a.test", "127.0.0.1:4000"), site("b.test")),
                rate_limit=RateLimit(1, 2, headers=True),
            )
        )
        self.assertEqual(self.workshop.pools, pools)
        self.assertFalse(pool._closing)
        self.assertEqual((first.limiter.rate, first.limiter.burst), (10, 20))
        self.assertIs(self.route(first, "a.test").pool, pool)
        self.assertEqual(compiled.rate_limit, RateLimit(1, 2, headers=True))
        self.assertEqual(self.log.records, [])

    def test_adopted_pools(self) -> None:
        """The pools in use are those of the plan that is served, in the order of its sites."""
        self.plan(site("a.test"), site("b.test", "127.0.0.1:4000"))
        plan = self.plan(site("b.test", "127.0.0.1:4000"), site("c.test"), site("d.test"))
        pools = [self.route(plan, f"{name}.test").pool for name in "bc"]
        self.assertEqual(self.workshop.pools, pools)
        self.assertEqual([pool._closing for pool in pools], [False, False])

    def test_closed_pool_is_not_used_again(self) -> None:
        """An upstream that comes back gets a pool of its own: a closed one keeps nothing."""
        first = self.plan(site("a.test"))
        self.plan(site("a.test", "127.0.0.1:4000"))
        third = self.plan(site("a.test"))
        pools = [self.route(plan, "a.test").pool for plan in (first, third)]
        self.assertIsNot(*pools)
        self.assertEqual([pool._closing for pool in pools], [True, False])

    def test_responses_are_counted_together(self) -> None:
        """All plans count their responses in the same place."""
        self.assertIs(self.plan().responses, self.plan(site("a.test")).responses)

    def test_requests_are_recorded_or_not(self) -> None:
        """A plan knows whether its log keeps requests at all."""
        self.assertTrue(self.plan().records_requests)
        self.patch(self.log, "enabled", lambda level: level != "info")
        self.assertFalse(self.plan().records_requests)

    def test_repr_is_short(self) -> None:
        """A plan does not spill its log and clocks into messages."""
        self.assertNotIn("RecordingLog", repr(evolve(self.plan())))
