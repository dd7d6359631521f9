"""What a new configuration changes, and how much of it has to wait for a restart."""

from __future__ import annotations

from ipaddress import ip_network
from typing import Any

import attrs
from attrs import evolve
from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from revproxy.control.changes import differences, reloadable
from revproxy.model.address import UpstreamAddress
from revproxy.model.configuration import (
    CertificatePair,
    Configuration,
    Listener,
    Logging,
    Passthrough,
    RateLimit,
    Site,
    Stream,
    TlsSettings,
)
from tests.support.models import configuration, listener, site

FUZZ = settings(deadline=None, derandomize=True, max_examples=100)

PAIR = CertificatePair("/a.pem", "/a.key")
OTHER = CertificatePair("/b.pem", "/b.key")


def at(address: str, *sites: Site, pair: CertificatePair = PAIR, **ports: int) -> Listener:
    """A listener on ``address``."""
    return evolve(listener(*sites, pairs=(pair,)), bind_addr=address, **ports)


def hosts(whole: Configuration) -> list[str]:
    return sorted(site.host for site in whole.all_sites())


class ReloadableTests(SynchronousTestCase):
    def check(self, served: Configuration, wanted: Configuration, *places: str) -> Configuration:
        """What is served of ``wanted``; ``places`` are those that need a restart."""
        found = reloadable(served, wanted)
        self.assertEqual(found.restart_required, places)
        bound = [(one.bind_addr, one.http_port, one.https_port) for one in served.listeners]
        still = [
            (one.bind_addr, one.http_port, one.https_port) for one in found.configuration.listeners
        ]
        self.assertEqual(sorted(still), sorted(bound))
        return found.configuration

    def test_everything_else(self) -> None:
        """What is not static is served as it is wanted."""
        served = configuration(at("192.0.2.1", site("a.test")))
        wanted = configuration(
            at("192.0.2.1", site("b.test"), pair=OTHER),
            rate_limit=RateLimit(1, 2),
            default_site="b.test",
        )
        self.assertEqual(self.check(served, wanted), wanted)

    def test_static_fields(self) -> None:
        """Static fields stay as they are served, and each that differs is named."""
        served = configuration(at("192.0.2.1"))
        changes: dict[str, Any] = {
            "health_check_port": 1,
            "admin_socket_path": "/a",
            "shutdown_timeout_secs": 1.0,
            "allow_wildcard_bind": True,
            "logging": Logging(level="debug", log_file_path="/log"),
        }
        wanted = configuration(at("192.0.2.1"), **changes)
        found = self.check(
            served,
            wanted,
            "allow_wildcard_bind",
            "health_check_port",
            "admin_socket_path",
            "shutdown_timeout_secs",
            "logging.level",
            "logging.log_file_path",
        )
        self.assertEqual(found, served)

    def test_ports(self) -> None:
        """A listener whose ports change goes on with its old ones and takes the rest."""
        served = configuration(at("192.0.2.1", site("a.test")))
        wanted = configuration(
            at("192.0.2.1", site("b.test"), pair=OTHER, http_port=8080, https_port=8443)
        )
        places = "listeners[0].http_port", "listeners[0].https_port"
        found = self.check(served, wanted, *places)
        self.assertEqual(found.listeners[0].tls.pairs, (OTHER,))
        self.assertEqual(hosts(found), ["b.test"])

    def test_exact_partner_first(self) -> None:
        """Of several listeners on one address, those with the same ports belong together."""
        served = configuration(
            at("192.0.2.1", https_port=1, pair=PAIR), at("192.0.2.1", https_port=2, pair=OTHER)
        )
        wanted = configuration(
            at("192.0.2.1", https_port=3, pair=PAIR), at("192.0.2.1", https_port=2, pair=PAIR)
        )
        found = self.check(served, wanted, "listeners[0].https_port")
        self.assertEqual([one.https_port for one in found.listeners], [1, 2])
        self.assertEqual({one.tls.pairs for one in found.listeners}, {(PAIR,)})

    def test_same_tls_port_next(self) -> None:
        """Of those whose ports differ, listeners with the same TLS port belong together."""
        served = configuration(*[at("192.0.2.1", https_port=port) for port in (1, 2)])
        wanted = configuration(
            *[at("192.0.2.1", http_port=81, https_port=port) for port in (2, 1)]
        )
        places = [f"listeners[{index}].http_port" for index in range(2)]
        found = self.check(served, wanted, *places)
        self.assertEqual([one.https_port for one in found.listeners], [2, 1])

    def test_added_listener(self) -> None:
        """A listener that is to come is not served yet; its sites are, as all sites are."""
        served = configuration(at("192.0.2.1", site("a.test")))
        wanted = configuration(
            at("192.0.2.2", site("b.test"), pair=OTHER), at("192.0.2.1", site("a.test"))
        )
        found = self.check(served, wanted, "listeners[0].bind_addr", "listeners")
        self.assertEqual(hosts(found), ["a.test", "b.test"])
        self.assertEqual(found.listeners[0].tls.pairs, (PAIR,))

    def test_removed_listener(self) -> None:
        """A listener that is gone keeps its certificates until a restart, and has no sites."""
        served = configuration(
            at("192.0.2.1", site("a.test")), at("192.0.2.2", site("b.test"), pair=OTHER)
        )
        found = self.check(served, configuration(at("192.0.2.1", site("a.test"))), "listeners")
        self.assertEqual(hosts(found), ["a.test"])
        self.assertEqual([one.tls.pairs for one in found.listeners], [(PAIR,), (OTHER,)])

    def test_removed_listener_passes_nothing_on(self) -> None:
        """Nor does it go on passing connections to backends that are configured no more."""
        backend = UpstreamAddress("10.0.0.1", 443)
        gone = evolve(
            at("192.0.2.2"),
            passthrough=(Passthrough(("b.test",), backend),),
            default_passthrough=backend,
        )
        kept = at("192.0.2.1", site("a.test"))
        found = self.check(configuration(kept, gone), configuration(kept), "listeners")
        self.assertEqual(found.listeners[1], at("192.0.2.2"))

    def test_passthrough(self) -> None:
        """What a listener passes on, and who may speak for clients, is applied; streams wait."""
        backend = UpstreamAddress("10.0.0.1", 443)
        served = configuration(at("192.0.2.1", site("a.test")))
        listener = evolve(
            served.listeners[0],
            passthrough=(Passthrough(("b.test",), backend),),
            default_passthrough=backend,
            proxy_protocol=(ip_network("10.0.0.0/8"),),
        )
        wanted = configuration(listener, streams=(Stream("192.0.2.1", 5222, backend),))
        found = self.check(served, wanted, "streams")
        self.assertEqual(found, evolve(wanted, streams=()))
        self.assertEqual(
            list(differences(served, wanted)),
            [
                "streams: {192.0.2.1, 5222, 10.0.0.1:443, off}: added",
                "listener 192.0.2.1 port 443: passthrough: "
                "{[b.test], 10.0.0.1:443, unset, v2, 5.0}: added",
                "listener 192.0.2.1 port 443: default_passthrough: unset -> 10.0.0.1:443",
                "listener 192.0.2.1 port 443: proxy_protocol: 10.0.0.0/8: added",
            ],
        )

    def test_other_address(self) -> None:
        """What is meant for another address is not served on the present one meanwhile."""
        served = configuration(at("192.0.2.1", site("a.test")))
        wanted = configuration(at("10.0.0.1", site("inner.test"), pair=OTHER))
        found = self.check(served, wanted, "listeners[0].bind_addr")
        self.assertEqual([one.tls for one in found.listeners], [TlsSettings("manual", (PAIR,))])


ADDRESSES = "192.0.2.1", "192.0.2.2", "2001:db8::1"


def sockets(whole: Configuration) -> list[tuple[object, ...]]:
    return [(one.bind_addr, one.http_port, one.https_port) for one in whole.listeners]


@st.composite
def configurations(draw: st.DrawFn, binds: list[Any] | None = None) -> Configuration:
    """Any valid one, as far as listeners and static fields go; or one with the sockets given."""
    if binds is None:
        one = st.tuples(
            st.sampled_from(ADDRESSES), st.sampled_from([0, 80, 81]), st.integers(1, 3)
        )
        unique = st.lists(one, min_size=1, max_size=4, unique_by=lambda it: (it[0], it[2]))
        binds = draw(unique)
    hosts = iter(draw(st.permutations([f"{letter}.test" for letter in "abcdefgh"])))
    listeners = [
        at(
            address,
            *[site(next(hosts)) for _ in range(draw(st.integers(0, 1)))],
            pair=draw(st.sampled_from([PAIR, OTHER])),
            http_port=http,
            https_port=https,
        )
        for address, http, https in binds
    ]
    return configuration(
        *listeners,
        sites=tuple(site(next(hosts)) for _ in range(draw(st.integers(0, 2)))),
        rate_limit=RateLimit(1, draw(st.integers(1, 2))),
        health_check_port=draw(st.integers(0, 1)),
        logging=Logging(level=draw(st.sampled_from(["info", "debug"]))),
    )


class AnyReloadTests(SynchronousTestCase):
    """What holds for every two configurations."""

    @FUZZ
    @given(configurations(), configurations())
    def test_sockets(self, served: Configuration, wanted: Configuration) -> None:
        """What is served has exactly the sockets that are bound, however they change."""
        found = reloadable(served, wanted).configuration
        self.assertEqual(sorted(sockets(found)), sorted(sockets(served)))

    @FUZZ
    @given(configurations(), configurations())
    def test_fields(self, served: Configuration, wanted: Configuration) -> None:
        """Static fields are those that are served, every other one is as wanted."""
        found = reloadable(served, wanted).configuration
        for field in attrs.fields(Configuration):
            if field.name not in {"listeners", "sites"}:
                origin = served if field.metadata["static"] else wanted
                self.assertEqual(getattr(found, field.name), getattr(origin, field.name))
        self.assertEqual(hosts(found), hosts(wanted))

    @FUZZ
    @given(configurations(), configurations())
    def test_addresses(self, served: Configuration, wanted: Configuration) -> None:
        """No address ever presents a certificate that is meant for another."""
        meant = {(one.bind_addr, one.tls) for one in (*served.listeners, *wanted.listeners)}
        found = reloadable(served, wanted).configuration
        self.assertLessEqual({(one.bind_addr, one.tls) for one in found.listeners}, meant)

    @FUZZ
    @given(configurations(), configurations())
    def test_again(self, served: Configuration, wanted: Configuration) -> None:
        """The same file once more changes nothing, and needs a restart for the same places."""
        found = reloadable(served, wanted)
        self.assertEqual(reloadable(found.configuration, wanted), found)

    @FUZZ
    @given(configurations(), st.data())
    def test_same_statics(self, served: Configuration, data: st.DataObject) -> None:
        """What has the same static fields, in any order, is served as it is without a restart."""
        binds = data.draw(st.permutations(sockets(served)))
        other = data.draw(configurations(binds))
        wanted = evolve(other, health_check_port=served.health_check_port, logging=served.logging)
        found = reloadable(served, wanted)
        self.assertEqual((found.configuration, found.restart_required), (wanted, ()))

    @FUZZ
    @given(configurations(), configurations())
    def test_restart(self, served: Configuration, wanted: Configuration) -> None:
        """Whatever is not served as it is wanted is among what needs a restart."""
        found = reloadable(served, wanted)
        self.assertEqual(found.configuration == wanted, not found.restart_required)

    @FUZZ
    @given(configurations(), configurations())
    def test_differences(self, served: Configuration, wanted: Configuration) -> None:
        """Every difference is told once, and none where there is none."""
        lines = list(differences(served, wanted))
        self.assertEqual(len(set(lines)), len(lines))
        for host in set(hosts(served)) ^ set(hosts(wanted)):
            self.assertEqual(len([line for line in lines if f"site {host}: " in line]), 1)
        self.assertEqual(list(differences(wanted, wanted)), [])


class DifferenceTests(SynchronousTestCase):
    def test_none(self) -> None:
        """Equal configurations differ in nothing."""
        one = configuration(at("192.0.2.1", site("a.test")))
        self.assertEqual(list(differences(one, evolve(one))), [])

    def test_lines(self) -> None:
        """Every difference is a line with the old and the new value; sites go by their host."""
        served = configuration(
            at("192.0.2.1", site("a.test"), site("b.test")), sites=(site("c.test"),)
        )
        wanted = configuration(
            at("192.0.2.1", site("c.test"), pair=OTHER),
            sites=(site("a.test", "10.0.0.1:80", log_file_path="/log"), site("d.test")),
            rate_limit=RateLimit(10, 30),
        )
        self.assertEqual(
            list(differences(served, wanted)),
            [
                "rate_limit.burst: 20 -> 30",
                "listener 192.0.2.1 port 443: tls.certificates: {/a.pem, /a.key}: removed",
                "listener 192.0.2.1 port 443: tls.certificates: {/b.pem, /b.key}: added",
                "site b.test: removed",
                "site a.test: upstream: 127.0.0.1:3000 -> 10.0.0.1:80",
                "site a.test: log_file_path: unset -> /log",
                "site d.test: added",
            ],
        )

    def test_list(self) -> None:
        """Of a list what has come and gone is told, and all of it where only the order differs."""
        served = configuration(at("192.0.2.1"), sites=(site("a.test", listeners=("1", "2")),))
        for listeners, expected in (
            (("2", "3"), ["listeners: 1: removed", "listeners: 3: added"]),
            (("2", "1"), ["listeners: [1, 2] -> [2, 1]"]),
            ((), ["listeners: 1: removed", "listeners: 2: removed"]),
            (None, ["listeners: [1, 2] -> unset"]),
        ):
            wanted = evolve(served, sites=(site("a.test", listeners=listeners),))
            lines = [f"site a.test: {line}" for line in expected]
            self.assertEqual(list(differences(served, wanted)), lines)

    def test_order(self) -> None:
        """What is removed is told in the order in which it stood."""
        names = [f"{letter}.test" for letter in "qwertyuiop"]
        served = configuration(at("192.0.2.1", *map(site, names)))
        lines = list(differences(served, configuration(at("192.0.2.1"))))
        self.assertEqual(lines, [f"site {name}: removed" for name in names])

    def test_listeners(self) -> None:
        """Listeners that come and go are named by address and port."""
        served = configuration(at("192.0.2.1"), at("2001:db8::1"))
        wanted = configuration(at("192.0.2.1", http_port=0), at("192.0.2.2"))
        self.assertEqual(
            list(differences(served, wanted)),
            [
                "listener 2001:db8::1 port 443: removed",
                "listener 192.0.2.1 port 443: http_port: 80 -> 0",
                "listener 192.0.2.2 port 443: added",
            ],
        )
