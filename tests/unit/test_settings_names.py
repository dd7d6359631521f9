"""Names and addresses: hosts, bind addresses, networks, upstreams."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from revproxy.model.address import UpstreamAddress
from tests.support.configurations import Step, changed, minimal, mistakes, read

HOST: tuple[Step, ...] = ("listeners", 0, "sites", 0, "host")
UPSTREAM: tuple[Step, ...] = ("listeners", 0, "sites", 0, "upstream")
BIND: tuple[Step, ...] = ("listeners", 0, "bind_addr")


class NameTestCase(SynchronousTestCase):
    """Asserts on the one value at a place."""

    def refused(self, path: tuple[Step, ...], value: str, *words: str) -> None:
        """Assert that ``value`` at ``path`` is the only mistake, explained with ``words``."""
        found = mistakes(changed(*path, to=value))
        self.assertEqual(len(found), 1, (value, found))
        for word in words:
            self.assertIn(word, found[0])


class HostTests(NameTestCase):
    """``host`` of a site."""

    def host(self, text: str) -> str:
        """The host in the model for one in the file."""
        return read(changed(*HOST, to=text)).listeners[0].sites[0].host

    def test_normal_form(self) -> None:
        """Case and a trailing dot make no difference."""
        self.assertEqual(self.host("Git.Example.COM."), "git.example.com")
        self.assertEqual(self.host("localhost"), "localhost")
        self.assertEqual(self.host("xn--bcher-kva.example"), "xn--bcher-kva.example")
        self.assertEqual(self.host("3com.example"), "3com.example")

    def test_wildcards(self) -> None:
        """A star is accepted as the whole left-most label only."""
        self.assertEqual(self.host("*.Example.com"), "*.example.com")
        for bad in ("*", "*.", "a.*.com", "*.*.com", "w*.example.com", "*a.example.com", "a.*"):
            self.refused(HOST, bad, "a star stands for the whole left-most label")

    def test_addresses(self) -> None:
        """An IP address is no host, nor is a name that clients take for one."""
        for bad in ("192.0.2.1", "::1", "[2001:db8::1]", "*.192.0.2.1"):
            self.refused(HOST, bad, "IP address")
        self.refused(HOST, "1.2.3", "ends in a number")

    def test_more_than_a_host(self) -> None:
        """Scheme, port and path are refused by that name."""
        for bad in ("https://example.com", "example.com:443", "example.com/x"):
            self.refused(HOST, bad, "without scheme, port or path")

    def test_invalid(self) -> None:
        """What the rules of host names exclude is refused."""
        long_name = ".".join(["a" * 63] * 4)
        for bad in ("", ".", "a..b", "-a.com", "a-.com", "a_b.com", "a b", "a" * 64, long_name):
            self.refused(HOST, bad, "is not a valid host name")

    def test_internationalised(self) -> None:
        """A name in Unicode is refused with the form that clients send, where that is certain."""
        self.refused(HOST, "Bücher.example", 'A-label form: "xn--bcher-kva.example"')
        self.refused(HOST, "*.bücher.example", 'A-label form: "*.xn--bcher-kva.example"')
        (found,) = mistakes(changed(*HOST, to="straße.example"))
        self.assertTrue(found.endswith("must be in its A-label form"))
        self.refused(HOST, "ü" * 70, "A-label form")
        self.refused(HOST, "ü" * 100_000, "A-label form")


class BindAddressTests(NameTestCase):
    """``bind_addr`` of a listener."""

    def test_canonical_form(self) -> None:
        """Two spellings of one address are one."""
        document = changed(*BIND, to="2001:DB8:0:0::0001")
        self.assertEqual(read(document).listeners[0].bind_addr, "2001:db8::1")

    def test_refused(self) -> None:
        """Only an address that can be bound as it stands is accepted."""
        for bad in ("", "example.com", "[::1]", "203.0.113.10:443", "10.0.0.0/8", "010.0.0.1"):
            self.refused(BIND, bad, "without brackets or port")
        self.refused(BIND, "fe80::1%eth0", "zone")
        self.refused(BIND, "::ffff:0.0.0.0", 'must be written as IPv4: "0.0.0.0"')


class NetworkTests(NameTestCase):
    """``trusted_proxies``."""

    def test_refused(self) -> None:
        """Host bits are refused with the network that was meant."""
        for bad, words in [
            ("10.0.0.1/8", 'has host bits set, did you mean "10.0.0.0/8"?'),
            ("2001:db8::1/32", 'did you mean "2001:db8::/32"?'),
            ("10.0.0.0/33", "must be a network"),
            ("localhost", "must be a network"),
            ("", "must be a network"),
            ("fe80::%eth0/64", "must be a network"),
            ("::ffff:10.0.0.0/104", "must be written as an IPv4 network"),
        ]:
            (found,) = mistakes(changed("trusted_proxies", to=["192.0.2.0/24", bad]))
            self.assertTrue(found.startswith("trusted_proxies[1]: "), found)
            self.assertIn(words, found)


class UpstreamTests(NameTestCase):
    """``upstream`` of a site."""

    def test_accepted(self) -> None:
        """A host and a port, an IPv6 address in brackets, or a UNIX socket."""
        for text, address in [
            ("gitea:3000", UpstreamAddress("gitea", 3000)),
            ("App_1.Example.:80", UpstreamAddress("app_1.example", 80)),
            ("127.0.0.1:8080", UpstreamAddress("127.0.0.1", 8080)),
            ("[2001:DB8::1]:443", UpstreamAddress("2001:db8::1", 443)),
            ("[fe80::1%eth0]:443", UpstreamAddress("fe80::1%eth0", 443)),
            ("unix:/run/app.sock", UpstreamAddress(path="/run/app.sock")),
            ("app:8080", UpstreamAddress("app", 8080)),
        ]:
            found = read(changed(*UPSTREAM, to=text)).listeners[0].sites[0].upstream
            self.assertEqual(found, address)

    def test_refused(self) -> None:
        """Each wrong form is explained by what is wrong with it."""
        for bad, words in [
            ("http://127.0.0.1:80", "without a scheme"),
            ("127.0.0.1", "a port is missing"),
            ("host:", "a port is missing"),
            ("host:http", "not a number from 1 to 65535"),
            ("host:0", "not a number from 1 to 65535"),
            ("host:65536", "not a number from 1 to 65535"),
            ("host:" + "9" * 5000, "not a number from 1 to 65535"),
            ("2001:db8::1:443", "in brackets"),
            ("[::1", "in brackets"),
            ("[::1%a\nb]:80", "not an IPv6 address"),
            ("256.0.0.1:80", "not an IPv4 address"),
            ("a b:80", "not a host name"),
            ("\u212a:80", "not a host name"),
            (":80", "not a host name"),
            ("unix:run/app.sock", "unix:/absolute/path"),
            ("unix:/run/a\nb", "unix:/absolute/path"),
            ("unix:/" + "s" * 107, "107 bytes"),
            ("app:package.module:object", "not available yet (upstreams)"),
        ]:
            self.refused(UPSTREAM, bad, words)

    def test_https(self) -> None:
        """An address can be verified, a UNIX socket has nothing to verify."""
        document = changed("listeners", 0, "sites", 0, "upstream_scheme", to="https")
        self.assertEqual(mistakes(document), [])
        self.assertEqual(
            mistakes(changed(*UPSTREAM, to="unix:/run/app.sock", document=document)),
            [
                "listeners[0].sites[0].upstream_scheme: "
                "a UNIX socket has no name to verify: only http goes there"
            ],
        )


class ProtocolTests(NameTestCase):
    """What connections of a site may become."""

    PLACE = ("listeners", 0, "sites", 0, "upgrades")

    def test_accepted(self) -> None:
        """Any protocols, in lower case, and none; WebSocket is allowed unless it is said."""
        for given, read_as in (
            (None, ("websocket",)),
            ([], ()),
            (["WebSocket", "chat/2", "x-mine"], ("websocket", "chat/2", "x-mine")),
        ):
            document = minimal() if given is None else changed(*self.PLACE, to=given)
            self.assertEqual(read(document).listeners[0].sites[0].upgrades, read_as)

    def test_other_kinds_of_http(self) -> None:
        """HTTP and TLS of any version are refused with their place: what is asked in them would
        pass unseen.
        """
        for name in ("h2c", "H2C", "h2", "h3", "HTTP/2.0", "http", "TLS/1.0", "tls"):
            found = mistakes(changed(*self.PLACE, to=["websocket", name]))
            place = "listeners[0].sites[0].upgrades[1]"
            words = f'"{name.lower()}" cannot be upgraded to; usual is "websocket"'
            self.assertEqual(found, [f"{place}: {words}"])

    def test_no_names(self) -> None:
        """What is no name of a protocol is refused."""
        for name in ("", "web socket", "a,b", "a/b/c", "a/", "/a", "a\r\nb: c", "w\u00e9b"):
            (found,) = mistakes(changed(*self.PLACE, to=[name]))
            self.assertIn("listeners[0].sites[0].upgrades[0]: ", found)
