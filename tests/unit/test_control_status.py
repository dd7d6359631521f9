"""What is told about the running process: its figures and its lists."""

from __future__ import annotations

import datetime
import os
from typing import Any

from attrs import evolve, frozen

import revproxy
from revproxy.control import status as control_status
from revproxy.control.proxy import Proxy
from revproxy.control.status import LONGEST_TEXT, MOST_ENTRIES, listed
from revproxy.errors import ConfigError
from revproxy.model.configuration import CertificatePair, Configuration, Limits, Listener, Site
from revproxy.net.downstream import Summary
from tests.support.certificates import DAY, authority
from tests.support.models import ADDRESS, configuration, listener, pair, site
from tests.support.tls_peers import NOW
from tests.support.whole_proxy import ProxyCase

DAY_SECS = 86400.0


@frozen(eq=False)
class Open:
    """An open connection, which is its own protocol."""

    told: Summary
    busy: bool = False
    upgraded: int = 0

    @property
    def protocol(self) -> Open:
        return self

    def summary(self) -> Summary:
        return self.told

    def drain(self) -> None:
        """Stay: something is under way."""

    def cut(self) -> None:
        """Likewise."""


def opened(at: float, **fields: Any) -> Open:
    """A connection accepted ``at`` this time."""
    busy, upgraded = fields.pop("busy", False), fields.pop("upgraded", 0)
    values = {"client": "192.0.2.7", "secure": True, "server_name": "", "state": "idle", **fields}
    return Open(Summary(opened=at, **values), busy, upgraded)


def lasting(days: int, *names: str) -> CertificatePair:
    """A certificate for ``names`` that ends in so many days."""
    issued = authority().pair(*names, lasts=days * DAY)
    return CertificatePair(issued.cert_path, issued.key_path)


class StatusCase(ProxyCase):
    """The status of a proxy that is bound, unless it is not."""

    def setUp(self) -> None:
        super().setUp()
        self.now = NOW
        self.serve(self.configuration(limits=Limits(max_connections=50)))

    def serve(self, whole: Configuration, *, bound: bool = True) -> None:
        """Serve ``whole``, without a network."""
        self.proxied = Proxy(whole, self.reactor, lambda: self.now, threads=self.reactor)
        self.addCleanup(self.proxied.writer.close)
        self.status = self.proxied.status
        if bound:
            self.proxied.privilegedStartService()

    def serve_on(self, *listeners: Listener, sites: tuple[Site, ...] = ()) -> None:
        """Serve these listeners."""
        whole = configuration(*listeners, sites=sites, health_check_port=0, admin_socket_path="")
        self.serve(whole)

    def open(self, *connections: Open, key: int = 1) -> None:
        """Count ``connections`` in, all of one client."""
        for one in connections:
            self.proxied.connections.enter(key, one)


class SummaryTests(StatusCase):
    def test_process(self) -> None:
        """What the process is, and for how long, comes first."""
        self.reactor.advance(1000)
        self.serve(self.configuration())
        self.reactor.advance(61.9)
        self.proxied.reload.restart_required = ("logging.level",)
        summary = self.status.summary()
        self.assertEqual(list(summary)[:2], ["uptime_secs", "sites"])
        expected = {
            "uptime_secs": 61,
            "sites": 2,
            "version": revproxy.__version__,
            "pid": os.getpid(),
            "config": "",
            "generation": 1,
            "draining": False,
            "drain_left_secs": None,
            "restart_required": ["logging.level"],
            "listeners": [f"{ADDRESS} port 8443", f"{ADDRESS} port 8080"],
        }
        self.assertEqual({key: summary[key] for key in expected}, expected)

    def test_draining(self) -> None:
        """A process that is about to end says so, and when it will have ended."""
        self.open(opened(0), opened(0))
        timeout = self.proxied.configuration.shutdown_timeout_secs
        self.proxied.drain.begin()
        self.reactor.advance(1.5)
        summary = self.status.summary()
        self.assertTrue(summary["draining"])
        self.assertAlmostEqual(summary["drain_left_secs"], timeout - 1.5, 1)
        self.proxied.drain.cut()
        self.assertEqual(self.status.summary()["drain_left_secs"], 0.0)

    def test_not_bound(self) -> None:
        """What is not bound is not among what is listened on."""
        self.serve(self.configuration(), bound=False)
        self.assertEqual(self.status.summary()["listeners"], [])

    def test_file(self) -> None:
        """Where the configuration came from is told."""
        proxy = Proxy(
            self.configuration(), self.reactor, threads=self.reactor, config_path="/etc/a.toml"
        )
        self.addCleanup(proxy.writer.close)
        self.assertEqual(proxy.status.summary()["config"], "/etc/a.toml")

    def test_connections(self) -> None:
        """Connections are counted: all, those with an exchange, those that wait for a turn; and
        so are tunnels."""
        self.proxied.connections.configure(50, 2)
        self.open(opened(0, busy=True), opened(0), opened(0))
        self.open(opened(0, busy=True, upgraded=3), opened(0, upgraded=1), opened(0), key=2)
        self.assertEqual(
            self.status.summary()["connections"],
            {
                "open": 6,
                "in_flight": 2,
                "upgraded": 4,
                "waiting": 2,
                "limit": 50,
                "accepting": True,
            },
        )
        self.assertEqual(self.status.open, 6)

    def test_not_accepting(self) -> None:
        """While a port leaves connections in the backlog, that is said."""
        self.proxied.connections.configure(1, 0)
        self.open(opened(0))

        class Port:
            def stop_accepting(self) -> None:
                """Nothing is accepted here."""

        self.proxied.gate.hold(Port())  # type: ignore[arg-type]
        self.assertFalse(self.status.summary()["connections"]["accepting"])

    def test_requests(self) -> None:
        """Requests are counted in all, and by the class of their status."""
        self.proxied.router.plan.responses[:6] = [100, 10, 1, 2, 3, 4]
        self.assertEqual(
            self.status.summary()["requests"],
            {"total": 120, "2xx": 1, "3xx": 2, "4xx": 3, "5xx": 4},
        )

    def test_lost_lines(self) -> None:
        """Lines that the log has lost are counted; where it fails now is told, and why."""
        summary = self.status.summary()
        self.assertEqual((summary["log_lines_lost"], summary["log_failures"]), (0, {}))
        self.proxied.writer._refused = 3
        self.assertEqual(self.status.summary()["log_lines_lost"], 3)

    def test_upstreams(self) -> None:
        """Every pool is told by its upstream, with its connections and failures."""
        sites = site("a.test"), site("b.test", "up.test:444", upstream_scheme="https")
        self.serve_on(listener(*sites, pairs=(pair("a.test", "b.test"),)))
        (pool, other) = self.proxied.workshop.pools
        pool.open, pool.made, pool.failures = 5, 6, 7
        pool._idle.extend([None, None])  # type: ignore[list-item]
        other.failed_at = self.reactor.seconds()
        self.assertEqual(
            self.status.summary()["upstreams"],
            [
                {
                    "upstream": "127.0.0.1:3000",
                    "scheme": "http",
                    "open": 5,
                    "idle": 2,
                    "made": 6,
                    "failures": 7,
                    "dead": False,
                },
                {
                    "upstream": "up.test:444",
                    "scheme": "https",
                    "open": 0,
                    "idle": 0,
                    "made": 0,
                    "failures": 0,
                    "dead": True,
                },
            ],
        )
        pool._idle.clear()

    def test_certificates(self) -> None:
        """The certificates are part of it."""
        summary = self.status.summary()
        self.assertEqual(summary["certificates"], self.status.certificates())
        self.assertEqual(len(summary["certificates"]), 1)


class ListTests(StatusCase):
    def test_sites(self) -> None:
        """Every site is told in file order, with whether it has a certificate."""
        more = site("c.test", "unix:/run/c"), site("d.test", "d.test:8", upstream_scheme="https")
        self.serve(evolve(self.configuration(), sites=more))
        self.assertEqual(
            [tuple(entry.values()) for entry in self.status.sites()],
            [
                ("a.test", "127.0.0.1:3000", "http", [ADDRESS], True),
                ("b.test", "127.0.0.1:3000", "http", [ADDRESS], False),
                ("c.test", "unix:/run/c", "http", [ADDRESS], False),
                ("d.test", "d.test:8", "https", [ADDRESS], False),
            ],
        )
        self.assertEqual(
            list(self.status.sites()[0]),
            ["host", "upstream", "upstream_scheme", "listeners", "certificate"],
        )

    def test_site_listeners(self) -> None:
        """A site is told with every address that it is served on, once."""
        used = pair("a.test")
        places = ("192.0.2.1", 1, "a"), ("192.0.2.1", 2, "b"), ("192.0.2.2", 1, "c")
        listeners = [
            evolve(
                listener(site(f"{name}.test"), pairs=(used,)),
                bind_addr=address,
                http_port=0,
                https_port=port,
            )
            for address, port, name in places
        ]
        self.serve_on(*listeners, sites=(site("d.test"),))
        self.assertEqual(
            {entry["host"]: entry["listeners"] for entry in self.status.sites()},
            {
                "a.test": ["192.0.2.1"],
                "b.test": ["192.0.2.1"],
                "c.test": ["192.0.2.2"],
                "d.test": ["192.0.2.1", "192.0.2.2"],
            },
        )

    def test_certificate_fields(self) -> None:
        """A certificate is told with its names and the time that is left, and without its key."""
        self.now += 0.34 * DAY_SECS
        used = pair("a.test", "*.b.test")
        self.serve_on(listener(site("a.test"), pairs=(used,)))
        (entry,) = self.status.certificates()
        until = entry["not_after"]
        self.assertRegex(until, r"\A\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ\Z")
        left = datetime.datetime.fromisoformat(until).timestamp() - self.now
        self.assertEqual(
            entry,
            {
                "name": "a.test",
                "names": ["a.test", "*.b.test"],
                "issuer": "CN=revproxy test authority",
                "not_after": until,
                "days_left": round(left / DAY_SECS, 1),
                "source": used.cert_path,
                "kind": "manual",
                "next_attempt": None,
                "error": None,
            },
        )
        self.now += 10 * DAY_SECS
        (later,) = self.status.certificates()
        self.assertAlmostEqual(entry["days_left"] - later["days_left"], 10, 3)

    def test_first_to_end(self) -> None:
        """Those that end first come first."""
        pairs = [lasting(days, f"{days}.test") for days in (30, 10, 20)]
        self.serve_on(listener(site("a.test"), pairs=tuple(pairs)))
        names = [entry["name"] for entry in self.status.certificates()]
        self.assertEqual(names, ["10.test", "20.test", "30.test"])

    def test_failing_files(self) -> None:
        """Why a pair could not be read again is told beside it, whichever file it was."""
        one, other = pair("a.test"), pair("b.test")
        self.serve_on(listener(site("a.test"), pairs=(one, other)))
        failures = ConfigError(one.cert_path, "missing"), ConfigError(other.key_path, "wrong")
        generations = self.proxied.generations
        certificates = evolve(generations.current.certificates, failures=failures)
        generations.current = evolve(generations.current, certificates=certificates)
        errors = {entry["name"]: entry["error"] for entry in self.status.certificates()}
        expected = {"a.test": f"{one.cert_path}: missing", "b.test": f"{other.key_path}: wrong"}
        self.assertEqual(errors, expected)

    def test_expired(self) -> None:
        """Of a certificate that has expired that is told, and no time is left of -0.0 days."""
        self.serve_on(listener(site("a.test"), pairs=(lasting(10, "a.test"),)))
        for days, left, error in ((9.99, 0.0, None), (10.01, 0.0, "has expired")):
            self.now = NOW + days * DAY_SECS
            (entry,) = self.status.certificates()
            self.assertEqual((str(entry["days_left"]), entry["error"]), (str(left), error))

    def test_connections(self) -> None:
        """Open connections are told with what they are doing, the oldest first."""
        self.reactor.advance(100)
        self.open(
            opened(99.96, host="a.test", method="GET", path="/x", state="response"),
            opened(40, server_name="b.test", secure=False),
        )
        first, second = self.status.open_connections()
        self.assertEqual(
            second,
            {
                "client_ip": "192.0.2.7",
                "tls": True,
                "server_name": "",
                "state": "response",
                "age_secs": 0.0,
                "host": "a.test",
                "method": "GET",
                "path": "/x",
            },
        )
        self.assertEqual((first["tls"], first["server_name"]), (False, "b.test"))
        self.assertEqual((first["age_secs"], first["state"]), (60.0, "idle"))

    def test_clock_of_a_sweep(self) -> None:
        """No connection is younger than nothing."""
        self.open(opened(0.25))
        self.assertEqual(self.status.open_connections()[0]["age_secs"], 0.0)

    def test_waiting(self) -> None:
        """A connection that waits for another of its client is told as that."""
        self.proxied.connections.configure(50, 1)
        self.open(opened(0, state="handshake"), opened(1, state="handshake"))
        self.reactor.advance(2)
        states = [entry["state"] for entry in self.status.open_connections()]
        self.assertEqual(states, ["handshake", "waiting"])

    def test_long_texts(self) -> None:
        """What a client has chosen is told up to a length."""
        self.open(opened(0, method="M" * 9000, path="/" + "p" * 9000))
        (entry,) = self.status.open_connections()
        self.assertEqual(entry["method"], "M" * LONGEST_TEXT)
        self.assertEqual(entry["path"], "/" + "p" * (LONGEST_TEXT - 1))

    def test_listed(self) -> None:
        """A list has so many entries, the first ones, and the number in all where it is more."""
        entries = [{"number": number} for number in range(MOST_ENTRIES + 1)]
        self.assertEqual(listed("x", entries[:MOST_ENTRIES]), {"x": entries[:MOST_ENTRIES]})
        expected = {"x": entries[:MOST_ENTRIES], "x_total": MOST_ENTRIES + 1}
        self.assertEqual(listed("x", entries), expected)

    def test_bounds_of_the_summary(self) -> None:
        """Both lists of the summary are bounded."""
        pairs = pair("a.test"), pair("b.test")
        sites = site("a.test"), site("b.test", "127.0.0.1:3001")
        self.serve_on(listener(*sites, pairs=pairs))
        self.patch(control_status, "MOST_ENTRIES", 1)
        summary = self.status.summary()
        for name in ("upstreams", "certificates"):
            self.assertEqual((len(summary[name]), summary[f"{name}_total"]), (1, 2))
