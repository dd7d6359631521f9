"""PROXY headers between real programs: a second proxy behind the first, HAProxy, and curl."""

from __future__ import annotations

import subprocess
import time
from typing import Any, ClassVar

from tests.support.cases import ProxyCase
from tests.support.certificates import authority
from tests.support.peers import require
from tests.support.proxied import HEADERS, header_v1, header_v2
from tests.support.proxy import RunningProxy, Sites, free_port
from tests.support.raw_client import RawClient
from tests.support.recording_upstream import RecordingUpstream
from tests.support.servers import start_server, temporary_folder

ELSEWHERE = "127.0.0.9"
"""A client's address that no other peer has."""
SENDER = "127.0.0.50"
"""The one address that sends PROXY headers, where not all do."""
FORGED = "192.0.2.66"
"""Whom a client poses as."""
FORWARDED = (
    b"X-Forwarded-For: 192.0.2.66",
    b"X-Real-IP: 192.0.2.66",
    b"Forwarded: for=192.0.2.66",
)


class ToldCase(ProxyCase):
    """What the application is told of the client."""

    def assert_told(self, address: str, scheme: str = "https") -> None:
        """The application was told of one client, and of no other."""
        request = self.only_request()
        told = (request.value(b"X-Real-IP"), request.value(b"X-Forwarded-For"))
        self.assertEqual(told, (address.encode(),) * 2)
        self.assertEqual(request.value(b"X-Forwarded-Proto"), scheme.encode())
        self.assertIsNone(request.value(b"Forwarded"))


class ChainTests(ToldCase):
    """The first proxy passes TLS on, the second ends it.

    Attributes:
        CLIENT: a client's address.
        SEND: the version of the header.
        LISTENER: more keys of the first proxy's listener.
    """

    CLIENT: ClassVar[str] = ELSEWHERE
    SEND: ClassVar[str] = "v2"
    LISTENER: ClassVar[dict[str, Any]] = {}
    inner: ClassVar[RunningProxy]

    @classmethod
    def sites(cls, upstream: RecordingUpstream) -> Sites:
        """A site of the first proxy; :attr:`HOST` is one of the second."""
        cls.inner = RunningProxy(
            {cls.HOST: upstream.address},
            listener={"proxy_protocol": ["127.0.0.0/8"]},
            rate_limit={"requests_per_second": 0.001, "burst": 5},
        )
        return {"edge.test": upstream.address}

    @classmethod
    def overrides(cls) -> dict[str, Any]:
        """The way to the second."""
        passed = {
            "hosts": [cls.HOST],
            "upstream": f"127.0.0.1:{cls.inner.https_port}",
            "send_proxy": cls.SEND,
        }
        return {"listener": {"passthrough": [passed], **cls.LISTENER}}

    @classmethod
    def stop_others(cls) -> None:
        """Stop the second."""
        cls.inner.stop()

    def setUp(self) -> None:
        super().setUp()
        self.addCleanup(self.inner.check_log)

    def through(self, source: str) -> RawClient:
        """A client of the second proxy, through the first."""
        address = self.proxy.address
        client = RawClient.tls(self.proxy.https_port, self.HOST, source=source, host=address)
        self.addCleanup(client.close)
        return client

    def test_told(self) -> None:
        """The application is told of the true client, whatever the client says."""
        client = self.through(self.CLIENT)
        self.assertEqual(client.ask(self.request(b"/told", *FORWARDED)).status, 200)
        self.assert_told(self.CLIENT)
        line = self.inner.wait_for_line("REQUEST client_ip=.* path=/told ")
        self.assertIn(f" client_ip={self.CLIENT} ", line)
        client.close()
        self.proxy.wait_for_line(f"STREAM client_ip={self.CLIENT} sni={self.HOST} upstream=")

    def test_forged(self) -> None:
        """A header that the client itself sends first reaches nobody."""
        for header in HEADERS:
            raw = header(FORGED, 1, FORGED, 443)
            with RawClient.plain(self.proxy.https_port, host=self.proxy.address) as client:
                self.assertNotIn(b"\x16", client.send(raw).read_until_close()[:1])
        self.assertEqual(self.upstream.requests, [])


class ChainOverV1Tests(ChainTests):
    """The same with version 1."""

    SEND = "v1"


class ChainOverV6Tests(ChainTests):
    """The same with clients that come over IPv6, while the second proxy is reached over IPv4."""

    CLIENT = "::1"
    LISTENER: ClassVar[dict[str, Any]] = {"bind_addr": "::1"}


class ChainOverV6AndV1Tests(ChainOverV6Tests):
    """Both."""

    SEND = "v1"


class LimitTests(ChainTests):
    """What the second proxy counts, it counts for each client."""

    def test_rate_limit(self) -> None:
        """A client that is limited limits no other, though all come from the first proxy."""
        with self.through("127.0.0.21") as client:
            statuses = [client.ask(self.request()).status for _ in range(6)]
        self.assertEqual(statuses, [200] * 5 + [429])
        self.inner.wait_for_line("RATE_LIMIT client_ip=127.0.0.21 ")
        with self.through("127.0.0.22") as client:
            self.assertEqual(client.ask(self.request()).status, 200)


class ListedTests(ToldCase):
    """One peer is listed: it must send a header, and nobody else may."""

    OVERRIDES: ClassVar[dict[str, Any]] = {
        "listener": {"proxy_protocol": [SENDER]},
        "timeouts": {"proxy_header_secs": 1},
    }

    def test_listed(self) -> None:
        """From the listed peer either version is believed, on both ports, in pieces too."""
        for header in HEADERS:
            for source, to in ((ELSEWHERE, "127.0.0.1"), ("2001:db8::7", "2001:db8::1")):
                self.upstream.forget()
                raw = header(source, 50000, to, 443)
                client = self.client(source=SENDER, before=raw)
                self.assertEqual(client.ask(self.request(b"/", *FORWARDED)).status, 200)
                self.assert_told(source)
                plain = self.plain_client(source=SENDER)
                plain.send_bytewise(raw)
                self.assertEqual(plain.ask(self.request(b"/plain")).status, 301)
                self.proxy.wait_for_line(f"REQUEST client_ip={source} .* path=/plain status=301 ")

    def test_listed_without(self) -> None:
        """Without a header the listed peer is refused at once, and told nothing."""
        for raw in (b"GET / HTTP/1.1\r\nHost: site.test\r\n\r\n", b"\x16\x03\x01\x02\x00"):
            since = len(self.proxy.lines)
            for port in (self.proxy.http_port, self.proxy.https_port):
                client = RawClient.plain(port, source=SENDER)
                self.addCleanup(client.close)
                self.assertEqual(client.send(raw).read_until_close(), b"")
                self.proxy.wait_for_line(
                    f'PROXY_REFUSED client_ip={SENDER} error="no proxy header"', since=since
                )
        self.assertEqual(self.upstream.requests, [])

    def test_listed_malformed(self) -> None:
        """A header with something wrong in it is refused, not guessed at."""
        whole = header_v2(ELSEWHERE, 1, "127.0.0.1", 443)
        for raw in (
            b"PROXY TCP4 127.0.0.09 127.0.0.1 1 443\r\n",
            b"PROXY TCP4 ::1 ::1 1 443\r\n",
            b"PROXY TCP4 127.0.0.9 127.0.0.1 1 443 more\r\n",
            b"PROXY TCP4 " + b"1" * 200,
            whole.replace(b"\x21\x11", b"\x31\x11"),
            whole.replace(b"\x21\x11", b"\x2f\x11"),
            whole.replace(b"\x21\x11\x00\x0c", b"\x21\x11\x00\x04"),
            whole.replace(b"\x21\x11\x00\x0c", b"\x21\x11\xff\xff"),
        ):
            since = len(self.proxy.lines)
            client = self.plain_client(source=SENDER)
            self.assertEqual(client.send(raw).read_until_close(), b"", raw)
            self.proxy.wait_for_line(f"PROXY_REFUSED client_ip={SENDER} ", since=since)

    def test_listed_silent(self) -> None:
        """The header has to come in time."""
        started = time.monotonic()
        for begun in (b"", b"PROXY TCP4 127.0", header_v2(ELSEWHERE, 1, SENDER, 443)[:20]):
            since = len(self.proxy.lines)
            client = self.plain_client(source=SENDER)
            client.send(begun)
            self.assertEqual(client.read_until_close(), b"")
            self.proxy.wait_for_line(
                f'PROXY_REFUSED client_ip={SENDER} error="no proxy header in time"', since=since
            )
        self.assert_quick(started, 2.5, 9)

    def test_listed_for_itself(self) -> None:
        """A header that names nobody (a health check of the peer's) leaves the peer's address."""
        local = header_v2(ELSEWHERE, 1, SENDER, 443).replace(b"\x21\x11", b"\x20\x11")
        for raw in (b"PROXY UNKNOWN\r\n", local):
            self.upstream.forget()
            client = self.client(source=SENDER, before=raw)
            self.assertEqual(client.ask(self.request()).status, 200)
            self.assert_told(SENDER)

    def test_unlisted(self) -> None:
        """From anybody else a header is what its bytes are: no HTTP, and no TLS."""
        for source in ("127.0.0.1", ELSEWHERE):
            raw = header_v1(FORGED, 1, "127.0.0.1", 80)
            plain = self.plain_client(source=source)
            self.assert_refused(plain, raw + self.request())
            plain = self.plain_client(source=source)
            answer = plain.send(header_v2(FORGED, 1, "127.0.0.1", 80)).read_until_close()
            self.assertTrue(answer == b"" or answer.startswith(b"HTTP/1.1 400 "), answer)
            for header in HEADERS:
                raw = header(FORGED, 1, "127.0.0.1", 443)
                client = RawClient.plain(self.proxy.https_port, source=source)
                self.addCleanup(client.close)
                answer = client.send(raw).read_until_close()
                self.assertTrue(answer == b"" or answer.startswith(b"HTTP/1.1 400 "), answer)
                line = f'TLS_REFUSED client_ip={source} server_name=- error="no tls on'
                self.proxy.wait_for_line(line)
        self.assertEqual(self.upstream.requests, [])
        self.assertNotIn(FORGED, "\n".join(self.proxy.lines))

    def test_unlisted_forwarded(self) -> None:
        """From anybody else X-Forwarded-For changes nothing."""
        client = self.client(source=ELSEWHERE)
        self.assertEqual(client.ask(self.request(b"/", *FORWARDED)).status, 200)
        self.assert_told(ELSEWHERE)


HAPROXY = """
defaults
    mode tcp
    timeout connect 5s
    timeout client 30s
    timeout server 30s
listen tls
    bind 127.0.0.1:{port}
    server proxy 127.0.0.1:{to} {send}
"""


class SenderTests(ToldCase):
    """Others that send PROXY headers."""

    OVERRIDES: ClassVar[dict[str, Any]] = {"listener": {"proxy_protocol": ["127.0.0.0/8"]}}

    def curl(self, port: int, *options: str) -> str:
        """The body and status that curl gets through ``port``."""
        command = [require("curl"), "--disable", "--silent", "--show-error", "--noproxy", "*"]
        command += ["--cacert", authority().ca_path, "--interface", ELSEWHERE]
        command += ["--resolve", f"*:{port}:127.0.0.1", "--write-out", " %{http_code}", *options]
        command.append(f"https://{self.HOST}:{port}/")
        done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
        return done.stdout + done.stderr

    def test_curl(self) -> None:
        """curl --haproxy-protocol, which writes version 1."""
        self.assertEqual(self.curl(self.proxy.https_port, "--haproxy-protocol"), "ok 200")
        self.assert_told(ELSEWHERE)

    def haproxy(self, send: str) -> None:
        """The client is told of by an HAProxy that passes TLS on."""
        port = free_port()
        path = temporary_folder(self) / "haproxy.cfg"
        path.write_text(HAPROXY.format(port=port, to=self.proxy.https_port, send=send))
        start_server(self, [require("haproxy"), "-db", "-f", str(path)], port)
        self.assertEqual(self.curl(port), "ok 200")
        self.assert_told(ELSEWHERE)

    def test_haproxy_v1(self) -> None:
        """HAProxy's version 1."""
        self.haproxy("send-proxy")

    def test_haproxy_v2(self) -> None:
        """HAProxy's version 2, with everything that it can tell beyond the addresses."""
        self.haproxy("send-proxy-v2 proxy-v2-options unique-id,crc32c")
