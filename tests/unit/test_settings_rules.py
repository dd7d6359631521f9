"""Rules between tables: unique ports and hosts, references that exist, keys that go together."""

from __future__ import annotations

from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from tests.support.configurations import changed, minimal, mistakes, read, without


def listeners(*tables: dict[str, Any]) -> dict[str, Any]:
    """The minimal document with a listener for each of ``tables``; the first has the site."""
    document = minimal()
    first = document["listeners"][0]
    bare = {key: value for key, value in first.items() if key != "sites"}
    document["listeners"] = [
        (bare if index else first) | table for index, table in enumerate(tables)
    ]
    return document


def sites(*hosts: str) -> dict[str, Any]:
    """The minimal document with these sites."""
    tables = [{"host": host, "upstream": "127.0.0.1:1"} for host in hosts]
    return changed("listeners", 0, "sites", to=tables)


class PresenceTests(SynchronousTestCase):
    """There is something to serve, and somewhere."""

    def test_no_listener(self) -> None:
        """Without a listener nothing is served."""
        expected = ["listeners: at least one [[listeners]] is required"]
        self.assertEqual(mistakes(without("listeners")), expected)
        self.assertEqual(mistakes(minimal() | {"listeners": []}), expected)

    def test_no_site(self) -> None:
        """Without a site nothing is served either."""
        self.assertEqual(
            mistakes(without("listeners", 0, "sites")),
            ["listeners: no site at all: at least one has [[listeners.sites]]"],
        )

    def test_listener_without_site(self) -> None:
        """A listener without a site of its own serves the sites of others."""
        self.assertEqual(mistakes(listeners({}, {"bind_addr": "203.0.113.11"})), [])

    def test_unreadable_listeners(self) -> None:
        """What could not be read is not reported as missing too."""
        self.assertEqual(
            mistakes(minimal() | {"listeners": [7]}),
            ["listeners[0]: must be a table, not an integer"],
        )


class WildcardTests(SynchronousTestCase):
    """Binding every address is a decision."""

    def test_refused(self) -> None:
        """Both wildcards are refused unless allowed."""
        for address in ("0.0.0.0", "::", "0:0::0"):
            (found,) = mistakes(changed("listeners", 0, "bind_addr", to=address))
            self.assertTrue(found.startswith("listeners[0].bind_addr: "), found)
            self.assertIn("--allow-wildcard-bind", found)

    def test_allowed(self) -> None:
        """Either the file or the command line allows it, and the model says so."""
        document = changed("listeners", 0, "bind_addr", to="0.0.0.0")
        by_argument = read(document, allow_wildcard_bind=True)
        by_file = read(document | {"allow_wildcard_bind": True})
        self.assertIs(by_argument.allow_wildcard_bind, True)
        self.assertEqual(by_argument, by_file)


class PortTests(SynchronousTestCase):
    """Each listening socket has an address and port of its own."""

    def test_same_listener(self) -> None:
        """A listener's two ports differ, also when its address is not valid."""
        self.assertEqual(
            mistakes(listeners({"http_port": 443})),
            ["listeners[0].https_port: must differ from http_port"],
        )
        found = mistakes(listeners({"http_port": 443, "bind_addr": "x"}))
        self.assertEqual(len(found), 2)
        found = mistakes(listeners({"http_port": -1, "https_port": -1}))
        self.assertEqual(len(found), 2)

    def test_two_listeners(self) -> None:
        """The first one that took a port is named."""
        self.assertEqual(
            mistakes(listeners({}, {"http_port": 443, "https_port": 444})),
            [
                "listeners[1].http_port: "
                "port 443 on 203.0.113.10 is taken by listeners[0].https_port"
            ],
        )

    def test_defaults_count(self) -> None:
        """Ports that are not written down collide as well."""
        self.assertEqual(len(mistakes(listeners({}, {}))), 2)

    def test_ports_off(self) -> None:
        """Port 0 opens no socket."""
        off = {"http_port": 0}
        self.assertEqual(mistakes(listeners(off, off | {"https_port": 444})), [])

    def test_wildcard_takes_every_address(self) -> None:
        """A wildcard collides with each address of its IP version."""
        document = listeners({"bind_addr": "0.0.0.0"}, {}, {"bind_addr": "2001:db8::1"})
        found = mistakes(document, allow_wildcard_bind=True)
        self.assertEqual(
            [line.partition(":")[0] for line in found],
            ["listeners[1].http_port", "listeners[1].https_port"],
        )

    def test_health_port(self) -> None:
        """The health check's port collides on the loopback address and on wildcards."""
        for address in ("127.0.0.1", "0.0.0.0", "::"):
            document = listeners({"bind_addr": address, "https_port": 9900})
            self.assertEqual(
                mistakes(document, allow_wildcard_bind=True),
                [f"listeners[0].https_port: port 9900 on {address} is taken by health_check_port"],
            )
            self.assertEqual(
                mistakes(document | {"health_check_port": 0}, allow_wildcard_bind=True), []
            )
        for address in ("127.0.0.2", "203.0.113.10", "::1"):
            self.assertEqual(mistakes(listeners({"bind_addr": address, "https_port": 9900})), [])


class HostRuleTests(SynchronousTestCase):
    """A host is served once."""

    def test_twice(self) -> None:
        """The second site of a host is told where the first one is, however it is spelled."""
        self.assertEqual(
            mistakes(sites("a.example", "b.example", "A.Example.")),
            [
                'listeners[0].sites[2].host: "a.example" is served already, '
                "by listeners[0].sites[0]"
            ],
        )

    def test_over_listeners(self) -> None:
        """Hosts are unique over all listeners."""
        own = {"bind_addr": "203.0.113.11", "sites": [{"host": "example.com", "upstream": "a:1"}]}
        self.assertEqual(
            mistakes(listeners({}, own)),
            [
                'listeners[1].sites[0].host: "example.com" is served already, '
                "by listeners[0].sites[0]"
            ],
        )

    def test_wildcard_beside_exact(self) -> None:
        """A wildcard and a name that it covers may both be served."""
        self.assertEqual(mistakes(sites("a.example.com", "*.example.com")), [])

    def test_default_site(self) -> None:
        """The default site is one of the sites."""
        document = sites("www.example.com", "git.example.com")
        self.assertEqual(mistakes(document | {"default_site": "git.example.com"}), [])
        self.assertEqual(
            mistakes(document | {"default_site": "gti.example.com"}),
            [
                'default_site: no site has the host "gti.example.com", '
                'did you mean "git.example.com"?'
            ],
        )

    def test_default_site_among_unreadable_hosts(self) -> None:
        """It is not missed while a host could not be read."""
        found = mistakes(sites("a b") | {"default_site": "example.com"})
        self.assertEqual(len(found), 1)

    def test_listeners_of_a_nested_site(self) -> None:
        """A site inside a listener cannot choose others."""
        self.assertEqual(
            mistakes(changed("listeners", 0, "sites", 0, "listeners", to=["203.0.113.10"])),
            [
                "listeners[0].sites[0].listeners: "
                "only [[sites]] of an included file choose their listeners"
            ],
        )

    def test_sites_of_the_main_file(self) -> None:
        """The main file holds its sites inside listeners."""
        (found,) = mistakes(minimal() | {"sites": []})
        self.assertIn("here it is [[listeners.sites]]", found)


class CertificateTests(SynchronousTestCase):
    """Manual mode needs a pair."""

    def tls(self, **keys: Any) -> list[str]:
        """What is wrong with a listener whose TLS table is manual with ``keys``."""
        return mistakes(changed("listeners", 0, "tls", to={"mode": "manual"} | keys))

    def test_no_pair(self) -> None:
        """Without any certificate nothing can be served."""
        expected = [
            "listeners[0].tls.cert_path: "
            'required, but missing: mode = "manual" needs a certificate'
        ]
        self.assertEqual(self.tls(), expected)
        self.assertEqual(self.tls(certificates=[]), expected)

    def test_half_a_pair(self) -> None:
        """A certificate without its key, or a key without its certificate, is asked for it."""
        self.assertEqual(
            self.tls(cert_path="c"),
            ["listeners[0].tls.key_path: required, but missing: cert_path is given"],
        )
        self.assertEqual(
            self.tls(key_path="k", certificates=[{"cert_path": "c", "key_path": "k"}]),
            ["listeners[0].tls.cert_path: required, but missing: key_path is given"],
        )
        self.assertEqual(
            self.tls(certificates=[{"cert_path": "c"}]),
            ["listeners[0].tls.certificates[0].key_path: required, but missing"],
        )
