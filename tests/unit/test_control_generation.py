"""What is served, and its replacement as a whole."""

from __future__ import annotations

import gc
import weakref
from pathlib import Path
from typing import Any

from attrs import evolve
from twisted.internet.task import Clock

from revproxy.control.drain import Drain
from revproxy.control.generation import Generation
from revproxy.errors import ConfigErrors
from revproxy.model.configuration import Configuration, Limits, RateLimit
from revproxy.model.tls import Alert, ClientHello, Identity
from revproxy.net.ports import PlainPort
from tests.support.doubles import Door
from tests.support.models import ADDRESS, site
from tests.support.served import DESCRIPTORS, ServedCase


class Accepted:
    """An accepted connection as its port sees it."""

    def __init__(self) -> None:
        self.client = ("192.0.2.1", 50000)
        self.protocol = self
        self.high_water = 0
        self.reading = True

    def pauseProducing(self) -> None:
        self.reading = False

    def admit(self) -> None:
        self.reading = True

    def give_way(self) -> bool:
        return False

    def drain(self) -> None:
        """Nothing to end."""


class GenerationCase(ServedCase):
    """The site ``a.test`` is served."""

    def setUp(self) -> None:
        super().setUp()
        self.pair("a.test")
        self.serve(self.configuration("a.test"))

    def adopt(self, whole: Configuration) -> Generation:
        """Serve ``whole``, built anew."""
        generation = self.generations.build(whole)
        self.generations.adopt(generation)
        return generation

    def state(self) -> tuple[object, ...]:
        """Everything that a swap replaces."""
        router, workshop = self.generations.router, self.generations.workshop
        plan = router.plan
        return (
            self.generations.current,
            plan,
            tuple(workshop.pools),
            (plan.limiter.rate, plan.limiter.burst),
            (self.connections.most, self.connections._most_per_key),
            self.tls_port.choose,
            sorted(self.writer._site_paths),
        )

    def logged(self, *names: str, **fields: Any) -> Configuration:
        """A configuration with a site for each of ``names``, with a log file of that name."""
        sites = [site(f"{name}.test", log_file_path=str(self.folder / name)) for name in names]
        return self.configuration("a.test", sites=tuple(sites), **fields)

    def chosen(self, name: str) -> Identity | Alert:
        return self.tls_port.choose(ClientHello(name))


class BuildTests(GenerationCase):
    def test_changes_nothing(self) -> None:
        """To build a generation changes nothing of what is served, nor on the disk."""
        before, files = self.state(), sorted(self.folder.iterdir())
        wanted = self.logged(
            "x",
            rate_limit=RateLimit(1, 2),
            limits=Limits(max_connections=7),
            default_site="x.test",
        )
        generation = self.generations.build(wanted)
        self.generations.check(wanted)
        self.assertEqual(self.state(), before)
        self.assertEqual(sorted(self.folder.iterdir()), files)
        self.assertEqual((generation.number, generation.configuration), (2, wanted))
        self.assertEqual(generation.most_connections, 7)

    def test_number(self) -> None:
        """Generations are numbered from one on; what is not adopted has no number of its own."""
        self.assertEqual(self.generations.current.number, 1)
        self.generations.build(self.configuration("a.test"))
        self.assertEqual(self.adopt(self.configuration("a.test")).number, 2)
        self.assertEqual(self.adopt(self.configuration("a.test")).number, 3)

    def test_shares_what_has_not_changed(self) -> None:
        """Pools and identities of what stays the same are the same ones."""
        former = self.generations.current
        present = self.adopt(self.configuration("a.test", rate_limit=RateLimit(1, 2)))
        self.assertEqual(present.compiled.pools, former.compiled.pools)
        self.assertEqual(present.certificates.served, former.certificates.served)

    def test_first_one(self) -> None:
        """A first generation that cannot be served fails with the mistakes."""
        with self.assertRaises(ConfigErrors):
            self.serve(self.configuration("b.test"))
        with self.assertRaises(ConfigErrors):
            self.serve(self.configuration("a.test", limits=Limits(max_connections=DESCRIPTORS)))
        missing = site("x.test", log_file_path=str(self.folder / "none" / "x"))
        with self.assertRaises(ConfigErrors):
            self.serve(self.configuration("a.test", sites=(missing,)))


class AdoptTests(GenerationCase):
    def test_everything(self) -> None:
        """Plan, rate, pools, limits, certificates and log files are those of the new one."""
        self.pair("b.test")
        (former_pool,) = self.generations.workshop.pools
        wanted = self.configuration(
            "b.test",
            sites=(site("x.test", "127.0.0.1:4000", log_file_path=str(self.folder / "x")),),
            rate_limit=RateLimit(1, 2),
            limits=Limits(max_connections=7, max_connections_per_ip=3),
        )
        generation = self.adopt(wanted)
        self.assertIs(self.generations.current, generation)
        plan = self.generations.router.plan
        self.assertIsNone(plan.routes.find("a.test"))
        self.assertIsNotNone(plan.routes.find("x.test"))
        self.assertEqual((plan.limiter.rate, plan.limiter.burst), (1, 2))
        self.assertEqual(len(self.generations.workshop.pools), 2)
        self.assertIs(self.generations.workshop.pools[0], former_pool)
        self.assertEqual((self.connections.most, self.connections._most_per_key), (7, 3))
        self.assertIsInstance(self.chosen("a.test"), Alert)
        self.assertIsInstance(self.chosen("b.test"), Identity)
        self.assertTrue((self.folder / "x").exists())

    def test_promotes(self) -> None:
        """Connections that waited are read as soon as the new limits let them be served."""
        self.adopt(self.configuration("a.test", limits=Limits(max_connections_per_ip=1)))
        port = PlainPort(self.port)
        served, first, second = Accepted(), Accepted(), Accepted()
        port.connected(served)
        port.connected(first)
        self.assertFalse(first.reading)
        self.adopt(self.configuration("a.test", limits=Limits(max_connections_per_ip=2)))
        self.assertTrue(first.reading)
        port.connected(second)
        self.assertFalse(second.reading)
        self.adopt(self.configuration("a.test", limits=Limits(max_connections_per_ip=0)))
        self.assertTrue(second.reading)
        self.assertEqual(self.connections.waiting, {})

    def test_opens_the_gate(self) -> None:
        """Ports that wait because of the number of connections go on when there may be more."""
        self.adopt(self.configuration("a.test", limits=Limits(max_connections=1)))
        port, door = PlainPort(self.port), Door()
        port.connected(Accepted())
        port.crowded(door)
        self.adopt(self.configuration("a.test", limits=Limits(max_connections=1)))
        self.assertFalse(door.accepting)
        self.adopt(self.configuration("a.test", limits=Limits(max_connections=2)))
        self.assertTrue(door.accepting)

    def test_fewer_connections(self) -> None:
        """A lower limit closes nothing, and keeps ports from accepting more."""
        port = PlainPort(self.port)
        accepted = [Accepted() for _ in range(3)]
        for one in accepted:
            port.connected(one)
        self.adopt(self.configuration("a.test", limits=Limits(max_connections=2)))
        self.assertTrue(all(one.reading for one in accepted))
        self.assertTrue(port.full())

    def test_draining_survives(self) -> None:
        """A process that is about to end remains so, whatever is served."""
        router = self.generations.router
        port = PlainPort(self.port)
        port.connected(Accepted())
        drain = Drain(Clock(), router, self.connections, self.gate, self.log, 30)
        done = drain.begin()
        self.adopt(self.configuration("a.test", rate_limit=RateLimit(1, 2)))
        self.assertTrue(router.draining)
        self.assertEqual(router.plan.limiter.burst, 2)
        self.assertNoResult(done)

    def test_buckets(self) -> None:
        """The rate limit's buckets keep what is in them."""
        limiter = self.generations.router.plan.limiter
        self.assertEqual(limiter.take(7, 0.0), 19)
        self.adopt(self.configuration("a.test", rate_limit=RateLimit(1, 5)))
        self.assertEqual(self.generations.router.plan.limiter.take(7, 0.0), 4)
        self.assertEqual(self.generations.router.plan.limiter.take(7, 0.0), 3)

    def test_counts(self) -> None:
        """Responses of all generations are counted together."""
        self.generations.router.plan.responses[2] += 1
        self.adopt(self.configuration("a.test", rate_limit=RateLimit(1, 5)))
        self.generations.router.plan.responses[2] += 1
        self.assertEqual(self.generations.router.plan.responses[2], 2)


class LogFileTests(GenerationCase):
    def lines(self, name: str) -> list[str]:
        """What is in the log file of a site, once everything has been written."""
        return (self.folder / name).read_text().splitlines()

    def test_come_and_go(self) -> None:
        """Log files of new sites are opened, those of sites that are gone get no more lines."""
        self.adopt(self.logged("x", "y"))
        self.writer.write("one", str(self.folder / "x"))
        self.adopt(self.logged("y", "z"))
        self.writer.write("two", str(self.folder / "x"))
        self.writer.write("three", str(self.folder / "z"))
        self.writer.close()
        self.assertEqual([self.lines(name) for name in "xyz"], [["one"], [], ["three"]])

    def test_cannot_be_opened(self) -> None:
        """A log file that cannot be opened leaves everything as it was, other files too."""
        self.adopt(self.logged("x"))
        before = self.state()
        bad = site("bad.test", log_file_path=str(self.folder / "none" / "bad"))
        wanted = self.logged("y", rate_limit=RateLimit(1, 2), limits=Limits(max_connections=7))
        (self.folder / "none").mkdir()
        generation = self.generations.build(evolve(wanted, sites=(*wanted.sites, bad)))
        (self.folder / "none").rmdir()
        error = self.assertRaises(ConfigErrors, self.generations.adopt, generation)
        self.assertEqual([one.path for one in error.errors], [bad.log_file_path])
        self.assertEqual(self.state(), before)
        self.writer.write("one", str(self.folder / "x"))
        self.writer.write("two", str(self.folder / "y"))
        self.writer.close()
        self.assertEqual(self.lines("x"), ["one"])
        self.assertEqual(Path(self.folder / "stdout").read_text().splitlines(), ["one", "two"])

    def test_checked_before(self) -> None:
        """All that could not be opened are mistakes already when a generation is built."""
        paths = sorted(str(self.folder / name / "bad") for name in ("none", "no"))
        wanted = self.configuration("a.test")
        bad = [site(f"{index}.test", log_file_path=path) for index, path in enumerate(paths)]
        wanted = evolve(wanted, sites=tuple(bad))
        for use in (self.generations.build, self.generations.check):
            errors = self.assertRaises(ConfigErrors, use, wanted).errors
            self.assertEqual([one.path for one in errors], paths)
            self.assertIn("no such directory", errors[0].message)


class CertificateTests(GenerationCase):
    def test_adopted_alone(self) -> None:
        """Certificates that are read again are presented; all else stays the same."""
        former, plan = self.chosen("a.test"), self.generations.router.plan
        self.pair("a.test")
        certificates = self.generations.reload_certificates()
        self.assertIs(self.chosen("a.test"), former)
        self.generations.adopt_certificates(certificates)
        self.assertIsNot(self.chosen("a.test"), former)
        self.assertIs(self.generations.current.certificates, certificates)
        self.assertEqual(self.generations.current.number, 1)
        self.assertIs(self.generations.router.plan, plan)

    def test_every_port(self) -> None:
        """Each TLS port presents what is meant for it."""
        whole = self.configuration("a.test")
        self.pair("b.test")
        (other,) = self.configuration("b.test").listeners
        both = evolve(whole, listeners=(*whole.listeners, evolve(other, https_port=9443)))
        self.serve(both)
        second = self.generations.tls_ports[ADDRESS, 9443] = type(self.tls_port)(
            self.port, self.tls_port.choose
        )
        self.adopt(evolve(both, rate_limit=RateLimit(1, 2)))
        self.assertIsInstance(self.chosen("b.test"), Alert)
        self.assertIsInstance(second.choose(ClientHello("b.test")), Identity)

    def test_last_good(self) -> None:
        """A pair that cannot be read any more is an error of a build, but not of a re-reading."""
        former = self.chosen("a.test")
        (self.folder / "a.test" / "privkey.pem").unlink()
        with self.assertRaises(ConfigErrors):
            self.generations.build(self.configuration("a.test"))
        self.generations.adopt_certificates(self.generations.reload_certificates())
        self.assertIs(self.chosen("a.test"), former)
        served = self.generations.current.certificates.served
        self.generations.build(self.configuration("a.test"), last_good=served)


class MemoryTests(GenerationCase):
    def setUp(self) -> None:
        super().setUp()
        # What is told as gone here must go by itself: the first generation is frozen.
        self.addCleanup(gc.enable)
        gc.disable()

    def parts(self) -> list[weakref.ref[Any]]:
        """What a swap should leave nothing of."""
        current = self.generations.current
        (identity,) = current.certificates.served.values()
        (pool,) = current.compiled.pools.values()
        plan = self.generations.router.plan
        selection: Any = self.tls_port.choose
        return [
            weakref.ref(part)
            for part in (
                *(current, current.configuration, current.certificates, current.compiled),
                *(plan, plan.routes, current.compiled.plan, pool, pool.names),
                *(identity, identity.context, selection),
            )
            if type(part).__weakrefoffset__
        ]

    def next_one(self, number: int) -> Configuration:
        """A configuration that has nothing in common with the one before it."""
        self.pair("a.test")
        whole = self.configuration("a.test", default_site="a.test")
        (one,) = whole.listeners
        sites = (site("a.test", f"127.0.0.1:{number}"),)
        return evolve(whole, listeners=(evolve(one, sites=sites),))

    def test_nothing_is_left(self) -> None:
        """Nothing of a generation outlives the swap when no exchange needs it."""
        for number in range(4000, 4003):
            parts = self.parts()
            self.assertGreaterEqual(len(parts), 9)
            self.adopt(self.next_one(number))
            self.assertEqual([part() for part in parts], [None] * len(parts))

    def test_certificates(self) -> None:
        """Nothing of certificates outlives their renewal."""
        (identity,) = self.generations.current.certificates.served.values()
        left = weakref.ref(identity), weakref.ref(identity.context)
        del identity
        self.pair("a.test")
        self.generations.adopt_certificates(self.generations.reload_certificates())
        self.assertEqual([one() for one in left], [None, None])

    def test_what_is_not_adopted(self) -> None:
        """Nothing of a generation that is not adopted is kept."""
        generation = self.generations.build(self.next_one(4000))
        (pool,) = generation.compiled.pools.values()
        left = [weakref.ref(one) for one in (generation, generation.compiled.plan, pool)]
        del generation, pool
        self.assertEqual([one() for one in left], [None] * 3)
