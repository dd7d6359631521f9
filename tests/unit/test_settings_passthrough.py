"""TLS passthrough, the PROXY protocol and TCP services: their keys, and the rules around them."""

from __future__ import annotations

from ipaddress import ip_network
from typing import Any

import attrs
from twisted.trial.unittest import SynchronousTestCase

from revproxy.model.address import UpstreamAddress
from revproxy.model.configuration import Listener, Passthrough, Stream
from tests.support.configurations import changed, minimal, mistakes, read, without

BACKEND = {"hosts": ["cloud.example.org"], "upstream": "192.0.2.11:443"}
STREAM = {"bind_addr": "203.0.113.10", "port": 5222, "upstream": "192.0.2.11:5222"}

DOCUMENTED = """
allow_wildcard_bind = false
[rate_limit]
requests_per_second = 10
burst = 20
[body]
limit_bytes = 104857600
[timeouts]
proxy_header_secs = 3
[[listeners]]
bind_addr = "203.0.113.10"
default_passthrough = "127.0.0.1:8443"
proxy_protocol = []
[listeners.tls]
mode = "manual"
cert_path = "/c.pem"
key_path = "/k.pem"
[[listeners.passthrough]]
hosts = ["cloud.example.org", "*.cloud.example.org"]
upstream = "192.0.2.11:443"
http_upstream = "192.0.2.11:80"
send_proxy = "v2"
connect_timeout_secs = 5
[[listeners.sites]]
host = "git.example.com"
upstream = "127.0.0.1:3000"
send_proxy = "v1"
[[streams]]
bind_addr = "203.0.113.10"
port = 5222
upstream = "192.0.2.11:5222"
send_proxy = "off"
"""
"""The keys as they are documented."""


def passing(*tables: dict[str, Any], **keys: Any) -> dict[str, Any]:
    """The minimal document whose listener passes ``tables`` on and has ``keys``."""
    document = minimal()
    document["listeners"][0] |= {"passthrough": list(tables)} | keys
    return document


def passing_on_two(first: list[str], second: list[str]) -> dict[str, Any]:
    """A document of two listeners that pass these hosts on."""
    document = passing(BACKEND | {"hosts": first})
    more = {key: value for key, value in document["listeners"][0].items() if key != "sites"}
    more |= {"bind_addr": "2001:db8::1", "passthrough": [BACKEND | {"hosts": second}]}
    document["listeners"].append(more)
    return document


def streaming(*tables: dict[str, Any]) -> dict[str, Any]:
    """The minimal document with these streams."""
    return minimal() | {"streams": list(tables)}


class AbsentTests(SynchronousTestCase):
    """Without any of the keys."""

    def test_defaults_pass_nothing_on(self) -> None:
        """A configuration without them is what it was."""
        configuration = read(minimal())
        (listener,) = configuration.listeners
        self.assertEqual((listener.passthrough, listener.default_passthrough), ((), None))
        self.assertEqual((listener.proxy_protocol, configuration.streams), ((), ()))
        self.assertEqual(listener.sites[0].send_proxy, "off")
        self.assertEqual(configuration.timeouts.proxy_header_secs, 3)


class ValueTests(SynchronousTestCase):
    """Keys by themselves."""

    def listener(self, *tables: dict[str, Any], **keys: Any) -> Listener:
        """The listener of a valid document."""
        return read(passing(*tables, **keys)).listeners[0]

    def refused(self, document: dict[str, Any], place: str, words: str) -> None:
        """Assert that there is one mistake, at ``place``, whose message has ``words``."""
        found = mistakes(document)
        self.assertEqual(len(found), 1, found)
        self.assertTrue(found[0].startswith(f"{place}: "), found)
        self.assertIn(words, found[0])

    def test_documented(self) -> None:
        """What is documented arrives."""
        configuration = read(DOCUMENTED)
        (listener,) = configuration.listeners
        self.assertEqual(
            listener.passthrough,
            (
                Passthrough(
                    hosts=("cloud.example.org", "*.cloud.example.org"),
                    upstream=UpstreamAddress("192.0.2.11", 443),
                    http_upstream=UpstreamAddress("192.0.2.11", 80),
                    send_proxy="v2",
                    connect_timeout_secs=5,
                ),
            ),
        )
        self.assertEqual(listener.default_passthrough, UpstreamAddress("127.0.0.1", 8443))
        self.assertEqual(listener.proxy_protocol, ())
        self.assertEqual(listener.sites[0].send_proxy, "v1")
        self.assertEqual(configuration.timeouts.proxy_header_secs, 3)
        self.assertEqual(
            configuration.streams,
            (Stream("203.0.113.10", 5222, UpstreamAddress("192.0.2.11", 5222), "off"),),
        )

    def test_defaults(self) -> None:
        """What is left out has the documented defaults."""
        (found,) = self.listener(BACKEND).passthrough
        self.assertIsNone(found.http_upstream)
        self.assertEqual((found.send_proxy, found.connect_timeout_secs), ("v2", 5))
        (stream,) = read(streaming(STREAM)).streams
        self.assertEqual(stream.send_proxy, "off")

    def test_fallback(self) -> None:
        """default_passthrough is a backend with all the defaults."""
        upstream = UpstreamAddress("127.0.0.1", 8443)
        found = self.listener(default_passthrough="127.0.0.1:8443").fallback()
        (by_table,) = self.listener(BACKEND | {"upstream": "127.0.0.1:8443"}).passthrough
        self.assertEqual(found, Passthrough((), upstream))
        self.assertEqual(found, attrs.evolve(by_table, hosts=()))
        self.assertIsNone(self.listener().fallback())

    def test_required(self) -> None:
        """A backend has hosts and an address; a stream has an address and port of its own too."""
        self.assertEqual(
            mistakes(passing({})),
            [
                "listeners[0].passthrough[0].hosts: required, but missing",
                "listeners[0].passthrough[0].upstream: required, but missing",
            ],
        )
        self.assertEqual(
            mistakes(streaming({})),
            [f"streams[0].{key}: required, but missing" for key in STREAM],
        )

    def test_hosts(self) -> None:
        """They are a site's kind of names, in normal form."""
        (found,) = self.listener(
            BACKEND | {"hosts": ["Cloud.Example.ORG.", "*.B.test"]}
        ).passthrough
        self.assertEqual(found.hosts, ("cloud.example.org", "*.b.test"))
        place = "listeners[0].passthrough[0].hosts"
        self.refused(passing(BACKEND | {"hosts": []}), place, "must not be empty")
        self.refused(passing(BACKEND | {"hosts": "a.test"}), place, "must be an array")
        for bad in ("*", "a.*.test", "192.0.2.1", "a.test:443", "a_b.test"):
            self.refused(passing(BACKEND | {"hosts": ["a.test", bad]}), f"{place}[1]", "")

    def test_addresses(self) -> None:
        """Every address is host and port or a UNIX socket, without a scheme."""
        for good in ("backend.internal:443", "[2001:db8::1]:443", "unix:/run/x.sock"):
            upstream = UpstreamAddress.parse(good)
            (found,) = self.listener(BACKEND | {"upstream": good}).passthrough
            self.assertEqual(found.upstream, upstream)
            self.assertEqual(self.listener(default_passthrough=good).default_passthrough, upstream)
            self.assertEqual(
                read(streaming(STREAM | {"upstream": good})).streams[0].upstream, upstream
            )
        for bad, words in (
            ("a.test", "a port is missing"),
            ("https://a.test", "without a scheme"),
        ):
            table = "listeners[0].passthrough[0]"
            self.refused(passing(BACKEND | {"upstream": bad}), f"{table}.upstream", words)
            self.refused(
                passing(BACKEND | {"http_upstream": bad}), f"{table}.http_upstream", words
            )
            self.refused(
                passing(default_passthrough=bad), "listeners[0].default_passthrough", words
            )
            self.refused(streaming(STREAM | {"upstream": bad}), "streams[0].upstream", words)

    def test_send_proxy(self) -> None:
        """It is off or one of two versions, everywhere."""
        for word in ("off", "v1", "v2"):
            (found,) = self.listener(BACKEND | {"send_proxy": word}).passthrough
            self.assertEqual(found.send_proxy, word)
        words = 'must be "off", "v1" or "v2"'
        for bad in ("v3", "V2", "on"):
            document = passing(BACKEND | {"send_proxy": bad})
            self.refused(document, "listeners[0].passthrough[0].send_proxy", words)
            self.refused(streaming(STREAM | {"send_proxy": bad}), "streams[0].send_proxy", words)
            document = changed("listeners", 0, "sites", 0, "send_proxy", to=bad)
            self.refused(document, "listeners[0].sites[0].send_proxy", words)
        (boolean,) = mistakes(passing(BACKEND | {"send_proxy": True}))
        self.assertIn("must be a string", boolean)

    def test_times(self) -> None:
        """They are above zero."""
        document = passing(BACKEND | {"connect_timeout_secs": 0})
        self.refused(document, "listeners[0].passthrough[0].connect_timeout_secs", "above 0")
        document = changed("timeouts", "proxy_header_secs", to=0)
        self.refused(document, "timeouts.proxy_header_secs", "above 0")

    def test_proxy_protocol(self) -> None:
        """It is networks, without host bits."""
        listener = self.listener(proxy_protocol=["10.0.0.0/8", "2001:db8::1"])
        self.assertEqual(
            listener.proxy_protocol, (ip_network("10.0.0.0/8"), ip_network("2001:db8::1/128"))
        )
        place = "listeners[0].proxy_protocol"
        self.refused(passing(proxy_protocol=["10.0.0.1/8"]), f"{place}[0]", "host bits")
        self.refused(passing(proxy_protocol=["required"]), f"{place}[0]", "must be a network")
        self.refused(passing(proxy_protocol=True), place, "must be an array")

    def test_unknown_keys(self) -> None:
        """A slip is told the key that was meant."""
        found = mistakes(passing(BACKEND | {"http_upsteam": "a:1"}))
        self.assertIn('did you mean "http_upstream"?', found[0])
        (found_one,) = mistakes(streaming(STREAM | {"connect_timeout_secs": 5}))
        self.assertEqual(found_one, "streams[0].connect_timeout_secs: unknown key")

    def test_included_files(self) -> None:
        """Streams belong in the main file; an included listener passes on like any other."""
        included = {"a.toml": {"streams": [STREAM]}}
        (found,) = mistakes(minimal(), included=included)
        self.assertTrue(found.startswith("a.toml: streams: belongs in the main file"), found)
        document = passing(BACKEND, bind_addr="203.0.113.11")
        del document["listeners"][0]["sites"]
        included = {"a.toml": {"listeners": document["listeners"]}}
        self.assertEqual(len(read(minimal(), included=included).listeners[1].passthrough), 1)


class HostRuleTests(SynchronousTestCase):
    """Who else claims a host."""

    def test_twice(self) -> None:
        """A listener passes a host on once, in one table or in two, however it is spelled."""
        self.assertEqual(
            mistakes(
                passing(
                    BACKEND | {"hosts": ["a.test", "b.test", "A.test."]},
                    BACKEND | {"hosts": ["*.b.test", "b.test"]},
                )
            ),
            [
                f'listeners[0].passthrough[{table}].hosts[{index}]: "{name}" is passed on '
                "already, by listeners[0].passthrough[0]"
                for table, index, name in ((0, 2, "a.test"), (1, 1, "b.test"))
            ],
        )

    def test_two_listeners(self) -> None:
        """Two listeners, say of two IP versions, may pass the same host on."""
        self.assertEqual(mistakes(passing_on_two(["a.test"], ["a.test", "b.test"])), [])

    def test_site(self) -> None:
        """A host is not also a site, of whichever listener."""
        expected = (
            'hosts[0]: "example.com" is a site, listeners[0].sites[0]: '
            "TLS is either passed on or ended"
        )
        self.assertEqual(
            mistakes(passing(BACKEND | {"hosts": ["Example.com"]})),
            [f"listeners[0].passthrough[0].{expected}"],
        )
        self.assertEqual(
            mistakes(passing_on_two(["a.test"], ["example.com"])),
            [f"listeners[1].passthrough[0].{expected}"],
        )

    def test_included_site(self) -> None:
        """A site of an included file counts, and is named with its file."""
        included = {"a.toml": {"sites": [{"host": "cloud.example.org", "upstream": "a:1"}]}}
        (found,) = mistakes(passing(BACKEND), included=included)
        self.assertIn('"cloud.example.org" is a site, a.toml: sites[0]', found)

    def test_wildcards(self) -> None:
        """The same wildcard is a clash; one that covers the other's name is none."""
        document = passing(BACKEND | {"hosts": ["*.a.test", "b.c.test"]})
        document["listeners"][0]["sites"] = [
            {"host": host, "upstream": "a:1"} for host in ("b.a.test", "*.c.test")
        ]
        self.assertEqual(mistakes(document), [])
        document["listeners"][0]["sites"][0]["host"] = "*.a.test"
        (found,) = mistakes(document)
        self.assertIn('"*.a.test" is a site', found)

    def test_acme_domains(self) -> None:
        """No certificate is got for what is passed on."""
        tls = {
            "mode": "acme",
            "acme_domains": ["example.com", "cloud.example.org"],
            "acme_contact": "mailto:admin@example.com",
        }
        self.assertEqual(
            mistakes(passing(BACKEND, tls=tls)),
            [
                'listeners[0].passthrough[0].hosts[0]: "cloud.example.org" is in '
                "listeners[0].tls.acme_domains: the backend that it is passed on to has the "
                "certificate"
            ],
        )
        wildcard = BACKEND | {"hosts": ["*.example.org"]}
        self.assertEqual(mistakes(passing(wildcard, tls=tls)), [])

    def test_default_site(self) -> None:
        """The default site is a site, and no passed host."""
        (found,) = mistakes(passing(BACKEND) | {"default_site": "cloud.example.org"})
        self.assertIn("no site has the host", found)
        document = passing(default_passthrough="a:1") | {"default_site": "example.com"}
        self.assertEqual(mistakes(document), [])

    def test_unreadable_hosts(self) -> None:
        """What could not be read is reported once, and hides nothing else."""
        found = mistakes(
            passing(BACKEND | {"hosts": ["a b"]}, BACKEND | {"hosts": ["example.com"]})
        )
        self.assertEqual(
            [line.partition(": ")[0] for line in found],
            [f"listeners[0].passthrough[{index}].hosts[0]" for index in (0, 1)],
        )


class ListenerRuleTests(SynchronousTestCase):
    """What a listener needs."""

    def test_no_site(self) -> None:
        """A listener that passes on, and a stream, are something to do."""
        nothing = without("listeners", 0, "sites")
        self.assertEqual(len(mistakes(nothing)), 1)
        self.assertEqual(mistakes(nothing | {"streams": [STREAM]}), [])
        for keys in ({"passthrough": [BACKEND]}, {"default_passthrough": "a:1"}):
            document = without("listeners", 0, "sites")
            document["listeners"][0] |= keys
            self.assertEqual(mistakes(document), [])
        document["listeners"][0] |= {"passthrough": 5, "default_passthrough": 5}
        self.assertEqual(len(mistakes(document)), 2)

    def test_no_listener(self) -> None:
        """A stream alone is no listener."""
        expected = ["listeners: at least one [[listeners]] is required"]
        self.assertEqual(mistakes(without("listeners") | {"streams": [STREAM]}), expected)

    def test_http_upstream_without_a_port(self) -> None:
        """A backend of the plain port needs the port."""
        backend = BACKEND | {"http_upstream": "192.0.2.11:80"}
        self.assertEqual(
            mistakes(passing(BACKEND, backend, http_port=0))[-1],
            "listeners[0].passthrough[1].http_upstream: nothing goes there: the http_port is off",
        )
        self.assertEqual(mistakes(passing(BACKEND, http_port=0)), [])


class StreamRuleTests(SynchronousTestCase):
    """Where streams listen."""

    def test_ports(self) -> None:
        """A port is a listener's, a stream's or the health check's."""
        taken = "port {} on {} is taken by {}"
        for table, where in (
            ({"port": 443}, taken.format(443, "203.0.113.10", "listeners[0].https_port")),
            ({"port": 80}, taken.format(80, "203.0.113.10", "listeners[0].http_port")),
            (
                {"bind_addr": "127.0.0.1", "port": 9900},
                taken.format(9900, "127.0.0.1", "health_check_port"),
            ),
            ({"port": 5223}, taken.format(5223, "203.0.113.10", "streams[0].port")),
        ):
            found = mistakes(streaming(STREAM | {"port": 5223}, STREAM | table))
            self.assertEqual(found, [f"streams[1].port: {where}"])

    def test_free_ports(self) -> None:
        """The same port on another address, and port 443 of an address without listener."""
        self.assertEqual(
            mistakes(
                streaming(
                    STREAM,
                    STREAM | {"bind_addr": "203.0.113.11"},
                    STREAM | {"bind_addr": "203.0.113.11", "port": 443},
                )
            ),
            [],
        )

    def test_port_range(self) -> None:
        """There is no port 0 and none above 65535."""
        for port in (0, 65536, -1):
            (found,) = mistakes(streaming(STREAM | {"port": port}))
            self.assertIn("streams[0].port: must be from 1 to 65535", found)

    def test_wildcard(self) -> None:
        """Binding every address is a decision here too, and takes every address."""
        document = streaming(STREAM | {"bind_addr": "0.0.0.0", "port": 443})
        found = mistakes(document)
        self.assertIn("streams[0].bind_addr: 0.0.0.0 binds every address", found[0])
        self.assertEqual(
            mistakes(document, allow_wildcard_bind=True),
            ["streams[0].port: port 443 on 0.0.0.0 is taken by listeners[0].https_port"],
        )
